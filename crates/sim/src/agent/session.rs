//! The agent's one session with the coordinators: opened, kept, given up when it is silent, opened again.

use super::Agent;
use crate::{
    env::Env,
    message::{AgentSays, Connection, CoordinatorSays, Packet, Why},
    network::Node,
    oracle::Fact,
};
use quorate_agent_core::{BootMs, QuorumWord};
use quorate_domain::{DiskIdentity, DiskName, Incarnation, StartId, Timestamp, Zone};
use quorate_leader_core::{Hello, Report};
use quorate_planner::{DiskObservation, GroupObservation};

/// A session is given up when it is not open after this long.
const OPEN_MS: u64 = 6_000;
/// A session that is silent for so many heartbeats is given up.
const SILENT_AFTER_HEARTBEATS: u64 = 3;
/// The least patience with a silent coordinator.
const PATIENCE_MIN_MS: u64 = 500;
/// A report is sent again after this long, as with every check of the disks.
const REFRESH_MS: u64 = 10_000;
/// The longest wait before the first try, and the longest of all.
const RETRY_MS: (u64, u64) = (50, 1_000);

#[derive(Debug)]
enum State {
    Waiting { until: BootMs },
    Open { connection: Connection, with: usize, welcomed: bool, silent_at: BootMs },
}

#[derive(Debug)]
pub(super) struct Session {
    coordinators: usize,
    next: usize,
    hint: Option<usize>,
    hints_followed: usize,
    failures: u32,
    /// A leader has taken this start in.
    taken_in: bool,
    state: State,
}

impl Session {
    pub(super) fn new(coordinators: usize) -> Self {
        let state = State::Waiting { until: BootMs(0) };
        Self { coordinators, next: 0, hint: None, hints_followed: 0, failures: 0, taken_in: false, state }
    }

    pub(super) fn is_welcomed(&self) -> bool {
        matches!(self.state, State::Open { welcomed: true, .. })
    }

    pub(super) fn next_wake(&self) -> BootMs {
        match self.state {
            State::Waiting { until } => until,
            State::Open { silent_at, .. } => silent_at,
        }
    }

    fn is(&self, number: Connection) -> bool {
        matches!(self.state, State::Open { connection, .. } if connection == number)
    }

    /// Whom to ask now.
    fn target(&mut self) -> usize {
        if let Some(hint) = self.hint.take() {
            return hint;
        }
        let target = self.next % self.coordinators;
        self.next = target + 1;
        target
    }

    /// The longest wait before the next try.
    fn patience_ms(&mut self, why: Option<Why>) -> u64 {
        if let Some(Why::NotLeader(Some(leader))) = why {
            self.hint = Some(leader);
            self.hints_followed += 1;
            if self.hints_followed == 1 {
                return 0;
            }
        }
        self.hints_followed = 0;
        self.failures = self.failures.saturating_add(1);
        (RETRY_MS.0 << self.failures.min(10)).min(RETRY_MS.1)
    }
}

/// What the end of a session says of the coordinators' quorum, as the agent crate reads it.
fn quorum_word(why: Option<Why>) -> QuorumWord {
    match why {
        Some(Why::NoQuorum | Why::NotLeader(None)) => QuorumWord::Lacks,
        Some(Why::NotLeader(Some(_)) | Why::StaleIncarnation(_) | Why::HostIdInUse) => QuorumWord::Has,
        Some(Why::Refused | Why::Nobody) | None => QuorumWord::Nothing,
    }
}

impl Agent {
    /// Opens a session, gives up a silent one, sends the heartbeat that is due.
    pub(super) fn tend_session(&mut self, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        match process.session.state {
            State::Open { silent_at, .. } if silent_at <= now => {
                env.note(self.node, || "hears nothing any more and gives the session up".to_owned());
                self.hang_up(env);
                self.session_over(None, env);
            }
            State::Waiting { until } if until <= now && !self.folder.superseded => self.open_session(env),
            _ => {}
        }
        let Some(process) = &self.process else { return };
        if process.session.is_welcomed() && now >= process.next_heartbeat {
            self.heartbeat(env);
        }
    }

    fn open_session(&mut self, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        let connection = env.new_connection();
        let with = process.session.target();
        let silent_at = now.after_ms(OPEN_MS);
        process.session.state = State::Open { connection, with, welcomed: false, silent_at };
        let (incarnation, start) = (process.core.incarnation(), process.start);
        let hello = self.hello(incarnation, start, env);
        env.send(self.node, with, Packet::FromAgent(connection, AgentSays::Hello(hello)));
    }

    fn hello(&self, incarnation: Incarnation, start: StartId, env: &Env) -> Hello {
        Hello {
            host: self.host.clone(),
            zone: Zone::new(format!("z{}", self.node % 3)).expect("a letter and a digit make a name"),
            address: format!("{}:7500", self.host),
            instance: self.folder.instance.clone(),
            incarnation,
            start,
            hook_times: env.plan.habits.hook_times(),
        }
    }

    /// Whoever has the folder says hello under a number that no later start can exceed. Nothing comes of it, or the host
    /// never serves again.
    pub(crate) fn forge_a_hello(&self, to: Node, env: &mut Env) {
        let connection = env.new_connection();
        let hello = self.hello(Incarnation(u64::MAX), StartId(u64::MAX), env);
        env.send(self.node, to, Packet::FromAgent(connection, AgentSays::Hello(hello)));
    }

    fn say(&self, says: AgentSays, env: &mut Env) {
        let Some(process) = &self.process else { return };
        if let State::Open { connection, with, .. } = process.session.state {
            env.send(self.node, with, Packet::FromAgent(connection, says));
        }
    }

