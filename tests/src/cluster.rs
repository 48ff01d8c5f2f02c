//! A cluster of real processes: coordinators and agents of the `quorate` binary, children of the test.

mod config;
mod links;
pub mod members;
mod plan;
mod questions;

pub use links::{Links, crosses};
pub use plan::Plan;

use crate::{
    binary,
    faulty_disk::RULES_FILE,
    hung_clock, leftovers,
    loopback::{AGENT_PORT, API_PORT, Loopback},
    machine::Machine,
    probe::Probe,
    process::Process,
};
use anyhow::{Context, Result, bail, ensure};
use quorate_rpc::{Client, ClientOptions};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tempfile::TempDir;

/// How much of each log is shown when a test fails.
const TAIL_LINES: usize = 60;
/// When this is set, the folder with configurations, logs and data stays, for whoever looks into a failure.
const KEEP: &str = "QUORATE_TEST_KEEP";

/// Coordinators 1 to n and hosts h1 to hm. Everything is killed and removed when it is dropped, with wardens that go on without
/// their agents and what hooks have started; unless [`Cluster::finish`] was called before, the ends of all logs are printed.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    loopback: Loopback,
    folder: Option<TempDir>,
    coordinators: BTreeMap<u64, Process>,
    agents: BTreeMap<u64, Process>,
    links: Option<Links>,
    client: Client,
    finished: bool,
    /// Let go last.
    _machine: Machine,
}

impl Cluster {
    /// Starts all processes and waits until a leader decides and every host is online.
    ///
    /// # Errors
    /// When that does not come about.
    pub async fn start(plan: Plan) -> Result<Self> {
        let mut cluster = Self::prepare(plan).await?;
        cluster.start_all().await?;
        Ok(cluster)
    }

    /// Starts all processes of a prepared cluster, likewise.
    ///
    /// # Errors
    /// When that does not come about.
    pub async fn start_all(&mut self) -> Result<()> {
        for process in self.coordinators.values_mut() {
            process.start()?;
        }
        self.leader().await?;
        for process in self.agents.values_mut() {
            process.start()?;
        }
        self.wait_for_hosts().await
    }

    /// Writes all configurations and starts nothing.
    ///
    /// # Errors
    /// When the plan is not safe, the binary does not build or a folder cannot be made.
    pub async fn prepare(plan: Plan) -> Result<Self> {
        plan.timing.check()?;
        let program = tokio::task::spawn_blocking(binary::quorate).await??;
        let machine = Machine::take(plan.alone).await?;
        let folder = tempfile::Builder::new()
            .prefix("cluster-")
            .tempdir_in(binary::scratch()?)
            .context("could not make the cluster's folder")?;
        let loopback = Loopback::draw()?;
        let endpoints: Vec<_> =
            (1..=plan.coordinators).map(|id| format!("{}:{API_PORT}", loopback.coordinator(id))).collect();
        let client = Client::connect(&endpoints, ClientOptions::default())?;
        let mut cluster = Self {
            plan,
            loopback,
            folder: Some(folder),
            coordinators: BTreeMap::new(),
            agents: BTreeMap::new(),
            links: None,
            client,
            finished: false,
            _machine: machine,
        };
        cluster.write_configs(&program)?;
        if cluster.plan.linked {
            let agents = cluster.agents.iter().map(|(number, process)| (*number, process.pid_cell()));
            let agents = agents.collect();
            cluster.links = Some(Links::open(loopback, cluster.plan.coordinators, &agents).await?);
        }
        Ok(cluster)
    }

    fn write_configs(&mut self, program: &Path) -> Result<()> {
        let root = self.root();
        for id in 1..=self.plan.coordinators {
            let name = format!("c{id}");
            let text = config::coordinator(&self.plan, self.loopback, id, &root);
            let program = self.plan.faulty_program.as_deref().unwrap_or(program);
            let process = process("coordinator", &name, &root, program, &text)?;
            let process = process.with_env(RULES_FILE, self.disk_rules(id));
            self.coordinators.insert(id, process.with_env(hung_clock::FILE, self.hung_file(id)));
        }
        for number in 1..=self.plan.agents {
            let name = format!("h{number}");
            fs::create_dir_all(self.disk(number)).context("could not make a disk's folder")?;
            let text = config::agent(&self.plan, self.loopback, number, &root);
            self.agents.insert(number, process("agent", &name, &root, program, &text)?);
        }
        Ok(())
    }

