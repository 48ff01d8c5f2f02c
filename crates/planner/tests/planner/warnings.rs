//! What an operator is told, by tables: what is wrong, how bad it is, for how long, and what to do.

use crate::world::{D, World, g1, host};
use quorate_domain::{
    Command, CoordinatorId, DiskId, Epoch, FaultClass, GroupId, GroupState, HostStatus, Incarnation,
    ServiceMode, StartId, Timestamp, Verdict, VerdictReason, command::MemberSpec,
};
use quorate_planner::{
    FailedStart, GroupObservation, Mono,
    warnings::{
        Code, Contact, Coordinators, Elsewhere, Finding, LISTED_MAX, Problem, Severity, Since, Standing,
        Subject, TEXT_MAX_BYTES, WaitsFor, Warning, Warnings, warnings,
    },
};
use std::collections::BTreeMap;

pub(crate) fn well() -> Coordinators {
    let contact = |id| Contact {
        id: CoordinatorId(id),
        votes: true,
        lag: Some(0),
        silent_ms: Some(100),
        identified: true,
        findings: vec![],
    };
    Coordinators {
        this: CoordinatorId(1),
        leads: true,
        votes: true,
        reaches_quorum: true,
        others: vec![contact(2), contact(3)],
        ..Coordinators::default()
    }
}

impl World {
    fn has_promote_hook(&mut self, id: &str) {
        let mut changed = (*self.state.hosts[&host(id)]).clone();
        changed.hook_times.promotion_ms = 1_000;
        self.state.hosts.insert(host(id), changed.into());
    }

    pub(crate) fn warned_by(&self, coordinators: &Coordinators) -> Warnings {
        warnings(&self.state, Some(&self.seen), coordinators, self.now)
    }

    fn warned(&self) -> Vec<Warning> {
        self.warned_by(&well()).listed
    }

    /// Every warning as its severity, code and subject.
    fn told(&self) -> Vec<String> {
        self.warned().iter().map(short).collect()
    }

    pub(crate) fn one(&self, code: Code) -> Warning {
        let found = self.warned();
        found
            .iter()
            .find(|warning| warning.code == code)
            .unwrap_or_else(|| panic!("{code}: {found:?}"))
            .clone()
    }

    fn reports_reach(&mut self) {
        for id in ["h1", "h2", "h3"] {
            self.observed(id).not_stopped.get_or_insert_default();
        }
    }

    fn says_failed(&mut self, id: &str, reason: &str) {
        let epoch = self.group().epoch;
        let report = GroupObservation { epoch, state: GroupState::StartFailed, reason: reason.into() };
        self.observed(id).groups.insert(g1(), report);
        self.seen
            .failed_starts
            .insert(g1(), FailedStart { host: host(id), epoch, reason: reason.to_owned() });
    }
}

pub(crate) fn short(warning: &Warning) -> String {
    format!("{} {} {}", warning.severity, warning.code, warning.subject)
}

#[test]
fn a_cluster_whose_every_group_is_served_has_nothing_to_be_told() {
    let world = World::new();
    assert_eq!(world.warned_by(&well()), Warnings::default());
}

