//! Where everything of a dev cluster is: folders, addresses, configuration files.

use anyhow::{Context, Result, ensure};
use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

const PEER_PORT: u16 = 7400;
const API_PORT: u16 = 7401;
const LOCAL_PORT: u16 = 7402;
const ZONES: u8 = 3;
/// Disks of each storage host.
pub(super) const DISKS: u8 = 2;

/// Folders and addresses of a dev cluster.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    root: PathBuf,
    /// The first three numbers of every address: a loopback network of its own.
    network: String,
    /// How many coordinators.
    pub(super) coordinators: u8,
    /// How many storage hosts.
    pub(super) agents: u8,
}

impl Layout {
    /// Makes the folders and configuration files, or takes up those of an earlier run.
    pub(super) fn new(root: &Path, coordinators: u8, agents: u8) -> Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
        let root = root.canonicalize().with_context(|| format!("finding {}", root.display()))?;
        let layout = Self { network: network(&root)?, root, coordinators, agents };
        for number in 1..=coordinators {
            layout.write_coordinator(number)?;
        }
        for number in 1..=agents {
            layout.write_agent(number)?;
        }
        Ok(layout)
    }

    pub(super) fn coordinator_folder(&self, number: u8) -> PathBuf {
        self.root.join(format!("coordinator-{number}"))
    }

    pub(super) fn agent_folder(&self, number: u8) -> PathBuf {
        self.root.join(host_id(number))
    }

    /// The folder that stands for a disk of a storage host.
    pub(super) fn disk_folder(&self, host: u8, disk: u8) -> PathBuf {
        self.agent_folder(host).join(format!("disk-{disk}"))
    }

    fn coordinator_address(&self, number: u8, port: u16) -> String {
        format!("{}.{number}:{port}", self.network)
    }

    /// Where a coordinator answers clients.
    pub(super) fn api_address(&self, number: u8) -> String {
        self.coordinator_address(number, API_PORT)
    }

    /// Where every coordinator answers clients.
    pub(super) fn endpoints(&self) -> Vec<String> {
        (1..=self.coordinators).map(|number| self.api_address(number)).collect()
    }

    /// Where an agent answers the platform.
    pub(super) fn local_address(&self, number: u8) -> String {
        format!("{}.{}:{LOCAL_PORT}", self.network, 100 + number)
    }

    fn write_coordinator(&self, number: u8) -> Result<()> {
        let members: Vec<String> = (1..=self.coordinators)
            .map(|id| {
                let address = |port| self.coordinator_address(id, port);
                format!("{:?}", format!("{id}={}/{}", address(PEER_PORT), address(API_PORT)))
            })
            .collect();
        let folder = self.coordinator_folder(number);
        let text = format!(
            "data_dir = {data}\nmembers = [{members}]\n\n[cluster]\nid = \"dev\"\n\n[node]\nid = {number}\n\n[listen]\npeer = {peer:?}\napi = {api:?}\n",
            data = quoted(&folder.join("data")),
            members = members.join(", "),
            peer = self.coordinator_address(number, PEER_PORT),
            api = self.api_address(number),
        );
        write_config(&folder, &text)
    }

    fn write_agent(&self, number: u8) -> Result<()> {
        let folder = self.agent_folder(number);
        let mut text = format!(
            "state_dir = {state}\nlisten = {listen:?}\ncoordinators = {coordinators:?}\n\n[cluster]\nid = \"dev\"\n\n[host]\nid = {id:?}\nzone = \"zone-{zone}\"\n\n[probe]\ninterval_ms = 1000\n",
            state = quoted(&folder.join("state")),
            listen = self.local_address(number),
            coordinators = self.endpoints(),
            id = host_id(number),
            zone = (number - 1) % ZONES + 1,
        );
        for disk in 1..=DISKS {
            let path = self.disk_folder(number, disk);
            if !path.exists() {
                fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
            }
            write!(text, "\n[[disks]]\nname = \"d{disk}\"\npath = {}\n", quoted(&path))?;
        }
        write_config(&folder, &text)
    }
}

/// A path as TOML has it.
fn quoted(path: &Path) -> String {
    toml::Value::from(path.to_string_lossy().into_owned()).to_string()
}

/// The id of a storage host.
pub(super) fn host_id(number: u8) -> String {
    format!("host-{number}")
}

/// The number of a storage host.
pub(super) fn host_number(id: &str) -> Result<u8> {
    let digits = id.strip_prefix("host-").with_context(|| format!("{id} is no host of this cluster"))?;
    digits.parse().with_context(|| format!("{id} is no host of this cluster"))
}

fn write_config(folder: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let path = folder.join("config.toml");
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}

/// The loopback network of this folder: drawn at the first run, so that two clusters do not meet, and kept, because the
/// members of a cluster know each other by their addresses.
fn network(root: &Path) -> Result<String> {
    let path = root.join("network");
    if path.exists() {
        let kept = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let kept = kept.trim().to_owned();
        ensure!(
            kept.starts_with("127.") && kept.split('.').count() == 3,
            "{} must hold the beginning of a loopback address, such as 127.20.30, not {kept:?}",
            path.display()
        );
        return Ok(kept);
    }
    let drawn = format!("127.{}.{}", rand::random_range(1..=254), rand::random_range(1..=254));
    fs::write(&path, &drawn).with_context(|| format!("writing {}", path.display()))?;
    Ok(drawn)
}
