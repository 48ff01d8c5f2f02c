//! One value of everything that is stored, spelled out: never change these, add new ones.

use crate::stage::{cluster, d, disk_id, finding, g, h, member, waited};
use quorate_domain::{
    Cause, Command, Committed, CoordinatorId, Disk, DiskIdentity, Epoch, Event, Evidence, Failover, Group,
    GroupId, HookTimes, Host, HostStatus, Incarnation, InstanceId, LeaseSettings, Operation, OperationId,
    OperationStatus, Outcome, Phase, Proposal, Rejection, RequestId, Revision, Settings, StartId, Step,
    StepName, StepStatus, Switch, Term, Timestamp, Verdict, Work, Zone,
    command::{Fencing, MemberSpec},
    eligibility::Ineligible,
    group::Blocked,
    host::Transition,
    operation::FailoverReason,
    request::RequestRecord,
    state::Cluster,
};
use std::collections::BTreeMap;

fn zone() -> Zone {
    Zone::new("z1").expect("a valid name")
}

fn instance() -> InstanceId {
    InstanceId::new("i-1").expect("a valid name")
}

fn request_id(id: &str) -> RequestId {
    RequestId::new(id).expect("a valid request id")
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("owner".into(), "storage".into())])
}

fn evidence() -> Vec<Evidence> {
    vec![Evidence::new("last_contact_ms", 3_100, 3_000, "leader 2 in term 7")]
}

fn settings() -> Settings {
    Settings {
        lease: LeaseSettings {
            heartbeat_ms: 1_100,
            lease_ms: 6_100,
            write_stop_ms: 5_100,
            wait_ms: 7_600,
            clock_error_ppm: 10_001,
            margin_ms: 501,
            suspect_after_heartbeats: 4,
        },
    }
}

pub(crate) fn stored_cluster() -> Cluster {
    Cluster {
        id: Some(cluster("c1")),
        formation: None,
        protocol: 1,
        settings: settings(),
        created_at: Timestamp(1_000),
        now: Timestamp(9_000),
        revision: Revision(70_000),
        highest_coordinator: CoordinatorId(0),
        led: None,
        refused: Vec::new(),
    }
}

pub(crate) fn stored_hosts() -> Vec<Host> {
    [
        ("h1", HostStatus::Online, None),
        ("h2", HostStatus::Suspect, Some(HostStatus::Online)),
        ("h3", HostStatus::Offline, Some(HostStatus::Suspect)),
    ]
    .into_iter()
    .map(|(id, status, from)| Host {
        id: h(id),
        address: "10.0.0.1:7000".into(),
        zone: zone(),
        instance: instance(),
        incarnation: Incarnation(300),
        start: StartId(0),
        hook_times: HookTimes::default(),
        status,
        error_count: 2,
        last_transition: Transition { at: Timestamp(4_000), from, reason: "why".into() },
        assignment_revision: Revision(66),
        registered_at: Timestamp(2_000),
        cordoned: None,
        unbound: false,
    })
    .collect()
}

pub(crate) fn stored_disks() -> Vec<Disk> {
    [Verdict::Healthy, Verdict::Degraded, Verdict::Failed, Verdict::Unknown]
        .into_iter()
        .zip(["d1", "d2", "d3", "d4"])
        .map(|(verdict, name)| Disk {
            id: disk_id("h1", name),
            identity: DiskIdentity("medium".into()),
            path: "/data".into(),
            capacity_bytes: 1 << 40,
            verdict,
            reasons: vec![finding("slow", 7)],
            error_count: 1,
            changed_at: Timestamp(3_000),
            latched: None,
            awaits_report: false,
        })
        .collect()
}

pub(crate) fn stored_groups() -> Vec<Group> {
    let phases = [
        ("g1", Phase::Starting { operation: None }),
        ("g2", Phase::Starting { operation: Some(OperationId(50)) }),
        ("g3", Phase::Active),
        ("g4", Phase::Revoked { operation: OperationId(51), released: false, candidate: None }),
        ("g5", Phase::Revoked { operation: OperationId(52), released: true, candidate: Some(h("h2")) }),
        ("g6", Phase::Deleting { released: true }),
    ];
    phases
        .into_iter()
        .map(|(id, phase)| Group {
            id: g(id),
            primary: member("h1"),
            granted_to: Incarnation(300),
            demotion_ms: 0,
            backups: vec![member("h2"), member("h3")],
            before_primary: 0,
            unstopped: BTreeMap::new(),
            epoch: Epoch(44),
            phase,
            blocked: Some(Blocked { since: Timestamp(5_000), reasons: vec!["nobody".into()] }),
            history: vec![Switch {
                operation: OperationId(40),
                revision: Revision(43),
                at: Timestamp(4_500),
                from: h("h2"),
                to: h("h1"),
                epoch: Epoch(44),
                reason: "host-lost".into(),
            }],
            labels: labels(),
            unaccepted: BTreeMap::new(),
            created_at: Timestamp(2_500),
            modified: Revision(60),
        })
        .collect()
}

