//! What a test asks a cluster.

use super::Cluster;
use crate::wait::wait_until;
use anyhow::{Context, Result, ensure};
use quorate_rpc::{
    Client, ClientOptions,
    pb::{
        control::{
            CreateGroupRequest, GetGroupRequest, GetStatusRequest, GetStatusResponse, ListEventsRequest,
            ListHostsRequest, SetGroupLabelsRequest,
        },
        types::{Group, GroupPhase, HostStatus, Member, Revision},
    },
};
use std::{collections::BTreeMap, time::Duration};

/// How long a healthy cluster may take to find a leader, to apply, to serve.
pub(super) const HEALTHY: Duration = Duration::from_secs(30);
/// How long a coordinator may take to say how it is.
const STATUS: Duration = Duration::from_secs(2);
/// How long it may take for the digest of a large state, in a debug build.
const DIGEST: Duration = Duration::from_secs(15);
const PAGE: u32 = 1_000;

impl Cluster {
    /// What one coordinator says of itself.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn status(&self, id: u64) -> Result<GetStatusResponse> {
        self.ask_status(id, GetStatusRequest::default(), STATUS).await
    }

    async fn ask_status(
        &self,
        id: u64,
        request: GetStatusRequest,
        limit: Duration,
    ) -> Result<GetStatusResponse> {
        let patience = ClientOptions { deadline: limit, per_try_timeout: limit, ..ClientOptions::default() };
        let client = Client::connect([self.api_address(id)], patience)?;
        client.get_status(request).await.with_context(|| format!("status of coordinator {id}"))
    }

    /// What all of these say of themselves, with the digest of the state or without, once all have applied the same.
    async fn equally_far(&self, ids: &[u64], with_state_digest: bool) -> Result<Vec<GetStatusResponse>> {
        let limit = if with_state_digest { DIGEST } else { STATUS };
        let request = GetStatusRequest { with_state_digest };
        let mut statuses = Vec::new();
        for id in ids {
            statuses.push(self.ask_status(*id, request, limit).await?);
        }
        let indexes: Vec<_> = statuses.iter().map(|status| status.applied_index).collect();
        ensure!(indexes.windows(2).all(|pair| pair[0] == pair[1]), "applied: {indexes:?}");
        Ok(statuses)
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
        let client = Client::connect([self.api_address(id)], ClientOptions::default())?;
        let mut revisions = Vec::new();
        let mut page_token = String::new();
        loop {
            let request =
                ListEventsRequest { start_revision, page_size: PAGE, page_token, ..Default::default() };
            let page = client.list_events(request).await?;
            revisions.extend(page.revisions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(revisions);
            }
        }
    }

    /// Waits until all running coordinators have applied the same, and checks that it led to the same state.
    ///
    /// # Errors
    /// When they differ, or do not come to the same index in time.
    pub async fn wait_for_equal_states(&self) -> Result<GetStatusResponse> {
        let ids: Vec<u64> =
            self.coordinators.iter().filter(|(_, process)| process.should_run()).map(|(id, _)| *id).collect();
        let mut statuses = wait_until("all coordinators have applied the same", HEALTHY, async || {
            // A digest is not taken of a state that still changes.
            self.equally_far(&ids, false).await?;
            self.equally_far(&ids, true).await
        })
        .await?;
        let digests: Vec<_> = statuses.iter().map(|status| &status.state_digest).collect();
        ensure!(digests.iter().all(|digest| !digest.is_empty()), "no digest: {digests:?}");
        ensure!(digests.windows(2).all(|pair| pair[0] == pair[1]), "equal index, other state: {digests:?}");
        statuses.pop().context("at least one coordinator runs")
    }
}

/// The first event of a kind for a group at or after a revision: when it was committed, and its revision.
///
/// # Errors
/// When there is none.
pub fn find_event(history: &[Revision], kind: &str, group: &str, from_revision: u64) -> Result<(u64, u64)> {
    let mut later = history.iter().filter(|revision| revision.revision >= from_revision);
    let found = later
        .find(|revision| revision.events.iter().any(|event| event.r#type == kind && event.group == group));
    let found = found.with_context(|| {
        let counts = history.iter().flat_map(|revision| &revision.events).fold(
            BTreeMap::<&str, u64>::new(),
            |mut counts, event| {
                *counts.entry(&event.r#type).or_default() += 1;
                counts
            },
        );
        format!("no {kind} of group {group} from revision {from_revision} on; there are {counts:?}")
    })?;
    Ok((found.at_ms, found.revision))
}