    /// The folder of the cluster.
    pub fn root(&self) -> PathBuf {
        self.folder.as_ref().map_or_else(PathBuf::new, |folder| folder.path().to_owned())
    }

    /// What it was started with.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// A coordinator's process.
    ///
    /// # Panics
    /// When there is no such coordinator.
    pub fn coordinator(&mut self, id: u64) -> &mut Process {
        self.coordinators.get_mut(&id).expect("the test names a coordinator of its plan")
    }

    /// The processes of all coordinators.
    pub fn coordinators(&self) -> impl Iterator<Item = &Process> {
        self.coordinators.values()
    }

    /// An agent's process.
    ///
    /// # Panics
    /// When there is no such host.
    pub fn agent(&mut self, number: u64) -> &mut Process {
        self.agents.get_mut(&number).expect("the test names a host of its plan")
    }

    /// Where a coordinator keeps its data.
    pub fn data_dir(&self, id: u64) -> PathBuf {
        self.root().join(format!("c{id}"))
    }

    /// Tells the disk of a coordinator what to do from now on; nothing means no fault.
    ///
    /// # Errors
    /// When the plan has no such disks, or the rule cannot be written.
    pub fn set_disk_rule(&self, id: u64, rule: &str) -> Result<()> {
        ensure!(self.plan.faulty_program.is_some(), "the plan has no disks that break");
        let file = self.disk_rules(id);
        // In one piece: the disk reads it before every step.
        let new = file.with_extension("new");
        fs::write(&new, rule)
            .and_then(|()| fs::rename(&new, &file))
            .context("could not write the disk's rule")
    }

    /// Lets the thread hang that serves the clients and agents of a coordinator, or go on.
    ///
    /// # Errors
    /// When the plan has no such coordinators, or it cannot be told.
    pub fn hang_serving(&self, id: u64, hangs: bool) -> Result<()> {
        ensure!(self.plan.faulty_program.is_some(), "the plan has no coordinators that hang");
        let file = self.hung_file(id);
        let told = if hangs { fs::write(&file, "") } else { fs::remove_file(&file) };
        told.with_context(|| format!("could not change {}", file.display()))
    }

    fn hung_file(&self, id: u64) -> PathBuf {
        self.root().join(format!("c{id}.hangs"))
    }

    fn disk_rules(&self, id: u64) -> PathBuf {
        self.root().join(format!("c{id}.disk"))
    }

    /// The directory that stands for a host's only disk, `d1`.
    pub fn disk(&self, number: u64) -> PathBuf {
        self.root().join(format!("h{number}-d1"))
    }

    /// The configuration file of `c1`, `h1` and so on.
    pub fn config_file(&self, name: &str) -> PathBuf {
        self.root().join(format!("{name}.toml"))
    }

