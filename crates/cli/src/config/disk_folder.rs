//! A directory that stands for a disk: `NAME=PATH`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use quorate_domain::ids::DiskName;

/// A disk of a host, as it stands in an agent's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskFolder {
    /// Its name within the host.
    pub(crate) name: DiskName,
    /// Where it is mounted.
    pub(crate) path: PathBuf,
}

impl DiskFolder {
    /// Checks both parts.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn new(name: &str, path: &str) -> Result<Self, String> {
        let name = DiskName::new(name).map_err(|error| error.to_string())?;
        if path.is_empty() {
            return Err(format!("disk `{name}` has no path"));
        }
        Ok(Self { name, path: PathBuf::from(path) })
    }
}

impl FromStr for DiskFolder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("there is no `=` between name and path")?;
        Self::new(name.trim(), path.trim())
    }
}

impl fmt::Display for DiskFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.path.display())
    }
}

/// Why a list of disks is ambiguous: two that would write over each other, or that nobody could tell apart.
pub(super) fn disk_conflicts(disks: &[DiskFolder]) -> Vec<String> {
    let mut conflicts = Vec::new();
    for (position, disk) in disks.iter().enumerate() {
        let earlier = &disks[..position];
        if earlier.iter().any(|other| other.name == disk.name) {
            conflicts.push(format!("disk `{}` is there twice", disk.name));
        }
        if let Some(other) = earlier.iter().find(|other| other.path == disk.path) {
            let path = disk.path.display();
            conflicts.push(format!("disks `{}` and `{}` have the same path {path}", other.name, disk.name));
        }
    }
    conflicts
}
