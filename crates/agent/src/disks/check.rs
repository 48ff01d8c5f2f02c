//! One look at one disk: identity, room, and a real write, fsync and read back.

use super::io::{DiskIo, SystemIo, WriteFault};
use crate::{config::DiskOptions, state_folder::random_name};
use quorate_domain::{DiskName, FaultClass, Timestamp, Verdict, VerdictReason};
use quorate_runtime::lack::is_own_lack;
use rustix::io::Errno;
use std::{
    fs,
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

/// What this process itself lacks, such as descriptors or memory: it says nothing of any disk.
#[derive(Debug)]
pub(crate) struct Lack(pub(crate) io::Error);

/// Why a part of a check came to no good end.
enum Trouble {
    Found(Finding),
    Lacks(Lack),
}

/// Something that speaks against a disk.
struct Finding {
    verdict: Verdict,
    class: FaultClass,
    code: &'static str,
    attribute: String,
    observed: String,
    threshold: &'static str,
}

impl Trouble {
    fn of_error(code: &'static str, path: &Path, error: io::Error) -> Self {
        if is_own_lack(&error) {
            return Self::Lacks(Lack(error));
        }
        let full = error.kind() == ErrorKind::StorageFull || error.kind() == ErrorKind::QuotaExceeded;
        let (verdict, code) = if full { (Verdict::Degraded, "disk_full") } else { (Verdict::Failed, code) };
        Self::Found(Finding {
            verdict,
            class: if full { FaultClass::Environment } else { class_of(&error) },
            code,
            attribute: path.display().to_string(),
            observed: error.to_string(),
            threshold: "no error",
        })
    }

    fn failed(
        class: FaultClass,
        code: &'static str,
        path: &Path,
        observed: String,
        threshold: &'static str,
    ) -> Self {
        let attribute = path.display().to_string();
        Self::Found(Finding { verdict: Verdict::Failed, class, code, attribute, observed, threshold })
    }
}

/// Errors that speak of a mount, an owner or a path. Whatever else the operating system says may come from the medium.
fn class_of(error: &io::Error) -> FaultClass {
    match Errno::from_io_error(error) {
        Some(
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::ACCESS
            | Errno::PERM
            | Errno::ROFS
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::STALE
            | Errno::NOTCONN
            | Errno::BUSY,
        ) => FaultClass::Environment,
        _ => FaultClass::Medium,
    }
}

/// Looks at a disk once. `known` is the identity that it had before.
///
/// # Errors
/// What this process lacks: the disk is then as it was.
pub(crate) fn check(
    io: &dyn DiskIo,
    disk: &DiskOptions,
    known: Option<&str>,
    size_bytes: usize,
    now: Timestamp,
) -> Result<DiskState, Lack> {
    let mut findings = Vec::new();
    let identity = noted(identity(io, &disk.path, known), &mut findings)?.unwrap_or_default();
    let space =
        io.space(&disk.path).map_err(|error| Trouble::of_error("space_unreadable", &disk.path, error));
    let space = noted(space, &mut findings)?.unwrap_or_default();
    // An empty directory in the place of a disk is not written to: what lies under a mount point is another disk.
    if !findings.iter().any(|finding| finding.code == "identity_missing") {
        noted(probe(io, &disk.path, size_bytes), &mut findings)?;
    }
    Ok(DiskState {
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
    })
}

/// What a part of the check gave, and its finding beside those of the others.
fn noted<T>(part: Result<T, Trouble>, findings: &mut Vec<Finding>) -> Result<Option<T>, Lack> {
    match part {
        Ok(value) => Ok(Some(value)),
        Err(Trouble::Found(finding)) => {
            findings.push(finding);
            Ok(None)
        }
        Err(Trouble::Lacks(lack)) => Err(lack),
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
        class: finding.class,
    }
}

/// Reads the disk's identity. One is made up only for a disk that never had one.
fn identity(io: &dyn DiskIo, directory: &Path, known: Option<&str>) -> Result<String, Trouble> {
    let file = directory.join(IDENTITY_FILE);
    match io.read(&file, IDENTITY_MAX_BYTES) {
        Ok(bytes) => {
            let text = String::from_utf8_lossy(&bytes).trim().to_owned();
            if text.is_empty() || text.len() > 128 || !text.chars().all(|c| c.is_ascii_graphic()) {
                return Err(Trouble::failed(
                    FaultClass::Environment,
                    "identity_damaged",
                    &file,
                    format!("{} bytes that are no identity", bytes.len()),
                    "1 to 128 visible characters",
                ));
            }
            Ok(text)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => match known {
            Some(known) => Err(Trouble::failed(
                FaultClass::Environment,
                "identity_missing",
                &file,
                missing(known, directory),
                "the identity that the disk had",
            )),
            None => make_identity(io, directory, &file),
        },
        Err(error) => Err(Trouble::of_error("identity_unreadable", &file, error)),
    }
}

fn missing(known: &str, directory: &Path) -> String {
    format!(
        "the disk {known} is not here: mount it; if an empty one took its place for good, run `quorate disk prepare {}` on this host",
        directory.display()
    )
}

fn make_identity(io: &dyn DiskIo, directory: &Path, file: &Path) -> Result<String, Trouble> {
    write_identity(io, directory, file).map_err(|error| Trouble::of_error("identity_unwritable", file, error))
}

fn write_identity(io: &dyn DiskIo, directory: &Path, file: &Path) -> io::Result<String> {
    let text = random_name();
    let new = directory.join(IDENTITY_NEW);
    io.write_durably(&new, text.as_bytes()).map_err(|fault| match fault {
        WriteFault::Write(error) | WriteFault::Sync(error) => error,
    })?;
    io.rename(&new, file)?;
    Ok(text)
}

/// Why a directory was not made a disk.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// It is one already.
    #[error(
        "{directory} is the disk {identity} already; a disk is prepared once, before its first use: mount the new one there"
    )]
    IsADisk {
        /// The directory.
        directory: PathBuf,
        /// Who it is.
        identity: String,
    },
    /// It holds something.
    #[error("{directory} is not empty ({found}); prepare an empty disk, and mount it first")]
    NotEmpty {
        /// The directory.
        directory: PathBuf,
        /// One thing that lies there.
        found: String,
    },
    /// The operating system refused something.
    #[error("cannot prepare {directory}; is it mounted there, and writable by the agent?")]
    Io {
        /// The directory.
        directory: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// Makes the empty directory of a new disk one of its own, with an identity that no other has, and returns that.
///
/// # Errors
/// [`PrepareError`]; nothing of the directory was changed, but for a failed write.
pub fn prepare(directory: &Path) -> Result<String, PrepareError> {
    let failed = |source| PrepareError::Io { directory: directory.to_owned(), source };
    let file = directory.join(IDENTITY_FILE);
    if let Ok(bytes) = SystemIo.read(&file, IDENTITY_MAX_BYTES) {
        let identity = String::from_utf8_lossy(&bytes).trim().to_owned();
        return Err(PrepareError::IsADisk { directory: directory.to_owned(), identity });
    }
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        // What mkfs leaves, and what an agent did before it saw that this is not its disk.
        if name != "lost+found" && name != IDENTITY_NEW && name != PROBE_FILE {
            let found = name.to_string_lossy().into_owned();
            return Err(PrepareError::NotEmpty { directory: directory.to_owned(), found });
        }
    }
    write_identity(&SystemIo, directory, &file).map_err(failed)
}

