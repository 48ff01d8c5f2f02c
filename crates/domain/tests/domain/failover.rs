//! Who may take a group away, who may get it, and when: exact events, or the refusal's code.

use crate::stage::{
    D, Stage, TERM, begin, create_group, g, h, mark, register, register_with_hooks, report, request, waited,
};
use quorate_domain::{
    Cause, Command, Event, HostId, HostStatus, Incarnation, OperationId, OperationStatus, Outcome, Phase,
    Proposal, Role, StepName, StepStatus, Term, Timestamp, Verdict, apply, assignment::assignment,
    command::Fencing, ids::Epoch, operation::FailoverReason,
};

/// A disk's report as that start of its agent makes it.
fn read_by(mut report: Command, start: u64) -> Command {
    if let Command::RecordDisk { incarnation, .. } = &mut report {
        *incarnation = Incarnation(start);
    }
    report
}

fn begun(stage: &Stage, reason: FailoverReason, target: Option<HostId>) -> Event {
    Event::FailoverBegun {
        operation: stage.next_operation(),
        group: g("g1"),
        from: stage.group().primary.host.clone(),
        epoch: stage.epoch(),
        reason,
        target,
        evidence: vec![],
    }
}

fn statuses(stage: &Stage, operation: OperationId) -> Vec<StepStatus> {
    let operation = stage.state.operations.get(&operation).expect("an operation of this stage");
    operation.steps.iter().map(|step| step.status).collect()
}

fn roles(stage: &Stage) -> Vec<(String, Role)> {
    ["h1", "h2", "h3"]
        .into_iter()
        .filter_map(|host| {
            let assignment = assignment(&stage.state, &h(host))?;
            Some((host.to_owned(), assignment.entries.first()?.role))
        })
        .collect()
}

#[test]
fn the_five_steps_of_a_failover_are_committed_one_by_one() {
    use StepStatus::{Done, Pending, Running};
    let mut stage = Stage::active();
    let (epoch, operation) = (stage.epoch(), stage.next_operation());
    let expected = begun(&stage, FailoverReason::Requested, None);
    assert_eq!(stage.ok(request(None)), [expected]);
    assert_eq!(statuses(&stage, operation), [Running, Pending, Pending, Pending, Pending]);
    assert!(
        roles(&stage).iter().all(|(_, role)| *role == Role::Backup),
        "nobody may act: {:?}",
        roles(&stage)
    );

    assert_eq!(
        stage.ok(stage.clone().choose("h2", waited(D, TERM.0))),
        [Event::CandidateChosen {
            operation,
            group: g("g1"),
            candidate: h("h2"),
            fenced_by: "waited 7500 ms, D = 7500 ms, in term 5".into(),
            evidence: vec![],
        }]
    );
    assert_eq!(statuses(&stage, operation), [Done, Done, Running, Pending, Pending]);
    assert_eq!(stage.ok(stage.clone().choose("h2", waited(D, TERM.0))), []);

    assert_eq!(
        stage.ok(stage.clone().promote("h2", waited(D, TERM.0))),
        [Event::PrimarySwitched {
            operation,
            group: g("g1"),
            from: h("h1"),
            to: h("h2"),
            granted_to: Incarnation(1),
            epoch: epoch.next(),
            reason: FailoverReason::Requested,
        }]
    );
    assert_eq!(statuses(&stage, operation), [Done, Done, Done, Running, Pending]);
    let backups: Vec<_> = stage.group().backups.iter().map(|member| member.host.as_str()).collect();
    assert_eq!(backups, ["h1", "h3"], "everybody keeps their place in the operator's order");
    assert_eq!(roles(&stage)[1], ("h2".to_owned(), Role::Primary));

    let installed = stage.installed("h2");
    assert_eq!(
        stage.ok(installed.clone()),
        [Event::AssignmentInstalled { operation, group: g("g1"), host: h("h2"), epoch: epoch.next() }]
    );
    assert_eq!(stage.ok(installed), []);
    assert_eq!(statuses(&stage, operation), [Done, Done, Done, Done, Running]);

    let acknowledge = stage.acknowledge("h2");
    assert_eq!(
        stage.ok(acknowledge.clone()),
        [Event::PrimaryStarted {
            operation: Some(operation),
            group: g("g1"),
            host: h("h2"),
            epoch: epoch.next(),
        }]
    );
    assert_eq!(stage.ok(acknowledge), []);
    assert_eq!(statuses(&stage, operation), [Done; 5]);
    assert_eq!(stage.state.operations.get(&operation).unwrap().status, OperationStatus::Succeeded);
    assert_eq!(stage.group().phase, Phase::Active);
}

