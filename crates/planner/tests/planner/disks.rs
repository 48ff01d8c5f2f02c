use crate::world::{World, d1, disk_report, host, line};
use quorate_domain::{
    Command, DiskId, DiskIdentity, DiskName, FaultClass, Incarnation, Timestamp, Verdict, VerdictReason,
};
use quorate_planner::{DiskObservation, disks, warnings::Code};

impl World {
    fn recorded(&self) -> Vec<String> {
        let plan = disks::plan(&self.state, &self.seen, self.now);
        plan.commands.iter().map(|planned| line(&planned.command)).collect()
    }

    fn report(&mut self, change: impl FnOnce(&mut DiskObservation)) {
        let mut report = disk_report("h1", Verdict::Healthy);
        change(&mut report);
        self.observed("h1").disks.insert(d1(), report);
    }
}

fn finding(code: &str, at: u64) -> VerdictReason {
    VerdictReason {
        code: code.into(),
        attribute: String::new(),
        observed: at.to_string(),
        threshold: String::new(),
        source: "probe".into(),
        at: Timestamp(at),
        class: FaultClass::Medium,
    }
}

#[test]
fn a_disk_seen_for_the_first_time_is_recorded() {
    let mut world = World::new();
    let name = DiskName::new("d2").unwrap();
    world.observed("h1").disks.insert(name, disk_report("h1", Verdict::Unknown));
    assert_eq!(world.recorded(), ["disk h1/d2 unknown"]);
}

#[test]
fn only_what_differs_is_recorded() {
    type Change = fn(&mut DiskObservation);
    let table: Vec<(&str, Change, bool)> = vec![
        ("nothing", |_| {}, false),
        ("free space", |report| report.free_bytes = 1, false),
        ("time of the check", |report| report.checked_at = Timestamp(9), false),
        ("an unreadable identity", |report| report.identity = DiskIdentity(String::new()), false),
        ("an unreadable size", |report| report.capacity_bytes = 0, false),
        ("verdict", |report| report.verdict = Verdict::Failed, true),
        ("another medium", |report| report.identity = DiskIdentity("other".into()), true),
        ("path", |report| report.path = "/elsewhere".into(), true),
        ("size", |report| report.capacity_bytes = 7, true),
        ("a finding", |report| report.reasons = vec![finding("slow", 1)], true),
    ];
    for (what, change, expected) in table {
        let mut world = World::new();
        world.report(change);
        assert_eq!(!world.recorded().is_empty(), expected, "{what}");
        world.settle();
        assert_eq!(world.recorded(), Vec::<String>::new(), "{what}, once recorded");
    }
}

#[test]
fn the_same_finding_seen_again_is_not_news() {
    let mut world = World::new();
    world.report(|report| report.reasons = vec![finding("slow", 1)]);
    world.settle();
    world.report(|report| report.reasons = vec![finding("slow", 2)]);
    assert_eq!(world.recorded(), Vec::<String>::new());
    world.report(|report| report.reasons = vec![finding("hot", 2)]);
    assert_eq!(world.recorded(), ["disk h1/d1 healthy"]);
}

#[test]
fn that_a_latched_disk_is_well_again_is_recorded_once_and_changes_its_verdict_only_with_another_medium() {
    for (identity, verdict, latched) in [
        ("medium", Verdict::Healthy, true),
        ("medium", Verdict::Degraded, true),
        ("other", Verdict::Healthy, false),
        ("other", Verdict::Unknown, false),
    ] {
        let mut world = World::new();
        world.fail_disk("h1");
        world.report(|report| {
            report.verdict = verdict;
            report.identity = DiskIdentity(identity.into());
        });
        assert_eq!(world.recorded().len(), 1, "{verdict} {identity:?}");
        world.settle();
        assert_eq!(world.recorded(), Vec::<String>::new(), "{verdict} {identity:?}");
        let disk = world.state.disks_of(&host("h1")).next().unwrap();
        assert_eq!(disk.latched.is_some(), latched, "{verdict} {identity:?}");
        assert_eq!(disk.verdict, if latched { Verdict::Failed } else { verdict });
    }
    let mut world = World::new();
    world.fail_disk("h1");
    world
        .report(|report| (report.verdict, report.identity) = (Verdict::Unknown, DiskIdentity(String::new())));
    assert_eq!(world.recorded(), Vec::<String>::new(), "nobody knows more than before");
}

