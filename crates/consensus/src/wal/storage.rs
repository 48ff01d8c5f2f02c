//! The door to the disk: a folder of files, as a trait so that tests can break it at every step.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::error::{OpenError, WalError};

const LOCK_FILE: &str = "LOCK";

/// One folder of segment files.
pub(crate) trait Storage: Send + Sync {
    /// Names of all files in the folder.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes a new, empty file.
    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>>;
    /// Opens a file that is there, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>>;
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes the names of the folder durable (fsync of the folder).
    fn sync_dir(&self) -> io::Result<()>;
    /// A number that no use of any segment had before.
    fn new_salt(&self) -> u64;
    /// The full path, for messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// One open segment file.
pub(crate) trait SegmentFile: Send + Sync {
    fn size_bytes(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset` on, or fails.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn set_len(&self, size_bytes: u64) -> io::Result<()>;
    /// Returns when the data is on the platter (fdatasync).
    fn sync_data(&self) -> io::Result<()>;
    /// Returns when data and all metadata are on the platter (fsync).
    fn sync_all(&self) -> io::Result<()>;
}

/// Turns an I/O error of one file into the log's error.
pub(crate) fn io_error(
    storage: &dyn Storage,
    operation: &'static str,
    name: &str,
) -> impl FnOnce(io::Error) -> WalError {
    move |source| WalError::Io { operation, file: storage.path(name), source: Arc::new(source) }
}

/// A real folder, locked for as long as this value lives.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    handle: File,
    _lock: File,
}

impl Folder {
    /// Makes the folder if it is not there, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let failed = |operation, file: &Path| {
            let file = file.to_owned();
            move |source| WalError::Io { operation, file, source: Arc::new(source) }
        };
        fs::create_dir_all(path).map_err(failed("create", path))?;
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed("sync", parent))?;
        }
        let handle = File::open(path).map_err(failed("open", path))?;
        let lock_path = path.join(LOCK_FILE);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), handle, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(OpenError::Locked { file: lock_path }),
            Err(TryLockError::Error(source)) => Err(failed("lock", &lock_path)(source).into()),
        }
    }
}

impl Storage for Folder {
    fn list(&self) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is none of ours.
        fs::read_dir(&self.path)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(self.path.join(name))?;
        Ok(Arc::new(file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn new_salt(&self) -> u64 {
        rand::random()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl SegmentFile for File {
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
