//! A node without Raft's core: its storage, driven as the core would drive it.

use super::{
    history::{self, LAST, Model, Op, RECEIVED, digest_at, encoded, entry, log_id, snapshot_at, vain_entry},
    node_disk::NodeDisk,
};
use crate::{
    DataFolder, OpenError,
    folder::FolderError,
    opening::Opened,
    types::{StorageError, Vote},
    wal,
};
use openraft::{
    LeaderId, RaftLogReader, RaftSnapshotBuilder,
    storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine, StorageHelper},
};
use quorate_domain::{CoordinatorId, InstanceId, Revision};
use std::{error::Error, io::Cursor, sync::Arc};
use tokio::runtime::{Builder, Runtime};

const SEGMENT_BYTES: u64 = 4 << 10;

/// Why a node does not open.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error("raft: {0}")]
    Raft(#[from] StorageError),
}

/// An open node, with a runtime of its own that ends with it.
pub(super) struct Node {
    runtime: Runtime,
    folder: Arc<DataFolder>,
    pub(super) opened: Opened,
}

impl Node {
    /// Opens a node, and does to its storage what Raft does when it starts.
    pub(super) fn open(disk: &NodeDisk) -> Result<Self, Refused> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let (folder, opened) = runtime.block_on(open_parts(disk))?;
        Ok(Self { runtime, folder, opened })
    }

    /// Does one thing; an error says that it is not acknowledged.
    pub(super) fn run(&mut self, op: Op) -> Result<(), String> {
        let Self { runtime, folder, opened } = self;
        runtime.block_on(run(folder, opened, op))
    }

    /// Ends it in order; sled lets go of its files.
    pub(super) fn close(self) -> Result<(), String> {
        self.runtime.block_on(self.opened.store.close())
    }

    /// Lets everything happen that waits for nothing else.
    pub(super) fn settle(&mut self) {
        let Self { runtime, opened, .. } = self;
        runtime.block_on(async {
            settle(opened).await.unwrap();
            opened.log.settle().await.unwrap();
        });
    }

    /// The runtime, and what Raft would drive on it.
    pub(super) fn parts(&mut self) -> (&Runtime, &mut Opened) {
        (&self.runtime, &mut self.opened)
    }

    /// Hands an entry to the state machine, applied or not.
    pub(super) fn apply_again(&mut self, index: u64) -> Result<(), String> {
        let Self { runtime, opened, .. } = self;
        let applied = runtime.block_on(opened.machine.apply([entry(index)]));
        applied.map(drop).map_err(|error| error.to_string())
    }

    /// What it holds.
    pub(super) fn model(&self) -> Model {
        let mut log = self.opened.log.clone();
        let (vote, entries) = self.runtime.block_on(async {
            (log.read_vote().await.unwrap(), log.try_get_log_entries(0..).await.unwrap())
        });
        Model {
            vote,
            entries: entries.iter().map(encoded).collect(),
            purged: log.purged(),
            met: (1..=3).filter(|id| self.folder.known_peer(CoordinatorId(*id)).is_some()).collect(),
        }
    }

    /// The last entry that it applied; the state must be the one that this entry led to.
    pub(super) fn checked_applied(&mut self) -> Option<u64> {
        let machine = &mut self.opened.machine;
        let (applied, membership) = self.runtime.block_on(machine.applied_state()).unwrap();
        let digest = machine.feed().view().state.digest();
        match applied {
            None => assert_eq!(membership.log_id(), &None),
            Some(applied) => {
                assert_eq!(applied, log_id(applied.index));
                assert_eq!(digest, digest_at(applied.index), "the state at {applied}");
                assert_eq!(membership.log_id(), &Some(log_id(0)), "the members at {applied}");
            }
        }
        applied.map(|id| id.index)
    }

    /// The last entry in its newest snapshot, which must hold what this entry led to.
    pub(super) fn checked_snapshot(&mut self) -> Option<u64> {
        let found = self.runtime.block_on(self.opened.machine.get_current_snapshot()).unwrap()?;
        let read = crate::snapshot::parse("sent".as_ref(), found.snapshot.into_inner()).unwrap();
        let index = read.meta.last_log_id.unwrap().index;
        assert_eq!(found.meta.last_log_id, Some(log_id(index)));
        assert_eq!(read.state.digest(), digest_at(index), "the state in the snapshot at {index}");
        Some(index)
    }

    /// A leader brings it up to date: what it has otherwise is truncated, the rest is appended and committed.
    pub(super) fn catch_up(&mut self) -> Result<(), String> {
        let held = self.model();
        let first = held.purged.map_or(0, |id| id.index + 1);
        let same = |index: &u64| held.entries.get(index) == Some(&encoded(&entry(*index)).1);
        let from = (first..=LAST).find(|index| !same(index)).unwrap_or(LAST + 1);
        if held.last() >= Some(from) {
            self.run(Op::Truncate(from))?;
        }
        if from <= LAST {
            self.run(Op::Append(from, LAST))?;
        }
        self.run(Op::Commit(LAST))
    }
}

async fn open_parts(disk: &NodeDisk) -> Result<(Arc<DataFolder>, Opened), Refused> {
    let folder =
        DataFolder::open(Arc::new(disk.clone()), disk.root(), &history::cluster(), CoordinatorId(1), false)?;
    let folder = Arc::new(folder);
    let options = wal::Options { segment_bytes: SEGMENT_BYTES, spare_segments: 0, ..wal::Options::default() };
    let mut opened = Opened::open(&folder, &options).await?;
    let state = StorageHelper::new(&mut opened.log, &mut opened.machine).get_initial_state().await?;
    drop(state);
    settle(&opened).await.map_err(|problem| {
        StorageError::from(openraft::StorageIOError::write_state_machine(&std::io::Error::other(problem)))
    })?;
    Ok((folder, opened))
}

