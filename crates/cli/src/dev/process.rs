//! One process of a dev cluster.

use anyhow::{Context, Result, anyhow};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tokio::process::{Child, Command};

/// A process has this long to end in order.
const STOP_DEADLINE: Duration = Duration::from_secs(15);
/// Lines of a log that are shown when its process ended unexpectedly.
const TAIL_LINES: usize = 15;

/// A coordinator or agent, with its log.
pub(super) struct Process {
    pub(super) name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts this very program in another role.
    pub(super) fn start(role: &str, folder: &Path) -> Result<Self> {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = folder.join("log.txt");
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("opening {}", log.display()))?;
        let program = std::env::current_exe().context("finding this program")?;
        let mut command = Command::new(program);
        for (variable, _) in std::env::vars_os() {
            // What the user set for a real node must not reach these.
            if variable.to_string_lossy().starts_with("QUORATE_") {
                command.env_remove(variable);
            }
        }
        let child = command
            .arg(role)
            .arg("--config")
            .arg(folder.join("config.toml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            // Ctrl-c is for the parent, which ends its children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { name, log, child })
    }

    /// Kills it, as a power failure would.
    pub(super) async fn kill(&mut self) -> Result<()> {
        self.child.kill().await.with_context(|| format!("killing {}", self.name))
    }

    /// Asks it to end and waits; kills it when it takes too long.
    pub(super) async fn stop(&mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It may have ended by itself meanwhile.
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await.is_err() {
            eprintln!("{} did not end in time and is killed", self.name);
            if let Err(error) = self.kill().await {
                eprintln!("{error:#}");
            }
        }
    }

    /// Returns when it has ended, with the end of its log.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        let status = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n");
        anyhow!("{} ended ({status}); the end of {}:\n{tail}", self.name, self.log.display())
    }

    /// The error, when it has ended already.
    pub(super) async fn check(&mut self) -> Result<()> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(_) => Err(self.ended().await),
        }
    }
}
