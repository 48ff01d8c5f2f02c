//! The warden of a machine and the services that hooks start: the real guards around modelled hooks. It outlives the agent,
//! and stands still with nobody. A service never asks whether it may write; only a demote hook or the warden ends it.

use super::Agent;
use crate::{
    env::{Env, Timer},
    oracle::Fact,
    plan::Starter,
};
use quorate_agent_core::{
    BootMs, HookKind, HookOutcome,
    guard::{Action, Guarded, Guards, Hook, Moment, Proof, Rules, RunKey},
};
use quorate_domain::{Epoch, GroupId};
use std::collections::BTreeMap;

/// How long it takes to kill what hooks started, and to see that nothing is left.
const KILL_MS: u64 = 10;
/// How long the way between an agent and its warden takes at most, in microseconds.
const WAY_MAX_US: u64 = 500;
/// A hook that does not end well has started the service all the same this often, in a million.
const HALF_STARTED_PPM: u64 = 500_000;

/// A hook that runs.
#[derive(Debug, Clone)]
struct Run {
    group: GroupId,
    epoch: Epoch,
    hook: Hook,
    /// This start of the agent asked for it, and wants to know how it ends.
    asked_in: Option<u32>,
    /// It is being killed.
    killed: bool,
    /// It does not end by itself.
    hangs: bool,
}

/// The warden of a machine, and what runs on it.
#[derive(Debug, Default)]
pub(super) struct Warden {
    guards: Guards,
    lease: BootMs,
    runs: BTreeMap<RunKey, Run>,
    /// What was ended while no agent listened.
    untold: Vec<(GroupId, Epoch)>,
    /// Services that run, with the epoch that they were started under.
    services: BTreeMap<GroupId, Epoch>,
    wake_due: Option<BootMs>,
    /// Counts the boots of the machine.
    life: u32,
}

impl Agent {
    fn rules(&self, env: &Env) -> Rules {
        let demotion_ms = env.plan.habits.hook_max_ms;
        let child = env.plan.habits.starter == Starter::Hooks;
        Rules { fence: false, demotion_ms: Some(demotion_ms), child, agent: self.process.is_some() }
    }

    fn moment(&self, env: &Env) -> Moment {
        Moment { now: self.now(env), lease: self.warden.lease, rules: self.rules(env) }
    }

    /// A start of the agent takes the warden over: what was guarded keeps its last deadline.
    pub(super) fn take_over_warden(&mut self, env: &mut Env) {
        if !env.plan.habits.have_hooks() {
            return;
        }
        let lease = std::mem::take(&mut self.warden.lease);
        self.warden.runs.values_mut().for_each(|run| run.asked_in = None);
        let actions = self.warden.guards.freeze_all(lease, BootMs(u64::MAX));
        self.guards_want(actions, env);
        for (group, epoch) in std::mem::take(&mut self.warden.untold) {
            self.tell_agent(Timer::ServiceEnded(group, epoch), env);
        }
    }

    /// The agent tells the warden the end of its lease.
    pub(super) fn tell_warden(&mut self, request: u64, deadline: BootMs, env: &mut Env) {
        self.warden.lease = deadline;
        self.tell_agent(Timer::WardenTold(request), env);
        self.wake_warden(env);
    }

    /// The agent asks for a hook.
    pub(super) fn ask_for_hook(&mut self, group: GroupId, epoch: Epoch, kind: HookKind, env: &mut Env) {
        let at = self.moment(env);
        let (hook, key) = match kind {
            HookKind::Promote => (Hook::Promote, self.warden.guards.promote(&group, epoch, at)),
            HookKind::Demote => (Hook::Demote, self.warden.guards.demote(&group, epoch, at)),
        };
        match key {
            Ok(key) => self.run_hook(key, group, epoch, hook, Some(self.life), env),
            Err(why) => {
                env.note(self.node, || format!("the warden runs no {kind} hook of {group}: {why}"));
                self.tell_agent(Timer::HookEnded(group, epoch, kind, HookOutcome::Failed(why)), env);
            }
        }
        self.wake_warden(env);
    }

