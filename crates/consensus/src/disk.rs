//! The door to the disk: folders of files, as traits, so that a test can break every step of them.
//!
//! All that must outlast a crash goes through here: the log, the snapshots, the identity of the data folder. sled, which
//! keeps the state store, opens its files itself; it is asked about its steps instead ([`Disk::before_store_step`]).

#[cfg(test)]
pub(crate) mod memory;
mod whereabouts;

pub use whereabouts::Whereabouts;

use quorate_runtime::lack::opened;
use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// Where folders are; [`RealDisk`] outside of tests.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Opens a folder, which is made if it is not there; its name is on the platter when this returns.
    ///
    /// # Errors
    /// When the system refuses.
    fn folder(&self, path: &Path) -> io::Result<Arc<dyn Folder>>;

    /// Called before each step of the state store in `folder`, which it takes on its own files; an error is taken for
    /// that of the step, which is not taken then.
    ///
    /// # Errors
    /// When the step is to fail.
    fn before_store_step(&self, _step: StoreStep, _folder: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// What the state store does to its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreStep {
    /// Opens them, and makes them when they are not there.
    Open,
    /// Hands a batch to sled; it need not be on the platter afterwards.
    Write,
    /// Makes everything before it durable.
    Sync,
    /// Removes an older copy that was set aside.
    RemoveCopy,
    /// Gives the folder another name, so that the store is made anew.
    SetAside,
}

/// One folder of files.
pub trait Folder: fmt::Debug + Send + Sync {
    /// Names of all files and folders in it.
    ///
    /// # Errors
    /// When the system refuses.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a new, empty file; one that is there is an error.
    ///
    /// # Errors
    /// When the system refuses.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file that is there, for reading and writing.
    ///
    /// # Errors
    /// When the system refuses.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name, in the place of a file that may have it.
    ///
    /// # Errors
    /// When the system refuses.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// When the system refuses.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Returns when the names of the folder are on the platter (fsync of the folder).
    ///
    /// # Errors
    /// When the system refuses.
    fn sync(&self) -> io::Result<()>;
    /// Keeps other processes out by a lock file, for as long as what is returned lives; `None` when one is in already.
    ///
    /// # Errors
    /// When the system refuses.
    fn lock(&self, name: &str) -> io::Result<Option<FolderLock>>;
    /// Where a file in it is found.
    ///
    /// # Errors
    /// When the system refuses.
    fn whereabouts(&self, name: &str) -> io::Result<Whereabouts>;
    /// The full path of a name in it, or with an empty name its own.
    fn path(&self, name: &str) -> PathBuf;
    /// A number that nothing on this disk had before.
    fn random(&self) -> u64 {
        rand::random()
    }
}

/// Held while a folder is in use.
pub type FolderLock = Box<dyn fmt::Debug + Send + Sync>;

/// One open file.
pub trait DiskFile: Send + Sync {
    /// How long it is.
    ///
    /// # Errors
    /// When the system refuses.
    fn size_bytes(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset` on, or fails.
    ///
    /// # Errors
    /// When the system refuses, or the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// When the system refuses; any part may be written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts it, or adds zeros.
    ///
    /// # Errors
    /// When the system refuses.
    fn set_len(&self, size_bytes: u64) -> io::Result<()>;
    /// Returns when the data is on the platter (fdatasync).
    ///
    /// # Errors
    /// When the system refuses; what is on the platter is not known then, and another try tells nothing.
    fn sync_data(&self) -> io::Result<()>;
    /// Returns when data and all metadata are on the platter (fsync).
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_all(&self) -> io::Result<()>;
}

/// All bytes of a file.
pub(crate) fn read(folder: &dyn Folder, name: &str) -> io::Result<Vec<u8>> {
    let file = folder.open(name)?;
    let size = usize::try_from(file.size_bytes()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Writes a file under a temporary name, syncs it, gives it its name and syncs the folder: a crash leaves the whole
/// file, or none or the one that had the name before.
pub(crate) fn write(folder: &dyn Folder, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.{TEMPORARY}");
    remove_if_there(folder, &temporary)?;
    let file = folder.create(&temporary)?;
    file.write_at(bytes, 0)?;
    file.sync_all()?;
    folder.rename(&temporary, name)?;
    folder.sync()
}

/// How the name of a file ends that is not finished, or never was.
pub(crate) const TEMPORARY: &str = "tmp";

/// Removes a file, which may be gone already.
pub(crate) fn remove_if_there(folder: &dyn Folder, name: &str) -> io::Result<()> {
    match folder.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

/// Where Linux names this boot of the machine.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

impl Disk for RealDisk {
    fn folder(&self, path: &Path) -> io::Result<Arc<dyn Folder>> {
        make(path)?;
        Ok(Arc::new(RealFolder { path: path.to_owned(), handle: File::open(path)? }))
    }
}

/// Makes a folder and those above it, as far as they are missing. The name of the folder itself is synced even when it is
/// there: whoever made it may have crashed before that.
fn make(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        None => return Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    if !parent.is_dir() {
        make(parent)?;
    }
    let made = fs::create_dir(path);
    match File::open(parent) {
        // Where this process may not even look, it did not make the folder.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && path.is_dir() => Ok(()),
        parent => {
            if !path.is_dir() {
                made?;
            }
            parent?.sync_all()
        }
    }
}

#[derive(Debug)]
struct RealFolder {
    path: PathBuf,
    handle: File,
}

impl Folder for RealFolder {
    fn list(&self) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is none of ours.
        opened(|| fs::read_dir(&self.path))?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.create_new(true).read(true).write(true);
        Ok(Arc::new(opened(|| options.open(self.path.join(name)))?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        Ok(Arc::new(opened(|| options.open(self.path.join(name)))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn lock(&self, name: &str) -> io::Result<Option<FolderLock>> {
        let path = self.path.join(name);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn whereabouts(&self, name: &str) -> io::Result<Whereabouts> {
        let boot = fs::read_to_string(BOOT_ID)
            .map_err(|error| io::Error::new(error.kind(), format!("{BOOT_ID}: {error}")))?;
        let file = fs::metadata(self.path.join(name))?;
        let born = file.created().ok().and_then(|born| born.duration_since(SystemTime::UNIX_EPOCH).ok());
        let of = born.map_or_else(|| format!("device {}", file.dev()), |born| born.as_nanos().to_string());
        Ok(Whereabouts {
            machine: whereabouts::machine(),
            boot: boot.trim().to_owned(),
            at: format!("{}:{}", file.dev(), file.ino()),
            file: Some(format!("{}:{of}", file.ino())),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.path.clone() } else { self.path.join(name) }
    }
}

impl DiskFile for File {
    fn size_bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn set_len(&self, size_bytes: u64) -> io::Result<()> {
        Self::set_len(self, size_bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        Self::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        Self::sync_all(self)
    }
}
