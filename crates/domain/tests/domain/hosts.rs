//! Registration, status and disks: exact events, or the refusal's code.

use crate::stage::{Stage, disk_id, finding, h, mark, register, report};
use quorate_domain::{
    AssignmentEntry, Command, Disk, DiskIdentity, Event, FaultClass, HookTimes, HostStatus, Incarnation,
    InstanceId, Role, StartId, Timestamp, Verdict, VerdictReason, Zone, assignment::assignment,
    disk::REASONS_MAX, host::highest_start,
};

#[test]
fn a_host_registers_once_and_the_same_start_again_changes_nothing() {
    let mut stage = Stage::hosts();
    assert_eq!(
        stage.ok(register("h4", "i-h4", 7)),
        [Event::HostRegistered {
            host: h("h4"),
            zone: Zone::new("z1").unwrap(),
            address: "10.0.0.1:7000".into(),
            instance: InstanceId::new("i-h4").unwrap(),
            incarnation: Incarnation(7),
            start: StartId(1),
            hook_times: HookTimes::default(),
        }]
    );
    assert_eq!(stage.host("h4").status, HostStatus::Online);
    assert_eq!(stage.ok(register("h4", "i-h4", 7)), []);
}

#[test]
fn a_host_that_moved_is_updated() {
    let mut stage = Stage::hosts();
    let mut command = register("h1", "i-h1", 1);
    if let Command::RegisterHost { zone, address, .. } = &mut command {
        *zone = Zone::new("z9").unwrap();
        *address = "10.9.9.9:1".into();
    }
    assert_eq!(
        stage.ok(command),
        [Event::HostUpdated { host: h("h1"), zone: Zone::new("z9").unwrap(), address: "10.9.9.9:1".into() }]
    );
}

#[test]
fn registration_refuses_earlier_starts_and_other_agents() {
    for (status, instance, incarnation, expected) in [
        (HostStatus::Online, "i-h1", 4, "STALE_INCARNATION"),
        (HostStatus::Offline, "i-h1", 4, "STALE_INCARNATION"),
        (HostStatus::Online, "another", 6, "HOST_ID_IN_USE"),
        (HostStatus::Suspect, "another", 6, "HOST_ID_IN_USE"),
        (HostStatus::Offline, "another", 5, "STALE_INCARNATION"),
    ] {
        let mut stage = Stage::hosts();
        stage.ok(register("h1", "i-h1", 5));
        if status != HostStatus::Online {
            stage.ok(mark("h1", 5, status));
        }
        let code = stage.refused(register("h1", instance, incarnation));
        assert_eq!(code, expected, "{status} {instance} {incarnation}");
    }
}

#[test]
fn a_start_that_counts_like_the_recorded_one_is_refused_until_it_counts_higher() {
    let mut stage = Stage::hosts();
    stage.ok(register("h1", "i-h1", 5));
    let copy = |incarnation| {
        let mut command = register("h1", "i-h1", incarnation);
        if let Command::RegisterHost { start, .. } = &mut command {
            *start = StartId(2);
        }
        command
    };
    assert_eq!(stage.refused(copy(5)), "STALE_INCARNATION");
    assert_eq!(stage.host("h1").start, StartId(1));
    let restarted = stage.ok(copy(6));
    assert!(matches!(restarted[..], [Event::HostRestarted { start: StartId(2), .. }]), "{restarted:?}");
    assert_eq!(stage.refused(register("h1", "i-h1", 6)), "STALE_INCARNATION");
}

#[test]
fn a_start_that_leaves_no_room_above_it_is_refused_of_a_host_that_is_known_and_of_one_that_is_not() {
    let mut stage = Stage::hosts();
    let by_time = highest_start(stage.state.now(), None);
    for host in ["h1", "h9"] {
        for forged in [u64::MAX, by_time.0 + 1_000_000] {
            let code = stage.refused(register(host, &format!("i-{host}"), forged));
            assert_eq!(code, "START_NUMBER_TOO_HIGH", "{host} {forged}");
        }
    }
    // The clock of a host may be at its end, and starts that no coordinator heard of count too.
    stage.ok(register("h1", "i-h1", by_time.0));
    stage.ok(register("h1", "i-h1", by_time.0 + 10_000));
    let highest = highest_start(stage.state.now(), Some(Incarnation(by_time.0 + 10_000)));
    assert_eq!(stage.refused(register("h1", "i-h1", highest.0 + 1)), "START_NUMBER_TOO_HIGH");
}

