//! How long to wait before trying again: exponential with full jitter, so that many who failed together do not
//! come back together.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Waiting times between tries: each is drawn evenly from zero to a ceiling that doubles up to `cap`.
///
/// Source of the rule: "Exponential Backoff And Jitter" (M. Brooker, 2015), variant "full jitter".
#[derive(Debug)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
    max_attempts: Option<u32>,
    attempts: u32,
    rng: StdRng,
}

impl Backoff {
    /// Unbounded tries, the first wait at most `base` and none longer than `cap`.
    pub fn new(base: Duration, cap: Duration) -> Self {
        Self::with_rng(base, cap, rand::make_rng())
    }

    /// The same waits in every run with the same seed.
    pub fn seeded(base: Duration, cap: Duration, seed: u64) -> Self {
        Self::with_rng(base, cap, StdRng::seed_from_u64(seed))
    }

    fn with_rng(base: Duration, cap: Duration, rng: StdRng) -> Self {
        Self { base, cap, max_attempts: None, attempts: 0, rng }
    }

    /// Gives up after `attempts` waits.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// How long to wait before the next try, or `None` when all tries are used up.
    pub fn next_delay(&mut self) -> Option<Duration> {
        if self.max_attempts.is_some_and(|most| self.attempts >= most) {
            return None;
        }
        let ceiling = self.ceiling();
        self.attempts = self.attempts.saturating_add(1);
        let nanos = u64::try_from(ceiling.as_nanos()).unwrap_or(u64::MAX);
        Some(Duration::from_nanos(self.rng.random_range(0..=nanos)))
    }

    /// Starts again from the shortest wait; call it after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Waits handed out since the start or the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    fn ceiling(&self) -> Duration {
        let factor = 2_u32.checked_pow(self.attempts).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.cap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(100);
    const CAP: Duration = Duration::from_secs(2);

    #[test]
    fn every_wait_stays_under_a_ceiling_that_doubles_up_to_the_cap() {
        for seed in 0..200 {
            let mut backoff = Backoff::seeded(BASE, CAP, seed);
            for ceiling_ms in [100, 200, 400, 800, 1_600, 2_000, 2_000, 2_000] {
                let wait = backoff.next_delay().unwrap();
                assert!(wait <= Duration::from_millis(ceiling_ms), "seed {seed}: {wait:?} > {ceiling_ms} ms");
            }
        }
    }

    #[test]
    fn waits_are_spread_over_the_whole_range() {
        let waits: Vec<Duration> =
            (0..400).filter_map(|seed| Backoff::seeded(BASE, CAP, seed).next_delay()).collect();
        let low = waits.iter().filter(|wait| **wait < BASE / 4).count();
        let high = waits.iter().filter(|wait| **wait > BASE * 3 / 4).count();
        assert!(low > 50 && high > 50, "{low} in the lowest quarter, {high} in the highest, of 400");
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        let draw = |seed| {
            let mut backoff = Backoff::seeded(BASE, CAP, seed);
            std::iter::from_fn(move || backoff.next_delay()).take(10).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn two_unseeded_backoffs_draw_differently() {
        let draw = || {
            let mut backoff = Backoff::new(BASE, CAP);
            std::iter::from_fn(move || backoff.next_delay()).take(8).collect::<Vec<_>>()
        };
        assert_ne!(draw(), draw());
    }

    #[test]
    fn bounded_tries_end_and_a_reset_gives_them_back() {
        let mut backoff = Backoff::seeded(BASE, CAP, 1).max_attempts(2);
        assert!(backoff.next_delay().is_some());
        assert!(backoff.next_delay().is_some());
        assert_eq!(backoff.next_delay(), None);
        assert_eq!(backoff.attempts(), 2);
        backoff.reset();
        assert!(backoff.next_delay().unwrap() <= BASE);
    }

    #[test]
    fn very_many_tries_do_not_overflow() {
        let mut backoff = Backoff::seeded(BASE, CAP, 3);
        assert!((0..10_000).all(|_| backoff.next_delay().is_some_and(|wait| wait <= CAP)));
    }
}
