//! The folder of snapshots: writing them, finding the newest that is whole, and letting go of the others.
//!
//! | name | what |
//! |---|---|
//! | `INDEX-NUMBER.snap` | finished |
//! | `INDEX-NUMBER.received` | from another node, whole; the log does not yet say that it stands on it |
//! | `*.damaged` | could not be read when the node was opened, and nothing needed it |
//! | `*.tmp` | not finished |

use crate::{
    disk::{self, Folder, TEMPORARY},
    snapshot::{self, Snapshot, SnapshotError},
    types::{LogId, SnapshotMeta},
};
use quorate_domain::State;
use std::{io, path::PathBuf, sync::Arc};

/// Finished snapshots that are kept.
const KEEP: usize = 2;
const FINISHED: &str = "snap";
const RECEIVED: &str = "received";
const DAMAGED: &str = "damaged";

/// The snapshots of one node. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotFolder(Arc<dyn Folder>);

/// What was found in the folder.
#[derive(Debug)]
pub(crate) struct Newest {
    /// The newest one that is whole, and its file.
    pub(crate) whole: Option<(String, Snapshot)>,
    /// Newer ones that are damaged, and how.
    pub(crate) damaged: Vec<(String, SnapshotError)>,
}

impl Newest {
    /// The last entry in the newest one that is whole.
    pub(crate) fn last_log_id(&self) -> Option<LogId> {
        self.whole.as_ref().and_then(|(_, snapshot)| snapshot.meta.last_log_id)
    }
}

impl SnapshotFolder {
    pub(crate) fn new(folder: Arc<dyn Folder>) -> Self {
        Self(folder)
    }

    /// The file, for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }

    /// Cleans up behind a crash, before anything else. A received snapshot counts once the log says that it begins
    /// behind it; one that the log knows nothing of was never installed.
    pub(crate) fn settle(&self, log_begins_behind: Option<LogId>) -> Result<(), SnapshotError> {
        for name in self.list()? {
            match name.rsplit_once('.') {
                Some((_, TEMPORARY)) => self.remove(&name)?,
                Some((_, RECEIVED)) => {
                    let index = index_of(&name);
                    if index.is_some() && index <= log_begins_behind.map(|id| id.index) {
                        self.rename(&name, FINISHED)?;
                    } else {
                        self.remove(&name)?;
                    }
                }
                _ => {}
            }
        }
        // Also what an earlier start named and could not sync is about to be relied on.
        self.sync()
    }

    /// Writes a snapshot of this node; its file and its bytes.
    pub(crate) fn write(
        &self,
        meta: &SnapshotMeta,
        state: &State,
    ) -> Result<(String, Vec<u8>), SnapshotError> {
        let name = self.new_name(meta, FINISHED);
        let bytes = snapshot::encode(meta, state).map_err(self.failed(&name, "writing it"))?;
        disk::write(&*self.0, &name, &bytes).map_err(self.failed(&name, "writing it"))?;
        Ok((name, bytes))
    }

    /// Writes a snapshot that came from another node: on disk, and not yet in force.
    pub(crate) fn receive(&self, meta: &SnapshotMeta, bytes: &[u8]) -> Result<String, SnapshotError> {
        let name = self.new_name(meta, RECEIVED);
        disk::write(&*self.0, &name, bytes).map_err(self.failed(&name, "writing it"))?;
        Ok(name)
    }

    /// Puts a received snapshot in force; the log must say on disk that it begins behind it.
    pub(crate) fn finish(&self, name: &str) -> Result<(), SnapshotError> {
        self.rename(name, FINISHED)?;
        self.sync()
    }

    /// The newest snapshot that can be read.
    ///
    /// # Errors
    /// When the system refuses, or a later version wrote the newest.
    pub(crate) fn newest(&self) -> Result<Newest, SnapshotError> {
        let mut newest = Newest { whole: None, damaged: Vec::new() };
        for name in self.finished()? {
            let bytes = disk::read(&*self.0, &name).map_err(self.failed(&name, "reading it"))?;
            match snapshot::parse(&self.0.path(&name), bytes) {
                Ok(snapshot) => {
                    newest.whole = Some((name, snapshot));
                    break;
                }
                Err(error @ SnapshotError::Damaged { .. }) => {
                    tracing::warn!(%error, "a snapshot cannot be used");
                    newest.damaged.push((name, error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(newest)
    }

    /// Takes a damaged one out of the way.
    pub(crate) fn set_aside(&self, name: &str) -> Result<(), SnapshotError> {
        self.rename(name, DAMAGED)
    }

    /// Removes all but the newest snapshots; one that is whole was just written.
    pub(crate) fn tidy(&self) -> Result<(), SnapshotError> {
        for name in self.finished()?.into_iter().skip(KEEP) {
            self.remove(&name)?;
        }
        for name in self.list()?.iter().filter(|name| has_kind(name, DAMAGED)) {
            self.remove(name)?;
        }
        Ok(())
    }

    /// Names of the finished ones, newest first.
    fn finished(&self) -> Result<Vec<String>, SnapshotError> {
        let mut names = self.list()?;
        names.retain(|name| has_kind(name, FINISHED));
        names.sort_unstable_by(|one, other| other.cmp(one));
        Ok(names)
    }

    fn new_name(&self, meta: &SnapshotMeta, kind: &str) -> String {
        let index = meta.last_log_id.map_or(0, |id| id.index);
        format!("{index:020}-{:016x}.{kind}", self.0.random())
    }

    fn list(&self) -> Result<Vec<String>, SnapshotError> {
        self.0.list().map_err(self.failed("", "listing it"))
    }

    /// Another may have removed it meanwhile: a build and an install both tidy up.
    fn remove(&self, name: &str) -> Result<(), SnapshotError> {
        disk::remove_if_there(&*self.0, name).map_err(self.failed(name, "removing it"))
    }

    fn rename(&self, name: &str, kind: &str) -> Result<(), SnapshotError> {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        self.0.rename(name, &format!("{stem}.{kind}")).map_err(self.failed(name, "renaming it"))
    }

    fn sync(&self) -> Result<(), SnapshotError> {
        self.0.sync().map_err(self.failed("", "syncing the folder"))
    }

    fn failed(&self, name: &str, action: &'static str) -> impl FnOnce(io::Error) -> SnapshotError {
        let path = self.0.path(name);
        move |source| SnapshotError::Io { path, action, source }
    }
}

fn has_kind(name: &str, kind: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, suffix)| suffix == kind)
}

fn index_of(name: &str) -> Option<u64> {
    name.split_once('-')?.0.parse().ok()
}
