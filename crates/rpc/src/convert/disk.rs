//! Disks and what speaks against them.

use super::choice::FromWire;
use crate::{
    field::{InvalidField, text},
    pb::types as wire,
};
use quorate_domain::{Disk, FaultClass, Latch, Timestamp, VerdictReason};

/// What only the leader's memory knows (free bytes, last check) is left unset for the caller to fill in.
impl From<&Disk> for wire::Disk {
    fn from(disk: &Disk) -> Self {
        Self {
            host: disk.id.host.to_string(),
            name: disk.id.name.to_string(),
            path: disk.path.clone(),
            identity: disk.identity.0.clone(),
            capacity_bytes: disk.capacity_bytes,
            verdict: wire::Verdict::from(disk.verdict).into(),
            reasons: disk.reasons.iter().map(Into::into).collect(),
            error_count: disk.error_count,
            changed_at_ms: disk.changed_at.0,
            free_bytes: None,
            checked_at_ms: None,
            latched: disk.latched.as_ref().map(Into::into),
        }
    }
}

impl From<&Latch> for wire::DiskLatch {
    fn from(latch: &Latch) -> Self {
        Self {
            since_ms: latch.since.0,
            codes: latch.codes.clone(),
            well_since_ms: latch.well_since.map(|at| at.0),
        }
    }
}

impl From<&VerdictReason> for wire::VerdictReason {
    fn from(reason: &VerdictReason) -> Self {
        Self {
            code: reason.code.clone(),
            attribute: reason.attribute.clone(),
            observed: reason.observed.clone(),
            threshold: reason.threshold.clone(),
            source: reason.source.clone(),
            at_ms: reason.at.0,
            class: wire::FaultClass::from(reason.class).into(),
        }
    }
}

impl TryFrom<wire::VerdictReason> for VerdictReason {
    type Error = InvalidField;
    fn try_from(reason: wire::VerdictReason) -> Result<Self, InvalidField> {
        if reason.code.is_empty() {
            return Err(InvalidField::required("code", "give the stable code of the finding"));
        }
        Ok(Self {
            code: text("code", reason.code)?,
            attribute: text("attribute", reason.attribute)?,
            observed: text("observed", reason.observed)?,
            threshold: text("threshold", reason.threshold)?,
            source: text("source", reason.source)?,
            at: Timestamp(reason.at_ms),
            class: fault_class(reason.class)?,
        })
    }
}

/// Agents of an earlier version name no class, and every failure was one of the medium to them.
fn fault_class(number: i32) -> Result<FaultClass, InvalidField> {
    if number == i32::from(wire::FaultClass::Unspecified) {
        return Ok(FaultClass::Medium);
    }
    FaultClass::from_wire("class", number)
}
