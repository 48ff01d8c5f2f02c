//! A disk in memory that keeps apart what is written and what is synced, and can fail or lose power at any step.

mod pending;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use self::pending::{Coin, Content, Names, Pending, put};
use super::{Disk, DiskFile, Folder, FolderLock, StoreStep, Whereabouts};

/// What the system says of a broken disk (EIO).
const BROKEN: i32 = 5;
/// What it says of a full one (ENOSPC).
const FULL: i32 = 28;

/// When the disk breaks; steps are counted from 1 over every call of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Never,
    /// This one step fails: a write is half done, and a failed sync leaves pages that look clean and are not on disk.
    FailAt(u64),
    /// From this step on there is no room: what would take more fails, a write when it is half done.
    FullFrom(u64),
    /// The machine dies in this step; nothing works afterwards.
    CrashAt(u64),
}

/// What of the unsynced changes reaches the platter in a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// The first so many units in order; a unit is a byte of a write, or one change of a name or length.
    Units(usize),
    /// Each 16 bytes of a write by the toss of a coin; names in order, up to some point.
    Scattered(u64),
}

#[derive(Clone)]
pub(crate) struct MemoryDisk {
    root: PathBuf,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    files: Vec<Content>,
    names: Names,
    durable_names: Names,
    pending: Vec<Pending>,
    locks: BTreeSet<PathBuf>,
    fault: Fault,
    steps: u64,
    /// Those that would fail on a full disk.
    room_steps: Vec<u64>,
    is_dead: bool,
    numbers: u64,
}

/// What a step does to a full disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Room,
    Nothing,
}

enum Step {
    Go,
    Fail(i32),
    Crash,
}

impl MemoryDisk {
    pub(crate) fn new() -> Self {
        Self::at(PathBuf::from("/memory"))
    }

