//! Who leads: standing for election, votes, and following.

use super::{Raft, RaftEvent, Role};
use crate::{
    raft::{Ballot, Leadership, Payload, Place, RaftMessage, Speaker, Write},
    time::Moment,
};
use std::collections::BTreeSet;

impl Raft {
    pub(super) fn stand(&mut self, now_ms: u64) {
        self.ballot = Ballot { term: self.ballot.term + 1, voted_for: Some(self.me) };
        self.role = Role::Candidate(BTreeSet::new());
        self.leader = None;
        self.heard_ms = now_ms;
        let (term, last) = (self.ballot.term, self.log.last());
        self.events.push(RaftEvent::Stood(term));
        let voters = self.peers.iter().filter(|peer| self.configured.members.votes(**peer));
        let then = voters.map(|peer| (*peer, RaftMessage::Vote { term, last })).collect();
        self.write(Write { ballot: Some(self.ballot), then, stood_for: Some(term), ..Write::default() });
    }

    /// A higher term was seen.
    pub(super) fn follow(&mut self, ballot: Ballot) {
        if self.leads() {
            self.events.push(RaftEvent::Lost);
        }
        self.role = Role::Follower;
        self.leader = None;
        self.ballot = ballot;
    }

    pub(super) fn asked_for_vote(&mut self, from: Speaker, term: u64, last: Place, now_ms: u64) {
        // A leader's lease with itself begins when it wins, and is not renewed: a voter with as long a log deposes it.
        let leased = self.leader.is_some() && now_ms < self.heard_ms + self.timing.election_max_ms;
        let free = term > self.ballot.term
            || (term == self.ballot.term && self.ballot.voted_for.is_none_or(|voted| voted == from.id));
        if leased || !free || last < self.log.last() {
            let refused =
                RaftMessage::Voted { term: self.ballot.term, granted: false, last: self.log.last() };
            self.say(from.machine, refused);
            // As the consensus crate does: nobody with a shorter log could lead, so a silent leader speaks again.
            if self.has_lost_quorum(now_ms)
                && let Role::Leader(leadership) = &mut self.role
            {
                leadership.began_ms = now_ms;
                if let Some(hand_over) = &mut self.hand_over {
                    hand_over.until_ms = hand_over.until_ms.min(now_ms);
                }
            }
            return;
        }
        self.follow(Ballot { term, voted_for: Some(from.id) });
        self.heard_ms = now_ms;
        let then = vec![(from.machine, RaftMessage::Voted { term, granted: true, last: self.log.last() })];
        self.write(Write { ballot: Some(self.ballot), then, ..Write::default() });
    }

    pub(super) fn voted(&mut self, from: usize, term: u64, granted: bool, now: Moment, now_ms: u64) {
        if term > self.ballot.term {
            self.follow(Ballot { term, voted_for: None });
            self.heard_ms = now_ms;
            self.write(Write { ballot: Some(self.ballot), ..Write::default() });
            return;
        }
        if granted && term == self.ballot.term {
            self.count_vote(from, now, now_ms);
        }
    }

    pub(super) fn count_vote(&mut self, of: usize, now: Moment, now_ms: u64) {
        let Role::Candidate(votes) = &mut self.role else { return };
        votes.insert(of);
        if !self.configured.members.has_quorum(votes) {
            return;
        }
        let flushed = self.disk.durable.log.last().index;
        self.rounds += 1;
        let leadership = Leadership::new(self.me, &self.peers, self.log.last(), flushed, self.rounds, now_ms);
        self.role = Role::Leader(leadership);
        // Nobody else leads after a hand-over: its rest begins now.
        if let Some(last) = self.hand_over.as_mut().filter(|last| last.is_recent(now_ms)) {
            last.until_ms = now_ms;
        }
        self.leader = Some(self.me);
        self.heard_ms = now_ms;
        self.events.push(RaftEvent::Won(self.ballot.term));
        self.add(Payload::Blank, now, now_ms);
    }
}
