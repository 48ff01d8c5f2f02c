//! The containers of one run: the product's own compose file under a project of their own.

use super::{
    docker::{self, Container, Said, containers, must},
    image::{IMAGE, root},
};
use crate::{timing::Timing, wait::wait_until};
use anyhow::{Context, Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write},
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// The compose project; whoever else runs Quorate here is left alone.
pub(super) const PROJECT: &str = "quorate-test";
/// Published on another loopback address than a user's own stack.
const PUBLISH: &str = "127.0.0.2";
const CONTROL: &str = "control";
/// How long something may take to stand in a log, or to be what a health check says.
const SAID: Duration = Duration::from_secs(30);
/// A container beside the stack that takes an address from it.
pub(super) const SQUATTER: &str = "quorate-test-squatter";

/// A service of the compose file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Node {
    Coordinator(u64),
    Agent(u64),
}

impl Node {
    /// Its port for whoever asks it.
    pub(super) fn port(self) -> u16 {
        match self {
            Self::Coordinator(_) => 7401,
            Self::Agent(_) => 7402,
        }
    }

    /// Where the compose file publishes the port of a coordinator on this machine; nothing is published of agents.
    pub(super) fn published(self) -> Option<String> {
        match self {
            Self::Coordinator(id) => Some(format!("{PUBLISH}:{}", 7401 + 10 * id)),
            Self::Agent(_) => None,
        }
    }

    /// The volumes of the compose file that it has.
    pub(super) fn volumes(self) -> Vec<String> {
        match self {
            Self::Coordinator(_) => vec![format!("{PROJECT}_{self}")],
            Self::Agent(_) => vec![format!("{PROJECT}_{self}"), format!("{PROJECT}_{self}-d1")],
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator(id) => write!(f, "coordinator-{id}"),
            Self::Agent(number) => write!(f, "agent-{number}"),
        }
    }
}

/// Three coordinators and three agents, or five and five.
#[derive(Debug)]
pub(super) struct Stack {
    size: u64,
    /// The coordinators that are members at present.
    members: Mutex<BTreeSet<Node>>,
    folder: PathBuf,
    compose: Vec<&'static str>,
}

impl Stack {
    /// Describes a stack of `size` coordinators and as many agents; nothing is started. What an earlier run left behind
    /// is removed.
    ///
    /// # Errors
    /// When there is no engine, or the folder cannot be written.
    pub(super) async fn prepare(size: u64, folder: &Path) -> Result<Self> {
        let compose = docker::compose_command().await?;
        let stack = Self { size, members: Mutex::default(), folder: folder.to_owned(), compose };
        fs::write(stack.overrides(), override_file(&Timing::steady()))
            .context("writing the override file")?;
        stack.remove().await.context("removing what an earlier run left behind")?;
        Ok(stack)
    }

    /// How many coordinators there are to begin with, and how many agents.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The coordinators that are members at present.
    pub(super) fn coordinators(&self) -> Vec<Node> {
        self.members().iter().copied().collect()
    }

    /// A coordinator has become a member.
    pub(super) fn joined(&self, node: Node) {
        self.members().insert(node);
    }

    /// A coordinator is no member any more.
    pub(super) fn left(&self, node: Node) {
        self.members().remove(&node);
    }