/// Writes, syncs, reads back and compares.
fn probe(io: &dyn DiskIo, directory: &Path, size_bytes: usize) -> Result<(), Trouble> {
    let file = directory.join(PROBE_FILE);
    let written: Vec<u8> =
        (0..size_bytes.div_ceil(8)).flat_map(|_| rand::random::<u64>().to_le_bytes()).collect();
    let written = &written[..size_bytes];
    let result = io
        .write_durably(&file, written)
        .map_err(|fault| match fault {
            WriteFault::Write(error) => Trouble::of_error("probe_write_failed", &file, error),
            WriteFault::Sync(error) => Trouble::of_error("probe_sync_failed", &file, error),
        })
        .and_then(|()| {
            io.read(&file, size_bytes + 1)
                .map_err(|error| Trouble::of_error("probe_read_failed", &file, error))
        })
        .and_then(|read| same(&file, written, &read));
    let removed = io.remove(&file);
    result?;
    removed.map_err(|error| Trouble::of_error("probe_remove_failed", &file, error))
}

fn same(file: &Path, written: &[u8], read: &[u8]) -> Result<(), Trouble> {
    if written == read {
        return Ok(());
    }
    let offset = written.iter().zip(read).position(|(a, b)| a != b).unwrap_or(written.len().min(read.len()));
    let observed = format!("{} bytes read, other than written from byte {offset} on", read.len());
    Err(Trouble::failed(FaultClass::Medium, "probe_mismatch", file, observed, "what was written"))
}

