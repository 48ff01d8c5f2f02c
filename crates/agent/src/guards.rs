//! Guards that are attached: processes on this host, each of which runs one group's service under its lease. They are told
//! what the host is to the group whenever that changes; each ends its service by itself at the deadline that it was told
//! last, so that nothing here is waited for any longer.

use quorate_agent_core::{BootMs, LocalRole, RoleAnswer};
use quorate_domain::{Epoch, GroupId};
use quorate_rpc::ApiError;
use quorate_warden::protocol::Disk;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::{mpsc, oneshot};

/// The most guards of one host.
pub(crate) const GUARDS_MAX: usize = 1_000;
/// The most roles that wait for a guard: it reads them as they come, or has stood still for as many renewals.
pub(crate) const ROLES_MAX: usize = 64;

/// What a guard is told, or why it is told nothing any more.
pub(crate) type Told = Result<GuardRole, ApiError>;

/// What the host is to a group, as its guard is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuardRole {
    pub(crate) role: RoleAnswer,
    /// Of the group's member on this host, where it is known.
    pub(crate) disk: Option<Disk>,
}

/// What the service for local processes tells of a guard.
#[derive(Debug)]
pub(crate) enum GuardEvent {
    /// One wants to be the guard of a group; the answer is the number of its attachment.
    Attach {
        group: GroupId,
        /// For people.
        name: String,
        roles: mpsc::Sender<Told>,
        answer: oneshot::Sender<Result<u64, ApiError>>,
    },
    /// It knows the deadline.
    Knows { group: GroupId, number: u64, epoch: Epoch, deadline: BootMs },
    /// Nothing is left of its service.
    Stopped { group: GroupId, number: u64, epoch: Epoch, reason: String, failed: bool },
    /// It is gone.
    Gone { group: GroupId, number: u64 },
}

/// One that is attached.
#[derive(Debug)]
struct Guard {
    number: u64,
    name: String,
    roles: mpsc::Sender<Told>,
    /// What it was told last.
    last: Option<GuardRole>,
    /// The epoch that it may run its service under, and the last deadline that it is known to have taken in.
    runs: Option<(Epoch, BootMs)>,
}

/// All that are attached.
#[derive(Debug, Default)]
pub(crate) struct Guards {
    attached: BTreeMap<GroupId, Guard>,
    /// Groups that have had one since the agent started.
    known: BTreeSet<GroupId>,
    numbers: u64,
}

/// An epoch that nobody serves any more, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) group: GroupId,
    pub(crate) epoch: Epoch,
    pub(crate) reason: String,
}

impl Guards {
    /// Takes one in; the number of its attachment.
    pub(crate) fn attach(
        &mut self,
        group: GroupId,
        name: String,
        roles: mpsc::Sender<Told>,
    ) -> Result<u64, ApiError> {
        if let Some(guard) = self.attached.get(&group) {
            return Err(ApiError::Guarded { group, guard: guard.name.clone() });
        }
        let is_new = !self.known.contains(&group);
        if self.attached.len() >= GUARDS_MAX || (is_new && self.known.len() >= GUARDS_MAX) {
            return Err(ApiError::Overloaded);
        }
        self.numbers += 1;
        self.known.insert(group.clone());
        let guard = Guard { number: self.numbers, name, roles, last: None, runs: None };
        self.attached.insert(group, guard);
        Ok(self.numbers)
    }

    /// True for a group whose service guards run, and that has none now: nothing would start it.
    pub(crate) fn is_missing(&self, group: &GroupId) -> bool {
        self.known.contains(group) && !self.attached.contains_key(group)
    }

