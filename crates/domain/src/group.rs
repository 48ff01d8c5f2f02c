//! A failover group: one primary at a time, under an epoch.

use crate::{
    disk::{DiskIdentity, Verdict},
    ids::{DiskId, DiskName, Epoch, GroupId, HostId, Incarnation, OperationId, Revision, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The most groups.
pub const GROUPS_MAX: usize = 100_000;
/// The most members of a group, primary included.
pub const MEMBERS_MAX: usize = 16;
/// The most switches that a group remembers.
pub const HISTORY_MAX: usize = 32;
/// The most labels of a group.
pub const LABELS_MAX: usize = 32;
/// The longest value of a label, in bytes.
pub const LABEL_VALUE_MAX_BYTES: usize = 256;

/// A host and the disk on it that keep a copy of a group.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Member {
    /// The host.
    pub host: HostId,
    /// The disk on that host.
    pub disk: DiskName,
}

impl Member {
    /// The disk's full id.
    pub fn disk_id(&self) -> DiskId {
        DiskId { host: self.host.clone(), name: self.disk.clone() }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.host, self.disk))
    }
}

/// Where a group stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// A primary is named under the group's epoch and has not yet acknowledged. It may already act.
    Starting {
        /// The failover that named it; none for the first primary.
        operation: Option<OperationId>,
    },
    /// The primary has acknowledged and acts.
    Active,
    /// The primary was revoked: from here on no renewal covers it, and nobody is promoted before it released or D passed.
    Revoked {
        /// The failover that revoked it.
        operation: OperationId,
        /// The old primary has said that it stopped and will never act under this epoch again.
        released: bool,
        /// Who is to follow, once chosen.
        candidate: Option<HostId>,
    },
    /// Revoked as above, and to be forgotten once it is certain that nobody acts.
    Deleting {
        /// The old primary has said that it stopped.
        released: bool,
    },
}

impl Phase {
    /// The running operation, if any.
    pub fn operation(&self) -> Option<OperationId> {
        match self {
            Self::Starting { operation } => *operation,
            Self::Revoked { operation, .. } => Some(*operation),
            Self::Active | Self::Deleting { .. } => None,
        }
    }

    /// True while the named primary may act, lease permitting.
    pub fn grants(&self) -> bool {
        matches!(self, Self::Starting { .. } | Self::Active)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting { .. } => "starting",
            Self::Active => "active",
            Self::Revoked { .. } => "revoked",
            Self::Deleting { .. } => "deleting",
        })
    }
}

/// A change of primary that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Switch {
    /// The failover that did it.
    pub operation: OperationId,
    /// The revision that committed it.
    pub revision: Revision,
    /// When.
    pub at: Timestamp,
    /// The primary before.
    pub from: HostId,
    /// The primary after.
    pub to: HostId,
    /// The epoch after.
    pub epoch: Epoch,
    /// Why, in words.
    pub reason: String,
}

/// Why a group cannot have what it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// Since when.
    pub since: Timestamp,
    /// One line for each host that was looked at.
    pub reasons: Vec<String>,
}

/// A failover group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub id: GroupId,
    /// Who is, or last was, primary.
    pub primary: Member,
    /// The start of the primary's agent that the epoch was granted to: another start may not act under it.
    pub granted_to: Incarnation,
    /// The longest demotion that this start allows itself after its lease, in milliseconds on its clock: D covers it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub demotion_ms: u64,
    /// Who may follow, in the operator's order.
    pub backups: Vec<Member>,
    /// How many of the backups stand before the primary in the operator's order: who leads does not change that order.
    #[serde(default, skip_serializing_if = "is_first")]
    pub before_primary: usize,
    /// Hosts that were primary and whose service is not known to have stopped, with the last epoch that was taken from
    /// them without their word. None of them is promoted before it says so.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unstopped: BTreeMap<HostId, Epoch>,
    /// The fencing token.
    pub epoch: Epoch,
    /// Where it stands.
    pub phase: Phase,
    /// Set while a failover is wanted and nobody may be promoted.
    pub blocked: Option<Blocked>,
    /// The last switches, oldest first.
    pub history: Vec<Switch>,
    /// Free words of its owner.
    pub labels: BTreeMap<String, String>,
    /// Members that hold no copy as far as anybody knows, because another medium sits in their disk's place, and the
    /// medium that held it. They are not promoted before it is back or an operator accepts what is there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unaccepted: BTreeMap<HostId, DiskIdentity>,
    /// When it was created.
    pub created_at: Timestamp,
    /// The revision that last changed it.
    pub modified: Revision,
}

impl Group {
    /// Every member, the primary first.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        std::iter::once(&self.primary).chain(&self.backups)
    }

    /// Another medium sits in the place of a member's disk; the one that held the copy may be back by that.
    pub(crate) fn medium_replaced(&mut self, host: &HostId, from: &DiskIdentity, to: &DiskIdentity) {
        match self.unaccepted.get(host) {
            None => {
                self.unaccepted.insert(host.clone(), from.clone());
            }
            Some(missed) if missed == to => {
                self.unaccepted.remove(host);
            }
            Some(_) => {}
        }
    }

    /// Every member, in the operator's order.
    pub fn in_order(&self) -> impl Iterator<Item = &Member> {
        let (before, after) = self.backups.split_at(self.before_primary.min(self.backups.len()));
        before.iter().chain(std::iter::once(&self.primary)).chain(after)
    }

    /// Makes the member on that host the primary; everybody keeps their place in the operator's order.
    pub(crate) fn name_primary(&mut self, to: &HostId) {
        if self.member(to).is_some() {
            let members = self.in_order().cloned().collect();
            self.arrange(members, to);
        }
    }

    /// Puts the members into another order; those that it does not name keep theirs, behind the others.
    pub(crate) fn reorder(&mut self, order: &[HostId]) {
        let place =
            |member: &Member| order.iter().position(|host| *host == member.host).unwrap_or(order.len());
        let mut members: Vec<Member> = self.in_order().cloned().collect();
        members.sort_by_key(place);
        let primary = self.primary.host.clone();
        self.arrange(members, &primary);
    }

    /// Takes a backup out.
    pub(crate) fn remove_backup(&mut self, host: &HostId) {
        let Some(place) = self.backups.iter().position(|member| member.host == *host) else { return };
        self.backups.remove(place);
        self.before_primary -= usize::from(place < self.before_primary);
        self.unaccepted.remove(host);
        self.unstopped.remove(host);
    }

    fn arrange(&mut self, mut members: Vec<Member>, primary: &HostId) {
        let Some(place) = members.iter().position(|member| member.host == *primary) else { return };
        self.primary = members.remove(place);
        self.before_primary = place;
        self.backups = members;
    }

    /// The member on a host.
    pub fn member(&self, host: &HostId) -> Option<&Member> {
        self.members().find(|member| member.host == *host)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
fn is_first(place: &usize) -> bool {
    *place == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The order in which verdicts are preferred for a primary, best first.
pub fn verdict_rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Healthy => 0,
        Verdict::Degraded => 1,
        Verdict::Unknown => 2,
        Verdict::Failed => 3,
    }
}
