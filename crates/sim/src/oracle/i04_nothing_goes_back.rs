//! I4: term, vote, commit and applied never go back, across restarts too.

use super::{Fact, Invariant};
use crate::{network::Node, raft::Ballot, time::Moment};
use std::collections::BTreeMap;

#[derive(Debug, Default, Clone)]
struct Standing {
    ballot: Ballot,
    committed: u64,
    applied: u64,
    /// The highest term in which it has spoken to others: they rely on it.
    spoke_in: u64,
    /// The votes that it gave away.
    granted: BTreeMap<u64, Node>,
}

#[derive(Debug, Default)]
pub(super) struct NothingGoesBack {
    nodes: BTreeMap<Node, Standing>,
}

impl Invariant for NothingGoesBack {
    fn name(&self) -> &'static str {
        "I4 term, vote, commit and applied never go back"
    }

    fn see(&mut self, fact: &Fact<'_>, _now: Moment) -> Result<(), String> {
        match *fact {
            Fact::Stands { node, ballot, committed, applied, .. } => {
                let known = self.nodes.entry(node).or_default();
                let before = (known.ballot.term, known.committed, known.applied);
                let now = (ballot.term, committed, applied.index);
                if now.0 < before.0 || now.1 < before.1 || now.2 < before.2 {
                    return Err(format!(
                        "c{} went from (term, commit, applied) {before:?} to {now:?}",
                        node + 1
                    ));
                }
                (known.ballot, known.committed, known.applied) = (ballot, committed, applied.index);
                Ok(())
            }
            Fact::Spoke { node, term } => {
                let known = self.nodes.entry(node).or_default();
                known.spoke_in = known.spoke_in.max(term);
                Ok(())
            }
            Fact::Granted { node, term, stands_for, .. } => {
                self.nodes.entry(node).or_default().granted.insert(term, stands_for);
                Ok(())
            }
            // It goes on from what that one has promised, and not from what it had before.
            Fact::Copied { node, from } => {
                let standing = self.nodes.get(&from).cloned().unwrap_or_default();
                self.nodes.insert(node, standing);
                Ok(())
            }
            Fact::Started { node, ballot, .. } => self.started(node, ballot),
            _ => Ok(()),
        }
    }
}

impl NothingGoesBack {
    fn started(&mut self, node: Node, ballot: Ballot) -> Result<(), String> {
        let known = self.nodes.entry(node).or_default();
        if ballot.term < known.spoke_in {
            return Err(format!(
                "c{} has spoken in term {} and starts in {}",
                node + 1,
                known.spoke_in,
                ballot.term
            ));
        }
        if let Some(to) = known.granted.get(&ballot.term)
            && ballot.voted_for != Some(*to)
        {
            return Err(format!(
                "c{} voted for c{} in term {} and does not know it after a restart",
                node + 1,
                to + 1,
                ballot.term
            ));
        }
        // What it knew of others' commits is not on its disk; the log tells it again.
        known.ballot = ballot;
        (known.committed, known.applied) = (0, 0);
        Ok(())
    }
}