    /// An empty disk, with one folder for everything.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self::from_disk(root, BTreeMap::new(), Vec::new(), 0)
    }

    fn from_disk(root: PathBuf, names: Names, files: Vec<Content>, numbers: u64) -> Self {
        let inner = Inner {
            files,
            durable_names: names.clone(),
            names,
            pending: Vec::new(),
            locks: BTreeSet::new(),
            fault: Fault::Never,
            steps: 0,
            room_steps: Vec::new(),
            is_dead: false,
            numbers,
        };
        Self { root, inner: Arc::new(Mutex::new(inner)) }
    }

    /// The folder that everything is in; to open it is no step.
    pub(crate) fn folder(&self) -> Arc<dyn Folder> {
        self.folder_at(&self.root)
    }

    fn folder_at(&self, path: &Path) -> Arc<dyn Folder> {
        Arc::new(MemoryFolder { path: path.to_owned(), disk: self.clone() })
    }

    pub(crate) fn with_fault(self, fault: Fault) -> Self {
        self.set_fault(fault);
        self
    }

    /// Counts steps from here on, and breaks at the given one.
    pub(crate) fn set_fault(&self, fault: Fault) {
        let mut disk = self.disk();
        disk.fault = fault;
        disk.steps = 0;
        disk.room_steps.clear();
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.disk().is_dead
    }

    pub(crate) fn steps(&self) -> u64 {
        self.disk().steps
    }

    /// Numbers of the steps that would have failed on a full disk.
    pub(crate) fn room_steps(&self) -> Vec<u64> {
        self.disk().room_steps.clone()
    }

    /// How many units an orderly crash may keep or lose.
    pub(crate) fn pending_units(&self) -> usize {
        self.disk().pending.iter().map(Pending::units).sum()
    }

    /// The disk as it is found after the power comes back.
    pub(crate) fn after_crash(&self, keep: Keep) -> Self {
        let disk = self.disk();
        let mut files = disk.files.clone();
        let mut names = disk.durable_names.clone();
        match keep {
            Keep::Units(units) => {
                let mut left = units;
                for pending in &disk.pending {
                    if left == 0 {
                        break;
                    }
                    pending.persist(left, &mut files, &mut names);
                    left = left.saturating_sub(pending.units());
                }
            }
            Keep::Scattered(seed) => {
                let mut coin = Coin(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
                let mut names_go_on = true;
                for pending in &disk.pending {
                    if pending.is_name() {
                        names_go_on &= coin.toss();
                        if names_go_on {
                            pending.persist(1, &mut files, &mut names);
                        }
                    } else {
                        pending.scatter(&mut coin, &mut files, &mut names);
                    }
                }
            }
        }
        for file in &mut files {
            file.now = file.durable.clone();
        }
        // What is in a folder whose name is lost is lost with it.
        let found = |path: &Path| {
            path.ancestors()
                .skip(1)
                .take_while(|above| *above != self.root)
                .all(|above| names.contains_key(above))
        };
        let names =
            names.iter().filter(|(path, _)| found(path)).map(|(path, file)| (path.clone(), *file)).collect();
        Self::from_disk(self.root.clone(), names, files, disk.numbers + 1000)
    }

    /// The disk as the next process finds it, with its root at another path: nothing is lost, and what was not synced
    /// still is not.
    pub(crate) fn moved_to(&self, root: &Path) -> Self {
        let disk = self.disk();
        let moved = |path: &Path| root.join(path.strip_prefix(&self.root).unwrap());
        let all_moved = |names: &Names| names.iter().map(|(path, file)| (moved(path), *file)).collect();
        let copy = Self::from_disk(root.to_owned(), all_moved(&disk.names), disk.files.clone(), disk.numbers);
        {
            let mut inner = copy.disk();
            inner.durable_names = all_moved(&disk.durable_names);
            inner.pending = disk.pending.iter().map(|pending| pending.moved(&moved)).collect();
        }
        copy
    }

    /// A copy of everything that is there now, all of it durable.
    pub(crate) fn copy(&self) -> Self {
        self.after_crash(Keep::Units(usize::MAX))
    }

    /// Names and contents of all files.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.disk();
        let name = |path: &Path| path.strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned();
        let files = disk.names.iter().filter(|(_, file)| !disk.files[**file].is_folder);
        files.map(|(path, file)| (name(path), disk.files[*file].now.clone())).collect()
    }

    /// Changes a file behind the log's back.
    pub(crate) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk();
        let file = disk.names[&self.root.join(name)];
        let content = &mut disk.files[file];
        change(&mut content.now);
        content.durable = content.now.clone();
    }

    fn disk(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn change_names(&self, pending: Pending, takes: Takes) -> io::Result<()> {
        let mut disk = self.disk();
        let step = disk.step(takes)?;
        if matches!(step, Step::Fail(_)) {
            return step.end();
        }
        pending.persist_name(&mut disk.names);
        disk.pending.push(pending);
        step.end()
    }

    fn sync_names(&self, folder: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let step = disk.step(Takes::Nothing)?;
        if matches!(step, Step::Go) {
            let Inner { names, durable_names, pending, .. } = &mut *disk;
            let is_in = |path: &Path| path.parent() == Some(folder);
            durable_names.retain(|path, _| !is_in(path));
            durable_names.extend(names.iter().filter(|(path, _)| is_in(path)).map(|(p, f)| (p.clone(), *f)));
            pending.retain(|pending| !pending.name().is_some_and(is_in));
        }
        step.end()
    }

    /// Makes a file without content, under no name yet.
    fn new_file(&self, is_folder: bool) -> usize {
        let mut disk = self.disk();
        disk.files.push(Content { is_folder, ..Content::default() });
        disk.files.len() - 1
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk").field("root", &self.root).finish_non_exhaustive()
    }
}

impl Inner {
    fn step(&mut self, takes: Takes) -> io::Result<Step> {
        if self.is_dead {
            return Err(io::Error::other("the machine is dead"));
        }
        self.steps += 1;
        if takes == Takes::Room {
            self.room_steps.push(self.steps);
        }
        Ok(match self.fault {
            Fault::FailAt(step) if step == self.steps => Step::Fail(BROKEN),
            Fault::FullFrom(step) if step <= self.steps && takes == Takes::Room => Step::Fail(FULL),
            Fault::CrashAt(step) if step == self.steps => {
                self.is_dead = true;
                Step::Crash
            }
            _ => Step::Go,
        })
    }
}

impl Step {
    fn end(self) -> io::Result<()> {
        match self {
            Self::Go => Ok(()),
            Self::Fail(code) => Err(io::Error::from_raw_os_error(code)),
            Self::Crash => Err(io::Error::other("the machine died")),
        }
    }
}

impl Disk for MemoryDisk {
    fn folder(&self, path: &Path) -> io::Result<Arc<dyn Folder>> {
        assert!(path.starts_with(&self.root), "{} is not on this disk", path.display());
        if path != self.root {
            if !self.disk().names.contains_key(path) {
                let file = self.new_file(true);
                self.change_names(Pending::Link { name: path.to_owned(), file }, Takes::Room)?;
            }
            self.sync_names(path.parent().unwrap())?;
        }
        Ok(self.folder_at(path))
    }

