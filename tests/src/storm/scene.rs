//! The cluster in a storm, and what must be seen of it to prove that a fault took effect and is over.

use super::{HOOKED, clients::Clients, small_disk::SmallDisk, storage_errors::StorageErrors};
use crate::{
    cluster::{Cluster, Links},
    probe::Probe,
    services::{Journal, Services},
    statuses::{statuses, told},
    wait::wait_until,
};
use anyhow::{Context, Result, ensure};
use quorate_domain::HookTimes;
use quorate_rpc::pb::control::GetStatusResponse;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long a fault may take to show its effect: an election among survivors, or a whole failover.
pub(super) const EFFECT: Duration = Duration::from_secs(20);
/// How long a coordinator may take to catch up.
const EQUAL: Duration = Duration::from_secs(30);
/// What is under way when a link is cut has arrived, or not, after this time.
const SETTLES: Duration = Duration::from_millis(100);

/// The cluster and everything around it.
pub(super) struct Scene {
    pub(super) cluster: Cluster,
    pub(super) probe: Probe,
    pub(super) clients: Clients,
    pub(super) groups: Vec<String>,
    /// The disk of one coordinator.
    pub(super) disk: Option<(u64, Arc<SmallDisk>)>,
    pub(super) storage_errors: Option<StorageErrors>,
    /// What agents start and stop by their hooks.
    pub(super) services: Services,
    /// What these services write, by group.
    pub(super) journals: BTreeMap<String, Journal>,
    /// The longest that any host allows its hooks.
    pub(super) hook_times: HookTimes,
}

/// The primary of a group.
#[derive(Debug, Clone)]
pub(super) struct Primary {
    pub(super) group: String,
    pub(super) host: u64,
    pub(super) epoch: u64,
}

/// True for a host whose agent has hooks.
pub(super) fn is_hooked(host: &str) -> bool {
    host.strip_prefix('h').and_then(|number| number.parse().ok()).is_some_and(|number: u64| number <= HOOKED)
}

impl Primary {
    /// The host's name.
    pub(super) fn name(&self) -> String {
        format!("h{}", self.host)
    }
}

impl Scene {
    pub(super) fn links(&self) -> &Links {
        self.cluster.links()
    }

    pub(super) fn ids(&self) -> Vec<u64> {
        (1..=self.cluster.plan().coordinators).collect()
    }

    pub(super) fn others(&self, id: u64) -> Vec<u64> {
        self.ids().into_iter().filter(|other| *other != id).collect()
    }

    /// What the coordinators that answer say of themselves.
    pub(super) async fn statuses(&self) -> BTreeMap<u64, GetStatusResponse> {
        statuses(&self.addresses()).await
    }

    /// Where the coordinators are asked.
    pub(super) fn addresses(&self) -> BTreeMap<u64, String> {
        self.ids().into_iter().map(|id| (id, self.cluster.api_address(id))).collect()
    }

    /// Who leads and can decide, and its term.
    pub(super) async fn leader(&self) -> Result<(u64, u64)> {
        self.leader_within(EFFECT, |_, _| true).await
    }

    /// Another leader than the old one, of a later term.
    pub(super) async fn next_leader(&self, old: u64, term: u64) -> Result<(u64, u64)> {
        self.leader_within(EFFECT, |id, now| id != old && now > term).await
    }

    async fn leader_within(
        &self,
        deadline: Duration,
        wanted: impl Fn(u64, u64) -> bool,
    ) -> Result<(u64, u64)> {
        wait_until("a leader can decide", deadline, async || {
            let statuses = self.statuses().await;
            let leaders = statuses.iter().filter(|(_, status)| status.can_decide);
            // Two may think that they can for a moment; the later term is right.
            let (id, term) = leaders
                .map(|(id, status)| (*id, status.term))
                .filter(|(id, term)| wanted(*id, *term))
                .max_by_key(|(_, term)| *term)
                .with_context(|| format!("{:?}", told(&statuses)))?;
            Ok((id, term))
        })
        .await
    }

    /// A coordinator knows that it cannot decide.
    pub(super) async fn cannot_decide(&self, id: u64) -> Result<()> {
        wait_until(&format!("coordinator {id} decides nothing"), EFFECT, async || {
            let status = self.statuses().await.remove(&id).context("it does not answer")?;
            ensure!(!status.can_decide, "it leads term {} and can decide", status.term);
            Ok(())
        })
        .await
    }

    /// The clients get so many more operations acknowledged.
    pub(super) async fn acknowledges(&self, more: u64) -> Result<()> {
        let before = self.clients.recorder().acknowledged();
        wait_until("operations are acknowledged", EFFECT, async || {
            let now = self.clients.recorder().acknowledged();
            ensure!(now >= before + more, "{} of {more}", now - before);
            Ok(())
        })
        .await
    }

    /// Waits until a count stands still and gives it back.
    pub(super) async fn still(&self, what: &str, count: impl Fn() -> u64) -> Result<u64> {
        wait_until(&format!("{what} stand still"), EFFECT, async || {
            let before = count();
            tokio::time::sleep(SETTLES).await;
            ensure!(count() == before, "they went from {before} to {}", count());
            Ok(before)
        })
        .await
    }

    /// Waits until a count is above what it was.
    pub(super) async fn moves(&self, what: &str, from: u64, count: impl Fn() -> u64) -> Result<()> {
        wait_until(&format!("{what} move"), EFFECT, async || {
            ensure!(count() > from, "still {from}");
            Ok(())
        })
        .await
    }

    /// A coordinator has applied what another one has now.
    pub(super) async fn catches_up(&self, id: u64) -> Result<()> {
        let applied = self.statuses().await.values().map(|status| status.applied_index).max();
        let wanted = applied.context("no coordinator answers")?;
        wait_until(&format!("coordinator {id} catches up"), EQUAL, async || {
            let status = self.statuses().await.remove(&id).context("it does not answer")?;
            ensure!(status.applied_index >= wanted, "at {} of {wanted}", status.applied_index);
            Ok(())
        })
        .await
    }

    /// No service has written after the first of a newer epoch.
    pub(super) fn expect_no_service_outlived(&mut self) -> Result<()> {
        for (group, journal) in &mut self.journals {
            journal.read()?.ensure_none_outlived().with_context(|| format!("the services of {group}"))?;
        }
        Ok(())
    }

    /// How often services wrote, and how many there were.
    pub(super) fn wrote(&mut self) -> Result<(usize, usize)> {
        self.journals.values_mut().try_fold((0, 0), |(writes, services), journal| {
            let read = journal.read()?;
            Ok((writes + read.writes(), services + read.services()))
        })
    }
}
