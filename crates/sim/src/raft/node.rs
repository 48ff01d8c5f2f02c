//! One Raft node: what it does with messages, time and a disk.

mod election;
mod members;
mod replication;

use super::{
    Ballot, Disk, Durable, Entry, HandOver, Leadership, Log, Membership, Place, RaftMessage, Sent, Snapshot,
    Speaker, Write, membership::Configured,
};
use crate::{chance::Chance, time::Moment};
use quorate_domain::{
    Applied, State,
    election::{Watchdog, own_range},
};
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
    /// How many there were when the cluster was formed.
    pub(crate) initial: usize,
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
    /// Send this to a machine.
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
    /// Another configuration is in force here.
    Configured(Arc<Membership>),
    /// This leader has changed it.
    Reconfigured { from: Arc<Membership>, to: Arc<Membership> },
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
    configured: Configured,
    /// Everybody else that takes part.
    peers: Vec<usize>,
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
    /// When it last let another one take its place.
    hand_over: Option<HandOver>,
    committed: u64,
    applied: Place,
    state: State,
    rounds: u64,
    events: Vec<RaftEvent>,
}

impl Raft {
    /// A node that has just started: a follower, whatever it was before.
    pub(crate) fn new(start: Start, chance: &mut Chance) -> Self {
        let Start { me, initial, timing, durable, now_ms } = start;
        let (rank, ranges) = own_rank(me, initial);
        let (low, high) = own_range(timing.election_min_ms, timing.election_max_ms, rank, ranges);
        let state = durable.snapshot.as_ref().map_or_else(State::default, |snapshot| read_back(snapshot));
        let applied = durable.snapshot.as_ref().map_or(Place::default(), |snapshot| snapshot.at);
        let mut raft = Self {
            me,
            configured: Configured::default(),
            peers: Vec::new(),
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
            hand_over: None,
            committed: applied.index,
            applied,
            state,
            rounds: 0,
            events: Vec::new(),
        };
        raft.note_members();
        raft
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

    /// The leader that it follows, while it has heard it lately.
    pub(crate) fn heard_leader(&self, now_ms: u64) -> Option<usize> {
        let fresh = !self.leads() && now_ms <= self.heard_ms + self.timing.election_max_ms * 2;
        self.leader.filter(|_| fresh)
    }

    /// True when it leads and a quorum answered it lately: only then is anything proposed.
    pub(crate) fn can_decide(&self, now_ms: u64) -> bool {
        let Role::Leader(leadership) = &self.role else { return false };
        let stale_after_ms = self.timing.election_max_ms * 2;
        let hands_over = |last: HandOver| last.term == self.ballot.term && now_ms < last.until_ms;
        if self.hand_over.is_some_and(hands_over) {
            return false;
        }
        leadership
            .quorum_ack_ms(&self.configured.members, now_ms)
            .is_some_and(|at| now_ms.saturating_sub(at) <= stale_after_ms)
    }

    /// Says something that rests on the term and vote, to a machine: once those are durable.
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

    /// What its disk has.
    pub(crate) fn durable(&self) -> &Durable {
        &self.disk.durable
    }

    /// How many batches a crash could lose.
    pub(crate) fn unsynced(&self) -> usize {
        self.disk.unsynced()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Moment, now_ms: u64, chance: &mut Chance) {
        if self.leads() {
            // There is a leader: what the watchdog has waited for before does not count any more.
            self.watchdog.is_due(true, now_ms, |waits| *waits.start());
            self.tick_leader(now, now_ms);
            return;
        }
        let votes = self.configured.members.votes(self.me);
        let lease_ms = if self.leader.is_some() { self.timing.election_max_ms } else { 0 };
        // Whoever has the longer log goes first.
        let courtesy_ms = if self.seen_longer_log { self.timing.election_max_ms * 2 } else { 0 };
        let impatient = now_ms >= self.heard_ms + lease_ms + self.patience_ms + courtesy_ms;
        let watchdog =
            self.watchdog.is_due(self.leader.is_some() || !votes, now_ms, |waits| chance.draw(waits));
        if self.leader.is_some() && impatient {
            self.leader = None;
        }
        if votes && (impatient || watchdog) {
            self.seen_longer_log = false;
            self.stand(now_ms);
        }
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

    /// A message arrived.
    pub(crate) fn receive(&mut self, from: Speaker, message: RaftMessage, now: Moment, now_ms: u64) {
        match message {
            RaftMessage::Vote { term, last } => self.asked_for_vote(from, term, last, now_ms),
            RaftMessage::Voted { term, granted, last } => {
                self.seen_longer_log |= !granted && last > self.log.last();
                self.voted(from.id, term, granted, now, now_ms);
            }
            RaftMessage::Append { term, previous, entries, committed, sent } => {
                if self.hears_leader(from, term, sent, now_ms) {
                    self.append(from.machine, previous, &entries, committed, sent);
                }
            }
            RaftMessage::Install { term, snapshot, sent } => {
                if self.hears_leader(from, term, sent, now_ms) {
                    self.install(from.machine, &snapshot, sent);
                }
            }
            RaftMessage::Appended { term, matched, sent } => {
                self.appended(from.id, term, matched, sent, now, now_ms);
            }
        }
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

/// Which part of the election range is a node's own, and of how many: as the consensus crate does, everybody of the
/// beginning is followed by room for one that comes later.
fn own_rank(me: usize, initial: usize) -> (usize, usize) {
    let rank = if me < initial { 2 * me } else { 2 * ((me - initial) % initial.max(1)) + 1 };
    (rank, 2 * initial)
}

/// The state of a snapshot, by way of its bytes.
fn read_back(snapshot: &Snapshot) -> State {
    State::from_rows(snapshot.rows.iter().map(|(key, value)| (key, value)))
        .expect("rows that a state wrote are read back")
}
