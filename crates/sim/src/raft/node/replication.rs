//! Entries: from the leader to the others, committed by a quorum, applied in order.

use super::{AppliedCommand, ENTRIES_MAX, Raft, RaftEvent, Role, read_back};
use crate::{
    raft::{Ballot, Entry, Payload, Place, RaftMessage, Read, Sent, Snapshot, Speaker, Write},
    time::Moment,
};
use quorate_domain::{Proposal, Term, apply};
use std::sync::Arc;

impl Raft {
    /// True when it leads and has waited too long for a quorum, be it for the next answer or for the first; or in
    /// the silence in which it hands over, which looks the same to everybody.
    pub(crate) fn has_lost_quorum(&self, now_ms: u64) -> bool {
        let Role::Leader(leadership) = &self.role else { return false };
        let handed_over = self.hand_over.filter(|hand_over| hand_over.term == self.ballot.term);
        // When that silence is over it waits anew: nobody could acknowledge what it did not say.
        let spoke_again_ms =
            handed_over.map(|hand_over| hand_over.until_ms).filter(|until_ms| now_ms >= *until_ms);
        let acknowledged_ms = leadership.quorum_ack_ms(&self.configured.members, now_ms);
        let last_ms = leadership.began_ms.max(acknowledged_ms.unwrap_or(0)).max(spoke_again_ms.unwrap_or(0));
        let silent = handed_over
            .is_some_and(|hand_over| (hand_over.silent_from_ms..hand_over.until_ms).contains(&now_ms));
        silent || now_ms > last_ms + self.timing.election_max_ms * 2
    }

    /// Puts an entry into the own log and on its way to the others.
    pub(super) fn add(&mut self, payload: Payload, now: Moment, now_ms: u64) -> u64 {
        let index = self.log.last().index + 1;
        let entry = Arc::new(Entry { index, term: self.ballot.term, payload });
        self.log.append(&[Arc::clone(&entry)]);
        self.note_members();
        let flushed = Some(Place { term: self.ballot.term, index });
        self.write(Write { append: vec![entry], flushed, ..Write::default() });
        for peer in self.peers.clone() {
            self.replicate_if_idle(peer, now, now_ms);
        }
        index
    }

    /// Proposes commands as one entry; none when this node does not lead.
    pub(crate) fn propose(&mut self, commands: Vec<Proposal>, now: Moment, now_ms: u64) -> Option<Place> {
        if !self.leads() {
            return None;
        }
        let index = self.add(Payload::Commands(commands), now, now_ms);
        Some(Place { term: self.ballot.term, index })
    }

    /// Asks the quorum to confirm that this node leads; what came before this call is in the state once the read is
    /// confirmed. None when this node does not lead.
    pub(crate) fn begin_read(&mut self, now: Moment, now_ms: u64) -> Option<Read> {
        let term = self.ballot.term;
        let committed = self.committed;
        let Role::Leader(leadership) = &mut self.role else { return None };
        self.rounds += 1;
        leadership.round = self.rounds;
        // Before its own first entry a leader does not know what is committed.
        let read = Read { term, round: self.rounds, index: committed.max(leadership.first) };
        let peers: Vec<usize> = leadership.followers.keys().copied().collect();
        for peer in peers {
            self.replicate(peer, now, now_ms);
        }
        Some(read)
    }

    /// Whether a read is confirmed; none when it never will be.
    pub(crate) fn is_confirmed(&self, read: &Read) -> Option<bool> {
        let Role::Leader(leadership) = &self.role else { return None };
        if self.ballot.term != read.term {
            return None;
        }
        #[cfg(planted)]
        if quorate_domain::planted::is(quorate_domain::planted::Bug::NoQuorumRound) {
            return Some(true);
        }
        Some(
            leadership.confirmed_round(&self.configured.members) >= read.round
                && self.applied.index >= read.index,
        )
    }

    pub(super) fn replicate_if_idle(&mut self, peer: usize, now: Moment, now_ms: u64) {
        let patience_ms = self.timing.election_min_ms;
        let Role::Leader(leadership) = &self.role else { return };
        let follower = leadership.followers.get(&peer);
        let waiting = follower.and_then(|follower| follower.waiting_since_ms);
        let idle = waiting.is_none_or(|since| now_ms >= since + patience_ms);
        // Until a snapshot has arrived there is nothing to send but heartbeats, which have a pace of their own: as answers
        // to answers they would go round without end, and each one that the network doubles would be one more.
        let installing = follower.is_some_and(|follower| follower.is_installing(now_ms, self.timing));
        if idle && !installing {
            self.replicate(peer, now, now_ms);
        }
    }

