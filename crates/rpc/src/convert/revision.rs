//! What one committed command changed, towards the wire.

use crate::pb::types as wire;
use quorate_domain::{Committed, Event};

impl From<&Event> for wire::Event {
    fn from(event: &Event) -> Self {
        Self {
            r#type: event.name().to_owned(),
            message: event.describe(),
            host: event.host().map(ToString::to_string).unwrap_or_default(),
            group: event.group().map(ToString::to_string).unwrap_or_default(),
            operation: event.operation().map(|id| id.to_string()).unwrap_or_default(),
            detail_json: serde_json::to_string(event)
                .expect("events of strings, numbers and maps by string always have JSON"),
        }
    }
}

impl From<&Committed> for wire::Revision {
    fn from(committed: &Committed) -> Self {
        Self {
            revision: committed.revision.0,
            at_ms: committed.at.0,
            cause: committed.cause.to_string(),
            request_id: committed.cause.request_id().map(ToString::to_string).unwrap_or_default(),
            command: committed.command.clone().into_owned(),
            events: committed.events.iter().map(Into::into).collect(),
        }
    }
}
