//! A warden ends what its agent no longer renews: by the demote hook, by force, by the fence command.

#![allow(clippy::unwrap_used, reason = "also in the functions that the tests share")]

use quorate_agent_core::{
    BootMs, HookOutcome,
    guard::{Action, Guards, Hook, KILL_PATIENCE_MS, Moment, Proof, Rules, RunKey},
};
use quorate_domain::{Epoch, GroupId};

const RULES: Rules = Rules { fence: false, demotion_ms: Some(1_000), child: true, agent: true };
const LEASE: u64 = 5_000;
const FAILED: fn() -> HookOutcome = || HookOutcome::Failed("no".into());

/// At this moment, with the lease ending then.
fn at(now: u64, lease: u64, rules: Rules) -> Moment {
    Moment { now: BootMs(now), lease: BootMs(lease), rules }
}

fn g() -> GroupId {
    GroupId::new("g").unwrap()
}

/// A group that is served under epoch 3 until `LEASE`.
fn served(seen: bool) -> Guards {
    let mut guards = Guards::default();
    let key = guards.promote(&g(), Epoch(3), at(100, LEASE, RULES)).unwrap();
    assert_eq!(
        guards.run_ended(&g(), key, Hook::Promote, &HookOutcome::Succeeded, at(200, LEASE, RULES)),
        []
    );
    if seen {
        guards.seen(&g());
    }
    guards
}

fn started(actions: &[Action]) -> (RunKey, Hook) {
    match actions {
        [Action::Start { key, hook, .. }] => (*key, *hook),
        other => panic!("one start was expected: {other:?}"),
    }
}

fn proofs(actions: &[Action]) -> Vec<Proof> {
    let ended = |action: &Action| match action {
        Action::Ended { proof, .. } => Some(proof.clone()),
        _ => None,
    };
    actions.iter().filter_map(ended).collect()
}

#[test]
fn nothing_happens_while_the_lease_is_renewed_and_the_demote_hook_runs_when_it_is_not() {
    let mut guards = served(true);
    for lease in [6_000, 7_000, 8_000] {
        assert_eq!(guards.next_wake(RULES, BootMs(lease)), Some(BootMs(lease)));
        assert_eq!(guards.pass(at(lease - 1, lease, RULES)), []);
    }
    let (key, hook) = started(&guards.pass(at(8_000, 8_000, RULES)));
    assert_eq!(hook, Hook::Demote);
    assert_eq!(guards.next_wake(RULES, BootMs(99_000)), Some(BootMs(9_000)), "no renewal counts any more");
    let ended = guards.run_ended(&g(), key, Hook::Demote, &HookOutcome::Succeeded, at(8_500, 99_000, RULES));
    assert_eq!(proofs(&ended), [Proof::Demoted]);
    assert!(!ended.contains(&Action::Kill { group: g() }), "it may have restarted the service as a standby");
    assert!(guards.is_empty());
}

#[test]
fn a_limit_that_is_raised_or_a_hook_that_is_added_later_stretches_no_epoch() {
    for (before, later, ends) in [
        (Some(1_000), Some(60_000), LEASE + 1_000),
        (None, Some(60_000), LEASE),
        (Some(1_000), Some(400), LEASE + 400),
    ] {
        let (before, later) = [before, later].map(|demotion_ms| Rules { demotion_ms, ..RULES }).into();
        let mut guards = Guards::default();
        let key = guards.promote(&g(), Epoch(3), at(100, LEASE, before)).unwrap();
        guards.run_ended(&g(), key, Hook::Promote, &HookOutcome::Succeeded, at(200, LEASE, before));
        // Another start of the agent has the other settings.
        guards.freeze_all(BootMs(LEASE), BootMs(u64::MAX));
        guards.pass(at(LEASE, LEASE, later));
        assert_eq!(guards.next_wake(later, BootMs(LEASE)), Some(BootMs(ends)));
        let killed = guards.pass(at(ends, LEASE, later));
        assert!(killed.contains(&Action::Kill { group: g() }), "{before:?}, {later:?}: {killed:?}");
    }
}

