//! Opening a node from its data folder: log, snapshots and state, so that together they are what was acknowledged, or
//! not at all.
//!
//! The log is the judge. The state store is taken when it reaches at least to where the log begins; the log replays the
//! rest. Otherwise it is set aside and made anew from the newest whole snapshot that reaches there, or from nothing when
//! the log begins at the beginning. What is ahead of the log shows that the log lost entries.

use crate::{
    folder::{DataFolder, FolderError},
    log_store::{LogOpenError, LogStore},
    snapshot::SnapshotError,
    snapshot_folder::{Newest, SnapshotFolder},
    state_machine::StateMachine,
    state_store::{Loaded, StateStore, StoreError},
    types::{LogId, SnapshotMeta},
    wal,
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

const LOG: &str = "log";
const SNAPSHOTS: &str = "snapshots";
const STATE: &str = "state";

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
    /// The state or a snapshot is ahead of the log, so entries that were acknowledged are gone.
    #[error(
        "{log} ends at entry {last} and {ahead} is at {applied}: the log lost acknowledged entries; bring this coordinator back under a new node id with an empty data_dir"
    )]
    LogBehindState {
        /// The log's folder.
        log: PathBuf,
        /// The last entry of the log.
        last: u64,
        /// What is ahead of it.
        ahead: PathBuf,
        /// The last applied entry.
        applied: u64,
    },
    /// The folder was used, and its log has nothing.
    #[error(
        "{log} is empty, and this coordinator has voted: what it had promised is lost; where data_dir was copied, copy all of it, otherwise bring this coordinator back under a new node id with an empty data_dir"
    )]
    LogLost {
        /// The log's folder.
        log: PathBuf,
    },
    /// The log is an older one, or another's.
    #[error(
        "{log} is not the log that this coordinator had at its last start: it was put back from a backup, or is another coordinator's, and lacks what was promised since; put the last one back, or bring this coordinator back under a new node id with an empty data_dir"
    )]
    OtherLog {
        /// Its folder.
        log: PathBuf,
    },
    /// The log has forgotten entries, and nothing that can be read has what they led to.
    #[error(
        "{log} begins behind entry {purged}, and neither {problem} reaches it; restore one of them, or bring this coordinator back under a new node id with an empty data_dir"
    )]
    NothingToStandOn {
        /// The log's folder.
        log: PathBuf,
        /// The last entry that it has forgotten.
        purged: u64,
        /// Where the state store and the snapshots are, and why they are of no use.
        problem: String,
    },
    /// The settings do not fit.
    #[error("raft settings: {0}")]
    Config(String),
    /// openraft refuses.
    #[error("raft: {0}")]
    Raft(String),
}

/// The storage of a node, ready for Raft.
pub(crate) struct Opened {
    pub(crate) log: LogStore,
    pub(crate) store: StateStore,
    pub(crate) machine: StateMachine,
}

impl Opened {
    /// Opens everything in the folder.
    ///
    /// # Errors
    /// [`OpenError`], which names the file and the remedy.
    pub(crate) async fn open(folder: &Arc<DataFolder>, options: &wal::Options) -> Result<Self, OpenError> {
        let log_folder = folder.folder(LOG)?;
        let is_own = folder.is_own_log(&*log_folder)?;
        let log = LogStore::open(Arc::clone(&log_folder), options)?;
        if log.is_used() {
            if !is_own {
                return Err(OpenError::OtherLog { log: folder.path(LOG) });
            }
            // Also when it ended between the first vote and its being known.
            folder.mark_used()?;
        } else if folder.is_used() {
            return Err(OpenError::LogLost { log: folder.path(LOG) });
        }
        folder.claim_log(&*log_folder)?;
        let log = log.first_telling(Arc::clone(folder));
        let snapshots = SnapshotFolder::new(folder.folder(SNAPSHOTS)?);
        snapshots.settle(log.purged())?;
        let newest = snapshots.newest()?;
        let parts = Parts { folder, log: &log, snapshots: &snapshots, newest: &newest };
        let (store, loaded) = parts.open_state().await?;
        if let Err(error) = parts.renew_snapshot(&loaded) {
            // Also closed when the disk does not let it: whoever tries again must find its files free.
            store
                .close()
                .await
                .unwrap_or_else(|problem| tracing::warn!(%problem, "while closing the state store"));
            return Err(error);
        }
        // Snapshots are of what is committed. The log hears of commits later than the snapshots do.
        log.raise_committed(newest.last_log_id());
        log.abandon_leadership(folder.node()).await.map_err(LogOpenError::Vote)?;
        let log = log.purging_after(store.clone());
        let machine = StateMachine::new(loaded, store.clone(), snapshots, log.clone());
        Ok(Self { log, store, machine })
    }
}

