//! What guards do in it: they are told, lost, and give their word; and what an end may rest on then.

use super::{GROUPS, World};
use proptest::prelude::*;
use quorate_agent_core::{HookKind, LocalRole, Seat};
use quorate_domain::{Epoch, GroupId};

/// What happens to the guard of a group.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Guarding {
    /// One that sits there is attached: from then on it is told whatever there is to tell.
    Attached(u32),
    /// It is there for an epoch whose start waits.
    Ready,
    /// It has not begun the service in its time.
    StartFailed,
    /// It is detached, or stands still.
    Lost,
    /// Nothing is left of the service, by its word or its keeper's last; unasked, or not.
    Stopped(bool),
    /// Nothing is left of what others ran, as seen from there; but for the epoch that it was told of, or not.
    NothingLeft(u32, bool),
    /// An operator vouches for that.
    Vouched,
}

pub(crate) fn guarding() -> impl Strategy<Value = (usize, Guarding)> {
    let what = prop_oneof![
        5 => prop_oneof![9 => Just(7), 1 => Just(8)].prop_map(Guarding::Attached),
        3 => Just(Guarding::Ready),
        1 => Just(Guarding::StartFailed),
        1 => Just(Guarding::Lost),
        2 => any::<bool>().prop_map(Guarding::Stopped),
        2 => (7..9_u32, any::<bool>()).prop_map(|(uid, except)| Guarding::NothingLeft(uid, except)),
        1 => Just(Guarding::Vouched),
    ];
    (0..GROUPS.len(), what)
}

fn seat(uid: u32) -> Seat {
    Seat { uid, pid_namespace: "p".to_owned(), user_namespace: "u".to_owned(), ..Seat::default() }
}

impl World {
    pub(crate) fn guarding(&mut self, which: usize, what: Guarding) {
        let group = GroupId::new(GROUPS[which]).unwrap();
        if self.guarded {
            // An agent with a warden takes no guard.
            return;
        }
        self.judge();
        match what {
            Guarding::Attached(uid) => self.attach(&group, uid),
            Guarding::Ready => {
                if let Some(epoch) = self.begins(&group) {
                    self.core.guard_starts(&group, epoch);
                }
            }
            Guarding::StartFailed => self.guard_start_failed(&group),
            Guarding::Lost => {
                self.attached.remove(&group);
                self.guard_lost(&group);
            }
            Guarding::Stopped(failed) => self.guard_stopped(&group, failed),
            Guarding::NothingLeft(uid, except) => {
                let told = self.newest(&group).filter(|_| except);
                self.guards_left_nothing(&group, Some(&seat(uid)), told);
            }
            Guarding::Vouched => self.guards_left_nothing(&group, None, None),
        }
    }

    fn newest(&self, group: &GroupId) -> Option<Epoch> {
        self.core.report().iter().rev().find(|report| report.group == *group).map(|report| report.epoch)
    }

    /// The epoch whose start waits for somebody.
    fn begins(&self, group: &GroupId) -> Option<Epoch> {
        let begins = self.hooks.iter().find(|(of, _, kind)| of == group && *kind == HookKind::Promote);
        begins.map(|(_, epoch, _)| *epoch)
    }

    /// Another guard is attached only when the one before is gone, which ends its epoch.
    fn attach(&mut self, group: &GroupId, uid: u32) {
        if self.attached.insert(group.clone(), uid).is_some() {
            self.guard_lost(group);
        }
    }

    /// Every guard is told what has changed for it, after whatever has happened.
    pub(crate) fn tell_guards(&mut self) {
        for (group, uid) in self.attached.clone() {
            self.judge();
            self.tell_guard(&group, uid);
        }
    }

    fn tell_guard(&mut self, group: &GroupId, uid: u32) {
        let (answer, steps) = self.core.tell_guard(group, &seat(uid), self.now());
        self.perform(steps);
        let Some(answer) = answer.filter(|answer| answer.role == LocalRole::Primary) else { return };
        let key = (group.clone(), answer.epoch);
        self.guards_told += 1;
        self.may_begin(group, answer.epoch);
        assert_eq!(self.disk.guarded.get(&key), Some(&seat(uid)), "a restart would not know of the guard");
        self.guarded_until.insert(key.clone(), answer.lease_deadline.0);
        self.awaited.insert(key, seat(uid));
    }

    fn guard_start_failed(&mut self, group: &GroupId) {
        let Some(epoch) = self.begins(group) else { return };
        self.hooks.retain(|(of, under, _)| (of, *under) != (group, epoch));
        self.ended.insert((group.clone(), epoch));
        let steps = self.core.guard_start_failed(group, epoch, "too late", self.now());
        self.perform(steps);
    }

    fn guard_lost(&mut self, group: &GroupId) {
        let Some(epoch) = self.newest(group) else { return };
        self.ended.insert((group.clone(), epoch));
        let steps = self.core.guard_lost(group, epoch, "it is gone", self.now());
        self.perform(steps);
    }

    fn guard_stopped(&mut self, group: &GroupId, failed: bool) {
        let Some(epoch) = self.newest(group) else { return };
        let key = (group.clone(), epoch);
        self.guards_settled += usize::from(self.awaited.remove(&key).is_some());
        self.guarded_until.remove(&key);
        self.ended.insert(key);
        let steps = self.core.guard_stopped(group, epoch, "it ended", failed, self.now());
        self.perform(steps);
    }

    fn guards_left_nothing(&mut self, group: &GroupId, seat: Option<&Seat>, except: Option<Epoch>) {
        let before = self.awaited.len();
        self.awaited.retain(|(of, epoch), theirs| {
            let is_seen = seat.is_none_or(|seat| seat.sees(theirs));
            of != group || Some(*epoch) == except || !is_seen
        });
        self.guards_settled += before - self.awaited.len();
        let steps = self.core.guards_left_nothing(group, seat, except, self.now());
        self.perform(steps);
    }

    /// An epoch that a guard was told of is over only by its word, by somebody's who knows, or because a demote hook has ended
    /// whatever ran; the warden has only where no guard was awaited then.
    pub(crate) fn check_end_under_guard(&self, key: &(GroupId, Epoch)) {
        if self.demoted.contains(key) {
            return;
        }
        let until = self.guarded_until.get(key).copied().unwrap_or(0);
        assert!(until <= self.now, "ENDED of {key:?} at {} though a guard was told {until}", self.now);
        let is_settled = !self.awaited.contains_key(key) || self.was_proven.contains(key);
        assert!(is_settled, "ENDED of {key:?} though nobody has said what became of its guard's service");
    }
}
