//! Which group a process belongs to, by the mark that hooks are given in their environment. Read by a thread of its
//! own: the file waits for a process that hangs in the kernel.

use crate::{
    processes::{self, Identity},
    wake::Waker,
};
use std::{
    fs::File,
    io::{self, Read},
    sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    thread,
};

/// The variable that carries the mark.
pub(crate) const MARK: &str = "QUORATE_RUN";
/// The most searches that wait.
const SEARCHES_MAX: usize = 64;
/// The longest environment that is read.
const ENVIRONMENT_MAX_BYTES: u64 = 4 << 20;
const STACK_BYTES: usize = 256 << 10;

/// What to look for.
#[derive(Debug)]
enum Search {
    /// The marks of these processes.
    These(Vec<Identity>),
    /// Every process with a mark.
    All,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// The mark of a process, if it has one.
    Mark(Identity, Option<String>),
    /// Everything was looked at.
    All,
}

/// The way to the thread.
#[derive(Debug)]
pub(crate) struct Searcher {
    searches: SyncSender<Search>,
    pub(crate) found: Receiver<Found>,
}

impl Searcher {
    pub(crate) fn start(waker: Waker) -> io::Result<Self> {
        let (searches, wanted) = sync_channel(SEARCHES_MAX);
        let (tell, found) = channel();
        thread::Builder::new()
            .name("search".into())
            .stack_size(STACK_BYTES)
            .spawn(move || search(&wanted, &tell, &waker))?;
        Ok(Self { searches, found })
    }

    /// Asks for the marks of processes. False when the thread hangs on one: they stay unknown.
    pub(crate) fn look_at(&self, processes: Vec<Identity>) -> bool {
        processes.is_empty() || self.searches.try_send(Search::These(processes)).is_ok()
    }

    /// Asks for every process with a mark.
    pub(crate) fn look_at_all(&self) -> bool {
        self.searches.try_send(Search::All).is_ok()
    }
}

fn search(wanted: &Receiver<Search>, tell: &Sender<Found>, waker: &Waker) {
    while let Ok(search) = wanted.recv() {
        let said = match search {
            Search::These(processes) => {
                processes.into_iter().try_for_each(|process| tell.send(Found::Mark(process, mark(process))))
            }
            // What cannot be looked at is found below a root, or counts as lost.
            Search::All => processes::numbers()
                .unwrap_or_default()
                .into_iter()
                .filter_map(|pid| processes::look(pid).ok().flatten())
                .map(|process| process.identity())
                .filter_map(|process| mark(process).map(|mark| (process, mark)))
                .try_for_each(|(process, mark)| tell.send(Found::Mark(process, Some(mark))))
                .and_then(|()| tell.send(Found::All)),
        };
        if said.is_err() {
            return;
        }
        waker.wake();
    }
}

/// What a process was started with. Where its first thread has ended, another one tells.
///
/// # Errors
/// When it cannot be read, or the process is gone.
pub(crate) fn environment((pid, started): Identity) -> io::Result<Vec<u8>> {
    let told = match read(&format!("/proc/{pid}/environ")) {
        Ok(told) if !told.is_empty() => Ok(told),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
        first => by_other_threads(pid).unwrap_or(first),
    };
    // The number may have been used again meanwhile.
    let is_same = processes::look(pid)?.is_some_and(|process| process.started == started);
    if is_same { told } else { Err(io::ErrorKind::NotFound.into()) }
}

/// `None` where there are none.
fn by_other_threads(pid: i32) -> Option<io::Result<Vec<u8>>> {
    let mut last = None;
    let threads = match processes::threads(pid) {
        Ok(threads) => threads,
        Err(error) => return Some(Err(error)),
    };
    for thread in threads.into_iter().filter(|thread| *thread != pid) {
        match read(&format!("/proc/{pid}/task/{thread}/environ")) {
            // It has ended since, which says nothing of the others.
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => last = last.or(Some(Err(error))),
            Ok(told) if told.is_empty() => last = Some(Ok(told)),
            told => return Some(told),
        }
    }
    last
}

fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut environment = Vec::new();
    File::open(path)?.take(ENVIRONMENT_MAX_BYTES).read_to_end(&mut environment)?;
    Ok(environment)
}

fn mark(process: Identity) -> Option<String> {
    environment(process).ok()?.split(|byte| *byte == 0).find_map(|variable| {
        let (name, value) = std::str::from_utf8(variable).ok()?.split_once('=')?;
        (name == MARK).then(|| value.to_owned())
    })
}
