//! How an agent comes to its end: every role ends first, or its time is over.

use super::{Driver, millis};
use crate::error::AgentError;
use quorate_agent_core::{GroupReport, Step};
use quorate_domain::GroupState;
use std::time::Duration;

impl Driver {
    /// Ends every role; [`Driver::is_done`] says when.
    pub(crate) fn stop(&mut self, reason: &str) {
        // The coordinators give this host nothing more from the moment that they hear of it.
        self.report_due = true;
        let steps = self.core.stop(reason, self.now());
        self.begin_stop(steps);
    }

    pub(super) fn begin_stop(&mut self, steps: Vec<Step>) {
        let lease = Duration::from_millis(self.core.settings().lease_ms);
        let by = self.now().after_ms(millis(self.options.roles_end_within(lease)));
        self.stop_by.get_or_insert(by);
        self.perform(steps);
    }

    /// True when the agent may exit.
    pub(crate) fn is_done(&self) -> bool {
        self.stopped || self.stop_by.is_some_and(|by| by <= self.now())
    }

    /// How it went, once it is done.
    pub(crate) fn outcome(&mut self) -> Result<(), AgentError> {
        for GroupReport { group, epoch, reason, .. } in self.not_stopped() {
            tracing::error!(
                group.id = %group, epoch = epoch.0, reason,
                "the agent ends and the service is not known to have stopped: after D another host is promoted, whatever runs here; \
                 start the agent again before, or make sure that the service does not run"
            );
        }
        if let Some(said) = self.superseded.take() {
            return Err(AgentError::Superseded(said));
        }
        match self.lost.take() {
            Some(error) => Err(AgentError::StateLost(with_sources(&error))),
            None if self.stuck => Err(AgentError::StateLost("the state folder's disk hangs".to_owned())),
            None if !self.stopped => Err(AgentError::StopTimedOut),
            None => Ok(()),
        }
    }

    /// Says once of each service that is not known to have stopped while the agent is about to go.
    pub(crate) fn note_what_is_left(&mut self) {
        if self.stop_by.is_none() {
            return;
        }
        for GroupReport { group, epoch, reason, .. } in self.not_stopped() {
            if self.left_running.insert((group.clone(), epoch)) {
                tracing::error!(
                    group.id = %group, epoch = epoch.0, reason,
                    "the agent is to stop and the service is not known to have stopped: nobody else is promoted while the agent is in \
                     contact, which it is no longer than it must; settle it now, or start the agent again within D"
                );
            }
        }
    }

    fn not_stopped(&self) -> impl Iterator<Item = GroupReport> + use<> {
        self.core.report().into_iter().filter(|told| told.state == GroupState::StopFailed)
    }
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
