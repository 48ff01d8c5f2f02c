//! An epoch whose service a guard runs.

use super::*;

fn seat(uid: u32) -> Seat {
    let (pid_namespace, user_namespace) = ("p".to_owned(), "u".to_owned());
    Seat { uid, pid_namespace, user_namespace, keeper_seal: seal("secret"), ..Seat::default() }
}

/// What the guard is told, once it is on disk that it is.
fn tell_guard(core: &mut Core, now: u64) -> RoleAnswer {
    let (answer, steps) = core.tell_guard(&group(), &seat(7), BootMs(now));
    if steps.is_empty() {
        return answer.unwrap();
    }
    assert_eq!(answer.unwrap().role, LocalRole::Fenced, "not before it is on disk");
    core.epochs_stored(request(&steps), BootMs(now));
    core.tell_guard(&group(), &seat(7), BootMs(now)).0.unwrap()
}

/// What is on disk after a guard was told.
fn told_on_disk(core: &mut Core, now: u64) -> DurableEpochs {
    let (_, steps) = core.tell_guard(&group(), &seat(7), BootMs(now));
    let [Step::StoreEpochs { request, epochs }] = steps.as_slice() else { panic!("{steps:?}") };
    core.epochs_stored(*request, BootMs(now));
    tell_guard(core, now);
    epochs.clone()
}

/// A guard that was told to the end of the lease at 7,000 and gives no word.
fn silent() -> Core {
    let (mut core, _) = acting();
    tell_guard(&mut core, 1_100);
    core.guard_lost(&group(), Epoch(5), "the guard is gone", BootMs(1_200));
    assert_eq!(hooks(&core.tick(BootMs(7_499))), [], "its word may be on its way");
    assert_eq!(hooks(&core.tick(BootMs(7_500))), [(5, HookKind::Demote)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::NotConfigured, 7_510);
    assert_eq!(states(&core), [(5, GroupState::StopFailed)]);
    core
}

/// The epoch is over, once what is run for it has nothing to do.
fn is_over(core: &mut Core, steps: &[Step], now: u64) {
    assert_eq!(hooks(steps), [(5, HookKind::Demote)]);
    finished(core, 5, HookKind::Demote, HookOutcome::NotConfigured, now);
    assert_eq!(states(core), [(5, GroupState::StartFailed)], "another host is to be tried");
}

#[test]
fn an_epoch_is_over_when_its_guard_says_that_the_service_has_stopped() {
    let (mut core, _) = acting();
    let told = tell_guard(&mut core, 1_100);
    assert_eq!((told.role, told.epoch, told.lease_deadline), (LocalRole::Primary, Epoch(5), BootMs(7_000)));
    let steps = core.assignment_snapshot(snapshot(4, vec![entry(6, Role::Backup, 0)]), BootMs(1_200));
    assert_eq!(hooks(&steps), [], "the guard ends its service first");
    assert_eq!(states(&core), [(5, GroupState::Stopping)]);
    assert_eq!(core.next_wake(), Some(BootMs(7_500)), "or is not known to have ended it by then");
    let steps = core.guard_stopped(&group(), Epoch(5), "asked to", false, BootMs(1_300));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::NotConfigured, 1_310);
    assert_eq!(states(&core), []);
}

#[test]
fn a_keeper_is_one_of_the_guard_that_was_told_of_the_epoch_also_while_that_waits_for_its_word() {
    let (untold, _) = acting();
    assert_eq!(untold.is_kept_by(&group(), Epoch(5), "secret"), None, "no guard serves it");
    let waits = silent();
    for (secret, is_kept) in [("secret", Some(true)), ("", Some(false)), ("guess", Some(false))] {
        assert_eq!(waits.is_kept_by(&group(), Epoch(5), secret), is_kept, "{secret:?}");
    }
    assert_eq!(waits.is_kept_by(&group(), Epoch(4), "secret"), None);
}

