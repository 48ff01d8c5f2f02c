//! Lease settings, both ways.

use crate::{field::InvalidField, pb::agent as wire};
use quorate_domain::LeaseSettings;

impl From<&LeaseSettings> for wire::LeaseSettings {
    fn from(lease: &LeaseSettings) -> Self {
        Self {
            heartbeat_ms: lease.heartbeat_ms,
            lease_ms: lease.lease_ms,
            write_stop_ms: lease.write_stop_ms,
            wait_ms: lease.wait_ms,
            clock_error_ppm: lease.clock_error_ppm,
            margin_ms: lease.margin_ms,
            suspect_after_heartbeats: lease.suspect_after_heartbeats,
        }
    }
}

/// Settings that are not safe are refused here too: an agent that took them could act while another is promoted.
/// How long an election lasts is the coordinators' concern, and not held against them.
impl TryFrom<wire::LeaseSettings> for LeaseSettings {
    type Error = InvalidField;
    fn try_from(lease: wire::LeaseSettings) -> Result<Self, InvalidField> {
        let settings = Self {
            heartbeat_ms: lease.heartbeat_ms,
            lease_ms: lease.lease_ms,
            write_stop_ms: lease.write_stop_ms,
            wait_ms: lease.wait_ms,
            clock_error_ppm: lease.clock_error_ppm,
            margin_ms: lease.margin_ms,
            suspect_after_heartbeats: lease.suspect_after_heartbeats,
        };
        match settings.problems(0).into_iter().next() {
            None => Ok(settings),
            Some(found) => Err(InvalidField::new(found.field, found.problem, found.remedy)),
        }
    }
}
