//! Points on this machine's `CLOCK_BOOTTIME`.

use std::fmt;

/// Milliseconds on `CLOCK_BOOTTIME`; zero is long past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BootMs(pub u64);

/// Later than every moment.
pub(crate) const NEVER: BootMs = BootMs(u64::MAX);

impl BootMs {
    /// The point `ms` milliseconds later; a point too far stays at the end of the clock.
    #[must_use]
    pub const fn after_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this, zero when it is not earlier.
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for BootMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{} ms", self.0))
    }
}
