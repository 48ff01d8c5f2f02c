//! I13: an agent without a counted renewal is read-only by T, counted from the true moment of sending.

use super::{Fact, Invariant};
use crate::{network::Node, plan::Plan, time::Moment};
use quorate_domain::StartId;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(super) struct ReadOnlyByT {
    /// T on a clock that runs as slowly as allowed, in true time.
    longest_us: u64,
    sent: BTreeMap<(Node, StartId, u64), Moment>,
    /// When the newest heartbeat was sent that a leader acknowledged.
    renewed: BTreeMap<(Node, StartId), Moment>,
}

impl ReadOnlyByT {
    pub(super) fn new(plan: &Plan) -> Self {
        let lease_us = plan.lease.lease_ms * 1_000;
        let longest_us = (lease_us * 1_000_000).div_ceil(1_000_000 - plan.lease.clock_error_ppm) + 2;
        Self { longest_us, sent: BTreeMap::new(), renewed: BTreeMap::new() }
    }
}

impl Invariant for ReadOnlyByT {
    fn name(&self) -> &'static str {
        "I13 an agent without a counted renewal is read-only by T"
    }

    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String> {
        match *fact {
            Fact::HeartbeatSent { machine, start, seq } => {
                self.sent.insert((machine, start, seq), now);
                Ok(())
            }
            Fact::Renewed { machine, start, seq, .. } => {
                let sent = self.sent.get(&(machine, start, seq)).copied();
                let Some(sent) = sent else {
                    return Err(format!(
                        "node {machine} was renewed for heartbeat {seq}, which it never sent"
                    ));
                };
                let newest = self.renewed.entry((machine, start)).or_insert(sent);
                *newest = (*newest).max(sent);
                Ok(())
            }
            Fact::Claims { claim, .. } => {
                let renewed = self.renewed.get(&(claim.machine, claim.start));
                let limit = renewed.map(|sent| sent.after_us(self.longest_us));
                if !claim.fresh || limit.is_some_and(|limit| claim.until <= limit) {
                    return Ok(());
                }
                Err(format!(
                    "node {} acts for {} until {}; its renewals are good until {}",
                    claim.machine,
                    claim.group,
                    claim.until,
                    limit.map_or_else(|| "never".to_owned(), |limit| limit.to_string())
                ))
            }
            _ => Ok(()),
        }
    }
}
