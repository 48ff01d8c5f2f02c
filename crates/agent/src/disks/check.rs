//! One look at one disk: identity, room, and a real write, fsync and read back.

use super::io::{DiskIo, WriteFault};
use crate::{config::DiskOptions, state_folder::random_name};
use quorate_domain::{DiskName, Timestamp, Verdict, VerdictReason};
use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

/// Names the medium; lies in the directory of the disk.
const IDENTITY_FILE: &str = ".quorate-disk";
const IDENTITY_NEW: &str = ".quorate-disk.new";
const PROBE_FILE: &str = ".quorate-probe.tmp";
const IDENTITY_MAX_BYTES: usize = 256;

/// What is known of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DiskState {
    pub(crate) name: DiskName,
    pub(crate) path: PathBuf,
    /// Empty when it could not be read.
    pub(crate) identity: String,
    pub(crate) capacity_bytes: u64,
    pub(crate) free_bytes: u64,
    pub(crate) verdict: Verdict,
    pub(crate) reasons: Vec<VerdictReason>,
    pub(crate) checked_at: Timestamp,
}

/// Something that speaks against a disk.
struct Finding {
    verdict: Verdict,
    code: &'static str,
    attribute: String,
    observed: String,
    threshold: &'static str,
}

impl Finding {
    fn of_error(code: &'static str, path: &Path, error: &io::Error) -> Self {
        let full = error.kind() == ErrorKind::StorageFull || error.kind() == ErrorKind::QuotaExceeded;
        let (verdict, code) = if full { (Verdict::Degraded, "disk_full") } else { (Verdict::Failed, code) };
        let attribute = path.display().to_string();
        Self { verdict, code, attribute, observed: error.to_string(), threshold: "no error" }
    }

    fn failed(code: &'static str, path: &Path, observed: String, threshold: &'static str) -> Self {
        Self { verdict: Verdict::Failed, code, attribute: path.display().to_string(), observed, threshold }
    }
}

/// Looks at a disk once. `known` is the identity that it had before.
pub(crate) fn check(
    io: &dyn DiskIo,
    disk: &DiskOptions,
    known: Option<&str>,
    size_bytes: usize,
    now: Timestamp,
) -> DiskState {
    let mut findings = Vec::new();
    let identity = identity(io, &disk.path, known).unwrap_or_else(|finding| {
        findings.push(finding);
        String::new()
    });
    let space = io.space(&disk.path).unwrap_or_else(|error| {
        findings.push(Finding::of_error("space_unreadable", &disk.path, &error));
        super::Space::default()
    });
    // An empty directory in the place of a disk is not written to: what lies under a mount point is another disk.
    if !findings.iter().any(|finding| finding.code == "identity_missing") {
        findings.extend(probe(io, &disk.path, size_bytes).err());
    }
    DiskState {
        name: disk.name.clone(),
        path: disk.path.clone(),
        identity,
        capacity_bytes: space.capacity_bytes,
        free_bytes: space.free_bytes,
        verdict: findings
            .iter()
            .map(|finding| finding.verdict)
            .max_by_key(|verdict| rank(*verdict))
            .unwrap_or(Verdict::Healthy),
        reasons: findings.into_iter().map(|finding| reason(finding, now)).collect(),
        checked_at: now,
    }
}

fn rank(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Healthy => 0,
        Verdict::Degraded => 1,
        Verdict::Unknown => 2,
        Verdict::Failed => 3,
    }
}

fn reason(finding: Finding, at: Timestamp) -> VerdictReason {
    VerdictReason {
        code: finding.code.to_owned(),
        attribute: finding.attribute,
        observed: finding.observed,
        threshold: finding.threshold.to_owned(),
        source: "probe".to_owned(),
        at,
    }
}

