//! A wall clock that is off, for processes that tests run for real.

use anyhow::{Context, Result};
use quorate_runtime::clock::{BootInstant, Clock, SystemClock};
use std::env;

/// Says by how many milliseconds the wall clock is ahead; behind, when it is negative.
pub const AHEAD_MS: &str = "WRONG_CLOCK_AHEAD_MS";

/// The clocks of this machine, the wall clock set wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct WrongClock {
    ahead_ms: i64,
}

impl WrongClock {
    /// As the environment says; right when it says nothing.
    ///
    /// # Errors
    /// When it says no number.
    pub fn from_environment() -> Result<Self> {
        let Some(text) = env::var_os(AHEAD_MS) else { return Ok(Self::default()) };
        let text = text.to_string_lossy();
        let ahead_ms = text.parse().with_context(|| format!("{AHEAD_MS} is {text:?}, which is no number"))?;
        Ok(Self { ahead_ms })
    }
}

impl Clock for WrongClock {
    fn boottime(&self) -> BootInstant {
        SystemClock.boottime()
    }

    fn unix_ms(&self) -> u64 {
        SystemClock.unix_ms().saturating_add_signed(self.ahead_ms)
    }
}
