use crate::world::{D, START, World, g1, host, line};
use quorate_domain::{
    Command, Evidence, FaultClass, GroupState, HookTimes, HostStatus, Incarnation, Phase, Timestamp, Verdict,
    VerdictReason, operation::FailoverReason,
};
use quorate_planner::{GroupObservation, Mono, Plan, failover, plan_all};

impl World {
    fn failovers(&self) -> Plan {
        failover::plan(&self.state, &self.seen, self.now)
    }

    fn wanted(&self) -> Vec<String> {
        self.failovers().commands.iter().map(|planned| line(&planned.command)).collect()
    }

    /// Applies what the failover planner wants, once.
    fn follow(&mut self) -> Vec<String> {
        let wanted = self.wanted();
        for planned in self.failovers().commands {
            self.apply(planned.command);
        }
        wanted
    }

    /// Revoked by an operator's request, released, switched to h2, which has not said anything yet.
    fn switched_to_h2() -> Self {
        let mut world = Self::new();
        world.request_failover(None);
        world.says("h1", GroupState::Ended);
        assert_eq!(world.follow(), ["release g1 h1"]);
        assert_eq!(world.follow(), ["choose g1 h2 released"]);
        assert_eq!(world.follow(), ["promote g1 h2 released"]);
        world
    }

    fn fail_start(&mut self, id: &str) {
        self.says(id, GroupState::StartFailed);
        assert_eq!(self.follow(), [format!("start-failed g1 {id}")]);
        self.observed(id).groups.clear();
    }
}

fn nothing() -> Vec<String> {
    vec![]
}

#[test]
fn a_healthy_group_wants_nothing() {
    let world = World::new();
    assert_eq!(world.failovers(), Plan::default());
}

#[test]
fn the_primary_s_host_decides_whether_a_failover_begins() {
    type Setup = fn(&mut World);
    let table: Vec<(&str, Setup, Vec<&str>)> = vec![
        ("suspect with a backup", |world| world.mark("h1", HostStatus::Suspect), vec!["begin g1 host-lost"]),
        (
            "suspect, and no backup is fit",
            |world| {
                world.mark("h1", HostStatus::Suspect);
                world.mark("h2", HostStatus::Offline);
                world.mark("h3", HostStatus::Suspect);
            },
            vec![],
        ),
        (
            "suspect, and no backup has a good disk",
            |world| {
                world.mark("h1", HostStatus::Suspect);
                world.fail_disk("h2");
                world.fail_disk("h3");
            },
            vec![],
        ),
        ("offline", |world| world.mark("h1", HostStatus::Offline), vec!["begin g1 host-lost"]),
        (
            "offline, and no backup is fit",
            |world| {
                world.mark("h1", HostStatus::Offline);
                world.mark("h2", HostStatus::Offline);
                world.mark("h3", HostStatus::Offline);
            },
            vec!["begin g1 host-lost"],
        ),
        ("restarted", |world| world.register("h1", 2), vec!["begin g1 host-restarted"]),
        (
            "restarted and offline",
            |world| {
                world.register("h1", 2);
                world.mark("h1", HostStatus::Offline);
            },
            vec!["begin g1 host-restarted"],
        ),
        ("a failed disk and a backup", |world| world.fail_disk("h1"), vec!["begin g1 disk-failed"]),
        (
            "a failed disk, and no backup is fit",
            |world| {
                world.fail_disk("h1");
                world.mark("h2", HostStatus::Offline);
                world.fail_disk("h3");
            },
            vec!["block g1 3"],
        ),
        (
            "offline with a failed disk",
            |world| {
                world.mark("h1", HostStatus::Offline);
                world.fail_disk("h1");
            },
            vec!["begin g1 host-lost"],
        ),
        ("a backup offline", |world| world.mark("h2", HostStatus::Offline), vec![]),
        ("a backup's disk failed", |world| world.fail_disk("h2"), vec![]),
    ];
    for (what, setup, expected) in table {
        let mut world = World::new();
        world.disconnect("h1");
        setup(&mut world);
        assert_eq!(world.wanted(), expected, "{what}");
        let plan = world.failovers();
        for planned in plan.commands {
            assert!(world.apply(planned.command).committed.is_some(), "{what}");
        }
    }
}

