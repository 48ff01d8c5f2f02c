//! What a guard and its keeper say to each other, as frames on a socket.

use quorate_agent_core::{BootMs, kept};
use serde::{Deserialize, Serialize};

/// The most bytes of one message: a few variables, one of which is a reason.
pub const MESSAGE_MAX_BYTES: usize = 64 << 10;

/// Until when the service may run, in milliseconds on `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Until {
    /// It takes no write from there on, and is asked to end.
    pub writes_ms: u64,
    /// Nothing of it may be left then.
    pub lease_ms: u64,
}

impl Until {
    /// When a keeper that has not said that all is gone is not to be counted on any more, in the same milliseconds.
    pub fn keeper_is_late_at_ms(self) -> u64 {
        let kill_at = kept::Until::from(self).kill_at().0;
        kill_at + self.lease_ms.saturating_sub(kill_at) / 2
    }
}

impl From<Until> for kept::Until {
    fn from(until: Until) -> Self {
        Self { writes: BootMs(until.writes_ms), lease: BootMs(until.lease_ms) }
    }
}

/// What the guard says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToKeeper {
    /// Start the service; [`FromKeeper::Started`] or [`FromKeeper::NotStarted`] answers.
    Start {
        /// Until when it may run.
        until: Until,
        /// What it is told beside what the guard was told itself.
        environment: Vec<(String, String)>,
    },
    /// The lease was renewed; [`FromKeeper::Knows`] answers.
    Until(Until),
    /// Ask the service to end, by this signal, and kill it then.
    End {
        /// When it is killed at the latest.
        by_ms: u64,
        /// By which signal it is asked.
        signal: i32,
    },
    /// Pass a signal on.
    Signal {
        /// Its number.
        signal: i32,
    },
    /// Kill it at once.
    Kill,
    /// The last word was heard, and the agent will hear it.
    Heard,
}

/// What the keeper says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromKeeper {
    /// The service runs.
    Started {
        /// Its first process.
        pid: u32,
    },
    /// It does not, and nothing of it is there.
    NotStarted {
        /// Why.
        why: String,
    },
    /// The deadline is known here, and will be kept whatever becomes of the guard.
    Knows(Until),
    /// Nothing of the service is left. The last word.
    Gone {
        /// How its first process ended.
        end: End,
        /// Somebody had asked it to, or its lease had run out.
        asked: bool,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// With this exit code.
    Code(i32),
    /// By this signal; zero when it is not known.
    Signal(i32),
}

impl End {
    /// The exit code of whoever ran it, as shells have it.
    pub fn code(self) -> u8 {
        match self {
            Self::Code(code) => u8::try_from(code).unwrap_or(u8::MAX),
            Self::Signal(signal) => 128_u8.saturating_add(u8::try_from(signal).unwrap_or(0)),
        }
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "ended with exit code {code}"),
            Self::Signal(signal) => write!(f, "was ended by signal {signal}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_has_half_of_what_is_left_for_its_kill() {
        let late = |writes_ms, lease_ms| Until { writes_ms, lease_ms }.keeper_is_late_at_ms();
        assert_eq!((late(5_000, 6_000), late(6_000, 6_000)), (5_750, 6_000));
    }

    #[test]
    fn exit_codes_are_those_of_shells() {
        let codes = [End::Code(0), End::Code(7), End::Signal(9), End::Signal(15)].map(End::code);
        assert_eq!(codes, [0, 7, 137, 143]);
        assert_eq!(End::Code(7).to_string(), "ended with exit code 7");
    }
}
