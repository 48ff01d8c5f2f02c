//! The state by key, and the archive of revisions, in sled.
//!
//! One thread of its own writes behind the state machine, in log order. What was applied meanwhile goes into one sled
//! batch, whole groups of applied entries only, so that what is found after a crash is always the state after some entry.
//! It writes at a pace: sled waits for the disk with every batch, and the log needs the same disk. sled may lose its last batches: the log
//! still has them. Before the log forgets an entry, [`StateStore::sync_through`] makes them durable. sled's own flush
//! does not reach the platter on Linux, so a descriptor on its file is synced as well.

use crate::{
    codec::{self, CodecError},
    feed::Archived,
    types::{LogId, StoredMembership},
};
use quorate_domain::{
    Committed, Revision, State,
    rows::{BadRow, RowChange},
};
use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// The most groups of applied entries that wait to be written; the state machine waits beyond it.
const QUEUE_MAX: usize = 256;
/// The most groups that are written in one sled batch.
const COALESCE_MAX: usize = QUEUE_MAX;
/// What is applied within this time of the first group goes into its batch. The log holds it all the while.
const PACE: Duration = Duration::from_millis(25);
/// Revisions that the archive keeps.
pub(crate) const ARCHIVE_MAX: u64 = 100_000;
/// Revisions that are kept together, and their size.
const RUN_MAX: usize = 256;
const RUN_MAX_BYTES: usize = 64 << 10;
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

/// What a group of applied entries changed.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) rows: Vec<RowChange>,
    pub(crate) revisions: Vec<Arc<Committed>>,
    pub(crate) applied: LogId,
    pub(crate) membership: Option<StoredMembership>,
}

enum Job {
    Write(Write),
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

/// A handle on the store, which its thread alone owns. Clones share it.
#[derive(Clone)]
pub(crate) struct StateStore {
    jobs: mpsc::Sender<Job>,
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
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let worker = Worker { db, file };
        thread::Builder::new()
            .name("state-store".into())
            .spawn(move || worker.run(queue))
            .map_err(|source| StoreError::Io { path: folder.to_owned(), source })?;
        Ok((Self { jobs }, loaded))
    }

    /// Hands over what was applied; waits only while too much is queued.
    pub(crate) async fn write(&self, write: Write) -> Result<(), String> {
        self.jobs.send(Job::Write(write)).await.map_err(|_| stopped())
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
        self.jobs.send(job).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Returns when everything handed over so far is on disk. The index is for the log line only: what is applied is
    /// handed over before the log is told to forget it.
    pub(crate) async fn sync_through(&self, index: u64) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(Job::Sync { done }).await.map_err(|_| stopped())?;
        let result = answer.await.unwrap_or_else(|_| Err(stopped()));
        tracing::debug!(index, "state store synced");
        result
    }

    /// Revisions of the archive from `start` on.
    pub(crate) async fn revisions(&self, start: Revision, limit: usize) -> Result<Archived, String> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(Job::Revisions { start, limit, done }).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Makes everything durable and lets go of the files; every later call fails.
    pub(crate) async fn close(&self) -> Result<(), String> {
        let (done, answer) = oneshot::channel();
        self.jobs.send(Job::Close { done }).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }
}

fn stopped() -> String {
    "the state store has stopped; its last words are in the log above".to_owned()
}

fn event_key(revision: Revision) -> [u8; 9] {
    let mut key = [EVENT_PREFIX; 9];
    key[1..].copy_from_slice(&revision.0.to_be_bytes());
    key
}

fn first_revision_of(key: &[u8]) -> Result<Revision, String> {
    let digits = key.get(1..).and_then(|digits| digits.try_into().ok());
    digits
        .map(|digits| Revision(u64::from_be_bytes(digits)))
        .ok_or_else(|| "the archive has a key of another length".to_owned())
}

/// Revisions from `start` on. The archive keeps them in runs, each under its first revision.
fn read_archive(db: &sled::Db, start: Revision, limit: usize) -> Result<Archived, String> {
    let failed = |error: sled::Error| format!("reading the archive: {error}");
    let Some(oldest) = db.scan_prefix([EVENT_PREFIX]).keys().next() else {
        return Ok(Archived::Revisions(vec![]));
    };
    let first = first_revision_of(&oldest.map_err(failed)?)?;
    // Zero means the beginning, wherever it is kept; anything else must be there.
    if start < first && start.0 > 0 {
        return Ok(Archived::Compacted(first));
    }
    let holding = db.range(event_key(first)..=event_key(start.max(first))).next_back();
    let from =
        holding.transpose().map_err(failed)?.map_or(event_key(first).to_vec(), |(key, _)| key.to_vec());
    let mut found = Vec::new();
    for item in db.range(from..=event_key(Revision(u64::MAX)).to_vec()) {
        let (_, bytes) = item.map_err(failed)?;
        let run: Vec<Arc<Committed>> = rmp_serde::from_slice(&bytes)
            .map_err(|error| format!("the archive has a damaged run of revisions: {error}"))?;
        found.extend(run.into_iter().filter(|committed| committed.revision >= start));
        if found.len() >= limit {
            found.truncate(limit);
            break;
        }
    }
    Ok(Archived::Revisions(found))
}