    /// The agent asks for the end of a promote hook.
    pub(super) fn ask_to_kill(&mut self, group: &GroupId, epoch: Epoch, env: &mut Env) {
        let at = self.moment(env);
        let found = self
            .warden
            .runs
            .iter()
            .find(|(_, run)| (&run.group, run.epoch, run.hook) == (group, epoch, Hook::Promote));
        if let Some(key) = found.map(|(key, _)| *key) {
            self.warden.guards.interrupt(group, key, at);
            self.kill_run(key, env);
            self.wake_warden(env);
        }
    }

    /// The machine has lost power: nothing of it is left.
    pub(super) fn lose_warden(&mut self, env: &mut Env) {
        for group in std::mem::take(&mut self.warden.services).into_keys() {
            env.see(&Fact::ServiceStops { machine: self.node, group: &group });
        }
        self.warden = Warden { life: self.warden.life + 1, ..Warden::default() };
    }

    /// The agent is gone: nobody waits for the hooks that it asked for.
    pub(super) fn leave_warden_alone(&mut self, env: &mut Env) {
        self.warden.runs.values_mut().for_each(|run| run.asked_in = None);
        self.wake_warden(env);
    }

    /// A timer of the warden.
    pub(super) fn warden_timer(&mut self, life: u32, timer: Timer, env: &mut Env) {
        if life != self.warden.life {
            return;
        }
        match timer {
            Timer::Warden => {
                let at = self.moment(env);
                self.warden.wake_due = self.warden.wake_due.filter(|due| *due > at.now);
                let actions = self.warden.guards.pass(at);
                self.guards_want(actions, env);
            }
            Timer::HookRan(key) => self.run_ends(RunKey(key), env),
            Timer::GroupKilled(group) => {
                // What its hooks started, and the hooks that run.
                let hooks: Vec<RunKey> = self
                    .warden
                    .runs
                    .iter()
                    .filter(|(_, run)| run.group == group)
                    .map(|(key, _)| *key)
                    .collect();
                for key in hooks {
                    self.kill_run(key, env);
                }
                if env.plan.habits.starter == Starter::Hooks {
                    self.stop_service(&group, env);
                }
                let actions = self.warden.guards.gone(&group, false, self.moment(env));
                self.guards_want(actions, env);
            }
            _ => {}
        }
        self.wake_warden(env);
    }

    fn run_hook(
        &mut self,
        key: RunKey,
        group: GroupId,
        epoch: Epoch,
        hook: Hook,
        asked_in: Option<u32>,
        env: &mut Env,
    ) {
        let longest_ms = env.plan.habits.hook_max_ms;
        let hangs = self.hooks_hang;
        let takes_us =
            if hangs { longest_ms * 1_000 } else { env.chance(self.node).draw(0..=longest_ms * 1_000) };
        env.note(self.node, || format!("{hook} hook of {group} epoch {epoch} runs"));
        self.warden.runs.insert(key, Run { group, epoch, hook, asked_in, killed: false, hangs });
        env.wake_at(env.now.after_us(takes_us), self.node, self.warden.life, Timer::HookRan(key.0));
    }

    fn kill_run(&mut self, key: RunKey, env: &mut Env) {
        if let Some(run) = self.warden.runs.get_mut(&key)
            && !run.killed
        {
            run.killed = true;
            env.wake_at(env.now.after_ms(KILL_MS), self.node, self.warden.life, Timer::HookRan(key.0));
        }
    }

    fn run_ends(&mut self, key: RunKey, env: &mut Env) {
        let Some(run) = self.warden.runs.remove(&key) else { return };
        let outcome = self.outcome(&run, env);
        let well = outcome == HookOutcome::Succeeded;
        match run.hook {
            Hook::Promote if well || env.chance(self.node).happens(HALF_STARTED_PPM) => {
                self.start_service(&run.group, run.epoch, env);
            }
            Hook::Demote if well => {
                self.stop_service(&run.group, env);
                // It has stopped whatever else of the platform acts on this host.
                self.platform.remove(&run.group);
            }
            _ => {}
        }
        let at = self.moment(env);
        let actions = self.warden.guards.run_ended(&run.group, key, run.hook, &outcome, at);
        let is_child = env.plan.habits.starter == Starter::Hooks;
        if is_child && run.hook == Hook::Promote && self.warden.services.contains_key(&run.group) {
            self.warden.guards.seen(&run.group);
        }
        let kind = match run.hook {
            Hook::Promote => Some(HookKind::Promote),
            Hook::Demote => Some(HookKind::Demote),
            Hook::Fence => None,
        };
        if run.asked_in == Some(self.life)
            && let Some(kind) = kind
        {
            self.tell_agent(Timer::HookEnded(run.group, run.epoch, kind, outcome), env);
        }
        self.guards_want(actions, env);
        self.claim(env);
    }

