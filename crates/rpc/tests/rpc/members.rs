//! Changes of the coordinators, from the wire and towards it.

use quorate_domain::{
    Cause, CoordinatorChange, CoordinatorId, CoordinatorSpec, Operation, OperationId, OperationStatus,
    Timestamp, Work,
    coordinator::{COORDINATOR_ID_MAX, ChangeProgress},
};
use quorate_rpc::{
    convert::{CancelRequest, ChangeRequest},
    pb::{control as wire, types},
};

fn spec() -> CoordinatorSpec {
    CoordinatorSpec {
        id: CoordinatorId(4),
        api_address: "10.0.0.4:7401".into(),
        peer_address: "10.0.0.4:7400".into(),
    }
}

fn replace() -> wire::ReplaceMemberRequest {
    wire::ReplaceMemberRequest {
        request_id: "r1".into(),
        remove: 3,
        id: 4,
        api_address: "10.0.0.4:7401".into(),
        peer_address: "10.0.0.4:7400".into(),
    }
}

#[test]
fn each_request_becomes_its_change() {
    let wire::ReplaceMemberRequest { request_id, id, api_address, peer_address, .. } = replace();
    let add = wire::AddMemberRequest { request_id: request_id.clone(), id, api_address, peer_address };
    let promote = wire::PromoteMemberRequest { request_id: request_id.clone(), id: 4 };
    let remove = wire::RemoveMemberRequest { request_id: request_id.clone(), id: 3 };
    let expected = [
        CoordinatorChange::Add(spec()),
        CoordinatorChange::Promote(CoordinatorId(4)),
        CoordinatorChange::Remove(CoordinatorId(3)),
        CoordinatorChange::Replace { remove: CoordinatorId(3), add: spec() },
    ];
    let read = [
        ChangeRequest::try_from(add).unwrap(),
        ChangeRequest::try_from(promote).unwrap(),
        ChangeRequest::try_from(remove).unwrap(),
        ChangeRequest::try_from(replace()).unwrap(),
    ];
    assert!(read.iter().all(|request| request.request_id.as_str() == "r1"));
    assert_eq!(read.map(|request| request.change), expected);
    let cancel = wire::CancelMemberChangeRequest { request_id, operation: "op-9".into() };
    assert_eq!(CancelRequest::try_from(cancel).unwrap().operation, OperationId(9));
}

#[test]
fn a_bad_field_is_named() {
    type Spoil = fn(&mut wire::ReplaceMemberRequest);
    let cases: [(&str, Spoil); 9] = [
        ("request_id", |request| request.request_id.clear()),
        ("remove", |request| request.remove = 0),
        ("id", |request| request.id = 0),
        ("id", |request| request.id = u64::MAX),
        ("remove", |request| request.remove = COORDINATOR_ID_MAX + 1),
        ("api_address", |request| request.api_address = "nowhere".into()),
        ("api_address", |request| request.api_address.clear()),
        ("peer_address", |request| request.peer_address = "https://10.0.0.4:7400".into()),
        ("peer_address", |request| request.peer_address.clone_from(&request.api_address)),
    ];
    for (field, spoil) in cases {
        let mut request = replace();
        spoil(&mut request);
        assert_eq!(ChangeRequest::try_from(request).unwrap_err().field, field);
    }
    let cancel = wire::CancelMemberChangeRequest { request_id: "r1".into(), operation: "9".into() };
    assert_eq!(CancelRequest::try_from(cancel).unwrap_err().field, "operation");
}

#[test]
fn an_operation_that_changes_coordinators_shows_who_comes_and_who_goes() {
    let voters = [1, 2, 3].map(CoordinatorId).into();
    let change = CoordinatorChange::Replace { remove: CoordinatorId(3), add: spec() };
    let shown = types::Operation::from(&Operation {
        id: OperationId(9),
        work: Work::CoordinatorChange(ChangeProgress::begun(change, voters)),
        status: OperationStatus::Running,
        steps: vec![],
        cause: Cause::Cluster,
        evidence: vec![],
        created_at: Timestamp(2),
        finished_at: None,
        outcome: String::new(),
    });
    assert_eq!((shown.kind.as_str(), shown.group.as_str()), ("replace-member", ""));
    assert_eq!((shown.from.as_str(), shown.to.as_str()), ("3", "4"));
    let expected = types::MemberChange {
        joins: 4,
        promoted: 0,
        leaves: 3,
        voters_before: vec![1, 2, 3],
        voters_after: vec![1, 2, 4],
        caught_up: false,
        on_record: false,
        cancelled: false,
    };
    assert_eq!(shown.member_change, Some(expected));
}
