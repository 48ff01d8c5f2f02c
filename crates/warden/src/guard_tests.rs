use super::*;

const RULES: Rules = Rules { demote: true, fence: false, demotion_ms: 1_000, child: true, agent: true };
const LEASE: u64 = 5_000;
const FAILED: fn() -> Outcome = || Outcome::Failed("no".into());

fn g() -> GroupId {
    GroupId::new("g").unwrap()
}

/// A group that is served under epoch 3 until `LEASE`.
fn served(seen: bool) -> Guards {
    let mut guards = Guards::default();
    let key = guards.promote(&g(), Epoch(3), None, LEASE, 100).unwrap();
    assert_eq!(guards.run_ended(&g(), key, Hook::Promote, &Outcome::Succeeded, RULES, LEASE, 200), []);
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
        assert_eq!(guards.next_wake(RULES, lease), Some(lease));
        assert_eq!(guards.pass(RULES, lease, lease - 1), []);
    }
    let (key, hook) = started(&guards.pass(RULES, 8_000, 8_000));
    assert_eq!(hook, Hook::Demote);
    assert_eq!(guards.next_wake(RULES, 99_000), Some(9_000), "no renewal counts any more");
    let ended = guards.run_ended(&g(), key, Hook::Demote, &Outcome::Succeeded, RULES, 99_000, 8_500);
    assert_eq!(proofs(&ended), [Proof::Demoted]);
    assert!(!ended.contains(&Action::Kill { group: g() }), "it may have restarted the service as a standby");
    assert!(guards.is_empty());
}

#[test]
fn a_demotion_that_takes_too_long_is_followed_by_the_kill_of_everything() {
    let mut guards = served(true);
    let (key, _) = started(&guards.pass(RULES, LEASE, LEASE));
    assert_eq!(guards.pass(RULES, LEASE, LEASE + 999), []);
    let actions = guards.pass(RULES, LEASE, LEASE + 1_000);
    assert!(
        matches!(&actions[..], [Action::Stop { key: stopped, .. }, Action::Kill { .. }] if *stopped == key)
    );
    assert_eq!(guards.run_ended(&g(), key, Hook::Demote, &FAILED(), RULES, LEASE, LEASE + 1_010), []);
    assert_eq!(proofs(&guards.gone(&g(), false, RULES, LEASE + 1_020)), [Proof::Killed]);
    assert!(guards.is_empty());
}

#[test]
fn a_demotion_that_fails_after_the_deadline_is_followed_by_the_kill_at_once() {
    let mut guards = served(true);
    let (key, _) = started(&guards.pass(RULES, LEASE, LEASE));
    let actions = guards.run_ended(&g(), key, Hook::Demote, &FAILED(), RULES, LEASE, LEASE + 10);
    assert!(actions.contains(&Action::Kill { group: g() }));
}

#[test]
fn a_demotion_of_the_agent_that_fails_before_the_deadline_may_be_tried_again_until_then() {
    let mut guards = served(true);
    let first = guards.demote(&g(), Epoch(3), None, LEASE, 1_000).unwrap();
    assert_eq!(guards.demote(&g(), Epoch(3), None, LEASE, 1_100), Ok(first), "it is the one that runs");
    assert_eq!(guards.run_ended(&g(), first, Hook::Demote, &FAILED(), RULES, 90_000, 1_200), []);
    let second = guards.demote(&g(), Epoch(3), None, 90_000, 2_000).unwrap();
    assert_eq!(guards.run_ended(&g(), second, Hook::Demote, &FAILED(), RULES, 90_000, 2_200), []);
    assert_eq!(guards.next_wake(RULES, 90_000), Some(LEASE), "frozen when the first began");
    assert_eq!(guards.pass(RULES, 90_000, LEASE), [Action::Kill { group: g() }]);
}

#[test]
fn a_promotion_is_interrupted_at_the_deadline_and_demoted() {
    let mut guards = Guards::default();
    let key = guards.promote(&g(), Epoch(3), None, LEASE, 100).unwrap();
    let actions = guards.pass(RULES, LEASE, LEASE);
    assert!(matches!(&actions[..], [Action::Stop { key: stopped, .. }] if *stopped == key));
    let next = guards.run_ended(&g(), key, Hook::Promote, &FAILED(), RULES, LEASE, LEASE + 5);
    assert_eq!(started(&next).1, Hook::Demote);
}

