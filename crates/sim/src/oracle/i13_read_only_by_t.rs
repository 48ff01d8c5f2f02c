//! I13: an agent without a counted renewal is read-only by T, counted from the true moment of sending, with every group
//! and as a host; and one in safe mode acts for nothing.

use super::{Fact, Invariant};
use crate::{network::Node, plan::Plan, time::Moment};
use quorate_domain::{GroupId, ServiceMode, StartId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(super) struct ReadOnlyByT {
    /// T on a clock that runs as slowly as allowed, in true time.
    longest_us: u64,
    sent: BTreeMap<(Node, StartId, u64), Moment>,
    /// When the newest heartbeat was sent that a leader acknowledged.
    renewed: BTreeMap<(Node, StartId), Moment>,
    /// What machines act for.
    acting: BTreeSet<(Node, GroupId)>,
}

impl ReadOnlyByT {
    pub(super) fn new(plan: &Plan) -> Self {
        let lease_us = plan.lease.lease_ms * 1_000;
        let longest_us = (lease_us * 1_000_000).div_ceil(1_000_000 - plan.lease.clock_error_ppm) + 2;
        Self { longest_us, sent: BTreeMap::new(), renewed: BTreeMap::new(), acting: BTreeSet::new() }
    }

    /// When the renewals of a start of an agent are over; none before the first.
    fn limit(&self, machine: Node, start: StartId) -> Option<Moment> {
        self.renewed.get(&(machine, start)).map(|sent| sent.after_us(self.longest_us))
    }

    fn judge_mode(
        &self,
        machine: Node,
        start: StartId,
        mode: ServiceMode,
        until: Moment,
    ) -> Result<(), String> {
        match mode {
            ServiceMode::Normal => match self.limit(machine, start) {
                Some(limit) if until <= limit => Ok(()),
                limit => Err(format!(
                    "node {machine} is normal until {until}; its renewals are good until {}",
                    shown(limit)
                )),
            },
            ServiceMode::ReadOnly => Ok(()),
            ServiceMode::Safe => match self.acting.iter().find(|(node, _)| *node == machine) {
                Some((_, group)) => Err(format!("node {machine} is in safe mode and acts for {group}")),
                None => Ok(()),
            },
        }
    }
}

fn shown(limit: Option<Moment>) -> String {
    limit.map_or_else(|| "never".to_owned(), |limit| limit.to_string())
}

impl Invariant for ReadOnlyByT {
    fn name(&self) -> &'static str {
        "I13 an agent without a counted renewal is read-only by T"
    }

    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String> {
        match *fact {
            Fact::HeartbeatSent { machine, start, seq, .. } => {
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
                if claim.fresh {
                    self.acting.insert((claim.machine, claim.group.clone()));
                } else {
                    self.acting.remove(&(claim.machine, claim.group.clone()));
                }
                let limit = self.limit(claim.machine, claim.start);
                if !claim.fresh || limit.is_some_and(|limit| claim.until <= limit) {
                    return Ok(());
                }
                Err(format!(
                    "node {} acts for {} until {}; its renewals are good until {}",
                    claim.machine,
                    claim.group,
                    claim.until,
                    shown(limit)
                ))
            }
            Fact::Yields { machine, group } => {
                self.acting.remove(&(machine, group.clone()));
                Ok(())
            }
            Fact::Mode { machine, start, mode, until } => self.judge_mode(machine, start, mode, until),
            _ => Ok(()),
        }
    }
}
