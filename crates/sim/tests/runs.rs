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

/// Seeds in which coordinators change, and what must happen in one of them at least; other seeds will do once these lead
/// elsewhere. Found by such runs, and mended: a leader that took its own vote away and then lost its lead left nobody who
/// could be elected (it hands over first); a former voter that stayed a learner held the only copy of the entry that took
/// its vote, and voted for nobody with a shorter log (a voter leaves Raft together with its vote); a leader that was
/// removed while nobody reached it went on believing that it led (whoever reaches no quorum asks whether it was removed).
#[test]
fn changes_of_coordinators_end_well_also_when_the_leader_dies_halfway_hands_over_or_is_removed() {
    let mut missing =
        vec!["fault/leader-crash-halfway", "members/leader-handed-over", "members/removed-and-away"];
    for seed in [1, 4, 37, 52] {
        let report = World::run(Plan::of(seed, STEPS), false);
        assert_eq!(report.violation, None, "seed {seed}");
        missing.retain(|what| report.counts.of(what) == 0);
    }
    assert_eq!(missing, [""; 0], "these seeds no longer lead there: choose others");
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