#[test]
fn the_primary_s_own_word_decides_before_anything_else() {
    type Setup = fn(&mut World);
    let table: Vec<(&str, Setup, Vec<&str>)> = vec![
        ("acts", |world| world.says("h1", GroupState::Acting), vec![]),
        ("installed", |world| world.says("h1", GroupState::Installed), vec![]),
        ("ended", |world| world.says("h1", GroupState::Ended), vec!["release g1 h1"]),
        ("start failed", |world| world.says("h1", GroupState::StartFailed), vec!["start-failed g1 h1"]),
        (
            "ended, and its host is offline",
            |world| {
                world.says("h1", GroupState::Ended);
                world.mark("h1", HostStatus::Offline);
            },
            vec!["release g1 h1"],
        ),
        (
            "ended, as a later start says",
            |world| {
                world.register("h1", 2);
                world.observed("h1").incarnation = Incarnation(2);
                world.says("h1", GroupState::Ended);
            },
            vec!["release g1 h1"],
        ),
        (
            "ended, as an earlier start says",
            |world| {
                world.says("h1", GroupState::Ended);
                world.register("h1", 2);
            },
            vec!["begin g1 host-restarted"],
        ),
        (
            "an earlier epoch ended",
            |world| {
                world.says("h1", GroupState::Ended);
                let report = world.observed("h1").groups.get_mut(&g1()).unwrap();
                report.epoch.0 -= 1;
            },
            vec![],
        ),
        ("a backup says that it acts", |world| world.says("h2", GroupState::Acting), vec![]),
        ("a backup says that it ended", |world| world.says("h2", GroupState::Ended), vec![]),
    ];
    for (what, setup, expected) in table {
        let mut world = World::new();
        setup(&mut world);
        assert_eq!(world.wanted(), expected, "{what}");
    }
}

#[test]
fn a_host_that_is_back_is_not_lost() {
    for status in [HostStatus::Suspect, HostStatus::Offline] {
        let mut world = World::new();
        world.mark("h1", status);
        assert_eq!(world.wanted(), nothing());
        assert_eq!(world.planned(), ["mark h1 online"]);
        world.disconnect("h1");
        assert_eq!(world.wanted(), ["begin g1 host-lost"]);
    }
}

#[test]
fn a_suspicion_starts_no_failover_while_the_leader_has_to_look_first() {
    let mut world = World::new();
    world.disconnect("h1");
    world.mark("h1", HostStatus::Suspect);
    world.new_leader();
    assert_eq!(world.failovers(), Plan { commands: vec![], wake_at: Some(START.plus_ms(D)) });
    world.pass(D - 1, &["h2", "h3"]);
    assert_eq!(world.wanted(), nothing());
    world.pass(1, &["h2", "h3"]);
    assert_eq!(world.wanted(), ["begin g1 host-lost"]);
}

#[test]
fn a_host_that_an_earlier_leader_called_offline_loses_its_groups_at_once() {
    let mut world = World::new();
    world.mark("h1", HostStatus::Offline);
    world.new_leader();
    assert_eq!(world.wanted(), ["begin g1 host-lost"]);
}

#[test]
fn the_beginning_carries_its_evidence() {
    let mut world = World::new();
    world.disconnect("h1");
    world.pass(3_100, &["h2", "h3"]);
    world.mark("h1", HostStatus::Suspect);
    let plan = world.failovers();
    assert_eq!(plan.commands[0].rule, "failover/host-lost");
    assert_eq!(
        plan.commands[0].command,
        Command::BeginFailover {
            group: g1(),
            epoch: Some(world.group().epoch),
            reason: FailoverReason::HostLost,
            target: None,
            evidence: vec![
                Evidence::new("host_status", "suspect", "", "state"),
                Evidence::new("last_contact_ms", 3_100, 3_000, "leader 1 in term 1"),
            ],
        }
    );
}