#[test]
fn a_demotion_that_takes_too_long_is_followed_by_the_kill_of_everything() {
    let mut guards = served(true);
    let (key, _) = started(&guards.pass(at(LEASE, LEASE, RULES)));
    assert_eq!(guards.pass(at(LEASE + 999, LEASE, RULES)), []);
    let actions = guards.pass(at(LEASE + 1_000, LEASE, RULES));
    assert!(
        matches!(&actions[..], [Action::Stop { key: stopped, .. }, Action::Kill { .. }] if *stopped == key)
    );
    assert_eq!(guards.run_ended(&g(), key, Hook::Demote, &FAILED(), at(LEASE + 1_010, LEASE, RULES)), []);
    assert_eq!(proofs(&guards.gone(&g(), false, at(LEASE + 1_020, LEASE, RULES))), [Proof::Killed]);
    assert!(guards.is_empty());
}

#[test]
fn a_demotion_that_fails_after_the_deadline_is_followed_by_the_kill_at_once() {
    let mut guards = served(true);
    let (key, _) = started(&guards.pass(at(LEASE, LEASE, RULES)));
    let actions = guards.run_ended(&g(), key, Hook::Demote, &FAILED(), at(LEASE + 10, LEASE, RULES));
    assert!(actions.contains(&Action::Kill { group: g() }));
}

#[test]
fn a_demotion_of_the_agent_that_fails_before_the_deadline_may_be_tried_again_until_then() {
    let mut guards = served(true);
    let first = guards.demote(&g(), Epoch(3), at(1_000, LEASE, RULES)).unwrap();
    assert_eq!(guards.demote(&g(), Epoch(3), at(1_100, LEASE, RULES)), Ok(first), "it is the one that runs");
    assert_eq!(guards.run_ended(&g(), first, Hook::Demote, &FAILED(), at(1_200, 90_000, RULES)), []);
    let second = guards.demote(&g(), Epoch(3), at(2_000, 90_000, RULES)).unwrap();
    assert_eq!(guards.run_ended(&g(), second, Hook::Demote, &FAILED(), at(2_200, 90_000, RULES)), []);
    assert_eq!(guards.next_wake(RULES, BootMs(90_000)), Some(BootMs(LEASE)), "frozen when the first began");
    assert_eq!(guards.pass(at(LEASE, 90_000, RULES)), [Action::Kill { group: g() }]);
}

#[test]
fn a_promotion_is_interrupted_at_the_deadline_and_demoted() {
    let mut guards = Guards::default();
    let key = guards.promote(&g(), Epoch(3), at(100, LEASE, RULES)).unwrap();
    let actions = guards.pass(at(LEASE, LEASE, RULES));
    assert!(matches!(&actions[..], [Action::Stop { key: stopped, .. }] if *stopped == key));
    let next = guards.run_ended(&g(), key, Hook::Promote, &FAILED(), at(LEASE + 5, LEASE, RULES));
    assert_eq!(started(&next).1, Hook::Demote);
}

#[test]
fn no_renewal_counts_for_an_epoch_that_has_ended_while_its_promote_hook_runs() {
    let mut guards = Guards::default();
    let key = guards.promote(&g(), Epoch(3), at(100, LEASE, RULES)).unwrap();
    guards.interrupt(&g(), RunKey(key.0 + 1), at(150, LEASE, RULES));
    assert_eq!(guards.get(&g()).unwrap().deadline(BootMs(9_000)), BootMs(9_000), "another run");
    guards.interrupt(&g(), key, at(200, LEASE, RULES));
    assert_eq!(guards.get(&g()).unwrap().deadline(BootMs(9_000)), BootMs(LEASE));
    // It began a service before it was killed, and the agent is gone before it has asked for the demotion.
    assert_eq!(guards.run_ended(&g(), key, Hook::Promote, &FAILED(), at(300, 9_000, RULES)), []);
    assert_eq!(started(&guards.pass(at(LEASE, 9_000, RULES))).1, Hook::Demote);
}

