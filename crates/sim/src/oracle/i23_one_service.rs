//! I23: a service never outlives its lease (DESIGN section 5, rule 11): when one starts, no other of its group runs, whatever
//! became of the agent that it was started for; and none runs under an epoch that counts as released or stopped there.
//!
//! What nobody ends at its deadline, because a guard and its keeper were killed in one instant, or because it runs elsewhere and
//! its demote hook fails, holds a group up for as long as its host is in contact, and says so. One that is lost is given up after
//! D, with what it runs.

use super::{Fact, Invariant, events};
use crate::{network::Node, plan::Plan, time::Moment};
use quorate_domain::{Command, Epoch, Event, GroupId, Revision, command::Fencing};
use std::collections::BTreeMap;

/// For so long a leader must have renewed a host before it is held to have heard what that says of its groups.
const HEARD_MS: u64 = 2_000;

#[derive(Debug)]
pub(super) struct OneService {
    running: BTreeMap<GroupId, BTreeMap<Node, Running>>,
    /// What each agent said last that it has installed.
    installed: BTreeMap<Node, Revision>,
    contacts: BTreeMap<Node, Contact>,
    /// A host is in contact for this long after a renewal at least.
    contact_ms: u64,
}

#[derive(Debug)]
struct Running {
    epoch: Epoch,
    since: Moment,
    /// Nobody ends it.
    is_stray: bool,
    /// Its host was out of contact for D, and the group went on without it.
    is_given_up: bool,
}

/// A leader renews a machine's agent.
#[derive(Debug)]
struct Contact {
    term: u64,
    since: Moment,
    last: Moment,
}

impl Contact {
    /// True while the last renewal proves that it is there.
    fn is_fresh(&self, now: Moment, for_ms: u64) -> bool {
        now.since_ms(self.last) <= for_ms
    }
}

impl OneService {
    pub(super) fn new(plan: &Plan) -> Self {
        // Leaders count from when a heartbeat came, which was before it was acknowledged.
        let contact_ms = plan.lease.suspect_after_ms() / 2;
        Self { running: BTreeMap::new(), installed: BTreeMap::new(), contacts: BTreeMap::new(), contact_ms }
    }
}

impl Invariant for OneService {
    fn name(&self) -> &'static str {
        "I23 a service never outlives its lease"
    }

    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String> {
        match *fact {
            Fact::ServiceStarts { machine, group, epoch } => self.starts(machine, group, epoch, now),
            Fact::ServiceStrays { machine, group, epoch } => {
                if let Some(running) =
                    self.running.get_mut(group).and_then(|running| running.get_mut(&machine))
                {
                    running.is_stray |= running.epoch == epoch;
                }
                Ok(())
            }
            Fact::GuardTold { machine, group, epoch, recorded: false } => Err(format!(
                "a guard of {group} on node {machine} is told of epoch {epoch}, and the next start of its agent would not \
                 know that it was"
            )),
            Fact::ServiceStops { machine, group } => {
                if let Some(running) = self.running.get_mut(group) {
                    running.remove(&machine);
                }
                Ok(())
            }
            Fact::HeartbeatSent { machine, installed, .. } => {
                self.installed.insert(machine, installed);
                Ok(())
            }
            Fact::Renewed { term, machine, assignment, .. } => {
                // Others prove no contact.
                if self.installed.get(&machine).is_some_and(|installed| *installed >= assignment) {
                    self.renewed(term, machine, now);
                }
                Ok(())
            }
            Fact::Decided { term, proposal, applied, .. } => {
                if applied.committed.is_some()
                    && let Command::ChooseCandidate { group, fencing: Fencing::Waited { .. }, .. }
                    | Command::FinishDeletion { group, fencing: Fencing::Waited { .. }, .. } =
                        &proposal.command
                {
                    self.given_up(group, term, now)?;
                }
                events(applied).iter().try_for_each(|event| match event {
                    Event::PrimaryReleased { group, epoch, .. }
                    | Event::PrimaryStartFailed { group, epoch, .. }
                    | Event::OldPrimaryStopped { group, epoch, .. } => self.has_stopped(group, *epoch, now),
                    _ => Ok(()),
                })
            }
            _ => Ok(()),
        }
    }
}

impl OneService {
    fn starts(&mut self, machine: Node, group: &GroupId, epoch: Epoch, now: Moment) -> Result<(), String> {
        let running = self.running.entry(group.clone()).or_default();
        let starts = Running { epoch, since: now, is_stray: false, is_given_up: false };
        let before = running.insert(machine, starts);
        if let Some(older) = before.filter(|older| older.epoch != epoch) {
            return Err(format!(
                "at {now} node {machine} starts the service of {group} under epoch {epoch} and runs that of epoch {} since {}",
                older.epoch, older.since
            ));
        }
        let others: Vec<String> = running
            .iter()
            .filter(|(node, other)| **node != machine && !other.is_given_up)
            .map(|(node, other)| format!("node {node} (epoch {}, since {})", other.epoch, other.since))
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(format!(
            "at {now} node {machine} starts the service of {group} under epoch {epoch}, which runs on {}",
            others.join(" and ")
        ))
    }

    fn renewed(&mut self, term: u64, machine: Node, now: Moment) {
        let goes_on = |contact: &&Contact| contact.term == term && contact.is_fresh(now, self.contact_ms);
        let since = self.contacts.get(&machine).filter(goes_on).map_or(now, |contact| contact.since);
        self.contacts.insert(machine, Contact { term, since, last: now });
    }

    /// A leader has waited for D, and somebody follows whoever was primary, or the group is deleted.
    fn given_up(&mut self, group: &GroupId, term: u64, now: Moment) -> Result<(), String> {
        // Whoever was given up stays so, should its host come back: others have served since.
        let strays = self.running.get_mut(group).into_iter().flatten();
        for (node, running) in strays.filter(|(_, one)| one.is_stray && !one.is_given_up) {
            let heard = self.contacts.get(node).filter(|contact| {
                let is_there = contact.is_fresh(now, self.contact_ms);
                contact.term == term && is_there && contact.last.since_ms(contact.since) >= HEARD_MS
            });
            if let Some(contact) = heard {
                return Err(format!(
                    "{group} goes on without its primary after a wait, and the service of epoch {} runs on node {node}, which \
                     has been in contact since {}",
                    running.epoch, contact.since
                ));
            }
            running.is_given_up = true;
        }
        Ok(())
    }

    /// Somebody's word that the service of an epoch has stopped is true. A start of the agent on another machine, which has
    /// waited for as long as D, may give the word for one that is lost with what it runs.
    fn has_stopped(&mut self, group: &GroupId, epoch: Epoch, now: Moment) -> Result<(), String> {
        let mut running = self.running.get_mut(group).into_iter().flatten();
        let Some((node, running)) = running.find(|(_, running)| running.epoch == epoch) else {
            return Ok(());
        };
        let contact = self.contacts.get(node);
        let is_there = contact.is_some_and(|contact| contact.is_fresh(now, self.contact_ms));
        if running.is_stray && !is_there {
            running.is_given_up = true;
            return Ok(());
        }
        Err(format!(
            "epoch {epoch} of {group} counts as stopped, and its service runs on node {node} since {}",
            running.since
        ))
    }
}
