//! Fixed values of every noun.

use quorate_rpc::pb::{
    agent::{GroupRole, ListRolesResponse},
    control::{GetStatusResponse, Health, Member as Coordinator, MemberRole, MemberState, ServiceModes},
    types::{
        Cordon, Disk, DiskLatch, Event, Evidence, FaultClass, Group, GroupMember, GroupPhase, Host,
        HostStatus, Member, Operation, OperationStatus, Revision, Role, ServiceMode, Severity, Step,
        StepStatus, Switch, Unstopped, Verdict, VerdictReason, Warning,
    },
};

/// 2026-01-01T00:00:00Z.
const T0_MS: u64 = 1_767_225_600_000;
/// Ninety seconds later.
pub(super) const NOW_MS: u64 = T0_MS + 90_000;

fn member(host: &str, disk: &str) -> Member {
    Member { host: host.into(), disk: disk.into() }
}

pub(super) fn host() -> Host {
    Host {
        id: "h1".into(),
        zone: "z1".into(),
        address: "127.0.0.1:7402".into(),
        status: HostStatus::Suspect.into(),
        incarnation: 3,
        error_count: 2,
        last_transition_at_ms: T0_MS,
        last_transition_reason: "no heartbeat for 3000 ms".into(),
        assignment_revision: 41,
        last_contact_ms: Some(3_250),
        service_mode: ServiceMode::ReadOnly.into(),
        installed_revision: 40,
        primary_of: vec!["g1".into(), "g2".into()],
        backup_of: vec![],
        cordoned: Some(Cordon { since_ms: T0_MS + 30_000, reason: "new kernel".into() }),
        promotion_ms: 10_000,
        demotion_ms: 11_000,
    }
}

pub(super) fn disk() -> Disk {
    Disk {
        host: "h1".into(),
        name: "d1".into(),
        path: "/srv/d1".into(),
        identity: "disk-1".into(),
        capacity_bytes: 1_610_612_736,
        verdict: Verdict::Failed.into(),
        reasons: vec![VerdictReason {
            code: "PROBE_FAILED".into(),
            attribute: "write".into(),
            observed: "EIO".into(),
            threshold: String::new(),
            source: "probe".into(),
            at_ms: T0_MS + 1_000,
            class: FaultClass::Medium.into(),
        }],
        error_count: 1,
        changed_at_ms: T0_MS + 1_000,
        free_bytes: None,
        checked_at_ms: Some(T0_MS + 85_000),
        latched: Some(DiskLatch {
            since_ms: T0_MS + 1_000,
            codes: vec!["PROBE_FAILED".into()],
            well_since_ms: Some(T0_MS + 60_000),
        }),
    }
}

fn group_member(host: &str, primary: bool, missed_identity: &str) -> GroupMember {
    let (accepted, missed_identity) = (missed_identity.is_empty(), missed_identity.to_owned());
    GroupMember { host: host.into(), disk: "d1".into(), primary, accepted, missed_identity }
}

pub(super) fn group() -> Group {
    Group {
        id: "g1".into(),
        primary: Some(member("h1", "d1")),
        backups: vec![member("h2", "d1"), member("h3", "d1")],
        epoch: 4,
        phase: GroupPhase::Revoked.into(),
        operation: "op-7".into(),
        blocked_reasons: vec!["h2: offline".into()],
        blocked_since_ms: T0_MS + 60_000,
        labels: [("tier".to_owned(), "gold".to_owned()), ("app".to_owned(), "db".to_owned())].into(),
        created_at_ms: T0_MS,
        modified_revision: 41,
        granted_to_incarnation: 3,
        members: vec![
            group_member("h1", true, ""),
            group_member("h2", false, ""),
            group_member("h3", false, "disk-3"),
        ],
        unstopped: vec![Unstopped { host: "h3".into(), epoch: 2 }],
    }
}

pub(super) fn switch() -> Switch {
    Switch {
        operation: "op-6".into(),
        revision: 30,
        at_ms: T0_MS,
        from: "h2".into(),
        to: "h1".into(),
        epoch: 4,
        reason: "host offline".into(),
    }
}

pub(super) fn operation() -> Operation {
    let step = |name: &str, status: StepStatus, started_at_ms, finished_at_ms| Step {
        name: name.into(),
        status: status.into(),
        started_at_ms,
        finished_at_ms,
        note: String::new(),
    };
    Operation {
        id: "op-7".into(),
        kind: "failover".into(),
        group: "g1".into(),
        reason: "host offline".into(),
        from: "h1".into(),
        from_epoch: 4,
        target: String::new(),
        to: String::new(),
        status: OperationStatus::Running.into(),
        steps: vec![
            step("stop-old-primary", StepStatus::Done, Some(T0_MS + 50_000), Some(T0_MS + 57_500)),
            step("ensure-consistency", StepStatus::Running, Some(T0_MS + 57_500), None),
            step("switch-primary", StepStatus::Pending, None, None),
        ],
        cause: "rule host-offline".into(),
        request_id: String::new(),
        evidence: vec![Evidence {
            what: "last_contact_ms".into(),
            observed: "9000".into(),
            threshold: "7500".into(),
            source: "leader 2".into(),
        }],
        created_at_ms: T0_MS + 50_000,
        finished_at_ms: None,
        outcome: String::new(),
        failed_attempts: 0,
        member_change: None,
    }
}