    /// The process closes its connection.
    pub(super) fn hang_up(&self, env: &mut Env) {
        self.say(AgentSays::Bye, env);
    }

    fn heartbeat(&mut self, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        let seq = process.core.heartbeat_sent(now);
        process.next_heartbeat = now.after_ms(process.core.settings().heartbeat_ms.max(1));
        let (installed, mode) = (process.core.installed_revision(), process.core.service_mode(now));
        let start = process.start;
        env.see(&Fact::HeartbeatSent { machine: self.node, start, seq, installed });
        self.say(AgentSays::Heartbeat { seq, installed, mode }, env);
    }

    pub(super) fn flush_report(&mut self, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        let due = process.report_due || now >= process.refresh_at;
        if !due || !process.session.is_welcomed() {
            return;
        }
        process.report_due = false;
        process.refresh_at = now.after_ms(REFRESH_MS);
        let groups = process.core.report().into_iter().map(|told| {
            (told.group, GroupObservation { epoch: told.epoch, state: told.state, reason: told.reason })
        });
        let medium = DiskObservation {
            identity: DiskIdentity(format!("{}-medium-{}", self.host, self.replaced)),
            path: "/data".to_owned(),
            capacity_bytes: 1 << 40,
            free_bytes: 1 << 39,
            verdict: self.verdict,
            reasons: vec![],
            checked_at: Timestamp(0),
        };
        let report = Report {
            groups: groups.collect(),
            disks: [(DiskName::new("d1").expect("a letter and a digit make a name"), medium)].into(),
            installed: process.core.installed_revision(),
            stopping: process.core.stopping(),
            disks_complete: true,
            state_folder_problem: String::new(),
        };
        self.say(AgentSays::Report(report), env);
    }

    pub(super) fn session_hears(&mut self, number: Connection, says: CoordinatorSays, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        if !process.session.is(number) {
            return;
        }
        let patience_ms = process.core.settings().heartbeat_ms.saturating_mul(SILENT_AFTER_HEARTBEATS);
        let before = process.core.installed_revision();
        let steps = match says {
            CoordinatorSays::Over(why) => return self.session_over(Some(why), env),
            CoordinatorSays::Welcome { formation, .. }
                if self.folder.formation.is_some() && self.folder.formation != formation =>
            {
                env.see(&Fact::Welcomed { machine: self.node, formation: formation.as_ref() });
                return self.session_over(Some(Why::Refused), env);
            }
            CoordinatorSays::Welcome { formation, lease } => {
                env.see(&Fact::Welcomed { machine: self.node, formation: formation.as_ref() });
                self.folder.formation = formation;
                if let State::Open { welcomed, .. } = &mut process.session.state {
                    *welcomed = true;
                }
                (process.session.failures, process.session.hints_followed) = (0, 0);
                process.session.taken_in = true;
                process.next_heartbeat = now;
                process.report_due = true;
                self.was_welcomed = true;
                process.core.welcomed(lease, now)
            }
            CoordinatorSays::Renewed { seq, assignment } => {
                process.core.heartbeat_acknowledged(seq, assignment, now)
            }
            CoordinatorSays::Snapshot(assignment) => process.core.assignment_snapshot(assignment, now),
            CoordinatorSays::Delta(delta) => {
                process.core.assignment_delta(delta.from, delta.to, delta.changed, &delta.removed, now)
            }
        };
        self.perform(steps, env);
        let Some(process) = &mut self.process else { return };
        if process.core.installed_revision() != before {
            // The leader learns from it what is installed, and the host has a lease the sooner.
            process.next_heartbeat = now;
        }
        if let State::Open { silent_at, welcomed: true, .. } = &mut process.session.state {
            *silent_at = now.after_ms(patience_ms.max(PATIENCE_MIN_MS));
        }
    }

    /// The session is over: the next is opened after a while.
    pub(super) fn session_over(&mut self, why: Option<Why>, env: &mut Env) {
        match (why, self.process.as_ref().is_some_and(|process| process.session.taken_in)) {
            (Some(Why::StaleIncarnation(_) | Why::HostIdInUse), true) => self.give_way(env),
            (Some(Why::StaleIncarnation(recorded)), false) => self.raise_incarnation(recorded, env),
            _ => {}
        }
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        if let State::Open { with, .. } = process.session.state {
            let steps = process.core.coordinator_said(&format!("c{}", with + 1), quorum_word(why), now);
            self.perform(steps, env);
        }
        let Some(process) = &mut self.process else { return };
        let longest_ms = process.session.patience_ms(why);
        let wait_ms = env.chance(self.node).draw(0..=longest_ms);
        process.session.state = State::Waiting { until: now.after_ms(wait_ms) };
        let steps = process.core.session_lost(now);
        self.perform(steps, env);
    }

    /// This start was the host's, and another one is by now.
    fn give_way(&mut self, env: &mut Env) {
        if !self.folder.superseded {
            env.counts.add("agents/superseded");
            env.note(self.node, || "gives way to another start for good".to_owned());
            self.folder.superseded = true;
            self.begin_stop(env);
        }
    }

    /// No higher than it must be: how far a number may be above the one on record is bounded.
    fn raise_incarnation(&mut self, recorded: Incarnation, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        let raised = self.folder.incarnation.max(recorded).next();
        self.folder.incarnation = raised;
        let steps = process.core.renumbered(raised, now);
        env.counts.add("agents/incarnation-raised");
        self.perform(steps, env);
    }
}
