//! Requests of clients become commands, or refusals that name the field.

use quorate_domain::{Command, GroupId, HostId, command::MemberSpec, operation::FailoverReason};
use quorate_rpc::{
    InvalidField,
    convert::{self, Consistency, Mutation},
    pb::{control as wire, types},
};
use std::collections::BTreeMap;

/// Makes one field of a message bad.
type Spoil<T> = fn(&mut T);

fn member(host: &str, disk: &str) -> types::Member {
    types::Member { host: host.into(), disk: disk.into() }
}

fn create() -> wire::CreateGroupRequest {
    wire::CreateGroupRequest {
        request_id: "r1".into(),
        group: "g1".into(),
        primary: Some(member("h1", "")),
        backups: vec![member("h2", "d2")],
        labels: [("app".to_owned(), "db".to_owned())].into(),
    }
}

#[test]
fn a_creation_becomes_its_command() {
    let mutation = Mutation::try_from(create()).unwrap();
    assert_eq!(mutation.request_id.as_str(), "r1");
    let spec = |host: &str, disk: Option<&str>| MemberSpec {
        host: host.parse().unwrap(),
        disk: disk.map(|disk| disk.parse().unwrap()),
    };
    let expected = Command::CreateGroup {
        group: GroupId::new("g1").unwrap(),
        primary: spec("h1", None),
        backups: vec![spec("h2", Some("d2"))],
        labels: [("app".to_owned(), "db".to_owned())].into(),
    };
    assert_eq!(mutation.command, expected);
}

#[test]
fn a_failover_request_becomes_a_requested_failover() {
    let request = |target: &str| wire::RequestFailoverRequest {
        request_id: "r1".into(),
        group: "g1".into(),
        target: target.into(),
    };
    for (text, target) in [("", None), ("h2", Some(HostId::new("h2").unwrap()))] {
        let expected = Command::BeginFailover {
            group: GroupId::new("g1").unwrap(),
            epoch: None,
            reason: FailoverReason::Requested,
            target,
            evidence: vec![],
        };
        assert_eq!(Mutation::try_from(request(text)).unwrap().command, expected);
    }
}

#[test]
fn deletions_and_labels_become_their_commands() {
    let delete = wire::DeleteGroupRequest { request_id: "r1".into(), group: "g1".into() };
    let group = GroupId::new("g1").unwrap();
    assert_eq!(Mutation::try_from(delete).unwrap().command, Command::DeleteGroup { group: group.clone() });
    let labels = wire::SetGroupLabelsRequest {
        request_id: "r1".into(),
        group: "g1".into(),
        labels: [("a".to_owned(), String::new())].into(),
    };
    let expected =
        Command::SetGroupLabels { group, labels: BTreeMap::from([("a".to_owned(), String::new())]).into() };
    assert_eq!(Mutation::try_from(labels).unwrap().command, expected);
}

#[test]
fn what_operators_do_becomes_its_command() {
    let (request_id, group, host, reason) =
        ("r1".to_owned(), "g1".to_owned(), "h1".to_owned(), "why".to_owned());
    let (g1, h1) = (GroupId::new("g1").unwrap(), HostId::new("h1").unwrap());
    let cordon = wire::CordonHostRequest {
        request_id: request_id.clone(),
        host: host.clone(),
        reason: reason.clone(),
    };
    let expected = Command::CordonHost { host: h1.clone(), reason: reason.clone() };
    assert_eq!(Mutation::try_from(cordon).unwrap().command, expected);
    let add = wire::AddGroupMemberRequest {
        request_id: request_id.clone(),
        group: group.clone(),
        member: Some(member("h1", "")),
        accepted: true,
        reason: reason.clone(),
    };
    let expected = Command::AddMember {
        group: g1.clone(),
        member: MemberSpec { host: h1.clone(), disk: None },
        accepted: true,
        reason: reason.clone(),
    };
    assert_eq!(Mutation::try_from(add.clone()).unwrap().command, expected);
    let without = wire::AddGroupMemberRequest { member: None, ..add.clone() };
    assert_eq!(Mutation::try_from(without).unwrap_err().field, "member");
    let nobody = wire::AddGroupMemberRequest { member: Some(member("", "")), ..add };
    assert_eq!(Mutation::try_from(nobody).unwrap_err().field, "member.host");
    let clear = wire::ClearDiskRequest { request_id: request_id.clone(), host, name: "d1".into(), reason };
    let Command::ClearDisk { disk, .. } = Mutation::try_from(clear.clone()).unwrap().command else {
        panic!("another command")
    };
    assert_eq!(disk.to_string(), "h1/d1");
    let long = wire::ClearDiskRequest { reason: "x".repeat(5_000), ..clear };
    assert_eq!(Mutation::try_from(long).unwrap_err().field, "reason");
    let reorder = |hosts: &[&str]| wire::ReorderGroupMembersRequest {
        request_id: request_id.clone(),
        group: group.clone(),
        hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
    };
    let expected = Command::ReorderMembers { group: g1, order: vec![h1] };
    assert_eq!(Mutation::try_from(reorder(&["h1"])).unwrap().command, expected);
    assert_eq!(Mutation::try_from(reorder(&["h1", "a b"])).unwrap_err().field, "hosts[1]");
    assert_eq!(Mutation::try_from(reorder(&["h"; 17])).unwrap_err().field, "hosts");
}

