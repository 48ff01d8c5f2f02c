//! How soon a healed cluster is well again.

use super::scene::{Scene, is_hooked};
use crate::{
    probe::boottime_ms,
    recovery::{EQUAL, LEADER, primaries, served},
    statuses::{statuses, told},
    wait::wait_until,
};
use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};
use tokio::{task::JoinHandle, time::sleep};

/// How often a leader is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The moment from which nothing is in the way any more, and who looks for a leader since.
#[derive(Debug)]
pub(super) struct Healed {
    at: Instant,
    /// What the fault itself has put off, on record and by rule: how much later primaries may be.
    put_off: Duration,
    leader: JoinHandle<Result<Duration>>,
}

impl Healed {
    /// Starts that failed are tried again after a pause that grows with their number.
    pub(super) fn with_put_off(mut self, put_off: Duration) -> Self {
        self.put_off = put_off;
        self
    }
}

impl Drop for Healed {
    fn drop(&mut self) {
        self.leader.abort();
    }
}

/// How long a healed cluster took to be well.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Recovery {
    /// Until a leader could decide.
    pub(super) leader: Duration,
    /// Until every group had a primary at work, whose service writes where it has one, and every host was online.
    pub(super) primaries: Duration,
    /// Until every coordinator had applied the same as the others.
    pub(super) equal: Duration,
}

impl Recovery {
    /// The longer of each.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            leader: self.leader.max(other.leader),
            primaries: self.primaries.max(other.primaries),
            equal: self.equal.max(other.equal),
        }
    }
}

/// How long after `since` a leader can decide. Not by `wait_until`, whose future cannot go to a task of its own.
async fn first_leader(addresses: BTreeMap<u64, String>, since: Instant) -> Result<Duration> {
    loop {
        let statuses = statuses(&addresses).await;
        let took = since.elapsed();
        if took <= LEADER && statuses.values().any(|status| status.can_decide) {
            return Ok(took);
        }
        ensure!(took <= LEADER, "I20: no leader after {took:?}: {:?}", told(&statuses));
        sleep(LOOK_EVERY).await;
    }
}

impl Scene {
    /// Everything is healed now.
    pub(super) fn healed(&self) -> Healed {
        let (at, addresses) = (Instant::now(), self.addresses());
        let leader = tokio::spawn(first_leader(addresses, at));
        Healed { at, put_off: Duration::ZERO, leader }
    }

    /// Waits until the cluster is well, within the limits of I20.
    pub(super) async fn recovers(&mut self, mut healed: Healed) -> Result<Recovery> {
        let leader = (&mut healed.leader).await.context("who looks for a leader")??;
        let since = boottime_ms();
        let limit = primaries(&self.cluster.plan().timing, self.hook_times.demotion_ms) + healed.put_off;
        for group in &self.groups {
            let journal = self.journals.get_mut(group).context("every group has a journal")?;
            let left = limit.saturating_sub(healed.at.elapsed());
            wait_until(&format!("I20: group {group} is served"), left, async || {
                let found = self.cluster.group(group).await?;
                served(&found, &self.probe, since)?;
                let host = found.primary.context("a group without a primary")?.host;
                if !is_hooked(&host) {
                    return Ok(());
                }
                let (newest, _) = journal.read()?.newest().context("no service has written yet")?;
                let writes = newest.epoch == found.epoch && newest.host == host;
                ensure!(writes, "{host} serves under epoch {}, and {newest:?} was written last", found.epoch);
                Ok(())
            })
            .await?;
        }
        self.cluster.wait_for_hosts().await?;
        let primaries = healed.at.elapsed();
        ensure!(primaries <= limit, "I20: all hosts were online only after {primaries:?} of {limit:?}");
        let applied = self.statuses().await.values().map(|status| status.applied_index).max().unwrap_or(0);
        let left = EQUAL.saturating_sub(healed.at.elapsed());
        wait_until("I20: every coordinator has applied the same", left, async || {
            let statuses = self.statuses().await;
            let ids = self.ids();
            let behind = |id: &&u64| statuses.get(id).is_none_or(|status| status.applied_index < applied);
            let behind: Vec<&u64> = ids.iter().filter(behind).collect();
            ensure!(behind.is_empty(), "{behind:?} have not applied {applied}: {:?}", told(&statuses));
            Ok(())
        })
        .await?;
        Ok(Recovery { leader, primaries, equal: healed.at.elapsed() })
    }
}
