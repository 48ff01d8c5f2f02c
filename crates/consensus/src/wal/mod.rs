//! The write-ahead log under the Raft log: what is acknowledged here is on disk and is found again, or the log refuses
//! to open.
//!
//! It knows entries by index, a few last-one-wins values, truncation and purge, and nothing of Raft. It only writes;
//! what it holds is read once, at open.
//!
//! - `format`: the bytes. `segment`: one file.
//! - `queue` -> `thread` -> `writer`: an append on its way to the disk. `supply`: segments ahead of need.
//! - `live`: what keeps a segment from being free. `recovery`: opening.
//!
//! **A segment is free** once no entry in it counts any more, the same holds for every segment before it, and a record
//! that says so (the floor) is on disk. Free segments are used again, old batches and all: the salt tells them apart.
//!
//! **A batch that is larger than a segment** gets an empty segment of its own, whose file grows with it; the file is cut
//! back to the usual size at its next use.

mod error;
mod format;
mod live;
mod queue;
mod recovery;
mod segment;
mod supply;
mod thread;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock, mpsc::sync_channel},
    thread::{JoinHandle, current},
};

use bytes::Bytes;
use quorate_runtime::standstill::Pulse;

pub use self::error::{OpenError, WalError};
use self::{
    queue::{Append, Queue},
    supply::SegmentSource,
    writer::Writer,
};
use crate::disk::{Folder, FolderLock};

const LOCK_FILE: &str = "LOCK";

/// The largest append, in bytes of its records.
pub const MAX_APPEND_BYTES: usize = 512 << 20;
/// The largest value of a meta or a purge record: they are written again in every new segment.
pub const MAX_META_BYTES: usize = 1 << 20;
/// The smallest segment that makes sense.
pub const MIN_SEGMENT_BYTES: u64 = 4 << 10;

/// One thing to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// An entry; a later one with the same index takes its place. Without effect at or below the last purge.
    Entry {
        /// Where it stands.
        index: u64,
        /// What it says.
        data: Bytes,
    },
    /// A value of which only the last counts, such as the vote.
    Meta {
        /// Which value.
        key: u8,
        /// What it says.
        data: Bytes,
    },
    /// Every entry at this index or above is gone.
    TruncateFrom {
        /// The first index that is gone.
        index: u64,
    },
    /// Every entry at this index or below is gone, for good. Without effect below an earlier purge.
    PurgeTo {
        /// The last index that is gone.
        index: u64,
        /// What the caller wants to know about it.
        data: Bytes,
    },
}

/// How the log uses the disk and memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Size of a segment file.
    pub segment_bytes: u64,
    /// Segments kept ready ahead of need by a thread of their own; with 0 the writer makes each one when it needs it.
    pub spare_segments: usize,
    /// Free segment files kept for their next use; more than these are removed.
    pub max_free_segments: usize,
    /// Appends are put together into one batch up to this size; a larger append is a batch of its own.
    pub max_batch_bytes: usize,
    /// Bytes that may wait for the disk, the batch being written included; at the limit `append` blocks until there is
    /// room. One append larger than this is taken when nothing else waits.
    pub max_queued_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            spare_segments: 2,
            max_free_segments: 4,
            max_batch_bytes: 1 << 20,
            max_queued_bytes: 64 << 20,
        }
    }
}

impl Options {
    fn check(&self) -> Result<(), OpenError> {
        let refuse = |field, reason: String| Err(OpenError::Options { field, reason });
        if self.segment_bytes < MIN_SEGMENT_BYTES {
            return refuse("segment_bytes", format!("must be at least {MIN_SEGMENT_BYTES}"));
        }
        if self.max_batch_bytes == 0 || self.max_batch_bytes > MAX_APPEND_BYTES {
            return refuse("max_batch_bytes", format!("must be between 1 and {MAX_APPEND_BYTES}"));
        }
        if self.max_queued_bytes == 0 {
            return refuse("max_queued_bytes", "must be at least 1".to_owned());
        }
        Ok(())
    }
}

/// What the log held when it was opened; all of it is on disk.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The entries above the last purge.
    pub entries: BTreeMap<u64, Bytes>,
    /// The last value of each meta.
    pub metas: BTreeMap<u8, Bytes>,
    /// The highest purge, with its data.
    pub purged: Option<(u64, Bytes)>,
    /// The last batch, if it was torn and has been cut off; it was never acknowledged, unless the disk lost it.
    pub torn: Option<TornTail>,
}

/// A batch that was not whole at the very end of the log, and was overwritten with zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    /// The segment file.
    pub file: PathBuf,
    /// Where the batch began, in bytes from the start of the file.
    pub offset: u64,
    /// Length of the batch where its header still told, otherwise of all that was overwritten.
    pub bytes: u64,
    /// What was wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for TornTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, offset, bytes, reason } = self;
        write!(f, "cut a torn tail of {bytes} bytes off {} at offset {offset}: {reason}", file.display())
    }
}

