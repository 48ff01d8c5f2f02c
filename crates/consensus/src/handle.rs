//! The handle on a running node that the coordinator uses.

use crate::{
    feed::{Feed, View},
    folder::DataFolder,
    leader_heard::LeaderHeard,
    leadership::{self, Leadership, Wishes},
    log_store::LogStore,
    opening::{OpenError, Opened},
    proposer::{ProposeError, Proposer},
    quiet_network::{KnownLater, Quiet},
    reads::{ReadError, Reads},
    state_store::StateStore,
    types::{MemberNode, Raft, TypeConfig},
    wal,
};
use openraft::{
    Config, RaftNetworkFactory, SnapshotPolicy,
    error::{Infallible, InitializeError, InstallSnapshotError, RaftError},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
        VoteRequest, VoteResponse,
    },
};
use quorate_domain::{Cause, Command, CoordinatorId, Outcome, Proposal, Timestamp, election::own_range};
use quorate_runtime::{clock::Clock, shutdown::Shutdown, standstill::Pulse};
use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::watch};

/// How long one chunk of a snapshot may take; openraft's 200 ms would never end on a busy disk.
const SNAPSHOT_TIMEOUT_MS: u64 = 10_000;
const SNAPSHOT_CHUNK_BYTES: u64 = 1 << 20;

/// How Raft is timed and how much it keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RaftOptions {
    /// A leader is heard this often.
    pub heartbeat_ms: u64,
    /// The least wait before an election.
    pub election_min_ms: u64,
    /// The longest wait before an election, and how long a leader is taken for granted.
    pub election_max_ms: u64,
    /// A snapshot is taken after this many entries.
    pub snapshot_every: u64,
    /// Entries that are kept behind a snapshot, for followers that lag.
    pub keep_entries: u64,
    /// A command without an answer by then has an unknown outcome.
    pub proposal_deadline: Duration,
    /// The initial members, by node id.
    pub members: BTreeMap<CoordinatorId, MemberNode>,
    /// The log's files.
    pub log: wal::Options,
}

/// A running node.
#[derive(Clone)]
pub struct Consensus {
    raft: Raft,
    feed: Feed,
    log: LogStore,
    store: StateStore,
    folder: Arc<DataFolder>,
    leadership: watch::Receiver<Leadership>,
    leader_heard: LeaderHeard,
    /// What whoever follows the leadership is told.
    wishes: Wishes,
    proposer: Proposer,
    reads: Reads,
    clock: Arc<dyn Clock>,
}

impl Consensus {
    /// Opens log, snapshots and state from the folder and starts Raft over the given network, on a runtime that should
    /// have nothing else to do: a flood of requests must not delay a heartbeat.
    ///
    /// # Errors
    /// [`OpenError`], which names the file or setting and the remedy.
    pub async fn open<N: RaftNetworkFactory<TypeConfig>>(
        folder: Arc<DataFolder>,
        options: &RaftOptions,
        network: N,
        clock: Arc<dyn Clock>,
        shutdown: &Shutdown,
        lane: &Handle,
    ) -> Result<Self, OpenError> {
        let config = raft_config(folder.node(), options)?;
        let Opened { log, store, machine } = Opened::open(&folder, &options.log).await?;
        let feed = machine.feed();
        let known_later = KnownLater::default();
        let network = Quiet::new(network, Arc::clone(&known_later));
        // Raft's tasks start others, all where the first one was started.
        let starting = Raft::new(folder.node().0, Arc::new(config), network, log.clone(), machine);
        let started = lane.spawn(starting).await.map_err(|error| OpenError::Raft(error.to_string()))?;
        let raft = started.map_err(|error| OpenError::Raft(error.to_string()))?;
        stop_when_storage_fails(log.clone(), shutdown, lane);
        let elections =
            (Duration::from_millis(options.election_min_ms), Duration::from_millis(options.election_max_ms));
        let wishes = Wishes::default();
        let leader_heard = LeaderHeard::default();
        let leadership =
            leadership::follow(raft.clone(), elections, leader_heard.clone(), wishes.clone(), shutdown, lane);
        let _ = known_later.set(leadership.clone());
        let deadline = options.proposal_deadline;
        let proposer = Proposer::start(raft.clone(), leadership.clone(), deadline, shutdown);
        let reads = Reads::start(raft.clone(), feed.clone(), leadership.clone(), deadline, shutdown);
        Ok(Self { raft, feed, log, store, folder, leadership, leader_heard, wishes, proposer, reads, clock })
    }

