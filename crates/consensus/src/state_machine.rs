//! Applies committed entries to the state, in order, and makes and takes snapshots.

use crate::{
    feed::{Feed, View},
    log_store::{LogStore, to_io},
    snapshot::{self, SnapshotError},
    snapshot_folder::SnapshotFolder,
    state_store::{Loaded, StateStore, Write},
    types::{BatchOutcome, Entry, LogId, SnapshotMeta, StorageError, StoredMembership, TypeConfig},
};
use openraft::{EntryPayload, RaftSnapshotBuilder, Snapshot, StorageIOError, storage::RaftStateMachine};
use quorate_domain::{Committed, Outcome, State, Term, apply};
use std::{
    io::{self, Cursor},
    path::Path,
    sync::Arc,
};
use tokio::task::spawn_blocking;

/// The state of one node, as openraft sees it.
pub(crate) struct StateMachine {
    state: State,
    applied: Option<LogId>,
    membership: StoredMembership,
    store: StateStore,
    feed: Feed,
    snapshots: SnapshotFolder,
    log: LogStore,
}

impl StateMachine {
    pub(crate) fn new(loaded: Loaded, store: StateStore, snapshots: SnapshotFolder, log: LogStore) -> Self {
        let view = view_of(&loaded.state, loaded.applied);
        Self {
            feed: Feed::new(view, store.clone()),
            state: loaded.state,
            applied: loaded.applied,
            membership: loaded.membership,
            store,
            snapshots,
            log,
        }
    }

    /// Where what is applied comes out.
    pub(crate) fn feed(&self) -> Feed {
        self.feed.clone()
    }

    /// Applies one entry to the state in memory; answers only for commands.
    fn apply_entry(
        &mut self,
        entry: Entry,
        revisions: &mut Vec<Arc<Committed>>,
    ) -> Result<BatchOutcome, StorageError> {
        let term = Term(entry.log_id.leader_id.term);
        self.applied = Some(entry.log_id);
        let mut answers: Vec<Outcome> = Vec::new();
        match entry.payload {
            EntryPayload::Blank => {}
            EntryPayload::Membership(members) => {
                self.membership = StoredMembership::new(Some(entry.log_id), members);
            }
            EntryPayload::Normal(batch) => {
                let proposals = batch
                    .proposals()
                    .map_err(|error| StorageIOError::apply(entry.log_id, &io::Error::other(error)))?;
                for proposal in proposals.iter() {
                    let applied = apply(&mut self.state, term, proposal);
                    revisions.extend(applied.committed);
                    answers.push(applied.outcome);
                }
            }
        }
        Ok(BatchOutcome(answers))
    }
}

fn view_of(state: &State, applied: Option<LogId>) -> View {
    View {
        state: Arc::new(state.clone()),
        applied_index: applied.map_or(0, |id| id.index),
        applied_term: Term(applied.map_or(0, |id| id.leader_id.term)),
    }
}

fn store_failed(problem: String) -> StorageError {
    StorageIOError::write_state_machine(&io::Error::other(problem)).into()
}

fn snapshot_failed(error: SnapshotError) -> StorageError {
    StorageIOError::write_snapshot(None, &io::Error::other(error)).into()
}

/// Work on files that takes its time, off Raft's thread.
async fn on_files<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, StorageError> {
    let done = spawn_blocking(work).await.map_err(|error| store_failed(error.to_string()))?;
    done.map_err(snapshot_failed)
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<BatchOutcome>, StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let members_before = self.membership.log_id().to_owned();
        let mut revisions = Vec::new();
        let mut answers = Vec::new();
        for entry in entries {
            answers.push(self.apply_entry(entry, &mut revisions)?);
        }
        let Some(applied) = self.applied else { return Ok(answers) };
        self.feed.publish(view_of(&self.state, self.applied), &revisions);
        let membership = (*self.membership.log_id() != members_before).then(|| self.membership.clone());
        let state = self.state.clone();
        self.store.write(Write { state, revisions, applied, membership }).await.map_err(store_failed)?;
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            state: self.state.clone(),
            applied: self.applied,
            membership: self.membership.clone(),
            snapshots: self.snapshots.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        received: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let installed = self.install(meta.clone(), received.into_inner()).await;
        if let Err(error) = &installed {
            // Raft's loop may wait for the log, and the log for this.
            self.log.give_up_purge(error.to_string());
        }
        installed
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let snapshots = self.snapshots.clone();
        let newest = on_files(move || snapshots.newest()).await?;
        Ok(newest.whole.map(|(_, found)| as_sent(found.meta, found.bytes)))
    }
}

impl StateMachine {
    /// A crash after any of these steps leaves the old state or the new one: the file is on disk before the log says
    /// that it begins behind it, and the log says so before the state is ahead of the log.
    async fn install(&mut self, meta: SnapshotMeta, bytes: Vec<u8>) -> Result<(), StorageError> {
        let last = meta.last_log_id.ok_or_else(|| store_failed("a snapshot of nothing".to_owned()))?;
        let (snapshots, described) = (self.snapshots.clone(), meta.clone());
        let (name, state) = on_files(move || {
            let found = snapshot::parse(Path::new("from another node"), bytes)?;
            if found.meta.last_log_id != described.last_log_id {
                let problem = "it does not hold what was announced";
                return Err(SnapshotError::Damaged { path: "from another node".into(), offset: 0, problem });
            }
            Ok((snapshots.receive(&described, &found.bytes)?, found.state))
        })
        .await?;
        let behind = self.log.begin_behind(last).await;
        behind.map_err(|error| StorageIOError::write_logs(&to_io(error)))?;
        let snapshots = self.snapshots.clone();
        on_files(move || snapshots.finish(&name).and_then(|()| snapshots.tidy())).await?;
        let membership = meta.last_membership;
        self.store.replace(state.clone(), Some(last), membership.clone()).await.map_err(store_failed)?;
        self.state = state;
        self.applied = Some(last);
        self.membership = membership;
        self.feed.restart(view_of(&self.state, self.applied));
        Ok(())
    }
}

fn as_sent(meta: SnapshotMeta, bytes: Vec<u8>) -> Snapshot<TypeConfig> {
    Snapshot { meta, snapshot: Box::new(Cursor::new(bytes)) }
}

/// Writes a snapshot of the state as it was when this was made, while the state machine goes on.
pub(crate) struct SnapshotBuilder {
    state: State,
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshots: SnapshotFolder,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<TypeConfig>, StorageError> {
        let term = self.applied.map_or(0, |id| id.leader_id.term);
        let index = self.applied.map_or(0, |id| id.index);
        let meta = SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
            snapshot_id: format!("{term}-{index}-{:08x}", rand::random::<u32>()),
        };
        let (snapshots, described, state) = (self.snapshots.clone(), meta.clone(), self.state.clone());
        let (path, bytes) = on_files(move || {
            let (name, bytes) = snapshots.write(&described, &state)?;
            snapshots.tidy()?;
            Ok((snapshots.path(&name), bytes))
        })
        .await?;
        tracing::info!(file = %path.display(), index, "snapshot written");
        Ok(as_sent(meta, bytes))
    }
}
