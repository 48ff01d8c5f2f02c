//! The processes of a dev cluster and the client that looks at them.

use super::{
    layout::{Layout, host_id},
    process::Process,
};
use anyhow::{Context, Result, anyhow, bail};
use quorate_rpc::{
    client::{Client, ClientError, ClientOptions},
    pb::{
        control::{
            CreateGroupRequest, GetGroupRequest, GetStatusRequest, GetStatusResponse, ListHostsRequest,
        },
        types::{Group, GroupPhase, HostStatus, Member},
    },
};
use std::{
    collections::BTreeMap,
    future::Future,
    time::{Duration, Instant},
};

const START_DEADLINE: Duration = Duration::from_mins(1);
/// How often a condition is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Groups: primary and backups by host number, each on a disk.
const GROUPS: [(&str, [u8; 3], u8); 3] = [("g1", [1, 2, 3], 1), ("g2", [2, 3, 1], 1), ("g3", [3, 1, 2], 2)];

/// A running dev cluster.
pub(super) struct Cluster {
    pub(super) layout: Layout,
    pub(super) client: Client,
    coordinators: BTreeMap<u8, Process>,
    agents: BTreeMap<u8, Process>,
}

impl Cluster {
    /// Starts every process.
    pub(super) fn start(layout: Layout) -> Result<Self> {
        let client = Client::connect(layout.endpoints(), ClientOptions::default())?;
        let mut cluster = Self { layout, client, coordinators: BTreeMap::new(), agents: BTreeMap::new() };
        for number in 1..=cluster.layout.coordinators {
            let process = Process::start("coordinator", &cluster.layout.coordinator_folder(number))?;
            cluster.coordinators.insert(number, process);
        }
        for number in 1..=cluster.layout.agents {
            let process = Process::start("agent", &cluster.layout.agent_folder(number))?;
            cluster.agents.insert(number, process);
        }
        Ok(cluster)
    }

    /// Returns when there is a leader, every host is online and every group has a primary that acts.
    pub(super) async fn wait_until_serving(&mut self) -> Result<()> {
        let hosts = u64::from(self.layout.agents);
        self.wait("a leader and all hosts", START_DEADLINE, async |client| {
            let status = client.get_status(GetStatusRequest::default()).await.ok()?;
            let disks = hosts * u64::from(super::layout::DISKS);
            (status.leader_id != 0 && status.hosts_online == hosts && status.disks_healthy == disks)
                .then_some(())
        })
        .await?;
        for (id, members, disk) in GROUPS {
            self.create_group(id, &members, disk).await?;
        }
        self.wait("every group to have an acting primary", START_DEADLINE, async |client| {
            for (id, ..) in GROUPS {
                let group = get_group(&client, id).await.ok()?;
                if group.phase() != GroupPhase::Active {
                    return None;
                }
            }
            Some(())
        })
        .await
    }

    async fn create_group(&self, id: &str, members: &[u8], disk: u8) -> Result<()> {
        let agents = self.layout.agents;
        let mut members = members
            .iter()
            .filter(|number| **number <= agents)
            .map(|number| Member { host: host_id(*number), disk: format!("d{disk}") });
        let primary = members.next();
        let request = CreateGroupRequest {
            group: id.into(),
            primary,
            backups: members.collect(),
            ..Default::default()
        };
        match self.client.create_group(request).await {
            Ok(_) => Ok(()),
            // From an earlier run in the same folder.
            Err(ClientError::Refused { code, .. }) if code == "GROUP_EXISTS" => Ok(()),
            Err(error) => Err(error).with_context(|| format!("creating group {id}")),
        }
    }

    /// Waits for a condition; ends early when a process has ended that should run.
    pub(super) async fn wait<T, F>(
        &mut self,
        what: &str,
        deadline: Duration,
        mut look: impl FnMut(Client) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Option<T>>,
    {
        let end = Instant::now() + deadline;
        loop {
            if let Some(found) = look(self.client.clone()).await {
                return Ok(found);
            }
            for process in self.coordinators.values_mut().chain(self.agents.values_mut()) {
                process.check().await?;
            }
            if Instant::now() > end {
                bail!("waited {} s for {what} in vain", deadline.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Says where everything is.
    pub(super) fn describe(&self) {
        println!("\nserving: {} groups on {} hosts", GROUPS.len(), self.layout.agents);
        println!("  export QUORATE_ENDPOINTS={}", self.layout.endpoints().join(","));
        println!("  quorate status | host list | group list | group failover g1 --wait | events --follow");
        for number in 1..=self.layout.agents.min(3) {
            println!(
                "  agent of {} answers the platform at {}",
                host_id(number),
                self.layout.local_address(number)
            );
        }
    }

    /// Returns when a process has ended by itself.
    pub(super) async fn first_unexpected_end(&mut self) -> anyhow::Error {
        loop {
            for process in self.coordinators.values_mut().chain(self.agents.values_mut()) {
                if let Err(error) = process.check().await {
                    return error;
                }
            }
            tokio::time::sleep(LOOK_EVERY * 10).await;
        }
    }

    /// Kills the agent of a host; it is no longer expected to run.
    pub(super) async fn kill_agent(&mut self, number: u8) -> Result<()> {
        let process =
            self.agents.remove(&number).ok_or_else(|| anyhow!("{} does not run", host_id(number)))?;
        kill(process).await
    }

    /// Kills a coordinator; it is no longer expected to run.
    pub(super) async fn kill_coordinator(&mut self, number: u8) -> Result<()> {
        let process =
            self.coordinators.remove(&number).ok_or_else(|| anyhow!("coordinator {number} does not run"))?;
        kill(process).await
    }

    /// Ends every process in order: agents first, so that they can let go of what they hold.
    pub(super) async fn stop(mut self) {
        for process in self.agents.values_mut().chain(self.coordinators.values_mut()) {
            process.stop().await;
        }
    }
}

async fn kill(mut process: Process) -> Result<()> {
    process.kill().await?;
    println!("  kill -9 of {}", process.name);
    Ok(())
}

/// A group as the leader has it.
pub(super) async fn get_group(client: &Client, id: &str) -> Result<Group> {
    let request = GetGroupRequest { group: id.into(), ..Default::default() };
    client.get_group(request).await?.group.context("an answer without a group")
}

/// The state of the cluster as some coordinator has it.
pub(super) async fn get_status(client: &Client) -> Result<GetStatusResponse> {
    Ok(client.get_status(GetStatusRequest::default()).await?)
}

/// The hosts that are online.
pub(super) async fn online_hosts(client: &Client) -> Result<Vec<String>> {
    let request = ListHostsRequest { page_size: 1_000, ..Default::default() };
    let hosts = client.list_hosts(request).await?.hosts;
    Ok(hosts.into_iter().filter(|host| host.status() == HostStatus::Online).map(|host| host.id).collect())
}
