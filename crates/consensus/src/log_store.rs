//! openraft's log on our write-ahead log. Entries above the last purge are in memory too, so reads never touch the disk.

use crate::{
    codec::{self, CodecError},
    disk::Folder,
    folder::DataFolder,
    state_store::StateStore,
    types::{Entry, LogId, StorageError, TypeConfig, Vote},
    wal::{self, Record, Wal, WalError},
};
use openraft::{
    LogState, RaftLogReader, StorageIOError,
    storage::{LogFlushed, RaftLogStorage},
};
use quorate_domain::CoordinatorId;
use quorate_runtime::standstill::Pulse;
use std::{
    collections::BTreeMap,
    fmt::Debug,
    io,
    ops::{Bound, RangeBounds},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::{oneshot, watch};

const META_VOTE: u8 = 1;
const META_COMMITTED: u8 = 2;

/// Why a log does not open.
#[derive(Debug, thiserror::Error)]
pub enum LogOpenError {
    /// The files are not as they must be.
    #[error(transparent)]
    Wal(#[from] wal::OpenError),
    /// The vote could not be written.
    #[error("the vote could not be written: {0}")]
    Vote(#[source] WalError),
    /// A whole record that says nothing we know.
    #[error("log record {what} was not written by a version this one knows: {source}")]
    Record {
        /// Which.
        what: String,
        /// What is wrong with it.
        source: CodecError,
    },
    /// Entries that nothing stands for.
    #[error(
        "{folder}: entry {found} stands where entry {expected} should: the log lost what was before it; bring this coordinator back under a new node id with an empty data_dir"
    )]
    Gap {
        /// The log's folder.
        folder: PathBuf,
        /// The first one that is missing.
        expected: u64,
        /// The first one behind the gap.
        found: u64,
    },
}

#[derive(Debug, Default)]
struct Memory {
    entries: BTreeMap<u64, Entry>,
    vote: Option<Vote>,
    committed: Option<LogId>,
    /// The last commit that was handed to the log; it rides along with the next append.
    committed_written: Option<LogId>,
    purged: Option<LogId>,
    /// Set while a snapshot of another node is being put in the place of the log: nothing may be written behind it
    /// before the purge up to here is on disk.
    base: Option<LogId>,
    /// Why no vote is given any more: that one was given could not be made known.
    untold: Option<String>,
}

/// How far the log has forgotten on disk.
#[derive(Debug, Default)]
struct Purges {
    durable: Option<LogId>,
    /// Why it never will.
    failure: Option<String>,
}

impl Memory {
    fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, entry)| entry.log_id).or(self.purged)
    }
}

/// The log of one node. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    wal: Arc<Wal>,
    memory: Arc<Mutex<Memory>>,
    purges: Arc<watch::Sender<Purges>>,
    /// What must be on disk before the log may forget.
    state_store: Option<StateStore>,
    /// Whose folder it is: that a vote was given must be known there, should the log get lost.
    folder: Option<Arc<DataFolder>>,
}

impl LogStore {
    /// Opens the log in a folder; what a crash tore off at its end was cut, and is said.
    ///
    /// # Errors
    /// [`LogOpenError`] with file and offset when the log is damaged in a way that no crash can explain.
    pub(crate) fn open(folder: Arc<dyn Folder>, options: &wal::Options) -> Result<Self, LogOpenError> {
        let path = folder.path("");
        let (wal, recovered) = Wal::open(folder, options)?;
        if let Some(torn) = &recovered.torn {
            tracing::warn!(torn = %torn, "the log ended in a batch that was not whole; it was never acknowledged");
        }
        let bad = |what: &str| {
            let what = what.to_owned();
            move |source| LogOpenError::Record { what, source }
        };
        let meta = |key| recovered.metas.get(&key);
        let committed = meta(META_COMMITTED).map(|bytes| codec::decode_log_id(bytes)).transpose();
        let committed = committed.map_err(bad("committed"))?;
        let mut memory = Memory {
            vote: meta(META_VOTE).map(|bytes| codec::decode_vote(bytes)).transpose().map_err(bad("vote"))?,
            committed,
            committed_written: committed,
            purged: recovered
                .purged
                .as_ref()
                .map(|(_, bytes)| codec::decode_log_id(bytes))
                .transpose()
                .map_err(bad("purge"))?,
            entries: BTreeMap::new(),
            base: None,
            untold: None,
        };
        for (index, bytes) in recovered.entries {
            let entry = codec::decode_entry(bytes).map_err(bad(&format!("entry {index}")))?;
            memory.entries.insert(index, entry);
        }
        refuse_gap(path, &memory)?;
        let purges = watch::Sender::new(Purges { durable: memory.purged, failure: None });
        Ok(Self {
            wal: Arc::new(wal),
            memory: Arc::new(Mutex::new(memory)),
            purges: Arc::new(purges),
            state_store: None,
            folder: None,
        })
    }