#[test]
fn every_mutation_requires_a_request_id() {
    let refusals: Vec<InvalidField> = vec![
        Mutation::try_from(wire::CreateGroupRequest { request_id: String::new(), ..create() }).unwrap_err(),
        Mutation::try_from(wire::SetGroupLabelsRequest::default()).unwrap_err(),
        Mutation::try_from(wire::DeleteGroupRequest::default()).unwrap_err(),
        Mutation::try_from(wire::RequestFailoverRequest::default()).unwrap_err(),
        Mutation::try_from(wire::ClearDiskRequest::default()).unwrap_err(),
        Mutation::try_from(wire::AcceptGroupMemberRequest::default()).unwrap_err(),
        Mutation::try_from(wire::AddGroupMemberRequest::default()).unwrap_err(),
        Mutation::try_from(wire::RemoveGroupMemberRequest::default()).unwrap_err(),
        Mutation::try_from(wire::ReorderGroupMembersRequest::default()).unwrap_err(),
        Mutation::try_from(wire::ForgetHostRequest::default()).unwrap_err(),
        Mutation::try_from(wire::ResetHostRequest::default()).unwrap_err(),
        Mutation::try_from(wire::CordonHostRequest::default()).unwrap_err(),
        Mutation::try_from(wire::UncordonHostRequest::default()).unwrap_err(),
        Mutation::try_from(wire::ForgetDiskRequest::default()).unwrap_err(),
    ];
    for refused in refusals {
        assert!(refused.to_string().starts_with("request_id: required"), "{refused}");
    }
}

#[test]
fn each_bad_field_of_a_creation_names_itself() {
    let table: Vec<(&str, Spoil<wire::CreateGroupRequest>)> = vec![
        ("request_id", |request| request.request_id = "has spaces".into()),
        ("request_id", |request| request.request_id = "x".repeat(129)),
        ("group", |request| request.group.clear()),
        ("group", |request| request.group = "a/b".into()),
        ("primary", |request| request.primary = None),
        ("primary.host", |request| request.primary = Some(member("", "d"))),
        ("primary.disk", |request| request.primary = Some(member("h", "a b"))),
        ("backups[1].host", |request| request.backups.push(member("-", ""))),
        ("backups", |request| request.backups = vec![member("h", ""); 16]),
        ("labels", |request| request.labels = [(String::new(), "v".to_owned())].into()),
        ("labels", |request| request.labels = (0..65).map(|n| (n.to_string(), String::new())).collect()),
        ("labels[\"k\"]", |request| request.labels = [("k".to_owned(), "v".repeat(257))].into()),
    ];
    for (field, spoil) in table {
        let mut request = create();
        spoil(&mut request);
        let refused = Mutation::try_from(request).unwrap_err();
        assert_eq!(refused.field, field, "{refused}");
        assert!(!refused.problem.is_empty() && !refused.remedy.is_empty(), "{refused}");
    }
}

#[test]
fn reads_take_their_defaults_and_refuse_what_they_do_not_know() {
    assert_eq!(convert::consistency(0), Ok(Consistency::Linearizable));
    assert_eq!(convert::consistency(1), Ok(Consistency::Linearizable));
    assert_eq!(convert::consistency(2), Ok(Consistency::Stale));
    assert_eq!(convert::consistency(3).unwrap_err().field, "consistency");
    assert_eq!([0, 1, 1_000, u32::MAX].map(convert::page_size), [100, 1, 1_000, 1_000]);
    assert_eq!([0, 5, u64::MAX].map(convert::wait_ms), [30_000, 5, 60_000]);
    assert_eq!(convert::operation_id("").unwrap_err().field, "operation");
    assert_eq!(convert::operation_id("op-7").unwrap().0, 7);
    assert_eq!(convert::disk_id("h", "").unwrap_err().field, "name");
    assert_eq!(convert::disk_id("h", "d").unwrap().to_string(), "h/d");
    assert_eq!(convert::host_id("h").unwrap().as_str(), "h");
    assert_eq!(convert::group_id(" ").unwrap_err().field, "group");
}