#[test]
fn an_active_group_is_served_only_by_a_primary_that_is_in_contact_and_says_so_under_the_present_epoch() {
    type Change = fn(&mut World);
    let table: [(&str, Change, Option<Severity>, &str); 9] = [
        ("it acts", |_| {}, None, ""),
        (
            "its renewals stay away",
            |world| world.pass(3_000, &["h2", "h3"]),
            Some(Severity::Warning),
            "not certain",
        ),
        (
            "its lease must be over",
            |world| world.pass(D, &["h2", "h3"]),
            Some(Severity::Critical),
            "no renewal of h1 has counted for 7.5 s",
        ),
        ("its session is closed", |world| world.disconnect("h1"), Some(Severity::Warning), "not certain"),
        (
            "it came back and has not reported",
            |world| {
                let seen = world.observed("h1");
                seen.not_stopped = None;
                seen.groups.clear();
            },
            Some(Severity::Warning),
            "has not reported",
        ),
        (
            "it says nothing of the group",
            |world| world.observed("h1").groups.clear(),
            Some(Severity::Critical),
            "has not begun",
        ),
        (
            "it has ended",
            |world| world.says("h1", GroupState::Ended),
            Some(Severity::Critical),
            "h1 says: test",
        ),
        (
            "it speaks of an earlier epoch",
            |world| {
                let told =
                    GroupObservation { epoch: Epoch(0), state: GroupState::Acting, reason: String::new() };
                world.observed("h1").groups.insert(g1(), told);
            },
            Some(Severity::Critical),
            "has not begun",
        ),
        ("its agent is another start", |world| world.register("h1", 2), Some(Severity::Critical), "anew"),
    ];
    for (case, change, severity, words) in table {
        let mut world = World::new();
        world.reports_reach();
        change(&mut world);
        let found = world.warned();
        let told: Vec<_> = found.iter().filter(|warning| warning.code == Code::GroupNotServed).collect();
        match severity {
            None => assert_eq!(found, [], "{case}"),
            Some(severity) => {
                assert_eq!(told.len(), 1, "{case}: {found:?}");
                assert_eq!((told[0].severity, &told[0].subject), (severity, &Subject::Group(g1())), "{case}");
                assert!(told[0].text.contains(words), "{case}: {:?}", told[0]);
                assert!(!told[0].remedy.is_empty(), "{case}");
            }
        }
    }
}

#[test]
fn a_new_leader_says_at_first_that_it_does_not_know_yet_and_then_that_nobody_is_known_to_act() {
    let mut world = World::new();
    world.new_leader();
    world.pass(100, &[]);
    let early = world.one(Code::GroupNotServed);
    assert_eq!((early.severity, early.since), (Severity::Warning, Some(Since { ms: 100, at_least: true })));
    assert!(early.text.contains("h1 has not come to this leader yet"), "{early:?}");
    world.pass(D, &["h2", "h3"]);
    assert_eq!(world.one(Code::GroupNotServed).severity, Severity::Critical);
}

#[test]
fn a_group_in_starting_is_not_served_however_long_and_says_how_far_its_host_is() {
    let mut world = World::new();
    world.reports_reach();
    world.request_failover(Some("h2"));
    world.says("h1", GroupState::Ended);
    world.settle();
    assert_eq!(world.group().primary.host, host("h2"));
    world.observed("h2").groups.clear();
    world.pass(40_000, &["h1", "h2", "h3"]);
    let silent = world.one(Code::GroupNotServed);
    assert_eq!((silent.severity, silent.since), (Severity::Critical, Some(lasting(40_000))));
    let named = format!("h2/d1 was named primary under epoch {}", world.group().epoch);
    assert!(silent.text.contains(&named), "{silent:?}");
    world.says("h2", GroupState::Installed);
    let hangs = world.one(Code::GroupNotServed);
    assert!(hangs.text.contains("its service was not started"), "{hangs:?}");
    assert!(hangs.remedy.contains("`quorate guard g1`") && hangs.remedy.contains("h2"), "{hangs:?}");
    let mut hooked = world.clone();
    hooked.has_promote_hook("h2");
    let hangs = hooked.one(Code::GroupNotServed);
    assert!(hangs.remedy.contains("promote hook") && hangs.remedy.contains("h2"), "{hangs:?}");
    world.says("h2", GroupState::Acting);
    world.settle();
    assert_eq!(world.told(), [] as [&str; 0]);
}

