//! The agent's one session with the coordinators: opened, kept, given up when it is silent, opened again.

use crate::{coordinators::Coordinators, event::Event, session::hold_session};
use quorate_agent_core::BootMs;
use quorate_rpc::{
    Failure,
    pb::agent::AgentMessage,
    session::{ParsedAgentMessage, ParsedHello},
};
use std::time::Duration;
use tokio::{sync::mpsc::Sender, task::JoinHandle};

/// Where the session stands.
#[derive(Debug)]
enum State {
    /// There is none before then.
    Waiting { until: BootMs },
    /// One is being opened or used.
    Running { task: JoinHandle<()>, out: Option<Sender<AgentMessage>>, welcomed: bool, silent_at: BootMs },
}

/// The agent's end of the way to the coordinators.
#[derive(Debug)]
pub(crate) struct Link {
    coordinators: Coordinators,
    number: u64,
    target: String,
    state: State,
}

impl Link {
    pub(crate) fn new(configured: Vec<String>, known: &[String]) -> Self {
        let state = State::Waiting { until: BootMs(0) };
        Self { coordinators: Coordinators::new(configured, known), number: 0, target: String::new(), state }
    }

    /// Whom the session is or was with.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// True for what belongs to the present session: an earlier one has nothing more to say.
    pub(crate) fn is_current(&self, number: u64) -> bool {
        self.number == number && matches!(self.state, State::Running { .. })
    }

    /// True once a leader has taken the agent in.
    pub(crate) fn is_welcomed(&self) -> bool {
        matches!(self.state, State::Running { welcomed: true, .. })
    }

    /// When something is to be done at the latest.
    pub(crate) fn next_wake(&self) -> BootMs {
        match &self.state {
            State::Waiting { until } => *until,
            State::Running { silent_at, .. } => *silent_at,
        }
    }

    /// True when it is time to open a session.
    pub(crate) fn wants_session(&self, now: BootMs) -> bool {
        matches!(self.state, State::Waiting { until } if until <= now)
    }

    /// Opens a session with whoever is next.
    pub(crate) fn open(&mut self, hello: ParsedHello, events: Sender<Event>, now: BootMs) {
        self.number += 1;
        self.target = self.coordinators.target();
        let patience = self.coordinators.patience(&self.target);
        tracing::debug!(coordinator = self.target, patience_ms = millis(patience), "asking for a session");
        let task = tokio::spawn(hold_session(self.number, self.target.clone(), hello, patience, events));
        // To accept it, and then to welcome the agent.
        let silent_at = now.after_ms(millis(patience) * 2);
        self.state = State::Running { task, out: None, welcomed: false, silent_at };
    }

    /// A coordinator took the stream.
    pub(crate) fn opened(&mut self, sender: Sender<AgentMessage>) {
        if let State::Running { out, .. } = &mut self.state {
            *out = Some(sender);
        }
    }

    /// A leader took the agent in.
    pub(crate) fn welcomed(&mut self, api_addresses: &[String]) {
        if let State::Running { welcomed, .. } = &mut self.state {
            *welcomed = true;
        }
        self.coordinators.welcomed(api_addresses);
    }

    /// The coordinators have changed.
    pub(crate) fn learn(&mut self, api_addresses: &[String]) {
        self.coordinators.learn(api_addresses);
    }

    /// The coordinator was heard; it counts as silent when nothing more comes within `patience_ms`.
    pub(crate) fn heard(&mut self, now: BootMs, patience_ms: u64) {
        if let State::Running { silent_at, welcomed: true, .. } = &mut self.state {
            *silent_at = now.after_ms(patience_ms);
        }
    }

    /// True when the session has been silent for too long.
    pub(crate) fn is_silent(&self, now: BootMs) -> bool {
        matches!(self.state, State::Running { silent_at, .. } if silent_at <= now)
    }

    /// Sends, or says that the session is stuck or gone.
    pub(crate) fn send(&self, message: &ParsedAgentMessage) -> bool {
        let State::Running { out: Some(out), welcomed: true, .. } = &self.state else { return false };
        out.try_send(message.into()).is_ok()
    }

    /// The session is over or given up; the next is opened after a while.
    pub(crate) fn lost(&mut self, failure: Option<&Failure>, now: BootMs) {
        let wait = self.coordinators.failed(&self.target, failure);
        if let State::Running { task, .. } = &self.state {
            task.abort();
        }
        self.state = State::Waiting { until: now.after_ms(millis(wait)) };
    }

    /// Says nothing more, lets what was said go out, and waits for the coordinator to end the session, at most `limit`.
    pub(crate) async fn close(self, limit: Duration) {
        let State::Running { mut task, out, welcomed, .. } = self.state else { return };
        drop(out);
        // Nothing was said in a session that no leader has taken up.
        if !welcomed || tokio::time::timeout(limit, &mut task).await.is_err() {
            task.abort();
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
