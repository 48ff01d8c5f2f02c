//! Decisions about what is only told: who leads, outages of the quorum, and agents that were refused. Every bound on them is
//! here.

use super::{Context, coordinator::check_term};
use crate::{
    event::Event,
    ids::{CoordinatorId, HostId, Term},
    incidents::{Outage, REFUSED_ADDRESS_MAX_BYTES, RefusalReason, is_told},
    rejection::Rejection,
    state::State,
};

/// Who leads is told once for each leadership; an outage once, if it was long enough to end leases.
pub(super) fn record_leadership(
    state: &State,
    context: &Context<'_>,
    coordinator: CoordinatorId,
    term: Term,
    outage: Option<Outage>,
) -> Result<Vec<Event>, Rejection> {
    check_term(context, term)?;
    let before = state.cluster.led.as_ref();
    let known = before.filter(|led| (led.coordinator, led.term) == (coordinator, term));
    let threshold_ms = state.settings().lease.longest_election_allowed_ms();
    let told = known.map_or(0, |led| led.outages);
    let outage = outage.filter(|outage| outage.number > told && outage.lasted_ms > threshold_ms);
    let mut events = Vec::new();
    if let Some(Outage { lasted_ms, .. }) = outage {
        events.push(Event::QuorumLost { coordinator, lasted_ms });
    }
    if known.is_none() {
        let before = before.map(|led| led.coordinator);
        events.push(Event::LeaderChanged { coordinator, term, before });
    }
    if let Some(Outage { number, lasted_ms }) = outage {
        events.push(Event::QuorumRegained { coordinator, outage: number, lasted_ms });
    }
    Ok(events)
}

pub(super) fn record_refused_agent(
    state: &State,
    context: &Context<'_>,
    host: &HostId,
    reason: RefusalReason,
    address: &str,
    times: u64,
) -> Result<Vec<Event>, Rejection> {
    if address.len() > REFUSED_ADDRESS_MAX_BYTES {
        let problem = format!("the address of the agent has {} bytes", address.len());
        return Err(Rejection::InvalidReason { problem });
    }
    if !is_told(&state.cluster.refused, host, reason, context.at) {
        return Ok(vec![]);
    }
    let (host, address) = (host.clone(), address.to_owned());
    Ok(vec![Event::AgentRefused { host, reason, address, times }])
}
