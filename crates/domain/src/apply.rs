//! One command against the state: decide, evolve, remember.

use crate::{
    cause::Cause,
    command::Command,
    decide::{Context, decide},
    event::Event,
    evolve::evolve,
    ids::{OperationId, Revision, Term, Timestamp},
    rejection::Rejection,
    request::RequestRecord,
    state::State,
};
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, sync::Arc};

/// A command as the leader proposes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The leader's wall clock when it proposed; the state's own time never goes back.
    pub at: Timestamp,
    /// Who wants it.
    pub cause: Cause,
    /// What is wanted.
    pub command: Command,
    /// Tells the command from another one under the same request id; zero without one. Taken once, by whoever proposes
    /// it: coordinators of different versions remember the same.
    pub fingerprint: u64,
}

impl Proposal {
    /// A command with its fingerprint.
    pub fn new(at: Timestamp, cause: Cause, command: Command) -> Self {
        let fingerprint = cause.request_id().map_or(0, |_| fingerprint(&command.asked()));
        Self { at, cause, command, fingerprint }
    }
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It holds.
    Accepted {
        /// The revision that it made, or found when nothing had to change.
        revision: Revision,
        /// False when the state was already as wanted.
        changed: bool,
        /// The operation that it began or cancelled.
        operation: Option<OperationId>,
    },
    /// It was refused; nothing changed.
    Refused(Rejection),
}

/// A revision: what one command changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Its number.
    pub revision: Revision,
    /// The state's time.
    pub at: Timestamp,
    /// Who wanted it.
    pub cause: Cause,
    /// Which command it was.
    pub command: Cow<'static, str>,
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// What applying a command gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The answer.
    pub outcome: Outcome,
    /// The revision, if something changed.
    pub committed: Option<Arc<Committed>>,
}

/// Applies one command in log order, in the term of its entry.
///
/// The same request id gets the answer that it got first, and no second effect. Refusals of operators' requests are
/// remembered as well.
pub fn apply(state: &mut State, term: Term, proposal: &Proposal) -> Applied {
    let request_id = proposal.cause.request_id();
    let fingerprint = proposal.fingerprint;
    if let Some(known) = request_id.and_then(|id| state.requests.get(id)) {
        let outcome = if known.fingerprint == fingerprint {
            known.outcome.clone()
        } else {
            Outcome::Refused(Rejection::RequestIdReused(known.id.clone()))
        };
        return Applied { outcome, committed: None };
    }

    let at = proposal.at.max(state.now());
    let context = Context { at, term, revision: state.revision().next(), cause: &proposal.cause };
    let (outcome, committed) = match decide(state, &context, &proposal.command) {
        Err(rejection) => (Outcome::Refused(rejection), None),
        Ok(events) if events.is_empty() => {
            // One that is being taken back already is followed by its number all the same.
            let operation = match &proposal.command {
                Command::CancelCoordinatorChange { operation, .. } => Some(*operation),
                _ => None,
            };
            (Outcome::Accepted { revision: state.revision(), changed: false, operation }, None)
        }
        Ok(events) => {
            let revision = context.revision;
            let operation = events.iter().find_map(|event| match event {
                Event::FailoverBegun { operation, .. }
                | Event::CoordinatorChangeBegun { operation, .. }
                | Event::CoordinatorChangeCancelled { operation, .. } => Some(*operation),
                _ => None,
            });
            let committed = Committed {
                revision,
                at,
                cause: proposal.cause.clone(),
                command: proposal.command.name().into(),
                events,
            };
            commit(state, &committed);
            (Outcome::Accepted { revision, changed: true, operation }, Some(Arc::new(committed)))
        }
    };
    if let Some(id) = request_id {
        advance_clock(state, at);
        state.requests.remember(RequestRecord { id: id.clone(), fingerprint, at, outcome: outcome.clone() });
    }
    Applied { outcome, committed }
}

/// Folds a revision into the state.
fn commit(state: &mut State, committed: &Committed) {
    let cluster = Arc::make_mut(&mut state.cluster);
    cluster.now = cluster.now.max(committed.at);
    cluster.revision = committed.revision;
    for event in &committed.events {
        evolve(state, committed, event);
    }
}

fn advance_clock(state: &mut State, at: Timestamp) {
    if state.cluster.now < at {
        Arc::make_mut(&mut state.cluster).now = at;
    }
}

/// The first eight bytes of the MD5 of the command's bytes.
fn fingerprint(command: &Command) -> u64 {
    let bytes =
        rmp_serde::to_vec_named(command).expect("a command of strings, numbers and maps always has bytes");
    let digest: [u8; 16] = Md5::digest(&bytes).into();
    u64::from_be_bytes(digest[..8].try_into().expect("16 bytes hold 8"))
}