/// Waits until the state store has done all that was handed to it.
async fn settle(opened: &Opened) -> Result<(), String> {
    opened.store.revisions(Revision(0), 1).await.map(drop)
}

async fn run(folder: &DataFolder, opened: &mut Opened, op: Op) -> Result<(), String> {
    let failed = |error: StorageError| error.to_string();
    match op {
        Op::Meet(peer) => {
            let instance = InstanceId::new(format!("peer{peer}")).unwrap();
            folder.meet_peer(CoordinatorId(peer), &instance).map_err(|error| error.to_string())
        }
        Op::Vote(term, node, committed) => {
            let vote = Vote { leader_id: LeaderId::new(term, node), committed };
            opened.log.save_vote(&vote).await.map_err(failed)
        }
        Op::Append(first, last) => {
            opened.log.blocking_append((first..=last).map(entry)).await.map_err(failed)
        }
        Op::AppendInVain(first, last) => {
            opened.log.blocking_append((first..=last).map(vain_entry)).await.map_err(failed)
        }
        Op::Truncate(index) => {
            let held = opened.log.try_get_log_entries(index..=index).await.map_err(failed)?;
            opened.log.truncate(held[0].log_id).await.map_err(failed)?;
            // Raft does not wait for it; here the next record must not share its batch in one run and not in another.
            opened.log.settle().await.map_err(|error| chain(&error))
        }
        Op::Commit(index) => commit(opened, index).await,
        Op::Snapshot => {
            let mut builder = opened.machine.get_snapshot_builder().await;
            builder.build_snapshot().await.map(drop).map_err(failed)
        }
        Op::Purge(index) => {
            opened.log.purge(log_id(index)).await.map_err(failed)?;
            opened.log.until_purged(log_id(index)).await
        }
        Op::Install => {
            let (meta, bytes) = snapshot_at(RECEIVED);
            // Raft's loop tells the log at once; the state machine has its own.
            opened.log.purge(meta.last_log_id.unwrap()).await.map_err(failed)?;
            opened.log.save_committed(meta.last_log_id).await.map_err(failed)?;
            let bytes = Box::new(Cursor::new(bytes));
            opened.machine.install_snapshot(&meta, bytes).await.map_err(failed)?;
            settle(opened).await
        }
        Op::Restart => unreachable!("whoever runs the history opens a node again"),
    }
}

async fn commit(opened: &mut Opened, index: u64) -> Result<(), String> {
    let failed = |error: StorageError| error.to_string();
    let (applied, _) = opened.machine.applied_state().await.map_err(failed)?;
    let first = applied.map_or(0, |id| id.index + 1);
    opened.log.save_committed(Some(log_id(index))).await.map_err(failed)?;
    let entries = opened.log.try_get_log_entries(first..=index).await.map_err(failed)?;
    assert_eq!(
        entries.iter().map(|entry| entry.log_id.index).collect::<Vec<_>>(),
        (first..=index).collect::<Vec<_>>()
    );
    if !entries.is_empty() {
        opened.machine.apply(entries).await.map_err(failed)?;
    }
    settle(opened).await
}

/// An error with its causes, as the process says it when it ends.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// How far a history got.
pub(super) struct Ran {
    /// The node, while it is open.
    pub(super) node: Option<Node>,
    /// Steps of the history that succeeded.
    pub(super) done: usize,
    /// The last of them after which everything was on disk.
    pub(super) durable: usize,
    /// Why it did not go on.
    pub(super) error: Option<String>,
}

/// Drives a node through the history until something fails.
pub(super) fn run_history(disk: &NodeDisk) -> Ran {
    run_ops(disk, history::HISTORY)
}

/// The disk of a node that ended in order before this step of the history.
pub(super) fn disk_before(op: Op) -> NodeDisk {
    let end = history::HISTORY.iter().position(|at| *at == op).expect("a step of the history");
    disk_after(&history::HISTORY[..end])
}

/// The disk of a node that ended in order after the first steps of the history.
pub(super) fn disk_after(ops: &[Op]) -> NodeDisk {
    let disk = NodeDisk::new();
    let ran = run_ops(&disk, ops);
    assert_eq!(ran.error, None);
    ran.node.unwrap().close().unwrap();
    disk.wait_for_free_store();
    disk
}

fn run_ops(disk: &NodeDisk, ops: &[Op]) -> Ran {
    let mut ran = Ran { node: None, done: 0, durable: 0, error: None };
    match Node::open(disk) {
        Ok(node) => ran.node = Some(node),
        Err(error) => {
            ran.error = Some(chain(&error));
            return ran;
        }
    }
    for op in ops {
        let result = if *op == Op::Restart {
            restart(disk, &mut ran.node)
        } else {
            ran.node.as_mut().unwrap().run(*op)
        };
        if let Err(error) = result {
            ran.error = Some(error);
            return ran;
        }
        ran.done += 1;
        if history::makes_durable(*op) {
            ran.durable = ran.done;
        }
    }
    ran
}

/// The process ends and starts again.
fn restart(disk: &NodeDisk, node: &mut Option<Node>) -> Result<(), String> {
    node.take().unwrap().close()?;
    disk.wait_for_free_store();
    *node = Some(Node::open(disk).map_err(|error| chain(&error))?);
    Ok(())
}