#[test]
fn a_disk_failover_carries_the_findings_of_the_disk() {
    let mut world = World::new();
    let reason = VerdictReason {
        code: "probe_write_failed".into(),
        attribute: String::new(),
        observed: "EIO".into(),
        threshold: String::new(),
        source: "probe".into(),
        at: Timestamp(1),
        class: FaultClass::Medium,
    };
    let report = world.observed("h1").disks.values_mut().next().unwrap();
    (report.verdict, report.reasons) = (Verdict::Failed, vec![reason]);
    assert_eq!(world.planned(), ["disk h1/d1 failed"]);
    for planned in world.plan().commands {
        world.apply(planned.command);
    }
    let plan = world.failovers();
    let Command::BeginFailover { evidence, .. } = &plan.commands[0].command else { panic!("{plan:?}") };
    assert_eq!(evidence[1], Evidence::new("probe_write_failed", "EIO", "", "probe"));
}

#[test]
fn a_restarted_primary_that_is_in_contact_has_a_moment_to_read_its_disk() {
    for reads in [true, false] {
        let mut world = World::new();
        world.register("h1", 2);
        world.seen.hosts.remove(&host("h1"));
        world.heard("h1");
        world.follow();
        world.says("h1", GroupState::Ended);
        assert_eq!(world.follow(), ["release g1 h1"]);
        let plan = world.failovers();
        assert_eq!((&plan.commands[..], plan.wake_at), (&[][..], Some(START.plus_ms(2_000))));
        if reads {
            world.read_disk("h1");
            assert_eq!(world.wanted(), ["choose g1 h1 released"]);
        } else {
            world.pass(2_000, &["h1", "h2", "h3"]);
            assert_eq!(world.wanted(), ["choose g1 h2 released"], "it took too long");
        }
    }
}

#[test]
fn a_group_leaves_a_disk_that_was_replaced_under_its_primary() {
    let mut world = World::new();
    for report in world.observed("h1").disks.values_mut() {
        report.identity.0 = "blank".into();
    }
    assert_eq!(world.planned(), ["disk h1/d1 healthy"]);
    for planned in world.plan().commands {
        world.apply(planned.command);
    }
    let plan = world.failovers();
    assert_eq!(plan.commands[0].rule, "failover/disk-replaced");
    let Command::BeginFailover { reason, evidence, .. } = &plan.commands[0].command else {
        panic!("{plan:?}")
    };
    assert_eq!(*reason, FailoverReason::DiskReplaced);
    assert_eq!(evidence[..], [Evidence::new("disk h1/d1", "blank", "medium", "state")]);
}

#[test]
fn a_block_is_reported_once_changes_with_its_reasons_and_is_lifted() {
    let mut world = World::new();
    world.mark("h2", HostStatus::Offline);
    world.mark("h3", HostStatus::Offline);
    world.fail_disk("h1");
    assert_eq!(world.follow(), ["block g1 3"]);
    assert_eq!(world.wanted(), nothing());
    world.mark("h3", HostStatus::Suspect);
    assert_eq!(world.follow(), ["block g1 3"]);
    assert_eq!(world.wanted(), nothing());
    for report in world.observed("h1").disks.values_mut() {
        report.verdict = Verdict::Healthy;
        report.identity.0 = "other".into();
    }
    for planned in quorate_planner::disks::plan(&world.state, &world.seen, world.now).commands {
        world.apply(planned.command);
    }
    assert_eq!(world.follow(), ["block g1 3"], "another disk holds no copy");
    assert_eq!(world.wanted(), nothing());
    world.apply(Command::AcceptMember { group: g1(), host: host("h1"), reason: "rebuilt".into() });
    assert_eq!(world.follow(), ["unblock g1"]);
    assert_eq!(world.group().blocked, None);
    assert_eq!(world.wanted(), nothing());
}

#[test]
fn a_blocked_group_moves_when_a_backup_is_fit_again() {
    let mut world = World::new();
    world.mark("h2", HostStatus::Offline);
    world.mark("h3", HostStatus::Offline);
    world.fail_disk("h1");
    world.follow();
    world.mark("h3", HostStatus::Online);
    assert_eq!(world.follow(), ["begin g1 disk-failed"]);
}

