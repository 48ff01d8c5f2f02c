//! What each host should be: derived from the groups, never stored.

use crate::{
    group::Group,
    ids::{DiskName, Epoch, GroupId, HostId, Incarnation, Revision},
    state::State,
};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// What a host is to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// It may act while its lease is valid, if it is the start of the agent that the epoch was granted to.
    Primary,
    /// It may be promoted, and does not act.
    Backup,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Primary => "primary",
            Self::Backup => "backup",
        })
    }
}

/// How far a host is with an epoch that it was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupState {
    /// The assignment is installed, the epoch is on disk, the promote hook runs.
    Installed,
    /// It acts as primary.
    Acting,
    /// It does not act and never will again under this epoch.
    Ended,
    /// As `Ended`, because it could not start.
    StartFailed,
    /// It does not act, and its service is being stopped.
    Stopping,
    /// It does not act, and its service is not known to have stopped: the demotion has failed and is tried again.
    StopFailed,
}

/// One group in a host's assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentEntry {
    /// The group.
    pub group: GroupId,
    /// Its epoch.
    pub epoch: Epoch,
    /// What the host is to it.
    pub role: Role,
    /// The start of the agent that an epoch was granted to; only meant for a primary.
    pub granted_to: Incarnation,
    /// The disk on this host.
    pub disk: DiskName,
    /// Who is primary, or was last.
    pub primary: HostId,
}

/// What a host should be, as of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// The revision that last changed it.
    pub revision: Revision,
    /// By group, in order of names.
    pub entries: Vec<AssignmentEntry>,
}

/// A change of a host's assignment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AssignmentDelta {
    /// What it is based on.
    pub from: Revision,
    /// What it leads to.
    pub to: Revision,
    /// The entries that are new or other than before.
    pub changed: Vec<AssignmentEntry>,
    /// The groups that are no longer the host's.
    pub removed: Vec<GroupId>,
}

impl Assignment {
    /// What leads from this assignment to a later one.
    pub fn delta_to(&self, later: &Self) -> AssignmentDelta {
        let before: BTreeMap<_, _> = self.entries.iter().map(|entry| (&entry.group, entry)).collect();
        let after: BTreeMap<_, _> = later.entries.iter().map(|entry| (&entry.group, entry)).collect();
        let changed = later.entries.iter().filter(|entry| before.get(&entry.group) != Some(entry));
        let removed = before.keys().filter(|group| !after.contains_key(*group));
        AssignmentDelta {
            from: self.revision,
            to: later.revision,
            changed: changed.cloned().collect(),
            removed: removed.map(|group| (*group).clone()).collect(),
        }
    }
}

fn entry(group: &Group, host: &HostId) -> Option<AssignmentEntry> {
    let member = group.member(host)?;
    let acts = group.primary.host == *host && group.phase.grants();
    Some(AssignmentEntry {
        group: group.id.clone(),
        epoch: group.epoch,
        role: if acts { Role::Primary } else { Role::Backup },
        granted_to: group.granted_to,
        disk: member.disk.clone(),
        primary: group.primary.host.clone(),
    })
}

/// What a host should be; none for a host that is not known.
pub fn assignment(state: &State, host: &HostId) -> Option<Assignment> {
    let revision = state.hosts.get(host)?.assignment_revision;
    let entries = state.groups_of(host).filter_map(|group: &Arc<Group>| entry(group, host)).collect();
    Some(Assignment { revision, entries })
}
