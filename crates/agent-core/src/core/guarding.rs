//! Guards: processes on this host that run a group's service under its lease. Each ends it by itself at the deadline that
//! it was told, and an epoch is not over before it is known that nothing is left of what its guard ran: a guard that gives
//! no word, such as one that stands still, proves nothing.

use super::{Core, Slot};
use crate::{
    role::{LocalRole, RoleAnswer},
    seat::Seat,
    step::{HookKind, HookOutcome, Step},
    tenure::Stage,
    time::BootMs,
};
#[cfg(planted)]
use quorate_domain::planted::{self, Bug};
use quorate_domain::{Epoch, GroupId};

impl Core {
    /// A guard of the group is there and takes the start of an epoch on: from here on it may be told of it.
    pub fn guard_starts(&mut self, group: &GroupId, epoch: Epoch) {
        if let Some(tenure) = self.tenure_mut(group, epoch) {
            tenure.by_guard = true;
        }
    }

    /// What the host is to a group, for its guard: until its own word the epoch is not over. None for a group that the host
    /// does not know. Before the guard is told of an epoch it is on disk that it was: the steps ask for that.
    pub fn tell_guard(
        &mut self,
        group: &GroupId,
        seat: &Seat,
        now: BootMs,
    ) -> (Option<RoleAnswer>, Vec<Step>) {
        let Some(mut answer) = self.role(group, now) else { return (None, Vec::new()) };
        if self.may_start_by_guard(group, now) {
            answer = self.primary(answer);
        }
        if answer.role != LocalRole::Primary {
            return (Some(answer), Vec::new());
        }
        let epoch = answer.epoch;
        let is_stored = self.ledger.guards(group, epoch, seat);
        #[cfg(planted)]
        let is_stored = is_stored || planted::is(Bug::GuardToldBeforeDisk);
        if !is_stored {
            let reason = format!("that a guard runs epoch {epoch} is not on disk yet");
            let (role, none) = (LocalRole::Fenced, BootMs(0));
            let fenced = RoleAnswer { role, write_deadline: none, lease_deadline: none, reason, ..answer };
            return (Some(fenced), self.reconcile(now));
        }
        if let Some(tenure) = self.tenure_mut(group, epoch) {
            tenure.tell_guard(answer.lease_deadline);
        }
        (Some(answer), Vec::new())
    }

    /// True while a guard may begin the service of an epoch under which nobody acts yet.
    fn may_start_by_guard(&self, group: &GroupId, now: BootMs) -> bool {
        let tenure = self.slots.get(group).and_then(|slot| slot.tenure.as_ref());
        tenure.is_some_and(|tenure| {
            tenure.by_guard
                && tenure.stage == Stage::Promoting
                && self.lease.covers(now)
                && self.ledger.allows(group, tenure.epoch)
                && self.stopping.is_none()
                && self.mandate(group, tenure.epoch).is_ok()
        })
    }

    /// Nothing is left on this host of what guards of the group ran, but for the epoch that the one which says so was told of.
    /// It sits somewhere, and speaks for what can be seen from there; for all, when an operator vouches for it.
    pub fn guards_left_nothing(
        &mut self,
        group: &GroupId,
        seat: Option<&Seat>,
        except: Option<Epoch>,
        now: BootMs,
    ) -> Vec<Step> {
        self.judge(now);
        for tenure in self.slots.get_mut(group).into_iter().flat_map(Slot::all) {
            let theirs = self.ledger.seat(group, tenure.epoch);
            let is_seen = seat.is_none_or(|seat| theirs.is_none_or(|theirs| seat.sees(theirs)));
            if Some(tenure.epoch) != except && is_seen {
                tenure.guard_left_nothing();
            }
        }
        self.reconcile(now)
    }

    /// True while it is not known that nothing is left of what guards of the group ran under epochs that have ended.
    pub fn awaits_guard(&self, group: &GroupId) -> bool {
        self.slots.get(group).is_some_and(|slot| {
            let mut all = slot.past.iter().chain(&slot.tenure);
            all.any(|tenure| tenure.awaits_guard() && !tenure.live() && !tenure.over())
        })
    }

    /// The guard of the group cannot say that nothing is left of what earlier ones ran, and why.
    pub fn guard_hindered(&mut self, group: &GroupId, hindrance: &str) {
        for tenure in self.slots.get_mut(group).into_iter().flat_map(Slot::all) {
            tenure.guard_hindered(hindrance);
        }
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

    /// True for what knows the secret of the guard that was told of the epoch. None when no guard was, or the epoch is over.
    pub fn is_kept_by(&self, group: &GroupId, epoch: Epoch, secret: &str) -> Option<bool> {
        self.ledger.seat(group, epoch).map(|seat| seat.is_kept_by(secret))
    }

    /// The guard is not there any more, or stands still, and has said nothing of its service. Nobody serves under the epoch,
    /// which is over once it is known that nothing is left.
    pub fn guard_lost(&mut self, group: &GroupId, epoch: Epoch, reason: &str, now: BootMs) -> Vec<Step> {
        self.end_guarded(group, epoch, reason, true, now);
        self.reconcile(now)
    }

    /// The guard has not begun the service of an epoch in its time.
    pub fn guard_start_failed(
        &mut self,
        group: &GroupId,
        epoch: Epoch,
        reason: &str,
        now: BootMs,
    ) -> Vec<Step> {
        self.judge(now);
        let promised = self.lease.promised();
        if let Some(tenure) = self.tenure_mut(group, epoch).filter(|tenure| tenure.stage == Stage::Promoting)
        {
            tenure.start_failed = true;
            tenure.end(reason.to_owned(), promised);
            let ended = HookOutcome::Failed(String::new());
            tenure.hook_finished(HookKind::Promote, ended, promised, now);
            self.ledger.ended(group, epoch);
        }
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