#[cfg(test)]
mod tests {
    use super::super::io::Space;
    use super::*;

    /// A real directory with one fault.
    struct Faulty(Fault);

    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Fault {
        Write(i32),
        Sync(i32),
        Read(i32),
        /// Reading the identity.
        Marker(i32),
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
            if let Fault::Marker(number) = self.0 {
                return Err(errno(number));
            }
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

    fn looked(io: &dyn DiskIo, path: &Path, known: Option<&str>, size_bytes: usize, at: u64) -> DiskState {
        check(io, &disk(path), known, size_bytes, Timestamp(at)).unwrap()
    }

    fn codes(state: &DiskState) -> Vec<&str> {
        state.reasons.iter().map(|reason| reason.code.as_str()).collect()
    }

    fn classes(state: &DiskState) -> Vec<FaultClass> {
        state.reasons.iter().map(|reason| reason.class).collect()
    }

    #[test]
    fn a_good_disk_gets_an_identity_once_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = looked(&SystemIo, dir.path(), None, 4_096, 5);
        assert_eq!((first.verdict, codes(&first)), (Verdict::Healthy, vec![]));
        assert!(!first.identity.is_empty() && first.capacity_bytes > 0 && first.free_bytes > 0);
        let again = looked(&SystemIo, dir.path(), Some(&first.identity), 3, 6);
        assert_eq!((again.identity, again.checked_at), (first.identity, Timestamp(6)));
        assert!(!dir.path().join(PROBE_FILE).exists());
    }