/// Reads the disk's identity. One is made up only for a disk that never had one.
fn identity(io: &dyn DiskIo, directory: &Path, known: Option<&str>) -> Result<String, Finding> {
    let file = directory.join(IDENTITY_FILE);
    match io.read(&file, IDENTITY_MAX_BYTES) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            if text.is_empty() || text.len() > 128 || !text.chars().all(|c| c.is_ascii_graphic()) {
                let observed = format!("{} bytes that are no identity", bytes.len());
                return Err(Finding::failed(
                    "identity_damaged",
                    &file,
                    observed,
                    "1 to 128 visible characters",
                ));
            }
            Ok(text)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => match known {
            Some(known) => Err(Finding::failed(
                "identity_missing",
                &file,
                format!(
                    "the disk {known} is not here: mount it, or, if another one took its place, write a new name into {}",
                    file.display()
                ),
                "the identity that the disk had",
            )),
            None => make_identity(io, directory, &file),
        },
        Err(error) => Err(Finding::of_error("identity_unreadable", &file, &error)),
    }
}

fn make_identity(io: &dyn DiskIo, directory: &Path, file: &Path) -> Result<String, Finding> {
    let text = random_name();
    let new = directory.join(IDENTITY_NEW);
    io.write_durably(&new, text.as_bytes())
        .map_err(|fault| match fault {
            WriteFault::Write(error) | WriteFault::Sync(error) => error,
        })
        .and_then(|()| io.rename(&new, file))
        .map_err(|error| Finding::of_error("identity_unwritable", file, &error))?;
    Ok(text)
}

/// Writes, syncs, reads back and compares.
fn probe(io: &dyn DiskIo, directory: &Path, size_bytes: usize) -> Result<(), Finding> {
    let file = directory.join(PROBE_FILE);
    let written: Vec<u8> =
        (0..size_bytes.div_ceil(8)).flat_map(|_| rand::random::<u64>().to_le_bytes()).collect();
    let written = &written[..size_bytes];
    let result = io
        .write_durably(&file, written)
        .map_err(|fault| match fault {
            WriteFault::Write(error) => Finding::of_error("probe_write_failed", &file, &error),
            WriteFault::Sync(error) => Finding::of_error("probe_sync_failed", &file, &error),
        })
        .and_then(|()| {
            io.read(&file, size_bytes + 1)
                .map_err(|error| Finding::of_error("probe_read_failed", &file, &error))
        })
        .and_then(|read| same(&file, written, &read));
    let removed = io.remove(&file);
    result?;
    removed.map_err(|error| Finding::of_error("probe_remove_failed", &file, &error))
}

fn same(file: &Path, written: &[u8], read: &[u8]) -> Result<(), Finding> {
    if written == read {
        return Ok(());
    }
    let offset = written.iter().zip(read).position(|(a, b)| a != b).unwrap_or(written.len().min(read.len()));
    let observed = format!("{} bytes read, other than written from byte {offset} on", read.len());
    Err(Finding::failed("probe_mismatch", file, observed, "what was written"))
}

#[cfg(test)]
mod tests {
    use super::super::io::{Space, SystemIo};
    use super::*;
    use std::fs;

    /// A real directory with one fault.
    struct Faulty(Fault);

    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Fault {
        Write(i32),
        Sync(i32),
        Read(i32),
        Flip,
        Short,
    }

    fn errno(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    impl DiskIo for Faulty {
        fn space(&self, directory: &Path) -> io::Result<Space> {
            SystemIo.space(directory)
        }
        fn write_durably(&self, file: &Path, bytes: &[u8]) -> Result<(), WriteFault> {
            match self.0 {
                Fault::Write(number) => Err(WriteFault::Write(errno(number))),
                Fault::Sync(number) => Err(WriteFault::Sync(errno(number))),
                _ => SystemIo.write_durably(file, bytes),
            }
        }
        fn read(&self, file: &Path, limit: usize) -> io::Result<Vec<u8>> {
            let mut bytes = SystemIo.read(file, limit)?;
            if file.ends_with(PROBE_FILE) {
                match self.0 {
                    Fault::Read(number) => return Err(errno(number)),
                    Fault::Flip => bytes[17] ^= 1,
                    Fault::Short => bytes.truncate(100),
                    _ => {}
                }
            }
            Ok(bytes)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            SystemIo.rename(from, to)
        }
        fn remove(&self, file: &Path) -> io::Result<()> {
            SystemIo.remove(file)
        }
    }

    fn disk(path: &Path) -> DiskOptions {
        DiskOptions { name: DiskName::new("d1").unwrap(), path: path.to_owned() }
    }

    fn codes(state: &DiskState) -> Vec<&str> {
        state.reasons.iter().map(|reason| reason.code.as_str()).collect()
    }

    #[test]
    fn a_good_disk_gets_an_identity_once_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = check(&SystemIo, &disk(dir.path()), None, 4_096, Timestamp(5));
        assert_eq!((first.verdict, codes(&first)), (Verdict::Healthy, vec![]));
        assert!(!first.identity.is_empty() && first.capacity_bytes > 0 && first.free_bytes > 0);
        let again = check(&SystemIo, &disk(dir.path()), Some(&first.identity), 3, Timestamp(6));
        assert_eq!((again.identity, again.checked_at), (first.identity, Timestamp(6)));
        assert!(!dir.path().join(PROBE_FILE).exists());
    }

