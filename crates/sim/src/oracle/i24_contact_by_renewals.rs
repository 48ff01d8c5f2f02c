//! I24: contact is what a renewal proves (DESIGN section 5, rules 6 and 14). A leader that has observed for D expires every
//! host of which no heartbeat has come within D: an open session, and a report, are none.

use super::{Fact, Invariant, events};
use crate::{network::Node, plan::Plan, time::Moment};
use quorate_domain::{Command, Event, HostId, HostStatus, State};
use std::collections::{BTreeMap, BTreeSet};

/// What a look may come late by, and what clocks that show whole milliseconds are short of.
const SLACK_US: u64 = 1_000_000;

#[derive(Debug)]
pub(super) struct ContactByRenewals {
    /// D on a clock that runs as slowly as allowed, in true time.
    longest_us: u64,
    /// Since when each coordinator has led and looked without a gap, and in which term.
    observes: BTreeMap<Node, (u64, Moment)>,
    /// When the last heartbeat of each host came, to any coordinator, or a start of its agent was put on record.
    heard: BTreeMap<HostId, Moment>,
    /// Hosts of which a leadership has opened a session since their last heartbeat.
    on_credit: BTreeSet<(Node, u64, HostId)>,
}

impl ContactByRenewals {
    pub(super) fn new(plan: &Plan) -> Self {
        let wait_us = plan.lease.wait_ms * 1_000;
        let longest_us = (wait_us * 1_000_000).div_ceil(1_000_000 - plan.lease.clock_error_ppm) + SLACK_US;
        Self { longest_us, observes: BTreeMap::new(), heard: BTreeMap::new(), on_credit: BTreeSet::new() }
    }

    fn planned(
        &self,
        node: Node,
        since: Moment,
        state: &State,
        plan: &quorate_planner::Plan,
        now: Moment,
    ) -> Result<(), String> {
        for host in state.hosts.values().filter(|host| host.status != HostStatus::Offline) {
            let heard = self.heard.get(&host.id).copied().unwrap_or_default();
            let silent_us = now.since_us(heard.max(since));
            let expires = |command: &Command| match command {
                Command::MarkHost { host: marked, status, .. } => {
                    *marked == host.id && *status == HostStatus::Offline
                }
                _ => false,
            };
            if silent_us > self.longest_us && !plan.commands.iter().any(|planned| expires(&planned.command)) {
                return Err(format!(
                    "c{} holds {} for {} and plans nothing else: no heartbeat of it has come for {silent_us} us, and D \
                     is at most {} us",
                    node + 1,
                    host.id,
                    host.status,
                    self.longest_us
                ));
            }
        }
        Ok(())
    }
}

impl Invariant for ContactByRenewals {
    fn name(&self) -> &'static str {
        "I24 contact is what a renewal proves"
    }

    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String> {
        match *fact {
            Fact::HeartbeatArrived { host, .. } => {
                self.heard.insert(host.clone(), now);
                self.on_credit.retain(|(.., on_credit)| on_credit != host);
            }
            // The first heartbeat cannot come before the session; but another session without one proves nothing.
            Fact::Opened { node, term, host } => {
                let is_first = self.on_credit.insert((node, term, host.clone()));
                if is_first {
                    self.heard.insert(host.clone(), now);
                }
            }
            Fact::Decided { applied, .. } => {
                for event in events(applied) {
                    if let Event::HostRegistered { host, .. } | Event::HostRestarted { host, .. } = event {
                        self.heard.insert(host.clone(), now);
                    }
                }
            }
            Fact::Planned { node, term, anew, state, plan } => {
                let known = self.observes.get(&node).filter(|(known, _)| *known == term && !anew);
                let since = known.map_or(now, |(_, since)| *since);
                self.observes.insert(node, (term, since));
                return self.planned(node, since, state, plan, now);
            }
            _ => {}
        }
        Ok(())
    }
}