#[test]
fn a_failure_that_comes_from_the_environment_ends_with_the_next_good_report() {
    let mut world = World::new();
    let missing = VerdictReason { class: FaultClass::Environment, ..finding("identity_missing", 1) };
    world.report(|report| (report.verdict, report.reasons) = (Verdict::Failed, vec![missing]));
    assert_eq!(world.recorded(), ["disk h1/d1 failed"]);
    world.settle();
    world.report(|_| {});
    assert_eq!(world.recorded(), ["disk h1/d1 healthy"]);
}

#[test]
fn a_disk_that_is_no_longer_named_is_unknown_once_the_report_is_complete() {
    let mut world = World::new();
    world.observed("h1").disks.clear();
    assert_eq!(world.recorded(), Vec::<String>::new());
    world.observed("h1").disks_complete = true;
    assert_eq!(world.recorded(), ["disk h1/d1 unknown"]);
    world.settle();
    let disk = world.state.disks_of(&host("h1")).next().unwrap();
    assert_eq!((disk.verdict, disk.reasons[0].code.as_str()), (Verdict::Unknown, "not_reported"));
    assert_eq!((disk.capacity_bytes, disk.identity.0.as_str()), (1_000, "medium"));
    assert_eq!(world.recorded(), Vec::<String>::new());
    world.observed("h1").disks.insert(d1(), disk_report("h1", Verdict::Healthy));
    assert_eq!(world.recorded(), ["disk h1/d1 healthy"]);
}

#[test]
fn a_failed_disk_that_is_no_longer_named_stays_failed() {
    let mut world = World::new();
    world.fail_disk("h1");
    world.observed("h1").disks.clear();
    world.observed("h1").disks_complete = true;
    assert_eq!(world.recorded(), Vec::<String>::new());
}

#[test]
fn a_report_of_another_start_of_the_agent_is_ignored() {
    let mut world = World::new();
    world.report(|report| report.verdict = Verdict::Failed);
    world.observed("h1").disks_complete = true;
    world.observed("h1").incarnation = Incarnation(2);
    assert_eq!(world.recorded(), Vec::<String>::new());
}

#[test]
fn the_command_carries_the_findings() {
    let mut world = World::new();
    world.report(|report| {
        report.verdict = Verdict::Failed;
        report.reasons = vec![finding("probe_write_failed", 5)];
    });
    let plan = disks::plan(&world.state, &world.seen, world.now);
    assert_eq!(plan.commands[0].rule, "disks/reported");
    assert!(
        matches!(&plan.commands[0].command, Command::RecordDisk { reasons, verdict: Verdict::Failed, .. }
            if *reasons == [finding("probe_write_failed", 5)]),
        "{plan:?}"
    );
}

#[test]
fn a_failed_disk_is_to_be_replaced_only_where_its_medium_is_at_fault() {
    for (class, wanted) in
        [(FaultClass::Medium, "replace it, or"), (FaultClass::Environment, "put right what its checks name")]
    {
        let mut world = World::new();
        world.apply(Command::RecordDisk {
            disk: DiskId { host: host("h2"), name: DiskName::new("d1").unwrap() },
            incarnation: Incarnation(1),
            identity: DiskIdentity("medium".into()),
            path: "/data".into(),
            capacity_bytes: 1,
            verdict: Verdict::Failed,
            reasons: vec![VerdictReason { class, ..finding("identity_missing", 1) }],
        });
        let told = world.one(Code::DiskFailed);
        assert!(told.remedy.starts_with(wanted), "{class:?}: {told:?}");
    }
}
