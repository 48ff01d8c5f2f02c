//! Guards: processes on this host that run a group's service under its lease. Each ends it by itself at the deadline that
//! it was told, and an epoch whose guard may run its service is not over.

use super::Core;
use crate::{role::RoleAnswer, step::Step, tenure::Tenure, time::BootMs};
use quorate_domain::{Epoch, GroupId};

impl Core {
    /// What the host is to a group, for its guard: until the deadline that it is told, or its own word, the epoch is not
    /// over. None for a group that the host does not know.
    pub fn tell_guard(&mut self, group: &GroupId, now: BootMs) -> Option<RoleAnswer> {
        self.tell(group, now, Tenure::tell_guard)
    }

    /// Nothing is left of the service that the guard ran under the epoch, which is over by that, if it was not before.
    /// `failed` when nobody had asked the service to end: another host is to be tried then.
    pub fn guard_stopped(
        &mut self,
        group: &GroupId,
        epoch: Epoch,
        reason: &str,
        failed: bool,
        now: BootMs,
    ) -> Vec<Step> {
        self.end_guarded(group, epoch, reason, failed, now);
        if let Some(tenure) = self.tenure_mut(group, epoch) {
            tenure.guard_stopped();
        }
        self.reconcile(now)
    }

    /// The guard is not there any more and has said nothing of its service, which ends at the last deadline that it was
    /// told: nobody serves under the epoch.
    pub fn guard_lost(&mut self, group: &GroupId, epoch: Epoch, reason: &str, now: BootMs) -> Vec<Step> {
        self.end_guarded(group, epoch, reason, true, now);
        self.reconcile(now)
    }

    fn end_guarded(&mut self, group: &GroupId, epoch: Epoch, reason: &str, failed: bool, now: BootMs) {
        self.judge(now);
        let promised = self.lease.promised();
        let Some(tenure) = self.tenure_mut(group, epoch).filter(|tenure| tenure.live()) else { return };
        tenure.start_failed = failed;
        if tenure.end(reason.to_owned(), promised) {
            self.steps.push(Step::KillHook { group: group.clone(), epoch });
        }
        self.ledger.ended(group, epoch);
    }
}
