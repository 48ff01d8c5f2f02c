//! What the core says of itself: roles at an instant, and the report.

use super::Core;
use crate::{
    report::GroupReport,
    role::{LocalRole, RoleAnswer},
    tenure::{Stage, Tenure},
    time::BootMs,
};
use quorate_domain::{DiskName, GroupId, GroupState, Role, ServiceMode};
use std::collections::BTreeSet;

impl Core {
    /// What the host as a whole may do at `now`. Only a renewal, which a quorum has confirmed together with the assignment
    /// that is installed here, makes it normal again.
    pub fn service_mode(&self, now: BootMs) -> ServiceMode {
        if self.lease.covers(now) {
            ServiceMode::Normal
        } else if self.quorum.say_none() {
            ServiceMode::Safe
        } else {
            ServiceMode::ReadOnly
        }
    }

    /// Why, in words.
    pub fn service_mode_reason(&self, now: BootMs) -> String {
        match self.service_mode(now) {
            ServiceMode::Normal => {
                format!("a quorum renewed the lease: writes stop at {}", self.lease.write_deadline())
            }
            ServiceMode::ReadOnly if self.lease.write_deadline() == BootMs(0) => {
                "no quorum has granted a lease since the agent started".to_owned()
            }
            ServiceMode::ReadOnly => self.lapsed(),
            ServiceMode::Safe => self.safe(),
        }
    }

    fn safe(&self) -> String {
        format!(
            "nothing may be served, reads neither: the lease is over and the coordinators have no quorum, say {}",
            self.quorum.who_lack()
        )
    }

    /// The disk of the group's member on this host, while the assignment has one.
    pub fn disk(&self, group: &GroupId) -> Option<&DiskName> {
        self.installed.entry(group).map(|entry| &entry.disk)
    }

    /// The groups that the host knows of.
    pub fn groups(&self) -> BTreeSet<GroupId> {
        self.installed.entries().map(|entry| entry.group.clone()).chain(self.slots.keys().cloned()).collect()
    }

    /// What the host is to a group at `now`; none for a group that it does not know.
    pub fn role(&self, group: &GroupId, now: BootMs) -> Option<RoleAnswer> {
        let entry = self.installed.entry(group);
        let tenure = self.slots.get(group).and_then(|slot| slot.tenure.as_ref());
        let epoch = entry.map(|entry| entry.epoch).or(tenure.map(|tenure| tenure.epoch))?;
        let answer = |role, reason: String| RoleAnswer {
            group: group.clone(),
            role,
            epoch,
            write_deadline: BootMs(0),
            lease_deadline: BootMs(0),
            reason,
        };
        Some(match self.why_fenced(group, now) {
            None => self.primary(answer(LocalRole::Primary, String::new())),
            Some(_) if self.service_mode(now) == ServiceMode::Safe => answer(LocalRole::Fenced, self.safe()),
            Some(_) if self.is_quiet_backup(group) => {
                let primary = entry.map(|entry| entry.primary.to_string()).unwrap_or_default();
                answer(LocalRole::Backup, format!("{primary} is or was last primary"))
            }
            Some(reason) => answer(LocalRole::Fenced, reason),
        })
    }

    /// An answer that says primary, until when, and why.
    pub(super) fn primary(&self, answer: RoleAnswer) -> RoleAnswer {
        RoleAnswer {
            role: LocalRole::Primary,
            write_deadline: self.lease.write_deadline(),
            lease_deadline: self.lease.deadline(),
            reason: "the assignment names this host and the lease is valid".to_owned(),
            ..answer
        }
    }

    /// The same, for somebody outside who only looks: without deadlines, and never to be acted on, so that nothing is owed
    /// to whoever asked.
    pub fn show_role(&self, group: &GroupId, now: BootMs) -> Option<RoleAnswer> {
        let answer = self.role(group, now)?;
        Some(RoleAnswer { write_deadline: BootMs(0), lease_deadline: BootMs(0), ..answer })
    }

    /// The same, for somebody outside who may act on it: what they are told is remembered, because they may rely on it to
    /// the end.
    pub fn tell_role(&mut self, group: &GroupId, now: BootMs) -> Option<RoleAnswer> {
        let answer = self.role(group, now)?;
        if answer.role == LocalRole::Primary
            && let Some(tenure) = self.slots.get_mut(group).and_then(|slot| slot.tenure.as_mut())
        {
            tenure.tell(answer.lease_deadline);
        }
        Some(answer)
    }

    /// What the host says of its groups: of the newest epoch of each, and of earlier ones whose service is not known to have
    /// stopped.
    pub fn report(&self) -> Vec<GroupReport> {
        let tenures = self.slots.iter().flat_map(|(group, slot)| {
            slot.past.iter().chain(slot.tenure.as_ref()).map(move |tenure| (group, tenure))
        });
        tenures
            .filter_map(|(group, tenure)| {
                let state = match tenure.stage {
                    Stage::Waiting | Stage::Promoting if self.ledger.allows(group, tenure.epoch) => {
                        GroupState::Installed
                    }
                    Stage::Waiting | Stage::Promoting => return None,
                    Stage::Acting => GroupState::Acting,
                    Stage::Interrupted | Stage::Stopped | Stage::Demoting if tenure.has_failed_to_stop() => {
                        GroupState::StopFailed
                    }
                    Stage::Interrupted | Stage::Stopped | Stage::Demoting | Stage::Lingering(_) => {
                        GroupState::Stopping
                    }
                    Stage::Retrying(_) => GroupState::StopFailed,
                    Stage::Over if tenure.start_failed => GroupState::StartFailed,
                    Stage::Over => GroupState::Ended,
                };
                let (group, reason) = (group.clone(), tenure.account());
                Some(GroupReport { group, epoch: tenure.epoch, state, reason })
            })
            .collect()
    }

    /// Why the host does not act for a group at `now`; none when it does.
    fn why_fenced(&self, group: &GroupId, now: BootMs) -> Option<String> {
        let Some(tenure) = self.slots.get(group).and_then(|slot| slot.tenure.as_ref()) else {
            return Some("the assignment does not name this host primary".to_owned());
        };
        if tenure.stage != Stage::Acting {
            return Some(self.why_not_acting(group, tenure, now));
        }
        if !self.lease.covers(now) {
            return Some(self.lapsed());
        }
        if !self.ledger.allows(group, tenure.epoch) {
            return Some(format!("epoch {} is not on disk", tenure.epoch));
        }
        self.stopping.clone().or_else(|| self.mandate(group, tenure.epoch).err())
    }

    fn why_not_acting(&self, group: &GroupId, tenure: &Tenure, now: BootMs) -> String {
        let epoch = tenure.epoch;
        match tenure.stage {
            Stage::Waiting if !self.ledger.allows(group, epoch) => {
                format!("epoch {epoch} is not on disk yet")
            }
            Stage::Waiting if !self.lease.covers(now) => "there is no valid lease".to_owned(),
            Stage::Waiting => "an earlier epoch has not ended yet".to_owned(),
            Stage::Promoting => format!("the promote hook of epoch {epoch} is running"),
            _ => format!("epoch {epoch} has ended here: {}", tenure.account()),
        }
    }

    /// True for a backup on which nothing of an earlier epoch is left to end.
    fn is_quiet_backup(&self, group: &GroupId) -> bool {
        let backup = self.installed.entry(group).is_some_and(|entry| entry.role == Role::Backup);
        let quiet = self
            .slots
            .get(group)
            .is_none_or(|slot| slot.past.is_empty() && slot.tenure.as_ref().is_none_or(Tenure::over));
        backup && quiet
    }
}
