//! The members of Raft: who they are, and one change of them at a time.
//!
//! What should change is decided elsewhere; here it is done, with a deadline: a change that is stranded, because its leader
//! was deposed, may never be answered. Whoever asked looks at the members again and goes on from what there is.

use crate::{
    handle::Consensus,
    types::{LogId, MemberNode, Raft},
};
use openraft::{ChangeMembers, RaftMetrics};
use quorate_domain::{CoordinatorId, Term};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::sync::watch;

/// How long one change may take: a quorum's answer, twice for a change of voters.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10);

/// The members of Raft as one node sees them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Members {
    /// The present term.
    pub term: Term,
    /// Who leads, as far as it is known.
    pub leader: Option<CoordinatorId>,
    /// True on the leader.
    pub leads: bool,
    /// True once the entry that holds these members is applied here, and so committed.
    pub committed: bool,
    /// Who votes: one set, or two while a quorum of each is needed.
    pub voters: Vec<BTreeSet<CoordinatorId>>,
    /// Everybody, and where they are reached.
    pub nodes: BTreeMap<CoordinatorId, MemberNode>,
    /// The last entry of this node's log.
    pub last_index: u64,
    /// On a leader: up to which entry each member holds the log.
    pub matched: BTreeMap<CoordinatorId, u64>,
}

impl Members {
    /// True when it counts for a quorum.
    pub fn votes(&self, id: CoordinatorId) -> bool {
        self.voters.iter().any(|voters| voters.contains(&id))
    }
}

/// Why a change of members was not made, or is not known to have been made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// Raft refuses, or this node no longer leads.
    #[error("raft: {0}")]
    Refused(String),
    /// No answer came in time.
    #[error("no quorum has answered within {} s", CHANGE_DEADLINE.as_secs())]
    Deadline,
}

/// Who votes, for those parts that outlive Raft or came before it.
#[derive(Debug, Clone)]
pub struct VotersWatch(watch::Receiver<RaftMetrics<u64, MemberNode>>);

impl VotersWatch {
    /// Who votes now: one set, or two while a quorum of each is needed.
    pub fn voters(&self) -> Vec<BTreeSet<CoordinatorId>> {
        read(&self.0.borrow()).voters
    }
}

fn read(metrics: &RaftMetrics<u64, MemberNode>) -> Members {
    let stored = &metrics.membership_config;
    let applied = metrics.last_applied.map(|id| id.index);
    let matched = metrics.replication.iter().flatten();
    Members {
        term: Term(metrics.current_term),
        leader: metrics.current_leader.map(CoordinatorId),
        leads: metrics.state.is_leader(),
        committed: stored.log_id().map(|id| id.index) <= applied,
        voters: stored
            .membership()
            .get_joint_config()
            .iter()
            .map(|voters| voters.iter().copied().map(CoordinatorId).collect())
            .collect(),
        nodes: stored.nodes().map(|(id, node)| (CoordinatorId(*id), node.clone())).collect(),
        last_index: metrics.last_log_index.unwrap_or(0),
        matched: matched.filter_map(|(id, log)| Some((CoordinatorId(*id), (*log)?.index))).collect(),
    }
}

/// Makes a change and waits until it shows: Raft answers before it reports, and whoever looks in between would make the
/// same change again.
async fn change(
    raft: &Raft,
    change: ChangeMembers<u64, MemberNode>,
    deadline: Duration,
) -> Result<(), MembersError> {
    let made = async {
        // Whoever votes no more is dropped at once. As a learner it would be sent the entry that takes its vote, and with
        // that, not committed yet, openraft lets it neither stand nor vote for those who lack the entry: where its old
        // vote is needed, nobody would lead as long as the leader is away.
        let made = raft.change_membership(change, false).await;
        let log_id: LogId = made.map_err(|error| MembersError::Refused(error.to_string()))?.log_id;
        let mut metrics = raft.metrics();
        let shows = metrics.wait_for(|now| {
            let shown = *now.membership_config.log_id() >= Some(log_id) && now.last_applied >= Some(log_id);
            shown || !now.state.is_leader()
        });
        shows.await.map(|_| ()).map_err(|_| MembersError::Refused("it has ended".to_owned()))
    };
    tokio::time::timeout(deadline, made).await.unwrap_or(Err(MembersError::Deadline))
}

impl Consensus {
    /// The members of Raft, as this node sees them.
    pub fn members(&self) -> Members {
        read(&self.raft().metrics().borrow())
    }

    /// Who votes, as this node sees it at any time.
    pub fn voters_watch(&self) -> VotersWatch {
        VotersWatch(self.raft().metrics())
    }

    /// Sends the log to a new member, which has no vote.
    ///
    /// # Errors
    /// [`MembersError`]; the change may have been made nevertheless.
    pub async fn add_learner(&self, id: CoordinatorId, node: MemberNode) -> Result<(), MembersError> {
        let nodes = BTreeMap::from([(id.0, node)]);
        change(self.raft(), ChangeMembers::AddNodes(nodes), CHANGE_DEADLINE).await
    }

    /// Lets these vote and nobody else; whoever voted until then takes no part any more. This node should be among them:
    /// otherwise it steps down once that is committed, and until then nobody else may be able to lead. Also leads out of
    /// two sets of voters, to either of them.
    ///
    /// # Errors
    /// [`MembersError`]; the change may have been made nevertheless, or in half.
    pub async fn change_voters(&self, voters: BTreeSet<CoordinatorId>) -> Result<(), MembersError> {
        let voters = voters.into_iter().map(|id| id.0).collect();
        change(self.raft(), ChangeMembers::ReplaceAllVoters(voters), CHANGE_DEADLINE).await
    }

    /// Lets a learner go: it is sent nothing any more.
    ///
    /// # Errors
    /// [`MembersError`]; the change may have been made nevertheless.
    pub async fn let_go(&self, id: CoordinatorId) -> Result<(), MembersError> {
        change(self.raft(), ChangeMembers::RemoveNodes(BTreeSet::from([id.0])), CHANGE_DEADLINE).await
    }
}