#[test]
fn failed_starts_are_told_with_the_last_words_whoever_is_tried_next_and_since_the_service_was_lost() {
    let mut world = World::new();
    world.reports_reach();
    world.request_failover(None);
    world.says("h1", GroupState::Ended);
    world.settle();
    for (round, id) in ["h2", "h3", "h1"].into_iter().enumerate() {
        assert_eq!(world.group().primary.host, host(id));
        world.says_failed(id, "hook ended with exit status: 3: no such volume");
        world.settle();
        let waits = world.one(Code::GroupNotServed);
        assert_eq!(waits.since, Some(lasting(40_000 * round as u64)), "{waits:?}");
        let count = format!("{} start", round + 1);
        for words in [count.as_str(), id, "exit status: 3: no such volume"] {
            assert!(waits.text.contains(words), "{words}: {waits:?}");
        }
        assert!(waits.remedy.contains(id), "{waits:?}");
        // There is no hook to mend where there is none.
        assert!(waits.remedy.contains("`quorate guard g1` there"), "{waits:?}");
        assert!(!waits.remedy.contains("hook"), "{waits:?}");
        let mut hooked = world.clone();
        for host in ["h1", "h2", "h3"] {
            hooked.has_promote_hook(host);
        }
        let waits = hooked.one(Code::GroupNotServed);
        assert!(waits.remedy.starts_with("mend what the promote hook trips over on h"), "{waits:?}");
        assert!(!waits.remedy.contains("guard"), "{waits:?}");
        // Also while the next one is being started.
        world.pass(40_000, &["h1", "h2", "h3"]);
        world.settle();
        let tried = world.one(Code::GroupNotServed);
        assert!(tried.text.contains("no such volume"), "{tried:?}");
    }
}

#[test]
fn a_new_leader_knows_from_the_state_since_when_nobody_acts_and_says_at_least() {
    let mut world = World::new();
    world.request_failover(None);
    world.pass(20_000, &["h1", "h2", "h3"]);
    world.says("h1", GroupState::Ended);
    world.settle();
    world.pass(5_000, &[]);
    world.new_leader();
    world.pass(1_000, &["h1", "h2", "h3"]);
    let told = world.one(Code::GroupNotServed);
    // The five seconds between the last command and the new leader's first look are not known.
    assert_eq!(told.since, Some(Since { ms: 21_000, at_least: true }), "{told:?}");
}

#[test]
fn a_group_that_nobody_can_be_promoted_for_names_every_reason() {
    let mut world = World::new();
    world.reports_reach();
    for id in ["h1", "h2", "h3"] {
        world.stop(id);
    }
    world.pass(D, &[]);
    world.settle();
    world.pass(D, &[]);
    world.settle();
    let told = world.one(Code::GroupNotServed);
    for id in ["h1/d1", "h2/d1", "h3/d1"] {
        assert!(told.text.contains(&format!("{id}: its host is offline")), "{told:?}");
    }
    assert!(told.remedy.contains("bring one of these"), "{told:?}");
    let told = world.told();
    assert_eq!(told.iter().filter(|line| line.starts_with("warning HOST_OFFLINE")).count(), 3, "{told:?}");
}

#[test]
fn what_a_group_could_fail_over_to_is_told_before_it_must() {
    let mut world = World::new();
    world.fail_disk("h2");
    world.stop("h3");
    let told = world.one(Code::NoEligibleBackup);
    assert_eq!(told.severity, Severity::Warning);
    assert!(told.text.contains("h2/d1: its disk") && told.text.contains("h3/d1: its host"), "{told:?}");
    world.apply(Command::CreateGroup {
        group: GroupId::new("alone").unwrap(),
        primary: MemberSpec { host: host("h1"), disk: None },
        backups: vec![],
        labels: BTreeMap::new(),
    });
    let alone: Vec<_> = world.told().into_iter().filter(|line| line.ends_with("group alone")).collect();
    assert_eq!(alone, ["critical GROUP_NOT_SERVED group alone", "note NO_ELIGIBLE_BACKUP group alone"]);
    world.fail_disk("h1");
    world.settle();
    let blocked = world.one(Code::FailoverBlocked);
    assert!(blocked.text.contains("its disk h1/d1 has failed"), "{blocked:?}");
}

