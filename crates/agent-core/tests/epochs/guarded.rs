//! An epoch whose service a guard runs.

use super::*;

fn tell_guard(core: &mut Core, now: u64) -> RoleAnswer {
    core.tell_guard(&group(), BootMs(now)).unwrap()
}

#[test]
fn an_epoch_is_over_when_its_guard_says_that_the_service_has_stopped() {
    let (mut core, _) = acting();
    let told = tell_guard(&mut core, 1_100);
    assert_eq!((told.role, told.epoch, told.lease_deadline), (LocalRole::Primary, Epoch(5), BootMs(7_000)));
    let steps = core.assignment_snapshot(snapshot(4, vec![entry(6, Role::Backup, 0)]), BootMs(1_200));
    assert_eq!(hooks(&steps), [], "the guard ends its service first");
    assert_eq!(states(&core), [(5, GroupState::Stopping)]);
    assert_eq!(core.next_wake(), Some(BootMs(7_000)), "which it does at its deadline without a word");
    let steps = core.guard_stopped(&group(), Epoch(5), "asked to", false, BootMs(1_300));
    assert_eq!(hooks(&steps), [(5, HookKind::Demote)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::NotConfigured, 1_310);
    assert_eq!(states(&core), []);
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
fn a_guard_that_is_lost_ends_the_epoch_and_is_waited_for_to_its_deadline() {
    let (mut core, _) = acting();
    tell_guard(&mut core, 1_100);
    let steps = core.guard_lost(&group(), Epoch(5), "the guard is gone", BootMs(1_200));
    assert_eq!(hooks(&steps), []);
    assert_eq!(role(&core, 1_200), LocalRole::Fenced);
    assert_eq!(tell_guard(&mut core, 1_250).role, LocalRole::Fenced);
    assert_eq!(hooks(&core.tick(BootMs(6_999))), []);
    assert_eq!(states(&core), [(5, GroupState::Stopping)]);
    assert_eq!(hooks(&core.tick(BootMs(7_000))), [(5, HookKind::Demote)]);
    finished(&mut core, 5, HookKind::Demote, HookOutcome::NotConfigured, 7_010);
    assert_eq!(states(&core), [(5, GroupState::StartFailed)], "another host is to be tried");
    assert_eq!(core.report()[0].reason, "the guard is gone");
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
