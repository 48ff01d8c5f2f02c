//! The one clock: it counts suspend, as leases do.

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds on `CLOCK_BOOTTIME`.
pub fn boot_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000).saturating_add(nanos / 1_000_000)
}
