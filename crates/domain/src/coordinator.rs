//! The coordinators as they are agreed on: who there is, who votes, and a change of them under way.
//!
//! Raft has its own list of members. The record here is what operators see and what decides: Raft drops a voter
//! together with its vote, but nobody is told to go before it is on record who votes without it, and from then on a change
//! cannot be cancelled. Otherwise a coordinator could be needed again that was told to go.

use crate::ids::{CoordinatorId, Term, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The most coordinators, learners included: etcd's documentation advises at most seven members, because every write
/// waits for a majority of the voters.
pub const COORDINATORS_MAX: usize = 7;

/// The highest number that a coordinator can have.
pub const COORDINATOR_ID_MAX: u64 = 4_294_967_295;

/// How far above all numbers before it a new coordinator's may be. Those in between are never used, and a slip must not
/// use up all that are left.
pub const COORDINATOR_ID_STEP_MAX: u64 = 1_000;

/// What a coordinator takes part in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CoordinatorRole {
    /// It takes the log and has no vote.
    Learner,
    /// It counts for the quorum.
    Voter,
}

impl fmt::Display for CoordinatorRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Learner => "learner",
            Self::Voter => "voter",
        })
    }
}

/// A coordinator as it is named to the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoordinatorSpec {
    /// Its number; never used before.
    pub id: CoordinatorId,
    /// Where agents and clients reach it.
    pub api_address: String,
    /// Where other coordinators reach it.
    pub peer_address: String,
}

/// A coordinator on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordinator {
    /// Its number.
    pub id: CoordinatorId,
    /// Where agents and clients reach it.
    pub api_address: String,
    /// Where other coordinators reach it.
    pub peer_address: String,
    /// Whether it votes.
    pub role: CoordinatorRole,
    /// Since when it has this role.
    pub since: Timestamp,
}

/// Whom the leader of a term has heard from lately, itself included: what a change of voters rests on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Heard {
    /// The leader's term: what was heard in another one counts for nothing.
    pub term: Term,
    /// Who answered it lately.
    pub coordinators: BTreeSet<CoordinatorId>,
    /// Who of them lacks so many entries that it cannot acknowledge a new one before it has caught up, and how many.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lagging: BTreeMap<CoordinatorId, u64>,
}

impl Heard {
    /// Who can acknowledge an entry at once: only these count for a quorum.
    pub fn able(&self) -> BTreeSet<CoordinatorId> {
        self.coordinators.iter().copied().filter(|id| !self.lagging.contains_key(id)).collect()
    }

    /// Who of these answers and lags, and by how many entries.
    pub fn lagging_of(&self, voters: &BTreeSet<CoordinatorId>) -> BTreeMap<CoordinatorId, u64> {
        let lagging = self.lagging.iter().filter(|(id, _)| voters.contains(id));
        lagging.map(|(id, lag)| (*id, *lag)).collect()
    }
}

/// The members that Raft has, committed and not in between two sets, as the leader of a term sees them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RaftMembers {
    /// The leader's term.
    pub term: Term,
    /// Who votes.
    pub voters: BTreeSet<CoordinatorId>,
    /// Who only takes the log.
    pub learners: BTreeSet<CoordinatorId>,
}

impl RaftMembers {
    /// True when it is one of them.
    pub fn contains(&self, id: CoordinatorId) -> bool {
        self.voters.contains(&id) || self.learners.contains(&id)
    }
}

/// How the coordinators shall change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CoordinatorChange {
    /// A new one takes the log.
    Add(CoordinatorSpec),
    /// A learner gets a vote.
    Promote(CoordinatorId),
    /// One goes for good.
    Remove(CoordinatorId),
    /// A new one takes the place of a voter that goes for good.
    Replace {
        /// Who goes.
        remove: CoordinatorId,
        /// Who comes.
        add: CoordinatorSpec,
    },
}

impl CoordinatorChange {
    /// The new coordinator, if there is one.
    pub fn joins(&self) -> Option<&CoordinatorSpec> {
        match self {
            Self::Add(spec) | Self::Replace { add: spec, .. } => Some(spec),
            Self::Promote(_) | Self::Remove(_) => None,
        }
    }

    /// The one that goes for good, if there is one.
    pub fn leaves(&self) -> Option<CoordinatorId> {
        match self {
            Self::Remove(id) | Self::Replace { remove: id, .. } => Some(*id),
            Self::Add(_) | Self::Promote(_) => None,
        }
    }

    /// The one that must hold the log before the change goes on, if there is one.
    pub fn catches_up(&self) -> Option<CoordinatorId> {
        match self {
            Self::Add(spec) | Self::Replace { add: spec, .. } => Some(spec.id),
            Self::Promote(id) => Some(*id),
            Self::Remove(_) => None,
        }
    }

