//! What a planner answers.

use crate::{Mono, Observations, disks, failover, liveness};
use quorate_domain::{Command, State};

/// A command worth proposing. What it rests on stands in the command itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The command.
    pub command: Command,
    /// Which rule wants it, such as `liveness/suspect`.
    pub rule: &'static str,
}

/// What should change now, and when to ask again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Commands, in the order in which they are best proposed. Each holds against the state that was planned on.
    pub commands: Vec<Planned>,
    /// The earliest moment at which the plan could differ with nothing else changing.
    pub wake_at: Option<Mono>,
}

impl Plan {
    /// Adds what another planner wants.
    pub fn merge(&mut self, other: Self) {
        self.commands.extend(other.commands);
        if let Some(at) = other.wake_at {
            self.wake(at);
        }
    }

    pub(crate) fn propose(&mut self, rule: &'static str, command: Command) {
        self.commands.push(Planned { command, rule });
    }

    pub(crate) fn wake(&mut self, at: Mono) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// Everything that should change now.
///
/// Disks and hosts come first: a host that is back is back before anybody asks whether its groups must move.
pub fn plan_all(state: &State, observations: &Observations, now: Mono) -> Plan {
    let mut plan = disks::plan(state, observations, now);
    plan.merge(liveness::plan(state, observations, now));
    plan.merge(failover::plan(state, observations, now));
    plan
}
