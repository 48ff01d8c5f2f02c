//! The state by key, and the archive of revisions, in sled.
//!
//! One thread of its own writes behind the state machine, in log order and at a pace. What was applied meanwhile goes
//! into one sled batch, as the rows in which the state differs from the last one written, so that what is found after a
//! crash is always the state after some entry. sled may lose its last batches: the log still has them. Before the log
//! forgets an entry, [`StateStore::sync_through`] makes them durable. sled's own flush does not reach the platter on
//! Linux, so a descriptor on its file is synced as well.
//!
//! sled opens its files itself; the disk is asked before every step that this module takes on it.

mod archive;
mod changes;
mod inbox;
mod seal;
#[cfg(test)]
mod tests;
mod worker;

use crate::{
    codec::{self, CodecError},
    disk::{Disk, StoreStep},
    feed::Archived,
    types::{LogId, StoredMembership},
};
use changes::Changes;
use inbox::Inbox;
use quorate_domain::{Committed, Revision, State, rows::BadRow};
use quorate_runtime::standstill::Pulse;
use seal::Sealed;
use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};
use tokio::sync::oneshot;
use worker::Worker;

/// The layout that this build writes.
const FORMAT: &[u8] = b"2";
/// The same without a seal: read, and sealed at once.
const UNSEALED_FORMAT: &[u8] = b"1";

/// The file that sled keeps everything in.
const FILE: &str = "db";

const KEY_FORMAT: &[u8] = b"m.format";
const KEY_APPLIED: &[u8] = b"m.applied";
const KEY_MEMBERSHIP: &[u8] = b"m.membership";
const KEY_SEAL: &[u8] = b"m.seal";
const STATE_PREFIX: u8 = b's';
const EVENT_PREFIX: u8 = b'e';

/// Why a state store does not open; it can always be rebuilt from a snapshot and the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled refuses.
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    /// The operating system refused.
    #[error("{action} {path} failed: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// A row is not one of ours.
    #[error(transparent)]
    Row(#[from] BadRow),
    /// A description is not one of ours.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// Another layout.
    #[error("layout {0:?} is not known to this version")]
    Format(String),
    /// A part of a batch is missing: the disk had no room for it, for one.
    #[error("what it holds is not what was last written: {0}")]
    Unsealed(String),
    /// sled gave up on files that are not as it left them.
    #[error("sled panicked over its files; its message is in the log")]
    Panicked,
    /// It failed after it was opened.
    #[error("{0}")]
    Failed(String),
}

impl StoreError {
    /// Whether the files are not as they were left. An error of the system is none: it may be over at the next start, and
    /// a store whose files are in use is whole.
    pub(crate) fn is_damage(&self) -> bool {
        match self {
            Self::Sled(sled::Error::Io(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
            Self::Io { .. } | Self::Failed(_) => false,
            Self::Sled(_)
            | Self::Row(_)
            | Self::Codec(_)
            | Self::Format(_)
            | Self::Unsealed(_)
            | Self::Panicked => true,
        }
    }
}

/// What a group of applied entries led to.
#[derive(Debug)]
pub(crate) struct Write {
    /// The state after them.
    pub(crate) state: State,
    pub(crate) revisions: Vec<Arc<Committed>>,
    pub(crate) applied: LogId,
    /// The members, if they changed.
    pub(crate) membership: Option<StoredMembership>,
}

impl Write {
    /// Takes in what was applied after it.
    fn extend(&mut self, later: Self) {
        self.state = later.state;
        self.revisions.extend(later.revisions);
        self.applied = later.applied;
        self.membership = later.membership.or_else(|| self.membership.take());
    }
}

enum Job {
    Write(Box<Write>),
    /// Takes the place of everything, as a snapshot does.
    Replace {
        state: Box<State>,
        applied: Option<LogId>,
        membership: StoredMembership,
        done: oneshot::Sender<Result<(), String>>,
    },
    /// Makes everything durable as soon as what was written reaches this index.
    Sync {
        index: u64,
        done: oneshot::Sender<Result<(), String>>,
    },
    Revisions {
        start: Revision,
        limit: usize,
        done: oneshot::Sender<Result<Archived, String>>,
    },
    Close {
        done: oneshot::Sender<Result<(), String>>,
    },
}

/// What the store held when it was opened.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) applied: Option<LogId>,
    pub(crate) membership: StoredMembership,
}

/// A handle on the store, which its thread alone owns; with the last one the thread ends. Clones share it.
#[derive(Clone)]
pub(crate) struct StateStore(Arc<Handles>);

struct Handles(Arc<Inbox>);

impl Drop for Handles {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl StateStore {
    /// Opens the store in a folder and reads the state.
    pub(crate) fn open(disk: &Arc<dyn Disk>, folder: &Path) -> Result<(Self, Loaded), StoreError> {
        let failed = |path: &Path, action| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, action, source }
        };
        disk.before_store_step(StoreStep::Open, folder).map_err(failed(folder, "opening"))?;
        // sled asserts where it should refuse, when its files are damaged.
        let (db, sealed, loaded) =
            std::panic::catch_unwind(|| open_sled(folder)).map_err(|_| StoreError::Panicked)??;
        let path = folder.join(FILE);
        let file = File::open(&path).map_err(failed(&path, "opening"))?;
        let inbox = Arc::new(Inbox::default());
        let worker = Worker::new(Arc::clone(disk), path, db, file, sealed, &loaded, Arc::clone(&inbox));
        thread::Builder::new()
            .name("state-store".into())
            .spawn(move || worker.run())
            .map_err(failed(folder, "starting a thread for"))?;
        Ok((Self(Arc::new(Handles(inbox))), loaded))
    }

