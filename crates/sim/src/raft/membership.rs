//! Who takes part in Raft, and what a quorum of them is.

use std::{collections::BTreeSet, sync::Arc};

/// A configuration: who votes, in one set or in two while a quorum of each is needed, and who only takes the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Membership {
    /// One set of voters, or two.
    pub(crate) voters: Vec<BTreeSet<usize>>,
    /// Who only takes the log.
    pub(crate) learners: BTreeSet<usize>,
}

/// A configuration and the entry that carries it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Configured {
    /// The entry; zero where there is none.
    pub(crate) index: u64,
    /// What it says.
    pub(crate) members: Arc<Membership>,
}

impl Membership {
    /// The first so many nodes, all of them voters.
    pub(crate) fn of_first(count: usize) -> Self {
        Self { voters: vec![(0..count).collect()], learners: BTreeSet::new() }
    }

    /// True when it counts for a quorum.
    pub(crate) fn votes(&self, node: usize) -> bool {
        self.voters.iter().any(|voters| voters.contains(&node))
    }

    /// True when it takes part, with or without a vote.
    pub(crate) fn contains(&self, node: usize) -> bool {
        self.votes(node) || self.learners.contains(&node)
    }

    /// True while a quorum of two sets is needed.
    pub(crate) fn is_joint(&self) -> bool {
        self.voters.len() > 1
    }

    /// Everybody.
    pub(crate) fn everybody(&self) -> BTreeSet<usize> {
        self.voters.iter().flatten().chain(&self.learners).copied().collect()
    }

    /// True when these are a quorum, of each set where there are two.
    pub(crate) fn has_quorum(&self, nodes: &BTreeSet<usize>) -> bool {
        let majority = |voters: &BTreeSet<usize>| voters.intersection(nodes).count() > voters.len() / 2;
        !self.voters.is_empty() && self.voters.iter().all(majority)
    }

    /// The value that a quorum reaches.
    pub(crate) fn reached(&self, value: impl Fn(usize) -> u64) -> u64 {
        let by_majority = self.voters.iter().map(|voters| {
            let mut values: Vec<u64> = voters.iter().map(|node| value(*node)).collect();
            values.sort_unstable_by(|a, b| b.cmp(a));
            values.get(values.len() / 2).copied().unwrap_or(0)
        });
        by_majority.min().unwrap_or(0)
    }

    /// With one more that takes the log.
    pub(crate) fn with_learner(&self, node: usize) -> Self {
        let mut with = self.clone();
        if !with.votes(node) {
            with.learners.insert(node);
        }
        with
    }

    /// One step towards these voters, as openraft takes it: into both sets, and out of two into one of them. Whoever
    /// votes no more is dropped.
    pub(crate) fn towards(&self, to: &BTreeSet<usize>) -> Self {
        let last = self.voters.last().cloned().unwrap_or_default();
        let voters = if self.voters.contains(to) { vec![to.clone()] } else { vec![last, to.clone()] };
        let mut next = Self { voters, learners: BTreeSet::new() };
        next.learners = self.learners.iter().copied().filter(|node| !next.votes(*node)).collect();
        next
    }

    /// Without a learner.
    pub(crate) fn without(&self, node: usize) -> Self {
        let mut without = self.clone();
        without.learners.remove(&node);
        without
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(nodes: &[usize]) -> BTreeSet<usize> {
        nodes.iter().copied().collect()
    }

    #[test]
    fn two_sets_need_a_quorum_of_each_and_learners_count_for_none() {
        let joint = Membership { voters: vec![set(&[0, 1, 2]), set(&[0, 3, 4])], learners: set(&[5]) };
        for (nodes, quorum) in [
            (&[0, 1, 3][..], true),
            (&[0, 1, 2], false),
            (&[0, 3, 4], false),
            (&[1, 2, 3, 4], true),
            (&[0, 1, 5], false),
        ] {
            assert_eq!(joint.has_quorum(&set(nodes)), quorum, "{nodes:?}");
            let reached = joint.reached(|node| u64::from(nodes.contains(&node)));
            assert_eq!(reached == 1, quorum, "{nodes:?}");
        }
        assert!(!Membership::default().has_quorum(&set(&[0, 1, 2])), "nobody is no quorum");
    }

    #[test]
    fn voters_change_by_way_of_both_sets_and_whoever_votes_no_more_is_dropped() {
        let before = Membership::of_first(3).with_learner(3);
        let joint = before.towards(&set(&[1, 2, 3]));
        assert_eq!((joint.voters.len(), joint.learners.len()), (2, 0));
        let after = joint.towards(&set(&[1, 2, 3]));
        assert_eq!(after, Membership { voters: vec![set(&[1, 2, 3])], learners: set(&[]) });
        assert_eq!(after.with_learner(0).without(0), after);
        let back = joint.towards(&set(&[0, 1, 2]));
        assert_eq!(back, before.without(3), "out of two sets, back to the first");
    }
}
