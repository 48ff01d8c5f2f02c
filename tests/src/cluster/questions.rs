//! What a test asks a cluster.

use super::Cluster;
use crate::{history::history_from, statuses::wait_for_equal_states, wait::wait_until};
use anyhow::{Context, Result, ensure};
use quorate_rpc::{
    Client, ClientOptions,
    pb::{
        control::{
            CreateGroupRequest, GetGroupRequest, GetStatusRequest, GetStatusResponse, ListHostsRequest,
            SetGroupLabelsRequest,
        },
        types::{Group, GroupPhase, HostStatus, Member, Revision},
    },
};
use std::time::Duration;

/// How long a healthy cluster may take to find a leader, to apply, to serve.
pub(super) const HEALTHY: Duration = Duration::from_secs(30);
/// How long a coordinator may take to say how it is.
const STATUS: Duration = Duration::from_secs(2);
const PAGE: u32 = 1_000;

impl Cluster {
    /// What one coordinator says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self, id: u64) -> Result<GetStatusResponse> {
        let patience =
            ClientOptions { deadline: STATUS, per_try_timeout: STATUS, ..ClientOptions::default() };
        let client = Client::connect([self.api_address(id)], patience)?;
        let status = client.get_status(GetStatusRequest::default()).await;
        status.with_context(|| format!("status of coordinator {id}"))
    }

    /// Waits for a coordinator that leads and can decide, and whose state is formed.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn leader(&self) -> Result<u64> {
        self.leader_other_than(None).await
    }

    /// The same, but for another one than the given.
    ///
    /// # Errors
    /// When there is none in time.
    pub async fn leader_other_than(&self, not: Option<u64>) -> Result<u64> {
        wait_until("a leader can decide", HEALTHY, async || {
            let running = self.coordinators.iter().filter(|(_, process)| process.should_run());
            let mut seen = Vec::new();
            for (id, _) in running {
                if Some(*id) == not {
                    continue;
                }
                match self.status(*id).await {
                    Ok(status) if status.can_decide && status.revision > 0 => return Ok(*id),
                    Ok(status) => {
                        seen.push(format!("{id}: leader {} term {}", status.leader_id, status.term));
                    }
                    Err(error) => seen.push(format!("{id}: {error:#}")),
                }
            }
            anyhow::bail!("{}", seen.join("; "))
        })
        .await
    }

    /// Waits until every host of the plan is online.
    ///
    /// # Errors
    /// When one is not in time.
    pub async fn wait_for_hosts(&self) -> Result<()> {
        let wanted = usize::try_from(self.plan().agents).unwrap_or(usize::MAX);
        wait_until("every host is online and its disk is known to be healthy", HEALTHY, async || {
            let client = self.client();
            let hosts = client.list_hosts(ListHostsRequest { page_size: PAGE, ..Default::default() }).await?;
            let online = hosts.hosts.iter().filter(|host| host.status() == HostStatus::Online).count();
            ensure!(online == wanted, "{online} of {wanted} are online");
            let status = client.get_status(GetStatusRequest::default()).await?;
            ensure!(status.disks_healthy == wanted as u64, "{} disks are healthy", status.disks_healthy);
            Ok(())
        })
        .await
    }

    /// Creates a group on these hosts, by number; the first is primary.
    ///
    /// # Errors
    /// When it is refused.
    pub async fn create_group(&self, group: &str, hosts: &[u64]) -> Result<()> {
        let mut members =
            hosts.iter().map(|number| Member { host: format!("h{number}"), disk: String::new() });
        let request = CreateGroupRequest {
            group: group.to_owned(),
            primary: members.next(),
            backups: members.collect(),
            ..Default::default()
        };
        self.client().create_group(request).await.with_context(|| format!("creating group {group}"))?;
        Ok(())
    }

    /// A group, by a confirmed read.
    ///
    /// # Errors
    /// When there is none of that name or nobody answers.
    pub async fn group(&self, group: &str) -> Result<Group> {
        let request = GetGroupRequest { group: group.to_owned(), ..Default::default() };
        self.client().get_group(request).await?.group.context("an answer without a group")
    }

    /// Waits until a group is active, and gives it back.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn wait_for_active(&self, group: &str, deadline: Duration) -> Result<Group> {
        wait_until(&format!("group {group} is active"), deadline, async || {
            let found = self.group(group).await?;
            ensure!(found.phase() == GroupPhase::Active, "{found:?}");
            Ok(found)
        })
        .await
    }

    /// Sets one label under a request id of the test's choice; the revision that it led to.
    ///
    /// # Errors
    /// When it is refused or its outcome is unknown.
    pub async fn set_label(&self, request_id: &str, group: &str, key: &str, value: &str) -> Result<u64> {
        let request = SetGroupLabelsRequest {
            request_id: request_id.to_owned(),
            group: group.to_owned(),
            labels: [(key.to_owned(), value.to_owned())].into(),
        };
        Ok(self.client().set_group_labels(request).await?.revision)
    }

    /// Everything that was ever committed, as one coordinator has it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn history(&self, id: u64) -> Result<Vec<Revision>> {
        self.history_from(id, 0).await
    }

    /// What was committed from a revision on, as one coordinator has it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn history_from(&self, id: u64, start_revision: u64) -> Result<Vec<Revision>> {
        history_from(&self.api_address(id), start_revision).await
    }

    /// Waits until all running coordinators have applied the same, and checks that it led to the same state.
    ///
    /// # Errors
    /// When they differ, or do not come to the same index in time.
    pub async fn wait_for_equal_states(&self) -> Result<GetStatusResponse> {
        let running = self.coordinators.iter().filter(|(_, process)| process.should_run());
        let addresses = running.map(|(id, _)| (*id, self.api_address(*id))).collect();
        wait_for_equal_states(&addresses, HEALTHY).await
    }
}
