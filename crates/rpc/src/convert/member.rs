//! Changes of the coordinators that clients ask for. What the leader saw of the others comes in where they are proposed.

use super::operation_id;
use crate::{
    field::{InvalidField, name, positive},
    pb::control as wire,
    transport::parse_endpoint,
};
use quorate_domain::{
    CoordinatorChange, CoordinatorId, CoordinatorSpec, OperationId, RequestId,
    coordinator::COORDINATOR_ID_MAX,
};

/// A change of the coordinators, under the id that makes a retry harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRequest {
    /// The client's id for the request.
    pub request_id: RequestId,
    /// What it wants.
    pub change: CoordinatorChange,
}

/// A change that is to be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelRequest {
    /// The client's id for the request.
    pub request_id: RequestId,
    /// The change.
    pub operation: OperationId,
}

impl TryFrom<wire::AddMemberRequest> for ChangeRequest {
    type Error = InvalidField;
    fn try_from(request: wire::AddMemberRequest) -> Result<Self, InvalidField> {
        let request_id = name("request_id", &request.request_id)?;
        let spec = spec(request.id, &request.api_address, &request.peer_address)?;
        Ok(Self { request_id, change: CoordinatorChange::Add(spec) })
    }
}

impl TryFrom<wire::PromoteMemberRequest> for ChangeRequest {
    type Error = InvalidField;
    fn try_from(request: wire::PromoteMemberRequest) -> Result<Self, InvalidField> {
        let request_id = name("request_id", &request.request_id)?;
        Ok(Self { request_id, change: CoordinatorChange::Promote(id("id", request.id)?) })
    }
}

impl TryFrom<wire::RemoveMemberRequest> for ChangeRequest {
    type Error = InvalidField;
    fn try_from(request: wire::RemoveMemberRequest) -> Result<Self, InvalidField> {
        let request_id = name("request_id", &request.request_id)?;
        Ok(Self { request_id, change: CoordinatorChange::Remove(id("id", request.id)?) })
    }
}

impl TryFrom<wire::ReplaceMemberRequest> for ChangeRequest {
    type Error = InvalidField;
    fn try_from(request: wire::ReplaceMemberRequest) -> Result<Self, InvalidField> {
        let request_id = name("request_id", &request.request_id)?;
        let remove = id("remove", request.remove)?;
        let add = spec(request.id, &request.api_address, &request.peer_address)?;
        Ok(Self { request_id, change: CoordinatorChange::Replace { remove, add } })
    }
}

impl TryFrom<wire::CancelMemberChangeRequest> for CancelRequest {
    type Error = InvalidField;
    fn try_from(request: wire::CancelMemberChangeRequest) -> Result<Self, InvalidField> {
        let request_id = name("request_id", &request.request_id)?;
        Ok(Self { request_id, operation: operation_id(&request.operation)? })
    }
}

fn id(field: &str, number: u64) -> Result<CoordinatorId, InvalidField> {
    let number = positive(field, number)?;
    if number > COORDINATOR_ID_MAX {
        let remedy = format!("use a number from 1 to {COORDINATOR_ID_MAX}");
        return Err(InvalidField::new(field, format!("{number} is too high"), remedy));
    }
    Ok(CoordinatorId(number))
}

fn spec(number: u64, api: &str, peer: &str) -> Result<CoordinatorSpec, InvalidField> {
    let api_address = address("api_address", api)?;
    let peer_address = address("peer_address", peer)?;
    if api_address == peer_address {
        let problem = format!("{peer_address} is the api_address too");
        return Err(InvalidField::new("peer_address", problem, "give the two different ports"));
    }
    Ok(CoordinatorSpec { id: id("id", number)?, api_address, peer_address })
}

fn address(field: &str, text: &str) -> Result<String, InvalidField> {
    parse_endpoint(text).map_err(|bad| InvalidField::new(field, bad.problem, bad.remedy))
}
