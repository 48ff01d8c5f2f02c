//! What the driver has to do with guards.

use super::Driver;
use crate::guards::{GuardEvent, GuardRole};
use quorate_agent_core::{
    BootMs, HookKind, HookOutcome, RoleAnswer, Step,
    attached::{Beginner, Lost, NotTaken, Told},
};
use quorate_domain::{Epoch, GroupId, Revision};
use quorate_rpc::ApiError;

impl Driver {
    /// Takes in what a guard says.
    pub(super) fn guard(&mut self, event: GuardEvent, now: BootMs) {
        match event {
            GuardEvent::Attach { group, name, seat, roles, answer } => {
                let attached = self.may_be_guarded(&group, now).and_then(|()| {
                    tracing::info!(group.id = %group, guard = name, "a guard runs the group's service");
                    self.guards.attach(group.clone(), name, seat, roles).map_err(|why| match why {
                        NotTaken::Guarded(guard) => ApiError::Guarded { group, guard },
                        NotTaken::TooMany => ApiError::Overloaded,
                    })
                });
                // Whoever asked may have gone, which the end of its stream tells.
                let _ = answer.send(attached);
            }
            GuardEvent::Knows { group, number, epoch, deadline } => {
                self.guards.knows(&group, number, epoch, deadline);
            }
            GuardEvent::Stopped { group, number, epoch, reason, failed } => {
                if self.guards.stopped(&group, number, epoch) {
                    tracing::info!(group.id = %group, epoch = epoch.0, failed, reason, "the guard's service has stopped");
                    let steps = self.core.guard_stopped(&group, epoch, &reason, failed, now);
                    self.perform(steps);
                }
            }
            GuardEvent::Ready { group, number, epoch } => {
                let by = now.after_ms(super::millis(self.options.hooks.promote_limit));
                if self.guards.ready(&group, number, epoch, by) {
                    self.core.guard_starts(&group, epoch);
                }
            }
            GuardEvent::Started { group, number, epoch } => {
                if self.guards.started(&group, number, epoch) {
                    let outcome = HookOutcome::Succeeded;
                    let steps = self.core.hook_finished(&group, epoch, HookKind::Promote, outcome, now);
                    self.perform(steps);
                }
            }
            GuardEvent::NothingLeft { group, number, vouched } => {
                self.nothing_left(&group, number, vouched, now);
            }
            GuardEvent::Hindered { group, number, reason } => {
                if self.guards.speaker(&group, number).is_some() {
                    tracing::warn!(group.id = %group, reason, "what hinders the guard of the group");
                    self.core.guard_hindered(&group, &reason);
                    let lost = self.guards.hindered(&group, number, reason);
                    self.failed_starts(lost, now);
                }
            }
            GuardEvent::KeeperStopped { group, epoch, reason, secret, answer } => {
                // Whoever asked may have gone.
                let _ = answer.send(self.keeper_stopped(&group, epoch, &reason, &secret, now));
            }
            GuardEvent::Gone { group, number } => {
                let lost = self.guards.gone(&group, number);
                self.lost_guards(lost);
            }
        }
    }

    fn keeper_stopped(
        &mut self,
        group: &GroupId,
        epoch: Epoch,
        reason: &str,
        secret: &str,
        now: BootMs,
    ) -> Result<(), ApiError> {
        match self.core.is_kept_by(group, epoch, secret) {
            Some(true) => {}
            Some(false) => {
                tracing::warn!(group.id = %group, epoch = epoch.0, reason, "a stranger says that a guard's service has stopped");
                return Err(ApiError::NoKeeper { group: group.clone(), epoch });
            }
            // No guard was told of it, or it is over.
            None => return Ok(()),
        }
        tracing::info!(group.id = %group, epoch = epoch.0, reason, "the service of a guard that is gone has stopped");
        self.guards.stopped_without(group, epoch);
        let steps = self.core.guard_stopped(group, epoch, reason, true, now);
        self.perform(steps);
        Ok(())
    }

    fn nothing_left(&mut self, group: &GroupId, number: u64, vouched: bool, now: BootMs) {
        let Some((seat, told)) = self.guards.speaker(group, number) else { return };
        let awaited = self.core.awaits_guard(group);
        let steps = self.core.guards_left_nothing(group, Some(&seat).filter(|_| !vouched), told, now);
        self.perform(steps);
        if !awaited {
            return;
        }
        if self.core.awaits_guard(group) {
            tracing::warn!(group.id = %group, "the guard cannot see what an earlier one left: it runs as another user, or in another namespace");
        } else {
            tracing::info!(group.id = %group, vouched, "nothing is left of what an earlier guard ran");
        }
    }