#[test]
fn a_promote_hook_that_failed_without_a_demote_hook_has_stopped_when_nothing_of_it_is_left() {
    for (demotion_ms, child, has_stopped) in
        [(None, true, true), (Some(1_000), true, false), (None, false, false)]
    {
        let rules = Rules { demotion_ms, child, ..RULES };
        let mut guards = Guards::default();
        let key = guards.promote(&g(), Epoch(3), at(100, LEASE, rules)).unwrap();
        assert_eq!(guards.run_ended(&g(), key, Hook::Promote, &FAILED(), at(200, LEASE, rules)), []);
        let killed = guards.demote_by_force(&g(), Epoch(3), at(300, LEASE, rules)).unwrap();
        assert_eq!(killed, [Action::Kill { group: g() }]);
        let ended = proofs(&guards.gone(&g(), false, at(400, LEASE, rules)));
        assert_eq!(ended == [Proof::Killed], has_stopped, "{ended:?}");
        assert_eq!(guards.get(&g()).is_none(), has_stopped);
    }
}

#[test]
fn what_was_never_seen_running_below_its_hook_is_not_known_to_have_stopped_when_nothing_is_left() {
    let mut guards = served(false);
    let (key, _) = started(&guards.pass(at(LEASE, LEASE, RULES)));
    guards.run_ended(&g(), key, Hook::Demote, &FAILED(), at(LEASE + 10, LEASE, RULES));
    let ended = guards.gone(&g(), false, at(LEASE + 20, LEASE, RULES));
    assert!(matches!(&proofs(&ended)[..], [Proof::Not(why)] if why.contains("nothing of it was seen")));
    assert!(guards.get(&g()).unwrap().is_unproven());
    // Its own agent tries on, and one that succeeds is the proof.
    assert_eq!(guards.next_wake(RULES, BootMs(LEASE)), None);
    let key = guards.demote(&g(), Epoch(3), at(LEASE + 500, LEASE, RULES)).unwrap();
    let ended =
        guards.run_ended(&g(), key, Hook::Demote, &HookOutcome::Succeeded, at(LEASE + 600, LEASE, RULES));
    assert_eq!(proofs(&ended), [Proof::Demoted]);
}

