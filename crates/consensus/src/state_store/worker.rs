//! The store's thread: the only one that touches sled.

use super::{
    EVENT_PREFIX, Job, KEY_APPLIED, KEY_MEMBERSHIP, Loaded, STATE_PREFIX, Write, archive, changes::Changes,
    inbox::Inbox, seal::Sealed, state_key,
};
use crate::{
    codec,
    disk::{Disk, StoreStep},
    types::{LogId, StoredMembership},
};
use quorate_domain::State;
use std::{fmt, fs::File, path::PathBuf, sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// What is applied within this time of the first goes into one batch: sled waits for the disk with every batch, and the
/// log needs the same disk. The log holds it all the while.
const PACE: Duration = Duration::from_millis(250);

type Done = oneshot::Sender<Result<(), String>>;

pub(super) struct Worker {
    disk: Arc<dyn Disk>,
    /// sled's file.
    path: PathBuf,
    db: sled::Db,
    file: File,
    /// What sled holds, for the next seal.
    sealed: Sealed,
    /// The state as it was last written.
    written: State,
    applied: Option<LogId>,
    /// Who waits for a state that is not written yet; openraft forgets entries at most once for every snapshot.
    waiting: Vec<(u64, Done)>,
    inbox: Arc<Inbox>,
}

impl Worker {
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        path: PathBuf,
        db: sled::Db,
        file: File,
        sealed: Sealed,
        loaded: &Loaded,
        inbox: Arc<Inbox>,
    ) -> Self {
        let (written, applied) = (loaded.state.clone(), loaded.applied);
        Self { disk, path, db, file, sealed, written, applied, waiting: Vec::new(), inbox }
    }

    /// Ends with the last handle, or with the first error: whoever hands over the next write hears of it.
    pub(super) fn run(mut self) {
        while let Some(job) = self.inbox.next(PACE) {
            self.inbox.pulse.beat();
            let result = match job {
                Job::Write(write) => self.write(*write).and_then(|()| self.sync_for_waiting()),
                Job::Replace { state, applied, membership, done } => {
                    let replaced = self.replace(*state, applied, &membership);
                    self.answer(replaced, done).and_then(|()| self.sync_for_waiting())
                }
                Job::Sync { index, done } => {
                    self.waiting.push((index, done));
                    self.sync_for_waiting()
                }
                Job::Revisions { start, limit, done } => {
                    // A page that cannot be read is an answer to its reader, and no reason to stop applying.
                    let _ = done.send(archive::read(&self.db, start, limit));
                    Ok(())
                }
                Job::Close { done } => {
                    let (result, inbox) = (self.sync(), Arc::clone(&self.inbox));
                    drop(self);
                    // Nobody waits any more when the caller was dropped.
                    let _ = done.send(result);
                    inbox.pulse.rest();
                    return;
                }
            };
            self.inbox.pulse.rest();
            if let Err(error) = result {
                tracing::error!(%error, "the state store failed; this coordinator stops applying");
                self.inbox.fail(error);
                return;
            }
        }
        if let Err(error) = self.sync() {
            tracing::warn!(%error, "the state store did not sync at the end; the log will make up for it");
        }
    }

    pub(super) fn write(&mut self, write: Write) -> Result<(), String> {
        self.apply(self.changes_of(&write)?)?;
        self.written = write.state;
        self.applied = Some(write.applied);
        Ok(())
    }

    /// What a write changes in what was last written.
    pub(super) fn changes_of(&self, write: &Write) -> Result<Changes, String> {
        let Write { state, revisions, applied, membership } = write;
        let mut changes = Changes::default();
        changes.put(KEY_APPLIED, codec::encode_log_id(applied));
        if let Some(membership) = membership {
            changes.put(KEY_MEMBERSHIP, codec::encode_membership(membership));
        }
        for (key, value) in state.changes_since(&self.written) {
            match value {
                Some(value) => changes.put(state_key(&key), value),
                None => changes.remove(state_key(&key)),
            }
        }
        archive::add(&mut changes, revisions);
        if let Some(last) = revisions.last() {
            archive::remove_expired(&self.db, &mut changes, last.revision)
                .map_err(|error| self.failed("reading", &error))?;
        }
        Ok(changes)
    }

    fn replace(
        &mut self,
        state: State,
        applied: Option<LogId>,
        membership: &StoredMembership,
    ) -> Result<(), String> {
        self.apply(self.replacement(&state, applied, membership)?)?;
        self.written = state;
        self.applied = applied;
        self.sync()
    }

    /// What makes all that is there into another state.
    pub(super) fn replacement(
        &self,
        state: &State,
        applied: Option<LogId>,
        membership: &StoredMembership,
    ) -> Result<Changes, String> {
        let mut changes = Changes::default();
        for prefix in [STATE_PREFIX, EVENT_PREFIX] {
            for key in self.db.scan_prefix([prefix]).keys() {
                changes.remove(&*key.map_err(|error| self.failed("reading", &error))?);
            }
        }
        for (key, value) in state.rows() {
            changes.put(state_key(&key), value);
        }
        match applied {
            Some(applied) => changes.put(KEY_APPLIED, codec::encode_log_id(&applied)),
            None => changes.remove(KEY_APPLIED),
        }
        changes.put(KEY_MEMBERSHIP, codec::encode_membership(membership));
        Ok(changes)
    }

    /// Writes a batch with its seal.
    fn apply(&mut self, mut changes: Changes) -> Result<(), String> {
        self.before(StoreStep::Write).map_err(|error| self.failed("writing", &error))?;
        let sealed = self.seal(&mut changes)?;
        self.db.apply_batch(changes.into_batch()).map_err(|error| self.failed("writing", &error))?;
        self.sealed = sealed;
        Ok(())
    }

    /// Adds the seal of what sled will hold after these changes.
    pub(super) fn seal(&self, changes: &mut Changes) -> Result<Sealed, String> {
        self.sealed.seal(&self.db, changes).map_err(|error| self.failed("reading", &error))
    }

    fn sync(&self) -> Result<(), String> {
        self.before(StoreStep::Sync).map_err(|error| self.failed("syncing", &error))?;
        self.db.flush().map_err(|error| self.failed("flushing", &error))?;
        self.file.sync_data().map_err(|error| self.failed("syncing", &error))
    }

    fn before(&self, step: StoreStep) -> std::io::Result<()> {
        self.disk.before_store_step(step, self.path.parent().unwrap_or(&self.path))
    }

    /// Syncs once for all who wait for what is written by now.
    fn sync_for_waiting(&mut self) -> Result<(), String> {
        let applied = self.applied.map_or(0, |id| id.index);
        let (ready, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(index, _)| *index <= applied);
        self.waiting = later;
        if ready.is_empty() {
            return Ok(());
        }
        let result = self.sync();
        ready.into_iter().fold(result, |result, (_, done)| self.answer(result, done))
    }

    /// A failure is known to everybody before whoever waits hears of it.
    fn answer(&self, result: Result<(), String>, done: Done) -> Result<(), String> {
        if let Err(error) = &result {
            self.inbox.fail(error.clone());
        }
        // Nobody waits any more when the caller was dropped; the work is done all the same.
        let _ = done.send(result.clone());
        result
    }

    fn failed(&self, action: &str, error: &dyn fmt::Display) -> String {
        format!(
            "{action} the state store {} failed: {error}; check the disk and start this coordinator again",
            self.path.display()
        )
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.inbox.abandon();
    }
}