#[test]
fn a_clock_of_coordinators_at_its_beginning_refuses_no_agent_of_these_years() {
    let in_2100 = 4_102_444_800_000;
    assert!(highest_start(Timestamp(0), None) > Incarnation(in_2100));
}

#[test]
fn another_agent_may_take_the_name_of_a_host_that_is_offline() {
    let mut stage = Stage::hosts();
    stage.ok(mark("h1", 1, HostStatus::Offline));
    assert_eq!(
        stage.ok(register("h1", "another", 2)),
        [Event::HostRestarted {
            host: h("h1"),
            instance: InstanceId::new("another").unwrap(),
            incarnation: Incarnation(2),
            start: StartId(1),
            hook_times: HookTimes::default(),
        }]
    );
    assert_eq!(stage.host("h1").status, HostStatus::Offline, "only contact makes it online");
}

#[test]
fn a_restart_voids_what_was_granted_to_the_earlier_start() {
    let mut stage = Stage::active();
    let earlier = stage.acknowledge("h1");
    stage.ok(register("h1", "i-h1", 2));
    let entries = assignment(&stage.state, &h("h1")).unwrap().entries;
    assert!(
        matches!(&entries[..], [AssignmentEntry { role: Role::Primary, granted_to: Incarnation(1), .. }]),
        "the assignment names the start that may act, and that is not this one: {entries:?}"
    );
    assert_eq!(stage.host("h1").assignment_revision, stage.state.revision());
    assert_eq!(stage.refused(earlier), "STALE_INCARNATION");
    assert_eq!(stage.refused(stage.clone().acknowledge("h1")), "NOT_THE_HOLDER");
    assert_eq!(stage.refused(stage.clone().installed("h1")), "NOT_THE_HOLDER");
    assert_eq!(stage.refused(stage.clone().start_failed("h1")), "NOT_THE_HOLDER");
}

#[test]
fn a_status_changes_once_and_counts_errors() {
    use HostStatus::{Offline, Online, Suspect};
    let mut stage = Stage::hosts();
    let changed = |from, to| {
        vec![Event::HostStatusChanged { host: h("h1"), from, to, reason: "test".into(), evidence: vec![] }]
    };
    assert_eq!(stage.ok(mark("h1", 1, Online)), []);
    assert_eq!(stage.ok(mark("h1", 1, Suspect)), changed(Online, Suspect));
    assert_eq!(stage.ok(mark("h1", 1, Offline)), changed(Suspect, Offline));
    assert_eq!(stage.ok(mark("h1", 1, Offline)), []);
    assert_eq!(stage.ok(mark("h1", 1, Online)), changed(Offline, Online));
    assert_eq!(stage.host("h1").error_count, 1);
    assert_eq!(stage.host("h1").last_transition.from, Some(Offline));
    assert_eq!(stage.refused(mark("h1", 2, Offline)), "STALE_INCARNATION");
    assert_eq!(stage.refused(mark("h9", 1, Offline)), "HOST_NOT_FOUND");
}

fn with_reasons(mut command: Command, codes: &[&str], time: u64) -> Command {
    if let Command::RecordDisk { reasons, .. } = &mut command {
        *reasons = codes.iter().map(|code| finding(code, time)).collect();
    }
    command
}