    /// Every group with a guard.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.attached.keys().cloned().collect()
    }

    fn get(&mut self, group: &GroupId, number: u64) -> Option<&mut Guard> {
        self.attached.get_mut(group).filter(|guard| guard.number == number)
    }

    /// It has taken a deadline in.
    pub(crate) fn knows(&mut self, group: &GroupId, number: u64, epoch: Epoch, deadline: BootMs) {
        if let Some(guard) = self.get(group, number)
            && let Some((running, known)) = &mut guard.runs
            && *running == epoch
        {
            *known = deadline.max(*known);
        }
    }

    /// Nothing is left of its service under the epoch. True when that is its word to give.
    pub(crate) fn stopped(&mut self, group: &GroupId, number: u64, epoch: Epoch) -> bool {
        let Some(guard) = self.get(group, number) else { return false };
        guard.runs.take_if(|(running, _)| *running == epoch).is_some()
    }

    /// It is gone; the epoch that its service ran under.
    pub(crate) fn gone(&mut self, group: &GroupId, number: u64) -> Option<Lost> {
        self.get(group, number)?;
        self.remove(group, "is gone")
    }

    fn remove(&mut self, group: &GroupId, what: &str) -> Option<Lost> {
        let guard = self.attached.remove(group)?;
        let (epoch, _) = guard.runs?;
        Some(Lost { group: group.clone(), epoch, reason: format!("its guard ({}) {what}", guard.name) })
    }

    /// Tells a guard what the host is to its group, unless it knows; what it cannot be told ends its attachment.
    pub(crate) fn tell(&mut self, group: &GroupId, role: Told) -> Option<Lost> {
        let guard = self.attached.get_mut(group)?;
        if role.as_ref().ok() == guard.last.as_ref() && guard.last.is_some() {
            return None;
        }
        guard.last = role.as_ref().ok().cloned();
        let is_refusal = role.is_err();
        let begins =
            guard.last.as_ref().map(|told| &told.role).filter(|role| role.role == LocalRole::Primary);
        if let Some(role) = begins
            && guard.runs.is_none_or(|(epoch, _)| epoch != role.epoch)
        {
            // It may act on what it is about to be told, whether it says so or not.
            guard.runs = Some((role.epoch, role.lease_deadline));
        }
        let sent = guard.roles.try_send(role).is_ok();
        if sent && !is_refusal {
            return None;
        }
        self.remove(group, "does not read what it is told")
    }

    /// The guards that have taken in no deadline for so long that the last one has passed: each has ended its service.
    pub(crate) fn silent(&mut self, now: BootMs) -> Vec<Lost> {
        let silent = self.attached.iter_mut().filter_map(|(group, guard)| {
            let (epoch, _) = guard.runs.take_if(|(_, known)| now >= *known)?;
            let reason = format!("its guard ({}) did not answer for a whole lease", guard.name);
            Some(Lost { group: group.clone(), epoch, reason })
        });
        silent.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group() -> GroupId {
        GroupId::new("g").unwrap()
    }

    fn role(role: LocalRole, epoch: u64, deadline: u64) -> GuardRole {
        let role = RoleAnswer {
            group: group(),
            role,
            epoch: Epoch(epoch),
            write_deadline: BootMs(deadline.saturating_sub(10)),
            lease_deadline: BootMs(deadline),
            reason: "r".to_owned(),
        };
        GuardRole { role, disk: None }
    }

    fn attached() -> (Guards, mpsc::Receiver<Told>) {
        let (roles, told) = mpsc::channel(2);
        let mut guards = Guards::default();
        assert_eq!(guards.attach(group(), "process 7".into(), roles), Ok(1));
        (guards, told)
    }

    #[test]
    fn a_second_guard_is_refused_by_the_name_of_the_first() {
        let (mut guards, _told) = attached();
        let refused = guards.attach(group(), "process 8".into(), mpsc::channel(1).0).unwrap_err();
        assert_eq!(refused, ApiError::Guarded { group: group(), guard: "process 7".into() });
        assert_eq!(guards.gone(&group(), 2), None, "not its word");
        assert!(!guards.is_missing(&group()));
        assert_eq!(guards.gone(&group(), 1), None, "it ran nothing");
        assert!(guards.is_missing(&group()));
        assert_eq!(guards.attach(group(), "process 8".into(), mpsc::channel(1).0), Ok(2));
    }

    #[test]
    fn it_is_told_what_is_new_and_its_epoch_is_lost_with_it() {
        let (mut guards, mut told) = attached();
        for _ in 0..3 {
            assert_eq!(guards.tell(&group(), Ok(role(LocalRole::Primary, 5, 100))), None);
        }
        told.try_recv().unwrap().unwrap();
        told.try_recv().unwrap_err();
        let lost = guards.gone(&group(), 1).unwrap();
        assert_eq!((lost.epoch, lost.reason.as_str()), (Epoch(5), "its guard (process 7) is gone"));
    }

    #[test]
    fn one_that_said_that_its_service_has_stopped_loses_nothing() {
        let (mut guards, _told) = attached();
        guards.tell(&group(), Ok(role(LocalRole::Primary, 5, 100)));
        assert!(!guards.stopped(&group(), 1, Epoch(4)) && !guards.stopped(&group(), 9, Epoch(5)));
        assert!(guards.stopped(&group(), 1, Epoch(5)));
        assert_eq!(guards.gone(&group(), 1), None);
    }

    #[test]
    fn one_that_does_not_read_is_lost() {
        let (mut guards, _told) = attached();
        assert_eq!(guards.tell(&group(), Ok(role(LocalRole::Primary, 5, 100))), None);
        assert_eq!(guards.tell(&group(), Ok(role(LocalRole::Primary, 5, 200))), None);
        let lost = guards.tell(&group(), Ok(role(LocalRole::Primary, 5, 300))).unwrap();
        assert!(lost.reason.contains("does not read"), "{lost:?}");
    }

    #[test]
    fn one_that_takes_no_deadline_in_is_silent_when_the_last_has_passed() {
        let (mut guards, _told) = attached();
        guards.tell(&group(), Ok(role(LocalRole::Primary, 5, 100)));
        guards.knows(&group(), 1, Epoch(5), BootMs(200));
        guards.knows(&group(), 1, Epoch(4), BootMs(900));
        guards.knows(&group(), 1, Epoch(5), BootMs(150));
        assert_eq!(guards.silent(BootMs(199)), []);
        assert_eq!(guards.silent(BootMs(200)).len(), 1);
        assert_eq!(guards.silent(BootMs(300)), [], "said once");
    }

    #[test]
    fn a_group_that_is_not_known_any_more_has_no_guard() {
        let (mut guards, mut told) = attached();
        let unknown = || Err(ApiError::NotFound { what: "group", id: "g".into() });
        assert_eq!(guards.tell(&group(), unknown()), None);
        told.try_recv().unwrap().unwrap_err();
        assert_eq!(guards.groups(), []);
    }
}
