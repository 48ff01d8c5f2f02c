//! What `/proc` tells of processes. Only files are read that do not wait for the process: `environ` may, see
//! [`crate::search`].

use rustix::{
    fd::OwnedFd,
    io::Errno,
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
};

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) session: i32,
    /// When it started, in ticks since boot: with the number it names one process for good.
    pub(crate) started: u64,
    /// All its threads have ended, and nobody has asked for how. One whose first thread alone has ended looks the same but for
    /// the count of them, and runs.
    pub(crate) dead: bool,
}

/// Names one process for good.
pub(crate) type Identity = (i32, u64);

impl Process {
    pub(crate) fn identity(&self) -> Identity {
        (self.pid, self.started)
    }
}

/// A process as it is now; `None` when it is gone, or another user's on a machine where those show nothing.
///
/// # Errors
/// When it cannot be looked at, such as for want of descriptors: it may be there.
pub(crate) fn look(pid: i32) -> io::Result<Option<Process>> {
    let stat = match fs::read(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat,
        Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
        Err(error) => return Err(error),
    };
    // A name may be any bytes.
    parse(pid, &String::from_utf8_lossy(&stat))
        .map(Some)
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat is not understood")))
}

/// A file of `/proc` says so of a process.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::SRCH))
}

/// What it is called, for people.
pub(crate) fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned())
}

/// The name is in parentheses and may hold anything, these too.
fn parse(pid: i32, stat: &str) -> Option<Process> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first one here is field 3 of the whole line. The state is that of the first thread, which is counted until all have ended.
    let threads: u32 = fields.get(17)?.parse().ok()?;
    Some(Process {
        pid,
        dead: matches!(*fields.first()?, "Z" | "X") && threads <= 1,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// Every number of a thread of a process.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn threads(pid: i32) -> io::Result<Vec<i32>> {
    numbers_in(&format!("/proc/{pid}/task"))
}

/// Every number of a process.
///
/// # Errors
/// When they cannot be read.
pub(crate) fn numbers() -> io::Result<Vec<i32>> {
    numbers_in("/proc")
}

fn numbers_in(folder: &str) -> io::Result<Vec<i32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(numbers)
}

