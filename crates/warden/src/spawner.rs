//! The one thread that starts programs and writes records: both may wait for a disk, and the loop must not.

use crate::{
    cgroup::Cgroup,
    exec::Preparation,
    processes::{self, Identity},
    protocol::Hook,
    record::{Record, Records},
    search::MARK,
    wake::Waker,
};
use quorate_agent_core::guard::RunKey;
use quorate_domain::GroupId;
use rustix::{
    fd::OwnedFd,
    process::{Pid, PidfdFlags, pidfd_open},
};
use std::{
    io,
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

const STACK_BYTES: usize = 512 << 10;

/// A program to start.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) key: RunKey,
    pub(crate) hook: Hook,
    pub(crate) program: PathBuf,
    pub(crate) environment: Vec<(&'static str, String)>,
    pub(crate) preparation: Preparation,
    pub(crate) cgroup: Option<Cgroup>,
    /// What it writes is read; else it goes nowhere.
    pub(crate) output: bool,
    pub(crate) record: Record,
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) process: Identity,
    pub(crate) handle: OwnedFd,
    pub(crate) output: Option<[OwnedFd; 2]>,
}

/// One thing for the thread.
#[derive(Debug)]
enum Job {
    Start(Box<Order>),
    Note(Box<Record>),
    Strike(GroupId),
    Sweep(Cgroup),
}

/// What the thread did.
#[derive(Debug)]
pub(crate) enum Done {
    /// A program was started, or why not.
    Started(RunKey, Result<Child, String>),
    /// A record could not be written or removed.
    NotNoted(String),
}

/// The way to the thread. At most one order for each run of the window waits, and one record for each group.
#[derive(Debug)]
pub(crate) struct Spawner {
    jobs: Sender<Job>,
    pub(crate) done: Receiver<Done>,
}

impl Spawner {
    pub(crate) fn start(records: Records, waker: Waker) -> io::Result<Self> {
        let (jobs, waiting) = channel();
        let (tell, done) = channel();
        thread::Builder::new()
            .name("spawner".into())
            .stack_size(STACK_BYTES)
            .spawn(move || work(&records, &waiting, &tell, &waker))?;
        Ok(Self { jobs, done })
    }

    /// Starts a program; [`Done::Started`] answers.
    pub(crate) fn order(&self, order: Order) {
        self.job(Job::Start(Box::new(order)));
    }

    /// Writes a record.
    pub(crate) fn note(&self, record: Record) {
        self.job(Job::Note(Box::new(record)));
    }

    /// Removes a record.
    pub(crate) fn strike(&self, group: GroupId) {
        self.job(Job::Strike(group));
    }

    /// Removes a cgroup if nothing is in it.
    pub(crate) fn sweep(&self, cgroup: Cgroup) {
        self.job(Job::Sweep(cgroup));
    }

    fn job(&self, job: Job) {
        // The thread ends only with the process.
        let _ = self.jobs.send(job);
    }
}

fn work(records: &Records, waiting: &Receiver<Job>, tell: &Sender<Done>, waker: &Waker) {
    while let Ok(job) = waiting.recv() {
        let done = match job {
            Job::Start(order) => Some(Done::Started(order.key, start(records, *order))),
            Job::Note(record) => failed(records.write(&record), &record.group),
            Job::Strike(group) => failed(records.remove(&group), &group),
            Job::Sweep(cgroup) => {
                cgroup.remove();
                None
            }
        };
        if let Some(done) = done {
            if tell.send(done).is_err() {
                return;
            }
            waker.wake();
        }
    }
}

fn failed(result: io::Result<()>, group: &GroupId) -> Option<Done> {
    let error = result.err()?;
    Some(Done::NotNoted(format!("what is guarded of {group} cannot be noted in the state folder: {error}")))
}

fn start(records: &Records, mut order: Order) -> Result<Child, String> {
    if let Err(error) = records.write(&order.record) {
        // A service that nobody would find must not start; one that is to stop may.
        if order.hook == Hook::Promote {
            return Err(format!("it was not run, since it could not be noted in the state folder: {error}"));
        }
    }
    if let Some(cgroup) = &order.cgroup {
        cgroup.make().map_err(|error| format!("cannot make {}: {error}", cgroup.path().display()))?;
        order.preparation.door = Some(cgroup.door());
    }
    let pipe = || if order.output { Stdio::piped() } else { Stdio::null() };
    let mut child = Command::new("/proc/self/exe")
        .args(order.preparation.words())
        .arg(&order.program)
        .envs(order.environment.iter().map(|(name, value)| (name, value)))
        .env(MARK, &order.record.mark)
        .stdin(Stdio::null())
        .stdout(pipe())
        .stderr(pipe())
        .spawn()
        .map_err(|error| format!("cannot run {}: {error}", order.program.display()))?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| "its process has no number".to_owned())?;
    // Nobody else waits for it, so its number is its own until the loop has.
    let held = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from).and_then(|handle| {
        let process = processes::look(pid.as_raw_nonzero().get())?;
        let process = process.ok_or(rustix::io::Errno::SRCH)?;
        Ok((handle, process.identity()))
    });
    let (handle, process) = match held {
        Ok(held) => held,
        Err(error) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("cannot hold {}: {error}", order.program.display()));
        }
    };
    order.record.process = Some(process);
    // It is on record already, without its number.
    let _ = records.write(&order.record);
    let output = match (child.stdout.take(), child.stderr.take()) {
        (Some(out), Some(err)) => Some([OwnedFd::from(out), OwnedFd::from(err)]),
        _ => None,
    };
    Ok(Child { process, handle, output })
}
