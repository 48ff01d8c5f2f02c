//! I23: a service never outlives its lease (DESIGN section 5, rule 11): when one starts, no other of its group runs, whatever
//! became of the agent that it was started for; and none runs under an epoch that counts as released or stopped there.

use super::{Fact, Invariant, events};
use crate::{network::Node, time::Moment};
use quorate_domain::{Epoch, Event, GroupId};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct OneService {
    running: BTreeMap<GroupId, BTreeMap<Node, (Epoch, Moment)>>,
}

impl Invariant for OneService {
    fn name(&self) -> &'static str {
        "I23 a service never outlives its lease"
    }

    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String> {
        match *fact {
            Fact::ServiceStarts { machine, group, epoch } => {
                let running = self.running.entry(group.clone()).or_default();
                let before = running.insert(machine, (epoch, now));
                if let Some((older, since)) = before.filter(|(older, _)| *older != epoch) {
                    return Err(format!(
                        "at {now} node {machine} starts the service of {group} under epoch {epoch} and runs that of epoch {older} since {since}"
                    ));
                }
                let others: Vec<String> = running
                    .iter()
                    .filter(|(node, _)| **node != machine)
                    .map(|(node, (epoch, since))| format!("node {node} (epoch {epoch}, since {since})"))
                    .collect();
                if others.is_empty() {
                    return Ok(());
                }
                Err(format!(
                    "at {now} node {machine} starts the service of {group} under epoch {epoch}, which runs on {}",
                    others.join(" and ")
                ))
            }
            Fact::ServiceStops { machine, group } => {
                if let Some(running) = self.running.get_mut(group) {
                    running.remove(&machine);
                }
                Ok(())
            }
            Fact::Decided { applied, .. } => events(applied).iter().try_for_each(|event| match event {
                Event::PrimaryReleased { group, epoch, .. }
                | Event::PrimaryStartFailed { group, epoch, .. }
                | Event::OldPrimaryStopped { group, epoch, .. } => self.has_stopped(group, *epoch),
                _ => Ok(()),
            }),
            _ => Ok(()),
        }
    }
}

impl OneService {
    /// Somebody's word that the service of an epoch has stopped is true.
    fn has_stopped(&self, group: &GroupId, epoch: Epoch) -> Result<(), String> {
        let running = self.running.get(group).into_iter().flatten();
        let found =
            running.filter(|(_, (under, _))| *under == epoch).map(|(node, (_, since))| (node, since)).next();
        match found {
            Some((node, since)) => Err(format!(
                "epoch {epoch} of {group} counts as stopped, and its service runs on node {node} since {since}"
            )),
            None => Ok(()),
        }
    }
}