#[test]
fn an_acknowledgement_may_come_before_the_word_of_the_installation() {
    let mut stage = Stage::switched();
    let operation = stage.operation();
    assert_eq!(stage.ok(stage.clone().acknowledge("h2")).len(), 1);
    assert_eq!(statuses(&stage, operation), [StepStatus::Done; 5]);
    assert_eq!(stage.ok(stage.clone().installed("h2")), []);
}

#[test]
fn an_operator_s_request_needs_a_group_that_is_not_under_way_and_a_fit_target() {
    type Setup = fn(&mut Stage);
    let table: Vec<(&str, Setup, Option<&str>)> = vec![
        ("ALREADY_PRIMARY", |_| {}, Some("h1")),
        ("NOT_A_MEMBER", |_| {}, Some("h9")),
        (
            "NOT_ELIGIBLE",
            |stage| {
                stage.ok(mark("h2", 1, HostStatus::Suspect));
            },
            Some("h2"),
        ),
        (
            "NOT_ELIGIBLE",
            |stage| {
                stage.ok(report("h2", "d1", "medium-h2", Verdict::Failed));
            },
            Some("h2"),
        ),
        (
            "NO_ELIGIBLE_BACKUP",
            |stage| {
                stage.ok(mark("h2", 1, HostStatus::Offline));
                stage.ok(report("h3", "d1", "medium-h3", Verdict::Failed));
            },
            None,
        ),
    ];
    for (expected, setup, target) in table {
        let mut stage = Stage::active();
        setup(&mut stage);
        assert_eq!(stage.refused(request(target)), expected, "{target:?}");
    }
    assert_eq!(Stage::revoked().refused(request(None)), "FAILOVER_IN_PROGRESS");
    let mut stage = Stage::active();
    let expected = begun(&stage, FailoverReason::Requested, Some(h("h3")));
    assert_eq!(stage.ok(request(Some("h3"))), [expected]);

    // A start that hangs is ended by it.
    let mut stage = Stage::switched();
    let (named_by, expected) = (stage.operation(), begun(&stage, FailoverReason::Requested, None));
    let events = stage.ok(request(None));
    assert_eq!((events[0].name(), events[0].operation()), ("OperationFailed", Some(named_by)));
    assert_eq!(events[1..], [expected]);
}