#[test]
fn what_was_never_seen_running_below_its_hook_is_not_known_to_have_stopped_when_nothing_is_left() {
    let mut guards = served(false);
    let (key, _) = started(&guards.pass(RULES, LEASE, LEASE));
    guards.run_ended(&g(), key, Hook::Demote, &FAILED(), RULES, LEASE, LEASE + 10);
    let ended = guards.gone(&g(), false, RULES, LEASE + 20);
    assert!(matches!(&proofs(&ended)[..], [Proof::Not(why)] if why.contains("nothing of it was seen")));
    assert!(guards.get(&g()).unwrap().is_unproven());
    // Its own agent tries on, and one that succeeds is the proof.
    assert_eq!(guards.next_wake(RULES, LEASE), None);
    let key = guards.demote(&g(), Epoch(3), None, LEASE, LEASE + 500).unwrap();
    let ended = guards.run_ended(&g(), key, Hook::Demote, &Outcome::Succeeded, RULES, LEASE, LEASE + 600);
    assert_eq!(proofs(&ended), [Proof::Demoted]);
}

#[test]
fn without_an_agent_the_warden_tries_the_demote_hook_again_and_again() {
    let rules = Rules { agent: false, ..RULES };
    let mut guards = served(false);
    let (key, _) = started(&guards.pass(rules, LEASE, LEASE));
    guards.run_ended(&g(), key, Hook::Demote, &FAILED(), rules, LEASE, LEASE + 10);
    guards.gone(&g(), false, rules, LEASE + 20);
    let mut waits = Vec::new();
    let mut now = LEASE + 20;
    for _ in 0..8 {
        let at = guards.next_wake(rules, LEASE).unwrap();
        waits.push(at - now);
        now = at;
        let (key, hook) = started(&guards.pass(rules, LEASE, now));
        assert_eq!(hook, Hook::Demote);
        guards.run_ended(&g(), key, Hook::Demote, &FAILED(), rules, LEASE, now);
    }
    assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
}

#[test]
fn the_fence_command_follows_where_the_kill_is_no_proof() {
    let rules = Rules { fence: true, child: false, ..RULES };
    let fencing = || {
        let mut guards = served(true);
        let (key, _) = started(&guards.pass(rules, LEASE, LEASE));
        guards.run_ended(&g(), key, Hook::Demote, &FAILED(), rules, LEASE, LEASE + 10);
        let (key, hook) = started(&guards.gone(&g(), false, rules, LEASE + 20));
        assert_eq!(hook, Hook::Fence);
        (guards, key)
    };
    let (mut guards, key) = fencing();
    let ended = guards.run_ended(&g(), key, Hook::Fence, &Outcome::Succeeded, rules, LEASE, LEASE + 90);
    assert_eq!(proofs(&ended), [Proof::Fenced]);
    let (mut guards, key) = fencing();
    let ended = guards.run_ended(&g(), key, Hook::Fence, &FAILED(), rules, LEASE, LEASE + 90);
    assert_eq!(proofs(&ended), [Proof::Not("the fence command failed: no".into())]);
}

#[test]
fn what_does_not_die_is_fenced_too_and_its_late_end_is_a_proof() {
    let mut guards = served(true);
    let (key, _) = started(&guards.pass(RULES, LEASE, LEASE));
    guards.run_ended(&g(), key, Hook::Demote, &FAILED(), RULES, LEASE, LEASE);
    assert_eq!(guards.pass(RULES, LEASE, LEASE + KILL_PATIENCE_MS - 1), []);
    let ended = guards.pass(RULES, LEASE, LEASE + KILL_PATIENCE_MS);
    assert_eq!(proofs(&ended), [Proof::Not("what its hooks started does not die".into())]);
    assert_eq!(proofs(&guards.gone(&g(), false, RULES, LEASE + 9_000)), [Proof::Killed]);
}

#[test]
fn another_start_of_the_agent_extends_no_deadline_and_lets_no_promotion_go_on() {
    let mut guards = served(true);
    let h = GroupId::new("h").unwrap();
    let key = guards.promote(&h, Epoch(8), None, LEASE, 300).unwrap();
    let actions = guards.freeze_all(LEASE, u64::MAX);
    assert!(matches!(&actions[..], [Action::Stop { key: stopped, .. }] if *stopped == key));
    assert_eq!(guards.next_wake(RULES, 90_000), Some(LEASE));
    assert_eq!(guards.run_ended(&h, key, Hook::Promote, &FAILED(), RULES, 0, 400), []);
    assert!(guards.demote(&h, Epoch(8), None, 0, 500).is_ok(), "the new agent demotes it");
}

#[test]
fn a_promotion_needs_a_lease_and_no_other_end_under_way() {
    let mut guards = Guards::default();
    assert!(guards.promote(&g(), Epoch(3), None, LEASE, LEASE).unwrap_err().contains("no lease is known"));
    let mut guards = served(true);
    assert!(guards.promote(&g(), Epoch(2), None, LEASE, 300).unwrap_err().contains("epoch 3"));
    guards.demote(&g(), Epoch(3), None, LEASE, 300).unwrap();
    assert!(guards.promote(&g(), Epoch(4), None, LEASE, 400).unwrap_err().contains("still being ended"));
}