#[test]
fn what_others_were_told_holds_to_its_end_beside_a_guard() {
    let (mut core, _) = acting();
    tell_guard(&mut core, 1_100);
    core.tell_role(&group(), BootMs(1_100));
    core.guard_stopped(&group(), Epoch(5), "it ended", false, BootMs(1_200));
    finished(&mut core, 5, HookKind::Demote, HookOutcome::NotConfigured, 1_210);
    core.tick(BootMs(6_999));
    assert_eq!(states(&core), [(5, GroupState::Stopping)]);
    core.tick(BootMs(7_000));
    assert_eq!(states(&core), [(5, GroupState::Ended)]);
}

#[test]
fn a_guard_that_gives_no_word_is_a_demotion_that_failed_until_it_does() {
    let mut core = silent();
    assert_eq!(role(&core, 7_600), LocalRole::Fenced);
    let told = "the guard is gone; its guard has not said that nothing is left of the service";
    assert_eq!(core.report()[0].reason, told);
    // Time proves nothing, however often it is looked at.
    let mut now = 7_600;
    for _ in 0..20 {
        now += 10_000;
        for (epoch, kind) in hooks(&core.tick(BootMs(now))) {
            finished(&mut core, epoch, kind, HookOutcome::NotConfigured, now);
        }
        assert_eq!(states(&core), [(5, GroupState::StopFailed)]);
    }
    let steps = core.guard_stopped(&group(), Epoch(5), "killed", true, BootMs(now + 1));
    is_over(&mut core, &steps, now + 2);
}

#[test]
fn a_later_guard_speaks_for_what_it_can_see_and_an_operator_for_all() {
    let mut core = silent();
    for (seat, except) in [(seat(8), None), (seat(7), Some(Epoch(5)))] {
        let steps = core.guards_left_nothing(&group(), Some(&seat), except, BootMs(7_600));
        assert_eq!((hooks(&steps), states(&core)), (vec![], vec![(5, GroupState::StopFailed)]));
        assert!(core.awaits_guard(&group()));
    }
    let steps = core.clone().guards_left_nothing(&group(), None, None, BootMs(7_600));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    let steps = core.guards_left_nothing(&group(), Some(&seat(0)), None, BootMs(7_600));
    is_over(&mut core, &steps, 7_610);
    assert!(!core.awaits_guard(&group()));
}

#[test]
fn a_later_guard_that_finds_nothing_does_not_shorten_what_the_first_was_told() {
    let (mut core, _) = acting();
    tell_guard(&mut core, 1_100);
    core.guard_lost(&group(), Epoch(5), "the guard is gone", BootMs(1_200));
    let steps = core.guards_left_nothing(&group(), Some(&seat(7)), None, BootMs(1_300));
    assert_eq!(hooks(&steps), [], "the first may have what it was told before it, unread");
    assert_eq!(hooks(&core.tick(BootMs(6_999))), []);
    let steps = core.tick(BootMs(7_000));
    is_over(&mut core, &steps, 7_010);
}

#[test]
fn a_restart_knows_of_the_guard_and_waits_for_its_word() {
    let (mut core, _) = acting();
    let on_disk = told_on_disk(&mut core, 1_100);
    assert_eq!(on_disk.guarded.get(&(group(), Epoch(5))), Some(&seat(7)));
    let (mut core, steps) = started(2_000, 2, on_disk);
    assert_eq!(hooks(&steps), []);
    let over = 2_000 + LeaseSettings::default().lease_ms + DEMOTION_MS;
    assert_eq!(states(&core), [(5, GroupState::Stopping)]);
    assert_eq!(hooks(&core.tick(BootMs(over + 500))), [(5, HookKind::Demote)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::NotConfigured, over + 510);
    assert_eq!(states(&core), [(5, GroupState::StopFailed)]);
    let steps = core.guards_left_nothing(&group(), Some(&seat(7)), None, BootMs(over + 600));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::ByForce, over + 610);
    assert_eq!(states(&core), [(5, GroupState::Ended)]);
}

