//! One storage host: an agent around the real agent-core, its disk, its hooks, and the platform's processes.

pub(crate) mod guard;
mod guarding;
mod process;
mod session;
mod warden;

use crate::{
    env::{Env, Timer},
    message::Packet,
    network::Node,
    oracle::{Claim, Fact},
    plan::Starter,
    standstill::{Reached, Standstill},
    time::Moment,
};
use guard::Posts;
use process::Process;
use quorate_agent_core::{BootMs, DurableEpochs, LocalRole};
use quorate_domain::{
    Epoch, FormationId, GroupId, HostId, Incarnation, InstanceId, ServiceMode, StartId, Verdict,
};
use std::collections::BTreeMap;
use warden::Warden;

/// What an agent has on its disk.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    instance: InstanceId,
    incarnation: Incarnation,
    /// Which forming of the cluster it belongs to.
    formation: Option<FormationId>,
    epochs: DurableEpochs,
    /// It was written on this machine, since its last boot.
    at_home: bool,
    /// Another start has taken the host away: none starts on it.
    superseded: bool,
}

/// What a process of the platform was told.
#[derive(Debug, Clone, Copy)]
struct Told {
    epoch: Epoch,
    incarnation: Incarnation,
    start: StartId,
    /// It may write until its clock shows this.
    until_ms: u64,
}

/// How an agent is cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CutShort {
    /// It dies.
    Dies,
    /// It stands still.
    StandsStill,
}

/// What comes of services that are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Services {
    /// They run until somebody ends them.
    Run,
    /// They end by themselves soon after their start.
    EndSoon,
    /// They cannot be executed.
    NotExecutable,
}

/// A storage host's machine.
#[derive(Debug)]
pub(crate) struct Agent {
    /// Its place in the network.
    pub(crate) node: Node,
    /// Its name.
    pub(crate) host: HostId,
    life: u32,
    folder: Folder,
    process: Option<Process>,
    warden: Warden,
    posts: Posts,
    platform: BTreeMap<GroupId, Told>,
    /// What the oracle was told last.
    claims: BTreeMap<GroupId, Claim>,
    standstill: Standstill,
    /// What the host may do, as it was last seen.
    mode: Option<ServiceMode>,
    /// What the checks of its disk say.
    verdict: Verdict,
    /// How often its disk was replaced.
    replaced: u32,
    /// Its hooks fail.
    pub(crate) hooks_fail: bool,
    /// Its hooks do not end before their time is over.
    pub(crate) hooks_hang: bool,
    /// What comes of the services that its guards start.
    pub(crate) services: Services,
    /// It dies, or stands still, once it has written that a guard runs an epoch, before the guard is told.
    pub(crate) cut_short: Option<CutShort>,
    /// A leader has taken it in since it was last set to false.
    pub(crate) was_welcomed: bool,
}

impl Agent {
    /// A machine on which no agent has run yet.
    pub(crate) fn new(node: Node, host: HostId) -> Self {
        let instance = InstanceId::new(format!("i-{host}")).expect("a host's name makes a name");
        Self {
            node,
            host,
            life: 0,
            folder: Folder {
                instance,
                incarnation: Incarnation(0),
                formation: None,
                epochs: DurableEpochs::default(),
                at_home: true,
                superseded: false,
            },
            process: None,
            warden: Warden::default(),
            posts: Posts::default(),
            platform: BTreeMap::new(),
            claims: BTreeMap::new(),
            standstill: Standstill::default(),
            mode: None,
            verdict: Verdict::Healthy,
            replaced: 0,
            hooks_fail: false,
            hooks_hang: false,
            services: Services::Run,
            cut_short: None,
            was_welcomed: false,
        }
    }

    /// True while its process exists.
    pub(crate) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// True while its process exists and is not stopped.
    pub(crate) fn runs(&self) -> bool {
        self.process.is_some() && !self.standstill.holds()
    }

    /// What the checks of its disk say.
    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// A copy of its state folder, for another machine.
    pub(crate) fn copied_folder(&self) -> Folder {
        Folder { at_home: false, superseded: false, ..self.folder.clone() }
    }

    /// Takes over a folder that was made elsewhere.
    pub(crate) fn take_folder(&mut self, host: HostId, folder: Folder) {
        self.host = host;
        self.folder = folder;
    }

    /// Starts the agent on what its disk has.
    pub(crate) fn start(&mut self, env: &mut Env) {
        if self.process.is_some() || self.folder.superseded {
            return;
        }
        self.life += 1;
        // All of this is durable before the agent does anything.
        if !self.folder.at_home {
            self.folder.epochs = std::mem::take(&mut self.folder.epochs).moved();
            // Nothing that ran here has outlived the machine.
            self.folder.epochs.guarded.clear();
        }
        self.folder.incarnation = Incarnation(self.folder.incarnation.0 + 1);
        self.folder.at_home = true;
        let now = BootMs(env.local_ms(self.node));
        let start = env.chance(self.node).draw(1..=u64::MAX);
        let (process, steps) = Process::new(&self.folder, now, start, env);
        let incarnation = self.folder.incarnation;
        env.note(self.node, || format!("starts for the {incarnation}. time"));
        self.process = Some(process);
        self.take_over_warden(env);
        self.act(env, |agent, env| agent.perform(steps, env));
        if env.plan.habits.asks_every_ms > 0 {
            self.ask_again(env);
        }
    }