    /// Proposes a command and returns what became of it.
    ///
    /// # Errors
    /// [`ProposeError`]; only [`ProposeError::Unknown`] leaves open whether the command had its effect.
    pub async fn propose(&self, cause: Cause, command: Command) -> Result<Outcome, ProposeError> {
        let at = Timestamp(self.clock.unix_ms());
        self.proposer.propose(Proposal::new(at, cause, command)).await
    }

    /// A view confirmed by a round of the quorum that started after this call.
    ///
    /// # Errors
    /// [`ReadError`] when this node does not lead or no quorum confirms it.
    pub async fn confirmed_view(&self) -> Result<View, ReadError> {
        self.reads.confirmed_view().await
    }

    /// Lets another node lead: this leader decides and says nothing until one of the others was elected, or leads on when
    /// none was in four of the longest election timeouts. Nothing happens when it did so in vain just before.
    pub fn hand_over(&self) {
        self.wishes.hand_over.notify_one();
    }

    /// Says that a part of this process stands still, or that all go on again. While one does, this node says nothing as a
    /// leader, decides nothing and does not stand for election, so that another one leads.
    pub fn set_standstill(&self, stands_still: bool) {
        self.wishes.stands_still.store(stands_still, Ordering::Release);
    }

    /// What the thread that writes the log shows of its progress.
    pub fn log_pulse(&self) -> Pulse {
        self.log.pulse()
    }

    /// What the thread that keeps the state shows of its progress.
    pub fn state_store_pulse(&self) -> Pulse {
        self.store.pulse()
    }

    /// What was applied here.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Who leads.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// The data folder.
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    /// A leader, or whoever takes itself for one, sends entries or a heartbeat.
    ///
    /// # Errors
    /// When Raft has ended.
    pub async fn append_entries(
        &self,
        request: AppendEntriesRequest<TypeConfig>,
    ) -> Result<AppendEntriesResponse<u64>, RaftError<u64, Infallible>> {
        let answer = self.raft.append_entries(request).await?;
        // The leader of an earlier term is refused, and its word is worth nothing.
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            self.leader_heard.note(Instant::now());
        }
        Ok(answer)
    }

    /// A leader sends a part of a snapshot.
    ///
    /// # Errors
    /// When the part does not follow, or Raft has ended.
    pub async fn install_snapshot(
        &self,
        request: InstallSnapshotRequest<TypeConfig>,
    ) -> Result<InstallSnapshotResponse<u64>, RaftError<u64, InstallSnapshotError>> {
        let theirs = request.vote;
        let answer = self.raft.install_snapshot(request).await?;
        if answer.vote <= theirs {
            self.leader_heard.note(Instant::now());
        }
        Ok(answer)
    }

    /// A peer asks for this node's vote.
    ///
    /// A leader that has lost its quorum says nothing, and refuses whoever has a shorter log than its own: where only
    /// such a one comes back, nobody would lead for ever. So it speaks again for a while: either that peer follows, or
    /// its answer deposes this leader, which then has the longest log of those that stand for election.
    ///
    /// # Errors
    /// When Raft has ended.
    pub async fn vote(
        &self,
        request: VoteRequest<u64>,
    ) -> Result<VoteResponse<u64>, RaftError<u64, Infallible>> {
        let answer = self.raft.vote(request).await?;
        if !answer.vote_granted && self.leadership.borrow().has_lost_quorum() {
            self.wishes.heard_voter.notify_one();
        }
        Ok(answer)
    }

    /// openraft itself, for the transport between peers.
    pub fn raft(&self) -> &Raft {
        &self.raft
    }

    /// True once this node has a log, so it must never form a cluster again.
    pub fn is_used(&self) -> bool {
        self.log.is_used()
    }

    /// Forms the cluster; every initial member may do so with the same members.
    ///
    /// # Errors
    /// [`OpenError::Raft`] when openraft refuses; a cluster that exists already is no error.
    pub async fn initialize(&self, members: BTreeMap<CoordinatorId, MemberNode>) -> Result<(), OpenError> {
        let nodes: BTreeMap<u64, MemberNode> = members.into_iter().map(|(id, node)| (id.0, node)).collect();
        match self.raft.initialize(nodes).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(OpenError::Raft(error.to_string())),
        }
    }

    /// Stops Raft and makes durable what is only in memory.
    pub async fn close(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "raft did not end in order");
        }
        if let Err(error) = self.log.flush().await {
            tracing::warn!(%error, "the log did not take its last word");
        }
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the state store did not close in order; the log will make up for it");
        }
    }
}

