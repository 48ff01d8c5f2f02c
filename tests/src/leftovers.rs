//! What killed agents leave behind: their wardens, which go on without them by design, and what hooks have started, which
//! bears the mark of its warden. Only what belongs to state folders below one folder is found and ended.

use anyhow::{Result, ensure};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long everything may take to be gone once it was killed.
const GONE_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The word before the folder that a warden guards.
const STATE_DIR: &[u8] = b"--state-dir";
/// The file in which a warden keeps its mark, below its state folder.
const MARK_FILE: &str = "warden/mark";
/// The variable that carries the mark.
const MARK: &[u8] = b"QUORATE_RUN=";

/// The wardens of state folders below a folder, or of this one.
pub fn wardens(folder: &Path) -> Vec<Pid> {
    processes().filter(|pid| is_warden(*pid, folder)).collect()
}

/// What hooks of these wardens have started and still runs.
pub fn started(folder: &Path) -> Vec<Pid> {
    let marks = marks(folder);
    processes().filter(|pid| is_marked(*pid, &marks)).collect()
}

/// Kills the wardens below a folder, so that they start nothing more, and then what their hooks have started, and removes
/// their cgroups. Gives back how many processes that were.
///
/// # Errors
/// When something does not end.
pub fn end(folder: &Path) -> Result<usize> {
    let marks = marks(folder);
    let wardens = kill_all(|pid| is_warden(pid, folder))?;
    let started = kill_all(|pid| is_marked(pid, &marks))?;
    for cgroup in cgroups(&marks) {
        // One in which somebody is that does not bear the mark is not ours to remove.
        let _ = fs::remove_dir(cgroup);
    }
    Ok(wardens + started)
}

fn kill_all(is_ours: impl Fn(Pid) -> bool) -> Result<usize> {
    let end = Instant::now() + GONE_WITHIN;
    let mut killed = 0;
    loop {
        let left: Vec<Pid> = processes().filter(|pid| is_ours(*pid)).collect();
        if left.is_empty() {
            return Ok(killed);
        }
        ensure!(Instant::now() < end, "{left:?} were killed and are still there after {GONE_WITHIN:?}");
        killed = killed.max(left.len());
        for pid in left {
            // By a handle, and looked at again: the number may be another process's by now.
            if let Ok(handle) = pidfd_open(pid, PidfdFlags::empty())
                && is_ours(pid)
            {
                // It may be gone already.
                let _ = pidfd_send_signal(handle, Signal::KILL);
            }
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// The words or variables of a process; none of one that has ended.
fn words(pid: Pid, file: &str) -> Vec<Vec<u8>> {
    let bytes = fs::read(format!("/proc/{}/{file}", pid.as_raw_nonzero())).unwrap_or_default();
    bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

fn is_warden(pid: Pid, folder: &Path) -> bool {
    let words = words(pid, "cmdline");
    let of = words.windows(2).find(|pair| pair[0] == STATE_DIR).map(|pair| &pair[1]);
    of.is_some_and(|of| Path::new(OsStr::from_bytes(of)).starts_with(folder))
}

fn is_marked(pid: Pid, marks: &[Vec<u8>]) -> bool {
    !marks.is_empty()
        && words(pid, "environ").iter().filter_map(|variable| variable.strip_prefix(MARK)).any(|value| {
            marks.iter().any(|mark| value.strip_prefix(&mark[..]).is_some_and(|rest| rest.starts_with(b"-")))
        })
}

/// The marks of all wardens that ever guarded a state folder below a folder.
fn marks(folder: &Path) -> Vec<Vec<u8>> {
    let below = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let state_folders = below.chain([folder.to_owned()]);
    let marks = state_folders.filter_map(|one| fs::read(one.join(MARK_FILE)).ok());
    marks.map(|mark| mark.trim_ascii().to_vec()).filter(|mark| !mark.is_empty()).collect()
}

/// The cgroups that wardens with these marks have made: below the one that this process is in, in every hierarchy.
fn cgroups(marks: &[Vec<u8>]) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounted = mounts.lines().filter_map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        words.get(2)?.starts_with("cgroup").then(|| PathBuf::from(words[1]))
    });
    let own: BTreeSet<&str> = own
        .lines()
        .filter_map(|line| line.rsplit(':').next())
        .map(|path| path.trim_start_matches('/'))
        .collect();
    let parents = mounted.flat_map(|mount| own.iter().map(move |own| mount.join(own)));
    let folders = parents.filter_map(|parent| fs::read_dir(parent).ok()).flatten().flatten();
    let marks: Vec<String> =
        marks.iter().map(|mark| format!("-{}-", String::from_utf8_lossy(mark))).collect();
    let is_ours = |name: &str| name.starts_with("quorate-") && marks.iter().any(|mark| name.contains(mark));
    folders
        .filter(|entry| entry.file_name().to_str().is_some_and(is_ours))
        .map(|entry| entry.path())
        .collect()
}