    /// Puts lines in front of a configuration: those before its first table, if it has any.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn configure(&self, name: &str, lines: &str) -> Result<()> {
        let file = self.config_file(name);
        let config = fs::read_to_string(&file).context("could not read a configuration")?;
        fs::write(&file, format!("{lines}{config}")).context("could not write a configuration")
    }

    /// Where an agent keeps its state.
    pub fn state_dir(&self, number: u64) -> PathBuf {
        self.root().join(format!("h{number}-state"))
    }

    /// Another process of the same binary, such as a second one on a folder that is in use.
    ///
    /// # Errors
    /// When the configuration cannot be written.
    pub async fn stranger(&self, role: &str, name: &str, config: &str) -> Result<Process> {
        let program = tokio::task::spawn_blocking(binary::quorate).await??;
        process(role, name, &self.root(), &program, config)
    }

    /// Another process of the same binary with these words, and a log under this name.
    ///
    /// # Errors
    /// When the binary does not build.
    pub async fn other(&self, name: &str, words: Vec<OsString>) -> Result<Process> {
        let program = tokio::task::spawn_blocking(binary::quorate).await??;
        Ok(self.foreign(name, program, words))
    }

    /// A process of another program with these words, and a log under this name.
    pub fn foreign(&self, name: &str, program: impl Into<PathBuf>, words: Vec<OsString>) -> Process {
        Process::new(name, program.into(), words, self.root().join(format!("{name}.log")))
    }

    /// The links between the coordinators and to their API.
    ///
    /// # Panics
    /// When the plan has none.
    pub fn links(&self) -> &Links {
        self.links.as_ref().expect("the test cuts links only where its plan has them")
    }

    /// A client of all coordinators.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A client of its own, with connections of its own.
    ///
    /// # Errors
    /// When an endpoint is not an address.
    pub fn new_client(&self, options: ClientOptions) -> Result<Client> {
        let endpoints = (1..=self.plan.coordinators).map(|id| self.api_address(id));
        Ok(Client::connect(endpoints, options)?)
    }

    /// Where a coordinator hears clients.
    pub fn api_address(&self, id: u64) -> String {
        format!("{}:{API_PORT}", self.loopback.coordinator(id))
    }

    /// Where an agent hears local processes.
    pub fn agent_address(&self, number: u64) -> String {
        format!("{}:{AGENT_PORT}", self.loopback.agent(number))
    }

    /// A probe of all agents.
    ///
    /// # Errors
    /// When an address is none.
    pub fn probe(&self) -> Result<Probe> {
        self.probe_of(1..=self.plan.agents)
    }

    /// A probe of some agents. A host that was asked owes it to whoever asked to wait out the deadline that it told,
    /// so a test of a prompt release leaves the releasing host alone.
    ///
    /// # Errors
    /// When an address is none.
    pub fn probe_of(&self, numbers: impl IntoIterator<Item = u64>) -> Result<Probe> {
        let agents = numbers.into_iter().map(|number| self.agent_address(number));
        Probe::start(&agents.collect::<Vec<_>>())
    }

    /// Ends a test well: every process that was not ended on purpose must still run, and all are stopped in order.
    ///
    /// # Errors
    /// When one had ended by itself, or does not end when it is asked to.
    pub async fn finish(mut self) -> Result<()> {
        self.stop_all().await?;
        self.finished = true;
        Ok(())
    }

    /// The same, for whoever has something to put away before the folder is removed by [`Cluster::finish`].
    ///
    /// # Errors
    /// The same.
    pub async fn stop_all(&mut self) -> Result<()> {
        let mut all: Vec<&mut Process> =
            self.agents.values_mut().chain(self.coordinators.values_mut()).collect();
        for process in &mut all {
            if process.should_run() && !process.is_alive()? {
                bail!("{} ended by itself", process.name());
            }
        }
        for process in all.into_iter().filter(|process| process.should_run()) {
            process.terminate()?;
            let status = process.ended(Duration::from_secs(20)).await?;
            ensure!(status.success(), "{} was asked to stop and ended with {status}", process.name());
        }
        Ok(())
    }

    fn print_tails(&self) {
        for process in self.coordinators.values().chain(self.agents.values()) {
            let said = process.said().unwrap_or_default();
            let lines: Vec<&str> = said.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            eprintln!("--- the last {} of {} lines of {}", tail.len(), lines.len(), process.name());
            for line in tail {
                eprintln!("{line}");
            }
        }
    }
}

fn process(role: &str, name: &str, root: &Path, program: &Path, config: &str) -> Result<Process> {
    let file = root.join(format!("{name}.toml"));
    fs::write(&file, config).with_context(|| format!("could not write {}", file.display()))?;
    let words = vec![role.into(), "--config".into(), file.into()];
    Ok(Process::new(name, program.to_owned(), words, root.join(format!("{name}.log"))))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if !self.finished {
            self.print_tails();
        }
        // An agent that still runs would start another warden.
        self.agents.clear();
        if let Some(folder) = &self.folder {
            let ended = leftovers::end(folder.path());
            ended.map_or_else(|error| eprintln!("--- something is left behind: {error:#}"), drop);
        }
        let kept = std::env::var_os(KEEP).is_some() || (self.plan.keep_on_failure && !self.finished);
        if kept && let Some(folder) = self.folder.take() {
            eprintln!("--- the cluster's folder is kept: {}", folder.keep().display());
        }
    }
}