/// An open log. Dropping it writes what waits, answers every append, and ends its threads.
pub struct Wal {
    queue: Arc<Queue>,
    failure: Arc<OnceLock<WalError>>,
    thread: Option<JoinHandle<()>>,
}

impl Wal {
    /// Opens the log in a folder, and locks it against other processes.
    ///
    /// # Errors
    /// When the folder is in use, the disk fails, or the log has damage that no crash can explain.
    pub fn open(folder: Arc<dyn Folder>, options: &Options) -> Result<(Self, Recovered), OpenError> {
        options.check()?;
        let lock = folder.lock(LOCK_FILE).map_err(error::io_error(&*folder, "lock", LOCK_FILE))?;
        let lock = lock.ok_or_else(|| OpenError::Locked { file: folder.path(LOCK_FILE) })?;
        Self::open_locked(folder, Some(lock), options)
    }

    fn open_locked(
        storage: Arc<dyn Folder>,
        lock: Option<FolderLock>,
        options: &Options,
    ) -> Result<(Self, Recovered), OpenError> {
        let dir = storage.path("");
        let (position, recovered) = recovery::recover(&storage, options)?;
        let failure = Arc::new(OnceLock::new());
        let no_thread = |source| WalError::Io {
            operation: "start a thread for",
            file: dir.clone(),
            source: Arc::new(source),
        };
        let writer = Writer::new(storage, position, options.max_batch_bytes, |supply, ready| match options
            .spare_segments
        {
            0 => SegmentSource::inline(supply, ready, 0),
            spare => SegmentSource::background(supply, ready, spare, Arc::clone(&failure)).map_err(no_thread),
        })?;
        let writer = writer.holding(lock);
        let queue = Arc::new(Queue::new(options.max_queued_bytes));
        let thread = thread::start(writer, Arc::clone(&queue), Arc::clone(&failure), options.max_batch_bytes)
            .map_err(no_thread)?;
        Ok((Self { queue, failure, thread: Some(thread) }, recovered))
    }

    /// What the thread that writes shows of its progress.
    pub fn pulse(&self) -> Pulse {
        self.queue.pulse.clone()
    }

    /// Hands over records to be written as a whole or not at all; `done` is called when they are on disk, or when that
    /// has failed.
    ///
    /// Does not wait for the disk, except while `max_queued_bytes` wait already. Callbacks come in the order of the
    /// appends, on the writer's thread: they must be short, and must not append themselves, since at the limit that would
    /// wait for itself.
    pub fn append(&self, records: Vec<Record>, done: impl FnOnce(Result<(), WalError>) + Send + 'static) {
        let bytes = match measure(&records) {
            Ok(bytes) => bytes,
            Err(error) => return done(Err(error)),
        };
        if let Err(refused) = self.queue.push(Append { records, bytes, done: Box::new(done) }) {
            let error = self.failure().unwrap_or(WalError::Stopped { thread: "writer" });
            (refused.done)(Err(error));
        }
    }

    /// Appends, and returns when the records are on disk.
    ///
    /// # Errors
    /// When the records are too large, or the log has failed, now or earlier.
    pub fn append_and_wait(&self, records: Vec<Record>) -> Result<(), WalError> {
        let (answer, wait) = sync_channel(1);
        self.append(records, move |result| {
            // The receiver is held below until the answer is there.
            let _ = answer.send(result);
        });
        wait.recv().unwrap_or(Err(WalError::Stopped { thread: "writer" }))
    }

    /// The first error of this log, if it had one; after it nothing is acknowledged.
    pub fn failure(&self) -> Option<WalError> {
        self.failure.get().cloned()
    }

    /// Writes what waits, answers every append, and ends the log's threads.
    ///
    /// # Errors
    /// When the log has failed.
    pub fn close(mut self) -> Result<(), WalError> {
        // Asked before the end, where an orderly stop and a broken one look the same.
        let thread = self.thread.take();
        self.queue.close();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            return Err(self.failure().unwrap_or(WalError::Stopped { thread: "writer" }));
        }
        self.failure().map_or(Ok(()), Err)
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.queue.close();
        // A callback may hold the last handle; the thread cannot wait for itself and ends on its own.
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != current().id()) {
            // A panic of the thread has been reported by the panic itself.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Wal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wal").field("failure", &self.failure.get()).finish_non_exhaustive()
    }
}

/// The bytes that records take in a batch.
fn measure(records: &[Record]) -> Result<usize, WalError> {
    let mut bytes = 0_usize;
    for record in records {
        if let Record::Meta { data, .. } | Record::PurgeTo { data, .. } = record
            && data.len() > MAX_META_BYTES
        {
            let what = "a meta or purge value";
            return Err(WalError::TooLarge { what, size_bytes: data.len(), limit_bytes: MAX_META_BYTES });
        }
        bytes = bytes.saturating_add(format::record_bytes(record));
    }
    if bytes > MAX_APPEND_BYTES {
        return Err(WalError::TooLarge {
            what: "an append",
            size_bytes: bytes,
            limit_bytes: MAX_APPEND_BYTES,
        });
    }
    Ok(bytes)
}
