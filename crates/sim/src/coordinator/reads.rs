//! Confirmed views: one round of the quorum serves all that waited when it began.

use super::{DEADLINE_MS, Desk, Process};
use crate::{
    env::Env,
    message::{Answers, Connection, Packet},
    network::Node,
    oracle::REGISTER,
    raft::Read,
};
use quorate_domain::GroupId;
use quorate_leader_core::Round;

/// What a confirmed view is for.
#[derive(Debug)]
pub(super) enum ReadFor {
    /// A client's read, in this try.
    Client(Node, u64, GroupId),
    /// An agent that is registered and waits for its session.
    Session(Connection),
    /// Heartbeats.
    Renewals(Round),
}

#[derive(Debug)]
struct UnderWay {
    read: Read,
    readers: Vec<ReadFor>,
    since_ms: u64,
}

#[derive(Debug, Default)]
pub(super) struct Reads {
    waiting: Vec<ReadFor>,
    under_way: Option<UnderWay>,
    /// A round of renewals waits or is under way; the next begins after it.
    renewing: bool,
}

impl Reads {
    pub(super) fn wait(&mut self, reader: ReadFor) {
        self.waiting.push(reader);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.under_way.as_ref().map_or(0, |round| round.readers.len())
    }
}

impl Process {
    /// Ends the round that is confirmed or never will be, and begins the next.
    pub(super) fn read_on(&mut self, desk: &Desk, env: &mut Env) {
        if let Some(round) = &self.reads.under_way {
            match self.raft.is_confirmed(&round.read) {
                Some(false) => return,
                verdict => {
                    let readers = self.reads.under_way.take().map(|round| round.readers).unwrap_or_default();
                    for reader in readers {
                        self.read(reader, verdict.is_some(), desk, env);
                    }
                }
            }
        }
        if !self.reads.renewing
            && let Some(round) = self.leader.begin_round()
        {
            self.reads.renewing = true;
            self.reads.wait(ReadFor::Renewals(round));
        }
        if self.reads.waiting.is_empty() {
            return;
        }
        let readers = std::mem::take(&mut self.reads.waiting);
        let since_ms = env.local_ms(desk.node);
        match self.raft.begin_read(env.now, since_ms) {
            Some(read) => self.reads.under_way = Some(UnderWay { read, readers, since_ms }),
            None => readers.into_iter().for_each(|reader| self.read(reader, false, desk, env)),
        }
    }

    pub(super) fn give_up_late_read(&mut self, now_ms: u64, desk: &Desk, env: &mut Env) {
        let late = self.reads.under_way.take_if(|round| now_ms > round.since_ms + DEADLINE_MS);
        for reader in late.into_iter().flat_map(|round| round.readers) {
            self.read(reader, false, desk, env);
        }
    }

    fn read(&mut self, reader: ReadFor, confirmed: bool, desk: &Desk, env: &mut Env) {
        match reader {
            ReadFor::Client(client, number, group) => {
                let state = self.raft.state();
                let answer = if confirmed {
                    let labels = state.groups.get(&group).map(|group| &group.labels);
                    let value = labels.and_then(|labels| labels.get(REGISTER).cloned());
                    Answers::Value { revision: state.revision(), value }
                } else {
                    Answers::Unavailable
                };
                env.send(desk.node, client, Packet::Response(number, answer));
            }
            ReadFor::Session(connection) => self.confirmed_for(connection, confirmed, desk, env),
            ReadFor::Renewals(round) => {
                self.reads.renewing = false;
                if confirmed {
                    self.renew(round, desk, env);
                } else {
                    env.counts.add("renewals/rounds-without-a-quorum");
                    self.give_up(round, desk, env);
                }
            }
        }
    }
}
