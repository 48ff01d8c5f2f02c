//! Assignments, both ways.

use super::choice::FromWire;
use crate::{
    field::{InvalidField, at_most, each, name, positive},
    pb::{agent as wire, types},
    session::GROUPS_MAX,
};
use quorate_domain::{Assignment, AssignmentDelta, AssignmentEntry, Epoch, Incarnation, Revision, Role};
use std::collections::BTreeSet;

impl From<&AssignmentEntry> for wire::AssignmentEntry {
    fn from(entry: &AssignmentEntry) -> Self {
        Self {
            group: entry.group.to_string(),
            epoch: entry.epoch.0,
            role: types::Role::from(entry.role).into(),
            granted_to_incarnation: entry.granted_to.0,
            disk: entry.disk.to_string(),
            primary_host: entry.primary.to_string(),
        }
    }
}

impl TryFrom<wire::AssignmentEntry> for AssignmentEntry {
    type Error = InvalidField;
    fn try_from(entry: wire::AssignmentEntry) -> Result<Self, InvalidField> {
        Ok(Self {
            group: name("group", &entry.group)?,
            epoch: Epoch(positive("epoch", entry.epoch)?),
            role: Role::from_wire("role", entry.role)?,
            granted_to: Incarnation(entry.granted_to_incarnation),
            disk: name("disk", &entry.disk)?,
            primary: name("primary_host", &entry.primary_host)?,
        })
    }
}

impl From<&Assignment> for wire::AssignmentSnapshot {
    fn from(assignment: &Assignment) -> Self {
        Self { revision: assignment.revision.0, entries: assignment.entries.iter().map(Into::into).collect() }
    }
}

impl TryFrom<wire::AssignmentSnapshot> for Assignment {
    type Error = InvalidField;
    fn try_from(snapshot: wire::AssignmentSnapshot) -> Result<Self, InvalidField> {
        Ok(Self {
            revision: Revision(positive("revision", snapshot.revision)?),
            entries: entries("entries", snapshot.entries)?,
        })
    }
}

impl From<&AssignmentDelta> for wire::AssignmentDelta {
    fn from(delta: &AssignmentDelta) -> Self {
        Self {
            from_revision: delta.from.0,
            revision: delta.to.0,
            changed: delta.changed.iter().map(Into::into).collect(),
            removed: delta.removed.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<wire::AssignmentDelta> for AssignmentDelta {
    type Error = InvalidField;
    fn try_from(delta: wire::AssignmentDelta) -> Result<Self, InvalidField> {
        let from = Revision(positive("from_revision", delta.from_revision)?);
        let to = Revision(delta.revision);
        if to <= from {
            return Err(InvalidField::new(
                "revision",
                format!("{to} is not after from_revision ({from})"),
                "send a delta only when the revision has risen",
            ));
        }
        at_most("removed", delta.removed.len(), GROUPS_MAX)?;
        let changed = entries("changed", delta.changed)?;
        let removed: Vec<_> = delta
            .removed
            .iter()
            .enumerate()
            .map(|(index, group)| name(&format!("removed[{index}]"), group))
            .collect::<Result<_, _>>()?;
        Ok(Self { from, to, changed, removed })
    }
}

/// Reads entries; a group may be named once, or it would not be clear what the host is to it.
fn entries(field: &str, list: Vec<wire::AssignmentEntry>) -> Result<Vec<AssignmentEntry>, InvalidField> {
    at_most(field, list.len(), GROUPS_MAX)?;
    let entries = each(field, list, AssignmentEntry::try_from)?;
    let mut seen = BTreeSet::new();
    for (index, entry) in entries.iter().enumerate() {
        if !seen.insert(&entry.group) {
            let problem = format!("{} is named twice", entry.group);
            return Err(InvalidField::new(
                format!("{field}[{index}].group"),
                problem,
                "name each group once",
            ));
        }
    }
    Ok(entries)
}
