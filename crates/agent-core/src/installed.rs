//! The assignment that is installed on this host.

use quorate_domain::{Assignment, AssignmentEntry, GroupId, Revision};
use std::collections::BTreeMap;

/// What the coordinators last said that this host should be.
#[derive(Debug, Clone, Default)]
pub(crate) struct Installed {
    revision: Option<Revision>,
    entries: BTreeMap<GroupId, AssignmentEntry>,
}

/// What arrived does not follow from what is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OutOfStep;

impl Installed {
    pub(crate) fn revision(&self) -> Option<Revision> {
        self.revision
    }

    pub(crate) fn entry(&self, group: &GroupId) -> Option<&AssignmentEntry> {
        self.entries.get(group)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &AssignmentEntry> {
        self.entries.values()
    }

    /// Takes over a whole assignment, unless a later one is installed: what was revoked stays revoked.
    pub(crate) fn snapshot(&mut self, assignment: Assignment) -> Result<(), OutOfStep> {
        if self.revision.is_some_and(|installed| assignment.revision < installed) {
            return Err(OutOfStep);
        }
        self.revision = Some(assignment.revision);
        self.entries = assignment.entries.into_iter().map(|entry| (entry.group.clone(), entry)).collect();
        Ok(())
    }

    /// Takes over what changed since the installed revision.
    pub(crate) fn delta(
        &mut self,
        from: Revision,
        revision: Revision,
        changed: Vec<AssignmentEntry>,
        removed: &[GroupId],
    ) -> Result<(), OutOfStep> {
        if self.revision != Some(from) || revision < from {
            return Err(OutOfStep);
        }
        self.revision = Some(revision);
        for group in removed {
            self.entries.remove(group);
        }
        for entry in changed {
            self.entries.insert(entry.group.clone(), entry);
        }
        Ok(())
    }
}
