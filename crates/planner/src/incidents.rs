//! What operators should be told: who leads, outages of the quorum, agents that were refused. Nothing waits for it: it is
//! proposed behind everything else that a plan wants, in the same entry.

use crate::{Mono, Observations, Plan};
use quorate_domain::{Command, HostId, Outage, RefusalReason, State, incidents::is_told};
use std::collections::BTreeMap;

/// The most refusals that are kept until they are on record.
const PENDING_MAX: usize = quorate_domain::incidents::REFUSED_MAX;

/// A time without a quorum, as this leader saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeenOutage {
    /// Its number in this leadership; the first is 1.
    pub number: u64,
    /// When there was a quorum for the last time before it, or, not knowing of any, when it was first looked.
    pub since: Mono,
    /// When there was one again.
    pub until: Mono,
}

impl SeenOutage {
    /// How long it lasted, at least.
    pub(crate) fn lasted_ms(&self) -> u64 {
        self.until.since_ms(self.since)
    }
}

/// Agents that were refused, until that is on record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RefusedAgents(BTreeMap<(HostId, RefusalReason), Refused>);

/// What is known of a refused agent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    /// Where it says that it answers.
    address: String,
    /// How often it was refused.
    times: u64,
}

impl RefusedAgents {
    /// An agent was refused. Beyond a bound it is not remembered, nor when it would not be told of.
    pub fn add(&mut self, state: &State, host: &HostId, reason: RefusalReason, address: &str) {
        let key = (host.clone(), reason);
        if let Some(known) = self.0.get_mut(&key) {
            known.times = known.times.saturating_add(1);
        } else if self.0.len() < PENDING_MAX && would_be_told(state, &key) {
            let end = address.floor_char_boundary(quorate_domain::incidents::REFUSED_ADDRESS_MAX_BYTES);
            self.0.insert(key, Refused { address: address[..end].to_owned(), times: 1 });
        }
    }

    /// Forgets those that are on record.
    pub(crate) fn note_applied(&mut self, state: &State) {
        self.0.retain(|key, _| would_be_told(state, key));
    }
}

fn would_be_told(state: &State, (host, reason): &(HostId, RefusalReason)) -> bool {
    is_told(&state.cluster.refused, host, *reason, state.now())
}

/// Says what is not on record yet.
pub fn plan(state: &State, observations: &Observations) -> Plan {
    let mut plan = Plan::default();
    let (coordinator, term) = (observations.leader, observations.term);
    let known = state.cluster.led.as_ref().filter(|led| (led.coordinator, led.term) == (coordinator, term));
    let told = known.map_or(0, |led| led.outages);
    let threshold_ms = state.settings().lease.longest_election_allowed_ms();
    let outage = observations.outage.and_then(|seen| {
        let outage = Outage { number: seen.number, lasted_ms: seen.lasted_ms() };
        (outage.number > told && outage.lasted_ms > threshold_ms).then_some(outage)
    });
    if known.is_none() || outage.is_some() {
        plan.propose("incidents/leadership", Command::RecordLeadership { coordinator, term, outage });
    }
    for ((host, reason), Refused { address, times }) in &observations.refused.0 {
        let (host, reason, address, times) = (host.clone(), *reason, address.clone(), *times);
        plan.propose("incidents/refused", Command::RecordRefusedAgent { host, reason, address, times });
    }
    plan
}
