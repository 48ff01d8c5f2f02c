//! What is guarded, on disk, so that a warden that follows a dead one finds what it left. Nothing is synced: a machine
//! that lost it has lost the processes too.

use crate::{
    place::connect,
    processes::{self, Identity},
    protocol::{Disk, Proof},
};
use quorate_domain::{Epoch, GroupId};
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

const FOLDER: &str = "warden";
const MARK_FILE: &str = "mark";
const EXTENSION: &str = "json";
/// A record longer than this is none.
const RECORD_MAX_BYTES: u64 = 64 << 10;

/// One group that is guarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) boot: String,
    pub(crate) group: GroupId,
    pub(crate) epoch: Epoch,
    pub(crate) disk: Option<Disk>,
    pub(crate) hook: String,
    pub(crate) mark: String,
    pub(crate) cgroup: Option<PathBuf>,
    /// The hook's process, once it was started.
    pub(crate) process: Option<Identity>,
    /// Something of it was seen running after the promote hook had ended well.
    pub(crate) seen: bool,
    /// The agent's process, to which what is left falls when the warden dies.
    pub(crate) agent: Option<Identity>,
    /// It has stopped, how that is known, and no agent has heard of it yet.
    #[serde(default)]
    pub(crate) ended: Option<Proof>,
}

/// Where records are.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    folder: PathBuf,
}

impl Records {
    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let folder = state_dir.join(FOLDER);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// The mark that all hooks of this folder carry; a copy of the folder has another, by `place`.
    pub(crate) fn mark(&self, place: u64) -> io::Result<String> {
        let file = self.folder.join(MARK_FILE);
        let known = match fs::read_to_string(&file) {
            Ok(known) => Some(known.trim().to_owned()).filter(|known| known.len() == 16),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let random = if let Some(known) = known {
            known
        } else {
            let drawn = format!("{:016x}", rand::random::<u64>());
            self.write_file(MARK_FILE, drawn.as_bytes())?;
            drawn
        };
        Ok(format!("{random}-{place:x}"))
    }

    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        self.write_file(&name(&record.group), &serde_json::to_vec(record)?)
    }

    pub(crate) fn remove(&self, group: &GroupId) -> io::Result<()> {
        match fs::remove_file(self.folder.join(name(group))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Every record, and the names of files that are none.
    pub(crate) fn read(&self) -> io::Result<(Vec<Record>, Vec<String>)> {
        let (mut records, mut damaged) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let file = entry.file_name().to_string_lossy().into_owned();
            if entry.path().extension().is_none_or(|extension| extension != EXTENSION) {
                continue;
            }
            let small = entry.metadata()?.len() <= RECORD_MAX_BYTES;
            let read = if small { fs::read(entry.path())? } else { Vec::new() };
            match serde_json::from_slice::<Record>(&read) {
                Ok(record) if name(&record.group) == file => records.push(record),
                _ => damaged.push(file),
            }
        }
        Ok((records, damaged))
    }

    fn write_file(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let (new, file) = (self.folder.join(format!("{name}.new")), self.folder.join(name));
        fs::write(&new, bytes)?;
        fs::rename(new, file)
    }
}

/// True when a warden of this state folder lives, or one that is dead has left something on record.
pub fn guards_something(state_dir: &Path) -> bool {
    let records = fs::read_dir(state_dir.join(FOLDER));
    let mut left = records.into_iter().flatten().flatten().map(|entry| entry.path());
    left.any(|path| path.extension().is_some_and(|extension| extension == EXTENSION))
        || connect(state_dir).is_ok()
}

/// The file of a group.
pub(crate) fn name(group: &GroupId) -> String {
    format!("{group}.{EXTENSION}")
}

/// Names this boot of the machine.
pub(crate) fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// A process by which it can be told from a later one of the same number; `None` when it is gone or cannot be looked at.
pub(crate) fn identity_of(pid: u32) -> Option<Identity> {
    processes::look(i32::try_from(pid).ok()?).ok().flatten().map(|process| process.identity())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(group: &str) -> Record {
        Record {
            boot: "b".into(),
            group: GroupId::new(group).unwrap(),
            epoch: Epoch(4),
            disk: None,
            hook: "promote".into(),
            mark: "m".into(),
            cgroup: Some("/sys/fs/cgroup/x".into()),
            process: Some((7, 8)),
            seen: true,
            agent: None,
            ended: Some(Proof::Killed),
        }
    }

    #[test]
    fn what_was_written_is_read_and_what_is_no_record_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        records.write(&record("g1")).unwrap();
        records.write(&record("g2")).unwrap();
        records.remove(&GroupId::new("g1").unwrap()).unwrap();
        records.remove(&GroupId::new("g1").unwrap()).unwrap();
        fs::write(folder.path().join("warden/torn.json"), "{").unwrap();
        assert_eq!(records.read().unwrap(), (vec![record("g2")], vec!["torn.json".to_owned()]));
    }

    #[test]
    fn the_mark_stays_and_another_place_has_another() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::open(folder.path()).unwrap();
        let mark = records.mark(0xab).unwrap();
        assert_eq!(records.mark(0xab).unwrap(), mark);
        assert_ne!(records.mark(0xac).unwrap(), mark);
    }
}
