//! What guards of a group have left that are not there any more, or stand still: found by the mark that everything has which
//! they start, and below that. A keeper goes last: what it has started cannot leave it while it is there.

use super::{EMPTY_ROUNDS, ROUND_MS};
use crate::{
    processes::{self, Identity, Process, Snapshot},
    search::environment,
};
use quorate_agent_core::Seat;
use rustix::{io::Errno, process::geteuid};
use std::{
    collections::BTreeSet,
    fs,
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

/// What descends from a process as it begins, and is none of its service's: such as the reader of its output, which the shell
/// has started that it was before.
#[derive(Debug, Clone, Default)]
pub struct Bystanders(BTreeSet<Identity>);

impl Bystanders {
    /// To be called before anything can fall to this process.
    pub fn find() -> Self {
        Self(Snapshot::take().below(own_pid()).into_iter().collect())
    }

    /// Everything below this process that is neither one of these nor below one.
    pub(super) fn all_others(&self, snapshot: &Snapshot) -> BTreeSet<Identity> {
        let is_other = |identity: &Identity| {
            let line = snapshot.get(identity.0).map_or_else(Vec::new, |process| snapshot.line(process));
            !line.iter().any(|process| self.0.contains(&process.identity()))
        };
        snapshot.below(own_pid()).into_iter().filter(is_other).collect()
    }
}

fn own_pid() -> i32 {
    i32::try_from(process::id()).unwrap_or(0)
}

/// What begins another program, or ends, hides its environment for a moment.
const HIDDEN_FOR: Duration = Duration::from_millis(500);

/// Kills everything that other guards with this mark have started, until nothing is left; how much there was. This guard may
/// run nothing meanwhile: what is below it and no bystander is for [`super::kill_what_is_left`].
///
/// # Errors
/// What is left after `limit`, what cannot be looked at, or what must not be killed from here.
pub fn end_what_others_left(mark: &str, but: &Bystanders, limit: Duration) -> Result<usize, String> {
    let begun = Instant::now();
    let end = begun + limit;
    let (mut found, mut empty) = (BTreeSet::new(), 0);
    loop {
        let left = Left::look(mark, but);
        let doomed = if left.others.is_empty() { &left.keepers } else { &left.others };
        empty = if doomed.is_empty() { empty + 1 } else { 0 };
        let hindrance = left.above.or(left.unseen);
        if empty >= EMPTY_ROUNDS && (hindrance.is_none() || begun.elapsed() >= HIDDEN_FOR) {
            return hindrance.map_or(Ok(found.len()), Err);
        }
        doomed.iter().copied().for_each(processes::kill);
        found.extend(doomed.iter().copied());
        if let Some((pid, _)) = doomed.first().filter(|_| Instant::now() >= end) {
            return Err(format!("process {pid}, which an earlier guard has started, cannot be killed"));
        }
        thread::sleep(Duration::from_millis(ROUND_MS));
    }
}

/// What is there at about one moment.
#[derive(Debug, Default)]
struct Left {
    keepers: BTreeSet<Identity>,
    others: BTreeSet<Identity>,
    /// This process descends from it, and would end with it.
    above: Option<String>,
    /// It may be anything.
    unseen: Option<String>,
}

impl Left {
    fn look(mark: &str, but: &Bystanders) -> Self {
        let snapshot = Snapshot::take();
        let own = own_pid();
        let line = snapshot.get(own).map_or_else(Vec::new, |process| snapshot.line(process));
        let line: BTreeSet<Identity> = line.iter().map(Process::identity).collect();
        let below: BTreeSet<Identity> = snapshot.below(own).into_iter().collect();
        let is_done_elsewhere = but.all_others(&snapshot);
        let mut left = Self::default();
        for process in snapshot.iter().filter(|process| !process.dead && process.pid != own) {
            let identity = process.identity();
            if is_done_elsewhere.contains(&identity) {
                continue;
            }
            let variables = match variables(process) {
                Ok(Some(variables)) => variables,
                Ok(None) => continue,
                // Nothing above this process is left by a guard unless it has the mark.
                Err(_) if line.contains(&identity) => continue,
                Err(why) => {
                    left.unseen = Some(why);
                    continue;
                }
            };
            if !has(&variables, GUARD_MARK, Some(mark)) {
                continue;
            }
            let is_above = line.contains(&identity);
            left.others.extend(
                snapshot.below(process.pid).into_iter().filter(|one| !is_above || !below.contains(one)),
            );
            if is_above {
                let name = processes::name(process.pid);
                left.above = Some(format!(
                    "process {} ({name}), which an earlier guard has started, has started this guard: end it, and have \
                     the guard started by something else",
                    process.pid
                ));
                continue;
            }
            let is_keeper = has(&variables, KEEPER_MARK, None);
            if is_keeper { &mut left.keepers } else { &mut left.others }.insert(identity);
        }
        let keepers = &left.keepers;
        left.others.retain(|process| !keepers.contains(process) && !line.contains(process));
        left
    }
}

/// True when a variable is there, with this value if that matters.
fn has(variables: &[u8], name: &str, value: Option<&str>) -> bool {
    variables.split(|byte| *byte == 0).any(|variable| {
        let rest = variable.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        rest.is_some_and(|rest| value.is_none_or(|value| rest == value.as_bytes()))
    })
}

/// The environment of a process; none of one that is gone, or that is another user's.
fn variables(process: &Process) -> Result<Option<Vec<u8>>, String> {
    let error = match environment(process.identity()) {
        Ok(variables) => return Ok(Some(variables)),
        Err(error) => error,
    };
    let (pid, uid) = (process.pid, geteuid().as_raw());
    let owner = fs::metadata(format!("/proc/{pid}")).map(|found| found.uid());
    // Root would see all; everybody else sees what is theirs.
    let would_be_seen = owner.is_ok_and(|owner| uid == 0 || owner == uid);
    let is_there = || processes::look(pid).is_some_and(|now| now.started == process.started && !now.dead);
    // What has ended, and what has no environment at all, such as a thread of the kernel, says so in the same words.
    let says_nothing = matches!(Errno::from_io_error(&error), Some(Errno::NOENT | Errno::SRCH));
    let hides = !says_nothing || processes::threads(pid).nth(1).is_some();
    if would_be_seen && hides && is_there() {
        return Err(format!("process {pid} ({}) cannot be looked at: {error}", processes::name(pid)));
    }
    Ok(None)
}
