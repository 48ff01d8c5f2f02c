//! Groups, towards the wire.

use crate::pb::types as wire;
use quorate_domain::{Epoch, Group, HostId, Member, Switch};

impl From<&Member> for wire::Member {
    fn from(member: &Member) -> Self {
        Self { host: member.host.to_string(), disk: member.disk.to_string() }
    }
}

impl From<&Group> for wire::Group {
    fn from(group: &Group) -> Self {
        let (blocked_since_ms, blocked_reasons) = group
            .blocked
            .as_ref()
            .map_or((0, Vec::new()), |blocked| (blocked.since.0, blocked.reasons.clone()));
        Self {
            id: group.id.to_string(),
            primary: Some((&group.primary).into()),
            backups: group.backups.iter().map(Into::into).collect(),
            epoch: group.epoch.0,
            phase: wire::GroupPhase::from(&group.phase).into(),
            operation: group.phase.operation().map(|id| id.to_string()).unwrap_or_default(),
            blocked_reasons,
            blocked_since_ms,
            labels: group.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            created_at_ms: group.created_at.0,
            modified_revision: group.modified.0,
            granted_to_incarnation: group.granted_to.0,
            unstopped: group.unstopped.iter().map(unstopped).collect(),
        }
    }
}

fn unstopped((host, epoch): (&HostId, &Epoch)) -> wire::Unstopped {
    wire::Unstopped { host: host.to_string(), epoch: epoch.0 }
}

impl From<&Switch> for wire::Switch {
    fn from(switch: &Switch) -> Self {
        Self {
            operation: switch.operation.to_string(),
            revision: switch.revision.0,
            at_ms: switch.at.0,
            from: switch.from.to_string(),
            to: switch.to.to_string(),
            epoch: switch.epoch.0,
            reason: switch.reason.clone(),
        }
    }
}
