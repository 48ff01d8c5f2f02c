//! One coordinator: modelled Raft around the real domain, leader-core and planner.

mod driver;
mod gateway;
mod members;
mod proposer;
mod reads;
mod starts;

use crate::{
    env::{Env, Timer},
    message::{Answers, Asks, Connection, CoordinatorSays, Packet, Sender, Why},
    network::Node,
    oracle::Fact,
    raft::{AppliedCommand, Durable, Entry, Log, Payload, Raft, RaftEvent, RaftMessage, Speaker, Start},
    standstill::{Reached, Standstill},
};
use gateway::GatewaySession;
use members::Members;
pub(crate) use members::{HEARD_WITHIN_MS, coordinator_id, coordinator_node, coordinator_spec};
use proposer::{Asker, Proposer};
use quorate_domain::{Cause, CoordinatorId, Term};
use quorate_leader_core::{Leader, Leading};
use reads::{ReadFor, Reads};
use starts::{Folder, Starts};
use std::{collections::BTreeMap, sync::Arc};

/// How often Raft looks at the clock.
const TICK_MS: u64 = 50;
/// How long a command may wait, and how long it may be under way.
const DEADLINE_MS: u64 = 5_000;
/// Who leads is known to the other parts of a process this late.
const PUBLISH_MAX_US: u64 = 50_000;

/// Who leads, as the other parts of the process know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Published {
    leads: bool,
    term: u64,
    leader: Option<usize>,
}

/// A coordinator's machine: what survives, and the process while it runs.
#[derive(Debug)]
pub(crate) struct Coordinator {
    node: Node,
    /// The coordinator that it speaks for; another one on a machine for copies.
    me: Node,
    life: u32,
    durable: Durable,
    folder: Folder,
    /// The others said that it was removed: it stays away.
    removed: bool,
    process: Option<Process>,
    /// How much slower than usual its disk is.
    pub(crate) disk_slowness: u64,
    standstill: Standstill,
}

#[derive(Debug)]
struct Process {
    raft: Raft,
    starts: Starts,
    leader: Leader,
    published: Published,
    publishing: bool,
    telling: bool,
    sessions: BTreeMap<Connection, GatewaySession>,
    proposer: Proposer,
    reads: Reads,
    /// The driver waits for so many answers.
    driving: usize,
    look_due_ms: Option<u64>,
    /// When it asks the others again what they have seen of the quorum.
    ask_of_quorum_ms: u64,
    members: Members,
}

impl Coordinator {
    /// A machine on which nothing has run yet: one of the first so many, or a spare one with an empty log.
    pub(crate) fn new(node: Node, initial: usize) -> Self {
        let log = if node < initial { Log::of_first(initial) } else { Log::default() };
        Self {
            node,
            me: node,
            life: 0,
            durable: Durable { log, ..Durable::default() },
            folder: Folder::default(),
            removed: false,
            process: None,
            disk_slowness: 1,
            standstill: Standstill::default(),
        }
    }

    fn id(&self) -> CoordinatorId {
        coordinator_id(self.me)
    }

    /// True while its process exists and is not stopped.
    pub(crate) fn runs(&self) -> bool {
        self.process.is_some() && !self.standstill.holds()
    }

