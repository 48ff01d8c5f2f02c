//! I21: memory, log and tables stay bounded, and so does what a node does in a second; and the state keeps its own rules.

use super::{Fact, Invariant};
use crate::{network::Node, plan::Plan, time::Moment};
use quorate_domain::invariants::violations;
use std::collections::BTreeMap;

/// The whole state is looked at after every so many entries.
const STATES_EVERY: u64 = 16;
/// What one entry behind another may come to while a snapshot is on its way.
const SLACK: u64 = 64;
/// The most things that may happen to a node within a second, ten times what soaks have seen: a node above it turns round
/// and round, woken by what it has just done or by answers to its own answers.
const HAPPENINGS_MAX: u32 = 20_000;

#[derive(Debug)]
pub(super) struct Bounds {
    log_max: u64,
    waiting_max: usize,
    /// How much happened to each node within the second that began then.
    happened: BTreeMap<Node, u32>,
    second: Moment,
}

impl Bounds {
    pub(super) fn new(plan: &Plan) -> Self {
        let timing = &plan.timing;
        Self {
            log_max: timing.snapshot_every + timing.keep_entries + SLACK,
            // Sessions, heartbeats, commands and reads that may wait in one coordinator.
            waiting_max: 32 * (plan.agents + plan.clients + 8),
            happened: BTreeMap::new(),
            second: Moment::default(),
        }
    }
}

impl Invariant for Bounds {
    fn name(&self) -> &'static str {
        "I21 memory, log and tables stay bounded"
    }

    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String> {
        match *fact {
            Fact::Happened { node } => {
                if now.since_ms(self.second) >= 1_000 {
                    self.second = now;
                    self.happened.clear();
                }
                let happened = self.happened.entry(node).or_default();
                *happened += 1;
                if *happened > HAPPENINGS_MAX {
                    return Err(format!(
                        "{happened} things have happened to node {node} since {}",
                        self.second
                    ));
                }
                Ok(())
            }
            Fact::Stands { node, log_len, waiting, committed, applied, .. } => {
                // A follower may hold entries that nobody has committed yet; a snapshot cannot cover those.
                if log_len as u64 > self.log_max + SLACK && committed == applied.index {
                    return Err(format!(
                        "the log of c{} has {log_len} entries, applied is {}, the limit {}",
                        node + 1,
                        applied.index,
                        self.log_max + SLACK
                    ));
                }
                if waiting > self.waiting_max {
                    return Err(format!("{waiting} things wait in c{}", node + 1));
                }
                Ok(())
            }
            Fact::Through { index, state, .. } if index % STATES_EVERY == 0 => {
                let broken = violations(state);
                if broken.is_empty() { Ok(()) } else { Err(broken.join("; ")) }
            }
            _ => Ok(()),
        }
    }
}