#[test]
fn a_deletion_that_does_not_end_is_told_once_it_takes_too_long() {
    let mut world = World::new();
    world.apply(Command::DeleteGroup { group: g1() });
    assert_eq!(world.told(), [] as [&str; 0], "nobody needs to serve it any more");
    world.pass(2 * D, &["h1", "h2", "h3"]);
    assert_eq!(world.told(), [] as [&str; 0]);
    world.pass(1, &["h1", "h2", "h3"]);
    assert_eq!(world.told(), ["warning GROUP_NOT_DELETED group g1"]);
}

#[test]
fn demotions_that_run_or_fail_are_told_by_what_their_host_says_and_by_what_nobody_knows() {
    let mut world = World::new();
    let hooks = |world: &mut World, demotion_ms: u64| {
        let mut h1 = (*world.state.hosts[&host("h1")]).clone();
        h1.hook_times.demotion_ms = demotion_ms;
        world.state.hosts.insert(host("h1"), h1.into());
    };
    hooks(&mut world, 10_000);
    world.reports_reach();
    let said = |world: &mut World, state: GroupState| {
        let told = GroupObservation { epoch: world.group().epoch, state, reason: "exit status: 9".into() };
        world.observed("h1").not_stopped = Some([(g1(), told)].into());
    };
    world.request_failover(Some("h2"));
    world.says("h1", GroupState::Stopping);
    said(&mut world, GroupState::Stopping);
    world.pass(3_000, &["h1", "h2", "h3"]);
    let waits = world.one(Code::WaitingForDemotion);
    assert_eq!((waits.severity, waits.since), (Severity::Note, Some(lasting(3_000))));
    assert!(
        waits.text.starts_with("waiting for the demote hook of h1") && waits.text.contains("3.0 s of"),
        "{waits:?}"
    );
    assert_eq!(world.one(Code::GroupNotServed).severity, Severity::Critical);

    world.says("h1", GroupState::StopFailed);
    said(&mut world, GroupState::StopFailed);
    world.settle();
    let failed = world.one(Code::DemotionNotDone);
    assert_eq!(failed.severity, Severity::Warning);
    assert!(
        failed.text.contains("h1 could not stop") && failed.text.contains("exit status: 9"),
        "{failed:?}"
    );
    let waits = world.one(Code::GroupNotServed);
    assert!(waits.text.contains("nobody can be promoted"), "{waits:?}");
    assert!(waits.remedy.contains("do what DEMOTION_NOT_DONE says"), "{waits:?}");
    hooks(&mut world, 0);
    let guarded = world.one(Code::DemotionNotDone);
    assert!(guarded.text.contains("on h1 is not known to have stopped: exit status: 9"), "{guarded:?}");
    assert!(guarded.remedy.contains("start `quorate guard g1` again"), "{guarded:?}");

    // Its agent is told to stop, and says so as long as it is there.
    world.observed("h1").stopping = true;
    let stopping = world.one(Code::DemotionNotDone);
    assert!(stopping.text.contains("exit status: 9; its agent is stopping"), "{stopping:?}");
    assert!(stopping.remedy.contains("another host is promoted after D"), "{stopping:?}");
    assert!(stopping.remedy.contains("start it again before"), "{stopping:?}");

    // It is gone: after D another host follows, and nobody knows whether it has stopped.
    world.disconnect("h1");
    world.pass(60_000, &["h2", "h3"]);
    world.settle();
    let unknown = world.one(Code::DemotionNotDone);
    assert!(unknown.text.contains("on h1 is not known to have stopped"), "{unknown:?}");
}