#[test]
fn a_disk_is_added_and_then_only_news_counts() {
    let mut stage = Stage::hosts();
    assert_eq!(
        stage.ok(report("h1", "d2", "m", Verdict::Healthy)),
        [Event::DiskAdded {
            disk: disk_id("h1", "d2"),
            identity: DiskIdentity("m".into()),
            path: "/data".into(),
            capacity_bytes: 1_000,
            verdict: Verdict::Healthy,
            reasons: vec![],
        }]
    );
    assert_eq!(stage.ok(report("h1", "d2", "m", Verdict::Healthy)), []);
    let slow = |time| with_reasons(report("h1", "d2", "m", Verdict::Degraded), &["slow"], time);
    assert_eq!(
        stage.ok(slow(1)),
        [Event::DiskChanged {
            disk: disk_id("h1", "d2"),
            identity: DiskIdentity("m".into()),
            path: "/data".into(),
            capacity_bytes: 1_000,
            from: Verdict::Healthy,
            verdict: Verdict::Degraded,
            reasons: vec![finding("slow", 1)],
        }]
    );
    assert_eq!(stage.ok(slow(2)), [], "the same finding, seen later");
    assert_eq!(stage.ok(report("h1", "d2", "", Verdict::Healthy)).len(), 1);
    let disk = stage.state.disks.get(&disk_id("h1", "d2")).unwrap();
    assert_eq!((disk.identity.0.as_str(), disk.error_count), ("m", 1));
}

#[test]
fn a_disk_report_of_an_unknown_host_or_another_start_is_refused() {
    let mut stage = Stage::hosts();
    assert_eq!(stage.refused(report("h9", "d1", "m", Verdict::Healthy)), "HOST_NOT_FOUND");
    stage.ok(register("h1", "i-h1", 2));
    assert_eq!(stage.refused(report("h1", "d1", "medium-h1", Verdict::Failed)), "STALE_INCARNATION");
}

/// As [`report`], with one finding of this class.
fn failed(class: FaultClass) -> Command {
    let mut command = report("h1", "d1", "medium-h1", Verdict::Failed);
    if let Command::RecordDisk { reasons, .. } = &mut command {
        *reasons = vec![VerdictReason { class, ..finding("probe_write_failed", 1) }];
    }
    command
}

fn clear(reason: &str) -> Command {
    Command::ClearDisk { disk: disk_id("h1", "d1"), reason: reason.into() }
}

impl Stage {
    fn disk(&self) -> &Disk {
        self.state.disks.get(&disk_id("h1", "d1")).expect("a disk of this stage")
    }

    /// Disk h1/d1 is latched by a fault of its medium.
    fn latched() -> Self {
        let mut stage = Self::hosts();
        stage.ok(failed(FaultClass::Medium));
        stage
    }
}

#[test]
fn a_fault_of_the_environment_passes_when_the_same_medium_is_well_again() {
    let mut stage = Stage::hosts();
    stage.ok(failed(FaultClass::Environment));
    assert_eq!((stage.disk().verdict, &stage.disk().latched), (Verdict::Failed, &None));
    assert_eq!(stage.refused(clear("it is mounted")), "DISK_NOT_LATCHED");
    stage.ok(report("h1", "d1", "medium-h1", Verdict::Healthy));
    assert_eq!((stage.disk().verdict, stage.disk().reasons.len()), (Verdict::Healthy, 0));
}

#[test]
fn a_fault_of_the_medium_latches_beside_others_and_by_itself() {
    let mut stage = Stage::hosts();
    stage.ok(failed(FaultClass::Environment));
    let mut both = failed(FaultClass::Environment);
    if let Command::RecordDisk { reasons, .. } = &mut both {
        reasons.push(finding("probe_mismatch", 1));
    }
    let events = stage.ok(both);
    assert!(
        matches!(&events[..], [Event::DiskChanged { .. }, Event::DiskLatched { codes, .. }] if *codes == ["probe_mismatch"]),
        "{events:?}"
    );
    let unexplained = Stage::hosts().ok(report("h1", "d1", "medium-h1", Verdict::Failed));
    assert!(matches!(unexplained[..], [Event::DiskChanged { .. }, Event::DiskLatched { .. }]));
    let at_first_sight = Stage::hosts().ok(report("h1", "d2", "m", Verdict::Failed));
    assert!(matches!(at_first_sight[..], [Event::DiskAdded { .. }, Event::DiskLatched { .. }]));
}

