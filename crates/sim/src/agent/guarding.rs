//! The agent's end of what is said between it and the guards of its host: what its driver does around the core.

use super::{
    Agent,
    guard::{GuardSays, Pid, SECRET, Way, Word},
};
use crate::{
    env::{Env, Timer},
    oracle::Fact,
};
use quorate_agent_core::{
    HookKind, HookOutcome, LocalRole, RoleAnswer, Seat,
    attached::{Beginner, Guards, Lost, Told},
};
use quorate_domain::{Epoch, GroupId, Revision};
use std::collections::BTreeMap;

/// How long a guard may take to start its service.
const PROMOTE_LIMIT_MS: u64 = 10_000;

/// What an agent knows of guards.
#[derive(Debug, Default)]
pub(super) struct Attached {
    pub(super) guards: Guards<(Pid, Way)>,
    /// The attachment of each way.
    numbers: BTreeMap<Way, (GroupId, u64)>,
}

impl Agent {
    /// A guard wants to attach.
    pub(super) fn guard_attaches(&mut self, group: &GroupId, pid: Pid, way: Way, seat: Seat, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        if process.core.installed_revision() > Revision(0) && process.core.role(group, now).is_none() {
            return self.send_guard(group, pid, Word::Refused(way), env);
        }
        let before = process.attached.guards.way(group).copied();
        let taken = process.attached.guards.attach(group.clone(), format!("process {pid}"), seat, (pid, way));
        let answer = match taken {
            Err(_) => {
                env.counts.add("guards/refused-beside-another");
                Word::Refused(way)
            }
            Ok(number) => {
                process.attached.numbers.insert(way, (group.clone(), number));
                if let Some((pid, way)) = before {
                    process.attached.numbers.remove(&way);
                    env.counts.add("guards/in-the-place-of-one-that-stands-still");
                    self.send_guard(group, pid, Word::Closed(way), env);
                }
                Word::Taken(way)
            }
        };
        self.send_guard(group, pid, answer, env);
    }

    /// A guard's way is closed.
    pub(super) fn guard_gone(&mut self, way: Way, env: &mut Env) {
        let Some(process) = &mut self.process else { return };
        let Some((group, number)) = process.attached.numbers.remove(&way) else { return };
        let lost = process.attached.guards.gone(&group, number);
        self.lost_guards(lost, env);
    }

    /// A guard says something.
    pub(super) fn guard_said(&mut self, way: Way, says: GuardSays, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        let Some((group, number)) = process.attached.numbers.get(&way).cloned() else { return };
        let (core, guards) = (&mut process.core, &mut process.attached.guards);
        let steps = match says {
            GuardSays::Knows(epoch, deadline) => return guards.knows(&group, number, epoch, deadline),
            GuardSays::Stopped { epoch, failed } if guards.stopped(&group, number, epoch) => {
                core.guard_stopped(&group, epoch, "its guard says so", failed, now)
            }
            GuardSays::Ready(epoch)
                if guards.ready(&group, number, epoch, now.after_ms(PROMOTE_LIMIT_MS)) =>
            {
                return core.guard_starts(&group, epoch);
            }
            GuardSays::Started(epoch) if guards.started(&group, number, epoch) => {
                env.counts.add("guards/epochs-begun");
                core.hook_finished(&group, epoch, HookKind::Promote, HookOutcome::Succeeded, now)
            }
            GuardSays::Stopped { .. } | GuardSays::Ready(_) | GuardSays::Started(_) => return,
            GuardSays::Hindered(why) => {
                core.guard_hindered(&group, &why);
                if let Some(failed) = guards.hindered(&group, number, why) {
                    env.counts.add("guards/hindered-as-they-begin");
                    self.start_has_failed(failed, env);
                }
                return;
            }
            GuardSays::NothingLeft { vouched } => {
                let Some((seat, told)) = guards.speaker(&group, number) else { return };
                let awaited = core.awaits_guard(&group);
                let steps = core.guards_left_nothing(&group, Some(&seat).filter(|_| !vouched), told, now);
                if awaited {
                    let settled = !core.awaits_guard(&group);
                    env.counts.add(if settled { "guards/settled" } else { "guards/cannot-see" });
                }
                steps
            }
        };
        self.perform(steps, env);
    }