#[test]
fn hosts_are_told_by_status_and_by_the_mode_that_they_say() {
    let mut world = World::new();
    let h2 = || Subject::Host(host("h2"));
    for (status, code) in [(HostStatus::Suspect, Code::HostSuspect), (HostStatus::Offline, Code::HostOffline)]
    {
        world.mark("h2", status);
        world.pass(4_000, &["h1", "h3"]);
        world.heard("h2");
        let told = world.one(code);
        assert_eq!(
            (told.severity, told.subject, told.since),
            (Severity::Warning, h2(), Some(lasting(4_000)))
        );
    }
    world.mark("h2", HostStatus::Online);
    for (mode, code) in [(ServiceMode::ReadOnly, Code::HostReadOnly), (ServiceMode::Safe, Code::HostSafe)] {
        let now = world.now;
        world.observed("h2").mode = Some((mode, now));
        world.pass(2_999, &["h1", "h2", "h3"]);
        assert_eq!(world.told(), [] as [&str; 0], "every session begins read-only");
        world.pass(1, &["h1", "h2", "h3"]);
        assert_eq!(world.one(code).since, Some(lasting(3_000)));
    }
    let now = world.now;
    world.observed("h2").mode = Some((ServiceMode::Normal, now));
    assert_eq!(world.told(), [] as [&str; 0]);
}

#[test]
fn two_agents_that_take_a_host_from_each_other_are_told_from_one_that_restarts() {
    let at = |start: u64, ago_ms: u64, world: &World| (StartId(start), Mono(world.now.0 - ago_ms));
    let mut world = World::new();
    world.pass(600_000, &["h1", "h2", "h3"]);
    world.observed("h2").starts = vec![at(1, 9_000, &world), at(2, 8_000, &world), at(1, 7_000, &world)];
    assert_eq!(world.told(), [] as [&str; 0], "once may be a session that came late");
    let starts = vec![at(1, 9_000, &world), at(2, 8_000, &world), at(1, 7_000, &world), at(2, 6_000, &world)];
    world.observed("h2").starts = starts;
    let told = world.one(Code::HostIdentityFlapping);
    assert_eq!((told.severity, told.subject.clone()), (Severity::Critical, Subject::Host(host("h2"))));
    assert!(
        told.text.contains("2 times in the last minute") && told.remedy.contains("state_dir"),
        "{told:?}"
    );
    world.pass(60_000, &["h1", "h2", "h3"]);
    assert_eq!(world.told(), [] as [&str; 0], "it is over");

    let restarts =
        |count: u64, world: &World| (0..=count).map(|start| at(start, 60_000 * (9 - start), world)).collect();
    world.observed("h2").starts = restarts(4, &world);
    assert_eq!(world.told(), [] as [&str; 0]);
    world.observed("h2").starts = restarts(5, &world);
    assert_eq!(world.told(), ["warning HOST_FLAPPING host h2"]);
}

#[test]
fn the_changes_of_a_hosts_status_that_this_leader_saw_make_it_flap() {
    let mut world = World::new();
    world.pass(1, &["h1", "h2", "h3"]);
    for (turn, status) in [HostStatus::Suspect, HostStatus::Online, HostStatus::Suspect, HostStatus::Online]
        .into_iter()
        .enumerate()
    {
        world.pass(1_000, &["h1", "h2", "h3"]);
        world.mark("h2", status);
        assert_eq!(world.observed("h2").changes.len(), turn + 1);
    }
    assert_eq!(world.told(), [] as [&str; 0]);
    world.pass(1_000, &["h1", "h2", "h3"]);
    world.mark("h2", HostStatus::Suspect);
    let told = world.told();
    assert_eq!(told, ["warning HOST_FLAPPING host h2", "warning HOST_SUSPECT host h2"]);
}

#[test]
fn a_disk_is_a_warning_where_a_group_has_a_copy_on_it_and_a_note_elsewhere() {
    for (verdict, code) in [
        (Verdict::Failed, Code::DiskFailed),
        (Verdict::Degraded, Code::DiskDegraded),
        (Verdict::Unknown, Code::DiskUnknown),
    ] {
        for (name, severity) in [("d1", Severity::Warning), ("spare", Severity::Note)] {
            let mut world = World::new();
            let name = quorate_domain::DiskName::new(name).unwrap();
            world.apply(Command::RecordDisk {
                disk: DiskId { host: host("h2"), name: name.clone() },
                incarnation: Incarnation(1),
                identity: quorate_domain::DiskIdentity(format!("medium-h2{name}")),
                path: "/data".into(),
                capacity_bytes: 1,
                verdict,
                reasons: vec![],
            });
            let told = world.one(code);
            let subject = Subject::Disk(DiskId { host: host("h2"), name });
            assert_eq!((told.severity, told.subject), (severity, subject));
        }
    }
}

