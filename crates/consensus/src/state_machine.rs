//! Applies committed entries to the state, in order, and makes and takes snapshots.

use crate::{
    feed::{Feed, View},
    snapshot::{self, SnapshotError},
    state_store::{Loaded, StateStore, Write},
    types::{BatchOutcome, Entry, LogId, SnapshotMeta, StorageError, StoredMembership, TypeConfig},
};
use openraft::{EntryPayload, RaftSnapshotBuilder, Snapshot, StorageIOError, storage::RaftStateMachine};
use quorate_domain::{Committed, Outcome, State, Term, apply};
use std::{
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    sync::Arc,
};
use tokio::{fs::File, task::spawn_blocking};

/// The state of one node, as openraft sees it.
pub(crate) struct StateMachine {
    state: State,
    applied: Option<LogId>,
    membership: StoredMembership,
    store: StateStore,
    feed: Feed,
    snapshots: PathBuf,
}

impl StateMachine {
    pub(crate) fn new(loaded: Loaded, store: StateStore, snapshots: PathBuf) -> Self {
        let view = view_of(&loaded.state, loaded.applied);
        Self {
            feed: Feed::new(view, store.clone()),
            state: loaded.state,
            applied: loaded.applied,
            membership: loaded.membership,
            store,
            snapshots,
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

fn snapshot_io(error: &io::Error) -> StorageError {
    StorageIOError::read_snapshot(None, error).into()
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
            folder: self.snapshots.clone(),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<File>, StorageError> {
        // Nameless as soon as it is open: a transfer that is given up leaves nothing behind.
        let path = self.snapshots.join(format!("incoming-{:016x}.tmp", rand::random::<u64>()));
        let open = || {
            let file = std::fs::OpenOptions::new().create_new(true).read(true).write(true).open(&path)?;
            std::fs::remove_file(&path)?;
            Ok(file)
        };
        open().map(|file| Box::new(File::from_std(file))).map_err(|error: io::Error| snapshot_io(&error))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        received: Box<File>,
    ) -> Result<(), StorageError> {
        let mut file = received.into_std().await;
        let folder = self.snapshots.clone();
        let wanted = meta.clone();
        let state = spawn_blocking(move || -> Result<State, SnapshotError> {
            let mut bytes = Vec::new();
            let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_end(&mut bytes));
            read.map_err(|source| SnapshotError::Io { path: folder.clone(), source })?;
            let (_, state) = snapshot::parse(&bytes)?;
            snapshot::write(&folder, &wanted, &state)?;
            snapshot::tidy(&folder)?;
            Ok(state)
        })
        .await
        .map_err(|error| store_failed(error.to_string()))?
        .map_err(snapshot_failed)?;
        self.store
            .replace(state.clone(), meta.last_log_id, meta.last_membership.clone())
            .await
            .map_err(store_failed)?;
        self.state = state;
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.feed.restart(view_of(&self.state, self.applied));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<TypeConfig>>, StorageError> {
        let folder = self.snapshots.clone();
        let found = spawn_blocking(move || snapshot::newest(&folder))
            .await
            .map_err(|error| store_failed(error.to_string()))?
            .map_err(|error| StorageIOError::read_snapshot(None, &io::Error::other(error)))?;
        let Some((path, meta, _)) = found else { return Ok(None) };
        let file = File::open(&path).await.map_err(|error| snapshot_io(&error))?;
        Ok(Some(Snapshot { meta, snapshot: Box::new(file) }))
    }
}

/// Writes a snapshot of the state as it was when this was made, while the state machine goes on.
pub(crate) struct SnapshotBuilder {
    state: State,
    applied: Option<LogId>,
    membership: StoredMembership,
    folder: PathBuf,
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
        let (folder, described, state) = (self.folder.clone(), meta.clone(), self.state.clone());
        let path = spawn_blocking(move || {
            let path = snapshot::write(&folder, &described, &state)?;
            snapshot::tidy(&folder)?;
            Ok(path)
        })
        .await
        .map_err(|error| store_failed(error.to_string()))?
        .map_err(snapshot_failed)?;
        let file = File::open(&path).await.map_err(|error| snapshot_io(&error))?;
        tracing::info!(file = %path.display(), index, "snapshot written");
        Ok(Snapshot { meta, snapshot: Box::new(file) })
    }
}
