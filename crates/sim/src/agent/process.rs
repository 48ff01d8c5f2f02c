//! The agent's process: feeds the core what arrives and performs the steps that come back.

use super::{Agent, CutShort, Folder, guarding::Attached, session::Session};
use crate::{
    env::{Env, Timer},
    fault::Kind,
    standstill::Reached,
};
use quorate_agent_core::{BootMs, Core, DurableEpochs, HookKind, HookOutcome, Start, Step, guard::Proof};
use quorate_domain::{Epoch, GroupId, LeaseSettings, StartId};

/// What a stop may take beyond the hooks and the lease.
const STOP_EXTRA_MS: u64 = 5_000;

#[derive(Debug)]
pub(super) struct Process {
    pub(super) core: Core,
    pub(super) start: StartId,
    pub(super) session: Session,
    pub(super) attached: Attached,
    pub(super) next_heartbeat: BootMs,
    pub(super) report_due: bool,
    /// When a report is due although nothing has changed.
    pub(super) refresh_at: BootMs,
    storing: Option<(u64, DurableEpochs)>,
    wake_due: Option<BootMs>,
    stop_by: Option<BootMs>,
    stopped: bool,
}

impl Process {
    pub(super) fn new(folder: &Folder, now: BootMs, start: u64, env: &Env) -> (Self, Vec<Step>) {
        let (core, steps) = Core::new(Start {
            incarnation: folder.incarnation,
            on_disk: folder.epochs.clone(),
            settings: LeaseSettings::default(),
            at: now,
            guarded: env.plan.habits.have_hooks(),
            demotion_ms: env.plan.habits.hook_times().demotion_ms,
        });
        let process = Self {
            core,
            start: StartId(start),
            session: Session::new(env.plan.machines()),
            attached: Attached::default(),
            next_heartbeat: BootMs(0),
            report_due: false,
            refresh_at: BootMs(0),
            storing: None,
            wake_due: None,
            stop_by: None,
            stopped: false,
        };
        (process, steps)
    }

    pub(super) fn storing(&self) -> Option<&(u64, DurableEpochs)> {
        self.storing.as_ref()
    }
}

impl Agent {
    pub(super) fn now(&self, env: &Env) -> BootMs {
        BootMs(env.local_ms(self.node))
    }

    pub(super) fn perform(&mut self, steps: Vec<Step>, env: &mut Env) {
        for step in steps {
            let Some(process) = &mut self.process else { return };
            match step {
                Step::StoreEpochs { request, epochs } => {
                    process.storing = Some((request, epochs));
                    let longest = env.plan.sync_max_us;
                    let takes_us = env.chance(self.node).draw(longest / 10..=longest);
                    env.wake_at(env.now.after_us(takes_us), self.node, self.life, Timer::Stored(request));
                }
                Step::TellWarden { request, deadline } => self.tell_warden(request, deadline, env),
                Step::RunHook { group, epoch, kind, reason } => {
                    env.note(self.node, || {
                        format!("wants the {kind} hook of {group} epoch {epoch}: {reason}")
                    });
                    if env.plan.habits.have_hooks() {
                        self.ask_for_hook(group, epoch, kind, env);
                    } else if let Some(outcome) = self.begin_by_guard(&group, epoch, kind, env) {
                        let ended = Timer::HookEnded(group, epoch, kind, outcome);
                        env.wake_at(env.now, self.node, self.life, ended);
                    }
                }
                Step::KillHook { group, epoch } => {
                    self.ask_to_kill(&group, epoch, env);
                    self.interrupt_guard(&group, epoch, env);
                }
                Step::Report => process.report_due = true,
                Step::Resync => {
                    env.counts.add("agents/out-of-step");
                    self.session_over(None, env);
                }
                Step::Stopped => {
                    process.stopped = true;
                    process.report_due = true;
                }
            }
        }
    }

    pub(super) fn stored(&mut self, request: u64, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        let Some((_, epochs)) = process.storing.take_if(|(number, _)| *number == request) else { return };
        let is_guarded = epochs.guarded.keys().any(|held| !self.folder.epochs.guarded.contains_key(held));
        self.folder.epochs = epochs.clone();
        if is_guarded && let Some(how) = self.cut_short.take() {
            process.storing = Some((request, epochs));
            return self.is_cut_short(how, request, env);
        }
        let steps = process.core.epochs_stored(request, now);
        self.perform(steps, env);
    }

    /// What it has written is durable, and nothing has come of that yet.
    fn is_cut_short(&mut self, how: CutShort, request: u64, env: &mut Env) {
        env.counts.add(format!("fault/{}", Kind::AgentCutShort));
        match how {
            CutShort::Dies => drop(self.crash(env)),
            CutShort::StandsStill => {
                self.pause(env);
                self.standstill.pass(Reached::Timer(Timer::Stored(request)));
            }
        }
    }

    pub(super) fn hook_ended(
        &mut self,
        group: &GroupId,
        epoch: Epoch,
        kind: HookKind,
        outcome: HookOutcome,
        env: &mut Env,
    ) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        let steps = process.core.hook_finished(group, epoch, kind, outcome, now);
        self.perform(steps, env);
    }

    pub(super) fn warden_told(&mut self, request: u64, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        let steps = process.core.warden_told(request, now);
        self.perform(steps, env);
    }

    pub(super) fn service_ended(&mut self, group: &GroupId, epoch: Epoch, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        let steps = process.core.service_ended(group, epoch, &Proof::Killed, now);
        self.perform(steps, env);
    }

    pub(super) fn begin_stop(&mut self, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        process.report_due = true;
        let steps = process.core.stop("the agent is stopping", now);
        let limit_ms = env.plan.habits.hook_max_ms * 2 + process.core.settings().lease_ms + STOP_EXTRA_MS;
        process.stop_by.get_or_insert(now.after_ms(limit_ms));
        self.perform(steps, env);
    }

    pub(super) fn want_report(&mut self) {
        if let Some(process) = &mut self.process {
            process.report_due = true;
        }
    }

    /// The process ends once every role has, or when that takes too long.
    pub(super) fn exit_when_stopped(&mut self, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &self.process else { return };
        let late = process.stop_by.is_some_and(|by| by <= now);
        if !process.stopped && !late {
            return;
        }
        env.note(self.node, || if late { "gives up stopping in order" } else { "has stopped" }.to_owned());
        self.hang_up(env);
        self.leave_guards_alone(env);
        self.process = None;
        self.life += 1;
    }

    /// Wakes up when the core, the session or the next heartbeat wants it.
    pub(super) fn wake_in_time(&mut self, env: &mut Env) {
        let Some(process) = &mut self.process else { return };
        let heartbeat = process.session.is_welcomed().then_some(process.next_heartbeat);
        let refresh = process.session.is_welcomed().then_some(process.refresh_at);
        let session = (!self.folder.superseded).then(|| process.session.next_wake());
        let guards = process.attached.guards.next_wake();
        let wakes = [session, process.core.next_wake(), heartbeat, refresh, process.stop_by, guards];
        let Some(due) = wakes.into_iter().flatten().min() else { return };
        if process.wake_due.is_none_or(|known| due < known) {
            process.wake_due = Some(due);
            env.wake_when_shown(due.0, self.node, self.life, Timer::Wake);
        }
    }

    pub(super) fn woken(&mut self, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        if process.wake_due.is_some_and(|due| due <= now) {
            process.wake_due = None;
        }
        let steps = process.core.tick(now);
        self.perform(steps, env);
        self.tend_session(env);
    }
}
