//! A child process that is killed with the test.

use crate::{log_pipe::LogPipe, wait::wait_until};
use anyhow::{Context, Result, bail, ensure};
use rustix::{
    pipe::fcntl_getpipe_size,
    process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit},
};
use std::{
    env,
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, PipeReader, PipeWriter, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

/// How long a signal may take to show its effect.
const EFFECT_DEADLINE: Duration = Duration::from_secs(10);

/// The id of a process for whoever must know it across restarts; zero while it does not run.
#[derive(Debug, Clone, Default)]
pub struct PidCell(Arc<AtomicU32>);

impl PidCell {
    /// The id, while the process is supposed to run.
    pub fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Acquire)).filter(|pid| *pid != 0)
    }

    fn set(&self, pid: u32) {
        self.0.store(pid, Ordering::Release);
    }
}

/// Where what a process says goes.
#[derive(Debug)]
enum Stderr {
    /// To the end of its log.
    Log,
    /// To a file that is there already, such as `/dev/full`.
    File(PathBuf),
    /// Into a pipe that is full from the start and that nobody reads.
    Unread(Option<PipeReader>),
    /// Into a pipe that is read into the log, or not for a while.
    Pipe(Option<LogPipe>),
}

/// A program that can be started again and again with the same words; what it says is appended to one log.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    words: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    log: PathBuf,
    stderr: Stderr,
    child: Option<Child>,
    pid: PidCell,
}

impl Process {
    /// Describes a process; nothing is started.
    pub fn new(name: impl Into<String>, program: PathBuf, words: Vec<OsString>, log: PathBuf) -> Self {
        let (environment, pid) = (Vec::new(), PidCell::default());
        let stderr = Stderr::Log;
        Self { name: name.into(), program, words, environment, log, stderr, child: None, pid }
    }

    /// What it says goes to a file that is there already from its next start on, such as `/dev/full`.
    pub fn say_to(&mut self, file: impl Into<PathBuf>) {
        self.stderr = Stderr::File(file.into());
    }

    /// What it says goes into a full pipe that nobody reads, from its next start on.
    pub fn say_to_nobody(&mut self) {
        self.stderr = Stderr::Unread(None);
    }

    /// The end of the pipe that nobody has read so far.
    pub fn take_unread(&mut self) -> Option<PipeReader> {
        match &mut self.stderr {
            Stderr::Unread(reader) => reader.take(),
            Stderr::Log | Stderr::File(_) | Stderr::Pipe(_) => None,
        }
    }

    /// What it says goes to its log through a pipe, from its next start on: [`Process::stop_reading`] can leave it unread.
    pub fn say_through_a_pipe(&mut self) {
        self.stderr = Stderr::Pipe(None);
    }

    /// From now on nobody reads what it says, and its pipe is full.
    ///
    /// # Errors
    /// When it has no pipe, or that does not become full.
    pub fn stop_reading(&self) -> Result<()> {
        self.log_pipe()?.stop_reading()
    }

    /// Nobody has read what it says, and its pipe is still full.
    ///
    /// # Errors
    /// When there is room.
    pub fn expect_unread(&self) -> Result<()> {
        self.log_pipe()?.expect_unread()
    }

    /// What it says is read again.
    ///
    /// # Errors
    /// When it has no pipe.
    pub fn read_again(&self) -> Result<()> {
        self.log_pipe()?.read_again();
        Ok(())
    }

    fn log_pipe(&self) -> Result<&LogPipe> {
        match &self.stderr {
            Stderr::Pipe(Some(pipe)) => Ok(pipe),
            _ => bail!("{} says nothing through a pipe", self.name),
        }
    }

    /// Runs another program from the next start on, with the same words and these variables.
    pub fn set_program(&mut self, program: PathBuf, environment: Vec<(OsString, OsString)>) {
        self.program = program;
        self.environment = environment;
    }

    /// Where its process id can be read, whoever starts it again.
    pub fn pid_cell(&self) -> PidCell {
        self.pid.clone()
    }