    /// True once it knows that it was removed.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed
    }

    /// Its Raft, while it runs.
    pub(crate) fn raft(&self) -> Option<&Raft> {
        self.process.as_ref().map(|process| &process.raft)
    }

    /// What agents would have been told much later is told with the next that is applied.
    pub(crate) fn forget_the_lag(&mut self) {
        if let Some(process) = &mut self.process {
            process.telling = false;
        }
    }

    /// Starts the process on what its disk has.
    pub(crate) fn start(&mut self, env: &mut Env) {
        if self.process.is_some() || self.removed || self.is_left_behind() {
            return;
        }
        self.life += 1;
        let starts = self.next_start(env);
        let durable = std::mem::take(&mut self.durable);
        env.see(&Fact::Started { node: self.node, ballot: durable.ballot });
        let start = Start {
            me: self.me,
            initial: env.plan.coordinators,
            timing: env.plan.timing,
            durable,
            now_ms: env.local_ms(self.node),
        };
        let raft = Raft::new(start, env.chance(self.node));
        env.see(&Fact::Restored { node: self.node, at: raft.applied(), state: raft.state() });
        env.note(self.node, || format!("starts in term {} at entry {}", raft.term(), raft.applied().index));
        self.process = Some(Process {
            raft,
            starts,
            leader: Leader::default(),
            published: Published::default(),
            publishing: false,
            telling: false,
            sessions: BTreeMap::new(),
            proposer: Proposer::default(),
            reads: Reads::default(),
            driving: 0,
            look_due_ms: None,
            ask_of_quorum_ms: 0,
            members: Members::default(),
        });
        let now_ms = env.local_ms(self.node);
        env.wake_when_shown(now_ms + TICK_MS, self.node, self.life, Timer::Tick);
    }

    /// Kills the process; a part of what was not synced may survive.
    pub(crate) fn crash(&mut self, env: &mut Env) -> bool {
        let Some(process) = self.process.take() else { return false };
        let unsynced = process.raft.unsynced();
        let kept = env.chance(self.node).index(unsynced + 1);
        env.counts.add_many("raft/unsynced-writes-lost", (unsynced - kept) as u64);
        env.note(self.node, || format!("dies with {unsynced} writes under way, of which {kept} survive"));
        self.keep(process.starts);
        self.durable = process.raft.crash(kept);
        self.life += 1;
        self.standstill = Standstill::default();
        true
    }

    /// Stops the process, as a signal does. False when there is none, or it stands still already.
    pub(crate) fn pause(&mut self, env: &mut Env) -> bool {
        if !self.runs() {
            return false;
        }
        env.note(self.node, || "stands still".to_owned());
        self.standstill.begin();
        true
    }

    /// Lets it go on with everything that has come meanwhile.
    pub(crate) fn resume(&mut self, env: &mut Env) {
        if !self.standstill.holds() {
            return;
        }
        let waiting = self.standstill.end();
        env.note(self.node, || format!("goes on, {} things are waiting", waiting.len()));
        for thing in waiting {
            self.reach(thing, env);
        }
    }

    /// A packet arrives.
    pub(crate) fn arrival(&mut self, from: Node, packet: Packet, env: &mut Env) {
        if self.process.is_none() {
            self.refuse(from, &packet, env);
        } else if let Some(now) = self.standstill.pass(Reached::Packet(from, packet)) {
            self.reach(now, env);
        }
    }

    /// A timer of an earlier start means nothing any more.
    pub(crate) fn waking(&mut self, life: u32, timer: Timer, env: &mut Env) {
        if life != self.life || self.process.is_none() {
            return;
        }
        if let Some(now) = self.standstill.pass(Reached::Timer(timer)) {
            self.reach(now, env);
        }
    }

    /// The others refuse it: the process ends for good.
    fn end_for_good(&mut self, env: &mut Env) {
        if self.crash(env) {
            env.note(self.node, || "was removed, and stays away".to_owned());
            env.counts.add("members/removed-and-away");
            self.removed = true;
        }
    }

    fn reach(&mut self, reached: Reached, env: &mut Env) {
        let node = self.node;
        match &reached {
            Reached::Packet(_, Packet::Removed) => return self.end_for_good(env),
            Reached::Packet(_, Packet::LeftBehind { by, refused }) => {
                return self.end_left_behind(by, refused, env);
            }
            _ => {}
        }
        self.with(env, |process, desk, env| match reached {
            Reached::Packet(from, Packet::Raft(sender, message)) => {
                let removed = message.is_request() && process.refuses(from, sender.id, desk, env);
                if removed || !process.admits(from, &sender, desk, env) {
                    return;
                }
                if !message.is_request() {
                    process.counted_by(sender.id);
                }
                let speaker = Speaker { id: sender.id, machine: from };
                process.raft.receive(speaker, message, env.now, env.local_ms(node));
            }
            Reached::Packet(from, Packet::FromAgent(connection, says)) => {
                process.hear(desk, from, connection, says, env);
            }
            Reached::Packet(from, Packet::Request(number, asks)) => {
                process.asked(desk, from, number, asks, env);
            }
            Reached::Packet(from, Packet::Identify(sender)) => {
                if !process.refuses(from, sender.id, desk, env) {
                    process.admits(from, &sender, desk, env);
                }
            }
            Reached::Packet(from, Packet::About { node: about, start, wish }) => {
                process.asked_about(from, about, &start, wish, desk, env);
            }
            Reached::Packet(_, Packet::Word { by, of, about, word }) => process.told(by, of, &about, word),
            Reached::Packet(from, Packet::AskOfQuorum { asked_ms }) => {
                process.asked_of_quorum(from, asked_ms, desk, env);
            }
            Reached::Packet(_, Packet::SawQuorum { by, seen, asked_ms }) => {
                process.peer_saw(by, seen, asked_ms, desk, env);
            }
            Reached::Packet(..) => {}
            Reached::Timer(timer) => process.woken(&timer, desk, env),
        });
    }

    /// Nobody listens on this machine: whoever opened a connection learns that at once.
    fn refuse(&self, from: Node, packet: &Packet, env: &mut Env) {
        match packet {
            Packet::FromAgent(connection, _) => {
                let over = CoordinatorSays::Over(Why::Nobody);
                env.send(self.node, from, Packet::ToAgent(*connection, over));
            }
            Packet::Request(number, _) => {
                env.send(self.node, from, Packet::Response(*number, Answers::Unavailable));
            }
            _ => {}
        }
    }

    /// Does something in the process, then everything that follows from it.
    fn with(&mut self, env: &mut Env, act: impl FnOnce(&mut Process, &Desk, &mut Env)) {
        let desk = Desk {
            node: self.node,
            me: self.me,
            life: self.life,
            id: self.id(),
            disk_slowness: self.disk_slowness,
        };
        let Some(process) = &mut self.process else { return };
        act(process, &desk, env);
        process.follow_up(&desk, env);
        let raft = &process.raft;
        env.see(&Fact::Stands {
            node: self.node,
            ballot: raft.ballot(),
            committed: raft.committed(),
            applied: raft.applied(),
            last: raft.last_index(),
            log_len: raft.log_len(),
            waiting: process.waiting(),
        });
    }
}