#[test]
fn what_is_to_be_done_about_a_degraded_disk_is_what_its_reasons_ask_for() {
    type Row = (&'static [(&'static str, FaultClass)], &'static [&'static str]);
    const ROOM: &str = "make room on it";
    const REPLACE: &str = "replace it soon";
    const RIGHT: &str = "put right what";
    const MEDIUM: (&str, FaultClass) = ("media_errors", FaultClass::Medium);
    const FULL: (&str, FaultClass) = ("disk_full", FaultClass::Environment);
    const AROUND: (&str, FaultClass) = ("probe_slow", FaultClass::Environment);
    let table: [Row; 6] = [
        (&[], &[REPLACE]),
        (&[MEDIUM], &[REPLACE]),
        (&[FULL], &[ROOM]),
        (&[FULL, MEDIUM], &[ROOM, REPLACE]),
        (&[AROUND], &[RIGHT]),
        (&[AROUND, FULL], &[ROOM, RIGHT]),
    ];
    for (reasons, expected) in table {
        let mut world = World::new();
        let reason = |(code, class): &(&str, FaultClass)| VerdictReason {
            code: (*code).to_owned(),
            attribute: "/data".into(),
            observed: "No space left on device".into(),
            threshold: "no error".into(),
            source: "probe".into(),
            at: Timestamp::default(),
            class: *class,
        };
        world.apply(Command::RecordDisk {
            disk: DiskId { host: host("h2"), name: quorate_domain::DiskName::new("d1").unwrap() },
            incarnation: Incarnation(1),
            identity: quorate_domain::DiskIdentity("medium-h2d1".into()),
            path: "/data".into(),
            capacity_bytes: 1,
            verdict: Verdict::Degraded,
            reasons: reasons.iter().map(reason).collect(),
        });
        let remedy = world.one(Code::DiskDegraded).remedy;
        for text in [ROOM, REPLACE, RIGHT] {
            assert_eq!(remedy.contains(text), expected.contains(&text), "{reasons:?}: {remedy}");
        }
    }
}

fn lasting(ms: u64) -> Since {
    Since { ms, at_least: false }
}

fn finding(problem: Problem) -> Finding {
    Finding { problem, address: "b:7400".into(), for_ms: 4_000 }
}

#[test]
fn a_coordinator_stands_by_what_its_leader_hears_and_by_what_asking_it_finds() {
    let lost = || finding(Problem::NotReached("refused".into()));
    let other = || finding(Problem::Refuses("it belongs to cluster x".into()));
    let clock = || finding(Problem::ClockApart(120_000));
    let why = || "it goes on in another place".to_owned();
    let not_taken = |waits| finding(Problem::NotTaken { why: why(), waits });
    let not_counted = || finding(Problem::DoesNotCountThis { why: why(), left: false });
    let shown = || "at b:7400: it goes on in another place".to_owned();
    let unreached = |ms| Standing::NotReached(ms, Some("at b:7400: refused".into()));
    let table: [(&str, Contact, Standing); 13] = [
        (
            "answers",
            Contact { silent_ms: Some(2_000), lag: Some(64), ..Contact::default() },
            Standing::Answering,
        ),
        (
            "takes nothing",
            Contact { silent_ms: Some(2_001), lag: Some(0), ..Contact::default() },
            Standing::NotReached(2_001, None),
        ),
        (
            "is behind",
            Contact { silent_ms: Some(0), lag: Some(65), ..Contact::default() },
            Standing::Behind(65),
        ),
        (
            "is down",
            Contact { silent_ms: Some(100), lag: Some(0), findings: vec![lost()], ..Contact::default() },
            unreached(4_000),
        ),
        (
            "is down for long",
            Contact { silent_ms: Some(9_000), findings: vec![lost()], ..Contact::default() },
            unreached(9_000),
        ),
        (
            "is another",
            Contact { silent_ms: Some(9_000), findings: vec![lost(), other()], ..Contact::default() },
            Standing::Refuses(4_000, "at b:7400: it belongs to cluster x".into()),
        ),
        (
            "has a wrong clock",
            Contact { lag: Some(0), findings: vec![clock()], ..Contact::default() },
            Standing::Answering,
        ),
        (
            "its answers are not taken",
            Contact { silent_ms: Some(9_000), findings: vec![not_taken(false)], ..Contact::default() },
            Standing::NotTaken(4_000, shown()),
        ),
        (
            "it may count yet",
            Contact { silent_ms: Some(9_000), findings: vec![not_taken(true)], ..Contact::default() },
            Standing::NotCounted(4_000, shown()),
        ),
        (
            "a leader is not counted there, and hears nothing from it",
            Contact { silent_ms: Some(9_000), findings: vec![not_counted()], ..Contact::default() },
            Standing::NotCounted(4_000, shown()),
        ),
        ("a follower asked it", Contact { identified: true, ..Contact::default() }, Standing::Answering),
        ("a follower has not asked it", Contact::default(), Standing::Unknown),
        (
            "a follower does not reach it",
            Contact { findings: vec![lost()], ..Contact::default() },
            unreached(4_000),
        ),
    ];
    for (case, contact, standing) in table {
        assert_eq!(contact.standing(), standing, "{case}");
    }
}

