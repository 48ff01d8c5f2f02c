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
    /// It works; replace it soon.
    Degraded,
    /// It must not be used. Latched until another disk sits in its place.
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
}

impl Disk {
    /// True when a report would undo a failure without another medium in its place: such a report is refused.
    pub fn is_latched_against(&self, identity: &DiskIdentity, verdict: Verdict) -> bool {
        let another_medium = !identity.0.is_empty() && *identity != self.identity;
        self.verdict == Verdict::Failed && verdict != Verdict::Failed && !another_medium
    }

    /// The identity and size to keep after a report: a medium that cannot be read any more (an empty identity, a size
    /// of zero) keeps those that it was last seen with.
    pub fn kept(&self, identity: &DiskIdentity, capacity_bytes: u64) -> (DiskIdentity, u64) {
        let identity = if identity.0.is_empty() { &self.identity } else { identity };
        (identity.clone(), if capacity_bytes == 0 { self.capacity_bytes } else { capacity_bytes })
    }

    /// True when a report says nothing new.
    pub fn is_as_reported(
        &self,
        identity: &DiskIdentity,
        path: &str,
        capacity_bytes: u64,
        verdict: Verdict,
        reasons: &[VerdictReason],
    ) -> bool {
        let reasons = &reasons[..reasons.len().min(REASONS_MAX)];
        let same_findings = self.reasons.len() == reasons.len()
            && self.reasons.iter().zip(reasons).all(|(old, new)| old.same_finding(new));
        let kept = self.kept(identity, capacity_bytes);
        same_findings
            && self.verdict == verdict
            && self.path == path
            && (&self.identity, self.capacity_bytes) == (&kept.0, kept.1)
    }
}