    /// Makes every vote known in the data folder before it is answered.
    #[must_use]
    pub(crate) fn first_telling(self, folder: Arc<DataFolder>) -> Self {
        Self { folder: Some(folder), ..self }
    }

    /// Makes purges wait until this store has on disk what the purged entries led to.
    #[must_use]
    pub(crate) fn purging_after(self, state_store: StateStore) -> Self {
        Self { state_store: Some(state_store), ..self }
    }

    /// What the thread that writes it shows of its progress.
    pub(crate) fn pulse(&self) -> Pulse {
        self.wal.pulse()
    }

    /// The last entry, or the last purged one.
    pub(crate) fn last_log_id(&self) -> Option<LogId> {
        self.memory().last()
    }

    /// Waits until everything that was handed to the log is on disk.
    #[cfg(test)]
    pub(crate) async fn settle(&self) -> Result<(), WalError> {
        self.write(vec![]).await
    }

    /// Waits until the log begins behind this entry on disk, or never will.
    #[cfg(test)]
    pub(crate) async fn until_purged(&self, log_id: LogId) -> Result<(), String> {
        let mut purges = self.purges.subscribe();
        let settled = purges
            .wait_for(|purges| purges.durable >= Some(log_id) || purges.failure.is_some())
            .await
            .map_err(|error| error.to_string())?;
        settled.failure.clone().map_or(Ok(()), Err)
    }

