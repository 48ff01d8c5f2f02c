//! The state by key, and the archive of revisions, in sled.
//!
//! One thread of its own writes behind the state machine, in log order and at a pace. What was applied meanwhile goes
//! into one sled batch, as the rows in which the state differs from the last one written, so that what is found after a
//! crash is always the state after some entry. sled may lose its last batches: the log still has them. Before the log
//! forgets an entry, [`StateStore::sync_through`] makes them durable. sled's own flush does not reach the platter on
//! Linux, so a descriptor on its file is synced as well.

mod archive;
mod inbox;
mod worker;

use crate::{
    codec::{self, CodecError},
    feed::Archived,
    types::{LogId, StoredMembership},
};
use inbox::Inbox;
use quorate_domain::{Committed, Revision, State, rows::BadRow};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
};
use tokio::sync::oneshot;
use worker::Worker;

/// The layout that this build writes.
const FORMAT: &[u8] = b"1";

const KEY_FORMAT: &[u8] = b"m.format";
const KEY_APPLIED: &[u8] = b"m.applied";
const KEY_MEMBERSHIP: &[u8] = b"m.membership";
const STATE_PREFIX: u8 = b's';
const EVENT_PREFIX: u8 = b'e';

/// Why a state store does not open; it can always be rebuilt from a snapshot and the log.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled refuses.
    #[error("sled: {0}")]
    Sled(#[from] sled::Error),
    /// Its file cannot be opened or synced.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
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
    Sync {
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
    pub(crate) fn open(folder: &Path) -> Result<(Self, Loaded), StoreError> {
        let db = sled::Config::new().path(folder).flush_every_ms(None).cache_capacity(64 << 20).open()?;
        let path = folder.join("db");
        let file = File::open(&path).map_err(|source| StoreError::Io { path, source })?;
        match db.get(KEY_FORMAT)? {
            None => drop(db.insert(KEY_FORMAT, FORMAT)?),
            Some(format) if *format == *FORMAT => {}
            Some(format) => return Err(StoreError::Format(String::from_utf8_lossy(&format).into_owned())),
        }
        let loaded = load(&db)?;
        let inbox = Arc::new(Inbox::default());
        let worker = Worker { db, file, written: loaded.state.clone(), inbox: Arc::clone(&inbox) };
        thread::Builder::new()
            .name("state-store".into())
            .spawn(move || worker.run())
            .map_err(|source| StoreError::Io { path: folder.to_owned(), source })?;
        Ok((Self(Arc::new(Handles(inbox))), loaded))
    }

    /// Hands over what was applied; waits only while too much is queued.
    pub(crate) async fn write(&self, write: Write) -> Result<(), String> {
        self.push(Job::Write(Box::new(write))).await
    }

    async fn push(&self, job: Job) -> Result<(), String> {
        if self.0.0.push(job).await { Ok(()) } else { Err(stopped()) }
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
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Returns when everything handed over so far is on disk. The index is for the log line only: what is applied is
    /// handed over before the log is told to forget it.
    pub(crate) async fn sync_through(&self, index: u64) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        self.push(Job::Sync { done }).await?;
        let result = answer.await.unwrap_or_else(|_| Err(stopped()));
        tracing::debug!(index, "state store synced");
        result
    }

    /// Revisions of the archive from `start` on.
    pub(crate) async fn revisions(&self, start: Revision, limit: usize) -> Result<Archived, String> {
        let (done, answer) = oneshot::channel();
        self.push(Job::Revisions { start, limit, done }).await?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Makes everything durable and lets go of the files; every later call fails.
    pub(crate) async fn close(&self) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        self.push(Job::Close { done }).await?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

fn stopped() -> String {
    "the state store has stopped; its last words are in the log above".to_owned()
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