/// What a process knows of the machine that it runs on.
#[derive(Debug, Clone, Copy)]
struct Desk {
    node: Node,
    /// The coordinator that it speaks for.
    me: Node,
    life: u32,
    id: CoordinatorId,
    disk_slowness: u64,
}

impl Desk {
    /// The disk begins to write a batch.
    fn write(self, env: &mut Env) {
        let longest = env.plan.sync_max_us * self.disk_slowness;
        let takes_us = env.chance(self.node).draw(longest / 10..=longest);
        if self.disk_slowness > 1 {
            env.counts.add("disk/slow-writes");
        }
        env.wake_at(env.now.after_us(takes_us), self.node, self.life, Timer::Written);
    }
}

impl Process {
    /// It is time for something.
    fn woken(&mut self, timer: &Timer, desk: &Desk, env: &mut Env) {
        let node = desk.node;
        match timer {
            Timer::Tick => {
                let now_ms = env.local_ms(node);
                let now = env.now;
                self.raft.tick(now, now_ms, env.chance(node));
                self.give_up_late(now_ms, desk, env);
                self.look_if_due(desk, env);
                self.ask_of_quorum(now_ms, desk, env);
                self.tick_members(now_ms, desk, env);
                self.decide_about_starts(now_ms, desk, env);
                env.wake_when_shown(now_ms + TICK_MS, node, desk.life, Timer::Tick);
            }
            Timer::Written => self.written(desk, env),
            Timer::Look => self.look_if_due(desk, env),
            Timer::Publish => self.publish(desk, env),
            Timer::Tell => self.tell_assignments(desk, env),
            _ => {}
        }
    }

    /// A batch is on the disk.
    fn written(&mut self, desk: &Desk, env: &mut Env) {
        let more = self.raft.written(env.now, env.local_ms(desk.node));
        if more {
            desk.write(env);
        }
    }

    /// Everything that waits for something.
    fn waiting(&self) -> usize {
        self.sessions.len() + self.proposer.waiting() + self.reads.waiting()
    }

    fn leading(&self, desk: &Desk, now_ms: u64) -> Option<Leading> {
        let Published { leads, term, .. } = self.published;
        let decides = self.raft.can_decide(now_ms);
        leads.then_some(Leading { coordinator: desk.id, term: Term(term), decides })
    }

