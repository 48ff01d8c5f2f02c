//! What guards of a group have left that are not there any more, or stand still: found by the mark that everything has which
//! they start, and below that. A keeper goes last: what it has started cannot leave it while it is there.

use super::{EMPTY_ROUNDS, ROUND_MS};
use crate::{
    processes::{self, Identity, Process, Snapshot, is_gone},
    record::boot,
    search::environment,
};
use quorate_agent_core::Seat;
use rustix::process::geteuid;
use std::{
    collections::BTreeSet,
    fs, io, process, thread,
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
    // What is not known is no clock that anybody else has.
    let boot = boot().unwrap_or_else(|_| format!("{:016x}", rand::random::<u64>()));
    Seat {
        uid,
        pid_namespace: namespace("pid"),
        user_namespace: namespace("user"),
        clock: format!("{boot} {}", namespace("time")),
        keeper_seal: String::new(),
    }
}

/// What descends from a process as it begins, and is none of its service's: such as the reader of its output, which the shell
/// has started that it was before.
#[derive(Debug, Clone, Default)]
pub struct Bystanders(BTreeSet<Identity>);

impl Bystanders {
    /// To be called before anything can fall to this process.
    ///
    /// # Errors
    /// When processes cannot be looked at.
    pub fn find() -> io::Result<Self> {
        let snapshot = Snapshot::take()?;
        if let Some(pid) = snapshot.hidden().first() {
            let why =
                format!("/proc does not show process {pid}, which this one has started (its option hidepid)");
            return Err(io::Error::other(why));
        }
        Ok(Self(snapshot.below(own_pid()).into_iter().collect()))
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

/// Nothing is left that has the mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How much was killed.
    pub killed: usize,
    /// What hides whether it has the mark: it may be anything.
    pub hidden: Option<String>,
}

/// Kills everything that other guards with this mark have started, until nothing is left. This guard may run nothing
/// meanwhile: what is below it and no bystander is for [`super::kill_what_is_left`].
///
/// # Errors
/// What is left after `limit`, what must not be killed from here, or that processes cannot be looked at.
pub fn end_what_others_left(mark: &str, but: &Bystanders, limit: Duration) -> Result<Ended, String> {
    let begun = Instant::now();
    let end = begun + limit;
    let (mut killed, mut empty) = (BTreeSet::new(), 0);
    loop {
        let left = Left::look(mark, but)
            .map_err(|error| format!("the processes of this machine cannot be looked at: {error}"))?;
        let doomed = if left.others.is_empty() { &left.keepers } else { &left.others };
        empty = if doomed.is_empty() { empty + 1 } else { 0 };
        let is_plain = left.above.is_none() && left.hidden.is_none();
        if empty >= EMPTY_ROUNDS && (is_plain || begun.elapsed() >= HIDDEN_FOR) {
            let ended = Ended { killed: killed.len(), hidden: left.hidden };
            return left.above.map_or(Ok(ended), Err);
        }
        doomed.iter().copied().for_each(processes::kill);
        killed.extend(doomed.iter().copied());
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
    hidden: Option<String>,
}

impl Left {
    fn look(mark: &str, but: &Bystanders) -> io::Result<Self> {
        let snapshot = Snapshot::take()?;
        let own = own_pid();
        let line = snapshot.get(own).map_or_else(Vec::new, |process| snapshot.line(process));
        let line: BTreeSet<Identity> = line.iter().map(Process::identity).collect();
        let below: BTreeSet<Identity> = snapshot.below(own).into_iter().collect();
        let is_done_elsewhere = but.all_others(&snapshot);
        let mut left = Self::default();
        let (mut of_others, mut hidden) = (BTreeSet::new(), Vec::new());
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
                    hidden.push((process, why));
                    continue;
                }
            };
            if !has(&variables, GUARD_MARK, Some(mark)) {
                if has(&variables, GUARD_MARK, None) {
                    of_others.insert(identity);
                }
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
        // What descends from the service of another group is of that one, and what is killed anyway hides nothing.
        let is_known = |process: &Process| {
            let is_doomed = left.others.contains(&process.identity());
            is_doomed || snapshot.line(process).iter().any(|one| of_others.contains(&one.identity()))
        };
        left.hidden = hidden.into_iter().find(|(process, _)| !is_known(process)).map(|(_, why)| why);
        Ok(left)
    }
}

/// True when a variable is there, with this value if that matters.
fn has(variables: &[u8], name: &str, value: Option<&str>) -> bool {
    variables.split(|byte| *byte == 0).any(|variable| {
        let rest = variable.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        rest.is_some_and(|rest| value.is_none_or(|value| rest == value.as_bytes()))
    })
}

/// The environment of a process; none of one that is gone, has none, or is another user's.
fn variables(process: &Process) -> Result<Option<Vec<u8>>, String> {
    let error = match environment(process.identity()) {
        Ok(variables) => return Ok(Some(variables)),
        Err(error) => error,
    };
    let pid = process.pid;
    // What has ended, and what has no environment at all, such as a thread of the kernel, says so in the same words.
    let hides = !is_gone(&error)
        || processes::threads(pid).map_or_else(|error| !is_gone(&error), |all| all.len() > 1);
    let is_there = || {
        processes::look(pid)
            .map_or(true, |now| now.is_some_and(|now| now.started == process.started && !now.dead))
    };
    if hides && may_be_ours(pid) && is_there() {
        return Err(format!("process {pid} ({}) cannot be looked at: {error}", processes::name(pid)));
    }
    Ok(None)
}

/// True for a process of this user, and for every one where this is root's. One that lets no other process look at it belongs
/// to root in `/proc`, and is its user's all the same.
fn may_be_ours(pid: i32) -> bool {
    let own = geteuid().as_raw();
    let status = fs::read(format!("/proc/{pid}/status")).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    own == 0 || users.is_none_or(|users| users.split_ascii_whitespace().any(|uid| uid == own.to_string()))
}