    /// The last entry that was purged.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.memory().purged
    }

    /// What is known otherwise to be committed, such as all that a snapshot of this node holds.
    pub(crate) fn raise_committed(&self, log_id: Option<LogId>) {
        let mut memory = self.memory();
        memory.committed = memory.committed.max(log_id);
    }

    /// Says on disk that the log begins behind a snapshot that came from another node and is on disk itself: from then
    /// on that snapshot counts, and not before.
    pub(crate) async fn begin_behind(&self, log_id: LogId) -> Result<(), WalError> {
        let (done, answer) = oneshot::channel();
        self.write_purge(log_id, move |result| {
            // The receiver is held below until the answer is there.
            let _ = done.send(result);
        });
        answer.await.unwrap_or(Err(WalError::Stopped { thread: "writer" }))
    }

    /// What was to stand before the log's first entry never will.
    pub(crate) fn give_up_purge(&self, reason: String) {
        self.purges.send_modify(|purges| {
            purges.failure.get_or_insert(reason);
        });
    }

    /// Returns when something failed that Raft does not wait for, and says what: the next append may be long in coming.
    pub(crate) async fn failed_behind_raft(&self) -> String {
        let mut purges = self.purges.subscribe();
        let failed = purges.wait_for(|purges| purges.failure.is_some()).await;
        // The sender is in here, so there is an answer.
        failed.ok().and_then(|purges| purges.failure.clone()).unwrap_or_default()
    }

    /// Gives up the leadership that this node had when it stopped, by a vote of its own in the next term.
    ///
    /// openraft would go on leading in the old term at once, and would answer linearizable reads from a state that
    /// lacks the last commits: it takes the first entry of its term for the one that a read must wait for. With every
    /// start a leader has a new term, and all that is counted by terms (waits, readiness) holds.
    pub(crate) async fn abandon_leadership(&self, node: CoordinatorId) -> Result<(), WalError> {
        let vote = self.memory().vote;
        let Some(led) = vote.filter(|vote| vote.committed && codec::voted_for(vote) == node.0) else {
            return Ok(());
        };
        let next = Vote::new(led.leader_id.term + 1, node.0);
        self.write(vec![Record::Meta { key: META_VOTE, data: codec::encode_vote(&next) }]).await?;
        self.memory().vote = Some(next);
        Ok(())
    }

    /// True once there is a vote or an entry: the node has taken part in something.
    pub(crate) fn is_used(&self) -> bool {
        let memory = self.memory();
        memory.vote.is_some() || memory.last().is_some()
    }

    /// Nothing is promised before the first vote, and it is not answered before this. What failed once is not tried again.
    fn tell_folder(&self) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let mut memory = self.memory();
        if memory.untold.is_none()
            && let Err(error) = folder.mark_used()
        {
            memory.untold = Some(error.to_string());
        }
        memory.untold.clone().map_or(Ok(()), |reason| Err(io::Error::other(reason)))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The commit that the log does not know yet, to go with the next batch: it costs no sync of its own.
    fn take_commit(memory: &mut Memory) -> Option<Record> {
        let committed = memory.committed.filter(|id| memory.committed_written != Some(*id))?;
        memory.committed_written = Some(committed);
        Some(Record::Meta { key: META_COMMITTED, data: codec::encode_log_id(&committed) })
    }

    /// Writes what is only in memory, for an orderly stop.
    pub(crate) async fn flush(&self) -> Result<(), WalError> {
        let record = Self::take_commit(&mut self.memory());
        match record {
            Some(record) => self.write(vec![record]).await,
            None => Ok(()),
        }
    }

    async fn write(&self, records: Vec<Record>) -> Result<(), WalError> {
        let (done, answer) = oneshot::channel();
        self.wal.append(records, move |result| {
            // The receiver is held below until the answer is there.
            let _ = done.send(result);
        });
        answer.await.unwrap_or(Err(WalError::Stopped { thread: "writer" }))
    }

    fn write_purge(&self, log_id: LogId, done: impl FnOnce(Result<(), WalError>) + Send + 'static) {
        let record = Record::PurgeTo { index: log_id.index, data: codec::encode_log_id(&log_id) };
        let purges = Arc::clone(&self.purges);
        self.wal.append(vec![record], move |result| {
            purges.send_modify(|purges| match &result {
                Ok(()) => purges.durable = purges.durable.max(Some(log_id)),
                Err(error) => {
                    purges.failure.get_or_insert_with(|| to_io(error.clone()).to_string());
                }
            });
            done(result);
        });
    }

    /// Waits while a snapshot is being put in the place of the log. openraft takes entries behind it at once; were they on
    /// disk before it, a crash would leave a log that begins in the air.
    async fn until_base_is_durable(&self) -> io::Result<()> {
        let Some(base) = self.memory().base else { return Ok(()) };
        let mut purges = self.purges.subscribe();
        let settled = purges
            .wait_for(|purges| purges.durable >= Some(base) || purges.failure.is_some())
            .await
            .map_err(io::Error::other)?;
        if settled.durable < Some(base)
            && let Some(reason) = &settled.failure
        {
            return Err(io::Error::other(format!("the snapshot before the log's first entry: {reason}")));
        }
        self.memory().base = None;
        Ok(())
    }

    fn write_unawaited(&self, records: Vec<Record>) {
        self.wal.append(records, warn_of_failure);
    }
}

