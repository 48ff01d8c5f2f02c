//! A failover group: one primary at a time, under an epoch.

use crate::{
    disk::Verdict,
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
    /// Who may follow, in order.
    pub backups: Vec<Member>,
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

    /// The member on a host.
    pub fn member(&self, host: &HostId) -> Option<&Member> {
        self.members().find(|member| member.host == *host)
    }
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