    /// Sends what a follower lacks, or a heartbeat.
    pub(super) fn replicate(&mut self, peer: usize, now: Moment, now_ms: u64) {
        // Whatever it sends would keep those that hear it from electing another.
        if self.has_lost_quorum(now_ms) {
            return;
        }
        let (term, committed) = (self.ballot.term, self.committed);
        let Role::Leader(leadership) = &mut self.role else { return };
        let sent = Sent { term, at_ms: now_ms, at: now, round: leadership.round };
        let Some(follower) = leadership.followers.get_mut(&peer) else { return };
        follower.waiting_since_ms = Some(now_ms);
        follower.last_sent = now;
        let next = follower.next;
        let message = match (self.log.term_at(next - 1), &self.snapshot) {
            (Some(previous_term), _) => RaftMessage::Append {
                term,
                previous: Place { term: previous_term, index: next - 1 },
                entries: self.log.from(next, ENTRIES_MAX),
                committed,
                sent,
            },
            // One snapshot at a time; a heartbeat behind nothing suits everybody.
            (None, Some(_)) if follower.is_installing(now_ms, self.timing) => {
                let (previous, entries) = (Place::default(), Vec::new());
                RaftMessage::Append { term, previous, entries, committed: 0, sent }
            }
            (None, Some(snapshot)) => {
                follower.installing_since_ms = Some(now_ms);
                RaftMessage::Install { term, snapshot: Arc::clone(snapshot), sent }
            }
            (None, None) => return,
        };
        self.events.push(RaftEvent::Send(peer, message));
    }

    /// Whether a leader's message is of a term that holds here.
    pub(super) fn hears_leader(&mut self, from: Speaker, term: u64, sent: Sent, now_ms: u64) -> bool {
        if term < self.ballot.term {
            let refused = RaftMessage::Appended { term: self.ballot.term, matched: Err(0), sent };
            self.say(from.machine, refused);
            return false;
        }
        if term > self.ballot.term || !matches!(self.role, Role::Follower) {
            let higher = term > self.ballot.term;
            self.follow(if higher { Ballot { term, voted_for: None } } else { self.ballot });
            if higher {
                self.write(Write { ballot: Some(self.ballot), ..Write::default() });
            }
        }
        self.leader = Some(from.id);
        self.heard_ms = now_ms;
        true
    }

    pub(super) fn append(
        &mut self,
        from: usize,
        previous: Place,
        entries: &[Arc<Entry>],
        committed: u64,
        sent: Sent,
    ) {
        let term = self.ballot.term;
        // What a snapshot covers is the same everywhere.
        let known =
            previous.index <= self.applied.index || self.log.term_at(previous.index) == Some(previous.term);
        if !known {
            let hint = self.log.last().index.min(previous.index.saturating_sub(1)) + 1;
            let refused = RaftMessage::Appended { term, matched: Err(hint.max(1)), sent };
            self.say(from, refused);
            return;
        }
        let fresh: Vec<Arc<Entry>> = entries
            .iter()
            .skip_while(|entry| {
                entry.index <= self.applied.index || self.log.term_at(entry.index) == Some(entry.term)
            })
            .cloned()
            .collect();
        let matched = previous.index + entries.len() as u64;
        let answer = RaftMessage::Appended { term, matched: Ok(matched), sent };
        if let Some(first) = fresh.first() {
            let cut = (first.index <= self.log.last().index).then_some(first.index);
            self.log.cut(first.index);
            self.log.append(&fresh);
            self.note_members();
            self.write(Write { cut, append: fresh, then: vec![(from, answer)], ..Write::default() });
        } else {
            // What it already has may not be on disk yet.
            self.say_when_durable(from, answer);
        }
        self.commit(committed.min(matched));
    }