    /// An operator found two agents of one host, and starts this one again, which is the one that is meant.
    pub(crate) fn reinstate(&mut self, env: &mut Env) {
        if !self.folder.superseded {
            return;
        }
        self.crash(env);
        self.folder.superseded = false;
        self.start(env);
    }

    /// Kills the agent. The platform's processes go on with what they were told.
    pub(crate) fn crash(&mut self, env: &mut Env) -> bool {
        let Some(process) = self.process.take() else { return false };
        if let Some((_, epochs)) = process.storing()
            && env.chance(self.node).happens(500_000)
        {
            self.folder.epochs = epochs.clone();
        }
        env.note(self.node, || "dies".to_owned());
        self.life += 1;
        self.standstill = Standstill::default();
        self.leave_warden_alone(env);
        self.leave_guards_alone(env);
        self.claim(env);
        true
    }

    /// The whole machine loses power.
    pub(crate) fn lose_power(&mut self, env: &mut Env) -> bool {
        let was_up = self.crash(env);
        self.platform.clear();
        self.lose_warden(env);
        self.lose_guards(env);
        self.folder.at_home = false;
        self.claim(env);
        env.reboot(self.node);
        was_up
    }

    /// Stops the process, as a signal does.
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

    /// Tells the agent to stop in order.
    pub(crate) fn stop(&mut self, env: &mut Env) -> bool {
        if !self.runs() {
            return false;
        }
        env.note(self.node, || "is told to stop".to_owned());
        self.act(env, Self::begin_stop);
        true
    }

    /// Its disk fails, or another one is put in its place.
    pub(crate) fn set_disk(&mut self, verdict: Verdict, env: &mut Env) -> bool {
        let changed = self.verdict != verdict;
        self.verdict = verdict;
        self.replaced += u32::from(verdict == Verdict::Healthy);
        env.note(self.node, || format!("has a disk that is {verdict}"));
        if self.runs() {
            self.act(env, |agent, _| agent.want_report());
        }
        changed
    }

    /// A packet arrives.
    pub(crate) fn arrival(&mut self, from: Node, packet: Packet, env: &mut Env) {
        if let Some(now) = self.standstill.pass(Reached::Packet(from, packet)) {
            self.reach(now, env);
        }
    }

    /// A timer of an earlier start means nothing any more.
    pub(crate) fn waking(&mut self, life: u32, timer: Timer, env: &mut Env) {
        if matches!(timer, Timer::Warden | Timer::HookRan(_) | Timer::GroupKilled(_)) {
            return self.warden_timer(life, timer, env);
        }
        if timer.is_of_guards() {
            return self.guards_timer(life, timer, env);
        }
        if life != self.life {
            return;
        }
        if let Some(now) = self.standstill.pass(Reached::Timer(timer)) {
            self.reach(now, env);
        }
    }

    fn reach(&mut self, reached: Reached, env: &mut Env) {
        if self.process.is_none() {
            return;
        }
        self.act(env, |agent, env| match reached {
            Reached::Packet(_, Packet::ToAgent(connection, says)) => {
                agent.session_hears(connection, says, env);
            }
            Reached::Timer(timer) => agent.timer(timer, env),
            Reached::Packet(..) => {}
        });
    }

    fn timer(&mut self, timer: Timer, env: &mut Env) {
        match timer {
            Timer::Wake => self.woken(env),
            Timer::Stored(request) => self.stored(request, env),
            Timer::HookEnded(group, epoch, kind, outcome) => {
                self.hook_ended(&group, epoch, kind, outcome, env);
            }
            Timer::WardenTold(request) => self.warden_told(request, env),
            Timer::ServiceEnded(group, epoch) => self.service_ended(&group, epoch, env),
            Timer::GuardAttaches { group, pid, way, seat } => {
                self.guard_attaches(&group, pid, way, seat, env);
            }
            Timer::GuardSays(way, says) => self.guard_said(way, says, env),
            Timer::GuardGone(way) => self.guard_gone(way, env),
            Timer::KeeperStopped(group, epoch) => self.keeper_stopped(&group, epoch, env),
            Timer::Ask => {
                self.asked(env);
                self.ask_again(env);
            }
            _ => {}
        }
    }

    /// Does something, then what follows: reports, the next time to wake, and what the oracle must know.
    fn act(&mut self, env: &mut Env, act: impl FnOnce(&mut Self, &mut Env)) {
        act(self, env);
        if self.standstill.holds() {
            return;
        }
        self.tell_guards(env);
        self.have_guards_start(env);
        self.flush_report(env);
        self.exit_when_stopped(env);
        self.wake_in_time(env);
        self.claim(env);
    }

    fn ask_again(&self, env: &mut Env) {
        let every_ms = env.plan.habits.asks_every_ms;
        let after_us = env.chance(self.node).draw(0..=every_ms * 2_000);
        env.wake_at(env.now.after_us(after_us), self.node, self.life, Timer::Ask);
    }