pub(super) fn revision() -> Revision {
    Revision {
        revision: 41,
        at_ms: T0_MS + 50_000,
        cause: "rule host-offline".into(),
        request_id: String::new(),
        command: "BeginFailover".into(),
        events: vec![
            Event {
                r#type: "FailoverBegun".into(),
                message: "group g1: primary h1 revoked at epoch 4 (host offline), op-7".into(),
                host: "h1".into(),
                group: "g1".into(),
                operation: "op-7".into(),
                detail_json: r#"{"FailoverBegun":{"epoch":4,"group":"g1"}}"#.into(),
            },
            Event {
                r#type: "FailoverBlocked".into(),
                message: "group g1: nobody can be promoted: h2: offline".into(),
                group: "g1".into(),
                detail_json: "not json".into(),
                ..Event::default()
            },
        ],
    }
}

pub(super) fn status() -> GetStatusResponse {
    let coordinator = |id: u64, leader: bool, voter: bool, lag_entries| Coordinator {
        id,
        peer_address: format!("10.0.0.{id}:7400"),
        api_address: format!("10.0.0.{id}:7401"),
        voter,
        leader,
        lag_entries,
        last_answer_ms: lag_entries.map(|entries| entries * 10),
        role: if voter { MemberRole::Voter } else { MemberRole::Learner }.into(),
        since_ms: T0_MS,
        state: if voter { MemberState::Answering } else { MemberState::NotReached }.into(),
        state_for_ms: (!voter).then_some(12_400),
        state_reason: if voter { String::new() } else { "at 10.0.0.3:7400: connection refused".into() },
    };
    let warning = |severity: Severity, code: &str, kind: &str, id: &str| Warning {
        code: code.into(),
        severity: severity.into(),
        subject_kind: kind.into(),
        subject_id: id.into(),
        since_ms: None,
        since_at_least: false,
        text: String::new(),
        remedy: String::new(),
    };
    GetStatusResponse {
        member_change: None,
        cluster_id: "prod".into(),
        formation_id: "0123456789abcdef0123456789abcdef".into(),
        coordinator_id: 2,
        leader_id: 2,
        leader_api_address: "10.0.0.2:7401".into(),
        term: 5,
        last_log_index: 120,
        applied_index: 119,
        revision: 41,
        state_digest: "abcd".into(),
        quorum_ack_ms: Some(12),
        can_decide: true,
        hosts_online: 4,
        hosts_suspect: 1,
        hosts_offline: 0,
        disks_healthy: 4,
        disks_degraded: 0,
        disks_failed: 1,
        disks_unknown: 0,
        groups_active: 2,
        groups_starting: 0,
        groups_revoked: 1,
        groups_blocked: 1,
        members: vec![
            coordinator(1, false, true, Some(3)),
            coordinator(2, true, true, Some(0)),
            coordinator(3, false, false, None),
        ],
        running: vec![operation()],
        warnings: vec![
            Warning {
                since_ms: Some(40_200),
                since_at_least: true,
                text: "nobody is primary: it was taken from h1/d1 (host-lost)".into(),
                remedy: "bring one of these hosts back".into(),
                ..warning(Severity::Critical, "GROUP_NOT_SERVED", "group", "g1")
            },
            Warning {
                since_ms: Some(12_400),
                text: "coordinator 3 is not reached at 10.0.0.3:7400: connection refused".into(),
                remedy: "start it".into(),
                ..warning(Severity::Warning, "COORDINATOR_NOT_REACHED", "coordinator", "3")
            },
            Warning {
                text: "4 coordinators vote".into(),
                ..warning(Severity::Note, "EVEN_VOTERS", "cluster", "")
            },
        ],
        warnings_unlisted: 7,
        health: Health::Critical.into(),
        grace_left_ms: Some(2_500),
        log_lines_lost: 7,
        stands_still: false,
        version: "0.1.0".into(),
        reaches_quorum: true,
        service_modes: Some(ServiceModes { normal: 3, read_only: 1, safe: 0, unknown: 1 }),
    }
}

/// What an agent says of its host.
pub(super) fn roles() -> ListRolesResponse {
    let role = |group: &str, role: Role, epoch, write_deadline_boot_ms| GroupRole {
        group: group.into(),
        role: role.into(),
        epoch,
        write_deadline_boot_ms,
        lease_deadline_boot_ms: if write_deadline_boot_ms == 0 { 0 } else { write_deadline_boot_ms + 1_000 },
        reason: "because".into(),
    };
    ListRolesResponse {
        roles: vec![role("g1", Role::Primary, 4, 14_500), role("g2", Role::Fenced, 2, 0)],
        at_boot_ms: 10_000,
        host: "h1".into(),
        service_mode: ServiceMode::Normal.into(),
        incarnation: 7,
        service_mode_reason: "a quorum renewed the lease".into(),
    }
}

/// Compares letter by letter; what is wanted may begin with a line break, for the sake of alignment.
pub(super) fn expect(shown: &str, wanted: &str) {
    let wanted = wanted.strip_prefix('\n').unwrap_or(wanted);
    assert_eq!(shown, wanted, "\n--- shown ---\n{shown}--- wanted ---\n{wanted}");
}
