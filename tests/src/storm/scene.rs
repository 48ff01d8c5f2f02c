//! The cluster in a storm, and what must be seen of it to prove that a fault took effect and is over.

use super::{clients::Clients, small_disk::SmallDisk, storage_errors::StorageErrors};
use crate::{
    cluster::{Cluster, Links},
    probe::{Probe, Sample, boottime_ms},
    statuses::{statuses, told},
    wait::wait_until,
};
use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::{control::GetStatusResponse, types::Role};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::OwnedMutexGuard;

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
}

/// The primary of a group.
#[derive(Debug, Clone)]
pub(super) struct Primary {
    pub(super) group: String,
    pub(super) host: u64,
    pub(super) epoch: u64,
}

impl Primary {
    fn name(&self) -> String {
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

    /// From now on no operator moves a group; the guard ends that.
    pub(super) async fn take_the_helm(&self) -> OwnedMutexGuard<()> {
        self.clients.helm().lock_owned().await
    }

    /// The primary of one of the groups, which is active. Its lease is renewed: one that is about to lapse, after an
    /// earlier fault, is released all the same, and what follows then does not come from the fault that is made next.
    pub(super) async fn primary(&self, group: &str) -> Result<Primary> {
        let found = self.cluster.wait_for_active(group, EFFECT).await?;
        let host = found.primary.context("a group without a primary")?.host;
        let host = host.strip_prefix('h').and_then(|number| number.parse().ok());
        let host = host.context("a host of the plan is named h and a number")?;
        let half = self.cluster.plan().timing.lease.lease_ms / 2;
        let renewed = |sample: &Sample| sample.lease_deadline_boot_ms >= sample.at_boot_ms + half;
        self.probe
            .wait_for_primary(group, EFFECT, |sample| sample.epoch == found.epoch && renewed(sample))
            .await?;
        Ok(Primary { group: group.to_owned(), host, epoch: found.epoch })
    }

    /// Another host acts for the group under a later epoch.
    pub(super) async fn moved_from(&self, old: &Primary) -> Result<String> {
        let later = |host: &str, epoch| host != old.name() && epoch > old.epoch;
        let new = self
            .probe
            .wait_for_primary(&old.group, EFFECT, |sample| later(&sample.host, sample.epoch))
            .await?;
        Ok(format!("{} acts for {} under epoch {} instead of {}", new.host, new.group, new.epoch, old.epoch))
    }

    /// The old primary says that it does not act for the group.
    pub(super) async fn fenced(&self, old: &Primary) -> Result<String> {
        let since = boottime_ms();
        wait_until(&format!("{} is fenced", old.name()), EFFECT, async || {
            let last = self.probe.last(&old.name(), &old.group).context("it said nothing")?;
            ensure!(last.at_boot_ms >= since && !last.is_primary(), "{last:?}");
            Ok(format!("{} says that it does not act: {}", last.host, last.reason))
        })
        .await
    }

    /// The old primary is back, as a backup, and has not acted under its old epoch since.
    pub(super) async fn comes_back(&self, old: &Primary, since_boot_ms: u64) -> Result<String> {
        wait_until(&format!("{} comes back", old.name()), EFFECT, async || {
            let last = self.probe.last(&old.name(), &old.group).context("it said nothing")?;
            let fresh = last.at_boot_ms >= since_boot_ms;
            ensure!(fresh && (last.role == Role::Backup || last.epoch > old.epoch), "{last:?}");
            Ok(())
        })
        .await?;
        let acted = self.probe.samples().into_iter().find(|sample| {
            let of_old = sample.host == old.name() && sample.group == old.group && sample.epoch == old.epoch;
            of_old && sample.is_primary() && sample.at_boot_ms >= since_boot_ms
        });
        ensure!(acted.is_none(), "{} acted under its old epoch: {acted:?}", old.name());
        Ok(format!("{} is a backup of {} and acts under epoch {} no more", old.name(), old.group, old.epoch))
    }
}
