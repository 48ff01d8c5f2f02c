//! I15: no renewal is acknowledged without a quorum round that began after the renewal arrived, or after the revoke of
//! something that it would cover.

use super::{Fact, Invariant};
use crate::{network::Node, raft::Membership, time::Moment};
use quorate_domain::{HostId, Revision, StartId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
struct Arrival {
    at: Moment,
    /// What the host's assignment was when it arrived, as far as anybody had decided.
    assignment: Revision,
}

#[derive(Debug, Default)]
pub(super) struct RenewalsByQuorum {
    /// The machines of copies, and the coordinators that they speak for.
    copies: BTreeMap<Node, Node>,
    /// Whom each coordinator takes for a member.
    members: BTreeMap<Node, Membership>,
    arrived: BTreeMap<(Node, Node, StartId, u64), Arrival>,
    /// For each leadership: when the latest question was asked that a peer has answered.
    answered: BTreeMap<(Node, u64), BTreeMap<Node, Moment>>,
    /// What has been decided of each host.
    assignments: BTreeMap<HostId, Revision>,
}

impl RenewalsByQuorum {
    fn stands_for(&self, machine: Node) -> Node {
        self.copies.get(&machine).copied().unwrap_or(machine)
    }

    fn renewed(&self, node: Node, term: u64, arrival: &Arrival, assignment: Revision) -> Result<(), String> {
        let answers = self.answered.get(&(node, term));
        let answered = answers.into_iter().flatten().filter(|(_, asked)| **asked >= arrival.at);
        let since: BTreeSet<Node> = answered.map(|(peer, _)| *peer).chain([self.stands_for(node)]).collect();
        let members = self.members.get(&node);
        if !members.is_some_and(|members| members.has_quorum(&since)) {
            return Err(format!(
                "c{} in term {term} acknowledged a renewal that arrived at {}: it and those that answered something \
                 asked since are {since:?} (from 0), which is no quorum of {members:?}",
                node + 1,
                arrival.at
            ));
        }
        if assignment < arrival.assignment {
            return Err(format!(
                "c{} acknowledged a renewal with assignment {assignment}: {} had been decided when it arrived",
                node + 1,
                arrival.assignment
            ));
        }
        Ok(())
    }
}

impl Invariant for RenewalsByQuorum {
    fn name(&self) -> &'static str {
        "I15 no renewal without a later quorum round, or after a revoke"
    }

    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String> {
        match *fact {
            Fact::Copied { node, from } => {
                self.copies.insert(node, self.stands_for(from));
                Ok(())
            }
            Fact::Answered { leader, term, peer, asked } => {
                let answers = self.answered.entry((leader, term)).or_default();
                let latest = answers.entry(peer).or_insert(asked);
                *latest = (*latest).max(asked);
                Ok(())
            }
            Fact::Configured { node, members } => {
                self.members.insert(node, members.clone());
                Ok(())
            }
            Fact::Decided { after, applied, .. } => {
                let Some(committed) = &applied.committed else { return Ok(()) };
                for host in after.hosts.values().filter(|host| host.assignment_revision == committed.revision)
                {
                    self.assignments.insert(host.id.clone(), host.assignment_revision);
                }
                Ok(())
            }
            Fact::HeartbeatArrived { node, machine, host, start, seq } => {
                let assignment = self.assignments.get(host).copied().unwrap_or_default();
                self.arrived.entry((node, machine, start, seq)).or_insert(Arrival { at: now, assignment });
                Ok(())
            }
            Fact::Renewed { node, term, machine, start, seq, assignment } => {
                match self.arrived.get(&(node, machine, start, seq)) {
                    Some(arrival) => self.renewed(node, term, arrival, assignment),
                    None => Err(format!("c{} acknowledged a renewal that never arrived", node + 1)),
                }
            }
            _ => Ok(()),
        }
    }
}
