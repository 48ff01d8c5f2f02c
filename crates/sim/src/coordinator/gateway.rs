//! Agents' sessions, as the coordinator crate's gateway serves them, over the real leader-core.

use super::{Asker, Desk, Process, ReadFor, proposer::Fate};
use crate::{
    env::{Env, Timer},
    message::{AgentSays, Connection, CoordinatorSays, Packet, Why},
    network::Node,
    oracle::Fact,
};
use quorate_domain::{Cause, HostId, Outcome, Rejection, Term};
use quorate_leader_core::{Acknowledgement, Assignments, Hello, Round, SessionId};
use quorate_planner::Mono;

/// One connection of an agent.
#[derive(Debug)]
pub(super) struct GatewaySession {
    machine: Node,
    hello: Hello,
    /// The leadership that took the hello.
    term: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    id: SessionId,
    assignments: Assignments,
}

impl Process {
    /// An agent said something.
    pub(super) fn hear(
        &mut self,
        desk: &Desk,
        machine: Node,
        connection: Connection,
        says: AgentSays,
        env: &mut Env,
    ) {
        let now = Mono(env.local_ms(desk.node));
        match says {
            AgentSays::Hello(hello) => self.hello(desk, machine, connection, &hello, env),
            AgentSays::Bye => self.close(connection),
            AgentSays::Heartbeat { .. } | AgentSays::Report(_)
                if !self.sessions.contains_key(&connection) =>
            {
                // A connection to an earlier start of this process.
                let over = CoordinatorSays::Over(Why::Refused);
                env.send(desk.node, machine, Packet::ToAgent(connection, over));
            }
            AgentSays::Heartbeat { seq, installed, mode } => {
                let Some(session) = self.sessions.get(&connection) else { return };
                let (host, start) = (&session.hello.host, session.hello.start);
                env.see(&Fact::HeartbeatArrived { node: desk.node, machine, host, start, seq });
                let Some(open) = &session.open else { return };
                let heard = self.leader.heartbeat(&open.id, seq, installed, mode, now);
                if !heard {
                    self.over(connection, Why::Refused, desk, env);
                }
            }
            AgentSays::Report(report) => {
                let Some(open) = self.sessions.get(&connection).and_then(|session| session.open.as_ref())
                else {
                    return;
                };
                let heard = self.leader.report(&open.id, report);
                if heard {
                    self.want_look(desk, env);
                } else {
                    self.over(connection, Why::Refused, desk, env);
                }
            }
        }
    }

    fn hello(&mut self, desk: &Desk, machine: Node, connection: Connection, hello: &Hello, env: &mut Env) {
        if self.sessions.contains_key(&connection) {
            return;
        }
        let session = GatewaySession { machine, hello: hello.clone(), term: self.published.term, open: None };
        self.sessions.insert(connection, session);
        if !self.published.leads || self.raft.has_lost_quorum(env.local_ms(desk.node)) {
            return self.over(connection, self.refusal(desk, env), desk, env);
        }
        let (host, term) = (&hello.host, Term(self.published.term));
        let now = Mono(env.local_ms(desk.node));
        if self.leader.admit(hello, None, self.raft.state(), term, now).is_err() {
            env.counts.add("agents/held-back");
            return self.over(connection, Why::Refused, desk, env);
        }
        if !self.raft.state().hosts.contains_key(host) {
            self.leader.expect_host(host, hello.incarnation, term, now);
        }
        self.register(connection, hello, desk, env);
    }

    /// What is refused anyway costs a round of the quorum and no entry.
    fn register(&mut self, connection: Connection, hello: &Hello, desk: &Desk, env: &mut Env) {
        match hello.registration(self.raft.state()) {
            Some(command) if hello.refusal(self.raft.state()).is_none() => {
                let cause = Cause::Agent { host: hello.host.clone() };
                self.propose(cause, command, Asker::Registration(connection), desk, env);
            }
            _ => self.reads.wait(ReadFor::Session(connection)),
        }
    }

