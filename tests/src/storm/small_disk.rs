//! A small file system in memory, which can be made full and roomy again.

use crate::folder;
use anyhow::{Context, Result};
use rustix::{
    fs::statvfs,
    mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount},
};
use std::{
    ffi::CString,
    fs,
    path::{Path, PathBuf},
};

/// Room for a log, a state store and snapshots.
const SIZE_BYTES: u64 = 512 << 20;

/// A mounted tmpfs; unmounted when it is dropped.
#[derive(Debug)]
pub(super) struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts one at a folder, which is made.
    ///
    /// # Errors
    /// When this process may not mount.
    pub(super) fn mount(at: &Path) -> Result<Self> {
        fs::create_dir_all(at).with_context(|| format!("could not make {}", at.display()))?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("tmpfs", at, "tmpfs", flags, Some(options(SIZE_BYTES)?.as_c_str()))
            .with_context(|| format!("could not mount a tmpfs at {}", at.display()))?;
        Ok(Self { at: at.to_owned() })
    }

    /// Takes all free room away.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn fill(&self) -> Result<()> {
        let now = statvfs(&self.at).context("could not measure the small disk")?;
        self.resize((now.f_blocks - now.f_bfree) * now.f_frsize)
    }

    /// Gives it back.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn free(&self) -> Result<()> {
        self.resize(SIZE_BYTES)
    }

    /// How many bytes are free.
    ///
    /// # Errors
    /// When the system does not tell.
    pub(super) fn free_bytes(&self) -> Result<u64> {
        let now = statvfs(&self.at).context("could not measure the small disk")?;
        Ok(now.f_bfree * now.f_frsize)
    }

    /// Copies what is on it, for whoever looks into a failure when it is unmounted.
    ///
    /// # Errors
    /// When something cannot be read or written.
    pub(super) fn copy_to(&self, to: &Path) -> Result<()> {
        folder::copy(&self.at, to)
    }

    fn resize(&self, bytes: u64) -> Result<()> {
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount_remount(&self.at, flags, options(bytes)?.as_c_str())
            .with_context(|| format!("could not resize the small disk to {bytes} bytes"))
    }
}

fn options(bytes: u64) -> Result<CString> {
    CString::new(format!("size={bytes}")).context("a number has no zero bytes")
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A process that still holds files of it keeps them until it ends.
        let _ = unmount(&self.at, UnmountFlags::DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_and_has_lost_nothing_when_it_has_room_again() -> Result<()> {
        let folder = tempfile::tempdir_in(crate::binary::scratch()?)?;
        let at = folder.path().join("disk");
        // Without the right to mount there is nothing to test.
        let Ok(disk) = SmallDisk::mount(&at) else { return Ok(()) };
        fs::write(at.join("kept"), vec![7; 100_000])?;
        disk.fill()?;
        assert_eq!(disk.free_bytes()?, 0);
        let refused = fs::write(at.join("more"), vec![7; 100_000]).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
        disk.free()?;
        fs::write(at.join("more"), vec![7; 100_000])?;
        assert_eq!(fs::read(at.join("kept"))?, vec![7; 100_000]);
        let copied = folder.path().join("copy");
        disk.copy_to(&copied)?;
        drop(disk);
        assert_eq!(fs::read(copied.join("more"))?, vec![7; 100_000]);
        Ok(())
    }
}
