//! I25: an outage on record was one. For about as long as it says, and not long before it is told, no leader confirmed a
//! renewal by a quorum that it had asked meanwhile.

use super::{Fact, Invariant, events};
use crate::{network::Node, plan::Plan, time::Moment};
use quorate_domain::{Event, StartId};
use std::collections::BTreeMap;

/// What looks, elections and answers may be apart from the quorum itself.
const SLACK_US: u64 = 1_500_000;
/// A renewal that took longer to confirm says little of when there was a quorum.
const PROMPT_US: u64 = 1_000_000;
/// Pauses between renewals that are remembered are longer than this.
const PAUSE_MIN_US: u64 = 1_000_000;
/// How long after its end an outage may be told.
const TOLD_WITHIN_US: u64 = 15_000_000;

#[derive(Debug)]
pub(super) struct TrueOutages {
    clock_error_ppm: u64,
    /// When the last heartbeat of each start of an agent arrived, by its number.
    arrived: BTreeMap<(Node, Node, StartId, u64), Moment>,
    /// When a quorum was there for certain, the last time.
    last: Moment,
    /// Longer times in which none was proved.
    pauses: Vec<(Moment, Moment)>,
}

impl TrueOutages {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            clock_error_ppm: plan.lease.clock_error_ppm,
            arrived: BTreeMap::new(),
            last: Moment::default(),
            pauses: Vec::new(),
        }
    }

    fn lost(&self, lasted_ms: u64, now: Moment) -> Result<(), String> {
        let claimed_us = lasted_ms * 1_000;
        let at_least_us =
            claimed_us.saturating_sub(claimed_us * self.clock_error_ppm / 1_000_000).saturating_sub(SLACK_US);
        let fits = |(from, to): &(Moment, Moment)| {
            to.since_us(*from) >= at_least_us && now.since_us(*to) <= TOLD_WITHIN_US
        };
        if self.pauses.iter().chain([&(self.last, now)]).any(fits) {
            return Ok(());
        }
        Err(format!(
            "an outage of {lasted_ms} ms is put on record, and there was no such time without renewals; the last pauses \
             are {:?}",
            &self.pauses[self.pauses.len().saturating_sub(4)..]
        ))
    }
}

impl Invariant for TrueOutages {
    fn name(&self) -> &'static str {
        "I25 an outage on record was one"
    }

    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String> {
        match *fact {
            Fact::HeartbeatArrived { node, machine, start, seq, .. } => {
                self.arrived.entry((node, machine, start, seq)).or_insert(now);
            }
            Fact::Renewed { node, machine, start, seq, .. } => {
                let arrived = self.arrived.remove(&(node, machine, start, seq));
                if let Some(arrived) = arrived.filter(|arrived| now.since_us(*arrived) <= PROMPT_US) {
                    if now.since_us(self.last) > PAUSE_MIN_US {
                        self.pauses.push((self.last, now));
                    }
                    // At some moment since then: no later one is certain.
                    self.last = self.last.max(arrived);
                }
            }
            Fact::Decided { applied, .. } => {
                for event in events(applied) {
                    if let Event::QuorumLost { lasted_ms, .. } = event {
                        self.lost(*lasted_ms, now)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