    /// The platform's processes ask what they are, and rely on the answer.
    fn asked(&mut self, env: &mut Env) {
        let now = BootMs(env.local_ms(self.node));
        let Some(process) = &mut self.process else { return };
        for group in process.core.groups() {
            let Some(answer) = process.core.tell_role(&group, now) else { continue };
            if answer.role == LocalRole::Primary {
                let (incarnation, start) = (process.core.incarnation(), process.start);
                let until_ms = answer.write_deadline.0;
                self.platform.insert(group, Told { epoch: answer.epoch, incarnation, start, until_ms });
            } else {
                self.platform.remove(&group);
            }
        }
    }

    /// What the agent itself says of the group, for whoever looks into a failure.
    pub(crate) fn says_of(&self, group: &GroupId, env: &Env) -> String {
        let now = BootMs(env.local_ms(self.node));
        let role = self.process.as_ref().and_then(|process| process.core.role(group, now));
        role.map_or_else(
            || format!("{} knows nothing of it", self.host),
            |answer| {
                format!("{} is {:?} under epoch {}: {}", self.host, answer.role, answer.epoch, answer.reason)
            },
        )
    }

    /// True when the agent itself says that it acts for the group now; where guards run services, one runs.
    pub(crate) fn acts_for(&self, group: &GroupId, env: &Env) -> bool {
        let now = BootMs(env.local_ms(self.node));
        let role = self.process.as_ref().and_then(|process| process.core.role(group, now));
        let is_served = env.plan.habits.starter != Starter::Guards || self.posts.serve(group);
        self.runs() && is_served && role.is_some_and(|answer| answer.role == LocalRole::Primary)
    }

    /// Counts the changes of what the host as a whole may do.
    fn note_mode(&mut self, env: &mut Env) {
        let now = BootMs(env.local_ms(self.node));
        let mode = self.process.as_ref().map(|process| process.core.service_mode(now));
        if mode == self.mode {
            return;
        }
        match (self.mode, mode) {
            (_, Some(ServiceMode::Safe)) => env.counts.add("agents/safe"),
            (Some(ServiceMode::Safe), Some(ServiceMode::ReadOnly)) => env.counts.add("agents/safe-no-more"),
            (Some(ServiceMode::ReadOnly), Some(ServiceMode::Normal)) => env.counts.add("agents/normal-again"),
            _ => {}
        }
        if let (Some(mode), Some(process)) = (mode, &self.process) {
            env.note(self.node, || format!("is in mode {mode}"));
            let until = env.clock(self.node).reaches(process.core.lapses_at().0);
            env.see(&Fact::Mode { machine: self.node, start: process.start, mode, until });
        }
        self.mode = mode;
    }

    /// Tells the oracle who on this machine may act, as far as it has changed.
    fn claim(&mut self, env: &mut Env) {
        self.claim_groups(env);
        self.note_mode(env);
    }

    fn claim_groups(&mut self, env: &mut Env) {
        let now_ms = env.local_ms(self.node);
        self.platform.retain(|_, told| told.until_ms > now_ms);
        let groups: Vec<GroupId> = match &self.process {
            Some(process) => process.core.groups().into_iter().chain(self.claims.keys().cloned()).collect(),
            None => self.claims.keys().cloned().collect(),
        };
        for group in groups {
            match self.claim_of(&group, env) {
                Some(claim) if self.claims.get(&group) == Some(&claim) => {}
                Some(claim) => {
                    let epochs = &self.folder.epochs;
                    let stored = epochs.highest.get(&group).copied();
                    let named = epochs.primary_of.contains(&(group.clone(), claim.epoch));
                    env.see(&Fact::Claims { claim: &claim, stored, named });
                    self.claims.insert(group, claim);
                }
                None => {
                    if self.claims.remove(&group).is_some() {
                        env.note(self.node, || format!("acts for {group} no more"));
                        env.see(&Fact::Yields { machine: self.node, group: &group });
                    }
                }
            }
        }
    }

    fn claim_of(&self, group: &GroupId, env: &Env) -> Option<Claim> {
        let clock = env.clock(self.node);
        let now = BootMs(clock.shows_ms(env.now));
        let told = self.platform.get(group);
        let told_until = told.map_or(Moment::default(), |told| clock.reaches(told.until_ms));
        let role = self.process.as_ref().and_then(|process| {
            let answer = process.core.role(group, now)?;
            let who = (process.core.incarnation(), process.start);
            (answer.role == LocalRole::Primary).then_some((answer, who))
        });
        let claim = |(incarnation, start), epoch, until, fresh| {
            let (machine, group) = (self.node, group.clone());
            Some(Claim { machine, incarnation, start, group, epoch, until, fresh })
        };
        match (role, told) {
            (Some((answer, who)), _) => {
                let until = clock.reaches(answer.write_deadline.0).max(told_until);
                claim(who, answer.epoch, until, true)
            }
            (None, Some(told)) => claim((told.incarnation, told.start), told.epoch, told_until, false),
            (None, None) => None,
        }
    }
}