    fn members(&self) -> MutexGuard<'_, BTreeSet<Node>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn agents(&self) -> Vec<Node> {
        (1..=self.size).map(Node::Agent).collect()
    }

    pub(super) fn nodes(&self) -> Vec<Node> {
        [self.coordinators(), self.agents()].concat()
    }

    fn overrides(&self) -> PathBuf {
        self.folder.join("override.yml")
    }

    fn more_overrides(&self) -> PathBuf {
        self.folder.join("more.yml")
    }

    /// Overrides more of the compose file from now on; nothing means no more than the times.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn override_with(&self, text: &str) -> Result<()> {
        let file = self.more_overrides();
        match text {
            "" if file.exists() => fs::remove_file(&file),
            "" => Ok(()),
            text => fs::write(&file, text),
        }
        .with_context(|| format!("writing {}", file.display()))
    }

    /// Calls compose as a user would, who has set the variables of the file's head comment.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub(super) async fn compose(&self, words: &[&str]) -> Result<String> {
        self.compose_with(words, &[]).await
    }

    /// The same with more variables.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub(super) async fn compose_with(&self, words: &[&str], variables: &[(&str, String)]) -> Result<String> {
        let root = root().canonicalize().context("the workspace")?;
        let path = |name: &str| root.join(name).to_string_lossy().into_owned();
        let (base, overrides) = (path("docker-compose.yml"), self.overrides().to_string_lossy().into_owned());
        let (directory, five) = (root.to_string_lossy().into_owned(), path("deploy/five.env"));
        let mut all = self.compose.clone();
        all.extend(["-p", PROJECT, "--project-directory", &directory, "-f", &base, "-f", &overrides]);
        let more = self.more_overrides();
        let more_file = more.to_string_lossy();
        if more.exists() {
            all.extend(["-f", &more_file]);
        }
        if self.size == 5 {
            all.extend(["--env-file", &five, "--profile", "five"]);
        }
        all.extend(words);
        let own = [
            ("QUORATE_IMAGE", IMAGE.to_owned()),
            ("QUORATE_PUBLISH", PUBLISH.to_owned()),
            // Of its own, so that nothing else that listens on this machine is taken for it.
            ("QUORATE_CLUSTER_ID", PROJECT.to_owned()),
        ];
        let said = docker::run(&all, None, &[&own[..], variables].concat()).await?;
        let shown = words.join(" ");
        ensure!(said.code == Some(0), "`compose {shown}` ended with {:?}: {}", said.code, said.stderr);
        Ok(said.stdout)
    }

    /// Starts these services and none that they depend on, also those that the size of this stack does not have.
    ///
    /// # Errors
    /// When compose fails.
    pub(super) async fn start(&self, nodes: &[Node]) -> Result<()> {
        let services: Vec<String> = nodes.iter().map(ToString::to_string).collect();
        let mut words = vec!["--profile", "five", "up", "--detach", "--no-build", "--no-deps"];
        words.extend(services.iter().map(String::as_str));
        self.compose(&words).await?;
        Ok(())
    }

    /// Every container, by service.
    ///
    /// # Errors
    /// When the engine does not say.
    pub(super) async fn containers(&self) -> Result<BTreeMap<String, Container>> {
        containers(PROJECT).await
    }

    /// One container.
    ///
    /// # Errors
    /// When there is none.
    pub(super) async fn container(&self, node: Node) -> Result<Container> {
        self.containers().await?.remove(&node.to_string()).with_context(|| format!("{node} has no container"))
    }

    /// Where the nodes are asked on the control network, those that have an address; it changes when a container is made
    /// anew.
    ///
    /// # Errors
    /// When the engine does not say.
    pub(super) async fn addresses(&self) -> Result<BTreeMap<Node, String>> {
        let containers = self.containers().await?;
        let address = |node: Node| {
            let address = containers.get(&node.to_string())?.addresses.get(CONTROL)?;
            Some((node, address.clone()))
        };
        Ok(self.nodes().into_iter().filter_map(address).collect())
    }

    /// The network that everything but storage goes through.
    pub(super) fn control_network() -> String {
        format!("{PROJECT}_{CONTROL}")
    }

    /// Removes containers, networks and volumes; who comes next finds those members that there are to begin with.
    ///
    /// # Errors
    /// When something is left.
    pub(super) async fn remove(&self) -> Result<()> {
        // It is there only if a scenario ended halfway; the networks do not go before it.
        docker::run(&["docker", "rm", "--force", SQUATTER], None, &[]).await?;
        if let Err(error) = self.down().await {
            // An engine may keep an endpoint of a container that it has removed, and then no network goes.
            let kept = docker::free_networks(PROJECT).await?;
            if kept.is_empty() {
                return Err(error);
            }
            println!("engine: it has kept endpoints of removed containers: {}", kept.join(", "));
            self.down().await?;
        }
        *self.members() = (1..=self.size).map(Node::Coordinator).collect();
        Ok(())
    }

    async fn down(&self) -> Result<()> {
        // Both profiles' at once: an earlier run may have been of the other size.
        let words = ["--profile", "five", "down", "--volumes", "--remove-orphans", "--timeout", "3"];
        self.compose(&words).await.map(drop)
    }

    /// Where its logs are kept, if they are.
    pub(super) fn logs(&self) -> PathBuf {
        self.folder.join(format!("logs-of-{}", self.size))
    }

    /// Writes what the engine knows of every container into that folder.
    ///
    /// # Errors
    /// When that cannot be written.
    pub(super) async fn keep_logs(&self) -> Result<()> {
        let folder = self.logs();
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let containers = self.containers().await?;
        let mut overview = String::new();
        for (service, container) in &containers {
            let _ = writeln!(overview, "{container:?}");
            let said = docker::run(&["docker", "logs", "--timestamps", &container.id], None, &[]).await?;
            let file = folder.join(format!("{service}.log"));
            fs::write(&file, said.stdout + &said.stderr)
                .with_context(|| format!("writing {}", file.display()))?;
        }
        fs::write(folder.join("containers.txt"), overview).context("writing containers.txt")
    }

    /// Runs a program in a container.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(super) async fn exec(&self, node: Node, words: &[&str]) -> Result<Said> {
        let container = self.container(node).await?;
        docker::run(&[&["docker", "exec", &container.id], words].concat(), None, &[]).await
    }

    /// What the health check of the image says in a container at this moment.
    ///
    /// # Errors
    /// When it cannot be run.
    pub(super) async fn healthcheck(&self, node: Node) -> Result<Said> {
        self.exec(node, &["quorate", "healthcheck"]).await
    }

    /// Everything that a container has said since it was made.
    ///
    /// # Errors
    /// When the engine does not say.
    pub(super) async fn log(&self, node: Node) -> Result<String> {
        let container = self.container(node).await?;
        let said = docker::run(&["docker", "logs", &container.id], None, &[]).await?;
        Ok(said.stdout + &said.stderr)
    }

    /// The last line of a container's log that has these words.
    ///
    /// # Errors
    /// When it does not come in time.
    pub(super) async fn says(&self, node: Node, words: &str) -> Result<String> {
        wait_until(&format!("{node} says {words:?}"), SAID, async || {
            let said = self.log(node).await?;
            let line = said.lines().rev().find(|line| line.contains(words));
            line.map(str::to_owned).with_context(|| format!("it says:\n{said}"))
        })
        .await
    }

    /// The same of a container that ends by itself with the exit code of a failure, whenever the engine starts it.
    ///
    /// # Errors
    /// When it goes on, or does not say so.
    pub(super) async fn ends_saying(&self, node: Node, words: &str) -> Result<String> {
        wait_until(&format!("{node} ends by itself"), SAID, async || {
            let container = self.container(node).await?;
            ensure!(container.restarts > 0 && container.exit_code == 1, "{container:?}");
            Ok(())
        })
        .await?;
        self.says(node, words).await
    }

    /// Makes a volume of the compose file before compose does; where its files are on this machine.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(super) async fn make_volume(&self, volume: &str) -> Result<PathBuf> {
        let short = volume.strip_prefix(PROJECT).unwrap_or(volume).trim_start_matches('_');
        let labels =
            [format!("com.docker.compose.project={PROJECT}"), format!("com.docker.compose.volume={short}")];
        must(&["docker", "volume", "create", "--label", &labels[0], "--label", &labels[1], volume]).await?;
        mountpoint(volume).await
    }

    /// Waits until the health check of a container ends with this code; what it says then.
    ///
    /// # Errors
    /// When it does not in time.
    pub(super) async fn checked(&self, node: Node, code: i32) -> Result<Said> {
        wait_until(&format!("the health check of {node} ends with {code}"), SAID, async || {
            let checked = self.healthcheck(node).await?;
            ensure!(checked.code == Some(code), "{checked:?}");
            Ok(checked)
        })
        .await
    }

    /// Lets a container stand still, as a machine does that is suspended.
    ///
    /// # Errors
    /// When the engine refuses, or does not call it paused then.
    pub(super) async fn pause(&self, node: Node) -> Result<()> {
        must(&["docker", "pause", &self.container(node).await?.id]).await?;
        let frozen = self.container(node).await?.status;
        ensure!(frozen == "paused", "{node} is {frozen}");
        Ok(())
    }

    /// Lets a container that stands still go on.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(super) async fn unpause(&self, node: Node) -> Result<()> {
        must(&["docker", "unpause", &self.container(node).await?.id]).await?;
        Ok(())
    }

    /// Ends the processes of a container at once, as a power failure would.
    ///
    /// # Errors
    /// When the engine refuses.
    pub(super) async fn kill(&self, node: Node) -> Result<()> {
        let container = self.container(node).await?;
        must(&["docker", "kill", "--signal", "KILL", &container.id]).await?;
        Ok(())
    }
}

