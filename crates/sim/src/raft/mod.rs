//! The modelled Raft of one coordinator: elections, terms, commit by quorum, a leader that lingers.
//!
//! It stands for what the consensus crate makes of openraft, with its peculiarities: no pre-vote, votes refused while
//! the leader's lease lasts, no step-down when the quorum is lost (but no more heartbeats, and nothing is decided), the
//! election ranges and the watchdog of the domain crate, a blank entry at the beginning of a leadership, and batches.

mod disk;
mod lead;
mod log;
mod membership;
mod node;

pub(crate) use disk::{Ballot, Disk, Durable, Write};
pub(crate) use lead::{HandOver, Leadership, Read};
pub(crate) use log::{Entry, Log, Payload, Place, Snapshot};
pub(crate) use membership::Membership;
pub(crate) use node::{AppliedCommand, Raft, RaftEvent, Start, Timing};

use crate::time::Moment;
use std::sync::Arc;

/// When a leader sent something, and in which of its rounds; the answer carries it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// In which term: an answer to what an earlier leadership sent proves nothing of this one.
    pub(crate) term: u64,
    /// On the leader's clock.
    pub(crate) at_ms: u64,
    /// In true time, for the oracle alone.
    pub(crate) at: Moment,
    /// The last round of confirmation that had begun.
    pub(crate) round: u64,
}

/// What coordinators say to each other.
#[derive(Debug, Clone)]
pub(crate) enum RaftMessage {
    /// A candidate asks for a vote.
    Vote { term: u64, last: Place },
    /// The answer.
    Voted { term: u64, granted: bool, last: Place },
    /// A leader's entries or heartbeat.
    Append { term: u64, previous: Place, entries: Vec<Arc<Entry>>, committed: u64, sent: Sent },
    /// The answer: up to where the logs are the same, or where to try next.
    Appended { term: u64, matched: Result<u64, u64>, sent: Sent },
    /// A leader's snapshot for one that is too far behind.
    Install { term: u64, snapshot: Arc<Snapshot>, sent: Sent },
}

/// Who asks something: the node that it speaks for, and the machine to which the answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Speaker {
    /// The node.
    pub(crate) id: usize,
    /// The machine; another one than the node's own for a copy of its folder.
    pub(crate) machine: usize,
}

impl RaftMessage {
    /// True for what one asks of another, which a peer may refuse; answers are taken.
    pub(crate) fn is_request(&self) -> bool {
        matches!(self, Self::Vote { .. } | Self::Append { .. } | Self::Install { .. })
    }

    /// The term that it was said in.
    pub(crate) fn term(&self) -> u64 {
        match self {
            Self::Vote { term, .. }
            | Self::Voted { term, .. }
            | Self::Append { term, .. }
            | Self::Appended { term, .. }
            | Self::Install { term, .. } => *term,
        }
    }
}
