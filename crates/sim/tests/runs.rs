//! A few runs in the usual build. `cargo xtask sim` has hundreds of them, and the planted bugs.

use quorate_sim::{Plan, World};

const STEPS: u64 = 1_000_000;

#[test]
fn the_same_seed_gives_the_same_run_event_by_event() {
    for seed in [3, 14, 159] {
        let (one, other) =
            (World::run(Plan::of(seed, STEPS), false), World::run(Plan::of(seed, STEPS), true));
        assert_eq!((one.digest, one.steps, &one.counts), (other.digest, other.steps, &other.counts));
        assert!(!other.timeline.is_empty() && one.timeline.is_empty());
    }
    let others = World::run(Plan::of(4, STEPS), false);
    assert_ne!(others.digest, World::run(Plan::of(3, STEPS), false).digest);
}

#[test]
fn every_invariant_holds_in_the_first_seeds() {
    for seed in 1..=10 {
        let report = World::run(Plan::of(seed, STEPS), false);
        assert_eq!(report.violation, None, "seed {seed}");
        assert!(report.counts.of("renewals/acknowledged") > 0, "seed {seed}: {}", report.counts);
    }
}

/// Of two voters the leader was removed, and lost its lead when only its own log said so: nobody could be elected any more.
/// Since then a leader hands over before it loses its vote.
#[test]
fn seed_16_in_which_a_leader_took_its_own_vote_away_is_led_after_it_was_healed() {
    let report = World::run(Plan::of(16, STEPS), false);
    assert_eq!(report.violation, None);
    assert!(report.counts.of("members/begun") > 0, "{}", report.counts);
}

/// A voter that was taken out held the entry that said so, and the leader that had made it did not after a crash: as a learner
/// it could not stand, and voted for nobody with a shorter log. Since then Raft drops a voter together with its vote.
#[test]
fn seed_453_in_which_only_a_former_voter_held_the_entry_that_took_its_vote_is_led_after_it_was_healed() {
    let report = World::run(Plan::of(453, STEPS), false);
    assert_eq!(report.violation, None);
    assert!(report.counts.of("fault/leader-crash-halfway") > 0, "{}", report.counts);
}

/// A leader that was removed while nobody reached it went on believing that it led: it said nothing, and asked nobody. Since
/// then whoever reaches no quorum asks whether it was removed.
#[test]
fn seed_171_in_which_a_silent_leader_was_removed_tells_it_so() {
    let report = World::run(Plan::of(171, STEPS), false);
    assert_eq!(report.violation, None);
    assert!(report.counts.of("members/removed-and-away") > 0, "{}", report.counts);
}

#[test]
fn two_survivors_of_three_find_a_leader_after_every_kill_of_the_leader() {
    // A thousand kills where that takes a moment.
    let runs = if cfg!(debug_assertions) { 4 } else { 40 };
    let kills = 25;
    let (mut killed, mut led) = (0, 0);
    for seed in 1..=runs {
        let report = World::run(Plan::of_leader_kills(seed, kills), false);
        assert_eq!(report.violation, None, "seed {seed}");
        killed += report.counts.of("fault/leader-crash");
        led += report.counts.of("recovered/led-by-another-before-the-leader-was-back");
    }
    println!("{killed} kills of the leader, {led} times another one led before it was back");
    assert_eq!((killed, led), (runs * kills as u64, runs * kills as u64));
}