    /// Performs what Raft wants, and lets the other parts go on, until nothing is left to do.
    fn follow_up(&mut self, desk: &Desk, env: &mut Env) {
        loop {
            let events = self.raft.take_events();
            let idle = events.is_empty();
            let mut through = None;
            for event in events {
                self.raft_event(event, &mut through, desk, env);
            }
            if through.is_some() {
                self.tell_soon(desk, env);
                self.want_look(desk, env);
            }
            self.read_on(desk, env);
            self.members_on(desk, env);
            self.propose_on(desk, env);
            if idle {
                break;
            }
        }
        self.publish_soon(desk, env);
    }

    fn raft_event(&mut self, event: RaftEvent, through: &mut Option<Arc<Entry>>, desk: &Desk, env: &mut Env) {
        let node = desk.node;
        match event {
            RaftEvent::Send(to, message) => {
                if let RaftMessage::Voted { term, granted: true, .. } = message {
                    env.see(&Fact::Granted { node, term, to, stands_for: env.stands_for(to) });
                }
                env.see(&Fact::Spoke { node, term: message.term() });
                let sender: Sender = self.sender(desk);
                env.send(node, to, Packet::Raft(sender, message));
            }
            RaftEvent::Writing => desk.write(env),
            RaftEvent::Stood(term) => env.note(node, || format!("asks for votes in term {term}")),
            RaftEvent::Won(term) => {
                env.note(node, || format!("leads in term {term}"));
                env.see(&Fact::Won { node, term });
            }
            RaftEvent::Lost => {
                env.note(node, || "leads no more".to_owned());
                self.give_up_all(desk, env);
            }
            RaftEvent::Answered { peer, sent } => {
                env.see(&Fact::Answered { leader: node, term: self.raft.term(), peer, asked: sent.at });
            }
            RaftEvent::Configured(members) => {
                env.note(node, || format!("has the members {members:?}"));
                env.see(&Fact::Configured { node, members: &members });
            }
            RaftEvent::Reconfigured { from, to } => {
                let term = self.raft.term();
                env.see(&Fact::Reconfigured { node, term, from: &from, to: &to });
            }
            RaftEvent::Committed(entry) => env.see(&Fact::Committed { node, entry: &entry }),
            RaftEvent::Applied(command) => self.command_applied(&command, desk, env),
            RaftEvent::Through(entry, state) => {
                let index = entry.index;
                env.see(&Fact::Through { node, index, state: &state });
                self.entry_through(&entry);
                *through = Some(entry);
            }
            RaftEvent::Installed { at, state } => {
                env.note(node, || format!("has a snapshot of entry {}", at.index));
                env.see(&Fact::Restored { node, at, state: &state });
            }
        }
    }

    fn command_applied(&mut self, command: &AppliedCommand, desk: &Desk, env: &mut Env) {
        let AppliedCommand { entry, nth, before, after, applied } = command;
        let Payload::Commands(proposals) = &entry.payload else { return };
        let (node, nth, proposal) = (desk.node, *nth, &proposals[*nth]);
        env.see(&Fact::Applied { node, entry, nth, proposal, before, after, applied });
        self.applied(entry, nth, applied, desk, env);
    }

    fn publish_soon(&mut self, desk: &Desk, env: &mut Env) {
        if !self.publishing && self.published != self.known() {
            self.publishing = true;
            let after_us = env.chance(desk.node).draw(0..=PUBLISH_MAX_US);
            env.wake_at(env.now.after_us(after_us), desk.node, desk.life, Timer::Publish);
        }
    }

    fn known(&self) -> Published {
        Published { leads: self.raft.leads(), term: self.raft.term(), leader: self.raft.leader() }
    }

    fn publish(&mut self, desk: &Desk, env: &mut Env) {
        self.publishing = false;
        let before = self.published;
        self.published = self.known();
        if before.leads && (before.leads, before.term) != (self.published.leads, self.published.term) {
            self.end_sessions(desk, env);
        }
        self.want_look(desk, env);
    }

    fn asked(&mut self, desk: &Desk, client: Node, number: u64, asks: Asks, env: &mut Env) {
        if !self.published.leads {
            let answer = Answers::NotLeader(self.published.leader);
            env.send(desk.node, client, Packet::Response(number, answer));
            return;
        }
        match asks {
            Asks::Change { request, command } => {
                let cause = Cause::Operator { request_id: request };
                let command = self.with_heard(command, desk, env);
                self.propose(cause, command, Asker::Client(client, number), desk, env);
            }
            Asks::Read(group) => self.reads.wait(ReadFor::Client(client, number, group)),
        }
    }
}