pub(crate) fn stored_operations() -> Vec<Operation> {
    let reasons = [
        FailoverReason::Requested,
        FailoverReason::HostLost,
        FailoverReason::HostRestarted,
        FailoverReason::Released,
        FailoverReason::DiskFailed,
        FailoverReason::StartFailed,
    ];
    let causes = [
        Cause::Operator { request_id: request_id("r1") },
        Cause::Planner { rule: "failover/host-lost".into() },
        Cause::Agent { host: h("h1") },
        Cause::Cluster,
    ];
    let statuses = [OperationStatus::Running, OperationStatus::Succeeded, OperationStatus::Failed];
    let step_statuses =
        [StepStatus::Done, StepStatus::Done, StepStatus::Failed, StepStatus::Running, StepStatus::Pending];
    (0_usize..6)
        .map(|number| Operation {
            id: OperationId(50 + number as u64),
            work: Work::Failover(Failover {
                group: g("g2"),
                reason: reasons[number],
                from: h("h2"),
                from_epoch: Epoch(43),
                target: Some(h("h1")),
                to: Some(h("h1")),
                attempts: BTreeMap::from([(h("h3"), 2)]),
            }),
            status: statuses[number % 3],
            steps: StepName::FAILOVER
                .into_iter()
                .zip(step_statuses)
                .map(|(name, status)| Step {
                    name,
                    status,
                    started_at: Some(Timestamp(4_100)),
                    finished_at: None,
                    note: "note".into(),
                })
                .collect(),
            cause: causes[number % 4].clone(),
            evidence: evidence(),
            created_at: Timestamp(4_000),
            finished_at: (number % 3 != 0).then_some(Timestamp(4_600)),
            outcome: "outcome".into(),
        })
        .collect()
}

pub(crate) fn stored_requests() -> Vec<RequestRecord> {
    let reason = Ineligible::DiskNotUsable { disk: disk_id("h2", "d1"), verdict: "failed".into() };
    let outcomes = [
        Outcome::Accepted { revision: Revision(9), changed: true, operation: Some(OperationId(9)) },
        Outcome::Refused(Rejection::GroupExists(g("g1"))),
        Outcome::Refused(Rejection::NotEligible { group: g("g1"), host: h("h2"), reason: Box::new(reason) }),
        Outcome::Refused(Rejection::ClusterMissing),
    ];
    (0_u64..)
        .zip(outcomes)
        .map(|(number, outcome)| RequestRecord {
            id: request_id(&format!("r{number}")),
            fingerprint: u64::MAX - number,
            at: Timestamp(8_000),
            outcome,
        })
        .collect()
}

fn holder() -> (GroupId, Epoch, quorate_domain::HostId, Incarnation) {
    (g("g1"), Epoch(44), h("h1"), Incarnation(300))
}

/// One proposal of each command.
pub(crate) fn proposals() -> Vec<Proposal> {
    let cause = Cause::Operator { request_id: request_id("r1") };
    commands().into_iter().map(|command| Proposal::new(Timestamp(9_000), cause.clone(), command)).collect()
}

fn commands() -> Vec<Command> {
    let (group, epoch, host, incarnation) = holder();
    let reason = "why".to_owned();
    let (disk, identity, path) = (disk_id("h1", "d1"), DiskIdentity("medium".into()), "/data".to_owned());
    vec![
        Command::CreateCluster { cluster: cluster("c1"), formation: None, settings: settings() },
        Command::RegisterHost {
            host: host.clone(),
            zone: zone(),
            address: "10.0.0.1:7000".into(),
            instance: instance(),
            incarnation,
            start: StartId(0),
            hook_times: HookTimes::default(),
        },
        Command::MarkHost {
            host: host.clone(),
            incarnation,
            status: HostStatus::Suspect,
            reason: reason.clone(),
            evidence: evidence(),
        },
        Command::RecordDisk {
            disk,
            incarnation,
            identity,
            path,
            capacity_bytes: 1 << 40,
            verdict: Verdict::Failed,
            reasons: vec![finding("slow", 7)],
        },
        Command::CreateGroup {
            group: group.clone(),
            primary: MemberSpec { host: h("h1"), disk: Some(d("d1")) },
            backups: vec![MemberSpec { host: h("h2"), disk: None }],
            labels: labels(),
        },
        Command::SetGroupLabels { group: group.clone(), labels: labels().into() },
        Command::DeleteGroup { group: group.clone() },
        Command::FinishDeletion { group: group.clone(), epoch, fencing: Fencing::Released },
        Command::BeginFailover {
            group: group.clone(),
            epoch: Some(epoch),
            reason: FailoverReason::HostLost,
            target: Some(h("h2")),
            evidence: evidence(),
        },
        Command::RecordRelease {
            group: group.clone(),
            epoch,
            host: host.clone(),
            incarnation,
            reason: reason.clone(),
        },
        Command::ReportBlocked { group: group.clone(), epoch, reasons: vec!["nobody".into()] },
        Command::ChooseCandidate {
            group: group.clone(),
            operation: OperationId(51),
            candidate: h("h2"),
            fencing: waited(7_600, 7),
            evidence: evidence(),
        },
        Command::Promote {
            group: group.clone(),
            operation: OperationId(51),
            candidate: h("h2"),
            fencing: Fencing::Waited { waited_ms: 7_601, term: Term(7) },
        },
        Command::RecordInstalled { group: group.clone(), epoch, host: host.clone(), incarnation },
        Command::AcknowledgePromotion { group: group.clone(), epoch, host: host.clone(), incarnation },
        Command::ReportStartFailed { group, epoch, host, incarnation, reason },
    ]
}