    #[test]
    fn a_disk_that_had_an_identity_never_gets_another_by_itself_and_is_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let state = looked(&SystemIo, dir.path(), Some("abc"), 64, 5);
        assert_eq!((state.verdict, codes(&state)), (Verdict::Failed, vec!["identity_missing"]));
        assert_eq!(classes(&state), [FaultClass::Environment], "it may be mounted a moment later");
        assert!(!state.reasons[0].observed.contains(IDENTITY_FILE), "editing a file is no remedy: {state:?}");
        assert_eq!(state.identity, "");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_empty_directory_is_prepared_once_and_one_that_holds_something_never() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        let identity = prepare(dir.path()).unwrap();
        let state = looked(&SystemIo, dir.path(), Some("abc"), 64, 5);
        assert_eq!((state.verdict, state.identity.as_str()), (Verdict::Healthy, identity.as_str()));
        let again = prepare(dir.path()).unwrap_err().to_string();
        assert!(again.contains(&identity), "{again}");
        let full = tempfile::tempdir().unwrap();
        fs::write(full.path().join("data"), "").unwrap();
        let refused = prepare(full.path()).unwrap_err().to_string();
        assert!(refused.contains("not empty (data)"), "{refused}");
        let gone = prepare(&full.path().join("gone")).unwrap_err();
        assert!(matches!(gone, PrepareError::Io { .. }), "{gone}");
    }

    #[test]
    fn another_disk_in_the_place_shows_its_own_identity() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(IDENTITY_FILE), "new-disk\n").unwrap();
        let state = looked(&SystemIo, dir.path(), Some("abc"), 64, 5);
        assert_eq!((state.verdict, state.identity.as_str()), (Verdict::Healthy, "new-disk"));
        fs::write(dir.path().join(IDENTITY_FILE), "").unwrap();
        let state = looked(&SystemIo, dir.path(), Some("abc"), 64, 5);
        assert_eq!((state.verdict, codes(&state)), (Verdict::Failed, vec!["identity_damaged"]));
    }

    const EIO: i32 = 5;
    const ENXIO: i32 = 6;
    const ENOMEM: i32 = 12;
    const EACCES: i32 = 13;
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOSPC: i32 = 28;
    const EROFS: i32 = 30;
    const EUCLEAN: i32 = 117;

    #[test]
    fn each_fault_has_its_code_its_class_and_the_words_of_the_operating_system() {
        use FaultClass::{Environment, Medium};
        use Verdict::{Degraded, Failed};
        let table = [
            (Fault::Write(EIO), Failed, Medium, "probe_write_failed", "Input/output error"),
            (Fault::Write(ENXIO), Failed, Medium, "probe_write_failed", "No such device"),
            (Fault::Write(EUCLEAN), Failed, Medium, "probe_write_failed", "needs cleaning"),
            (Fault::Write(EROFS), Failed, Environment, "probe_write_failed", "Read-only file system"),
            (Fault::Write(EACCES), Failed, Environment, "probe_write_failed", "Permission denied"),
            (Fault::Write(ENOSPC), Degraded, Environment, "disk_full", "No space left"),
            (Fault::Sync(EIO), Failed, Medium, "probe_sync_failed", "Input/output error"),
            (Fault::Sync(ENOSPC), Degraded, Environment, "disk_full", "No space left"),
            (Fault::Read(EIO), Failed, Medium, "probe_read_failed", "Input/output error"),
            (Fault::Flip, Failed, Medium, "probe_mismatch", "from byte 17 on"),
            (Fault::Short, Failed, Medium, "probe_mismatch", "100 bytes read"),
        ];
        for (fault, verdict, class, code, words) in table {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(IDENTITY_FILE), "abc").unwrap();
            fs::write(dir.path().join(PROBE_FILE), [7_u8; 256]).unwrap();
            let state = looked(&Faulty(fault), dir.path(), Some("abc"), 256, 5);
            assert_eq!((state.verdict, codes(&state)), (verdict, vec![code]), "{fault:?}");
            assert_eq!(classes(&state), [class], "{fault:?}");
            assert!(state.reasons[0].observed.contains(words), "{fault:?}: {:?}", state.reasons);
            assert_eq!(state.identity, "abc");
            assert!(!dir.path().join(PROBE_FILE).exists(), "{fault:?} left its file");
        }
    }

    #[test]
    fn what_this_process_lacks_is_never_a_verdict() {
        for number in [EMFILE, ENFILE, ENOMEM] {
            for fault in
                [Fault::Write(number), Fault::Sync(number), Fault::Read(number), Fault::Marker(number)]
            {
                let dir = tempfile::tempdir().unwrap();
                fs::write(dir.path().join(IDENTITY_FILE), "abc").unwrap();
                let checked = check(&Faulty(fault), &disk(dir.path()), Some("abc"), 256, Timestamp(5));
                let Lack(error) = checked.unwrap_err();
                assert_eq!(error.raw_os_error(), Some(number), "{fault:?}");
            }
        }
    }

    #[test]
    fn a_directory_that_is_gone_or_is_a_file_has_failed_until_it_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let gone = looked(&SystemIo, &dir.path().join("gone"), None, 64, 5);
        assert_eq!(gone.verdict, Verdict::Failed);
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let state = looked(&SystemIo, &file, Some("abc"), 64, 5);
        assert_eq!((state.verdict, state.identity.as_str()), (Verdict::Failed, ""));
        assert!(codes(&state).contains(&"probe_write_failed"), "{state:?}");
        for state in [gone, state] {
            assert!(classes(&state).iter().all(|class| *class == FaultClass::Environment), "{state:?}");
        }
    }
}