#[test]
fn coordinators_that_are_lost_are_told_with_what_is_left_of_the_quorum() {
    let world = World::new();
    let lost = |others: &[usize]| {
        let mut all = well();
        for place in others {
            all.others[*place].silent_ms = Some(12_000);
        }
        world.warned_by(&all)
    };
    let one = lost(&[1]).listed;
    assert_eq!(one.iter().map(short).collect::<Vec<_>>(), ["warning COORDINATOR_NOT_REACHED coordinator 3"]);
    assert_eq!(one[0].since, Some(lasting(12_000)));
    assert!(one[0].text.contains("if one more is lost, nothing can be decided"), "{one:?}");
    assert!(one[0].remedy.contains("quorate member replace 3"), "{one:?}");

    let mut all = Coordinators { reaches_quorum: false, unacknowledged_ms: Some(5_000), ..well() };
    let leader = world.warned_by(&all);
    assert_eq!(short(&leader.listed[0]), "critical LEADER_WITHOUT_QUORUM coordinator 1");
    assert_eq!((leader.worst, leader.listed[0].since), (Some(Severity::Critical), Some(lasting(5_000))));
    all.leads = false;
    let follower = warnings(&world.state, None, &all, world.now);
    assert_eq!(short(&follower.listed[0]), "critical NO_LEADER coordinator 1");
    assert!(follower.listed[0].text.starts_with("no quorum"), "{follower:?}");
}

#[test]
fn what_is_found_between_coordinators_and_in_the_configuration_has_its_code() {
    let world = World::new();
    let mut all = well();
    all.others[0].findings =
        vec![finding(Problem::ClockApart(-120_400)), finding(Problem::DoesNotReachThis("at a".into()))];
    all.others[1].findings = vec![
        finding(Problem::Refuses("of another cluster".into())),
        finding(Problem::MetACopyOfThis("coordinator 1 runs twice".into())),
    ];
    all.copies = vec!["coordinator 2 runs twice".into()];
    all.elsewhere = vec![Elsewhere {
        id: CoordinatorId(2),
        start: "4b6c (number 8)".into(),
        whence: None,
        waits_for: WaitsFor::Silence,
        for_ms: 12_000,
    }];
    all.change_waits = vec!["add coordinator 4 (op-7) waits: it has not caught up".into()];
    all.election_too_long = Some("raft.election_max_ms: too long".into());
    all.configured_otherwise = Some("lease.wait_ms is 9000 and on record 7500".into());
    all.even_voters = Some("4 coordinators vote".into());
    let found = world.warned_by(&all).listed;
    assert_eq!(
        found.iter().map(short).collect::<Vec<_>>(),
        [
            "critical COORDINATOR_ELSEWHERE coordinator 2",
            "critical ELECTION_TOO_LONG coordinator 1",
            "warning COORDINATOR_REFUSES coordinator 3",
            "warning COORDINATOR_RUNS_TWICE coordinator 3",
            "warning NOT_REACHED_BY_COORDINATOR coordinator 2",
            "warning CLOCK_OFF coordinator 2",
            "warning COORDINATOR_RUNS_TWICE cluster",
            "warning MEMBER_CHANGE_WAITS cluster",
            "warning LEASE_CONFIGURED_OTHERWISE coordinator 1",
            "warning EVEN_VOTERS cluster",
        ]
    );
    assert!(
        found[5].text.contains("120.4 s behind this one's") && found[5].remedy.contains("NTP"),
        "{found:?}"
    );
    assert!(found.iter().all(|warning| !warning.remedy.is_empty()), "{found:?}");
}

