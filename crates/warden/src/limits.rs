//! What the warden takes for itself where it may: memory that stays, processor time before others, open files.

use crate::exec::Preparation;
use rustix::{
    mm::{MlockAllFlags, mlockall},
    process::{
        Resource, Rlimit, getpriority_process, getrlimit, set_child_subreaper, setpriority_process, setrlimit,
    },
};
use std::{fs, io};

/// Before almost everything else.
const NICE: i32 = -15;
const OOM_SCORE: &str = "/proc/self/oom_score_adj";
/// Never picked by the killer of processes that take too much memory.
const OOM_NEVER: &str = "-1000";
/// The capability to lock memory without a limit, as a bit of `CapEff`.
const CAP_IPC_LOCK: u64 = 1 << 14;
/// Files kept for what is not a hook: sockets, timers, records, `/proc`.
const FILES_RESERVED: u64 = 48;
/// Of one running hook: a handle, two pipes, and what starting one takes for a moment.
const FILES_PER_HOOK: u64 = 4;

/// What was taken, and what hooks are given back.
#[derive(Debug)]
pub(crate) struct Limits {
    /// As it was before.
    pub(crate) given: Preparation,
    /// What could not be taken, in words.
    pub(crate) without: Vec<String>,
    files: u64,
}

impl Limits {
    /// Takes what it may.
    ///
    /// # Errors
    /// When what hooks start could be lost sight of.
    pub(crate) fn take() -> io::Result<Self> {
        // What daemonises itself falls to us.
        set_child_subreaper(Some(rustix::process::getpid()))?;
        let mut without = Vec::new();
        let nice = getpriority_process(None).unwrap_or(0);
        if setpriority_process(None, NICE.min(nice)).is_err() {
            without.push("it runs at an ordinary priority".to_owned());
        }
        if !may_lock() {
            without.push(
                "its memory is not locked (no CAP_IPC_LOCK and RLIMIT_MEMLOCK is not unlimited)".into(),
            );
        } else if let Err(error) =
            mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)
        {
            without.push(format!("its memory is not locked: {error}"));
        }
        let oom_score = fs::read_to_string(OOM_SCORE).ok().map(|score| score.trim().to_owned());
        let spared = fs::write(OOM_SCORE, OOM_NEVER).is_ok();
        if !spared {
            without.push("it may be picked when the machine runs out of memory".into());
        }
        let before = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: before.maximum, maximum: before.maximum };
        let files = if setrlimit(Resource::Nofile, raised).is_ok() { before.maximum } else { before.current };
        let oom_score = oom_score.filter(|_| spared);
        let given = Preparation { nice, files: before.current, oom_score, ..Preparation::default() };
        Ok(Self { given, without, files: files.unwrap_or(u64::MAX) })
    }

    /// How many files may be held by what has left its hook and goes on writing.
    ///
    /// # Errors
    /// When not even the hooks that run at once have enough; why in words.
    pub(crate) fn files_for_output(&self, hooks_at_once: usize) -> Result<usize, String> {
        let needed = FILES_RESERVED + FILES_PER_HOOK * hooks_at_once as u64;
        let left = self.files.checked_sub(needed).ok_or_else(|| {
            format!("{needed} open files are needed and {} are allowed; raise the limit (LimitNOFILE, ulimit -n) or set it lower", self.files)
        })?;
        Ok(usize::try_from(left).unwrap_or(usize::MAX))
    }
}

/// With a limit, a lock on all memory to come would make it run out.
fn may_lock() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    effective & CAP_IPC_LOCK != 0 || getrlimit(Resource::Memlock).current.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_that_cannot_have_their_files_are_refused_with_the_figures() {
        let limits = |files| Limits { given: Preparation::default(), without: vec![], files };
        assert_eq!(limits(256).files_for_output(40), Ok(48));
        let refused = limits(100).files_for_output(40).unwrap_err();
        assert!(refused.starts_with("208 open files are needed and 100 are allowed; raise"), "{refused}");
    }
}
