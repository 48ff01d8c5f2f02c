//! I10: epochs rise, one holder each.

use super::{Fact, Invariant, events};
use crate::time::Moment;
use quorate_domain::{Epoch, Event, GroupId, HostId, Incarnation, invariants::transition_violations};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct EpochsRise {
    granted: BTreeMap<GroupId, (Epoch, HostId, Incarnation)>,
    claimed: BTreeMap<(GroupId, Epoch), usize>,
}

impl Invariant for EpochsRise {
    fn name(&self) -> &'static str {
        "I10 epochs rise, one holder each"
    }

    fn see(&mut self, fact: &Fact<'_>, _now: Moment) -> Result<(), String> {
        match *fact {
            Fact::Decided { before, after, applied, .. } => {
                let broken = transition_violations(before, after);
                if !broken.is_empty() {
                    return Err(broken.join("; "));
                }
                events(applied).iter().try_for_each(|event| self.granted(event))
            }
            Fact::Claims { claim, .. } => {
                let key = (claim.group.clone(), claim.epoch);
                let holder = *self.claimed.entry(key).or_insert(claim.machine);
                if holder == claim.machine {
                    return Ok(());
                }
                Err(format!(
                    "epoch {} of {} was acted under on node {holder} and on node {}",
                    claim.epoch, claim.group, claim.machine
                ))
            }
            _ => Ok(()),
        }
    }
}

impl EpochsRise {
    fn granted(&mut self, event: &Event) -> Result<(), String> {
        let (group, epoch, host, start) = match event {
            Event::GroupCreated { group, epoch, primary, granted_to, .. } => {
                (group, *epoch, &primary.host, *granted_to)
            }
            Event::PrimarySwitched { group, epoch, to, granted_to, .. } => (group, *epoch, to, *granted_to),
            _ => return Ok(()),
        };
        let new = (epoch, host.clone(), start);
        match self.granted.insert(group.clone(), new) {
            Some((last, ..)) if last >= epoch => {
                Err(format!("{group} was granted to {host} under epoch {epoch} after epoch {last}"))
            }
            _ => Ok(()),
        }
    }
}
