//! One Raft node: what it does with messages, time and a disk.

use super::{
    Ballot, Disk, Durable, Entry, Leadership, Log, Payload, Place, RaftMessage, Read, Sent, Snapshot, Write,
};
use crate::{chance::Chance, time::Moment};
use quorate_domain::{Applied, Proposal, State, Term, apply, election::Watchdog, election::own_range};
use std::{collections::BTreeSet, sync::Arc};

/// The most entries in one message.
const ENTRIES_MAX: usize = 64;

/// How a cluster of coordinators is timed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// How often a leader speaks.
    pub(crate) heartbeat_ms: u64,
    /// The shortest election timeout.
    pub(crate) election_min_ms: u64,
    /// The longest, which is also how long a leader's lease lasts with its followers.
    pub(crate) election_max_ms: u64,
    /// A snapshot is taken after this many entries.
    pub(crate) snapshot_every: u64,
    /// So many entries are kept behind a snapshot.
    pub(crate) keep_entries: u64,
}

/// What a start of a node begins with.
#[derive(Debug)]
pub(crate) struct Start {
    /// Which node it is, from zero.
    pub(crate) me: usize,
    /// How many there are.
    pub(crate) voters: usize,
    /// How they are timed.
    pub(crate) timing: Timing,
    /// What the last start left.
    pub(crate) durable: Durable,
    /// Now on its clock.
    pub(crate) now_ms: u64,
}

#[derive(Debug)]
enum Role {
    Follower,
    Candidate(BTreeSet<usize>),
    Leader(Leadership),
}

/// What a node has to tell those around it, in order.
#[derive(Debug)]
pub(crate) enum RaftEvent {
    /// Send this.
    Send(usize, RaftMessage),
    /// The disk has begun to write.
    Writing,
    /// It asks for votes.
    Stood(u64),
    /// It won an election.
    Won(u64),
    /// It led and does no more.
    Lost,
    /// A follower's answer counts for the quorum of this leader.
    Answered { peer: usize, sent: Sent },
    /// An entry is committed.
    Committed(Arc<Entry>),
    /// One command of an entry was applied.
    Applied(Box<AppliedCommand>),
    /// All of an entry was applied, and the state is this.
    Through(Arc<Entry>, State),
    /// A snapshot took the place of everything up to its entry, and the state is this.
    Installed { at: Place, state: State },
}

/// One command of an entry, applied.
#[derive(Debug)]
pub(crate) struct AppliedCommand {
    /// The entry.
    pub(crate) entry: Arc<Entry>,
    /// Which of its commands.
    pub(crate) nth: usize,
    /// The state before.
    pub(crate) before: State,
    /// The state after.
    pub(crate) after: State,
    /// What it came to.
    pub(crate) applied: Applied,
}

/// One node.
#[derive(Debug)]
pub(crate) struct Raft {
    me: usize,
    voters: usize,
    timing: Timing,
    /// How long it waits, beyond the lease, before it stands for election: drawn once, as openraft does.
    patience_ms: u64,
    watchdog: Watchdog,
    ballot: Ballot,
    log: Log,
    snapshot: Option<Arc<Snapshot>>,
    disk: Disk,
    role: Role,
    leader: Option<usize>,
    /// When it last heard a leader, or changed its vote.
    heard_ms: u64,
    /// Another voter has a longer log.
    seen_longer_log: bool,
    committed: u64,
    applied: Place,
    state: State,
    rounds: u64,
    events: Vec<RaftEvent>,
}

impl Raft {
    /// A node that has just started: a follower, whatever it was before.
    pub(crate) fn new(start: Start, chance: &mut Chance) -> Self {
        let Start { me, voters, timing, durable, now_ms } = start;
        let (low, high) = own_range(timing.election_min_ms, timing.election_max_ms, me, voters);
        let state = durable.snapshot.as_ref().map_or_else(State::default, |snapshot| read_back(snapshot));
        let applied = durable.snapshot.as_ref().map_or(Place::default(), |snapshot| snapshot.at);
        Self {
            me,
            voters,
            timing,
            patience_ms: chance.draw(low..=high),
            watchdog: Watchdog::new(timing.election_max_ms),
            ballot: durable.ballot,
            log: durable.log.clone(),
            snapshot: durable.snapshot.clone(),
            disk: Disk::holding(durable),
            role: Role::Follower,
            leader: None,
            heard_ms: now_ms,
            seen_longer_log: false,
            committed: applied.index,
            applied,
            state,
            rounds: 0,
            events: Vec::new(),
        }
    }

    /// What is to be told, in order; each once.
    pub(crate) fn take_events(&mut self) -> Vec<RaftEvent> {
        std::mem::take(&mut self.events)
    }