#[test]
fn an_automatic_failover_needs_its_reason_to_hold() {
    use FailoverReason::{DiskFailed, HostLost, HostRestarted, Released, StartFailed, StartTimedOut};
    type Setup = fn(&mut Stage);
    let nothing: Setup = |_| {};
    let suspect: Setup = |stage| {
        stage.ok(mark("h1", 1, HostStatus::Suspect));
    };
    let suspect_alone: Setup = |stage| {
        stage.ok(mark("h1", 1, HostStatus::Suspect));
        stage.ok(mark("h2", 1, HostStatus::Offline));
        stage.ok(mark("h3", 1, HostStatus::Offline));
    };
    let offline_alone: Setup = |stage| {
        for host in ["h1", "h2", "h3"] {
            stage.ok(mark(host, 1, HostStatus::Offline));
        }
    };
    let restarted: Setup = |stage| {
        stage.ok(register("h1", "i-h1", 2));
    };
    let disk: Setup = |stage| {
        stage.ok(report("h1", "d1", "medium-h1", Verdict::Failed));
    };
    let disk_alone: Setup = |stage| {
        stage.ok(report("h1", "d1", "medium-h1", Verdict::Failed));
        stage.ok(mark("h2", 1, HostStatus::Offline));
        stage.ok(mark("h3", 1, HostStatus::Suspect));
    };
    let degraded: Setup = |stage| {
        stage.ok(report("h1", "d1", "medium-h1", Verdict::Degraded));
    };
    let table: Vec<(FailoverReason, &str, Setup, Option<&str>)> = vec![
        (HostLost, "online", nothing, Some("NOT_NEEDED")),
        (HostLost, "suspect", suspect, None),
        (HostLost, "suspect without a backup", suspect_alone, Some("NO_ELIGIBLE_BACKUP")),
        (HostLost, "offline without a backup", offline_alone, None),
        (HostRestarted, "not restarted", nothing, Some("NOT_NEEDED")),
        (HostRestarted, "restarted", restarted, None),
        (DiskFailed, "healthy", nothing, Some("NOT_NEEDED")),
        (DiskFailed, "degraded", degraded, Some("NOT_NEEDED")),
        (DiskFailed, "failed", disk, None),
        (DiskFailed, "failed without a backup", disk_alone, Some("NO_ELIGIBLE_BACKUP")),
        (Released, "by a planner's word", nothing, Some("NOT_NEEDED")),
        (StartFailed, "by a planner's word", nothing, Some("NOT_NEEDED")),
        (StartTimedOut, "active", nothing, Some("NOT_NEEDED")),
    ];
    for (reason, what, setup, refused) in table {
        let mut stage = Stage::active();
        setup(&mut stage);
        if let Some(code) = refused {
            assert_eq!(stage.refused(begin(reason)), code, "{reason}, {what}");
        } else {
            let expected = begun(&stage, reason, None);
            assert_eq!(stage.ok(begin(reason)), [expected], "{reason}, {what}");
        }
    }
}

#[test]
fn a_plan_made_on_another_epoch_is_refused() {
    let mut stage = Stage::active();
    stage.ok(mark("h1", 1, HostStatus::Offline));
    for epoch in [stage.epoch().next(), Epoch(stage.epoch().0 - 1)] {
        let command = Command::BeginFailover {
            group: g("g1"),
            epoch: Some(epoch),
            reason: FailoverReason::HostLost,
            target: None,
            evidence: vec![],
        };
        assert_eq!(stage.refused(command), "STALE_EPOCH");
        let command = Command::ReportBlocked { group: g("g1"), epoch, reasons: vec!["x".into()] };
        assert_eq!(stage.refused(command), "STALE_EPOCH");
    }
}

#[test]
fn nobody_is_chosen_or_promoted_before_it_is_certain_that_the_old_primary_stopped() {
    for (fencing, expected) in [
        (waited(0, TERM.0), "WAIT_NOT_OVER"),
        (waited(D - 1, TERM.0), "WAIT_NOT_OVER"),
        (waited(D, TERM.0 - 1), "WAIT_OF_ANOTHER_TERM"),
        (waited(u64::MAX, TERM.0 + 1), "WAIT_OF_ANOTHER_TERM"),
        (Fencing::Released, "NOT_RELEASED"),
    ] {
        let mut stage = Stage::revoked();
        let choose = stage.choose("h2", fencing.clone());
        assert_eq!(stage.refused(choose), expected, "{fencing:?}");
        let mut stage = Stage::chosen();
        let promote = stage.promote("h2", fencing.clone());
        assert_eq!(stage.refused(promote), expected, "{fencing:?}");
    }
}