/// Where the files of a volume are on this machine.
///
/// # Errors
/// When there is no such volume.
pub(super) async fn mountpoint(volume: &str) -> Result<PathBuf> {
    let told = must(&["docker", "volume", "inspect", "--format", "{{.Mountpoint}}", volume]).await?;
    Ok(told.trim().into())
}

/// The times of tests, for every service of the compose file.
fn override_file(timing: &Timing) -> String {
    let lease = &timing.lease;
    let coordinator = [
        ("RAFT_HEARTBEAT_MS", timing.raft_heartbeat_ms),
        ("RAFT_ELECTION_MIN_MS", timing.election_min_ms),
        ("RAFT_ELECTION_MAX_MS", timing.election_max_ms),
        ("LEASE_HEARTBEAT_MS", lease.heartbeat_ms),
        ("LEASE_LEASE_MS", lease.lease_ms),
        ("LEASE_WRITE_STOP_MS", lease.write_stop_ms),
        ("LEASE_WAIT_MS", lease.wait_ms),
        ("LEASE_MARGIN_MS", lease.margin_ms),
    ];
    let agent =
        [("PROBE_INTERVAL_MS", timing.probe_interval_ms), ("PROBE_TIMEOUT_MS", timing.probe_timeout_ms)];
    let mut text =
        String::from("# Written by the container tests: shorter leases than the product's.\nservices:\n");
    for number in 1..=5 {
        for (node, variables) in
            [(Node::Coordinator(number), &coordinator[..]), (Node::Agent(number), &agent[..])]
        {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {node}:\n    environment:");
            for (name, value) in variables {
                let _ = writeln!(text, "      QUORATE_{name}: \"{value}\"");
            }
        }
    }
    text
}