#[test]
fn the_wait_ends_at_d_exactly_and_not_before() {
    let mut world = World::new();
    world.request_failover(None);
    assert_eq!(world.failovers(), Plan { commands: vec![], wake_at: Some(START.plus_ms(D)) });
    world.pass(D - 1, &["h1", "h2", "h3"]);
    assert_eq!(world.failovers(), Plan { commands: vec![], wake_at: Some(START.plus_ms(D)) });
    world.pass(1, &["h1", "h2", "h3"]);
    assert_eq!(world.follow(), ["choose g1 h2 waited 7500 in 1"]);
    assert_eq!(world.follow(), ["promote g1 h2 waited 7500 in 1"]);
    assert_eq!(world.group().phase, Phase::Starting { operation: world.group().phase.operation() });
    assert_eq!(world.wanted(), nothing());
}

#[test]
fn the_word_of_an_old_primary_in_contact_is_waited_for_while_its_service_may_run() {
    for (state, begin_deletion) in [
        (GroupState::Stopping, false),
        (GroupState::StopFailed, false),
        (GroupState::Stopping, true),
        (GroupState::StopFailed, true),
    ] {
        let mut world = World::new();
        if begin_deletion {
            world.apply(Command::DeleteGroup { group: g1() });
        } else {
            world.request_failover(None);
        }
        world.says("h1", state);
        let what = format!("{state:?}, deletion: {begin_deletion}");
        if state == GroupState::StopFailed {
            assert_eq!(world.follow(), ["block g1 1"], "{what}");
            assert_eq!(world.group().blocked.as_ref().unwrap().reasons, ["h1/d1: test"], "{what}");
        }
        world.pass(10 * D, &["h1", "h2", "h3"]);
        assert_eq!(world.wanted(), nothing(), "{what}");
        // Out of contact its word is old: D, which covers its hooks, decides. What had failed to stop then goes on for all
        // that is known, and a start that comes within D of the last contact says so again.
        let waits_ms = if state == GroupState::StopFailed { D } else { 3_000 };
        assert_eq!(world.failovers().wake_at, Some(world.now.plus_ms(waits_ms)), "{what}");
        let mut said = world.clone();
        said.says("h1", GroupState::Ended);
        assert_eq!(said.wanted(), ["release g1 h1"], "{what}");
        world.pass(waits_ms - 1, &["h2", "h3"]);
        assert_eq!(world.wanted(), nothing(), "{what}");
        world.pass(1, &["h2", "h3"]);
        let waited = 10 * D + waits_ms;
        let expected = if begin_deletion {
            format!("deleted g1 waited {waited} in 1")
        } else {
            format!("choose g1 h2 waited {waited} in 1")
        };
        assert_eq!(world.wanted(), [expected], "{what}");
    }
}

/// The agent of h1 is told to stop (`systemctl restart`), or its state folder fails, while it cannot stop a service.
#[test]
fn a_stopping_agent_in_session_that_has_not_stopped_its_service_is_waited_for() {
    // Its group was taken from it before, or is not.
    for is_revoked in [true, false] {
        let mut world = World::new();
        if is_revoked {
            world.request_failover(None);
        }
        world.says("h1", GroupState::StopFailed);
        world.follow();
        world.observed("h1").stopping = true;
        for _ in 0..20 {
            world.pass(D / 2, &["h1", "h2", "h3"]);
            assert_eq!(world.follow(), nothing(), "revoked: {is_revoked}");
            assert_eq!(plan_all(&world.state, &world.seen, world.now).commands, vec![], "{is_revoked}");
        }
        // It could stop it after all.
        let mut stopped = world.clone();
        stopped.says("h1", GroupState::Ended);
        assert_eq!(stopped.wanted(), ["release g1 h1"], "revoked: {is_revoked}");
    }
}