    /// Why nobody is served here.
    fn refusal(&self, desk: &Desk, env: &Env) -> Why {
        let now_ms = env.local_ms(desk.node);
        if self.raft.has_lost_quorum(now_ms) {
            Why::NoQuorum
        } else {
            Why::NotLeader(self.raft.heard_leader(now_ms))
        }
    }

    /// The registration has its answer.
    pub(super) fn registered(&mut self, connection: Connection, fate: &Fate, desk: &Desk, env: &mut Env) {
        if let Fate::Outcome(Outcome::Refused(rejection)) = fate {
            return self.refuse(connection, rejection, desk, env);
        }
        let why = match fate {
            Fate::Outcome(Outcome::Accepted { .. }) => {
                return self.reads.wait(ReadFor::Session(connection));
            }
            Fate::NotLeader => self.refusal(desk, env),
            Fate::Unavailable if !self.raft.can_decide(env.local_ms(desk.node)) => Why::NoQuorum,
            _ => Why::Refused,
        };
        self.over(connection, why, desk, env);
    }

    fn refuse(&mut self, connection: Connection, rejection: &Rejection, desk: &Desk, env: &mut Env) {
        self.note_refused(connection, rejection);
        env.counts.add(format!("hellos/refused-{}", rejection.code()));
        if matches!(rejection, Rejection::StartNumberTooHigh { .. }) {
            env.counts.add("agents/forged-number-refused");
        }
        let why = match rejection {
            Rejection::StaleIncarnation { recorded, .. } => Why::StaleIncarnation(*recorded),
            Rejection::HostIdInUse { .. } => Why::HostIdInUse,
            _ => Why::Refused,
        };
        self.over(connection, why, desk, env);
    }

    /// Operators are told of an agent that was refused.
    fn note_refused(&mut self, connection: Connection, refusal: &Rejection) {
        let (Some(session), Some(reason)) = (self.sessions.get(&connection), Hello::refused_as(refusal))
        else {
            return;
        };
        let (host, term, address) =
            (&session.hello.host, Term(session.term), format!("n{}:7500", session.machine));
        self.leader.refused(self.raft.state(), host, reason, &address, term);
    }

    /// A quorum has, or has not, confirmed the view that a session begins with.
    pub(super) fn confirmed_for(
        &mut self,
        connection: Connection,
        confirmed: bool,
        desk: &Desk,
        env: &mut Env,
    ) {
        if !confirmed {
            let why = if self.raft.leads() { Why::NoQuorum } else { self.refusal(desk, env) };
            return self.over(connection, why, desk, env);
        }
        let now = Mono(env.local_ms(desk.node));
        let Some(hello) = self.sessions.get(&connection).map(|session| session.hello.clone()) else { return };
        if let Some(rejection) = hello.refusal(self.raft.state()) {
            env.counts.add("agents/refused-without-an-entry");
            return self.refuse(connection, &rejection, desk, env);
        }
        if hello.registration(self.raft.state()).is_some() {
            return self.register(connection, &hello, desk, env);
        }
        let Some(session) = self.sessions.get_mut(&connection) else { return };
        let opened = self.leader.open_session(
            &session.hello.host,
            session.hello.incarnation,
            session.hello.start,
            Term(session.term),
            now,
        );
        let Some(id) = opened else {
            return self.over(connection, Why::NotLeader(None), desk, env);
        };
        env.see(&Fact::Opened { node: desk.node, term: session.term, host: &session.hello.host });
        let assignments = Assignments::begin(self.raft.state(), session.hello.host.clone());
        let snapshot = assignments.sent().clone();
        let machine = session.machine;
        session.open = Some(Open { id, assignments });
        let cluster = &self.raft.state().cluster;
        let (formation, lease) = (cluster.formation.clone(), cluster.settings.lease.clone());
        let welcome = CoordinatorSays::Welcome { formation, lease };
        env.send(desk.node, machine, Packet::ToAgent(connection, welcome));
        env.send(desk.node, machine, Packet::ToAgent(connection, CoordinatorSays::Snapshot(snapshot)));
        // An earlier session of the same host is over.
        let stale: Vec<Connection> = self
            .sessions
            .iter()
            .filter(|(_, other)| other.open.as_ref().is_some_and(|open| !self.leader.is_open(&open.id)))
            .map(|(other, _)| *other)
            .collect();
        for other in stale {
            self.over(other, Why::Refused, desk, env);
        }
        self.want_look(desk, env);
    }