#[test]
fn a_latched_disk_stays_failed_whatever_its_checks_say_until_another_medium_sits_there() {
    use Verdict::{Degraded, Failed, Healthy, Unknown};
    for (identity, verdict, expected, well) in [
        ("medium-h1", Healthy, Failed, true),
        ("medium-h1", Degraded, Failed, true),
        ("medium-h1", Unknown, Failed, false),
        ("medium-h1", Failed, Failed, false),
        ("", Unknown, Failed, false),
        ("", Failed, Failed, false),
        ("another", Healthy, Healthy, false),
        ("another", Unknown, Unknown, false),
        ("another", Failed, Failed, false),
    ] {
        let mut stage = Stage::latched();
        let since = stage.disk().latched.as_ref().unwrap().since;
        stage.ok(report("h1", "d1", identity, verdict));
        let disk = stage.disk();
        assert_eq!(disk.verdict, expected, "{identity:?} {verdict}");
        let latched = disk.latched.as_ref();
        assert_eq!(latched.is_some(), expected == Failed, "{identity:?} {verdict}");
        assert_eq!(latched.is_some_and(|latch| latch.well_since.is_some()), well, "{identity:?} {verdict}");
        let same_latch = latched.is_some_and(|latch| latch.since == since);
        assert_eq!(same_latch, expected == Failed && identity != "another", "{identity:?} {verdict}");
    }
}

#[test]
fn a_latched_disk_says_since_when_it_is_well_and_why_it_was_latched() {
    let mut stage = Stage::latched();
    let well = || report("h1", "d1", "medium-h1", Verdict::Healthy);
    assert_eq!(stage.ok(well()), [Event::LatchedDiskChecked { disk: disk_id("h1", "d1"), well: true }]);
    assert_eq!(stage.ok(well()), [], "said once");
    assert_eq!(stage.disk().reasons[0].code, "probe_write_failed");
    let unknown = report("h1", "d1", "medium-h1", Verdict::Unknown);
    assert_eq!(stage.ok(unknown), [Event::LatchedDiskChecked { disk: disk_id("h1", "d1"), well: false }]);
}

#[test]
fn an_operator_clears_a_latched_disk_that_passes_its_checks() {
    let mut stage = Stage::latched();
    assert_eq!(stage.refused(clear("it was the cable")), "DISK_STILL_FAILING");
    stage.ok(report("h1", "d1", "medium-h1", Verdict::Healthy));
    for reason in ["", "  ", &"x".repeat(257)] {
        assert_eq!(stage.refused(clear(reason)), "INVALID_REASON");
    }
    assert_eq!(
        stage.ok(clear("it was the cable")),
        [Event::DiskCleared { disk: disk_id("h1", "d1"), reason: "it was the cable".into() }]
    );
    stage.ok(report("h1", "d1", "medium-h1", Verdict::Healthy));
    assert_eq!((stage.disk().verdict, &stage.disk().latched), (Verdict::Healthy, &None));
    let nowhere = Command::ClearDisk { disk: disk_id("h9", "d1"), reason: "why".into() };
    assert_eq!(stage.refused(nowhere), "DISK_NOT_FOUND");
}

#[test]
fn a_verdict_keeps_no_more_reasons_than_the_limit() {
    let mut stage = Stage::hosts();
    let codes: Vec<String> = (0..REASONS_MAX + 5).map(|number| format!("c{number}")).collect();
    let codes: Vec<&str> = codes.iter().map(String::as_str).collect();
    let command = with_reasons(report("h1", "d1", "medium-h1", Verdict::Degraded), &codes, 1);
    stage.ok(command.clone());
    assert_eq!(stage.state.disks.get(&disk_id("h1", "d1")).unwrap().reasons.len(), REASONS_MAX);
    assert_eq!(stage.ok(command), []);
}
