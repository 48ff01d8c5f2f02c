//! The etcd of the system on loopback, three nodes with its own defaults, to measure against.

use super::{Servers, Target};
use crate::{binary, loopback::Loopback, process::Process, wait::wait_until};
use anyhow::{Context, Result, bail};
use std::{env, path::PathBuf, process::Command, sync::Arc, time::Duration};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// The generated messages and clients.
#[allow(clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications, missing_docs)]
mod pb {
    tonic::include_proto!("etcdserverpb");
}

use pb::{PutRequest, StatusRequest, kv_client::KvClient, maintenance_client::MaintenanceClient};

const NODES: u64 = 3;
const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;
const READY: Duration = Duration::from_secs(30);
/// As many keys as the other side has groups.
const KEYS: u32 = 64;

/// Three etcd processes; they are killed when this is dropped.
#[derive(Debug)]
pub struct Etcd {
    /// As it names itself.
    pub version: String,
    endpoints: Vec<String>,
    nodes: Vec<Process>,
    _folder: TempDir,
}

impl Etcd {
    /// Starts it, with its default settings and real syncs, on the same disk as the cluster it is compared with.
    /// `None` when etcd is not installed.
    ///
    /// # Errors
    /// When it is installed and does not come up.
    pub async fn start() -> Result<Option<Self>> {
        let Some(program) = find() else { return Ok(None) };
        let version = version(&program)?;
        let folder = tempfile::Builder::new().prefix("etcd-").tempdir_in(binary::scratch()?)?;
        let net = Loopback::draw()?;
        let peer = |id| format!("http://{}:{PEER_PORT}", net.coordinator(id));
        let client = |id| format!("http://{}:{CLIENT_PORT}", net.coordinator(id));
        let members: Vec<_> = (1..=NODES).map(|id| format!("e{id}={}", peer(id))).collect();
        let members = members.join(",");
        let mut nodes = Vec::new();
        for id in 1..=NODES {
            let data = folder.path().join(format!("e{id}"));
            let words = [
                ("--name", format!("e{id}")),
                ("--data-dir", data.display().to_string()),
                ("--listen-peer-urls", peer(id)),
                ("--initial-advertise-peer-urls", peer(id)),
                ("--listen-client-urls", client(id)),
                ("--advertise-client-urls", client(id)),
                ("--initial-cluster", members.clone()),
                ("--initial-cluster-state", "new".to_owned()),
                ("--log-level", "error".to_owned()),
            ];
            let words = words.into_iter().flat_map(|(key, value)| [key.into(), value.into()]).collect();
            let log = folder.path().join(format!("e{id}.log"));
            let mut node = Process::new(format!("etcd {id}"), program.clone(), words, log);
            node.start()?;
            nodes.push(node);
        }
        let endpoints = (1..=NODES).map(client).collect();
        let etcd = Self { version, endpoints, nodes, _folder: folder };
        etcd.leader().await.with_context(|| etcd.said())?;
        Ok(Some(etcd))
    }

    /// Connections to the leader.
    ///
    /// # Errors
    /// When there is no leader.
    pub async fn target(&self, connections: usize) -> Result<EtcdTarget> {
        let leader = self.leader().await?;
        let mut made = Vec::new();
        for _ in 0..connections {
            made.push(KvClient::new(super::connect(&leader).await?));
        }
        Ok(EtcdTarget { connections: made.into() })
    }

    async fn leader(&self) -> Result<String> {
        wait_until("etcd has a leader", READY, async || {
            for endpoint in &self.endpoints {
                let channel = Endpoint::from_shared(endpoint.clone())?.connect().await?;
                let status = MaintenanceClient::new(channel).status(StatusRequest {}).await?.into_inner();
                let member = status.header.map_or(0, |header| header.member_id);
                if status.leader != 0 && status.leader == member {
                    return Ok(endpoint.clone());
                }
            }
            bail!("nobody leads")
        })
        .await
    }

    fn said(&self) -> String {
        self.nodes.iter().filter_map(|node| node.said().ok()).collect()
    }
}

impl Servers for Etcd {
    fn cpu_time(&self) -> Result<Duration> {
        self.nodes.iter().map(Process::cpu_time).sum()
    }
}

fn find() -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join("etcd")).find(|path| path.is_file())
}

fn version(program: &PathBuf) -> Result<String> {
    let output = Command::new(program).arg("--version").output().context("etcd does not start")?;
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.lines().next().unwrap_or("etcd of an unknown version").replace("etcd Version: ", "etcd "))
}

/// Puts of 128 random bytes.
#[derive(Debug, Clone)]
pub struct EtcdTarget {
    connections: Arc<[KvClient<Channel>]>,
}

impl Target for EtcdTarget {
    async fn command(&self, connection: usize) -> Result<()> {
        let mut client = self.connections[connection % self.connections.len()].clone();
        let key = format!("group-{:02}", rand::random_range(0..KEYS)).into_bytes();
        client.put(PutRequest { key, value: super::decisions::random_value().into_bytes() }).await?;
        Ok(())
    }
}
