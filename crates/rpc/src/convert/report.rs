//! A host's report, both ways.

use super::choice::FromWire;
use crate::{
    field::{InvalidField, at_most, each, name, positive, text},
    pb::{agent as wire, types},
    session::{DISKS_MAX, GROUPS_MAX, ParsedDisk, ParsedGroupReport, ParsedReport},
};
use quorate_domain::{
    DiskIdentity, Epoch, GroupState, Revision, Timestamp, Verdict, VerdictReason, disk::REASONS_MAX,
};
use std::collections::BTreeSet;

impl TryFrom<wire::Report> for ParsedReport {
    type Error = InvalidField;
    fn try_from(report: wire::Report) -> Result<Self, InvalidField> {
        at_most("groups", report.groups.len(), GROUPS_MAX)?;
        at_most("disks", report.disks.len(), DISKS_MAX)?;
        let groups = each("groups", report.groups, ParsedGroupReport::try_from)?;
        let disks = each("disks", report.disks, ParsedDisk::try_from)?;
        once(
            "groups",
            groups.iter().map(|group| (&group.group, group.epoch)),
            "name each epoch of a group once",
        )?;
        once("disks", disks.iter().map(|disk| &disk.name), "give each disk its own name")?;
        Ok(Self {
            groups,
            disks,
            installed: Revision(report.installed_revision),
            stopping: report.stopping,
            disks_complete: report.disks_complete,
            state_folder_problem: text("state_folder_problem", report.state_folder_problem)?,
        })
    }
}

/// Refuses a key that comes twice: the two entries could contradict each other.
fn once<K: Ord>(field: &str, keys: impl Iterator<Item = K>, remedy: &str) -> Result<(), InvalidField> {
    let mut seen = BTreeSet::new();
    for (index, key) in keys.enumerate() {
        if !seen.insert(key) {
            return Err(InvalidField::new(
                format!("{field}[{index}]"),
                "was named before in this report",
                remedy,
            ));
        }
    }
    Ok(())
}

impl From<&ParsedReport> for wire::Report {
    fn from(report: &ParsedReport) -> Self {
        Self {
            groups: report.groups.iter().map(Into::into).collect(),
            disks: report.disks.iter().map(Into::into).collect(),
            installed_revision: report.installed.0,
            stopping: report.stopping,
            disks_complete: report.disks_complete,
            state_folder_problem: report.state_folder_problem.clone(),
        }
    }
}

impl TryFrom<wire::GroupReport> for ParsedGroupReport {
    type Error = InvalidField;
    fn try_from(report: wire::GroupReport) -> Result<Self, InvalidField> {
        Ok(Self {
            group: name("group", &report.group)?,
            epoch: Epoch(positive("epoch", report.epoch)?),
            state: GroupState::from_wire("state", report.state)?,
            reason: text("reason", report.reason)?,
        })
    }
}

impl From<&ParsedGroupReport> for wire::GroupReport {
    fn from(report: &ParsedGroupReport) -> Self {
        Self {
            group: report.group.to_string(),
            epoch: report.epoch.0,
            state: wire::GroupState::from(report.state).into(),
            reason: report.reason.clone(),
        }
    }
}

impl TryFrom<wire::DiskReport> for ParsedDisk {
    type Error = InvalidField;
    fn try_from(disk: wire::DiskReport) -> Result<Self, InvalidField> {
        at_most("reasons", disk.reasons.len(), REASONS_MAX)?;
        Ok(Self {
            name: name("name", &disk.name)?,
            path: text("path", disk.path)?,
            identity: DiskIdentity(text("identity", disk.identity)?),
            capacity_bytes: disk.capacity_bytes,
            free_bytes: disk.free_bytes,
            verdict: Verdict::from_wire("verdict", disk.verdict)?,
            reasons: each("reasons", disk.reasons, VerdictReason::try_from)?,
            checked_at: Timestamp(disk.checked_at_ms),
        })
    }
}

impl From<&ParsedDisk> for wire::DiskReport {
    fn from(disk: &ParsedDisk) -> Self {
        Self {
            name: disk.name.to_string(),
            path: disk.path.clone(),
            identity: disk.identity.0.clone(),
            capacity_bytes: disk.capacity_bytes,
            free_bytes: disk.free_bytes,
            verdict: types::Verdict::from(disk.verdict).into(),
            reasons: disk.reasons.iter().map(Into::into).collect(),
            checked_at_ms: disk.checked_at.0,
        }
    }
}
