//! I22: a change of coordinators never leaves voters of whom no quorum was up, lets nobody go whose vote is on record, ends
//! with Raft as it is on record, and uses no number twice.

use super::{Fact, Invariant, asked, events};
use crate::{
    coordinator::{HEARD_WITHIN_MS, coordinator_id, coordinator_node},
    network::Node,
    raft::{Membership, Payload},
    time::Moment,
};
use quorate_domain::{
    Command, CoordinatorId, Event, Heard, Proposal, State,
    coordinator::{ChangeProgress, quorum_of},
};
use quorate_planner::coordinators::CAUGHT_UP_ENTRIES;
use std::collections::{BTreeMap, BTreeSet};

/// What a clock may be wrong by within that time, and more.
const SLACK_MS: u64 = 250;

#[derive(Debug, Default)]
pub(super) struct Coordinators {
    /// When each coordinator last did anything, its term by then, and the last entry of its log.
    ran: BTreeMap<Node, (Moment, u64, u64)>,
    /// Every number that was ever used.
    used: BTreeSet<CoordinatorId>,
    /// The configuration that was committed last, by its entry.
    committed: (u64, Membership),
    /// Who votes by what was decided last.
    on_record: BTreeSet<CoordinatorId>,
}

impl Invariant for Coordinators {
    fn name(&self) -> &'static str {
        "I22 a change of coordinators keeps a quorum that was up, and uses no number twice"
    }

    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String> {
        match *fact {
            Fact::Stands { node, ballot, last, .. } => {
                self.ran.insert(node, (now, ballot.term, last));
                Ok(())
            }
            Fact::Committed { entry, .. } => {
                if let Payload::Members(members) = &entry.payload
                    && entry.index > self.committed.0
                {
                    self.committed = (entry.index, members.as_ref().clone());
                }
                Ok(())
            }
            Fact::Heard { node, heard } => self.heard(node, heard, now),
            Fact::Reconfigured { node, from, to, .. } => self.reconfigured(node, from, to, now),
            Fact::Decided { proposal, before, after, applied, .. } => {
                for event in events(applied) {
                    check_quorum(event, proposal, before)?;
                    self.decided(event, after)?;
                }
                self.on_record = after.recorded_voters();
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Coordinators {
    /// True when it did anything so lately that a leader may count on it.
    fn was_up(&self, node: Node, now: Moment) -> bool {
        self.ran.get(&node).is_some_and(|(at, ..)| now.since_ms(*at) <= HEARD_WITHIN_MS + SLACK_MS)
    }

    /// Nobody was heard who was not there.
    fn heard(&self, node: Node, heard: &Heard, now: Moment) -> Result<(), String> {
        let others = heard.coordinators.iter().filter(|id| **id != coordinator_id(node));
        match others.into_iter().find(|id| !self.was_up(coordinator_node(**id), now)) {
            Some(id) => Err(format!("c{} says that it has heard c{id} lately, which was not up", node + 1)),
            None => self.holds_the_log(node, heard),
        }
    }

    /// Whoever counts lacks no more of the leader's log than one message carries.
    fn holds_the_log(&self, leader: Node, heard: &Heard) -> Result<(), String> {
        let Some((_, _, last)) = self.ran.get(&leader) else { return Ok(()) };
        for id in heard.able() {
            let Some((_, term, has)) = self.ran.get(&coordinator_node(id)) else { continue };
            // In a later term another leader may have cut its log.
            if *term == heard.term.0 && has + CAUGHT_UP_ENTRIES < *last {
                return Err(format!("c{} counts on c{id}, which has {has} of {last} entries", leader + 1));
            }
        }
        Ok(())
    }

    /// A leader changes Raft's members.
    fn reconfigured(
        &self,
        node: Node,
        from: &Membership,
        to: &Membership,
        now: Moment,
    ) -> Result<(), String> {
        let up: BTreeSet<Node> = to
            .everybody()
            .into_iter()
            .filter(|member| *member == node || self.was_up(*member, now))
            .collect();
        // Between two sets a quorum of each was needed already.
        let target =
            Membership { voters: to.voters.last().cloned().into_iter().collect(), ..Membership::default() };
        if from.voters != to.voters && !from.is_joint() && !target.has_quorum(&up) {
            return Err(format!("c{} lets {:?} vote (from 0) while {up:?} are up", node + 1, target.voters));
        }
        if from.votes(node) && !to.votes(node) {
            return Err(format!("c{} takes its own vote away, and others may yet need it", node + 1));
        }
        // Raft drops a voter together with its vote, which is on record a little longer.
        let mut gone = from.learners.iter().copied().filter(|member| !to.contains(*member));
        match gone.find(|member| self.on_record.contains(&coordinator_id(*member))) {
            Some(member) => Err(format!("c{} lets c{} go, whose vote is on record", node + 1, member + 1)),
            None => Ok(()),
        }
    }

    fn decided(&mut self, event: &Event, after: &State) -> Result<(), String> {
        match event {
            Event::CoordinatorsRecorded { coordinators } => {
                self.used.extend(coordinators.iter().map(|known| known.id));
                Ok(())
            }
            Event::CoordinatorChangeBegun { change, .. } => match change.joins() {
                Some(spec) if !self.used.insert(spec.id) => {
                    Err(format!("coordinator {} is added, and the number was used before", spec.id))
                }
                _ => Ok(()),
            },
            Event::CoordinatorChangeFinished { operation, .. } => {
                let on_record: BTreeSet<Node> =
                    after.coordinators.keys().map(|id| coordinator_node(*id)).collect();
                let voters: BTreeSet<Node> =
                    after.recorded_voters().into_iter().map(coordinator_node).collect();
                let members = &self.committed.1;
                if members.voters == [voters] && members.everybody() == on_record {
                    return Ok(());
                }
                Err(format!(
                    "{operation} ended with {members:?} in Raft (from 0), on record are {on_record:?}"
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Those that shall vote have a quorum among those that were heard and hold the log; one that is yet to come counts.
fn check_quorum(event: &Event, proposal: &Proposal, before: &State) -> Result<(), String> {
    let (voters, heard) = match (event, &proposal.command) {
        (Event::CoordinatorChangeBegun { change, .. }, Command::BeginCoordinatorChange { heard, .. }) => {
            let progress = ChangeProgress::begun(change.clone(), before.recorded_voters());
            if progress.voters_before == progress.voters_after {
                return Ok(());
            }
            let newcomer = change.joins().map(|spec| spec.id);
            (progress.voters_after, heard.able().into_iter().chain(newcomer).collect())
        }
        (Event::CoordinatorCaughtUp { .. }, Command::RecordCaughtUp { heard, .. }) => {
            let Some((_, progress)) = before.open_change() else { return Ok(()) };
            if progress.voters_before == progress.voters_after {
                return Ok(());
            }
            (progress.voters_after.clone(), heard.able())
        }
        (Event::CoordinatorChangeCancelled { .. }, Command::CancelCoordinatorChange { heard, .. }) => {
            let Some((_, progress)) = before.open_change() else { return Ok(()) };
            (progress.voters_before.clone(), heard.able())
        }
        _ => return Ok(()),
    };
    let up: BTreeSet<CoordinatorId> = voters.intersection(&heard).copied().collect();
    if up.len() >= quorum_of(voters.len()) {
        return Ok(());
    }
    Err(format!("{} was accepted: {voters:?} shall vote, and only {up:?} of them were up", asked(proposal)))
}