    fn may_be_guarded(&mut self, group: &GroupId, now: BootMs) -> Result<(), ApiError> {
        if self.hooks.start_services() {
            return Err(ApiError::GuardBesideHooks { group: group.clone() });
        }
        if self.core.installed_revision() > Revision(0) && self.core.role(group, now).is_none() {
            return Err(ApiError::NotFound { what: "group", id: group.to_string() });
        }
        Ok(())
    }

    /// Tells every guard what has changed for it.
    pub(crate) fn tell_guards(&mut self) {
        let now = self.now();
        let late = self.guards.late(now);
        self.failed_starts(late, now);
        let silent = self.guards.silent(now);
        self.lost_guards(silent);
        for group in self.guards.groups() {
            let Some(seat) = self.guards.seat(&group).cloned() else { continue };
            let (role, steps) = self.core.tell_guard(&group, &seat, now);
            self.perform(steps);
            let lost = match role {
                Some(role) => self.tell_guard(&group, role),
                // Nothing is known of any group before a leader has said it.
                None if self.core.installed_revision() == Revision(0) => continue,
                None => self.refuse_guard(&group),
            };
            self.lost_guards(lost);
        }
    }

    /// Tells a guard, unless it knows; what it cannot be told ends its attachment.
    fn tell_guard(&mut self, group: &GroupId, role: RoleAnswer) -> Option<Lost> {
        let (disk, asks) = (self.core.disk(group).cloned(), self.guards.asks(group));
        let nothing_awaited = !self.core.awaits_guard(group);
        let told = Told { role: role.clone(), disk, asks, nothing_awaited };
        let way = self.guards.tell(group, told)?.clone();
        let (disk, instance) = (self.disk_of(group), self.identity.instance.clone());
        let is_told = way.try_send(Ok(GuardRole { role, disk, asks, instance, nothing_awaited })).is_ok();
        if is_told { None } else { self.guards.let_go(group) }
    }

    /// A group that the host does not know has no guard.
    fn refuse_guard(&mut self, group: &GroupId) -> Option<Lost> {
        let unknown = ApiError::NotFound { what: "group", id: group.to_string() };
        // One that does not read it is gone all the same.
        let _ = self.guards.way(group)?.try_send(Err(unknown));
        self.guards.let_go(group)
    }

    fn failed_starts(&mut self, failed: impl IntoIterator<Item = Lost>, now: BootMs) {
        for Lost { group, epoch, reason } in failed {
            tracing::warn!(group.id = %group, epoch = epoch.0, reason, "the start has failed");
            let steps = self.core.guard_start_failed(&group, epoch, &reason, now);
            self.perform(steps);
        }
    }

    fn lost_guards(&mut self, lost: impl IntoIterator<Item = Lost>) {
        for Lost { group, epoch, reason } in lost {
            let now = self.now();
            tracing::warn!(group.id = %group, epoch = epoch.0, reason, "nobody runs the group's service");
            let steps = self.core.guard_lost(&group, epoch, &reason, now);
            self.perform(steps);
        }
    }

    /// Runs a hook, or has the guard of the group start its service; gives back how it ended when it has already.
    pub(super) fn run_hook(
        &mut self,
        group: &GroupId,
        epoch: Epoch,
        kind: HookKind,
        reason: String,
    ) -> Option<HookOutcome> {
        if kind == HookKind::Promote {
            match self.guards.begin(group, epoch, self.now()) {
                Beginner::Guard => return None,
                Beginner::Nothing(why) => return Some(HookOutcome::Failed(why)),
                Beginner::Hooks => {}
            }
        }
        let disk = self.disk_of(group);
        self.hooks.run(group, epoch, kind, reason, disk)
    }

    /// Ends the start of an epoch that is over before it has begun.
    pub(super) fn kill_hook(&mut self, group: &GroupId, epoch: Epoch) -> Vec<Step> {
        self.hooks.kill(group, epoch);
        if !self.guards.interrupt(group, epoch) {
            return Vec::new();
        }
        let outcome = HookOutcome::Failed("it was interrupted".to_owned());
        self.core.hook_finished(group, epoch, HookKind::Promote, outcome, self.now())
    }
}
