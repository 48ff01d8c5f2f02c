//! True time, which no node sees, and the clocks that nodes see instead.

use std::fmt;

/// Microseconds of true time since the world began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(pub u64);

const MILLION: i128 = 1_000_000;

impl Moment {
    /// This much later.
    #[must_use]
    pub const fn after_us(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// This much later.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        self.after_us(ms.saturating_mul(1_000))
    }

    /// Microseconds from `earlier` to this; zero when it is not earlier.
    pub const fn since_us(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whole milliseconds from `earlier` to this; zero when it is not earlier.
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.since_us(earlier) / 1_000
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000))
    }
}

/// A machine's `CLOCK_BOOTTIME`: its own rate, and its own zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    /// When it showed `shown_us`.
    since: Moment,
    shown_us: u64,
    /// How much too fast it runs, in parts per million.
    error_ppm: i64,
}

impl Clock {
    /// A clock that shows `shown_us` at `since`.
    pub(crate) fn new(since: Moment, shown_us: u64, error_ppm: i64) -> Self {
        Self { since, shown_us, error_ppm }
    }

    /// How much too fast it runs, in parts per million.
    pub(crate) fn error_ppm(&self) -> i64 {
        self.error_ppm
    }

    /// What it shows at a moment, in milliseconds.
    pub(crate) fn shows_ms(&self, at: Moment) -> u64 {
        let passed = i128::from(at.since_us(self.since)) * (MILLION + i128::from(self.error_ppm)) / MILLION;
        self.shown_us.saturating_add(u64::try_from(passed).unwrap_or(0)) / 1_000
    }

    /// The first moment at which it shows `ms` or more.
    pub(crate) fn reaches(&self, ms: u64) -> Moment {
        let ahead = i128::from(ms) * 1_000 - i128::from(self.shown_us);
        if ahead <= 0 {
            return self.since;
        }
        let rate = MILLION + i128::from(self.error_ppm);
        let mut us = u64::try_from((ahead * MILLION).div_euclid(rate)).unwrap_or(u64::MAX);
        // Both divisions round down: at most a step or two are missing.
        while self.shows_ms(self.since.after_us(us)) < ms && us < u64::MAX {
            us += 1;
        }
        self.since.after_us(us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_reaches_what_it_shows_and_not_before() {
        for error_ppm in [-10_000, -137, 0, 1, 9_999] {
            let clock = Clock::new(Moment(5_000), 123_456, error_ppm);
            for ms in [124, 125, 1_000, 7_777, 600_000] {
                let at = clock.reaches(ms);
                assert!(clock.shows_ms(at) >= ms, "{error_ppm} {ms}");
                assert!(clock.shows_ms(Moment(at.0 - 1)) < ms, "{error_ppm} {ms}");
            }
        }
        assert_eq!(Clock::new(Moment(5), 9_000, 0).reaches(3), Moment(5), "it has shown that long ago");
    }
}
