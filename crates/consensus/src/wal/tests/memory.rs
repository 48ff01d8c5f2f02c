//! A disk in memory that keeps apart what is written and what is synced, and can fail or lose power at any step.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use super::super::storage::{SegmentFile, Storage};

/// When the disk breaks; steps are counted from 1 over every call of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Never,
    /// This one step fails: a write is half done, and a failed sync leaves pages that look clean and are not on disk.
    FailAt(u64),
    /// The machine dies in this step; nothing works afterwards.
    CrashAt(u64),
}

/// What of the unsynced changes reaches the platter in a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The first so many units in order; a unit is a byte of a write, or one change of a name or length.
    Units(usize),
    /// Each 16 bytes of a write by the toss of a coin; names in order, up to some point.
    Scattered(u64),
}

#[derive(Clone)]
pub(super) struct MemoryStorage(Arc<Mutex<Disk>>);

struct Disk {
    files: Vec<Content>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    pending: Vec<Pending>,
    fault: Fault,
    steps: u64,
    is_dead: bool,
    salts: u64,
}

#[derive(Debug, Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Pending {
    Write { file: usize, offset: usize, bytes: Vec<u8> },
    Length { file: usize, size: usize },
    Link { name: String, file: usize },
    Rename { from: String, to: String },
    Unlink { name: String },
}

enum Step {
    Go,
    Fail,
    Crash,
}

impl MemoryStorage {
    pub(super) fn new() -> Self {
        Self::from_disk(BTreeMap::new(), Vec::new(), 0)
    }

    fn from_disk(names: BTreeMap<String, usize>, files: Vec<Content>, salts: u64) -> Self {
        let durable_names = names.clone();
        let (fault, pending) = (Fault::Never, Vec::new());
        Self(Arc::new(Mutex::new(Disk {
            files,
            names,
            durable_names,
            pending,
            fault,
            steps: 0,
            is_dead: false,
            salts,
        })))
    }

    pub(super) fn with_fault(self, fault: Fault) -> Self {
        self.set_fault(fault);
        self
    }

    /// Counts steps from here on, and breaks at the given one.
    pub(super) fn set_fault(&self, fault: Fault) {
        let mut disk = self.disk();
        disk.fault = fault;
        disk.steps = 0;
    }

    pub(super) fn is_dead(&self) -> bool {
        self.disk().is_dead
    }

    pub(super) fn steps(&self) -> u64 {
        self.disk().steps
    }

    /// How many units an orderly crash may keep or lose.
    pub(super) fn pending_units(&self) -> usize {
        self.disk().pending.iter().map(Pending::units).sum()
    }

    /// The disk as it is found after the power comes back.
    pub(super) fn after_crash(&self, keep: Keep) -> Self {
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
        Self::from_disk(names, files, disk.salts + 1000)
    }

    /// A copy of everything that is there now, all of it durable.
    pub(super) fn copy(&self) -> Self {
        self.after_crash(Keep::Units(usize::MAX))
    }

    /// Names and contents of all files.
    pub(super) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.disk();
        disk.names.iter().map(|(name, file)| (name.clone(), disk.files[*file].now.clone())).collect()
    }

    /// Changes a file behind the log's back.
    pub(super) fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut disk = self.disk();
        let file = disk.names[name];
        let content = &mut disk.files[file];
        change(&mut content.now);
        content.durable = content.now.clone();
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }

    fn change_names(&self, pending: Pending) -> io::Result<()> {
        let mut disk = self.disk();
        let step = disk.step()?;
        if matches!(step, Step::Fail) {
            return Err(failed());
        }
        disk.rename_now(&pending);
        disk.pending.push(pending);
        step.end()
    }
}

impl Disk {
    fn step(&mut self) -> io::Result<Step> {
        if self.is_dead {
            return Err(io::Error::other("the machine is dead"));
        }
        self.steps += 1;
        Ok(match self.fault {
            Fault::FailAt(step) if step == self.steps => Step::Fail,
            Fault::CrashAt(step) if step == self.steps => {
                self.is_dead = true;
                Step::Crash
            }
            _ => Step::Go,
        })
    }

    fn rename_now(&mut self, pending: &Pending) {
        pending.persist_name(&mut self.names);
    }
}

