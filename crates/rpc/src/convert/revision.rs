//! What one committed command changed, towards the wire.

use crate::pb::types as wire;
use quorate_domain::{Committed, Event, InstanceId};
use std::borrow::Cow;

/// How much of a state folder's name is told.
const BEGINNING_BYTES: usize = 4;

/// Enough of an agent's state folder to tell two apart, and too little to speak for its host.
pub fn beginning(folder: &InstanceId) -> InstanceId {
    let name = folder.as_str();
    let begin = InstanceId::new(name.get(..BEGINNING_BYTES).unwrap_or(name));
    begin.unwrap_or_else(|_| folder.clone())
}

/// The event as it may be told to whoever asks.
fn told(event: &Event) -> Cow<'_, Event> {
    if !matches!(event, Event::HostRegistered { .. } | Event::HostRestarted { .. }) {
        return Cow::Borrowed(event);
    }
    let mut event = event.clone();
    if let Event::HostRegistered { instance, .. } | Event::HostRestarted { instance, .. } = &mut event {
        *instance = beginning(instance);
    }
    Cow::Owned(event)
}

impl From<&Event> for wire::Event {
    fn from(event: &Event) -> Self {
        Self {
            r#type: event.name().to_owned(),
            message: event.describe(),
            host: event.host().map(ToString::to_string).unwrap_or_default(),
            group: event.group().map(ToString::to_string).unwrap_or_default(),
            operation: event.operation().map(|id| id.to_string()).unwrap_or_default(),
            detail_json: serde_json::to_string(told(event).as_ref())
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

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_domain::{HookTimes, HostId, Incarnation, StartId};

    #[test]
    fn no_event_tells_how_to_speak_for_a_host() {
        let event = Event::HostRestarted {
            host: HostId::new("h1").expect("a valid name"),
            instance: InstanceId::new("5ec2e7005ec2e700").expect("a valid name"),
            incarnation: Incarnation(2),
            start: StartId(3),
            hook_times: HookTimes::default(),
        };
        let told = wire::Event::from(&event);
        assert!(told.detail_json.contains("\"instance\":\"5ec2\""), "{told:?}");
        assert!(!format!("{told:?}").contains("5ec2e"), "{told:?}");
        assert_eq!(beginning(&InstanceId::new("ab").expect("a valid name")).as_str(), "ab");
    }
}
