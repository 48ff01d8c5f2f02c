//! The disk I/O behind the checks, so that tests can put faults into it.

use rustix::fs::{Advice, fadvise, statvfs};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::Path,
};

/// How much room there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// The size of the file system.
    pub capacity_bytes: u64,
    /// What may still be written.
    pub free_bytes: u64,
}

/// Which half of a durable write failed.
#[derive(Debug)]
pub enum WriteFault {
    /// Creating or writing.
    Write(io::Error),
    /// Making it durable.
    Sync(io::Error),
}

/// What the checks do to a disk. Every call may hang as long as the disk does.
pub trait DiskIo: Send + Sync {
    /// How much room there is.
    ///
    /// # Errors
    /// What the operating system says.
    fn space(&self, directory: &Path) -> io::Result<Space>;
    /// Writes a file anew and returns once it is on the medium.
    ///
    /// # Errors
    /// Which half failed, and what the operating system says.
    fn write_durably(&self, file: &Path, bytes: &[u8]) -> Result<(), WriteFault>;
    /// Reads at most `limit` bytes of a file, from the medium rather than from memory where that is possible.
    ///
    /// # Errors
    /// What the operating system says.
    fn read(&self, file: &Path, limit: usize) -> io::Result<Vec<u8>>;
    /// Gives a file another name in the same directory, durably.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, file: &Path) -> io::Result<()>;
}

/// The disks of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIo;

impl DiskIo for SystemIo {
    fn space(&self, directory: &Path) -> io::Result<Space> {
        let stat = statvfs(directory)?;
        Ok(Space {
            capacity_bytes: stat.f_frsize.saturating_mul(stat.f_blocks),
            free_bytes: stat.f_frsize.saturating_mul(stat.f_bavail),
        })
    }

    fn write_durably(&self, path: &Path, bytes: &[u8]) -> Result<(), WriteFault> {
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(path)
            .map_err(WriteFault::Write)?;
        file.write_all(bytes).map_err(WriteFault::Write)?;
        file.sync_all().map_err(WriteFault::Sync)
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let file = File::open(path)?;
        // Some file systems know no such advice; the read is then answered from memory, and still compared.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        let mut bytes = Vec::new();
        file.take(u64::try_from(limit).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)?;
        to.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}
