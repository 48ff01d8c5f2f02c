//! How lately a node looked at its own leadership. A process that was stopped, or suspended with its machine, wakes up with
//! the knowledge that it had, and by the clocks of the processor alone it may not even be old.

use quorate_runtime::clock::{Clock, SystemClock};
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// When it was last looked, and since when that goes without a gap. Clones share it, so that whoever is the first to run
/// again asks the clock, and not somebody who has not run yet.
#[derive(Debug, Clone)]
pub struct Watched {
    inner: Arc<Mutex<Inner>>,
    /// Nobody else leads before a leader was silent for longer than this.
    gap_max: Duration,
}

#[derive(Debug, Clone, Copy)]
struct Inner {
    /// On the boot clock, which runs while the machine is suspended.
    looked_at_ms: u64,
    /// What was said before may be out of date.
    since: Option<Instant>,
}

fn boot_ms() -> u64 {
    SystemClock.boottime().as_ms()
}

impl Watched {
    /// Nobody stands for election before a leader was silent for as long as its lease, which is no shorter than the
    /// shortest election timeout, and for such a timeout more.
    pub(crate) fn by_elections(shortest: Duration, longest: Duration) -> Self {
        let inner = Inner { looked_at_ms: boot_ms(), since: None };
        Self { inner: Arc::new(Mutex::new(inner)), gap_max: (shortest * 2).min(longest) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gap(&self, inner: Inner, now_ms: u64) -> Option<Duration> {
        let gap = Duration::from_millis(now_ms.saturating_sub(inner.looked_at_ms));
        (gap > self.gap_max).then_some(gap)
    }

    /// Looks now. The gap since the last look, if there was one.
    pub(crate) fn look(&self) -> Option<Duration> {
        self.look_at(boot_ms())
    }

    fn look_at(&self, now_ms: u64) -> Option<Duration> {
        let mut inner = self.lock();
        let gap = self.gap(*inner, now_ms);
        if gap.is_some() {
            inner.since = Some(Instant::now());
        }
        inner.looked_at_ms = now_ms;
        gap
    }

    /// True when it was looked all the time since then, and lately.
    pub(crate) fn holds_since(&self, at: Instant) -> bool {
        self.holds_since_at(at, boot_ms())
    }

    fn holds_since_at(&self, at: Instant, now_ms: u64) -> bool {
        let inner = *self.lock();
        self.gap(inner, now_ms).is_none() && inner.since.is_none_or(|since| at > since)
    }
}

/// Two records of one node are the same, whatever the time.
impl PartialEq for Watched {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }
}

impl Eq for Watched {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_before_a_gap_holds_no_more_from_the_first_moment_after_it() {
        let watched = Watched::by_elections(Duration::from_millis(500), Duration::from_millis(800));
        let begun = boot_ms();
        let said = Instant::now();
        assert!(watched.holds_since_at(said, begun + 800));
        assert!(!watched.holds_since_at(said, begun + 801), "before anybody has looked again");
        assert_eq!(watched.look_at(begun + 2_000), Some(Duration::from_secs(2)));
        assert!(!watched.holds_since_at(said, begun + 2_000));
        assert!(!watched.holds_since_at(said, begun + 2_050), "nor afterwards");
        let again = Instant::now() + Duration::from_millis(1);
        assert!(watched.holds_since_at(again, begun + 2_050));
        assert_eq!(watched.look_at(begun + 2_500), None, "nothing happened in between");
        assert!(watched.holds_since_at(again, begun + 2_500));
    }
}