    /// Who votes once it is done, from who votes before.
    pub fn voters_after(&self, before: &BTreeSet<CoordinatorId>) -> BTreeSet<CoordinatorId> {
        let mut voters = before.clone();
        if let Some(id) = self.leaves() {
            voters.remove(&id);
        }
        match self {
            Self::Promote(id) => voters.insert(*id),
            Self::Replace { add, .. } => voters.insert(add.id),
            Self::Add(_) | Self::Remove(_) => false,
        };
        voters
    }

    /// The change's kind, for people and clients.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Add(_) => "add-member",
            Self::Promote(_) => "promote-member",
            Self::Remove(_) => "remove-member",
            Self::Replace { .. } => "replace-member",
        }
    }
}

impl fmt::Display for CoordinatorChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(spec) => write!(f, "add coordinator {}", spec.id),
            Self::Promote(id) => write!(f, "promote coordinator {id}"),
            Self::Remove(id) => write!(f, "remove coordinator {id}"),
            Self::Replace { remove, add } => write!(f, "replace coordinator {remove} by {}", add.id),
        }
    }
}

/// How far a change of coordinators is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeProgress {
    /// What shall change.
    pub change: CoordinatorChange,
    /// Who voted when it was begun.
    pub voters_before: BTreeSet<CoordinatorId>,
    /// Who shall vote when it is done.
    pub voters_after: BTreeSet<CoordinatorId>,
    /// True once whoever comes or gets a vote holds the log.
    pub caught_up: bool,
    /// True once it is on record that `voters_after` vote: from here on it is finished and never cancelled.
    pub on_record: bool,
    /// True once it was cancelled: `voters_before` shall vote, and whoever came goes.
    pub cancelled: bool,
}

impl ChangeProgress {
    /// A change that has just begun.
    pub fn begun(change: CoordinatorChange, voters_before: BTreeSet<CoordinatorId>) -> Self {
        let voters_after = change.voters_after(&voters_before);
        let caught_up = change.catches_up().is_none();
        // Where the same vote as before, the record has said so all along.
        let on_record = voters_before == voters_after && change.leaves().is_some();
        Self { change, voters_before, voters_after, caught_up, on_record, cancelled: false }
    }

    /// Who shall vote in Raft as far as the change has come.
    pub fn wanted_voters(&self) -> &BTreeSet<CoordinatorId> {
        if self.caught_up && !self.cancelled { &self.voters_after } else { &self.voters_before }
    }

    /// Who is to be told that it is no coordinator any more, if anybody. Raft may have dropped it before, together with its
    /// vote.
    pub fn let_go(&self) -> Option<CoordinatorId> {
        if self.cancelled {
            self.change.joins().map(|spec| spec.id)
        } else {
            self.change.leaves().filter(|_| self.on_record)
        }
    }
}

/// How many of so many voters are a quorum.
pub fn quorum_of(voters: usize) -> usize {
    voters / 2 + 1
}

/// True when a quorum of the voters is among those that were heard.
pub fn has_quorum(voters: &BTreeSet<CoordinatorId>, heard: &BTreeSet<CoordinatorId>) -> bool {
    voters.intersection(heard).count() >= quorum_of(voters.len())
}

/// Who lags and by how much, in words for people; each begins with a semicolon.
pub fn lags(lagging: &BTreeMap<CoordinatorId, u64>) -> String {
    let each = lagging.iter().map(|(id, lag)| format!("; {id} answers and lacks {lag} entries"));
    each.collect::<Vec<_>>().concat()
}

/// Numbers in one line for people.
pub fn listed<'a>(ids: impl IntoIterator<Item = &'a CoordinatorId>) -> String {
    let ids: Vec<_> = ids.into_iter().map(ToString::to_string).collect();
    if ids.is_empty() { "none".to_owned() } else { ids.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> BTreeSet<CoordinatorId> {
        ids.iter().map(|id| CoordinatorId(*id)).collect()
    }

    #[test]
    fn a_quorum_is_more_than_half_of_the_voters_whoever_else_was_heard() {
        for (voters, heard, expected) in [
            (&[1, 2, 3][..], &[1, 2][..], true),
            (&[1, 2, 3], &[1, 4, 5], false),
            (&[1, 2, 3, 4], &[1, 2], false),
            (&[1, 2, 3, 4], &[1, 2, 4], true),
            (&[1], &[1], true),
            (&[1], &[], false),
        ] {
            assert_eq!(has_quorum(&ids(voters), &ids(heard)), expected, "{voters:?} {heard:?}");
        }
    }

    #[test]
    fn nobody_may_be_let_go_before_it_is_on_record_who_votes() {
        let mut change = ChangeProgress::begun(CoordinatorChange::Remove(CoordinatorId(3)), ids(&[1, 2, 3]));
        assert_eq!((change.let_go(), change.wanted_voters()), (None, &ids(&[1, 2])));
        change.on_record = true;
        assert_eq!(change.let_go(), Some(CoordinatorId(3)));
        let learner = ChangeProgress::begun(CoordinatorChange::Remove(CoordinatorId(4)), ids(&[1, 2, 3]));
        assert_eq!(learner.let_go(), Some(CoordinatorId(4)), "it never had a vote");
    }
}