impl Step {
    fn end(self) -> io::Result<()> {
        match self {
            Self::Go => Ok(()),
            Self::Fail => Err(failed()),
            Self::Crash => Err(io::Error::other("the machine died")),
        }
    }
}

impl Pending {
    fn units(&self) -> usize {
        match self {
            Self::Write { bytes, .. } => bytes.len(),
            _ => 1,
        }
    }

    fn is_name(&self) -> bool {
        !matches!(self, Self::Write { .. } | Self::Length { .. })
    }

    fn is_of(&self, of: usize) -> bool {
        matches!(self, Self::Write { file, .. } | Self::Length { file, .. } if *file == of)
    }

    fn persist(&self, units: usize, files: &mut [Content], names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Write { file, offset, bytes } => {
                put(&mut files[*file].durable, *offset, &bytes[..units.min(bytes.len())]);
            }
            Self::Length { file, size } => files[*file].durable.resize(*size, 0),
            _ => self.persist_name(names),
        }
    }

    fn persist_name(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Rename { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Write { .. } | Self::Length { .. } => {}
        }
    }

    fn scatter(&self, coin: &mut Coin, files: &mut [Content], names: &mut BTreeMap<String, usize>) {
        const PIECE_BYTES: usize = 16;
        let Self::Write { file, offset, bytes } = self else { return self.persist(1, files, names) };
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            if coin.toss() {
                put(&mut files[*file].durable, offset + number * PIECE_BYTES, piece);
            }
        }
    }
}

impl Storage for MemoryStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut disk = self.disk();
        disk.step()?.end()?;
        Ok(disk.names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let file = {
            let mut disk = self.disk();
            assert!(!disk.names.contains_key(name), "{name} is there already");
            disk.files.push(Content::default());
            disk.files.len() - 1
        };
        self.change_names(Pending::Link { name: name.to_owned(), file })?;
        Ok(Arc::new(MemoryFile { storage: self.clone(), file }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let mut disk = self.disk();
        disk.step()?.end()?;
        let file = *disk.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(MemoryFile { storage: self.clone(), file }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        assert!(!self.disk().names.contains_key(to), "{to} would be lost");
        self.change_names(Pending::Rename { from: from.to_owned(), to: to.to_owned() })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.change_names(Pending::Unlink { name: name.to_owned() })
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.disk();
        let step = disk.step()?;
        if matches!(step, Step::Go) {
            disk.durable_names = disk.names.clone();
            disk.pending.retain(|pending| !pending.is_name());
        }
        step.end()
    }

    fn new_salt(&self) -> u64 {
        let mut disk = self.disk();
        disk.salts += 1;
        Coin(disk.salts.wrapping_mul(0x9E37_79B9_7F4A_7C15)).next()
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/memory").join(name)
    }
}

struct MemoryFile {
    storage: MemoryStorage,
    file: usize,
}

impl MemoryFile {
    fn sync(&self) -> io::Result<()> {
        let mut disk = self.storage.disk();
        let step = disk.step()?;
        if matches!(step, Step::Crash) {
            return step.end();
        }
        // After a failed sync the kernel calls the pages clean: what was not written will not be, by any later sync.
        let is_synced = matches!(step, Step::Go);
        let Disk { pending, files, names, .. } = &mut *disk;
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

impl SegmentFile for MemoryFile {
    fn size_bytes(&self) -> io::Result<u64> {
        let mut disk = self.storage.disk();
        disk.step()?.end()?;
        Ok(disk.files[self.file].now.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut disk = self.storage.disk();
        disk.step()?.end()?;
        let start = usize::try_from(offset).unwrap();
        let bytes = disk.files[self.file].now.get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.storage.disk();
        let step = disk.step()?;
        let bytes = if matches!(step, Step::Fail) { &bytes[..bytes.len() / 2] } else { bytes };
        let offset = usize::try_from(offset).unwrap();
        put(&mut disk.files[self.file].now, offset, bytes);
        disk.pending.push(Pending::Write { file: self.file, offset, bytes: bytes.to_vec() });
        step.end()
    }

    fn set_len(&self, size_bytes: u64) -> io::Result<()> {
        let mut disk = self.storage.disk();
        let step = disk.step()?;
        if matches!(step, Step::Fail) {
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

struct Coin(u64);

impl Coin {
    /// splitmix64, by Sebastiano Vigna.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn toss(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

fn failed() -> io::Error {
    io::Error::other("this step fails")
}