    /// Its term.
    pub(crate) fn term(&self) -> u64 {
        self.ballot.term
    }

    /// The ballot as the process knows it.
    pub(crate) fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// The last committed entry that it knows of.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// The last entry in its state.
    pub(crate) fn applied(&self) -> Place {
        self.applied
    }

    /// The state.
    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// How many entries its log has.
    pub(crate) fn log_len(&self) -> usize {
        self.log.len()
    }

    /// True while it believes that it leads.
    pub(crate) fn leads(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The leader, as far as it knows.
    pub(crate) fn leader(&self) -> Option<usize> {
        self.leader
    }

    /// True when it leads and a quorum answered it lately: only then is anything proposed.
    pub(crate) fn can_decide(&self, now_ms: u64) -> bool {
        let Role::Leader(leadership) = &self.role else { return false };
        let stale_after_ms = self.timing.election_max_ms * 2;
        leadership.quorum_ack_ms(now_ms).is_some_and(|at| now_ms.saturating_sub(at) <= stale_after_ms)
    }

    fn peers(&self) -> impl Iterator<Item = usize> + use<> {
        let me = self.me;
        (0..self.voters).filter(move |peer| *peer != me)
    }

    fn majority(&self) -> usize {
        self.voters / 2 + 1
    }

    /// Says something that rests on the term and vote: once those are durable.
    fn say(&mut self, to: usize, message: RaftMessage) {
        let ready = if self.ballot == self.disk.durable.ballot {
            Some(message)
        } else {
            self.disk.say_when_durable(to, message)
        };
        self.events.extend(ready.map(|message| RaftEvent::Send(to, message)));
    }

    /// Says something that rests on everything that was handed to the disk.
    fn say_when_durable(&mut self, to: usize, message: RaftMessage) {
        let ready = self.disk.say_when_durable(to, message);
        self.events.extend(ready.map(|message| RaftEvent::Send(to, message)));
    }

    fn write(&mut self, write: Write) {
        if self.disk.write(write) {
            self.events.push(RaftEvent::Writing);
        }
    }

    /// Power is lost. What remains are the durable bytes, with `kept` of the batches that were under way.
    pub(crate) fn crash(mut self, kept: usize) -> Durable {
        self.disk.crash(kept);
        self.disk.durable
    }

    /// How many batches a crash could lose.
    pub(crate) fn unsynced(&self) -> usize {
        self.disk.unsynced()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Moment, now_ms: u64, chance: &mut Chance) {
        if self.leads() {
            self.tick_leader(now, now_ms);
            return;
        }
        let lease_ms = if self.leader.is_some() { self.timing.election_max_ms } else { 0 };
        // Whoever has the longer log goes first.
        let courtesy_ms = if self.seen_longer_log { self.timing.election_max_ms * 2 } else { 0 };
        let impatient = now_ms >= self.heard_ms + lease_ms + self.patience_ms + courtesy_ms;
        let watchdog = self.watchdog.is_due(self.leader.is_some(), now_ms, |waits| chance.draw(waits));
        if self.leader.is_some() && impatient {
            self.leader = None;
        }
        if impatient || watchdog {
            self.seen_longer_log = false;
            self.stand(now_ms);
        }
    }

    /// True when it leads and has waited too long for a quorum, be it for the next answer or for the first.
    fn has_lost_quorum(&self, now_ms: u64) -> bool {
        let Role::Leader(leadership) = &self.role else { return false };
        let last_ms = leadership.quorum_ack_ms(now_ms).unwrap_or(0).max(leadership.began_ms);
        now_ms > last_ms + self.timing.election_max_ms * 2
    }

    fn tick_leader(&mut self, now: Moment, now_ms: u64) {
        let Role::Leader(leadership) = &mut self.role else { return };
        if now_ms >= leadership.heartbeat_due_ms {
            leadership.heartbeat_due_ms = now_ms + self.timing.heartbeat_ms;
            let peers: Vec<usize> = leadership.followers.keys().copied().collect();
            for peer in peers {
                self.replicate(peer, now, now_ms);
            }
        }
    }

    fn stand(&mut self, now_ms: u64) {
        self.ballot = Ballot { term: self.ballot.term + 1, voted_for: Some(self.me) };
        self.role = Role::Candidate(BTreeSet::new());
        self.leader = None;
        self.heard_ms = now_ms;
        let (term, last) = (self.ballot.term, self.log.last());
        self.events.push(RaftEvent::Stood(term));
        let then = self.peers().map(|peer| (peer, RaftMessage::Vote { term, last })).collect();
        self.write(Write { ballot: Some(self.ballot), then, stood_for: Some(term), ..Write::default() });
    }

    /// A higher term was seen.
    fn follow(&mut self, ballot: Ballot) {
        if self.leads() {
            self.events.push(RaftEvent::Lost);
        }
        self.role = Role::Follower;
        self.leader = None;
        self.ballot = ballot;
    }

    /// A message arrived.
    pub(crate) fn receive(&mut self, from: usize, message: RaftMessage, now: Moment, now_ms: u64) {
        match message {
            RaftMessage::Vote { term, last } => self.asked_for_vote(from, term, last, now_ms),
            RaftMessage::Voted { term, granted, last } => {
                self.seen_longer_log |= !granted && last > self.log.last();
                self.voted(from, term, granted, now, now_ms);
            }
            RaftMessage::Append { term, previous, entries, committed, sent } => {
                if self.hears_leader(from, term, sent, now_ms) {
                    self.append(from, previous, &entries, committed, sent);
                }
            }
            RaftMessage::Install { term, snapshot, sent } => {
                if self.hears_leader(from, term, sent, now_ms) {
                    self.install(from, &snapshot, sent);
                }
            }
            RaftMessage::Appended { term, matched, sent } => {
                self.appended(from, term, matched, sent, now, now_ms);
            }
        }
    }

    fn asked_for_vote(&mut self, from: usize, term: u64, last: Place, now_ms: u64) {
        // A leader's lease with itself begins when it wins, and is not renewed: a voter with as long a log deposes it.
        let leased = self.leader.is_some() && now_ms < self.heard_ms + self.timing.election_max_ms;
        let free = term > self.ballot.term
            || (term == self.ballot.term && self.ballot.voted_for.is_none_or(|voted| voted == from));
        if leased || !free || last < self.log.last() {
            let refused =
                RaftMessage::Voted { term: self.ballot.term, granted: false, last: self.log.last() };
            self.say(from, refused);
            // As the consensus crate does: nobody with a shorter log could lead, so a silent leader speaks again.
            if self.has_lost_quorum(now_ms)
                && let Role::Leader(leadership) = &mut self.role
            {
                leadership.began_ms = now_ms;
            }
            return;
        }
        self.follow(Ballot { term, voted_for: Some(from) });
        self.heard_ms = now_ms;
        let then = vec![(from, RaftMessage::Voted { term, granted: true, last: self.log.last() })];
        self.write(Write { ballot: Some(self.ballot), then, ..Write::default() });
    }

    fn voted(&mut self, from: usize, term: u64, granted: bool, now: Moment, now_ms: u64) {
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

    fn count_vote(&mut self, of: usize, now: Moment, now_ms: u64) {
        let majority = self.majority();
        let Role::Candidate(votes) = &mut self.role else { return };
        votes.insert(of);
        if votes.len() < majority {
            return;
        }
        let flushed = self.disk.durable.log.last().index;
        self.rounds += 1;
        let leadership = Leadership::new(self.peers(), self.log.last(), flushed, self.rounds, now_ms);
        self.role = Role::Leader(leadership);
        self.leader = Some(self.me);
        self.heard_ms = now_ms;
        self.events.push(RaftEvent::Won(self.ballot.term));
        self.add(Payload::Blank, now, now_ms);
    }

    /// Puts an entry into the own log and on its way to the others.
    fn add(&mut self, payload: Payload, now: Moment, now_ms: u64) -> u64 {
        let index = self.log.last().index + 1;
        let entry = Arc::new(Entry { index, term: self.ballot.term, payload });
        self.log.append(&[Arc::clone(&entry)]);
        let flushed = Some(Place { term: self.ballot.term, index });
        self.write(Write { append: vec![entry], flushed, ..Write::default() });
        for peer in self.peers() {
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
        Some(leadership.confirmed_round() >= read.round && self.applied.index >= read.index)
    }

    fn replicate_if_idle(&mut self, peer: usize, now: Moment, now_ms: u64) {
        let patience_ms = self.timing.election_min_ms;
        let Role::Leader(leadership) = &self.role else { return };
        let follower = &leadership.followers[&peer];
        let idle = follower.waiting_since_ms.is_none_or(|since| now_ms >= since + patience_ms);
        if idle {
            self.replicate(peer, now, now_ms);
        }
    }

    /// Sends what a follower lacks, or a heartbeat.
    fn replicate(&mut self, peer: usize, now: Moment, now_ms: u64) {
        // Whatever it sends would keep those that hear it from electing another.
        if self.has_lost_quorum(now_ms) {
            return;
        }
        let (term, committed) = (self.ballot.term, self.committed);
        let patience_ms = self.timing.election_max_ms;
        let Role::Leader(leadership) = &mut self.role else { return };
        let sent = Sent { term, at_ms: now_ms, at: now, round: leadership.round };
        let Some(follower) = leadership.followers.get_mut(&peer) else { return };
        follower.waiting_since_ms = Some(now_ms);
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
            (None, Some(_))
                if follower.installing_since_ms.is_some_and(|since| now_ms < since + patience_ms) =>
            {
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
    fn hears_leader(&mut self, from: usize, term: u64, sent: Sent, now_ms: u64) -> bool {
        if term < self.ballot.term {
            let refused = RaftMessage::Appended { term: self.ballot.term, matched: Err(0), sent };
            self.say(from, refused);
            return false;
        }
        if term > self.ballot.term || !matches!(self.role, Role::Follower) {
            let higher = term > self.ballot.term;
            self.follow(if higher { Ballot { term, voted_for: None } } else { self.ballot });
            if higher {
                self.write(Write { ballot: Some(self.ballot), ..Write::default() });
            }
        }
        self.leader = Some(from);
        self.heard_ms = now_ms;
        true
    }

    fn append(&mut self, from: usize, previous: Place, entries: &[Arc<Entry>], committed: u64, sent: Sent) {
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
            self.write(Write { cut, append: fresh, then: vec![(from, answer)], ..Write::default() });
        } else {
            // What it already has may not be on disk yet.
            self.say_when_durable(from, answer);
        }
        self.commit(committed.min(matched));
    }

    fn install(&mut self, from: usize, snapshot: &Arc<Snapshot>, sent: Sent) {
        let (term, at) = (self.ballot.term, snapshot.at);
        let answer = RaftMessage::Appended { term, matched: Ok(at.index), sent };
        if at.index <= self.committed {
            return self.say_when_durable(from, answer);
        }
        let then = vec![(from, answer)];
        self.log.restart(at);
        self.state = read_back(snapshot);
        (self.applied, self.committed) = (at, at.index);
        self.snapshot = Some(Arc::clone(snapshot));
        self.events.push(RaftEvent::Installed { at, state: self.state.clone() });
        self.write(Write { snapshot: Some(Arc::clone(snapshot)), installs: true, then, ..Write::default() });
    }

    fn appended(
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
        follower.waiting_since_ms = None;
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

    fn commit_by_majority(&mut self) {
        let Role::Leader(leadership) = &self.role else { return };
        let index = leadership.on_a_majority();
        // Entries of earlier terms are committed only together with one of the own.
        if self.log.term_at(index) == Some(self.ballot.term) {
            self.commit(index);
        }
    }

    fn commit(&mut self, index: u64) {
        while self.committed < index.min(self.log.last().index) {
            self.committed += 1;
            let Some(entry) = self.log.get(self.committed).cloned() else { continue };
            self.events.push(RaftEvent::Committed(Arc::clone(&entry)));
            self.apply(&entry);
        }
        self.snapshot_when_due();
    }

    fn apply(&mut self, entry: &Arc<Entry>) {
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

    fn snapshot_when_due(&mut self) {
        let last = self.snapshot.as_ref().map_or(0, |snapshot| snapshot.at.index);
        if self.applied.index < last + self.timing.snapshot_every {
            return;
        }
        let snapshot = Arc::new(Snapshot { at: self.applied, rows: self.state.rows().collect() });
        self.snapshot = Some(Arc::clone(&snapshot));
        let upto = self.applied.index.saturating_sub(self.timing.keep_entries);
        let purge = self.log.term_at(upto).map(|term| Place { term, index: upto });
        if let Some(place) = purge {
            self.log.purge(place);
        }
        self.write(Write { snapshot: Some(snapshot), purge, ..Write::default() });
    }

    /// The first batch on the way to the disk is durable. True when another is under way.
    pub(crate) fn written(&mut self, now: Moment, now_ms: u64) -> bool {
        let Some((write, more)) = self.disk.done() else { return false };
        self.events.extend(write.then.into_iter().map(|(to, message)| RaftEvent::Send(to, message)));
        if let Some(term) = write.stood_for
            && term == self.ballot.term
        {
            self.count_vote(self.me, now, now_ms);
        }
        if let (Some(place), Role::Leader(leadership)) = (write.flushed, &mut self.role)
            && place.term == self.ballot.term
        {
            leadership.flushed = leadership.flushed.max(place.index);
            self.commit_by_majority();
        }
        more
    }
}

/// The state of a snapshot, by way of its bytes.
fn read_back(snapshot: &Snapshot) -> State {
    State::from_rows(snapshot.rows.iter().map(|(key, value)| (key, value)))
        .expect("rows that a state wrote are read back")
}