/// The children of this process, those too that `/proc` shows to nobody else (its option `hidepid`); empty where the kernel
/// does not tell.
fn own_children() -> io::Result<BTreeSet<i32>> {
    let mut children = BTreeSet::new();
    for thread in numbers_in("/proc/self/task")? {
        match fs::read_to_string(format!("/proc/self/task/{thread}/children")) {
            Ok(text) => {
                let pids = text.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
                children.extend(pids);
            }
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(children)
}

/// All processes at about one moment: what is not in it was not there, unless something is hidden.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    by_pid: BTreeMap<i32, Process>,
    hidden: Vec<i32>,
}

impl Snapshot {
    /// Looks at all of them.
    ///
    /// # Errors
    /// When that cannot be done, such as for want of descriptors: then nothing is known to be gone.
    pub(crate) fn take() -> io::Result<Self> {
        let children = own_children()?;
        let mut by_pid = BTreeMap::new();
        for pid in numbers()? {
            by_pid.extend(look(pid)?.map(|process| (pid, process)));
        }
        let unseen: Vec<i32> = children.into_iter().filter(|child| !by_pid.contains_key(child)).collect();
        let hidden = if unseen.is_empty() {
            unseen
        } else {
            // One that has ended meanwhile is a child no more.
            let still = own_children()?;
            unseen.into_iter().filter(|child| still.contains(child)).collect()
        };
        Ok(Self { by_pid, hidden })
    }

    /// Children of this process that `/proc` does not show. What descends from them may be hidden too; what is hidden anywhere
    /// below this process, which is the subreaper of all that, becomes such a child once what is shown above it is gone.
    pub(crate) fn hidden(&self) -> &[i32] {
        &self.hidden
    }

    #[cfg(test)]
    pub(crate) fn of(processes: &[Process]) -> Self {
        let by_pid = processes.iter().map(|process| (process.pid, *process)).collect();
        Self { by_pid, hidden: Vec::new() }
    }

    pub(crate) fn get(&self, pid: i32) -> Option<&Process> {
        self.by_pid.get(&pid)
    }

    pub(crate) fn is_alive(&self, (pid, started): Identity) -> bool {
        self.get(pid).is_some_and(|process| process.started == started && !process.dead)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Process> {
        self.by_pid.values()
    }

    /// Everything that lives and descends from a process, without it.
    pub(crate) fn below(&self, pid: i32) -> Vec<Identity> {
        let descends =
            |process: &&Process| self.line(process).iter().skip(1).any(|ancestor| ancestor.pid == pid);
        let living = self.iter().filter(|process| !process.dead && process.pid != pid);
        living.filter(descends).map(Process::identity).collect()
    }

    /// The process and its ancestors, nearest first.
    pub(crate) fn line(&self, process: &Process) -> Vec<Process> {
        let mut line = vec![*process];
        // Numbers may have been used again while the snapshot was taken: a circle must not hold us.
        while let Some(parent) = line.last().and_then(|last| self.get(last.parent))
            && !line.contains(parent)
        {
            line.push(*parent);
        }
        line
    }
}

/// A handle on that very process; `None` when it is gone, or there is no descriptor for it.
pub(crate) fn hold((pid, started): Identity) -> Option<OwnedFd> {
    let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
    // The number may have been used again before the handle was taken, and cannot be afterwards.
    look(pid).ok().flatten().filter(|found| found.started == started).map(|_| handle)
}

/// Kills a child of this process, whose number is its own until this process has waited for it.
pub(crate) fn kill_child(pid: i32) {
    let handle = Pid::from_raw(pid).ok_or(Errno::SRCH).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
    if let Ok(handle) = handle {
        // It may be gone by now, or another user's.
        let _ = pidfd_send_signal(handle, Signal::KILL);
    }
}

/// Kills that very process.
pub(crate) fn kill(identity: Identity) {
    if let Some(handle) = hold(identity) {
        // It may be gone by now, which is what was wanted.
        let _ = pidfd_send_signal(handle, Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_hides_nothing() {
        let stat = "12 (a) S (b) R 7 12 9 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        let expected = Process { pid: 12, parent: 7, session: 9, started: 4_711, dead: false };
        assert_eq!(parse(12, stat), Some(expected));
        assert!(parse(1, "1 (x) Z 0 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 1 0 5").unwrap().dead);
        assert_eq!(parse(1, "nonsense"), None);
    }

    #[test]
    fn a_process_of_which_only_the_first_thread_has_ended_is_alive() {
        let stat = |state: &str, threads: u32| {
            let line = format!("12 (a) {state} 7 12 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 4711");
            parse(12, &line).unwrap().dead
        };
        assert!(!stat("Z", 2) && !stat("S", 1));
        assert!(stat("Z", 1) && stat("X", 0));
    }

    #[test]
    fn ancestors_are_found_to_the_first_and_a_circle_ends() {
        let process = |pid, parent| Process { pid, parent, session: pid, started: 1, dead: false };
        let all = Snapshot::of(&[
            process(1, 0),
            process(2, 1),
            process(3, 2),
            process(4, 1),
            process(8, 9),
            process(9, 8),
        ]);
        let line =
            |pid| all.line(all.get(pid).unwrap()).iter().map(|process| process.pid).collect::<Vec<_>>();
        assert_eq!(line(3), [3, 2, 1]);
        assert_eq!(line(8), [8, 9]);
        assert_eq!(all.below(2), [(3, 1)]);
        assert_eq!(all.below(1), [(2, 1), (3, 1), (4, 1)]);
        assert_eq!(all.below(9), [(8, 1)]);
    }

    #[test]
    fn a_process_whose_name_is_no_text_is_seen() {
        let name = [0xff, 0xfe, b')', b' ', 0x80];
        let named = std::thread::spawn(move || {
            fs::write("/proc/thread-self/comm", name).unwrap();
            let link = fs::read_link("/proc/thread-self").unwrap();
            let thread: i32 = link.file_name().unwrap().to_str().unwrap().parse().unwrap();
            look(thread).unwrap().map(|found| found.pid == thread)
        });
        assert_eq!(named.join().unwrap(), Some(true));
    }

    #[test]
    fn this_process_is_found_with_its_start() {
        let own = look(i32::try_from(std::process::id()).unwrap()).unwrap().unwrap();
        assert!(Snapshot::take().unwrap().is_alive(own.identity()));
        assert!(hold(own.identity()).is_some());
        assert!(hold((own.pid, own.started + 1)).is_none(), "another process of that number");
    }
}