#[test]
fn d_counts_from_the_last_contact_with_an_agent_that_has_gone_without_having_stopped_its_service() {
    let mut world = World::new();
    world.request_failover(None);
    world.says("h1", GroupState::StopFailed);
    world.follow();
    world.pass(10 * D, &["h1", "h2", "h3"]);
    world.stop("h1");
    world.pass(D - 1, &["h2", "h3"]);
    assert_eq!(world.wanted(), nothing());
    // It is started again, and is on record before its session is open.
    let mut again = world.clone();
    again.register("h1", 2);
    assert_eq!(again.wanted(), nothing(), "of the start before");
    // The session is open, and the report is on its way.
    again.seen.hosts.remove(&host("h1"));
    again.heard("h1");
    again.observed("h1").on_credit = true;
    again.pass(2_999, &["h2", "h3"]);
    assert_eq!(again.wanted(), nothing(), "it has not said what it has not stopped");
    again.says("h1", GroupState::StopFailed);
    again.pass(10 * D, &["h1", "h2", "h3"]);
    assert_eq!(again.wanted(), nothing());
    again.says("h1", GroupState::Ended);
    assert_eq!(again.wanted(), ["release g1 h1"]);
    // It is not.
    world.pass(1, &["h2", "h3"]);
    assert_eq!(world.wanted(), [format!("choose g1 h2 waited {} in 1", 11 * D)]);
}

#[test]
fn the_word_of_an_old_primary_holds_between_two_sessions_and_while_its_agent_stops() {
    let blocked = || {
        let mut world = World::new();
        world.request_failover(None);
        world.says("h1", GroupState::StopFailed);
        world.follow();
        world.pass(10 * D, &["h1", "h2", "h3"]);
        world
    };
    let mut stopping = blocked();
    stopping.observed("h1").stopping = true;
    let mut closed = blocked();
    closed.disconnect("h1");
    let mut opened = blocked();
    let seen = opened.observed("h1");
    (seen.not_stopped, seen.on_credit) = (None, true);
    for (what, mut world, holds_ms) in
        [("stopping", stopping, D), ("closed", closed, D), ("opened", opened, 3_000)]
    {
        world.pass(holds_ms - 1, &["h2", "h3"]);
        assert!(world.failovers().commands.is_empty(), "{what}");
        world.pass(1, &["h2", "h3"]);
        assert_eq!(world.wanted(), [format!("choose g1 h2 waited {} in 1", 10 * D + holds_ms)], "{what}");
    }
}

#[test]
fn d_is_as_long_as_the_hooks_of_the_old_primary_may_take() {
    let mut world = World::new();
    world.register_with_hooks("h2", 2, HookTimes { promotion_ms: 0, demotion_ms: 9_900 });
    world.observed("h2").incarnation = Incarnation(2);
    world.read_disk("h2");
    world.request_failover(Some("h2"));
    world.says("h1", GroupState::Ended);
    for _ in 0..3 {
        world.follow();
    }
    assert_eq!(world.group().demotion_ms, 9_900);
    world.request_failover(Some("h3"));
    let due = START.plus_ms(D + 10_100);
    assert_eq!(world.failovers(), Plan { commands: vec![], wake_at: Some(due) });
    world.pass(D + 10_099, &["h1", "h2", "h3"]);
    assert_eq!(world.wanted(), nothing());
    world.pass(1, &["h1", "h2", "h3"]);
    assert_eq!(world.wanted(), ["choose g1 h3 waited 17600 in 1"]);
}

