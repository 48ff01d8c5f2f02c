//! I1: one leader per term.

use super::{Fact, Invariant};
use crate::{network::Node, time::Moment};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct OneLeaderPerTerm {
    leaders: BTreeMap<u64, Node>,
    votes: BTreeMap<(Node, u64), Node>,
}

impl Invariant for OneLeaderPerTerm {
    fn name(&self) -> &'static str {
        "I1 one leader per term"
    }

    fn see(&mut self, fact: &Fact<'_>, _now: Moment) -> Result<(), String> {
        match *fact {
            Fact::Won { node, term } => match self.leaders.insert(term, node) {
                Some(other) => Err(format!("c{} and c{} both won term {term}", other + 1, node + 1)),
                None => Ok(()),
            },
            Fact::Granted { node, term, to, .. } => match self.votes.insert((node, term), to) {
                Some(other) if other != to => {
                    Err(format!("c{} voted for c{} and c{} in term {term}", node + 1, other + 1, to + 1))
                }
                _ => Ok(()),
            },
            // It goes on from what that one has promised, and not from what it had before, which counts nowhere.
            Fact::Copied { node, from } => {
                let of = |machine| move |((voter, _), _): &(&(Node, u64), &Node)| *voter == machine;
                let copied: Vec<_> =
                    self.votes.iter().filter(of(from)).map(|((_, term), to)| ((node, *term), *to)).collect();
                self.votes.retain(|(voter, _), _| *voter != node);
                self.votes.extend(copied);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