    /// A keeper that outlived its guard has ended the service.
    pub(super) fn keeper_stopped(&mut self, group: &GroupId, epoch: Epoch, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        if process.core.is_kept_by(group, epoch, SECRET) != Some(true) {
            return env.counts.add("guards/last-words-of-what-is-over");
        }
        process.attached.guards.stopped_without(group, epoch);
        let steps = process.core.guard_stopped(group, epoch, "its keeper has ended it", true, now);
        self.perform(steps, env);
    }

    /// Tells every guard what has changed for it.
    pub(super) fn tell_guards(&mut self, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        for late in process.attached.guards.late(now) {
            env.counts.add("guards/late");
            self.start_has_failed(late, env);
        }
        let Some(process) = &mut self.process else { return };
        let silent = process.attached.guards.silent(now);
        env.counts.add_many("guards/silent", silent.len() as u64);
        self.lost_guards(silent, env);
        let Some(process) = &self.process else { return };
        for group in process.attached.guards.groups() {
            self.tell_guard_of(&group, env);
        }
    }

    fn tell_guard_of(&mut self, group: &GroupId, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        let Some(seat) = process.attached.guards.seat(group).cloned() else { return };
        let (role, steps) = process.core.tell_guard(group, &seat, now);
        let is_unknown = role.is_none() && process.core.installed_revision() > Revision(0);
        self.perform(steps, env);
        if let Some(role) = role {
            self.tell_guard_role(group, role, env);
        } else if is_unknown
            && let Some(process) = &mut self.process
            && let Some((pid, way)) = process.attached.guards.way(group).copied()
        {
            process.attached.numbers.remove(&way);
            let lost = process.attached.guards.let_go(group);
            self.send_guard(group, pid, Word::Refused(way), env);
            self.lost_guards(lost, env);
        }
    }

    fn tell_guard_role(&mut self, group: &GroupId, role: RoleAnswer, env: &mut Env) {
        let Some(process) = &mut self.process else { return };
        let disk = process.core.disk(group).cloned();
        let asks = process.attached.guards.asks(group);
        let nothing_awaited = !process.core.awaits_guard(group);
        let told = Told { role, disk, asks, nothing_awaited };
        let Some((pid, way)) = process.attached.guards.tell(group, told.clone()).copied() else { return };
        if told.role.role == LocalRole::Primary {
            let held = (group.clone(), told.role.epoch);
            let recorded = self.folder.epochs.guarded.contains_key(&held);
            env.see(&Fact::GuardTold { machine: self.node, group, epoch: told.role.epoch, recorded });
        }
        self.send_guard(group, pid, Word::Told(way, Box::new(told)), env);
    }

    fn start_has_failed(&mut self, Lost { group, epoch, reason }: Lost, env: &mut Env) {
        let now = self.now(env);
        let Some(process) = &mut self.process else { return };
        let steps = process.core.guard_start_failed(&group, epoch, &reason, now);
        self.perform(steps, env);
    }

    fn lost_guards(&mut self, lost: impl IntoIterator<Item = Lost>, env: &mut Env) {
        let now = self.now(env);
        for Lost { group, epoch, reason } in lost {
            env.counts.add("guards/lost");
            env.note(self.node, || format!("nobody runs the service of {group} epoch {epoch}: {reason}"));
            let Some(process) = &mut self.process else { return };
            let steps = process.core.guard_lost(&group, epoch, &reason, now);
            self.perform(steps, env);
        }
    }

    /// The guard of a group is to start its service, if there is one; how that ended when it has already.
    pub(super) fn begin_by_guard(
        &mut self,
        group: &GroupId,
        epoch: Epoch,
        kind: HookKind,
        env: &mut Env,
    ) -> Option<HookOutcome> {
        let now = self.now(env);
        let process = self.process.as_mut()?;
        if kind == HookKind::Promote {
            match process.attached.guards.begin(group, epoch, now) {
                Beginner::Guard => return None,
                Beginner::Nothing(why) => {
                    env.counts.add("guards/none-can-begin");
                    return Some(HookOutcome::Failed(why));
                }
                Beginner::Hooks => {}
            }
        }
        Some(HookOutcome::NotConfigured)
    }

    /// The start of an epoch by a guard is over before it has begun.
    pub(super) fn interrupt_guard(&mut self, group: &GroupId, epoch: Epoch, env: &mut Env) {
        let Some(process) = &mut self.process else { return };
        if process.attached.guards.interrupt(group, epoch) {
            let outcome = HookOutcome::Failed("it was interrupted".to_owned());
            let ended = Timer::HookEnded(group.clone(), epoch, HookKind::Promote, outcome);
            env.wake_at(env.now, self.node, self.life, ended);
        }
    }
}
