//! What waits for the writer: appends in order, bounded by their bytes.

use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{Record, error::WalError};
use quorate_runtime::standstill::Pulse;

/// Called once, with what became of an append.
pub(crate) type Done = Box<dyn FnOnce(Result<(), WalError>) + Send>;

/// One append on its way to the disk.
pub(crate) struct Append {
    pub(crate) records: Vec<Record>,
    /// What the records take in a batch.
    pub(crate) bytes: usize,
    pub(crate) done: Done,
}

/// Appends between the callers and the one writer thread.
pub(crate) struct Queue {
    max_bytes: usize,
    inner: Mutex<Inner>,
    /// Signalled when there is something to write, or the queue is closed.
    filled: Condvar,
    /// Signalled when there is room again.
    drained: Condvar,
    /// Of the thread that writes.
    pub(crate) pulse: Pulse,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Append>,
    /// Bytes of what waits and of what is being written.
    bytes: usize,
    is_closed: bool,
}

impl Queue {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            inner: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            pulse: Pulse::default(),
        }
    }

    /// Adds an append at the end; waits while the queue is over its limit. Gives it back when the queue is closed.
    pub(crate) fn push(&self, append: Append) -> Result<(), Append> {
        let mut inner = self.lock();
        // An empty queue takes anything: an append larger than the limit goes alone.
        while inner.bytes > 0 && inner.bytes.saturating_add(append.bytes) > self.max_bytes && !inner.is_closed
        {
            inner = self.drained.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.is_closed {
            return Err(append);
        }
        inner.bytes += append.bytes;
        inner.waiting.push_back(append);
        drop(inner);
        self.filled.notify_one();
        Ok(())
    }

    /// Moves the next appends into `batch`: as many as fit into `max_batch_bytes`, at least one. False at the very end.
    pub(crate) fn take(&self, batch: &mut VecDeque<Append>, max_batch_bytes: usize) -> bool {
        let mut inner = self.lock();
        while inner.waiting.is_empty() {
            if inner.is_closed {
                return false;
            }
            inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0_usize;
        while let Some(next) = inner.waiting.front()
            && (batch.is_empty() || bytes + next.bytes <= max_batch_bytes)
            && let Some(next) = inner.waiting.pop_front()
        {
            bytes += next.bytes;
            batch.push_back(next);
        }
        true
    }

    /// Gives back the room of appends that were taken.
    pub(crate) fn release(&self, bytes: usize) {
        let mut inner = self.lock();
        inner.bytes = inner.bytes.saturating_sub(bytes);
        drop(inner);
        self.drained.notify_all();
    }

    /// Takes nothing more; what is in it will still be taken out.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // No code that can panic runs under this lock, so a poisoned one is whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
