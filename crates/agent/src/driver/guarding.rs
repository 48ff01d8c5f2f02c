//! What the driver has to do with guards.

use super::Driver;
use crate::guards::{GuardEvent, GuardRole, Lost};
use quorate_agent_core::{BootMs, HookKind, HookOutcome};
use quorate_domain::{GroupId, Revision};
use quorate_rpc::ApiError;

impl Driver {
    /// Takes in what a guard says.
    pub(super) fn guard(&mut self, event: GuardEvent, now: BootMs) {
        match event {
            GuardEvent::Attach { group, name, roles, answer } => {
                let attached = self.may_be_guarded(&group, now).and_then(|()| {
                    tracing::info!(group.id = %group, guard = name, "a guard runs the group's service");
                    self.guards.attach(group, name, roles)
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
            GuardEvent::Gone { group, number } => {
                let lost = self.guards.gone(&group, number);
                self.lost_guards(lost);
            }
        }
    }

    fn may_be_guarded(&mut self, group: &GroupId, now: BootMs) -> Result<(), ApiError> {
        if self.hooks.have_a_warden() {
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
        let silent = self.guards.silent(now);
        self.lost_guards(silent);
        for group in self.guards.groups() {
            let told = match self.core.tell_guard(&group, now) {
                Some(role) => Ok(GuardRole { role, disk: self.disk_of(&group) }),
                // Nothing is known of any group before a leader has said it.
                None if self.core.installed_revision() == Revision(0) => continue,
                None => Err(ApiError::NotFound { what: "group", id: group.to_string() }),
            };
            let lost = self.guards.tell(&group, told);
            self.lost_guards(lost);
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

    /// Why nothing can be started for a group whose service guards run; none where it can.
    pub(super) fn without_guard(&self, group: &GroupId, kind: HookKind) -> Option<HookOutcome> {
        let missing = kind == HookKind::Promote && self.guards.is_missing(group);
        missing.then(|| {
            HookOutcome::Failed(format!(
                "its service is run by a guard and none is attached; start `quorate guard {group}` again"
            ))
        })
    }
}
