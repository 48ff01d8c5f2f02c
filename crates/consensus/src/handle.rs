//! Opening a node from its data folder, and the handle that the coordinator uses.

use crate::{
    feed::{Feed, View},
    folder::{DataFolder, FolderError},
    leadership::{self, Leadership},
    log_store::{LogOpenError, LogStore},
    proposer::{ProposeError, Proposer},
    quiet_network::{KnownLater, Quiet},
    reads::{ReadError, Reads},
    snapshot::{self, SnapshotError},
    state_machine::StateMachine,
    state_store::{Loaded, StateStore, StoreError},
    types::{LogId, MemberNode, Raft, TypeConfig},
    wal,
};
use openraft::{Config, RaftNetworkFactory, SnapshotPolicy};
use quorate_domain::{Cause, Command, CoordinatorId, Outcome, Proposal, Timestamp, election::own_range};
use quorate_runtime::{clock::Clock, shutdown::Shutdown};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
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

/// Why a node does not start. Its files are as they were, unless the message says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogOpenError),
    /// The snapshots.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The state store, even after it was made anew.
    #[error("state store {path}: {source}")]
    Store {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        source: StoreError,
    },
    /// The state is ahead of the log, so entries that were acknowledged are gone.
    #[error(
        "{log} ends at entry {last} and the state store is at {applied}: the log lost acknowledged entries; bring this coordinator back under a new node id with an empty data_dir"
    )]
    LogBehindState {
        /// The log's folder.
        log: PathBuf,
        /// The last entry of the log.
        last: u64,
        /// The last applied entry.
        applied: u64,
    },
    /// The settings do not fit.
    #[error("raft settings: {0}")]
    Config(String),
    /// openraft refuses.
    #[error("raft: {0}")]
    Raft(String),
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
        let log = LogStore::open(&folder.path("log"), &options.log)?;
        log.abandon_leadership(folder.node()).await.map_err(LogOpenError::Vote)?;
        let snapshots = folder.path("snapshots");
        fs::create_dir_all(&snapshots).map_err(FolderError::io(&snapshots, "creating it"))?;
        snapshot::remove_unfinished(&snapshots)?;
        let (store, loaded) = open_state(&folder.path("state"), &snapshots, log.last_log_id()).await?;
        check_not_behind(&folder.path("log"), log.last_log_id(), loaded.applied)?;
        let log = log.purging_after(store.clone());
        let machine = StateMachine::new(loaded, store.clone(), snapshots);
        let feed = machine.feed();
        let known_later = KnownLater::default();
        let network = Quiet::new(network, Arc::clone(&known_later));
        // Raft's tasks start others, all where the first one was started.
        let starting = Raft::new(folder.node().0, Arc::new(config), network, log.clone(), machine);
        let started = lane.spawn(starting).await.map_err(|error| OpenError::Raft(error.to_string()))?;
        let raft = started.map_err(|error| OpenError::Raft(error.to_string()))?;
        let election_max = Duration::from_millis(options.election_max_ms);
        let leadership = leadership::follow(raft.clone(), election_max, shutdown, lane);
        let _ = known_later.set(leadership.clone());
        let deadline = options.proposal_deadline;
        let proposer = Proposer::start(raft.clone(), leadership.clone(), deadline, shutdown);
        let reads = Reads::start(raft.clone(), feed.clone(), leadership.clone(), deadline, shutdown);
        Ok(Self { raft, feed, log, store, folder, leadership, proposer, reads, clock })
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
        use openraft::error::{InitializeError, RaftError};
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

fn raft_config(node: CoordinatorId, options: &RaftOptions) -> Result<Config, OpenError> {
    let rank = options.members.keys().position(|id| *id == node).unwrap_or(0);
    let (election_min, election_max) =
        own_range(options.election_min_ms, options.election_max_ms, rank, options.members.len());
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

/// The state from the store, or, when it is missing, damaged or behind what the log still has, from the newest
/// snapshot; the log brings it up to date.
async fn open_state(
    path: &Path,
    snapshots: &Path,
    last: Option<LogId>,
) -> Result<(StateStore, Loaded), OpenError> {
    let from_snapshot = snapshot::newest(snapshots);
    let opened = StateStore::open(path);
    let problem = match (&opened, &from_snapshot) {
        (Err(error), _) => Some(error.to_string()),
        (Ok((_, loaded)), Ok(Some((_, meta, _)))) if loaded.applied < meta.last_log_id => {
            Some("it is older than the newest snapshot".to_owned())
        }
        _ => None,
    };
    let Some(problem) = problem else {
        return opened.map_err(|source| OpenError::Store { path: path.to_owned(), source });
    };
    drop(opened);
    let snapshot = from_snapshot?;
    let at = snapshot.as_ref().and_then(|(_, meta, _)| meta.last_log_id).map_or(0, |id| id.index);
    tracing::warn!(
        %problem, snapshot_index = at, log_last = last.map_or(0, |id| id.index),
        "the state store is set aside and rebuilt from snapshot and log"
    );
    set_aside(path)?;
    let store_error = |source| OpenError::Store { path: path.to_owned(), source };
    let (store, mut loaded) = StateStore::open(path).map_err(store_error)?;
    if let Some((_, meta, state)) = snapshot {
        store
            .replace(state.clone(), meta.last_log_id, meta.last_membership.clone())
            .await
            .map_err(|problem| store_error(StoreError::Format(problem)))?;
        loaded = Loaded { state, applied: meta.last_log_id, membership: meta.last_membership };
    }
    Ok((store, loaded))
}

fn set_aside(path: &Path) -> Result<(), FolderError> {
    if !path.exists() {
        return Ok(());
    }
    let aside = path.with_extension("damaged");
    if aside.exists() {
        fs::remove_dir_all(&aside).map_err(FolderError::io(&aside, "removing the older copy"))?;
    }
    fs::rename(path, &aside).map_err(FolderError::io(path, "setting it aside"))
}

fn check_not_behind(log: &Path, last: Option<LogId>, applied: Option<LogId>) -> Result<(), OpenError> {
    let (last, applied) = (last.map_or(0, |id| id.index), applied.map_or(0, |id| id.index));
    if applied > last {
        return Err(OpenError::LogBehindState { log: log.to_owned(), last, applied });
    }
    Ok(())
}