#[test]
fn d_covers_the_longest_demotion_of_the_start_that_the_epoch_was_granted_to() {
    let wait = |demotion_ms: u64| D + (demotion_ms * 101).div_ceil(99);
    for (at_the_grant, later, longest) in [(9_000, 9_000, 9_000), (9_000, 100, 9_000), (100, 9_000, 100)] {
        let mut stage = Stage::hosts();
        stage.ok(register_with_hooks("h1", 2, at_the_grant));
        let disk = report("h1", "d1", "medium-h1", Verdict::Healthy);
        assert_eq!(stage.refused(disk.clone()), "STALE_INCARNATION");
        stage.ok(read_by(disk, 2));
        stage.ok(create_group("g1", "h1", &["h2", "h3"]));
        stage.ok(register_with_hooks("h1", 3, later));
        stage.ok(begin(FailoverReason::HostRestarted));
        let early = stage.choose("h2", waited(wait(longest) - 1, TERM.0));
        assert_eq!(stage.refused(early), "WAIT_NOT_OVER");
        let waited = waited(wait(longest), TERM.0);
        let events = stage.ok(stage.clone().choose("h2", waited.clone()));
        let said = format!("waited {0} ms, D = {0} ms, in term 5", wait(longest));
        assert!(
            matches!(&events[..], [Event::CandidateChosen { fenced_by, .. }] if *fenced_by == said),
            "{events:?}"
        );
        stage.ok(stage.clone().promote("h2", waited));
        assert_eq!(stage.group().demotion_ms, 0, "the new primary's start allows itself none");
    }
}

#[test]
fn who_was_not_waited_for_is_not_promoted_again_before_its_service_is_known_to_have_stopped() {
    let mut stage = Stage::switched();
    let (old, epoch) = (Epoch(stage.epoch().0 - 1), stage.epoch());
    assert_eq!(stage.group().unstopped.get(&h("h1")), Some(&old));
    stage.ok(stage.clone().acknowledge("h2"));
    assert_eq!(stage.refused(request(Some("h1"))), "NOT_ELIGIBLE");
    for (command, code) in [
        (stage.stopped("h1", epoch), "STALE_EPOCH"),
        (
            Command::RecordStopped { group: g("g1"), epoch: old, host: h("h1"), incarnation: Incarnation(9) },
            "STALE_INCARNATION",
        ),
        (
            Command::RecordStopped { group: g("g9"), epoch: old, host: h("h1"), incarnation: Incarnation(1) },
            "GROUP_NOT_FOUND",
        ),
    ] {
        assert_eq!(stage.refused(command.clone()), code, "{command:?}");
    }
    let stopped = Event::OldPrimaryStopped { group: g("g1"), epoch: old, host: h("h1") };
    assert_eq!(stage.ok(stage.clone().stopped("h1", old)), [stopped]);
    assert_eq!(stage.ok(stage.clone().stopped("h1", old)), []);
    stage.ok(request(Some("h1")));
}

#[test]
fn who_released_or_is_promoted_again_itself_is_known_to_have_stopped() {
    let mut stage = Stage::revoked();
    stage.ok(stage.clone().release("h1"));
    stage.ok(stage.clone().choose("h2", Fencing::Released));
    stage.ok(stage.clone().promote("h2", Fencing::Released));
    assert!(stage.group().unstopped.is_empty());
    let mut stage = Stage::revoked();
    stage.ok(stage.clone().choose("h1", waited(D, TERM.0)));
    stage.ok(stage.clone().promote("h1", waited(D, TERM.0)));
    assert!(
        stage.group().unstopped.is_empty(),
        "its own agent begins nothing before the old epoch has ended there"
    );
}

#[test]
fn a_start_that_takes_too_long_is_ended_while_another_host_could_follow() {
    let mut stage = Stage::switched();
    let (named_by, expected) = (stage.operation(), begun(&stage, FailoverReason::StartTimedOut, None));
    let mut alone = stage.clone();
    let events = stage.ok(begin(FailoverReason::StartTimedOut));
    assert_eq!((events[0].name(), events[0].operation()), ("OperationFailed", Some(named_by)));
    assert_eq!(events[1..], [expected]);
    // h1 was not waited for, and h3 is not there.
    alone.ok(mark("h3", 1, HostStatus::Offline));
    assert_eq!(alone.refused(begin(FailoverReason::StartTimedOut)), "NO_ELIGIBLE_BACKUP");
}