    pub(super) fn install(&mut self, from: usize, snapshot: &Arc<Snapshot>, sent: Sent) {
        let (term, at) = (self.ballot.term, snapshot.at);
        let answer = RaftMessage::Appended { term, matched: Ok(at.index), sent };
        if at.index <= self.committed {
            return self.say_when_durable(from, answer);
        }
        let then = vec![(from, answer)];
        self.log.restart(snapshot);
        self.note_members();
        self.state = read_back(snapshot);
        (self.applied, self.committed) = (at, at.index);
        self.snapshot = Some(Arc::clone(snapshot));
        self.events.push(RaftEvent::Installed { at, state: self.state.clone() });
        self.write(Write { snapshot: Some(Arc::clone(snapshot)), installs: true, then, ..Write::default() });
    }

    pub(super) fn appended(
        &mut self,
        from: usize,
        term: u64,
        matched: Result<u64, u64>,
        sent: Sent,
        now: Moment,
        now_ms: u64,
    ) {
        if term > self.ballot.term {
            self.follow(Ballot { term, voted_for: None });
            self.write(Write { ballot: Some(self.ballot), ..Write::default() });
            return;
        }
        let last = self.log.last().index;
        let Role::Leader(leadership) = &mut self.role else { return };
        if sent.term < self.ballot.term {
            return;
        }
        let Some(follower) = leadership.followers.get_mut(&from) else { return };
        // The answer to an earlier message that tells nothing new, such as one that the network has doubled, is no reason to
        // send the next one.
        let is_news = match matched {
            Ok(index) => index > follower.matched,
            Err(hint) => hint < follower.next,
        };
        if is_news || sent.at >= follower.last_sent {
            follower.waiting_since_ms = None;
        }
        follower.answered_ms = follower.answered_ms.max(Some(sent.at_ms));
        follower.round = follower.round.max(sent.round);
        match matched {
            Ok(index) => {
                follower.matched = follower.matched.max(index);
                follower.next = follower.next.max(follower.matched + 1);
            }
            // An answer that was overtaken must not throw a follower back behind what it is known to have.
            Err(hint) => follower.next = hint.clamp(follower.matched + 1, last + 1),
        }
        let more = follower.next <= last;
        self.events.push(RaftEvent::Answered { peer: from, sent });
        self.commit_by_majority();
        if more {
            self.replicate_if_idle(from, now, now_ms);
        }
    }

    pub(super) fn commit_by_majority(&mut self) {
        let Role::Leader(leadership) = &self.role else { return };
        let index = leadership.on_a_majority(&self.configured.members);
        // Entries of earlier terms are committed only together with one of the own.
        if self.log.term_at(index) == Some(self.ballot.term) {
            self.commit(index);
        }
    }

    pub(super) fn commit(&mut self, index: u64) {
        while self.committed < index.min(self.log.last().index) {
            self.committed += 1;
            let Some(entry) = self.log.get(self.committed).cloned() else { continue };
            self.events.push(RaftEvent::Committed(Arc::clone(&entry)));
            self.apply(&entry);
        }
        self.step_down_when_let_go();
        self.snapshot_when_due();
    }

    pub(super) fn apply(&mut self, entry: &Arc<Entry>) {
        if let Payload::Commands(proposals) = &entry.payload {
            for (nth, proposal) in proposals.iter().enumerate() {
                let before = self.state.clone();
                let applied = apply(&mut self.state, Term(entry.term), proposal);
                let (entry, after) = (Arc::clone(entry), self.state.clone());
                let command = AppliedCommand { entry, nth, before, after, applied };
                self.events.push(RaftEvent::Applied(Box::new(command)));
            }
        }
        self.applied = Place { term: entry.term, index: entry.index };
        self.events.push(RaftEvent::Through(Arc::clone(entry), self.state.clone()));
    }

    pub(super) fn snapshot_when_due(&mut self) {
        let last = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.at.index);
        if self.applied.index < last + self.timing.snapshot_every {
            return;
        }
        let snapshot = Arc::new(Snapshot {
            at: self.applied,
            rows: self.state.rows().collect(),
            configured: self.log.configured_at(self.applied.index),
        });
        self.snapshot = Some(Arc::clone(&snapshot));
        let upto = self.applied.index.saturating_sub(self.timing.keep_entries);
        let purge = self.log.term_at(upto).map(|term| Place { term, index: upto });
        if let Some(place) = purge {
            self.log.purge(place);
        }
        self.write(Write { snapshot: Some(snapshot), purge, ..Write::default() });
    }
}
