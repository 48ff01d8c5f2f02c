//! The disk of a node: files in memory, but for the state store, which sled keeps in a real folder.

use crate::disk::{
    Disk, Folder, StoreStep,
    memory::{Fault, Keep, MemoryDisk},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Where the state store is in a node's folder.
const STATE: &str = "state";
const COPY: &str = "synced";
/// sled's file in it.
const FILE: &str = "db";

/// What of the state store is found after a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Store {
    /// What was handed to the system.
    Written,
    /// What was synced.
    Synced,
    /// Of what was not synced, this many eighths from the start.
    Cut(u64),
    /// No folder.
    Missing,
    /// Its file is all garbage.
    Garbage,
}

/// A disk of its own for every run; the folder of the state store goes with it.
#[derive(Debug, Clone)]
pub(super) struct NodeDisk {
    root: Arc<TempDir>,
    memory: MemoryDisk,
    store: Arc<Mutex<StoreSteps>>,
}

#[derive(Debug, Default)]
struct StoreSteps {
    /// Numbers of the steps in which the store synced.
    syncs: Vec<u64>,
    /// The step after which a copy of what is durable is to be made, and was not yet.
    copy_after: Option<u64>,
    is_copied: bool,
}

impl NodeDisk {
    pub(super) fn new() -> Self {
        let root = TempDir::new().unwrap();
        let memory = MemoryDisk::at(root.path().to_owned());
        Self::of(root, memory)
    }

    fn of(root: TempDir, memory: MemoryDisk) -> Self {
        Self { root: Arc::new(root), memory, store: Arc::default() }
    }

    pub(super) fn root(&self) -> &Path {
        self.root.path()
    }

    pub(super) fn memory(&self) -> &MemoryDisk {
        &self.memory
    }

    /// Breaks at a step; `syncs` are those in which the state store syncs in an undisturbed run.
    pub(super) fn break_at(&self, fault: Fault, syncs: &[u64]) {
        self.memory.set_fault(fault);
        let mut store = self.store.lock().unwrap();
        store.copy_after = match fault {
            Fault::CrashAt(step) => syncs.iter().copied().filter(|sync| *sync < step).max(),
            _ => None,
        };
    }

    /// Numbers of the steps in which the state store synced.
    pub(super) fn store_syncs(&self) -> Vec<u64> {
        self.store.lock().unwrap().syncs.clone()
    }

    /// Returns when nobody has sled's file open any more: sled's own threads may do so a moment longer than the store.
    pub(super) fn wait_for_free_store(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        let file = fs::File::open(self.root().join(STATE).join(FILE)).unwrap();
        while let Err(error) = file.try_lock() {
            assert!(Instant::now() < end, "{error}");
            std::thread::yield_now();
        }
    }

    /// Names of the files in memory that end so.
    pub(super) fn files(&self, ending: &str) -> Vec<String> {
        self.memory.contents().into_keys().filter(|name| name.ends_with(ending)).collect()
    }

    /// Removes the state store.
    pub(super) fn lose_store(&self) {
        fs::remove_dir_all(self.root().join(STATE)).unwrap();
    }

    /// Puts the state store of another node in the place of this one's.
    pub(super) fn take_store_of(&self, other: &Self) {
        self.lose_store();
        copy_folder(&other.root().join(STATE), &self.root().join(STATE));
    }

    /// The disk of the next process on this machine: nothing is lost.
    pub(super) fn next_process(&self) -> Self {
        let root = TempDir::new().unwrap();
        copy_folder(&self.root().join(STATE), &root.path().join(STATE));
        let memory = self.memory.moved_to(root.path());
        Self::of(root, memory)
    }

    /// The disk after a crash of the machine.
    pub(super) fn after_crash(&self, keep: Keep, store: Store) -> Self {
        let root = TempDir::new().unwrap();
        let target = root.path().join(STATE);
        let (written, synced) = (self.root().join(STATE), self.root().join(COPY));
        let synced = match &*self.store.lock().unwrap() {
            // Nothing was written since the last sync.
            StoreSteps { copy_after: Some(_), is_copied: false, .. } => written.clone(),
            // Without any sync there is no such folder.
            _ => synced,
        };
        match store {
            Store::Written => copy_folder(&written, &target),
            Store::Synced => copy_folder(&synced, &target),
            Store::Cut(eighths) => {
                copy_folder(&synced, &target);
                cut(&written, &target, eighths);
            }
            Store::Missing => {}
            Store::Garbage => {
                copy_folder(&written, &target);
                if let Ok(file) = fs::read(target.join(FILE)) {
                    fs::write(target.join(FILE), vec![0xa5; file.len()]).unwrap();
                }
            }
        }
        let memory = self.memory.after_crash(keep).moved_to(root.path());
        Self::of(root, memory)
    }
}

impl Disk for NodeDisk {
    fn folder(&self, path: &Path) -> io::Result<Arc<dyn Folder>> {
        Disk::folder(&self.memory, path)
    }

    fn before_store_step(&self, step: StoreStep, folder: &Path) -> io::Result<()> {
        let mut store = self.store.lock().unwrap();
        if !store.is_copied && store.copy_after.is_some_and(|sync| self.memory.steps() >= sync) {
            copy_folder(folder, &self.root().join(COPY));
            store.is_copied = true;
        }
        self.memory.before_store_step(step, folder)?;
        if step == StoreStep::Sync {
            store.syncs.push(self.memory.steps());
        }
        Ok(())
    }
}

fn copy_folder(from: &Path, to: &Path) {
    let Ok(entries) = fs::read_dir(from) else { return };
    fs::create_dir_all(to).unwrap();
    for entry in entries {
        let entry = entry.unwrap();
        let to: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Brings the first part of what differs from one file of sled to another.
fn cut(written: &Path, target: &Path, eighths: u64) {
    let (Ok(from), Ok(mut to)) = (fs::read(written.join(FILE)), fs::read(target.join(FILE))) else { return };
    to.resize(from.len().max(to.len()), 0);
    let differing: Vec<usize> = (0..from.len()).filter(|at| from[*at] != to[*at]).collect();
    let kept = differing.len() * usize::try_from(eighths).unwrap() / 8;
    for at in &differing[..kept] {
        to[*at] = from[*at];
    }
    fs::write(target.join(FILE), to).unwrap();
}