#[test]
fn a_demote_hook_that_succeeds_ends_what_a_guard_ran_before_there_were_hooks() {
    let mut core = silent();
    assert_eq!(hooks(&core.tick(BootMs(9_000))), [(5, HookKind::Demote)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::Succeeded, 9_010);
    assert_eq!(states(&core), [(5, GroupState::StartFailed)]);
}

#[test]
fn an_epoch_that_a_guard_starts_is_acted_under_once_it_has() {
    let (mut core, _) = started(0, 1, fresh());
    let steps = core.assignment_snapshot(snapshot(3, vec![entry(5, Role::Primary, 1)]), BootMs(900));
    let seq = core.heartbeat_sent(BootMs(1_000));
    core.heartbeat_acknowledged(seq, Revision(3), BootMs(1_010));
    assert_eq!(hooks(&core.epochs_stored(request(&steps), BootMs(1_020))), [(5, HookKind::Promote)]);
    assert_eq!(tell_guard(&mut core, 1_030).role, LocalRole::Fenced, "it is not known to be there");
    core.guard_starts(&group(), Epoch(5));
    let told = tell_guard(&mut core, 1_040);
    assert_eq!((told.role, told.lease_deadline), (LocalRole::Primary, BootMs(7_000)));
    assert_eq!(states(&core), [(5, GroupState::Installed)], "nobody acts before the service does");
    assert_eq!(role(&core, 1_040), LocalRole::Fenced);
    finished(&mut core, 5, HookKind::Promote, HookOutcome::Succeeded, 1_050);
    assert_eq!(states(&core), [(5, GroupState::Acting)]);
}

#[test]
fn a_service_that_ends_by_itself_under_its_guard_is_a_failed_start() {
    let (mut core, _) = acting();
    tell_guard(&mut core, 1_100);
    let steps = core.guard_stopped(&group(), Epoch(5), "exit code 7", true, BootMs(1_200));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::NotConfigured, 1_210);
    assert_eq!(states(&core), [(5, GroupState::StartFailed)]);
    // Words that come late change nothing.
    core.guard_lost(&group(), Epoch(5), "gone", BootMs(1_300));
    core.guard_stopped(&group(), Epoch(4), "older", true, BootMs(1_300));
    assert_eq!(core.report()[0].reason, "exit code 7");
}

#[test]
fn a_stopping_agent_waits_for_its_guards() {
    let (mut core, _) = acting();
    tell_guard(&mut core, 1_100);
    let steps = core.stop("the agent is stopping", BootMs(1_200));
    assert_eq!((hooks(&steps), steps.contains(&Step::Stopped)), (vec![], false));
    let steps = core.guard_stopped(&group(), Epoch(5), "asked to", false, BootMs(1_300));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
}

/// The agent was given hooks without a demote hook, or only a fence command, while the word of a guard is awaited.
#[test]
fn what_is_ended_by_force_says_nothing_of_the_service_of_a_guard() {
    let mut core = silent();
    assert_eq!(hooks(&core.tick(BootMs(9_000))), [(5, HookKind::Demote)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::ByForce, 9_010);
    assert_eq!(states(&core), [(5, GroupState::StopFailed)]);
    let [told] = &core.report()[..] else { panic!("{:?}", core.report()) };
    assert!(told.reason.contains("give the agent a demote hook"), "{told:?}");
    for proof in [Proof::Killed, Proof::CgroupEmpty, Proof::Fenced, Proof::Not("why".into())] {
        core.service_ended(&group(), Epoch(5), &proof, BootMs(9_020));
        assert_eq!(states(&core), [(5, GroupState::StopFailed)], "{proof}");
    }
    // The guard's own word still counts, and what is left to do by force is done.
    let mut settled = core.clone();
    let steps = settled.guards_left_nothing(&group(), None, None, BootMs(9_030));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    finished(&mut settled, 5, HookKind::Demote, HookOutcome::ByForce, 9_040);
    assert_eq!(states(&settled), [(5, GroupState::StartFailed)]);
    // So does a demote hook that the warden ran, and a boot of the machine.
    for proof in [Proof::Demoted, Proof::Rebooted] {
        let mut settled = core.clone();
        settled.service_ended(&group(), Epoch(5), &proof, BootMs(9_030));
        assert_eq!(states(&settled), [(5, GroupState::StartFailed)], "{proof}");
    }
}