#[test]
fn a_coordinator_that_does_not_lead_tells_what_the_state_says_and_nothing_that_only_the_leader_sees() {
    let mut world = World::new();
    world.pass(60_000, &[]);
    let follower = |world: &World| warnings(&world.state, None, &well(), world.now);
    assert_eq!(follower(&world), Warnings::default());
    world.request_failover(None);
    let told = follower(&world).listed;
    assert_eq!(told.iter().map(short).collect::<Vec<_>>(), ["critical GROUP_NOT_SERVED group g1"]);
    assert_eq!(told[0].since, Some(Since { ms: 0, at_least: true }), "as of the last command");
}

#[test]
fn the_list_is_bounded_worst_first_then_longest_first_and_says_how_many_more_there_are() {
    let mut world = World::new();
    for number in 0..250 {
        world.pass(10, &["h1", "h2", "h3"]);
        world.apply(Command::CreateGroup {
            group: GroupId::new(format!("new-{number:03}")).unwrap(),
            primary: MemberSpec { host: host("h2"), disk: None },
            backups: vec![],
            labels: BTreeMap::new(),
        });
    }
    world.fail_disk("h3");
    let found = world.warned_by(&well());
    assert_eq!((found.listed.len(), found.worst), (LISTED_MAX, Some(Severity::Critical)));
    assert_eq!(found.unlisted, 250 + 250 + 1 - LISTED_MAX, "no group acts, none has a backup, and one disk");
    // The first of each code are in it, whatever there is of the one that is worst.
    let (critical, rest) = found.listed.split_at(LISTED_MAX - 3);
    let longest: Vec<_> = critical.iter().map(|warning| warning.subject.id()).collect();
    assert_eq!(longest, (0..97).map(|number| format!("new-{number:03}")).collect::<Vec<_>>());
    let rest: Vec<_> = rest.iter().map(short).collect();
    let notes = ["new-000", "new-001"].map(|group| format!("note NO_ELIGIBLE_BACKUP group {group}"));
    assert_eq!(rest[1..], notes);
    assert!(rest[0].contains("DISK_FAILED disk h3/"), "{rest:?}");
}

#[test]
fn words_that_come_from_hosts_are_bounded() {
    let mut world = World::new();
    world.request_failover(None);
    world.says("h1", GroupState::Ended);
    world.settle();
    world.says_failed("h2", &"\u{00e4}".repeat(100_000));
    world.settle();
    let told = world.one(Code::GroupNotServed);
    assert!(told.text.len() <= TEXT_MAX_BYTES && told.text.ends_with("..."), "{}", told.text.len());
}

#[test]
fn every_code_has_a_name_of_its_own_in_capitals_and_its_line_in_the_documentation() {
    let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
    assert!(names.iter().all(|name| name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')));
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/status.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in &names {
        assert!(page.contains(&format!("`{name}`")), "{name} is not explained in docs/status.md");
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Code::ALL.len());
}
