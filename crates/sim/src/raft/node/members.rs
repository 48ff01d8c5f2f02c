//! Changes of the configuration: one at a time, in force as soon as it stands in a log.

use super::{Raft, RaftEvent, Role};
use crate::{
    raft::{Ballot, HandOver, Membership, Payload, Place},
    time::Moment,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

impl Raft {
    /// The configuration in force.
    pub(crate) fn members(&self) -> &Arc<Membership> {
        &self.configured.members
    }

    /// True once the entry of the configuration in force is applied here, and so committed.
    pub(crate) fn members_committed(&self) -> bool {
        self.configured.index <= self.applied.index
    }

    /// True when its log names anybody.
    pub(crate) fn takes_part(&self) -> bool {
        !self.configured.members.voters.is_empty()
    }

    /// The last entry of the log.
    pub(crate) fn last_index(&self) -> u64 {
        self.log.last().index
    }

    /// On a leader: up to which entry each of the others holds the log.
    pub(crate) fn matched(&self) -> BTreeMap<usize, u64> {
        let Role::Leader(leadership) = &self.role else { return BTreeMap::new() };
        let followers = leadership.followers.iter().filter(|(_, follower)| follower.matched > 0);
        followers.map(|(peer, follower)| (*peer, follower.matched)).collect()
    }

    /// On a leader: who answered something that it asked within this time.
    pub(crate) fn heard_within(&self, ms: u64, now_ms: u64) -> BTreeSet<usize> {
        let Role::Leader(leadership) = &self.role else { return BTreeSet::new() };
        let lately = |at: u64| now_ms.saturating_sub(at) <= ms;
        let followers =
            leadership.followers.iter().filter(|(_, follower)| follower.answered_ms.is_some_and(lately));
        followers.map(|(peer, _)| *peer).collect()
    }

    /// Puts another configuration into the log. None when this node does not lead, or the last change is not committed
    /// yet.
    pub(crate) fn reconfigure(
        &mut self,
        change: impl FnOnce(&Membership) -> Membership,
        now: Moment,
        now_ms: u64,
    ) -> Option<Place> {
        if !self.leads() || self.configured.index > self.committed {
            return None;
        }
        let from = Arc::clone(&self.configured.members);
        let to = Arc::new(change(&from));
        self.events.push(RaftEvent::Reconfigured { from, to: Arc::clone(&to) });
        let index = self.add(Payload::Members(to), now, now_ms);
        Some(Place { term: self.ballot.term, index })
    }

    /// Lets another node lead: this leader decides nothing and falls silent, for long enough that one of them stands.
    /// False when it did so in vain just before.
    pub(crate) fn hand_over(&mut self, now_ms: u64) -> bool {
        let rests = self.hand_over.is_some_and(|last| now_ms < last.until_ms + last.rest_ms);
        if !self.leads() || rests {
            return false;
        }
        let (term, longest_ms) = (self.ballot.term, self.timing.election_max_ms);
        self.hand_over = Some(HandOver::begun(term, longest_ms, now_ms, self.hand_over));
        true
    }

    /// The log may carry another configuration than before: it is in force at once.
    pub(super) fn note_members(&mut self) {
        let configured = self.log.configured();
        if configured == self.configured {
            return;
        }
        self.configured = configured;
        let everybody = self.configured.members.everybody();
        self.peers = everybody.into_iter().filter(|node| *node != self.me).collect();
        self.events.push(RaftEvent::Configured(Arc::clone(&self.configured.members)));
        let last = self.log.last();
        if let Role::Leader(leadership) = &mut self.role {
            leadership.follow(&self.peers, last);
        }
    }

    /// A leader without a vote leads on as a learner until it is committed that it takes no part any more; so does
    /// openraft.
    pub(super) fn step_down_when_let_go(&mut self) {
        let gone = !self.configured.members.contains(self.me);
        if self.leads() && gone && self.configured.index <= self.committed {
            self.follow(Ballot { ..self.ballot });
        }
    }
}
