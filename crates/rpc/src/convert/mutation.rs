//! What clients want changed.

use crate::{
    field::{InvalidField, at_most, each, name, optional_name, present},
    pb::{control as wire, types},
};
use quorate_domain::{
    Command, RequestId,
    command::MemberSpec,
    group::{LABEL_VALUE_MAX_BYTES, LABELS_MAX, MEMBERS_MAX},
    ids::NAME_MAX_BYTES,
    operation::FailoverReason,
};
use std::collections::{BTreeMap, HashMap};

/// One request may set all labels anew and remove all old ones.
const LABEL_CHANGES_MAX: usize = 2 * LABELS_MAX;

/// A change that a client asks for, under the id that makes a retry harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    /// The client's id for the request.
    pub request_id: RequestId,
    /// What it wants.
    pub command: Command,
}

impl TryFrom<wire::CreateGroupRequest> for Mutation {
    type Error = InvalidField;
    fn try_from(request: wire::CreateGroupRequest) -> Result<Self, InvalidField> {
        let request_id = name("request_id", &request.request_id)?;
        at_most("backups", request.backups.len(), MEMBERS_MAX - 1)?;
        let command = Command::CreateGroup {
            group: name("group", &request.group)?,
            primary: member(&present("primary", request.primary)?).map_err(|bad| bad.within("primary"))?,
            backups: each("backups", request.backups, |backup| member(&backup))?,
            labels: labels(request.labels)?,
        };
        Ok(Self { request_id, command })
    }
}

impl TryFrom<wire::SetGroupLabelsRequest> for Mutation {
    type Error = InvalidField;
    fn try_from(request: wire::SetGroupLabelsRequest) -> Result<Self, InvalidField> {
        let request_id = name("request_id", &request.request_id)?;
        let group = name("group", &request.group)?;
        if request.labels.is_empty() {
            return Err(InvalidField::required("labels", "name at least one label to set or remove"));
        }
        Ok(Self {
            request_id,
            command: Command::SetGroupLabels { group, labels: labels(request.labels)?.into() },
        })
    }
}

impl TryFrom<wire::DeleteGroupRequest> for Mutation {
    type Error = InvalidField;
    fn try_from(request: wire::DeleteGroupRequest) -> Result<Self, InvalidField> {
        let request_id = name("request_id", &request.request_id)?;
        Ok(Self { request_id, command: Command::DeleteGroup { group: name("group", &request.group)? } })
    }
}

impl TryFrom<wire::RequestFailoverRequest> for Mutation {
    type Error = InvalidField;
    fn try_from(request: wire::RequestFailoverRequest) -> Result<Self, InvalidField> {
        let request_id = name("request_id", &request.request_id)?;
        let command = Command::BeginFailover {
            group: name("group", &request.group)?,
            epoch: None,
            reason: FailoverReason::Requested,
            target: optional_name("target", &request.target)?,
            evidence: Vec::new(),
        };
        Ok(Self { request_id, command })
    }
}

pub(super) fn member(member: &types::Member) -> Result<MemberSpec, InvalidField> {
    Ok(MemberSpec { host: name("host", &member.host)?, disk: optional_name("disk", &member.disk)? })
}

/// The rules of labels are decided with the state; the bounds hold here already, so that the log never carries more.
fn labels(labels: HashMap<String, String>) -> Result<BTreeMap<String, String>, InvalidField> {
    at_most("labels", labels.len(), LABEL_CHANGES_MAX)?;
    let labels: BTreeMap<_, _> = labels.into_iter().collect();
    for (key, value) in &labels {
        let shown: String = key.chars().take(NAME_MAX_BYTES).collect();
        if key.is_empty() || key.len() > NAME_MAX_BYTES {
            let problem = format!("key {shown:?} has {} bytes", key.len());
            return Err(InvalidField::new("labels", problem, format!("use 1 to {NAME_MAX_BYTES}")));
        }
        if value.len() > LABEL_VALUE_MAX_BYTES {
            let problem = format!("the value has {} bytes", value.len());
            let remedy = format!("shorten it to at most {LABEL_VALUE_MAX_BYTES}");
            return Err(InvalidField::new(format!("labels[{shown:?}]"), problem, remedy));
        }
    }
    Ok(labels)
}