#[test]
fn an_old_primary_that_was_not_waited_for_is_fit_again_once_it_no_longer_names_its_epoch() {
    let mut world = World::new();
    world.request_failover(None);
    world.pass(D, &["h2", "h3"]);
    for _ in 0..2 {
        world.follow();
    }
    assert_eq!(world.group().primary.host, host("h2"));
    assert_eq!(world.group().unstopped.len(), 1);
    assert_eq!(world.wanted(), nothing(), "it is not in contact");
    world.heard("h1");
    world.observed("h1").not_stopped = None;
    assert_eq!(world.wanted(), nothing(), "it has not said what its groups are");
    let epoch = quorate_domain::Epoch(world.group().epoch.0 - 1);
    let said = GroupObservation { epoch, state: GroupState::StopFailed, reason: "exit status 1".into() };
    world.observed("h1").not_stopped = Some([(g1(), said)].into());
    assert_eq!(world.wanted(), nothing());
    world.observed("h1").not_stopped = Some([].into());
    world.register("h1", 2);
    assert_eq!(world.wanted(), nothing(), "what an earlier start said says nothing of this one");
    let seen = world.observed("h1");
    seen.incarnation = Incarnation(2);
    assert_eq!(world.follow(), ["stopped g1 h1"]);
    assert_eq!(world.wanted(), nothing());
}

#[test]
fn a_start_that_takes_too_long_makes_room_for_the_next_host_where_there_is_one() {
    for (alone, promotion_ms) in [(false, 0), (false, 4_950), (true, 0)] {
        let mut world = World::new();
        world.register_with_hooks("h2", 2, HookTimes { promotion_ms, demotion_ms: 0 });
        world.observed("h2").incarnation = Incarnation(2);
        world.read_disk("h2");
        world.request_failover(Some("h2"));
        world.says("h1", GroupState::Ended);
        for _ in 0..3 {
            world.follow();
        }
        world.says("h2", GroupState::Installed);
        world.follow();
        if alone {
            world.fail_disk("h1");
            world.fail_disk("h3");
        }
        let limit_ms = 2 * D + promotion_ms * 101 / 99;
        world.pass(limit_ms - 1, &["h1", "h2", "h3"]);
        let mut away = world.clone();
        away.disconnect("h2");
        away.pass(1, &["h1", "h3"]);
        assert_eq!(away.wanted(), nothing(), "whether it is lost is another question");
        assert_eq!(world.wanted(), nothing());
        assert_eq!(world.failovers().wake_at, (!alone).then_some(world.now.plus_ms(1)));
        world.pass(1, &["h1", "h2", "h3"]);
        if alone {
            assert_eq!(world.wanted(), nothing(), "nobody could follow");
            continue;
        }
        let mut acts = world.clone();
        acts.says("h2", GroupState::Acting);
        assert_eq!(acts.wanted(), ["acting g1 h2"], "it has made it");
        let plan = world.failovers();
        assert_eq!(plan.commands[0].rule, "failover/start-timed-out");
        assert_eq!(world.follow(), ["begin g1 start-timed-out"]);
        world.says("h2", GroupState::Ended);
        assert_eq!(world.follow(), ["release g1 h2"]);
        assert_eq!(world.follow(), ["choose g1 h1 released"], "h2 comes last now");
    }
}

#[test]
fn a_revoke_that_was_not_noted_has_not_waited() {
    let mut world = World::new();
    world.request_failover(None);
    world.pass(10 * D, &["h1", "h2", "h3"]);
    world.seen.revoked_since.clear();
    assert_eq!(world.failovers(), Plan::default());
}

#[test]
fn a_release_ends_the_wait_and_only_the_holder_s_host_can_give_it() {
    let mut world = World::new();
    world.request_failover(None);
    world.says("h2", GroupState::Ended);
    world.says("h1", GroupState::Acting);
    assert_eq!(world.wanted(), nothing());
    world.says("h1", GroupState::Ended);
    assert_eq!(world.follow(), ["release g1 h1"]);
    assert_eq!(world.follow(), ["choose g1 h2 released"]);
}

#[test]
fn a_new_leader_waits_anew_even_when_a_candidate_was_chosen() {
    let mut world = World::new();
    world.request_failover(None);
    world.pass(D, &["h1", "h2", "h3"]);
    assert_eq!(world.follow(), ["choose g1 h2 waited 7500 in 1"]);
    world.new_leader();
    assert_eq!(world.wanted(), nothing());
    world.pass(D - 1, &["h1", "h2", "h3"]);
    assert_eq!(world.wanted(), nothing());
    world.pass(1, &["h1", "h2", "h3"]);
    assert_eq!(world.wanted(), ["promote g1 h2 waited 7500 in 2"]);
}

