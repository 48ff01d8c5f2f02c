//! What the services show of the state.

use quorate_domain::{
    Cause, Committed, Disk, DiskId, DiskIdentity, Epoch, Event, Evidence, Failover, Group, GroupId,
    HookTimes, Host, HostId, HostStatus, Incarnation, Member, Operation, OperationId, OperationStatus, Phase,
    RequestId, Revision, StartId, Step, StepName, StepStatus, Switch, Timestamp, Verdict, VerdictReason,
    Work, group::Blocked, host::Transition, operation::FailoverReason,
};
use quorate_rpc::pb::types as wire;
use std::collections::BTreeMap;

fn host(id: &str) -> HostId {
    id.parse().unwrap()
}
fn member(id: &str) -> Member {
    Member { host: host(id), disk: "d1".parse().unwrap() }
}

#[test]
fn a_host_leaves_what_only_the_leader_knows_to_the_caller() {
    let shown = wire::Host::from(&Host {
        id: host("h1"),
        address: "a:1".into(),
        zone: "z1".parse().unwrap(),
        instance: "i1".parse().unwrap(),
        incarnation: Incarnation(3),
        start: StartId(4),
        hook_times: HookTimes { promotion_ms: 10_000, demotion_ms: 11_000 },
        status: HostStatus::Suspect,
        error_count: 2,
        last_transition: Transition {
            at: Timestamp(5),
            from: Some(HostStatus::Online),
            reason: "3 missed".into(),
        },
        assignment_revision: Revision(7),
        registered_at: Timestamp(1),
    });
    let expected = wire::Host {
        id: "h1".into(),
        zone: "z1".into(),
        address: "a:1".into(),
        status: wire::HostStatus::Suspect.into(),
        incarnation: 3,
        error_count: 2,
        last_transition_at_ms: 5,
        last_transition_reason: "3 missed".into(),
        assignment_revision: 7,
        promotion_ms: 10_000,
        demotion_ms: 11_000,
        ..wire::Host::default()
    };
    assert_eq!(shown, expected);
    assert_eq!(shown.last_contact_ms, None);
}

#[test]
fn a_disk_shows_its_verdict_and_why() {
    let reason = VerdictReason {
        code: "probe_write_failed".into(),
        attribute: "write".into(),
        observed: "EIO".into(),
        threshold: String::new(),
        source: "probe".into(),
        at: Timestamp(9),
    };
    let shown = wire::Disk::from(&Disk {
        id: "h1/d1".parse::<DiskId>().unwrap(),
        identity: DiskIdentity("s1".into()),
        path: "/srv".into(),
        capacity_bytes: 100,
        verdict: Verdict::Failed,
        reasons: vec![reason.clone()],
        error_count: 1,
        changed_at: Timestamp(8),
    });
    assert_eq!((shown.host.as_str(), shown.name.as_str()), ("h1", "d1"));
    assert_eq!(shown.verdict(), wire::Verdict::Failed);
    assert_eq!((shown.free_bytes, shown.checked_at_ms), (None, None));
    assert_eq!(VerdictReason::try_from(shown.reasons[0].clone()), Ok(reason));
}

#[test]
fn a_group_shows_its_failover_and_what_is_in_its_way() {
    let group = Group {
        id: "g1".parse().unwrap(),
        primary: member("h1"),
        granted_to: Incarnation(2),
        demotion_ms: 0,
        unstopped: [(host("h3"), Epoch(5))].into(),
        backups: vec![member("h2"), member("h3")],
        epoch: Epoch(6),
        phase: Phase::Revoked { operation: OperationId(9), released: false, candidate: None },
        blocked: Some(Blocked { since: Timestamp(4), reasons: vec!["h2/d1: its host is offline".into()] }),
        history: vec![],
        labels: [("app".to_owned(), "db".to_owned())].into(),
        created_at: Timestamp(1),
        modified: Revision(11),
    };
    let shown = wire::Group::from(&group);
    let wire_member = |host: &str| wire::Member { host: host.into(), disk: "d1".into() };
    let expected = wire::Group {
        id: "g1".into(),
        primary: Some(wire_member("h1")),
        backups: vec![wire_member("h2"), wire_member("h3")],
        epoch: 6,
        phase: wire::GroupPhase::Revoked.into(),
        operation: "op-9".into(),
        blocked_reasons: vec!["h2/d1: its host is offline".into()],
        blocked_since_ms: 4,
        labels: [("app".to_owned(), "db".to_owned())].into(),
        created_at_ms: 1,
        modified_revision: 11,
        granted_to_incarnation: 2,
        unstopped: vec![wire::Unstopped { host: "h3".into(), epoch: 5 }],
    };
    assert_eq!(shown, expected);
    let active = wire::Group::from(&Group { phase: Phase::Active, blocked: None, ..group });
    assert_eq!(active.phase(), wire::GroupPhase::Active);
    assert!(active.operation.is_empty() && active.blocked_reasons.is_empty());
}

