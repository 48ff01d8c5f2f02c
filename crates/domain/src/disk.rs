//! A disk of a host, and what its checks say of it.

use crate::ids::{DiskId, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most reasons that a verdict carries.
pub const REASONS_MAX: usize = 16;
/// The most disks.
pub const DISKS_MAX: usize = 200_000;

/// What the checks of a disk say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// All checks pass.
    Healthy,
    /// It works, and something about it is to be done soon: make room on it, or replace it.
    Degraded,
    /// It must not be used: until what surrounds it is put right, or for good where [`Disk::latched`] says so.
    Failed,
    /// The checks gave no answer. Never starts a rebuild.
    Unknown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        })
    }
}

/// What a finding speaks against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FaultClass {
    /// The medium itself: whoever lost data once is not believed again because one check passed. Also what findings of
    /// agents mean that name no class.
    #[default]
    Medium,
    /// What surrounds the medium, such as its mount, its owner or its room: it passes when that is put right.
    Environment,
}

impl FaultClass {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks like this")]
    fn is_medium(&self) -> bool {
        *self == Self::Medium
    }
}

impl fmt::Display for FaultClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Medium => "medium",
            Self::Environment => "environment",
        })
    }
}

/// One reason for a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerdictReason {
    /// A stable code, such as `probe_write_failed`.
    pub code: String,
    /// What was looked at, such as a SMART attribute.
    pub attribute: String,
    /// What was seen.
    pub observed: String,
    /// What it was held against.
    pub threshold: String,
    /// Which check saw it, such as `probe`.
    pub source: String,
    /// When, by the host's clock.
    pub at: Timestamp,
    /// Whether it speaks against the medium or against what surrounds it.
    #[serde(default, skip_serializing_if = "FaultClass::is_medium")]
    pub class: FaultClass,
}

impl VerdictReason {
    /// True when both say the same thing, whenever it was seen.
    pub fn same_finding(&self, other: &Self) -> bool {
        (&self.code, &self.attribute, &self.source) == (&other.code, &other.attribute, &other.source)
    }
}

impl fmt::Display for VerdictReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.observed)?;
        if !self.threshold.is_empty() {
            write!(f, " (threshold {})", self.threshold)?;
        }
        Ok(())
    }
}

/// Names the medium itself: another disk in the same place has another identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DiskIdentity(pub String);

impl fmt::Display for DiskIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(if self.0.is_empty() { "unknown" } else { &self.0 })
    }
}

/// Why a disk stays failed whatever its checks say, until an operator clears it or another medium sits in its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latch {
    /// Since when.
    pub since: Timestamp,
    /// The codes of the findings that did it.
    pub codes: Vec<String>,
    /// Since when the checks pass all the same; none while they do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub well_since: Option<Timestamp>,
}

/// A disk of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its host and name.
    pub id: DiskId,
    /// The medium; empty when it could not be read.
    pub identity: DiskIdentity,
    /// Where it is mounted on its host.
    pub path: String,
    /// Its size; zero when it could not be read.
    pub capacity_bytes: u64,
    /// What its checks say.
    pub verdict: Verdict,
    /// Why they say so.
    pub reasons: Vec<VerdictReason>,
    /// How often its verdict became degraded or failed.
    pub error_count: u64,
    /// When the verdict last changed.
    pub changed_at: Timestamp,
    /// Set by a fault of the medium.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latched: Option<Latch>,
    /// True from a restart of its agent until the new start has read the medium: another one may sit there by then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_report: bool,
}

/// What a host's agent says of a disk.
#[derive(Debug, Clone, Copy)]
pub struct DiskReport<'a> {
    /// The medium; empty when it could not be read.
    pub identity: &'a DiskIdentity,
    /// Where it is mounted on its host.
    pub path: &'a str,
    /// Its size; zero when it could not be read.
    pub capacity_bytes: u64,
    /// What the checks say.
    pub verdict: Verdict,
    /// Why they say so.
    pub reasons: &'a [VerdictReason],
}