/// One revision with every event.
pub(crate) fn committed() -> Committed {
    Committed {
        revision: Revision(70_000),
        at: Timestamp(9_000),
        cause: Cause::Planner { rule: "failover/host-lost".into() },
        command: "BeginFailover".into(),
        events: host_events().into_iter().chain(group_events()).chain(failover_events()).collect(),
    }
}

fn host_events() -> Vec<Event> {
    let (_, _, host, incarnation) = holder();
    let (disk, identity, path) = (disk_id("h1", "d1"), DiskIdentity("medium".into()), "/data".to_owned());
    let (capacity_bytes, reasons) = (1 << 40, vec![finding("slow", 7)]);
    let address = "10.0.0.1:7000".to_owned();
    vec![
        Event::ClusterCreated { cluster: cluster("c1"), formation: None, settings: settings() },
        Event::HostRegistered {
            host: host.clone(),
            zone: zone(),
            address: address.clone(),
            instance: instance(),
            incarnation,
            start: StartId(0),
            hook_times: HookTimes::default(),
        },
        Event::HostUpdated { host: host.clone(), zone: zone(), address },
        Event::HostRestarted {
            host: host.clone(),
            instance: instance(),
            incarnation,
            start: StartId(0),
            hook_times: HookTimes::default(),
        },
        Event::HostStatusChanged {
            host,
            from: HostStatus::Online,
            to: HostStatus::Offline,
            reason: "why".into(),
            evidence: evidence(),
        },
        Event::DiskAdded {
            disk: disk.clone(),
            identity: identity.clone(),
            path: path.clone(),
            capacity_bytes,
            verdict: Verdict::Unknown,
            reasons: reasons.clone(),
        },
        Event::DiskChanged {
            disk,
            identity,
            path,
            capacity_bytes,
            from: Verdict::Degraded,
            verdict: Verdict::Failed,
            reasons,
        },
    ]
}

fn group_events() -> Vec<Event> {
    let (group, epoch, ..) = holder();
    vec![
        Event::GroupCreated {
            group: group.clone(),
            primary: member("h1"),
            granted_to: Incarnation(300),
            backups: vec![member("h2")],
            epoch,
            labels: labels(),
        },
        Event::GroupLabelsChanged { group: group.clone(), labels: labels().into() },
        Event::GroupDeletionBegun { group: group.clone(), epoch },
        Event::GroupDeleted { group, epoch },
    ]
}

fn failover_events() -> Vec<Event> {
    let (group, epoch, host, incarnation) = holder();
    let (operation, reason) = (OperationId(51), "why".to_owned());
    vec![
        Event::FailoverBegun {
            operation,
            group: group.clone(),
            from: host.clone(),
            epoch,
            reason: FailoverReason::DiskFailed,
            target: Some(h("h2")),
            evidence: evidence(),
        },
        Event::OperationFailed { operation, group: group.clone(), outcome: "outcome".into() },
        Event::PrimaryReleased { group: group.clone(), epoch, host: host.clone(), reason: reason.clone() },
        Event::FailoverBlocked { group: group.clone(), reasons: vec!["nobody".into()] },
        Event::FailoverUnblocked { group: group.clone() },
        Event::CandidateChosen {
            operation,
            group: group.clone(),
            candidate: h("h2"),
            fenced_by: "released by its holder".into(),
            evidence: evidence(),
        },
        Event::PrimarySwitched {
            operation,
            group: group.clone(),
            from: host.clone(),
            to: h("h2"),
            granted_to: incarnation,
            epoch: epoch.next(),
            reason: FailoverReason::DiskFailed,
        },
        Event::AssignmentInstalled { operation, group: group.clone(), host: host.clone(), epoch },
        Event::PrimaryStarted { operation: Some(operation), group: group.clone(), host: host.clone(), epoch },
        Event::PrimaryStartFailed { operation, group, host, epoch, reason },
    ]
}