    fn outcome(&mut self, run: &Run, env: &mut Env) -> HookOutcome {
        let failed = |why: &str| HookOutcome::Failed(why.to_owned());
        if run.killed {
            return failed("killed");
        }
        if run.hangs {
            env.counts.add("fault/hook-hangs");
            return failed("killed because its time was over");
        }
        let fails_ppm = env.plan.habits.demote_fails_ppm;
        let by_chance = run.hook == Hook::Demote && env.chance(self.node).happens(fails_ppm);
        if self.hooks_fail {
            env.counts.add("fault/hook-fails");
        }
        if self.hooks_fail || by_chance {
            if run.hook == Hook::Demote {
                env.counts.add("warden/demotions-failed");
            }
            return failed("exit status 1");
        }
        HookOutcome::Succeeded
    }

    fn start_service(&mut self, group: &GroupId, epoch: Epoch, env: &mut Env) {
        self.warden.services.insert(group.clone(), epoch);
        env.counts.add("warden/services-started");
        env.note(self.node, || format!("the service of {group} runs under epoch {epoch}"));
        env.see(&Fact::ServiceStarts { machine: self.node, group, epoch });
    }

    fn stop_service(&mut self, group: &GroupId, env: &mut Env) {
        if self.warden.services.remove(group).is_some() {
            env.note(self.node, || format!("the service of {group} runs no more"));
            env.see(&Fact::ServiceStops { machine: self.node, group });
        }
    }

    fn guards_want(&mut self, actions: Vec<Action>, env: &mut Env) {
        for action in actions {
            match action {
                Action::Start { key, group, hook, .. } => {
                    let Some(epoch) = self.warden.guards.get(&group).map(Guarded::epoch) else {
                        continue;
                    };
                    env.counts.add("warden/demoted-without-the-agent");
                    self.run_hook(key, group, epoch, hook, None, env);
                }
                Action::Stop { key, .. } => self.kill_run(key, env),
                Action::Kill { group } => {
                    env.counts.add("warden/killed-by-force");
                    let timer = Timer::GroupKilled(group);
                    env.wake_at(env.now.after_ms(KILL_MS), self.node, self.warden.life, timer);
                }
                Action::Spare { .. } | Action::LetGo { .. } => {}
                Action::Ended { group, epoch, proof: Proof::Not(_) } => {
                    env.counts.add("warden/not-proven");
                    if self.warden.services.contains_key(&group) {
                        env.counts.add("warden/goes-on-elsewhere");
                        env.see(&Fact::ServiceStrays { machine: self.node, group: &group, epoch });
                    }
                }
                Action::Ended { group, epoch, .. } if self.process.is_some() => {
                    self.tell_agent(Timer::ServiceEnded(group, epoch), env);
                }
                Action::Ended { group, epoch, .. } => self.warden.untold.push((group, epoch)),
            }
        }
        self.wake_warden(env);
    }

    /// The warden says something, which the agent hears once it is not stopped.
    fn tell_agent(&mut self, word: Timer, env: &mut Env) {
        let after_us = env.chance(self.node).draw(1..=WAY_MAX_US);
        env.wake_at(env.now.after_us(after_us), self.node, self.life, word);
    }

    fn wake_warden(&mut self, env: &mut Env) {
        let next = self.warden.guards.next_wake(self.rules(env), self.warden.lease);
        if let Some(due) = next
            && self.warden.wake_due.is_none_or(|known| due < known)
        {
            self.warden.wake_due = Some(due);
            env.wake_when_shown(due.0, self.node, self.warden.life, Timer::Warden);
        }
    }
}