#[test]
fn without_an_agent_the_warden_tries_the_demote_hook_again_and_again() {
    let rules = Rules { agent: false, ..RULES };
    let mut guards = served(false);
    let (key, _) = started(&guards.pass(at(LEASE, LEASE, rules)));
    guards.run_ended(&g(), key, Hook::Demote, &FAILED(), at(LEASE + 10, LEASE, rules));
    guards.gone(&g(), false, at(LEASE + 20, LEASE, rules));
    let mut waits = Vec::new();
    let mut now = LEASE + 20;
    for _ in 0..8 {
        let BootMs(due) = guards.next_wake(rules, BootMs(LEASE)).unwrap();
        waits.push(due - now);
        now = due;
        let (key, hook) = started(&guards.pass(at(now, LEASE, rules)));
        assert_eq!(hook, Hook::Demote);
        guards.run_ended(&g(), key, Hook::Demote, &FAILED(), at(now, LEASE, rules));
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
}

#[test]
fn the_fence_command_follows_where_the_kill_is_no_proof() {
    let rules = Rules { fence: true, child: false, ..RULES };
    let fencing = || {
        let mut guards = served(true);
        let (key, _) = started(&guards.pass(at(LEASE, LEASE, rules)));
        guards.run_ended(&g(), key, Hook::Demote, &FAILED(), at(LEASE + 10, LEASE, rules));
        let (key, hook) = started(&guards.gone(&g(), false, at(LEASE + 20, LEASE, rules)));
        assert_eq!(hook, Hook::Fence);
        (guards, key)
    };
    let (mut guards, key) = fencing();
    let ended =
        guards.run_ended(&g(), key, Hook::Fence, &HookOutcome::Succeeded, at(LEASE + 90, LEASE, rules));
    assert_eq!(proofs(&ended), [Proof::Fenced]);
    let (mut guards, key) = fencing();
    let ended = guards.run_ended(&g(), key, Hook::Fence, &FAILED(), at(LEASE + 90, LEASE, rules));
    assert_eq!(proofs(&ended), [Proof::Not("the fence command failed: no".into())]);
}

#[test]
fn what_does_not_die_is_fenced_too_and_its_late_end_is_a_proof() {
    let mut guards = served(true);
    let (key, _) = started(&guards.pass(at(LEASE, LEASE, RULES)));
    guards.run_ended(&g(), key, Hook::Demote, &FAILED(), at(LEASE, LEASE, RULES));
    assert_eq!(guards.pass(at(LEASE + KILL_PATIENCE_MS - 1, LEASE, RULES)), []);
    let ended = guards.pass(at(LEASE + KILL_PATIENCE_MS, LEASE, RULES));
    assert_eq!(proofs(&ended), [Proof::Not("what its hooks started does not die".into())]);
    assert_eq!(proofs(&guards.gone(&g(), false, at(LEASE + 9_000, LEASE, RULES))), [Proof::Killed]);
}

#[test]
fn another_start_of_the_agent_extends_no_deadline_and_lets_no_promotion_go_on() {
    let mut guards = served(true);
    let h = GroupId::new("h").unwrap();
    let key = guards.promote(&h, Epoch(8), at(300, LEASE, RULES)).unwrap();
    let actions = guards.freeze_all(BootMs(LEASE), BootMs(u64::MAX));
    assert!(matches!(&actions[..], [Action::Stop { key: stopped, .. }] if *stopped == key));
    assert_eq!(guards.next_wake(RULES, BootMs(90_000)), Some(BootMs(LEASE)));
    assert_eq!(guards.run_ended(&h, key, Hook::Promote, &FAILED(), at(400, 0, RULES)), []);
    assert!(guards.demote(&h, Epoch(8), at(500, 0, RULES)).is_ok(), "the new agent demotes it");
}

#[test]
fn a_promotion_needs_a_lease_and_no_other_end_under_way() {
    let mut guards = Guards::default();
    assert!(
        guards.promote(&g(), Epoch(3), at(LEASE, LEASE, RULES)).unwrap_err().contains("no lease is known")
    );
    let mut guards = served(true);
    assert!(guards.promote(&g(), Epoch(2), at(300, LEASE, RULES)).unwrap_err().contains("epoch 3"));
    guards.demote(&g(), Epoch(3), at(300, LEASE, RULES)).unwrap();
    assert!(guards.promote(&g(), Epoch(4), at(400, LEASE, RULES)).unwrap_err().contains("still being ended"));
}

#[test]
fn a_demotion_that_fails_where_nothing_was_guarded_ends_nothing_by_force() {
    let mut guards = Guards::default();
    let key = guards.demote(&g(), Epoch(3), at(500, 0, RULES)).unwrap();
    assert_eq!(guards.next_wake(RULES, BootMs(0)), None);
    let actions = guards.run_ended(&g(), key, Hook::Demote, &FAILED(), at(600, 0, RULES));
    assert_eq!(actions, [Action::LetGo { group: g() }]);
    assert!(guards.is_empty());
    let key = guards.demote(&g(), Epoch(3), at(700, 0, RULES)).unwrap();
    let ended = guards.run_ended(&g(), key, Hook::Demote, &HookOutcome::Succeeded, at(800, 0, RULES));
    assert_eq!(proofs(&ended), [Proof::Demoted]);
}

#[test]
fn a_demotion_without_a_hook_is_a_kill_at_once_and_needs_none_where_nothing_was_guarded() {
    let rules = Rules { demotion_ms: None, ..RULES };
    let mut guards = served(true);
    let actions = guards.demote_by_force(&g(), Epoch(3), at(1_000, LEASE, rules)).unwrap();
    assert_eq!(actions, [Action::Kill { group: g() }]);
    assert_eq!(proofs(&guards.gone(&g(), false, at(1_010, LEASE, rules))), [Proof::Killed]);
    let again = guards.demote_by_force(&g(), Epoch(3), at(1_100, LEASE, rules)).unwrap();
    assert_eq!(proofs(&again), [Proof::Killed]);
}
