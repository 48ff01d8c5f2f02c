//! Commands on their way into the log: many in one entry, one entry in flight, an honest answer for each.

use super::{DEADLINE_MS, Desk, Process};
use crate::{
    env::Env,
    message::{Answers, Connection, Packet},
    network::Node,
    raft::{Entry, Place},
};
use quorate_domain::{Applied, Cause, Command, Outcome, Proposal, Timestamp};
use std::{collections::VecDeque, sync::Arc};

/// The most commands in one entry.
const BATCH_MAX: usize = 512;
/// The most commands that wait.
const QUEUE_MAX: usize = 8_192;

/// Who waits for the answer to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asker {
    /// A client, in this try.
    Client(Node, u64),
    /// An agent that registers on this connection.
    Registration(Connection),
    /// The driver.
    Driver,
    /// The driver of changes of coordinators.
    Members,
}

#[derive(Debug)]
struct Waiting {
    proposal: Proposal,
    asker: Asker,
    since_ms: u64,
}

#[derive(Debug)]
struct InFlight {
    place: Place,
    askers: Vec<Option<Asker>>,
    since_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Proposer {
    queue: VecDeque<Waiting>,
    in_flight: Option<InFlight>,
}

/// What became of a command.
#[derive(Debug, Clone)]
pub(super) enum Fate {
    Outcome(Outcome),
    NotLeader,
    Unavailable,
    Unknown,
}

impl Proposer {
    pub(super) fn waiting(&self) -> usize {
        self.queue.len() + self.in_flight.as_ref().map_or(0, |entry| entry.askers.len())
    }
}

impl Process {
    pub(super) fn propose(
        &mut self,
        cause: Cause,
        command: Command,
        asker: Asker,
        desk: &Desk,
        env: &mut Env,
    ) {
        let proposal = Proposal::new(Timestamp(env.wall_ms(desk.node)), cause, command);
        if self.proposer.queue.len() >= QUEUE_MAX {
            self.tell(asker, &Fate::Unavailable, desk, env);
            return;
        }
        let since_ms = env.local_ms(desk.node);
        self.proposer.queue.push_back(Waiting { proposal, asker, since_ms });
    }

    /// Makes the next entry of what waits, when none is in flight.
    pub(super) fn propose_on(&mut self, desk: &Desk, env: &mut Env) {
        if self.proposer.in_flight.is_some() || self.proposer.queue.is_empty() {
            return;
        }
        let now_ms = env.local_ms(desk.node);
        let refusal = match (self.raft.leads(), self.raft.can_decide(now_ms)) {
            (false, _) => Some(Fate::NotLeader),
            (true, false) => Some(Fate::Unavailable),
            (true, true) => None,
        };
        let count = self.proposer.queue.len().min(BATCH_MAX);
        let batch: Vec<Waiting> = self.proposer.queue.drain(..count).collect();
        if let Some(fate) = refusal {
            for waiting in batch {
                self.tell(waiting.asker, &fate, desk, env);
            }
            return;
        }
        let askers = batch.iter().map(|waiting| Some(waiting.asker)).collect();
        let commands: Vec<Proposal> = batch.into_iter().map(|waiting| waiting.proposal).collect();
        if let Some(place) = self.raft.propose(commands, env.now, now_ms) {
            self.proposer.in_flight = Some(InFlight { place, askers, since_ms: now_ms });
        }
    }

    /// A command was applied here: whoever waits for it hears of it.
    pub(super) fn applied(
        &mut self,
        entry: &Arc<Entry>,
        nth: usize,
        applied: &Applied,
        desk: &Desk,
        env: &mut Env,
    ) {
        let place = Place { term: entry.term, index: entry.index };
        let Some(flight) = self.proposer.in_flight.as_mut().filter(|flight| flight.place == place) else {
            return;
        };
        if let Some(asker) = flight.askers.get_mut(nth).and_then(Option::take) {
            self.tell(asker, &Fate::Outcome(applied.outcome.clone()), desk, env);
        }
    }

    /// All of an entry was applied here.
    pub(super) fn entry_through(&mut self, entry: &Arc<Entry>) {
        self.proposer
            .in_flight
            .take_if(|flight| flight.place == Place { term: entry.term, index: entry.index });
    }

    /// What waits for too long is refused when it was not proposed, and unknown when it was.
    pub(super) fn give_up_late(&mut self, now_ms: u64, desk: &Desk, env: &mut Env) {
        let late = |since_ms: u64| now_ms > since_ms + DEADLINE_MS;
        while self.proposer.queue.front().is_some_and(|first| late(first.since_ms)) {
            if let Some(waiting) = self.proposer.queue.pop_front() {
                self.tell(waiting.asker, &Fate::Unavailable, desk, env);
            }
        }
        if let Some(flight) = self.proposer.in_flight.take_if(|flight| late(flight.since_ms)) {
            flight.askers.into_iter().flatten().for_each(|asker| self.tell(asker, &Fate::Unknown, desk, env));
        }
        self.give_up_late_read(now_ms, desk, env);
    }

    /// This node no longer leads.
    pub(super) fn give_up_all(&mut self, desk: &Desk, env: &mut Env) {
        let queue = std::mem::take(&mut self.proposer.queue);
        for waiting in queue {
            self.tell(waiting.asker, &Fate::NotLeader, desk, env);
        }
        if let Some(flight) = self.proposer.in_flight.take() {
            // What stands in its log may yet be committed by the next leader.
            flight.askers.into_iter().flatten().for_each(|asker| self.tell(asker, &Fate::Unknown, desk, env));
        }
    }

    fn tell(&mut self, asker: Asker, fate: &Fate, desk: &Desk, env: &mut Env) {
        match asker {
            Asker::Client(client, number) => {
                let answer = match fate {
                    Fate::Outcome(outcome) => Answers::Done(outcome.clone()),
                    Fate::NotLeader => Answers::NotLeader(self.raft.leader()),
                    Fate::Unavailable => Answers::Unavailable,
                    Fate::Unknown => Answers::Unknown,
                };
                env.send(desk.node, client, Packet::Response(number, answer));
            }
            Asker::Registration(connection) => self.registered(connection, fate, desk, env),
            Asker::Driver => self.driven(desk, env),
            Asker::Members => self.members_driven(fate),
        }
    }
}