    fn before_store_step(&self, step: StoreStep, _folder: &Path) -> io::Result<()> {
        let is_small = matches!(step, StoreStep::RemoveCopy);
        self.disk().step(if is_small { Takes::Nothing } else { Takes::Room })?.end()
    }
}

#[derive(Debug)]
struct MemoryFolder {
    path: PathBuf,
    disk: MemoryDisk,
}

impl Folder for MemoryFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut disk = self.disk.disk();
        disk.step(Takes::Nothing)?.end()?;
        let inside = disk.names.keys().filter(|path| path.parent() == Some(&self.path));
        Ok(inside.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let name = self.path(name);
        assert!(!self.disk.disk().names.contains_key(&name), "{} is there already", name.display());
        let file = self.disk.new_file(false);
        self.disk.change_names(Pending::Link { name, file }, Takes::Room)?;
        Ok(Arc::new(MemoryFile { disk: self.disk.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut disk = self.disk.disk();
        disk.step(Takes::Nothing)?.end()?;
        let file = *disk.names.get(&self.path(name)).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile { disk: self.disk.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.path(from), self.path(to));
        let replaces = self.disk.disk().names.contains_key(&to);
        assert!(!replaces || to.extension().is_some_and(|kind| kind == "json"), "{} is lost", to.display());
        self.disk.change_names(Pending::Rename { from, to }, Takes::Room)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let name = self.path(name);
        if !self.disk.disk().names.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.disk.change_names(Pending::Unlink { name }, Takes::Nothing)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_names(&self.path)
    }

    fn lock(&self, name: &str) -> io::Result<Option<FolderLock>> {
        let path = self.path(name);
        let mut disk = self.disk.disk();
        disk.step(Takes::Room)?.end()?;
        let is_free = disk.locks.insert(path.clone());
        Ok(is_free.then(|| Box::new(MemoryLock { path, disk: self.disk.clone() }) as FolderLock))
    }

    fn whereabouts(&self, name: &str) -> io::Result<Whereabouts> {
        let at = self.path(name).display().to_string();
        Ok(Whereabouts { machine: None, boot: String::new(), at, file: None })
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(name) }
    }

    fn random(&self) -> u64 {
        let mut disk = self.disk.disk();
        disk.numbers += 1;
        Coin(disk.numbers.wrapping_mul(0x9E37_79B9_7F4A_7C15)).next()
    }
}

#[derive(Debug)]
struct MemoryLock {
    path: PathBuf,
    disk: MemoryDisk,
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.disk().locks.remove(&self.path);
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl MemoryFile {
    fn sync(&self) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let step = disk.step(Takes::Nothing)?;
        if matches!(step, Step::Crash) {
            return step.end();
        }
        // After a failed sync the kernel calls the pages clean: what was not written will not be, by any later sync.
        let is_synced = matches!(step, Step::Go);
        let Inner { pending, files, names, .. } = &mut *disk;
        pending.retain(|pending| {
            if !pending.is_of(self.file) {
                return true;
            }
            if is_synced {
                pending.persist(usize::MAX, files, names);
            }
            false
        });
        step.end()
    }
}

impl DiskFile for MemoryFile {
    fn size_bytes(&self) -> io::Result<u64> {
        let mut disk = self.disk.disk();
        disk.step(Takes::Nothing)?.end()?;
        Ok(disk.files[self.file].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        disk.step(Takes::Nothing)?.end()?;
        let start = usize::try_from(offset).unwrap();
        let bytes = disk.files[self.file].now.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let step = disk.step(Takes::Room)?;
        let bytes = if matches!(step, Step::Fail(_)) { &bytes[..bytes.len() / 2] } else { bytes };
        let offset = usize::try_from(offset).unwrap();
        put(&mut disk.files[self.file].now, offset, bytes);
        disk.pending.push(Pending::Write { file: self.file, offset, bytes: bytes.to_vec() });
        step.end()
    }

    fn set_len(&self, size_bytes: u64) -> io::Result<()> {
        let mut disk = self.disk.disk();
        let step = disk.step(Takes::Room)?;
        if matches!(step, Step::Fail(_)) {
            return step.end();
        }
        let size = usize::try_from(size_bytes).unwrap();
        disk.files[self.file].now.resize(size, 0);
        disk.pending.push(Pending::Length { file: self.file, size });
        step.end()
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}
