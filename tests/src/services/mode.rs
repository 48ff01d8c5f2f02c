//! What happens to a primary whose service never asks.

use super::Conduct;
use std::{fmt, str::FromStr};

/// What happens to a primary whose service never asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// An operator asks for a failover, and the demote hook works.
    CleanFailover,
    /// The same, and the demote hook fails.
    DemotionFails,
    /// The same, and the demote hook takes nine of the ten seconds that it is allowed.
    DemotionSlow,
    /// The agent is killed.
    AgentKilled,
    /// The agent is stopped by a signal.
    AgentStopped,
    /// Nobody reads what the agent logs, and then an operator asks for a failover.
    LogUnread,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::CleanFailover,
        Self::DemotionFails,
        Self::DemotionSlow,
        Self::AgentKilled,
        Self::AgentStopped,
        Self::LogUnread,
    ];

    /// What demote hooks do meanwhile.
    pub fn demotion(self) -> Conduct {
        match self {
            Self::DemotionFails => Conduct::Fails,
            Self::DemotionSlow => Conduct::Slow,
            _ => Conduct::Works,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CleanFailover => "clean-failover",
            Self::DemotionFails => "demotion-fails",
            Self::DemotionSlow => "demotion-slow",
            Self::AgentKilled => "agent-killed",
            Self::AgentStopped => "agent-stopped",
            Self::LogUnread => "log-unread",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == text);
        found.ok_or_else(|| {
            format!("there is no mode {text:?}; there are {}", Self::ALL.map(Self::name).join(", "))
        })
    }
}
