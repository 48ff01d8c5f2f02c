//! Hosts, towards the wire.

use crate::pb::types as wire;
use quorate_domain::Host;

/// What only the leader's memory or the groups know (last contact, service mode, installed revision, roles) is left
/// unset for the caller to fill in.
impl From<&Host> for wire::Host {
    fn from(host: &Host) -> Self {
        Self {
            id: host.id.to_string(),
            zone: host.zone.to_string(),
            address: host.address.clone(),
            status: wire::HostStatus::from(host.status).into(),
            incarnation: host.incarnation.0,
            error_count: host.error_count,
            last_transition_at_ms: host.last_transition.at.0,
            last_transition_reason: host.last_transition.reason.clone(),
            assignment_revision: host.assignment_revision.0,
            last_contact_ms: None,
            service_mode: wire::ServiceMode::Unspecified.into(),
            installed_revision: 0,
            primary_of: Vec::new(),
            backup_of: Vec::new(),
            promotion_ms: host.hook_times.promotion_ms,
            demotion_ms: host.hook_times.demotion_ms,
        }
    }
}
