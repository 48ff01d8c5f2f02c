//! Time: leases run on `CLOCK_BOOTTIME`, because `CLOCK_MONOTONIC` (and with it `std::time::Instant` and every
//! tokio timer) stands still while the machine is suspended, when other machines go on counting.

use std::ops::Add;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The longest single tokio sleep inside [`sleep_until`]: how late a wake-up can be after a suspend.
const SLEEP_SLICE: Duration = Duration::from_secs(1);

const NANOS_PER_MS: u64 = 1_000_000;
const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A point on this machine's `CLOCK_BOOTTIME`, in nanoseconds; it means nothing on any other machine or boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootInstant(u64);

impl BootInstant {
    /// The instant `ms` milliseconds after boot.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(NANOS_PER_MS))
    }

    /// Whole milliseconds since boot.
    pub const fn as_ms(self) -> u64 {
        self.0 / NANOS_PER_MS
    }

    /// The time from `earlier` to this instant, zero if `earlier` is in fact later.
    pub const fn saturating_sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for BootInstant {
    type Output = Self;

    /// Stays at the end of the clock (about 584 years) rather than wrapping: a deadline too far never passes.
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// Now on `CLOCK_BOOTTIME`: never goes back, and counts suspend.
    fn boottime(&self) -> BootInstant;

    /// Now on the wall clock, in milliseconds since 1970; for people to read, never for deadlines.
    fn unix_ms(&self) -> u64;
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boottime(&self) -> BootInstant {
        BootInstant(nanos_of(ClockId::Boottime))
    }

    fn unix_ms(&self) -> u64 {
        nanos_of(ClockId::Realtime) / NANOS_PER_MS
    }
}

/// Reads a clock; a wall clock set before 1970 reads as zero.
fn nanos_of(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos)
}

/// A clock that moves only when a test moves it.
#[derive(Debug, Default)]
pub struct ManualClock {
    boot_nanos: AtomicU64,
    unix_ms: AtomicU64,
}

impl ManualClock {
    /// A clock standing at the two given times.
    pub fn new(boottime: BootInstant, unix_ms: u64) -> Self {
        Self { boot_nanos: AtomicU64::new(boottime.0), unix_ms: AtomicU64::new(unix_ms) }
    }

    /// Moves both clocks forward by the same time.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.boot_nanos.fetch_add(nanos, Ordering::SeqCst);
        self.unix_ms.fetch_add(nanos / NANOS_PER_MS, Ordering::SeqCst);
    }

    /// Sets the boot clock alone, as a suspend does to a test that looks only at it.
    pub fn set_boottime(&self, to: BootInstant) {
        self.boot_nanos.store(to.0, Ordering::SeqCst);
    }

    /// Sets the wall clock alone, as an operator or NTP may at any moment.
    pub fn set_unix_ms(&self, to: u64) {
        self.unix_ms.store(to, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn boottime(&self) -> BootInstant {
        BootInstant(self.boot_nanos.load(Ordering::SeqCst))
    }

    fn unix_ms(&self) -> u64 {
        self.unix_ms.load(Ordering::SeqCst)
    }
}

/// Waits until the boot clock has reached `deadline`.
///
/// Sleeps in slices of at most one second and looks at the clock again, because a tokio timer set for the whole
/// time would be late by as long as the machine was suspended.
pub async fn sleep_until(clock: &dyn Clock, deadline: BootInstant) {
    loop {
        let left = deadline.saturating_sub(clock.boottime());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left.min(SLEEP_SLICE)).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn instants_convert_and_compare() {
        let early = BootInstant::from_ms(1_500);
        let late = early + Duration::from_micros(2_500);
        assert_eq!(late.as_ms(), 1_502);
        assert!(late > early);
        assert_eq!(late.saturating_sub(early), Duration::from_micros(2_500));
        assert_eq!(early.saturating_sub(late), Duration::ZERO);
    }

    #[test]
    fn an_instant_too_far_stays_at_the_end_of_the_clock() {
        let end = BootInstant::from_ms(u64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(BootInstant::from_ms(1) + Duration::MAX, end);
    }

    #[test]
    fn the_system_clock_reads_boottime_and_wall_time() {
        let clock = SystemClock;
        let first = clock.boottime();
        assert!(first > BootInstant::default());
        assert!(clock.boottime() >= first);
        let wall = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let difference = u128::from(clock.unix_ms()).abs_diff(wall.as_millis());
        assert!(difference < 5_000, "{difference} ms apart");
    }

    #[test]
    fn the_manual_clock_moves_only_when_moved() {
        let clock = ManualClock::new(BootInstant::from_ms(10), 1_000);
        assert_eq!((clock.boottime().as_ms(), clock.unix_ms()), (10, 1_000));
        clock.advance(Duration::from_millis(5));
        assert_eq!((clock.boottime().as_ms(), clock.unix_ms()), (15, 1_005));
        clock.set_unix_ms(7);
        clock.set_boottime(BootInstant::from_ms(99));
        assert_eq!((clock.boottime().as_ms(), clock.unix_ms()), (99, 7));
    }

    #[tokio::test]
    async fn sleeping_on_the_system_clock_ends_no_earlier_than_the_deadline() {
        let clock = SystemClock;
        let deadline = clock.boottime() + Duration::from_millis(30);
        sleep_until(&clock, deadline).await;
        assert!(clock.boottime() >= deadline);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_in_the_past_does_not_wait() {
        let clock = ManualClock::new(BootInstant::from_ms(10), 0);
        let before = tokio::time::Instant::now();
        sleep_until(&clock, BootInstant::from_ms(10)).await;
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_of_the_boot_clock_is_seen_within_a_second() {
        let clock = Arc::new(ManualClock::default());
        let sleeper = tokio::spawn({
            let clock = Arc::clone(&clock);
            async move { sleep_until(clock.as_ref(), BootInstant::from_ms(3_600_000)).await }
        });
        let before = tokio::time::Instant::now();
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.set_boottime(BootInstant::from_ms(3_600_000));
        sleeper.await.unwrap();
        assert!(before.elapsed() <= Duration::from_secs(1), "{:?}", before.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tokio_timer_that_ran_ahead_does_not_end_the_sleep() {
        let clock = ManualClock::default();
        let sleep = sleep_until(&clock, BootInstant::from_ms(1_000));
        let outcome = tokio::time::timeout(Duration::from_mins(1), sleep).await;
        assert!(outcome.is_err(), "the boot clock stood still, so the deadline has not come");
    }
}