/// What becomes of a disk by a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The medium that is there; the one that was last seen when it could not be read.
    pub identity: DiskIdentity,
    /// Its size likewise.
    pub capacity_bytes: u64,
    /// The verdict that holds, the latch included.
    pub verdict: Verdict,
    /// Why it holds.
    pub reasons: Vec<VerdictReason>,
    /// The verdict, its reasons, the place or the medium are other than on record.
    pub changed: bool,
    /// Another medium sits there than the one on record, which is this one.
    pub replaces: Option<DiskIdentity>,
    /// The agent's present start has read the medium for the first time.
    pub confirms: bool,
    /// It is latched from here on.
    pub latches: bool,
    /// Set when the checks of a latched disk pass again, or fail again.
    pub seen_well: Option<bool>,
}

impl Judgement {
    /// True when the report says something that is not on record.
    pub fn is_news(&self) -> bool {
        self.changed || self.confirms || self.latches || self.seen_well.is_some()
    }
}

/// True when a verdict rests on a fault of the medium; one that names no finding says nothing better of it.
pub fn accuses_the_medium(verdict: Verdict, reasons: &[VerdictReason]) -> bool {
    let medium = |reason: &VerdictReason| reason.class == FaultClass::Medium;
    verdict == Verdict::Failed && (reasons.is_empty() || reasons.iter().any(medium))
}

/// The codes of the findings that speak against the medium.
pub(crate) fn medium_codes(reasons: &[VerdictReason]) -> Vec<String> {
    let against = reasons.iter().filter(|reason| reason.class == FaultClass::Medium);
    against.take(REASONS_MAX).map(|reason| reason.code.clone()).collect()
}

impl Disk {
    /// True when this identity is that of another medium than the one on record.
    pub fn is_another(&self, identity: &DiskIdentity) -> bool {
        !identity.0.is_empty() && !self.identity.0.is_empty() && *identity != self.identity
    }

    /// What a report makes of the disk. A latched one stays failed whatever its checks say, as long as the same medium
    /// sits there.
    pub fn judge(&self, report: &DiskReport<'_>) -> Judgement {
        let replaces = self.is_another(report.identity).then(|| self.identity.clone());
        let latch = self.latched.as_ref().filter(|_| replaces.is_none());
        let latches = latch.is_none() && accuses_the_medium(report.verdict, report.reasons);
        let holds = latches || latch.is_some();
        let verdict = if holds { Verdict::Failed } else { report.verdict };
        // What passes its checks says nothing of why it is latched.
        let reasons = match latch {
            Some(_) if report.verdict != Verdict::Failed => &self.reasons[..],
            _ => &report.reasons[..report.reasons.len().min(REASONS_MAX)],
        };
        let well = matches!(report.verdict, Verdict::Healthy | Verdict::Degraded);
        let seen_well = latch.and_then(|latch| (latch.well_since.is_some() != well).then_some(well));
        let (identity, capacity_bytes) = self.kept(report.identity, report.capacity_bytes);
        let same_findings = self.reasons.len() == reasons.len()
            && self.reasons.iter().zip(reasons).all(|(old, new)| old.same_finding(new));
        let changed = !same_findings
            || self.verdict != verdict
            || self.path != report.path
            || (&self.identity, self.capacity_bytes) != (&identity, capacity_bytes);
        let reasons = reasons.to_vec();
        let confirms = self.awaits_report && !report.identity.0.is_empty();
        Judgement {
            identity,
            capacity_bytes,
            verdict,
            reasons,
            changed,
            replaces,
            confirms,
            latches,
            seen_well,
        }
    }

    /// The identity and size to keep after a report: a medium that cannot be read any more (an empty identity, a size
    /// of zero) keeps those that it was last seen with.
    fn kept(&self, identity: &DiskIdentity, capacity_bytes: u64) -> (DiskIdentity, u64) {
        let identity = if identity.0.is_empty() { &self.identity } else { identity };
        (identity.clone(), if capacity_bytes == 0 { self.capacity_bytes } else { capacity_bytes })
    }
}