    #[test]
    fn a_disk_that_had_an_identity_never_gets_another_by_itself_and_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let state = check(&SystemIo, &disk(dir.path()), Some("abc"), 64, Timestamp(5));
        assert_eq!((state.verdict, codes(&state)), (Verdict::Failed, vec!["identity_missing"]));
        assert_eq!(state.identity, "");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn another_disk_in_the_place_shows_its_own_identity() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(IDENTITY_FILE), "new-disk\n").unwrap();
        let state = check(&SystemIo, &disk(dir.path()), Some("abc"), 64, Timestamp(5));
        assert_eq!((state.verdict, state.identity.as_str()), (Verdict::Healthy, "new-disk"));
        fs::write(dir.path().join(IDENTITY_FILE), "").unwrap();
        let state = check(&SystemIo, &disk(dir.path()), Some("abc"), 64, Timestamp(5));
        assert_eq!((state.verdict, codes(&state)), (Verdict::Failed, vec!["identity_damaged"]));
    }

    #[test]
    fn each_fault_has_its_code_and_the_words_of_the_operating_system() {
        const EIO: i32 = 5;
        const EACCES: i32 = 13;
        const ENOSPC: i32 = 28;
        const EROFS: i32 = 30;
        let table = [
            (Fault::Write(EIO), Verdict::Failed, "probe_write_failed", "Input/output error"),
            (Fault::Write(EROFS), Verdict::Failed, "probe_write_failed", "Read-only file system"),
            (Fault::Write(EACCES), Verdict::Failed, "probe_write_failed", "Permission denied"),
            (Fault::Write(ENOSPC), Verdict::Degraded, "disk_full", "No space left"),
            (Fault::Sync(EIO), Verdict::Failed, "probe_sync_failed", "Input/output error"),
            (Fault::Sync(ENOSPC), Verdict::Degraded, "disk_full", "No space left"),
            (Fault::Read(EIO), Verdict::Failed, "probe_read_failed", "Input/output error"),
            (Fault::Flip, Verdict::Failed, "probe_mismatch", "from byte 17 on"),
            (Fault::Short, Verdict::Failed, "probe_mismatch", "100 bytes read"),
        ];
        for (fault, verdict, code, words) in table {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(IDENTITY_FILE), "abc").unwrap();
            fs::write(dir.path().join(PROBE_FILE), [7_u8; 256]).unwrap();
            let state = check(&Faulty(fault), &disk(dir.path()), Some("abc"), 256, Timestamp(5));
            assert_eq!((state.verdict, codes(&state)), (verdict, vec![code]), "{fault:?}");
            assert!(state.reasons[0].observed.contains(words), "{fault:?}: {:?}", state.reasons);
            assert_eq!(state.identity, "abc");
            assert!(!dir.path().join(PROBE_FILE).exists(), "{fault:?} left its file");
        }
    }

    #[test]
    fn a_directory_that_is_gone_or_is_a_file_has_failed() {
        let dir = tempfile::tempdir().unwrap();
        let gone = check(&SystemIo, &disk(&dir.path().join("gone")), None, 64, Timestamp(5));
        assert_eq!(gone.verdict, Verdict::Failed);
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let state = check(&SystemIo, &disk(&file), Some("abc"), 64, Timestamp(5));
        assert_eq!((state.verdict, state.identity.as_str()), (Verdict::Failed, ""));
        assert!(codes(&state).contains(&"probe_write_failed"), "{state:?}");
    }
}