#[test]
fn a_switch_and_an_operation_show_all_they_carry() {
    let switch = Switch {
        operation: OperationId(9),
        revision: Revision(12),
        at: Timestamp(3),
        from: host("h1"),
        to: host("h2"),
        epoch: Epoch(7),
        reason: "host-lost".into(),
    };
    let expected = wire::Switch {
        operation: "op-9".into(),
        revision: 12,
        at_ms: 3,
        from: "h1".into(),
        to: "h2".into(),
        epoch: 7,
        reason: "host-lost".into(),
    };
    assert_eq!(wire::Switch::from(&switch), expected);

    let operation = Operation {
        id: OperationId(9),
        work: Work::Failover(Failover {
            group: "g1".parse().unwrap(),
            reason: FailoverReason::Requested,
            from: host("h1"),
            from_epoch: Epoch(6),
            target: Some(host("h2")),
            to: None,
            attempts: [(host("h3"), 2)].into(),
        }),
        status: OperationStatus::Running,
        steps: vec![Step {
            name: StepName::StopOldPrimary,
            status: StepStatus::Running,
            started_at: Some(Timestamp(2)),
            finished_at: None,
            note: "waiting".into(),
        }],
        cause: Cause::Operator { request_id: RequestId::new("r1").unwrap() },
        evidence: vec![Evidence::new("last_contact_ms", 9_000, 7_500, "leader 1")],
        created_at: Timestamp(2),
        finished_at: None,
        outcome: String::new(),
    };
    let shown = wire::Operation::from(&operation);
    assert_eq!((shown.id.as_str(), shown.kind.as_str(), shown.group.as_str()), ("op-9", "failover", "g1"));
    assert_eq!((shown.target.as_str(), shown.to.as_str(), shown.request_id.as_str()), ("h2", "", "r1"));
    assert_eq!((shown.status(), shown.failed_attempts), (wire::OperationStatus::Running, 2));
    assert_eq!(shown.steps[0].name, "stop-old-primary");
    assert_eq!((shown.steps[0].status(), shown.steps[0].finished_at_ms), (wire::StepStatus::Running, None));
    assert_eq!(shown.evidence[0].observed, "9000");
}

#[test]
fn a_revision_carries_each_event_whole_as_json() {
    let event = Event::PrimarySwitched {
        operation: OperationId(9),
        group: GroupId::new("g1").unwrap(),
        from: host("h1"),
        to: host("h2"),
        granted_to: Incarnation(1),
        epoch: Epoch(7),
        reason: FailoverReason::HostLost,
    };
    let labels = Event::GroupLabelsChanged {
        group: GroupId::new("g1").unwrap(),
        labels: BTreeMap::from([("a".to_owned(), "\"\n".to_owned())]).into(),
    };
    let shown = wire::Revision::from(&Committed {
        revision: Revision(12),
        at: Timestamp(3),
        cause: Cause::Planner { rule: "failover/promote".into() },
        command: "Promote".into(),
        events: vec![event.clone(), labels.clone()],
    });
    assert_eq!((shown.revision, shown.at_ms, shown.command.as_str()), (12, 3, "Promote"));
    assert_eq!((shown.cause.as_str(), shown.request_id.as_str()), ("rule failover/promote", ""));
    let first = &shown.events[0];
    assert_eq!((first.r#type.as_str(), first.host.as_str()), ("PrimarySwitched", "h2"));
    assert_eq!((first.group.as_str(), first.operation.as_str()), ("g1", "op-9"));
    for (shown, event) in shown.events.iter().zip([event, labels]) {
        assert_eq!(serde_json::from_str::<Event>(&shown.detail_json).unwrap(), event);
    }
}