#[test]
fn a_new_leader_relies_on_a_release_in_the_state() {
    let mut world = World::new();
    world.request_failover(None);
    world.says("h1", GroupState::Ended);
    world.follow();
    world.new_leader();
    assert_eq!(world.wanted(), ["choose g1 h2 released"]);
}

#[test]
fn a_candidate_that_is_no_longer_fit_is_replaced() {
    let mut world = World::new();
    world.request_failover(None);
    world.pass(D, &["h1", "h2", "h3"]);
    world.follow();
    world.mark("h2", HostStatus::Suspect);
    assert_eq!(world.follow(), ["choose g1 h3 waited 7500 in 1"]);
    assert_eq!(world.follow(), ["promote g1 h3 waited 7500 in 1"]);
}

#[test]
fn who_follows_depends_on_the_reason_the_target_and_the_disks() {
    type Setup = fn(&mut World);
    let table: Vec<(&str, Setup, &str)> = vec![
        ("requested", |world| world.request_failover(None), "h2"),
        ("requested with a target", |world| world.request_failover(Some("h3")), "h3"),
        (
            "the target is no longer fit",
            |world| {
                world.request_failover(Some("h3"));
                world.mark("h3", HostStatus::Offline);
            },
            "h2",
        ),
        (
            "the first backup's disk is degraded",
            |world| {
                world.request_failover(None);
                let mut report = crate::world::disk_report("h2", Verdict::Degraded);
                report.path = "/data".into();
                world.observed("h2").disks.insert(crate::world::d1(), report);
                for planned in quorate_planner::disks::plan(&world.state, &world.seen, world.now).commands {
                    world.apply(planned.command);
                }
            },
            "h3",
        ),
        (
            "no backup is left, the old primary is fit",
            |world| {
                world.request_failover(None);
                world.mark("h2", HostStatus::Offline);
                world.mark("h3", HostStatus::Offline);
            },
            "h1",
        ),
        (
            "the primary restarted and is back",
            |world| {
                world.register("h1", 2);
                world.read_disk("h1");
                world.follow();
            },
            "h1",
        ),
        (
            "the primary restarted and is suspect",
            |world| {
                world.register("h1", 2);
                world.follow();
                world.mark("h1", HostStatus::Suspect);
            },
            "h2",
        ),
    ];
    for (what, setup, expected) in table {
        let mut world = World::new();
        setup(&mut world);
        world.pass(D, &["h1", "h2", "h3"]);
        assert_eq!(world.wanted(), [format!("choose g1 {expected} waited 7500 in 1")], "{what}");
    }
}

#[test]
fn nobody_fit_is_reported_after_the_wait_and_retried_when_that_changes() {
    let mut world = World::new();
    world.request_failover(None);
    for id in ["h1", "h2", "h3"] {
        world.mark(id, HostStatus::Offline);
    }
    assert_eq!(world.wanted(), nothing());
    world.pass(D, &[]);
    assert_eq!(world.follow(), ["block g1 3"]);
    assert_eq!(world.wanted(), nothing());
    world.mark("h3", HostStatus::Online);
    assert_eq!(world.follow(), ["choose g1 h3 waited 7500 in 1"]);
    assert_eq!(world.follow(), ["promote g1 h3 waited 7500 in 1"]);
    assert_eq!(world.group().blocked, None);
}

#[test]
fn the_new_primary_s_start_is_followed_step_by_step() {
    let mut world = World::switched_to_h2();
    assert_eq!(world.wanted(), nothing());
    world.says("h2", GroupState::Installed);
    assert_eq!(world.follow(), ["installed g1 h2"]);
    assert_eq!(world.wanted(), nothing());
    world.says("h2", GroupState::Acting);
    assert_eq!(world.follow(), ["acting g1 h2"]);
    assert_eq!(world.group().phase, Phase::Active);
    assert_eq!(world.wanted(), nothing());

    let mut world = World::switched_to_h2();
    world.says("h2", GroupState::Acting);
    assert_eq!(world.follow(), ["installed g1 h2", "acting g1 h2"]);
}

