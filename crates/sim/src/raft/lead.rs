//! The part of a Raft node that leads: who has how much, who answered when, and which reads a quorum has confirmed.

use super::{log::Place, membership::Membership, node::Timing};
use crate::time::Moment;
use quorate_domain::election::rest_after_hand_over;
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
    /// When something was sent last.
    pub(super) last_sent: Moment,
    /// Something was sent at this time and has no answer.
    pub(super) waiting_since_ms: Option<u64>,
    /// A snapshot was sent at this time.
    pub(super) installing_since_ms: Option<u64>,
}

impl Follower {
    /// True while a snapshot is on its way to it, which is sent again when it takes longer than an election.
    pub(super) fn is_installing(&self, now_ms: u64, timing: Timing) -> bool {
        self.installing_since_ms.is_some_and(|since| now_ms < since + timing.election_max_ms)
    }
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

impl Follower {
    /// One to which nothing was sent yet.
    fn fresh(last: Place) -> Self {
        Self {
            next: last.index + 1,
            matched: 0,
            answered_ms: None,
            round: 0,
            waiting_since_ms: None,
            last_sent: Moment::default(),
            installing_since_ms: None,
        }
    }
}

/// A leadership.
#[derive(Debug, Clone)]
pub(crate) struct Leadership {
    me: usize,
    pub(super) followers: BTreeMap<usize, Follower>,
    pub(super) round: u64,
    pub(super) began_ms: u64,
    /// Its own first entry.
    pub(super) first: u64,
    /// The own log is durable up to here.
    pub(super) flushed: u64,
    pub(super) heartbeat_due_ms: u64,
}

/// A leader lets another one take its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandOver {
    /// The term that it led.
    pub(super) term: u64,
    /// It says nothing from then on.
    pub(super) silent_from_ms: u64,
    /// And decides nothing until then.
    pub(super) until_ms: u64,
    /// For how long it leads then before it may hand over again.
    pub(super) rest_ms: u64,
    /// How many there were in vain shortly before.
    pub(super) vain_before: u32,
}

impl HandOver {
    pub(super) fn begun(term: u64, longest_ms: u64, now_ms: u64, last: Option<Self>) -> Self {
        // What is on its way arrives first: with a shorter log nobody could be elected by this node.
        let silent_from_ms = now_ms + longest_ms / 4;
        let recent = last.filter(|last| last.is_recent(now_ms));
        let vain_before = recent.map_or(0, |last| last.vain_before + 1);
        let rest_ms = rest_after_hand_over(longest_ms, vain_before);
        Self { term, silent_from_ms, until_ms: silent_from_ms + longest_ms * 4, rest_ms, vain_before }
    }

    /// True when another one soon after it shows that it was in vain.
    pub(super) fn is_recent(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms + 3 * self.rest_ms
    }
}

impl Leadership {
    pub(super) fn new(
        me: usize,
        peers: &[usize],
        last: Place,
        flushed: u64,
        round: u64,
        now_ms: u64,
    ) -> Self {
        Self {
            me,
            followers: peers.iter().map(|peer| (*peer, Follower::fresh(last))).collect(),
            round,
            began_ms: now_ms,
            first: last.index + 1,
            flushed,
            heartbeat_due_ms: now_ms,
        }
    }

    /// Others take part from now on.
    pub(super) fn follow(&mut self, peers: &[usize], last: Place) {
        self.followers.retain(|peer, _| peers.contains(peer));
        for peer in peers {
            self.followers.entry(*peer).or_insert_with(|| Follower::fresh(last));
        }
    }

    /// The value that a quorum reaches: the own one counts where this node votes.
    fn reached(&self, members: &Membership, own: u64, value: impl Fn(&Follower) -> u64) -> u64 {
        members
            .reached(|node| if node == self.me { own } else { self.followers.get(&node).map_or(0, &value) })
    }

    /// The last entry that a quorum has on disk.
    pub(super) fn on_a_majority(&self, members: &Membership) -> u64 {
        self.reached(members, self.flushed, |follower| follower.matched)
    }

    /// The last round that a quorum has answered.
    pub(super) fn confirmed_round(&self, members: &Membership) -> u64 {
        self.reached(members, self.round, |follower| follower.round)
    }

    /// When a quorum last answered, by when the leader had asked; none before it ever has.
    pub(super) fn quorum_ack_ms(&self, members: &Membership, now_ms: u64) -> Option<u64> {
        let acked = self.reached(members, now_ms + 1, |follower| follower.answered_ms.map_or(0, |at| at + 1));
        acked.checked_sub(1)
    }
}
