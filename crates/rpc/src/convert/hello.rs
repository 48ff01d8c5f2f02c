//! An agent's hello and heartbeat, both ways.

use super::choice::FromWire;
use crate::{
    field::{InvalidField, name, optional_name, positive},
    pb::{
        agent::{self as wire, agent_message::Message},
        types,
    },
    session::{
        HOOK_TIME_MAX_MS, ParsedAgentMessage, ParsedHeartbeat, ParsedHello, ParsedReport, SESSION_PROTOCOL,
    },
};
use quorate_domain::{HookTimes, Incarnation, Revision, ServiceMode, StartId};
use quorate_runtime::address::Address;

impl TryFrom<wire::AgentMessage> for ParsedAgentMessage {
    type Error = InvalidField;
    fn try_from(message: wire::AgentMessage) -> Result<Self, InvalidField> {
        match message.message {
            Some(Message::Hello(hello)) => {
                hello.try_into().map(Self::Hello).map_err(|bad: InvalidField| bad.within("hello"))
            }
            Some(Message::Heartbeat(heartbeat)) => {
                heartbeat.try_into().map(Self::Heartbeat).map_err(|bad: InvalidField| bad.within("heartbeat"))
            }
            Some(Message::Report(report)) => {
                ParsedReport::try_from(report).map(Self::Report).map_err(|bad| bad.within("report"))
            }
            None => Err(InvalidField::required(
                "message",
                "send hello, heartbeat or report; a newer agent may be talking to an older coordinator",
            )),
        }
    }
}

impl From<&ParsedAgentMessage> for wire::AgentMessage {
    fn from(message: &ParsedAgentMessage) -> Self {
        Self {
            message: Some(match message {
                ParsedAgentMessage::Hello(hello) => Message::Hello(hello.into()),
                ParsedAgentMessage::Heartbeat(heartbeat) => Message::Heartbeat(heartbeat.into()),
                ParsedAgentMessage::Report(report) => Message::Report(report.into()),
            }),
        }
    }
}

impl TryFrom<wire::Hello> for ParsedHello {
    type Error = InvalidField;
    fn try_from(hello: wire::Hello) -> Result<Self, InvalidField> {
        if hello.protocol == 0 {
            return Err(InvalidField::required("protocol", format!("send {SESSION_PROTOCOL}")));
        }
        Ok(Self {
            cluster: optional_name("cluster_id", &hello.cluster_id)?,
            formation: optional_name("formation_id", &hello.formation_id)?,
            host: name("host", &hello.host)?,
            zone: name("zone", &hello.zone)?,
            address: address("address", hello.address)?,
            instance: name("instance", &hello.instance)?,
            incarnation: Incarnation(positive("incarnation", hello.incarnation)?),
            start: StartId(positive("start", hello.start)?),
            protocol: hello.protocol,
            hook_times: HookTimes {
                promotion_ms: hook_time("promotion_ms", hello.promotion_ms)?,
                demotion_ms: hook_time("demotion_ms", hello.demotion_ms)?,
            },
        })
    }
}

fn hook_time(field: &str, ms: u64) -> Result<u64, InvalidField> {
    if ms <= HOOK_TIME_MAX_MS {
        return Ok(ms);
    }
    let problem = format!("{ms} ms is more than {HOOK_TIME_MAX_MS}");
    Err(InvalidField::new(field, problem, "shorten the agent's hook timeouts"))
}

impl From<&ParsedHello> for wire::Hello {
    fn from(hello: &ParsedHello) -> Self {
        Self {
            cluster_id: hello.cluster.as_ref().map(ToString::to_string).unwrap_or_default(),
            formation_id: hello.formation.as_ref().map(ToString::to_string).unwrap_or_default(),
            host: hello.host.to_string(),
            zone: hello.zone.to_string(),
            address: hello.address.clone(),
            instance: hello.instance.to_string(),
            incarnation: hello.incarnation.0,
            start: hello.start.0,
            protocol: hello.protocol,
            promotion_ms: hello.hook_times.promotion_ms,
            demotion_ms: hello.hook_times.demotion_ms,
        }
    }
}

impl TryFrom<wire::Heartbeat> for ParsedHeartbeat {
    type Error = InvalidField;
    fn try_from(heartbeat: wire::Heartbeat) -> Result<Self, InvalidField> {
        Ok(Self {
            seq: heartbeat.seq,
            installed: Revision(heartbeat.installed_revision),
            service_mode: ServiceMode::from_wire("service_mode", heartbeat.service_mode)?,
        })
    }
}

impl From<&ParsedHeartbeat> for wire::Heartbeat {
    fn from(heartbeat: &ParsedHeartbeat) -> Self {
        Self {
            seq: heartbeat.seq,
            installed_revision: heartbeat.installed.0,
            service_mode: types::ServiceMode::from(heartbeat.service_mode).into(),
        }
    }
}

/// Reads where something is reached, and keeps the text as it was given.
pub(super) fn address(field: &str, text: String) -> Result<String, InvalidField> {
    if text.is_empty() {
        return Err(InvalidField::required(field, "write host:port, for example 10.0.0.1:7400"));
    }
    match text.parse::<Address>() {
        Ok(_) => Ok(text),
        Err(error) => {
            let shown: String = text.chars().take(80).collect();
            Err(InvalidField::new(field, format!("{shown:?} is not an address"), error.to_string()))
        }
    }
}