#[test]
fn a_wait_of_the_last_leadership_does_not_count_in_the_next() {
    let mut stage = Stage::chosen();
    stage.term = Term(TERM.0 + 1);
    assert_eq!(stage.refused(stage.clone().promote("h2", waited(D, TERM.0))), "WAIT_OF_ANOTHER_TERM");
    assert_eq!(stage.ok(stage.clone().promote("h2", waited(D, TERM.0 + 1))).len(), 1);
}

#[test]
fn a_release_counts_in_every_leadership() {
    let mut stage = Stage::revoked();
    stage.ok(stage.clone().release("h1"));
    stage.term = Term(TERM.0 + 3);
    stage.ok(stage.clone().choose("h2", Fencing::Released));
    stage.ok(stage.clone().promote("h2", Fencing::Released));
}

#[test]
fn only_a_fit_member_is_chosen_and_only_the_chosen_one_is_promoted() {
    let wait = || waited(D, TERM.0);
    let mut stage = Stage::revoked();
    assert_eq!(stage.refused(stage.clone().promote("h2", wait())), "WRONG_PHASE");
    assert_eq!(stage.refused(stage.clone().choose("h9", wait())), "NOT_A_MEMBER");
    stage.ok(report("h2", "d1", "medium-h2", Verdict::Failed));
    assert_eq!(stage.refused(stage.clone().choose("h2", wait())), "NOT_ELIGIBLE");
    stage.ok(mark("h3", 1, HostStatus::Suspect));
    assert_eq!(stage.refused(stage.clone().choose("h3", wait())), "NOT_ELIGIBLE");

    let mut stage = Stage::chosen();
    assert_eq!(stage.refused(stage.clone().promote("h3", wait())), "WRONG_PHASE");
    stage.ok(mark("h2", 1, HostStatus::Offline));
    assert_eq!(stage.refused(stage.clone().promote("h2", wait())), "NOT_ELIGIBLE");
    let operation = stage.operation();
    assert_eq!(stage.ok(stage.clone().choose("h3", wait())).len(), 1);
    let steps = &stage.state.operations.get(&operation).unwrap().steps;
    assert_eq!(steps[1].name, StepName::EnsureConsistency);
    assert_eq!(steps[1].note, "chose h3", "the note names who was chosen last");
    stage.ok(stage.clone().promote("h3", wait()));
}

#[test]
fn a_plan_of_another_operation_or_phase_is_refused() {
    let mut stage = Stage::chosen();
    let other = OperationId(stage.operation().0 + 1);
    let (group, candidate, fencing) = (g("g1"), h("h2"), waited(D, TERM.0));
    let promote =
        Command::Promote { group: group.clone(), operation: other, candidate: candidate.clone(), fencing };
    assert_eq!(stage.refused(promote), "WRONG_PHASE");
    let promote = stage.promote("h2", waited(D, TERM.0));
    stage.ok(promote.clone());
    assert_eq!(stage.refused(promote), "WRONG_PHASE", "the same promotion twice");
    let choose = Command::ChooseCandidate {
        group,
        operation: stage.operation(),
        candidate,
        fencing: waited(D, TERM.0),
        evidence: vec![],
    };
    assert_eq!(stage.refused(choose), "WRONG_PHASE");
}

#[test]
fn the_epoch_is_granted_to_the_candidate_s_present_start() {
    let mut stage = Stage::chosen();
    stage.ok(register("h2", "i-h2", 4));
    stage.ok(read_by(report("h2", "d1", "medium-h2", Verdict::Healthy), 4));
    stage.ok(stage.clone().promote("h2", waited(D, TERM.0)));
    assert_eq!(stage.group().granted_to, Incarnation(4));
}

#[test]
fn the_old_primary_promoted_again_gets_the_next_epoch() {
    let mut stage = Stage::revoked();
    let epoch = stage.epoch();
    stage.ok(stage.clone().choose("h1", waited(D, TERM.0)));
    stage.ok(stage.clone().promote("h1", waited(D, TERM.0)));
    assert_eq!((stage.epoch(), stage.group().primary.host.clone()), (epoch.next(), h("h1")));
    assert_eq!(stage.group().backups.len(), 2);
}

