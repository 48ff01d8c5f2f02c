//! Heartbeats that wait for the quorum (DESIGN section 5, rules 2 and 3).

use crate::session::SessionId;
use quorate_domain::{HostId, HostStatus, Incarnation, Revision, State};
use quorate_planner::Mono;
use std::collections::BTreeMap;

/// Heartbeats of one session that wait for a quorum at the same time; more are not acknowledged.
pub const RENEWALS_MAX: usize = 8;

/// A heartbeat that arrived and was not acknowledged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Waiting {
    seq: u64,
    incarnation: Incarnation,
    arrived: Mono,
}

/// What a round says of one session: whatever had arrived by then is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Judged {
    /// The arrival of the last heartbeat that the round served.
    pub(crate) through: Mono,
    /// The arrival of the last one that is of the start of the agent on record, and the assignment that it needs.
    pub(crate) proves: Option<(Mono, Revision)>,
    /// True when it is acknowledged to the agent.
    pub(crate) acknowledged: bool,
}

/// Heartbeats that wait for the next round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Renewals {
    waiting: BTreeMap<SessionId, Vec<Waiting>>,
}

/// The heartbeats that one round of the quorum serves: all of them had arrived before it began. A round that fails is
/// dropped, and they stay without an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "what a round would acknowledge is lost with it"]
pub struct Round {
    served: BTreeMap<SessionId, Vec<Waiting>>,
}

/// Tells an agent that a renewal counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledgement {
    /// To whom.
    pub session: SessionId,
    /// The heartbeat's number.
    pub seq: u64,
    /// It counts only with this assignment installed.
    pub assignment: Revision,
}

impl Renewals {
    /// A heartbeat arrived.
    pub(crate) fn arrived(&mut self, session: SessionId, incarnation: Incarnation, seq: u64, arrived: Mono) {
        let waiting = self.waiting.entry(session).or_default();
        if waiting.len() < RENEWALS_MAX {
            waiting.push(Waiting { seq, incarnation, arrived });
        }
    }

    /// Takes all that wait: the round that serves them begins now. None when nobody waits.
    pub(crate) fn begin_round(&mut self) -> Option<Round> {
        let served = std::mem::take(&mut self.waiting);
        (!served.is_empty()).then_some(Round { served })
    }
}

impl Round {
    /// Whose heartbeats it serves.
    pub(crate) fn sessions(self) -> Vec<SessionId> {
        self.served.into_keys().collect()
    }

    /// What the round, which has confirmed this state, says of each session that it served.
    pub(crate) fn judged(
        &self,
        confirmed: &State,
        is_stopping: impl Fn(&HostId) -> bool,
    ) -> Vec<(SessionId, Judged)> {
        let judge = |(session, waiting): (&SessionId, &Vec<Waiting>)| {
            let host = confirmed.hosts.get(&session.host);
            let last = |wanted: Option<Incarnation>| {
                let of_it = |waiting: &&Waiting| wanted.is_none_or(|wanted| waiting.incarnation == wanted);
                waiting.iter().filter(of_it).map(|waiting| waiting.arrived).max()
            };
            let proves =
                host.and_then(|host| Some((last(Some(host.incarnation))?, host.assignment_revision)));
            let answered =
                host.is_some_and(|host| host.status != HostStatus::Offline || is_stopping(&session.host));
            let acknowledged = answered && proves.is_some();
            Some((session.clone(), Judged { through: last(None)?, proves, acknowledged }))
        };
        self.served.iter().filter_map(judge).collect()
    }

    /// What may be acknowledged now that the round has confirmed this state: heartbeats of the start of the agent that
    /// the state records, each with the assignment that it must have installed. A host that the state holds for offline
    /// gets nothing: it resumes by the committed state, once that has it online again, and never by itself (DESIGN
    /// section 5, service modes). One that is offline because it stops resumes nothing: its session goes on, so that its
    /// releases come through.
    pub(crate) fn acknowledgements(
        self,
        confirmed: &State,
        is_stopping: impl Fn(&HostId) -> bool,
    ) -> Vec<Acknowledgement> {
        let mut found = Vec::new();
        for (session, waiting) in self.served {
            let Some(host) = confirmed.hosts.get(&session.host) else { continue };
            if host.status == HostStatus::Offline && !is_stopping(&session.host) {
                continue;
            }
            let current = waiting.into_iter().filter(|waiting| waiting.incarnation == host.incarnation);
            found.extend(current.map(|waiting| Acknowledgement {
                session: session.clone(),
                seq: waiting.seq,
                assignment: host.assignment_revision,
            }));
        }
        found
    }
}