/// What the state has to fit to.
struct Parts<'a> {
    folder: &'a DataFolder,
    log: &'a LogStore,
    snapshots: &'a SnapshotFolder,
    newest: &'a Newest,
}

impl Parts<'_> {
    /// The state from the store, or from the newest snapshot into a new store.
    async fn open_state(&self) -> Result<(StateStore, Loaded), OpenError> {
        let path = self.folder.path(STATE);
        if let Some((name, snapshot)) = &self.newest.whole {
            self.refuse_ahead_of_log(&self.snapshots.path(name), snapshot.meta.last_log_id)?;
        }
        let disk = self.folder.disk();
        let failed = |source| OpenError::Store { path: path.clone(), source };
        let problem = match StateStore::open(disk, &path) {
            Ok((store, loaded)) => {
                let is_behind_log = self.refuse_ahead_of_log(&path, loaded.applied);
                if is_behind_log.is_ok() && self.log_goes_on_from(loaded.applied) {
                    return Ok((store, loaded));
                }
                // sled has let go of its files when this returns.
                store.close().await.map_err(|problem| failed(StoreError::Failed(problem)))?;
                is_behind_log?;
                format!("it is at entry {}", index_of(loaded.applied))
            }
            Err(error) if error.is_damage() => error.to_string(),
            Err(error) => return Err(failed(error)),
        };
        let from =
            self.newest.whole.as_ref().filter(|(_, found)| self.log_goes_on_from(found.meta.last_log_id));
        if from.is_none() && self.log.purged().is_some() {
            return Err(self.nothing_to_stand_on(&path, &problem));
        }
        let at = from.and_then(|(_, found)| found.meta.last_log_id).map_or(0, |id| id.index);
        tracing::warn!(
            %problem, snapshot_index = at, log_last = index_of(self.log.last_log_id()),
            "the state store is set aside and rebuilt from snapshot and log"
        );
        StateStore::set_aside(disk, &path).map_err(failed)?;
        let (store, mut loaded) = StateStore::open(disk, &path).map_err(failed)?;
        if let Some((_, found)) = from {
            let SnapshotMeta { last_log_id: applied, last_membership: membership, .. } = found.meta.clone();
            let replaced = store.replace(found.state.clone(), applied, membership.clone()).await;
            replaced.map_err(|problem| failed(StoreError::Failed(problem)))?;
            loaded = Loaded { state: found.state.clone(), applied, membership };
        }
        Ok((store, loaded))
    }

    /// Takes damaged snapshots out of the way, and writes a new one when none reaches to where the log begins: a node that
    /// lags could not be brought up to date otherwise.
    fn renew_snapshot(&self, loaded: &Loaded) -> Result<(), OpenError> {
        for (name, _) in &self.newest.damaged {
            self.snapshots.set_aside(name)?;
        }
        if self.log.purged().is_none() || self.log_goes_on_from(self.newest.last_log_id()) {
            return Ok(());
        }
        let at = index_of(loaded.applied);
        tracing::warn!(index = at, "no snapshot reaches to where the log begins: a new one is written");
        let meta = SnapshotMeta {
            last_log_id: loaded.applied,
            last_membership: loaded.membership.clone(),
            snapshot_id: format!("reopened-{at}"),
        };
        self.snapshots.write(&meta, &loaded.state)?;
        Ok(())
    }

    fn log_goes_on_from(&self, applied: Option<LogId>) -> bool {
        applied.map(|id| id.index) >= self.log.purged().map(|id| id.index)
    }

    fn refuse_ahead_of_log(&self, ahead: &Path, applied: Option<LogId>) -> Result<(), OpenError> {
        let last = self.log.last_log_id();
        if applied.map(|id| id.index) <= last.map(|id| id.index) {
            return Ok(());
        }
        Err(OpenError::LogBehindState {
            log: self.folder.path(LOG),
            last: index_of(last),
            ahead: ahead.to_owned(),
            applied: index_of(applied),
        })
    }

    fn nothing_to_stand_on(&self, store: &Path, store_problem: &str) -> OpenError {
        let snapshot_problem = match (self.newest.damaged.first(), &self.newest.whole) {
            (Some((_, error)), _) => error.to_string(),
            (None, Some((name, _))) => format!("{name} is the newest"),
            (None, None) => "there is none".to_owned(),
        };
        let (store, snapshots) = (store.display(), self.folder.path(SNAPSHOTS));
        let problem = format!(
            "the state store {store} ({store_problem}) nor a snapshot in {} ({snapshot_problem})",
            snapshots.display()
        );
        OpenError::NothingToStandOn {
            log: self.folder.path(LOG),
            purged: index_of(self.log.purged()),
            problem,
        }
    }
}

fn index_of(log_id: Option<LogId>) -> u64 {
    log_id.map_or(0, |id| id.index)
}