#[test]
fn failed_starts_are_retried_with_those_that_failed_least_and_ever_later() {
    let mut world = World::switched_to_h2();
    let order = ["h2", "h3", "h1", "h2", "h3", "h1", "h2"];
    let pauses = [1_000, 2_000, 4_000, 8_000, 16_000, 30_000];
    for (pair, pause_ms) in order.windows(2).zip(pauses) {
        world.fail_start(pair[0]);
        let due = world.now.plus_ms(pause_ms);
        assert_eq!(world.failovers(), Plan { commands: vec![], wake_at: Some(due) }, "{pair:?}");
        world.pass(pause_ms - 1, &["h1", "h2", "h3"]);
        assert_eq!(world.wanted(), nothing(), "{pair:?}");
        world.pass(1, &["h1", "h2", "h3"]);
        assert_eq!(world.follow(), [format!("choose g1 {} released", pair[1])]);
        assert_eq!(world.follow(), [format!("promote g1 {} released", pair[1])]);
    }
}

#[test]
fn a_target_that_could_not_start_comes_after_those_that_were_not_tried() {
    let mut world = World::new();
    world.request_failover(Some("h3"));
    world.says("h1", GroupState::Ended);
    world.follow();
    assert_eq!(world.follow(), ["choose g1 h3 released"]);
    world.follow();
    world.fail_start("h3");
    world.pass(1_000, &["h1", "h2", "h3"]);
    assert_eq!(world.wanted(), ["choose g1 h2 released"]);
}

#[test]
fn a_primary_that_restarts_before_it_acknowledged_loses_the_group_by_a_new_failover() {
    let mut world = World::switched_to_h2();
    world.register("h2", 2);
    world.read_disk("h2");
    assert_eq!(world.follow(), ["begin g1 host-restarted"]);
    world.pass(D, &["h1", "h2", "h3"]);
    assert_eq!(world.wanted(), ["choose g1 h2 waited 7500 in 1"]);
}

#[test]
fn a_group_is_forgotten_only_after_the_release_or_the_wait() {
    let mut world = World::new();
    world.apply(Command::DeleteGroup { group: g1() });
    assert_eq!(world.failovers(), Plan { commands: vec![], wake_at: Some(START.plus_ms(D)) });
    world.pass(D, &["h1", "h2", "h3"]);
    assert_eq!(world.follow(), ["deleted g1 waited 7500 in 1"]);
    assert!(world.state.groups.is_empty());

    let mut world = World::new();
    world.apply(Command::DeleteGroup { group: g1() });
    world.says("h1", GroupState::Ended);
    assert_eq!(world.follow(), ["release g1 h1"]);
    assert_eq!(world.follow(), ["deleted g1 released"]);
    assert!(world.state.groups.is_empty());
}

#[test]
fn the_wait_of_a_failover_counts_for_the_deletion_that_overtakes_it() {
    let mut world = World::new();
    world.request_failover(None);
    world.pass(5_000, &["h1", "h2", "h3"]);
    world.apply(Command::DeleteGroup { group: g1() });
    assert_eq!(world.failovers().wake_at, Some(START.plus_ms(D)));
}

#[test]
fn what_is_no_longer_revoked_is_forgotten() {
    let mut world = World::new();
    assert!(world.seen.revoked_since.is_empty());
    world.request_failover(None);
    let first = world.group().epoch;
    assert_eq!(world.seen.revoked_since.clone().into_iter().collect::<Vec<_>>(), [((g1(), first), START)]);
    world.pass(10, &[]);
    let (state, now) = (world.state.clone(), world.now);
    world.seen.note_applied(&state, now);
    assert_eq!(world.seen.revoked_since.values().copied().collect::<Vec<Mono>>(), [START], "noted once");
    world.says("h1", GroupState::Ended);
    for _ in 0..3 {
        world.follow();
    }
    assert_eq!(world.group().primary.host, host("h2"));
    assert!(world.seen.revoked_since.is_empty());
}
