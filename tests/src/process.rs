//! A child process that is killed with the test.

use crate::wait::wait_until;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    env,
    ffi::OsString,
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

/// How long a signal may take to show its effect.
const EFFECT_DEADLINE: Duration = Duration::from_secs(10);

/// A program that can be started again and again with the same words; what it says is appended to one log.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: PathBuf,
    words: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Process {
    /// Describes a process; nothing is started.
    pub fn new(name: impl Into<String>, program: PathBuf, words: Vec<OsString>, log: PathBuf) -> Self {
        Self { name: name.into(), program, words, variables: Vec::new(), log, child: None }
    }

    /// The same, told something by an environment variable.
    #[must_use]
    pub fn with_env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// For people.
    pub fn name(&self) -> &str {
        &self.name
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
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let errors = log.try_clone().context("could not share the log")?;
        let started = command
            .args(&self.words)
            .stdin(Stdio::null())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(errors))
            .spawn();
        let child = started.with_context(|| format!("{} does not start", self.program.display()))?;
        self.child = Some(child);
        Ok(())
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

    /// kill -9; returns when it is gone.
    ///
    /// # Errors
    /// When it had ended by itself before.
    pub fn kill(&mut self) -> Result<()> {
        if !self.is_alive()? {
            bail!("{} was to be killed and had ended already", self.name);
        }
        let mut child = self.child.take().context("it is alive")?;
        child.kill().with_context(|| format!("could not kill {}", self.name))?;
        child.wait().with_context(|| format!("could not wait for {}", self.name))?;
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
        if status.is_err() {
            self.child = Some(child);
        }
        status
    }

    /// Everything that it has said since its first start.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn said(&self) -> Result<String> {
        let bytes = fs::read(&self.log).with_context(|| format!("could not read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let raw = i32::try_from(self.pid()?).context("a process id fits an i32")?;
        let pid = Pid::from_raw(raw).context("a process id is not zero")?;
        kill_process(pid, signal).with_context(|| format!("could not signal {}", self.name))
    }

    /// What the system says of it, from the state on: that follows the name, which is in parentheses and may hold
    /// anything.
    fn stat(&self) -> Result<Vec<String>> {
        let path = format!("/proc/{}/stat", self.pid()?);
        let stat = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
        let (_, fields) = stat.rsplit_once(')').with_context(|| format!("{path} has no name"))?;
        Ok(fields.split_whitespace().map(str::to_owned).collect())
    }

    fn expect_stopped(&self, wanted: bool) -> Result<()> {
        let stat = self.stat()?;
        let state = stat.first().map(String::as_str);
        ensure!((state == Some("T")) == wanted, "{} is in state {state:?}", self.name);
        Ok(())
    }
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
