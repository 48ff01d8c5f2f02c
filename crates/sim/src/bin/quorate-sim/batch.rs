//! Many seeds on a few threads. A run itself has one.

use crate::args::Args;
use quorate_sim::{Counts, World};
use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

/// So often it is said how far it is.
const TOLD_EVERY: u64 = 1_000;

/// What came of all of them.
#[derive(Debug, Default)]
pub(crate) struct Total {
    pub(crate) seeds: u64,
    pub(crate) steps: u64,
    pub(crate) simulated_s: u64,
    pub(crate) took_s: u64,
    pub(crate) counts: Counts,
    /// The smallest seed that broke an invariant.
    pub(crate) failed: Option<u64>,
    /// A seed whose second run went another way.
    pub(crate) differed: Option<u64>,
}

/// Runs all seeds, or as many as it takes to find one that fails.
pub(crate) fn run(args: &Args) -> Total {
    let seeds = args.seeds();
    let (next, failed) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let total = Mutex::new(Total::default());
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..args.threads() {
            scope.spawn(|| {
                #[cfg(planted)]
                quorate_domain::planted::plant(args.plant);
                while !failed.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if run_one(args, seed, &total) {
                        failed.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut total = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    total.took_s = started.elapsed().as_secs();
    total
}

/// Runs a seed and adds it up. True when it failed.
fn run_one(args: &Args, seed: u64, total: &Mutex<Total>) -> bool {
    let plan = args.plan(seed);
    let report = World::run(plan.clone(), false);
    let differs = args.twice && World::run(plan, false).digest != report.digest;
    let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
    total.seeds += 1;
    total.steps += report.steps;
    total.simulated_s += report.lasted.0 / 1_000_000;
    total.counts.merge(&report.counts);
    if report.violation.is_some() {
        total.failed = Some(total.failed.map_or(seed, |known| known.min(seed)));
    }
    if differs {
        total.differed = Some(seed);
    }
    if total.seeds.is_multiple_of(TOLD_EVERY) {
        eprintln!("{} seeds, {} events", total.seeds, total.steps);
    }
    report.violation.is_some() || differs
}
