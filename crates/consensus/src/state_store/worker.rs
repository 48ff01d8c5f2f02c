//! The store's thread: the only one that touches sled.

use super::{EVENT_PREFIX, Job, KEY_APPLIED, KEY_MEMBERSHIP, STATE_PREFIX, Write, archive, inbox::Inbox};
use crate::{
    codec,
    types::{LogId, StoredMembership},
};
use quorate_domain::State;
use std::{fs::File, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// What is applied within this time of the first goes into one batch: sled waits for the disk with every batch, and the
/// log needs the same disk. The log holds it all the while.
const PACE: Duration = Duration::from_millis(250);

pub(super) struct Worker {
    pub(super) db: sled::Db,
    pub(super) file: File,
    /// The state as it was last written.
    pub(super) written: State,
    pub(super) inbox: Arc<Inbox>,
}

impl Worker {
    /// Ends with the last handle, or with the first error: whoever hands over the next write hears of it.
    pub(super) fn run(mut self) {
        while let Some(job) = self.inbox.next(PACE) {
            let result = match job {
                Job::Write(write) => self.write(*write).map_err(|error| error.to_string()),
                Job::Replace { state, applied, membership, done } => {
                    answer(self.replace(*state, applied, &membership), done)
                }
                Job::Sync { done } => answer(self.sync(), done),
                Job::Revisions { start, limit, done } => {
                    // A page that cannot be read is an answer to its reader, and no reason to stop applying.
                    let _ = done.send(archive::read(&self.db, start, limit));
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
        }
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "the state store did not sync at the end; the log will make up for it");
        }
    }

    fn write(&mut self, write: Write) -> sled::Result<()> {
        let Write { state, revisions, applied, membership } = write;
        let mut batch = sled::Batch::default();
        batch.insert(KEY_APPLIED, &*codec::encode_log_id(&applied));
        if let Some(membership) = &membership {
            batch.insert(KEY_MEMBERSHIP, &*codec::encode_membership(membership));
        }
        for (key, value) in state.changes_since(&self.written) {
            match value {
                Some(value) => batch.insert(state_key(&key), value),
                None => batch.remove(state_key(&key)),
            }
        }
        archive::add(&mut batch, &revisions);
        if let Some(last) = revisions.last() {
            archive::remove_expired(&self.db, &mut batch, last.revision)?;
        }
        self.db.apply_batch(batch)?;
        self.written = state;
        Ok(())
    }

    fn replace(
        &mut self,
        state: State,
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
        self.written = state;
        self.sync()
    }

    fn sync(&self) -> Result<(), String> {
        self.db.flush().map_err(|error| error.to_string())?;
        self.file.sync_data().map_err(|error| format!("fdatasync of the state store: {error}"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.inbox.abandon();
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
