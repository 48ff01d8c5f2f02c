//! What guards of a group have left that are not there any more, or stand still: found by the mark that everything has which
//! they start, and below that. A keeper goes last: what it has started cannot leave it while it is there.

use super::{EMPTY_ROUNDS, ROUND_MS};
use crate::{
    processes::{self, Identity, Process, Snapshot},
    search::environment,
};
use quorate_agent_core::Seat;
use rustix::process::geteuid;
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt,
    process, thread,
    time::{Duration, Instant},
};

/// The variable that marks all that guards of one group on one host start.
pub const GUARD_MARK: &str = "QUORATE_GUARD";
/// The variable that a keeper has beside it, and what it starts has not.
pub const KEEPER_MARK: &str = "QUORATE_KEEPER";

/// Where this process sits among all.
pub fn seat() -> Seat {
    let namespace = |name: &str| {
        let target = fs::read_link(format!("/proc/self/ns/{name}")).ok();
        target.map_or_else(String::new, |target| target.display().to_string())
    };
    let uid = geteuid().as_raw();
    Seat { uid, pid_namespace: namespace("pid"), user_namespace: namespace("user") }
}

/// Kills everything that other guards with this mark have started, until nothing is left; how much there was.
///
/// # Errors
/// What is left after `limit`, or what cannot be looked at.
pub fn end_what_others_left(mark: &str, limit: Duration) -> Result<usize, String> {
    let end = Instant::now() + limit;
    let (mut found, mut empty) = (BTreeSet::new(), 0);
    while empty < EMPTY_ROUNDS {
        let left = Left::look(mark)?;
        let doomed = if left.others.is_empty() { &left.keepers } else { &left.others };
        empty = if doomed.is_empty() { empty + 1 } else { 0 };
        doomed.iter().copied().for_each(processes::kill);
        found.extend(doomed.iter().copied());
        if let Some((pid, _)) = doomed.first().filter(|_| Instant::now() >= end) {
            return Err(format!("process {pid}, which an earlier guard has started, cannot be killed"));
        }
        thread::sleep(Duration::from_millis(ROUND_MS));
    }
    Ok(found.len())
}

/// What is there at about one moment.
struct Left {
    keepers: BTreeSet<Identity>,
    others: BTreeSet<Identity>,
}

impl Left {
    fn look(mark: &str) -> Result<Self, String> {
        let snapshot = Snapshot::take();
        let own = i32::try_from(process::id()).unwrap_or(0);
        let line = snapshot.get(own).map_or_else(Vec::new, |process| snapshot.line(process));
        let mut spared: BTreeSet<Identity> = snapshot.below(own).into_iter().collect();
        spared.extend(line.iter().map(Process::identity));
        let mut left = Self { keepers: BTreeSet::new(), others: BTreeSet::new() };
        for process in snapshot.iter().filter(|process| !process.dead) {
            let identity = process.identity();
            if spared.contains(&identity) {
                continue;
            }
            let Some(variables) = variables(process)? else { continue };
            let has = |name: &str, value: Option<&str>| {
                variables.split(|byte| *byte == 0).any(|variable| {
                    let rest =
                        variable.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
                    rest.is_some_and(|rest| value.is_none_or(|value| rest == value.as_bytes()))
                })
            };
            if !has(GUARD_MARK, Some(mark)) {
                continue;
            }
            left.others
                .extend(snapshot.below(process.pid).into_iter().filter(|below| !spared.contains(below)));
            let kind = if has(KEEPER_MARK, None) { &mut left.keepers } else { &mut left.others };
            kind.insert(identity);
        }
        let keepers = &left.keepers;
        left.others.retain(|process| !keepers.contains(process));
        Ok(left)
    }
}

/// The environment of a process; none of one that is gone, or that is another user's.
fn variables(process: &Process) -> Result<Option<Vec<u8>>, String> {
    match environment(process.identity()) {
        Ok(variables) => Ok(Some(variables)),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let uid = geteuid().as_raw();
            let owner = fs::metadata(format!("/proc/{}", process.pid)).map(|found| found.uid());
            // Root would see all; everybody else sees what is theirs.
            if owner.is_ok_and(|owner| uid == 0 || owner == uid) {
                return Err(format!("process {} cannot be looked at: {error}", process.pid));
            }
            Ok(None)
        }
        Err(_) => Ok(None),
    }
}