#[test]
fn only_the_holder_speaks_for_its_epoch() {
    let mut stage = Stage::switched();
    let earlier = Epoch(stage.epoch().0 - 1);
    let incarnation = Incarnation(1);
    for (host, epoch, incarnation, expected) in [
        ("h1", stage.epoch(), incarnation, "NOT_THE_HOLDER"),
        ("h2", earlier, incarnation, "STALE_EPOCH"),
        ("h2", stage.epoch().next(), incarnation, "STALE_EPOCH"),
        ("h2", stage.epoch(), Incarnation(2), "STALE_INCARNATION"),
        ("h9", stage.epoch(), incarnation, "HOST_NOT_FOUND"),
    ] {
        let (group, reason) = (g("g1"), String::new());
        for command in [
            Command::RecordInstalled { group: group.clone(), epoch, host: h(host), incarnation },
            Command::AcknowledgePromotion { group: group.clone(), epoch, host: h(host), incarnation },
            Command::ReportStartFailed {
                group: group.clone(),
                epoch,
                host: h(host),
                incarnation,
                reason: reason.clone(),
            },
            Command::RecordRelease { group, epoch, host: h(host), incarnation, reason },
        ] {
            assert_eq!(stage.refused(command.clone()), expected, "{command:?}");
        }
    }
    let mut revoked = Stage::revoked();
    assert_eq!(revoked.refused(revoked.clone().acknowledge("h1")), "NOT_THE_HOLDER");
    assert_eq!(revoked.refused(revoked.clone().start_failed("h1")), "NOT_THE_HOLDER");
}

#[test]
fn a_release_begins_the_failover_by_itself() {
    let mut stage = Stage::active();
    let epoch = stage.epoch();
    let released = Event::PrimaryReleased { group: g("g1"), epoch, host: h("h1"), reason: "let go".into() };
    let expected = [begun(&stage, FailoverReason::Released, None), released.clone()];
    assert_eq!(stage.ok(stage.clone().release("h1")), expected);
    assert_eq!(stage.ok(stage.clone().release("h1")), []);

    let mut stage = Stage::active();
    stage.ok(register("h1", "i-h1", 2));
    let expected = [begun(&stage, FailoverReason::HostRestarted, None), released.clone()];
    assert_eq!(stage.ok(stage.clone().release("h1")), expected);

    let mut stage = Stage::revoked();
    assert_eq!(stage.ok(stage.clone().release("h1")), [released]);

    let mut stage = Stage::switched();
    let named_by = stage.operation();
    let events = stage.ok(stage.clone().release("h2"));
    let names: Vec<_> = events.iter().map(Event::name).collect();
    assert_eq!(names, ["OperationFailed", "FailoverBegun", "PrimaryReleased"]);
    assert_eq!(events[0].operation(), Some(named_by));
}

#[test]
fn a_start_that_failed_needs_no_wait_and_leaves_the_choice_open() {
    use StepStatus::{Done, Pending, Running};
    let mut stage = Stage::switched();
    let (operation, epoch) = (stage.operation(), stage.epoch());
    assert_eq!(
        stage.ok(stage.clone().start_failed("h2")),
        [Event::PrimaryStartFailed {
            operation,
            group: g("g1"),
            host: h("h2"),
            epoch,
            reason: "hook exit 1".into(),
        }]
    );
    assert_eq!(stage.group().phase, Phase::Revoked { operation, released: true, candidate: None });
    let failover = stage.state.operations[&operation].failover().expect("a failover");
    assert_eq!(failover.attempts.get(&h("h2")), Some(&1));
    assert_eq!(statuses(&stage, operation), [Done, Running, Pending, Pending, Pending]);
    stage.ok(stage.clone().choose("h3", Fencing::Released));
    stage.ok(stage.clone().promote("h3", Fencing::Released));
    assert_eq!(stage.epoch(), epoch.next());

    let mut first = Stage::starting();
    let expected = begun(&first, FailoverReason::StartFailed, None);
    let events = first.ok(first.clone().start_failed("h1"));
    assert_eq!(events[0], expected, "the first primary of a group has no operation yet");
    assert_eq!(events.len(), 2);
}