/// Adds revisions to a batch in runs of bounded size: an item each would cost sled more than all the rest.
fn add_runs(batch: &mut sled::Batch, revisions: &[Arc<Committed>]) {
    for run in revisions.chunks(RUN_MAX) {
        let Some(first) = run.first() else { continue };
        let bytes =
            rmp_serde::to_vec_named(run).expect("revisions of strings, numbers and maps always have bytes");
        if bytes.len() > RUN_MAX_BYTES && run.len() > 1 {
            let (front, back) = run.split_at(run.len() / 2);
            add_runs(batch, front);
            add_runs(batch, back);
        } else {
            batch.insert(&event_key(first.revision), bytes);
        }
    }
}

/// Removes the runs that lie wholly before what is kept.
fn remove_expired(db: &sled::Db, batch: &mut sled::Batch, last: Revision) -> sled::Result<()> {
    let Some(kept_from) = last.0.checked_sub(ARCHIVE_MAX) else { return Ok(()) };
    let mut before: Option<sled::IVec> = None;
    for key in db.range(event_key(Revision(0))..=event_key(Revision(kept_from))).keys() {
        // A run ends where the next one begins: this one's beginning is still at or before what is kept.
        if let Some(expired) = before.replace(key?) {
            batch.remove(expired);
        }
    }
    Ok(())
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

struct Worker {
    db: sled::Db,
    file: File,
}

impl Worker {
    /// Ends with the last handle, or with the first error: whoever hands over the next write hears of it.
    fn run(self, mut queue: mpsc::Receiver<Job>) {
        let mut next = queue.blocking_recv();
        while let Some(job) = next.take() {
            let result = match job {
                Job::Write(write) => {
                    let (result, following) = self.write(write, &mut queue);
                    next = following;
                    result
                }
                Job::Replace { state, applied, membership, done } => {
                    answer(self.replace(&state, applied, &membership), done)
                }
                Job::Sync { done } => answer(self.sync(), done),
                Job::Revisions { start, limit, done } => {
                    // A page that cannot be read is an answer to its reader, and no reason to stop applying.
                    let _ = done.send(read_archive(&self.db, start, limit));
                    Ok(())
                }
                Job::Close { done } => {
                    let result = self.sync();
                    drop(self);
                    // Nobody waits any more when the caller was dropped.
                    let _ = done.send(result);
                    return;
                }
            };
            if let Err(error) = result {
                tracing::error!(%error, "the state store failed; this coordinator stops applying");
                return;
            }
            if next.is_none() {
                next = queue.blocking_recv();
            }
        }
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "the state store did not sync at the end; the log will make up for it");
        }
    }

    /// Writes a group, and those that wait behind it, in one batch; returns the first job that is no group.
    fn write(&self, first: Write, queue: &mut mpsc::Receiver<Job>) -> (Result<(), String>, Option<Job>) {
        thread::sleep(PACE);
        let mut writes = vec![first];
        let mut following = None;
        while writes.len() < COALESCE_MAX {
            match queue.try_recv() {
                Ok(Job::Write(more)) => writes.push(more),
                Ok(other) => {
                    following = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        (self.write_all(writes).map_err(|error| error.to_string()), following)
    }

    fn write_all(&self, writes: Vec<Write>) -> sled::Result<()> {
        let mut batch = sled::Batch::default();
        // Of a row that several groups changed, only the last value counts.
        let mut rows = BTreeMap::new();
        let mut revisions = Vec::new();
        for write in writes {
            add_progress(&mut batch, &write);
            rows.extend(write.rows);
            revisions.extend(write.revisions);
        }
        for (key, value) in rows {
            match value {
                Some(value) => batch.insert(state_key(&key), value),
                None => batch.remove(state_key(&key)),
            }
        }
        add_runs(&mut batch, &revisions);
        if let Some(last) = revisions.last() {
            remove_expired(&self.db, &mut batch, last.revision)?;
        }
        self.db.apply_batch(batch)
    }

    fn replace(
        &self,
        state: &State,
        applied: Option<LogId>,
        membership: &StoredMembership,
    ) -> Result<(), String> {
        let failed = |error: sled::Error| error.to_string();
        let mut batch = sled::Batch::default();
        for prefix in [STATE_PREFIX, EVENT_PREFIX] {
            for key in self.db.scan_prefix([prefix]).keys() {
                batch.remove(key.map_err(failed)?);
            }
        }
        for (key, value) in state.rows() {
            batch.insert(state_key(&key), value);
        }
        match applied {
            Some(applied) => batch.insert(KEY_APPLIED, &*codec::encode_log_id(&applied)),
            None => batch.remove(KEY_APPLIED),
        }
        batch.insert(KEY_MEMBERSHIP, &*codec::encode_membership(membership));
        self.db.apply_batch(batch).map_err(failed)?;
        self.sync()
    }

    fn sync(&self) -> Result<(), String> {
        self.db.flush().map_err(|error| error.to_string())?;
        self.file.sync_data().map_err(|error| format!("fdatasync of the state store: {error}"))
    }
}

fn answer(result: Result<(), String>, done: oneshot::Sender<Result<(), String>>) -> Result<(), String> {
    // Nobody waits any more when the caller was dropped; the work is done all the same.
    let _ = done.send(result.clone());
    result
}

fn state_key(row: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(row.len() + 1);
    key.push(STATE_PREFIX);
    key.extend_from_slice(row);
    key
}

/// Adds how far a group of applied entries goes, and the members if they changed.
fn add_progress(batch: &mut sled::Batch, write: &Write) {
    batch.insert(KEY_APPLIED, &*codec::encode_log_id(&write.applied));
    if let Some(membership) = &write.membership {
        batch.insert(KEY_MEMBERSHIP, &*codec::encode_membership(membership));
    }
}