    /// The same, told something by an environment variable.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.set_env(name, value);
        self
    }

    /// Tells it something by an environment variable, from its next start on.
    pub fn set_env(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.environment.push((name.into(), value.into()));
    }

    /// For people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it with more words, this once.
    ///
    /// # Errors
    /// When it runs already or does not start.
    pub fn start_with(&mut self, more: &[&str]) -> Result<()> {
        let usual = self.words.len();
        self.words.extend(more.iter().map(OsString::from));
        let started = self.start();
        self.words.truncate(usual);
        started
    }

    /// Starts it.
    ///
    /// # Errors
    /// When it runs already or does not start.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("could not open {}", self.log.display()))?;
        let mut command = Command::new(&self.program);
        // What this shell was told about Quorate is not meant for the processes under test.
        for (variable, _) in env::vars_os() {
            if variable.to_string_lossy().starts_with("QUORATE_") {
                command.env_remove(variable);
            }
        }
        let errors = match &mut self.stderr {
            Stderr::Log => Stdio::from(log.try_clone().context("could not share the log")?),
            Stderr::File(file) => {
                let opened = OpenOptions::new().append(true).open(&*file);
                Stdio::from(opened.with_context(|| format!("could not open {}", file.display()))?)
            }
            Stderr::Unread(kept) => {
                let (reader, writer) = full_pipe()?;
                *kept = Some(reader);
                Stdio::from(writer)
            }
            Stderr::Pipe(kept) => {
                let (pipe, writer) = LogPipe::into_log(log.try_clone().context("could not share the log")?)?;
                *kept = Some(pipe);
                Stdio::from(writer)
            }
        };
        let started = command
            .args(&self.words)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::from(log))
            .stderr(errors)
            .spawn();
        let child = started.with_context(|| format!("{} does not start", self.program.display()))?;
        self.pid.set(child.id());
        self.child = Some(child);
        Ok(())
    }

    /// The processes that it has started itself and that have not ended.
    ///
    /// # Errors
    /// When it does not run.
    pub fn children(&self) -> Result<Vec<Pid>> {
        let own = i64::from(self.pid()?);
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields: Vec<&str> =
                stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace().collect();
            if fields.get(1).is_some_and(|parent| parent.parse() == Ok(own)) && fields.first() != Some(&"Z") {
                found.extend(Pid::from_raw(pid));
            }
        }
        Ok(found)
    }

    /// Its process id, while it is supposed to run.
    ///
    /// # Errors
    /// When it was not started or was ended.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.child.as_ref().with_context(|| format!("{} does not run", self.name))?.id())
    }

    /// The time that it has spent on processors since it was started.
    ///
    /// # Errors
    /// When it does not run.
    pub fn cpu_time(&self) -> Result<Duration> {
        let stat = self.stat()?;
        // Fields 14 and 15 of the whole line, in ticks; the first one here is the third.
        let ticks: u64 = stat.iter().skip(11).take(2).map(|field| field.parse().unwrap_or(0)).sum();
        Ok(Duration::from_secs(ticks) / u32::try_from(rustix::param::clock_ticks_per_second())?)
    }

    /// True when it was started and neither we nor anything else ended it.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn is_alive(&mut self) -> Result<bool> {
        match &mut self.child {
            Some(child) => Ok(child.try_wait().context("could not ask for the child")?.is_none()),
            None => Ok(false),
        }
    }

    /// True when it was started and not ended by us since.
    pub fn should_run(&self) -> bool {
        self.child.is_some()
    }

    /// kill -9; returns when it is gone, and that it was this signal that ended it is checked.
    ///
    /// # Errors
    /// When it had ended by itself before.
    pub fn kill(&mut self) -> Result<()> {
        if !self.is_alive()? {
            bail!("{} was to be killed and had ended already", self.name);
        }
        let mut child = self.child.take().context("it is alive")?;
        child.kill().with_context(|| format!("could not kill {}", self.name))?;
        let status = child.wait().with_context(|| format!("could not wait for {}", self.name))?;
        self.pid.set(0);
        let killed = status.signal() == Some(Signal::KILL.as_raw());
        ensure!(killed, "{} was to be killed and ended with {status}", self.name);
        Ok(())
    }

    /// SIGSTOP; returns when it stands still.
    ///
    /// # Errors
    /// When it does not stand still.
    pub async fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)?;
        wait_until("the process stands still", EFFECT_DEADLINE, async || self.expect_stopped(true)).await
    }

    /// SIGCONT; returns when it goes on.
    ///
    /// # Errors
    /// When it does not go on.
    pub async fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)?;
        wait_until("the process goes on", EFFECT_DEADLINE, async || self.expect_stopped(false)).await
    }

    /// From now on it can open nothing more: what is open stays open. Gives back the limit that it had.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn take_descriptors(&self) -> Result<Rlimit> {
        // It has the hard limit that this process has.
        self.set_descriptors(Rlimit { current: Some(0), ..getrlimit(Resource::Nofile) })
    }

    /// Limits its descriptors from now on; gives back the limit that it had.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn set_descriptors(&self, limit: Rlimit) -> Result<Rlimit> {
        prlimit(Some(self.system_pid()?), Resource::Nofile, limit)
            .with_context(|| format!("could not limit the descriptors of {}", self.name))
    }

    /// SIGTERM; does not wait.
    ///
    /// # Errors
    /// When it does not run.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Waits until it has ended by itself, and tells how.
    ///
    /// # Errors
    /// When it still runs after the deadline.
    pub async fn ended(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let mut child = self.child.take().with_context(|| format!("{} does not run", self.name))?;
        let what = format!("{} ends", self.name);
        let status = wait_until(&what, deadline, async || child.try_wait()?.context("it still runs")).await;
        match &status {
            Ok(_) => self.pid.set(0),
            Err(_) => self.child = Some(child),
        }
        status
    }

    /// Everything that it has said since its first start.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn said(&self) -> Result<String> {
        if let Stderr::Pipe(Some(pipe)) = &self.stderr {
            pipe.catch_up()?;
        }
        let bytes = fs::read(&self.log).with_context(|| format!("could not read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Sends it a signal; does not wait.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.system_pid()?, signal).with_context(|| format!("could not signal {}", self.name))
    }

    fn system_pid(&self) -> Result<Pid> {
        let raw = i32::try_from(self.pid()?).context("a process id fits an i32")?;
        Pid::from_raw(raw).context("a process id is not zero")
    }

    /// What the system says of it, from the state on: that follows the name, which is in parentheses and may hold
    /// anything.
    fn stat(&self) -> Result<Vec<String>> {
        let path = format!("/proc/{}/stat", self.pid()?);
        let stat = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
        let (_, fields) = stat.rsplit_once(')').with_context(|| format!("{path} has no name"))?;
        Ok(fields.split_whitespace().map(str::to_owned).collect())
    }

    /// The state that the system knows it in: `T` while it is stopped.
    ///
    /// # Errors
    /// When it does not run.
    pub fn state(&self) -> Result<String> {
        self.stat()?.into_iter().next().context("the system tells no state")
    }

    fn expect_stopped(&self, wanted: bool) -> Result<()> {
        let state = self.state()?;
        ensure!((state == "T") == wanted, "{} is in state {state}", self.name);
        Ok(())
    }
}

/// A pipe that takes no byte before it is read.
fn full_pipe() -> Result<(PipeReader, PipeWriter)> {
    let (reader, mut writer) = io::pipe().context("no pipe")?;
    let room = fcntl_getpipe_size(&writer).context("the size of the pipe")?;
    writer.write_all(&vec![b'.'; room]).context("filling the pipe")?;
    Ok((reader, writer))
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be gone already; either way nothing is left behind.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