/// openraft says of an error only what stands at its top, so the cause goes there.
pub(crate) fn to_io(error: WalError) -> io::Error {
    match error {
        WalError::Io { ref source, .. } => io::Error::other(format!("{error}: {source}")),
        other => io::Error::other(other),
    }
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        if is_empty(&range) {
            // A map panics over a range that ends before it begins.
            return Ok(vec![]);
        }
        Ok(self.memory().entries.range(range).map(|(_, entry)| entry.clone()).collect())
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let memory = self.memory();
        Ok(LogState { last_purged_log_id: memory.purged, last_log_id: memory.last() })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        if let Some(reason) = self.memory().untold.clone() {
            return Err(StorageIOError::write_vote(&io::Error::other(reason)).into());
        }
        let record = Record::Meta { key: META_VOTE, data: codec::encode_vote(vote) };
        self.write(vec![record]).await.map_err(|error| StorageIOError::write_vote(&to_io(error)))?;
        self.tell_folder().map_err(|error| StorageIOError::write_vote(&error))?;
        self.memory().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.memory().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.memory().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.memory().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        self.until_base_is_durable().await.map_err(|error| StorageIOError::write_logs(&error))?;
        if let Some(reason) = self.memory().untold.clone() {
            return Err(StorageIOError::write_logs(&io::Error::other(reason)).into());
        }
        let mut records = Vec::new();
        {
            let mut memory = self.memory();
            records.extend(Self::take_commit(&mut memory));
            for entry in entries {
                let index = entry.log_id.index;
                records.push(Record::Entry { index, data: codec::encode_entry(&entry) });
                memory.entries.insert(index, entry);
            }
        }
        self.wal.append(records, |result| callback.log_io_completed(result.map_err(to_io)));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.until_base_is_durable().await.map_err(|error| StorageIOError::write_logs(&error))?;
        {
            let mut memory = self.memory();
            memory.entries.split_off(&log_id.index);
        }
        // Later appends are later in the log: a crash loses both or the appends alone.
        self.write_unawaited(vec![Record::TruncateFrom { index: log_id.index }]);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        {
            let mut memory = self.memory();
            if memory.last().is_none_or(|last| last.index < log_id.index) {
                memory.base = Some(log_id);
            }
            memory.purged = memory.purged.max(Some(log_id));
            memory.entries = memory.entries.split_off(&(log_id.index + 1));
        }
        if self.purges.borrow().durable >= Some(log_id) {
            return Ok(());
        }
        let log = self.clone();
        let Some(state_store) = self.state_store.clone() else {
            log.write_purge(log_id, warn_of_failure);
            return Ok(());
        };
        // Awaited in Raft's own loop, so it must not wait for a disk: the rest happens behind it. Until the record is
        // written, the log only holds more than it must.
        tokio::spawn(async move {
            match state_store.sync_through(log_id.index).await {
                // An install says so by itself, before the state is there.
                Ok(()) if log.purges.borrow().durable >= Some(log_id) => {}
                Ok(()) => log.write_purge(log_id, warn_of_failure),
                Err(error) => {
                    tracing::error!(%error, "the state store did not sync; the log keeps what it holds");
                    log.give_up_purge(error);
                }
            }
        });
        Ok(())
    }
}

fn is_empty(range: &impl RangeBounds<u64>) -> bool {
    let end = match range.end_bound() {
        Bound::Included(end) => end.checked_add(1),
        Bound::Excluded(end) => Some(*end),
        Bound::Unbounded => None,
    };
    let start = match range.start_bound() {
        Bound::Included(start) => Some(*start),
        Bound::Excluded(start) => start.checked_add(1),
        Bound::Unbounded => Some(0),
    };
    start.is_none_or(|start| end.is_some_and(|end| end <= start))
}

fn warn_of_failure(result: Result<(), WalError>) {
    if let Err(error) = result {
        tracing::error!(%error, "the log failed; the next append will say so and end this process");
    }
}

/// Entries follow each other, and the first one follows the last purge.
fn refuse_gap(folder: PathBuf, memory: &Memory) -> Result<(), LogOpenError> {
    let first = memory.purged.map_or(0, |id| id.index + 1);
    match (first..).zip(memory.entries.keys()).find(|(expected, found)| expected != *found) {
        None => Ok(()),
        Some((expected, found)) => Err(LogOpenError::Gap { folder, expected, found: *found }),
    }
}