    /// Tells an agent that its session is over, and forgets it.
    fn over(&mut self, connection: Connection, why: Why, desk: &Desk, env: &mut Env) {
        let Some(session) = self.sessions.get(&connection) else { return };
        let machine = session.machine;
        env.send(desk.node, machine, Packet::ToAgent(connection, CoordinatorSays::Over(why)));
        self.close(connection);
    }

    /// A round has failed: if that is for good, the agents that wait for it are told so.
    pub(super) fn give_up(&mut self, round: Round, desk: &Desk, env: &mut Env) {
        if !self.raft.has_lost_quorum(env.local_ms(desk.node)) {
            return;
        }
        for host in self.leader.give_up(round) {
            let gone = self
                .sessions
                .iter()
                .find(|(_, session)| session.open.is_some() && session.hello.host == host);
            if let Some((connection, _)) = gone {
                self.over(*connection, Why::NoQuorum, desk, env);
            }
        }
    }

    fn close(&mut self, connection: Connection) {
        if let Some(open) = self.sessions.remove(&connection).and_then(|session| session.open) {
            self.leader.close_session(&open.id);
        }
    }

    /// This coordinator no longer leads in the term in which they were opened.
    pub(super) fn end_sessions(&mut self, desk: &Desk, env: &mut Env) {
        let why = self.refusal(desk, env);
        let all: Vec<Connection> = self.sessions.keys().copied().collect();
        for connection in all {
            self.over(connection, why, desk, env);
        }
    }

    pub(super) fn end_sessions_of(&mut self, hosts: &[HostId], desk: &Desk, env: &mut Env) {
        let ended: Vec<Connection> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.open.is_some() && hosts.contains(&session.hello.host))
            .map(|(connection, _)| *connection)
            .collect();
        for connection in ended {
            self.over(connection, Why::NotLeader(None), desk, env);
        }
    }

    /// Something was applied: the agents are told in a while.
    pub(super) fn tell_soon(&mut self, desk: &Desk, env: &mut Env) {
        if !std::mem::replace(&mut self.telling, true) {
            let longest = env.plan.assignment_lag_ms * 1_000;
            let after_us = env.chance(desk.node).draw(0..=longest);
            env.wake_at(env.now.after_us(after_us), desk.node, desk.life, Timer::Tell);
        }
    }

    /// Sends every agent in session what has changed for it.
    pub(super) fn tell_assignments(&mut self, desk: &Desk, env: &mut Env) {
        self.telling = false;
        let state = self.raft.state();
        for (connection, session) in &mut self.sessions {
            let Some(open) = &mut session.open else { continue };
            if let Some(delta) = open.assignments.follow(state) {
                let says = CoordinatorSays::Delta(delta);
                env.send(desk.node, session.machine, Packet::ToAgent(*connection, says));
            }
        }
    }

    /// A round of the quorum has confirmed that this coordinator leads: the heartbeats that it served count.
    pub(super) fn renew(&mut self, round: Round, desk: &Desk, env: &mut Env) {
        for Acknowledgement { session, seq, assignment } in self.leader.acknowledge(round, self.raft.state())
        {
            let way = self
                .sessions
                .iter()
                .find(|(_, known)| known.open.as_ref().is_some_and(|open| open.id == session));
            let Some((connection, known)) = way else { continue };
            env.see(&Fact::Renewed {
                node: desk.node,
                term: self.raft.term(),
                machine: known.machine,
                start: known.hello.start,
                seq,
                assignment,
            });
            let says = CoordinatorSays::Renewed { seq, assignment };
            env.send(desk.node, known.machine, Packet::ToAgent(*connection, says));
        }
    }
}
