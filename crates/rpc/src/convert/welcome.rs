//! What a coordinator says in a session, both ways.

use super::hello::address;
use crate::{
    field::{InvalidField, at_most, name, optional_name, positive, present, text},
    pb::agent::{self as wire, coordinator_message::Message},
    session::{ADDRESSES_MAX, ParsedCoordinatorMessage, ParsedRenewalAck, ParsedWelcome},
};
use quorate_domain::{Assignment, AssignmentDelta, CoordinatorId, LeaseSettings, Revision, Term};

impl TryFrom<wire::CoordinatorMessage> for ParsedCoordinatorMessage {
    type Error = InvalidField;
    fn try_from(message: wire::CoordinatorMessage) -> Result<Self, InvalidField> {
        match message.message {
            Some(Message::Welcome(welcome)) => {
                ParsedWelcome::try_from(welcome).map(Self::Welcome).map_err(|bad| bad.within("welcome"))
            }
            Some(Message::RenewalAck(ack)) => Ok(Self::RenewalAck((&ack).into())),
            Some(Message::AssignmentSnapshot(snapshot)) => Assignment::try_from(snapshot)
                .map(Self::Snapshot)
                .map_err(|bad| bad.within("assignment_snapshot")),
            Some(Message::AssignmentDelta(delta)) => AssignmentDelta::try_from(delta)
                .map(Self::Delta)
                .map_err(|bad| bad.within("assignment_delta")),
            Some(Message::Coordinators(changed)) => addresses(changed.api_addresses)
                .map(Self::Coordinators)
                .map_err(|bad| bad.within("coordinators")),
            Some(Message::Notice(notice)) => {
                text("text", notice.text).map(Self::Notice).map_err(|bad| bad.within("notice"))
            }
            None => Err(InvalidField::required(
                "message",
                "a newer coordinator may be talking to an older agent: upgrade the agent",
            )),
        }
    }
}

impl From<&ParsedCoordinatorMessage> for wire::CoordinatorMessage {
    fn from(message: &ParsedCoordinatorMessage) -> Self {
        use ParsedCoordinatorMessage as Parsed;
        Self {
            message: Some(match message {
                Parsed::Welcome(welcome) => Message::Welcome(welcome.into()),
                Parsed::RenewalAck(ack) => Message::RenewalAck(ack.into()),
                Parsed::Snapshot(assignment) => Message::AssignmentSnapshot(assignment.into()),
                Parsed::Delta(delta) => Message::AssignmentDelta(delta.into()),
                Parsed::Notice(text) => Message::Notice(wire::Notice { text: text.clone() }),
                Parsed::Coordinators(api_addresses) => {
                    Message::Coordinators(wire::Coordinators { api_addresses: api_addresses.clone() })
                }
            }),
        }
    }
}

impl TryFrom<wire::Welcome> for ParsedWelcome {
    type Error = InvalidField;
    fn try_from(welcome: wire::Welcome) -> Result<Self, InvalidField> {
        let lease = present("lease", welcome.lease)?;
        Ok(Self {
            cluster: name("cluster_id", &welcome.cluster_id)?,
            formation: optional_name("formation_id", &welcome.formation_id)?,
            coordinator: CoordinatorId(positive("coordinator_id", welcome.coordinator_id)?),
            term: Term(positive("term", welcome.term)?),
            // A refusal says `lease.wait_ms` by itself, as the settings do.
            lease: LeaseSettings::try_from(lease)?,
            api_addresses: addresses(welcome.api_addresses)?,
        })
    }
}

fn addresses(all: Vec<String>) -> Result<Vec<String>, InvalidField> {
    at_most("api_addresses", all.len(), ADDRESSES_MAX)?;
    let numbered = all.into_iter().enumerate();
    numbered.map(|(index, text)| address(&format!("api_addresses[{index}]"), text)).collect()
}

impl From<&ParsedWelcome> for wire::Welcome {
    fn from(welcome: &ParsedWelcome) -> Self {
        Self {
            cluster_id: welcome.cluster.to_string(),
            formation_id: welcome.formation.as_ref().map(ToString::to_string).unwrap_or_default(),
            coordinator_id: welcome.coordinator.0,
            term: welcome.term.0,
            lease: Some((&welcome.lease).into()),
            api_addresses: welcome.api_addresses.clone(),
        }
    }
}

impl From<&wire::RenewalAck> for ParsedRenewalAck {
    fn from(ack: &wire::RenewalAck) -> Self {
        Self { seq: ack.seq, assignment: Revision(ack.assignment_revision) }
    }
}

impl From<&ParsedRenewalAck> for wire::RenewalAck {
    fn from(ack: &ParsedRenewalAck) -> Self {
        Self { seq: ack.seq, assignment_revision: ack.assignment.0 }
    }
}