fn stop_when_storage_fails(log: LogStore, shutdown: &Shutdown, lane: &Handle) {
    let (token, fatal) = (shutdown.token(), shutdown.clone());
    shutdown.spawn_on(lane, "storage watch", async move {
        tokio::select! {
            () = token.cancelled() => {}
            reason = log.failed_behind_raft() => fatal.fatal(format!("consensus stopped: {reason}")),
        }
    });
}

/// Which part of the election range is a node's own, and of how many. Every initial member is followed by room for one
/// that comes later, so that the ranges of those that are there stay as they are and nobody's is anybody else's.
fn own_rank(node: CoordinatorId, initial: &BTreeMap<CoordinatorId, MemberNode>) -> (usize, usize) {
    let count = initial.len().max(1);
    let rank = if let Some(place) = initial.keys().position(|id| *id == node) {
        2 * place
    } else {
        let highest = initial.keys().next_back().map_or(0, |id| id.0);
        let later = node.0.saturating_sub(highest).saturating_sub(1) % count as u64;
        2 * usize::try_from(later).unwrap_or(0) + 1
    };
    (rank, 2 * count)
}

fn raft_config(node: CoordinatorId, options: &RaftOptions) -> Result<Config, OpenError> {
    let (rank, ranges) = own_rank(node, &options.members);
    let (election_min, election_max) =
        own_range(options.election_min_ms, options.election_max_ms, rank, ranges);
    Config {
        cluster_name: "quorate".into(),
        heartbeat_interval: options.heartbeat_ms,
        election_timeout_min: election_min,
        election_timeout_max: election_max,
        install_snapshot_timeout: SNAPSHOT_TIMEOUT_MS,
        snapshot_max_chunk_size: SNAPSHOT_CHUNK_BYTES,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(options.snapshot_every),
        max_in_snapshot_log_to_keep: options.keep_entries,
        replication_lag_threshold: options.keep_entries.max(1),
        max_payload_entries: 64,
        ..Config::default()
    }
    .validate()
    .map_err(|error| OpenError::Config(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_member_has_an_election_range_of_its_own() {
        let initial: BTreeMap<_, _> = (1..=3).map(|id| (CoordinatorId(id), MemberNode::default())).collect();
        let ranges: Vec<_> = (1..=6)
            .map(|id| {
                let (rank, ranges) = own_rank(CoordinatorId(id), &initial);
                own_range(500, 800, rank, ranges)
            })
            .collect();
        for (at, (low, high)) in ranges.iter().enumerate() {
            let others = ranges.iter().enumerate().filter(|(other, _)| *other != at);
            for (_, (other_low, other_high)) in others {
                assert!(high <= other_low || other_high <= low, "{ranges:?}");
            }
        }
    }
}