    /// Takes a store that cannot be used out of the way; one that was set aside earlier is removed.
    pub(crate) fn set_aside(disk: &Arc<dyn Disk>, folder: &Path) -> Result<(), StoreError> {
        let aside = folder.with_extension("damaged");
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { path, action, source }
        };
        let step = |step, action, path: &Path, run: &dyn Fn() -> io::Result<()>| {
            disk.before_store_step(step, folder).and_then(|()| run()).map_err(failed(action, path))
        };
        if !folder.try_exists().map_err(failed("looking for", folder))? {
            return Ok(());
        }
        if aside.try_exists().map_err(failed("looking for", &aside))? {
            step(StoreStep::RemoveCopy, "removing", &aside, &|| fs::remove_dir_all(&aside))?;
        }
        step(StoreStep::SetAside, "setting aside", folder, &|| fs::rename(folder, &aside))
    }

    /// Hands over what was applied; waits only while too much is queued.
    pub(crate) async fn write(&self, write: Write) -> Result<(), String> {
        self.push(Job::Write(Box::new(write))).await
    }

    async fn push(&self, job: Job) -> Result<(), String> {
        if self.0.0.push(job).await { Ok(()) } else { Err(self.stopped()) }
    }

    /// Puts a whole state in the place of what is there.
    pub(crate) async fn replace(
        &self,
        state: State,
        applied: Option<LogId>,
        membership: StoredMembership,
    ) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        let job = Job::Replace { state: Box::new(state), applied, membership, done };
        self.push(job).await?;
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// Returns when the state after this index, or a later one, is on disk. openraft forgets entries of the log while
    /// the snapshot that stands for them is still being installed, so the index may have to be waited for.
    pub(crate) async fn sync_through(&self, index: u64) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        self.push(Job::Sync { index, done }).await?;
        let result = answer.await.unwrap_or_else(|_| Err(self.stopped()));
        tracing::debug!(index, "state store synced");
        result
    }

    /// Revisions of the archive from `start` on.
    pub(crate) async fn revisions(&self, start: Revision, limit: usize) -> Result<Archived, String> {
        let (done, answer) = oneshot::channel();
        self.push(Job::Revisions { start, limit, done }).await?;
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }

    /// What the store's thread shows of its progress.
    pub(crate) fn pulse(&self) -> Pulse {
        self.0.0.pulse.clone()
    }

    fn stopped(&self) -> String {
        self.0.0.failure().unwrap_or_else(|| "the state store is closed".to_owned())
    }

    /// Makes everything durable and lets go of the files; every later call fails.
    pub(crate) async fn close(&self) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        self.push(Job::Close { done }).await?;
        answer.await.unwrap_or_else(|_| Err(self.stopped()))
    }
}

/// Opens sled and reads everything that is not archive.
fn open_sled(folder: &Path) -> Result<(sled::Db, Sealed, Loaded), StoreError> {
    let db = sled::Config::new().path(folder).flush_every_ms(None).cache_capacity(64 << 20).open()?;
    let sealed = match db.get(KEY_FORMAT)? {
        Some(format) if *format == *FORMAT => Sealed::check(&db)?,
        Some(format) if *format == *UNSEALED_FORMAT => seal_first(&db)?,
        Some(format) => return Err(StoreError::Format(String::from_utf8_lossy(&format).into_owned())),
        // A first batch of which only the format is missing has left nothing else than its seal.
        None if db.iter().keys().all(|key| key.is_ok_and(|key| key == KEY_SEAL)) => seal_first(&db)?,
        None => return Err(StoreError::Unsealed("it has no format".to_owned())),
    };
    let loaded = load(&db)?;
    Ok((db, sealed, loaded))
}

/// Seals what is there, which may be nothing.
fn seal_first(db: &sled::Db) -> Result<Sealed, StoreError> {
    let mut changes = Changes::default();
    changes.put(KEY_FORMAT, FORMAT);
    let sealed = Sealed::of(db)?.seal(db, &mut changes)?;
    db.apply_batch(changes.into_batch())?;
    Ok(sealed)
}

fn state_key(row: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(row.len() + 1);
    key.push(STATE_PREFIX);
    key.extend_from_slice(row);
    key
}

fn load(db: &sled::Db) -> Result<Loaded, StoreError> {
    let mut rows = Vec::new();
    for item in db.scan_prefix([STATE_PREFIX]) {
        let (key, value) = item?;
        rows.push((key[1..].to_vec(), value));
    }
    let state = State::from_rows(rows)?;
    let applied = db.get(KEY_APPLIED)?.map(|bytes| codec::decode_log_id(&bytes)).transpose()?;
    let membership = db.get(KEY_MEMBERSHIP)?.map(|bytes| codec::decode_membership(&bytes)).transpose()?;
    Ok(Loaded { state, applied, membership: membership.unwrap_or_default() })
}