#[test]
fn a_service_that_ends_by_itself_soon_after_its_start_counts_with_the_failed_starts_before_it() {
    for (settles, expected) in [(false, vec![("h1", 1), ("h2", 1)]), (true, vec![("h2", 1)])] {
        let mut stage = Stage::active();
        stage.ok(stage.clone().start_failed("h1"));
        stage.ok(stage.clone().choose("h2", Fencing::Released));
        stage.ok(stage.clone().promote("h2", Fencing::Released));
        stage.ok(stage.clone().acknowledge("h2"));
        let acted_ms = if settles { 61_000 } else { 59_000 };
        let at = Timestamp(1_000 + stage.state.revision().0 + acted_ms);
        let failed = Proposal::new(at, Cause::Cluster, stage.start_failed("h2"));
        let applied = apply(&mut stage.state, stage.term, &failed);
        assert!(matches!(applied.outcome, Outcome::Accepted { .. }), "{:?}", applied.outcome);
        let failover = stage.state.operations[&stage.operation()].failover().expect("a failover");
        let attempts: Vec<_> =
            failover.attempts.iter().map(|(host, count)| (host.as_str(), *count)).collect();
        assert_eq!(attempts, expected);
    }
}

#[test]
fn a_primary_lost_before_it_acknowledged_ends_its_operation_badly() {
    let mut stage = Stage::switched();
    let named_by = stage.operation();
    stage.ok(mark("h2", 1, HostStatus::Offline));
    let expected = begun(&stage, FailoverReason::HostLost, None);
    let events = stage.ok(begin(FailoverReason::HostLost));
    assert!(
        matches!(&events[0], Event::OperationFailed { operation, .. } if *operation == named_by),
        "{events:?}"
    );
    assert_eq!(events[1..], [expected]);
    let operation = stage.state.operations.get(&named_by).unwrap();
    assert_eq!(operation.status, OperationStatus::Failed);
    assert_eq!(operation.steps[3].status, StepStatus::Failed);
}

#[test]
fn a_block_is_set_changed_and_lifted_and_a_switch_lifts_it_too() {
    let mut stage = Stage::revoked();
    let epoch = stage.epoch();
    let block = |reasons: &[&str]| Command::ReportBlocked {
        group: g("g1"),
        epoch,
        reasons: reasons.iter().map(|reason| (*reason).to_owned()).collect(),
    };
    assert_eq!(stage.ok(block(&[])), []);
    assert_eq!(
        stage.ok(block(&["a"])),
        [Event::FailoverBlocked { group: g("g1"), reasons: vec!["a".into()] }]
    );
    let since = stage.group().blocked.as_ref().unwrap().since;
    assert_eq!(stage.ok(block(&["a"])), []);
    assert_eq!(stage.ok(block(&["b"])).len(), 1);
    assert_eq!(stage.group().blocked.as_ref().unwrap().since, since);
    let mut lifted = stage.clone();
    assert_eq!(lifted.ok(block(&[])), [Event::FailoverUnblocked { group: g("g1") }]);
    stage.ok(stage.clone().choose("h2", waited(D, TERM.0)));
    stage.ok(stage.clone().promote("h2", waited(D, TERM.0)));
    assert_eq!(stage.group().blocked, None);
}

#[test]
fn a_failover_moves_the_assignment_of_every_member_and_of_nobody_else() {
    let mut stage = Stage::hosts();
    stage.ok(register("h4", "i-h4", 1));
    let bystander = stage.host("h4").assignment_revision;
    stage.ok(create_group("g1", "h1", &["h2", "h3"]));
    stage.ok(stage.clone().acknowledge("h1"));
    stage.ok(request(None));
    for host in ["h1", "h2", "h3"] {
        assert_eq!(stage.host(host).assignment_revision, stage.state.revision(), "{host}");
    }
    assert_eq!(stage.host("h4").assignment_revision, bystander);
}
