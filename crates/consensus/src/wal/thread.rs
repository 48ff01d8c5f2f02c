//! The one thread that writes: takes what waits, writes one batch, then calls back.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, OnceLock},
    thread::{self, JoinHandle},
};

use super::{
    error::WalError,
    queue::{Append, Queue},
    writer::Writer,
};

const THREAD: &str = "writer";

/// Starts the thread; it ends when the queue is closed and empty.
pub(crate) fn start(
    writer: Writer,
    queue: Arc<Queue>,
    failure: Arc<OnceLock<WalError>>,
    max_batch_bytes: usize,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("wal-writer".to_owned()).spawn(move || {
        let mut work = Work { writer, queue, failure, batch: VecDeque::new() };
        while work.queue.take(&mut work.batch, max_batch_bytes) {
            work.queue.pulse.beat();
            work.write_batch();
            work.queue.pulse.rest();
        }
    })
}

struct Work {
    writer: Writer,
    queue: Arc<Queue>,
    failure: Arc<OnceLock<WalError>>,
    batch: VecDeque<Append>,
}

impl Work {
    fn write_batch(&mut self) {
        let bytes = self.batch.iter().map(|append| append.bytes).sum();
        let result = match self.failure.get() {
            // Never again after the first error: what is on disk since then is not known.
            Some(error) => Err(error.clone()),
            None => self.writer.write(self.batch.iter().map(|append| append.records.as_slice()), bytes),
        };
        let result = result.map_err(|error| {
            if self.failure.set(error.clone()).is_ok() {
                tracing::error!(%error, "the log failed");
            }
            self.failure.get().cloned().unwrap_or(error)
        });
        self.queue.release(bytes);
        // One by one, so that a callback that panics takes no other with it.
        while let Some(append) = self.batch.pop_front() {
            (append.done)(result.clone());
        }
    }
}

impl Drop for Work {
    /// Answers everything that is left, which is something only when a callback panicked.
    fn drop(&mut self) {
        self.queue.close();
        if thread::panicking() {
            let _ = self.failure.set(WalError::Stopped { thread: THREAD });
        }
        let error = self.failure.get().cloned().unwrap_or(WalError::Stopped { thread: THREAD });
        while !self.batch.is_empty() || self.queue.take(&mut self.batch, usize::MAX) {
            while let Some(append) = self.batch.pop_front() {
                (append.done)(Err(error.clone()));
            }
        }
    }
}
