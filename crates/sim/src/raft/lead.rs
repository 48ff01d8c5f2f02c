//! The part of a Raft node that leads: who has how much, who answered when, and which reads a quorum has confirmed.

use super::log::Place;
use std::collections::BTreeMap;

/// How far a follower is, as its leader sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Follower {
    /// The next entry to send.
    pub(super) next: u64,
    /// The logs are the same up to here.
    pub(super) matched: u64,
    /// When the last thing that it answered was sent.
    pub(super) answered_ms: Option<u64>,
    /// The last round that it answered.
    pub(super) round: u64,
    /// Something was sent at this time and has no answer.
    pub(super) waiting_since_ms: Option<u64>,
    /// A snapshot was sent at this time.
    pub(super) installing_since_ms: Option<u64>,
}

/// A confirmation that is asked of the quorum: it began when it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Read {
    /// The leadership that it belongs to.
    pub(crate) term: u64,
    /// The round that must be answered.
    pub(crate) round: u64,
    /// What must be applied.
    pub(crate) index: u64,
}

/// A leadership.
#[derive(Debug, Clone)]
pub(crate) struct Leadership {
    pub(super) followers: BTreeMap<usize, Follower>,
    pub(super) round: u64,
    pub(super) began_ms: u64,
    /// Its own first entry.
    pub(super) first: u64,
    /// The own log is durable up to here.
    pub(super) flushed: u64,
    pub(super) heartbeat_due_ms: u64,
}

impl Leadership {
    pub(super) fn new(
        peers: impl Iterator<Item = usize>,
        last: Place,
        flushed: u64,
        round: u64,
        now_ms: u64,
    ) -> Self {
        let fresh = Follower {
            next: last.index + 1,
            matched: 0,
            answered_ms: None,
            round: 0,
            waiting_since_ms: None,
            installing_since_ms: None,
        };
        Self {
            followers: peers.map(|peer| (peer, fresh)).collect(),
            round,
            began_ms: now_ms,
            first: last.index + 1,
            flushed,
            heartbeat_due_ms: now_ms,
        }
    }

    /// The value that a majority reaches: of the followers', and the own one.
    fn majority_of(&self, own: u64, value: impl Fn(&Follower) -> u64) -> u64 {
        let mut values: Vec<u64> = self.followers.values().map(value).chain([own]).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values[values.len() / 2]
    }

    /// The last entry that a majority has on disk.
    pub(super) fn on_a_majority(&self) -> u64 {
        self.majority_of(self.flushed, |follower| follower.matched)
    }

    /// The last round that a majority has answered.
    pub(super) fn confirmed_round(&self) -> u64 {
        self.majority_of(self.round, |follower| follower.round)
    }

    /// When a majority last answered, by when the leader had asked; none before it ever has.
    pub(super) fn quorum_ack_ms(&self, now_ms: u64) -> Option<u64> {
        let acked = self.majority_of(now_ms + 1, |follower| follower.answered_ms.map_or(0, |at| at + 1));
        acked.checked_sub(1)
    }
}
