//! What one agent was told that it should be, and what it must be told next.

use quorate_domain::{Assignment, AssignmentDelta, HostId, State, assignment::assignment};

/// The assignment of one host as its session has sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignments {
    host: HostId,
    sent: Assignment,
}

impl Assignments {
    /// Begins with the whole assignment, which is to be sent first.
    pub fn begin(state: &State, host: HostId) -> Self {
        let sent = assignment(state, &host).unwrap_or_default();
        Self { host, sent }
    }

    /// What was sent last.
    pub fn sent(&self) -> &Assignment {
        &self.sent
    }

    /// What must be sent now that the state is this; none when the host knows it all.
    pub fn follow(&mut self, state: &State) -> Option<AssignmentDelta> {
        let now = assignment(state, &self.host)?;
        if now.revision == self.sent.revision {
            return None;
        }
        let delta = self.sent.delta_to(&now);
        self.sent = now;
        Some(delta)
    }
}
