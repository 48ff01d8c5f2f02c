//! How soon a healed stack is well again.

use super::Scene;
use crate::{
    probe::boottime_ms,
    statuses::{statuses_with_digests, told},
    wait::wait_until,
};
use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::types::GroupPhase;
use std::time::{Duration, Instant};

/// I20: how long a healed cluster may take to have a leader, one primary for each group, and equal state.
const LEADER: Duration = Duration::from_secs(5);
const PRIMARIES: Duration = Duration::from_secs(15);
const EQUAL: Duration = Duration::from_secs(30);

impl Scene {
    /// Everything is healed now: waits until the cluster is well, within the limits of I20, and judges what was seen.
    ///
    /// # Errors
    /// What is not as it must be.
    pub(in super::super) async fn ends_well(&mut self) -> Result<String> {
        let (began, since) = (Instant::now(), boottime_ms());
        // Groups that operators move all the time would be waited for one by one.
        self.everybody.operate(false);
        let left = |limit: Duration| limit.saturating_sub(began.elapsed());
        wait_until("I20: a leader can decide", LEADER, async || {
            let statuses = self.statuses().await;
            ensure!(statuses.values().any(|status| status.can_decide), "{:?}", told(&statuses));
            Ok(())
        })
        .await?;
        let leader = began.elapsed();
        for group in &self.groups {
            let what = format!("I20: group {group} is served");
            wait_until(&what, left(PRIMARIES), async || self.served(group, since).await).await?;
        }
        self.hosts_online(left(PRIMARIES)).await.context("I20: after a fault")?;
        let primaries = began.elapsed();
        self.all_healthy(left(EQUAL)).await?;
        let calm = self.everybody.calm().await;
        self.equal_states(EQUAL).await?;
        drop(calm);
        self.everybody.operate(true);
        self.everybody.expect_well()?;
        self.probe.assert_no_two_primaries()?;
        self.probe.assert_no_broken_promise()?;
        self.probe.fold();
        let total = self.everybody.tally().decided();
        let decided = total.saturating_sub(self.decided);
        ensure!(decided > 0, "nobody got anything decided since the last scenario");
        self.decided = total;
        Ok(format!(
            "well again: leader {:.1} s, primaries {:.1} s, all healthy and equal {:.1} s; {decided} decisions in all",
            leader.as_secs_f64(),
            primaries.as_secs_f64(),
            began.elapsed().as_secs_f64()
        ))
    }

    /// The group is active, and its primary says that it acts.
    async fn served(&self, group: &str, since_boot_ms: u64) -> Result<()> {
        let found = self.group(group).await?;
        ensure!(found.phase() == GroupPhase::Active, "{found:?}");
        let host = found.primary.context("a group without a primary")?.host;
        let last = self.probe.last(&host, group).context("its primary said nothing")?;
        let acts = last.is_primary() && last.epoch == found.epoch;
        ensure!(acts && last.at_boot_ms >= since_boot_ms, "{last:?}");
        Ok(())
    }

    /// Every coordinator has applied the same, and it led to the same state.
    async fn equal_states(&self, deadline: Duration) -> Result<()> {
        let wanted = self.stack.coordinators().len();
        wait_until("I20: every coordinator has applied the same", deadline, async || {
            let statuses = statuses_with_digests(&self.addresses()).await;
            ensure!(statuses.len() == wanted, "{} of {wanted} answer", statuses.len());
            let mut all = statuses.values();
            let first = all.next().context("no coordinator answers")?;
            ensure!(all.all(|one| one.applied_index == first.applied_index), "{:?}", told(&statuses));
            let digests: Vec<&str> = statuses.values().map(|one| one.state_digest.as_str()).collect();
            ensure!(!first.state_digest.is_empty(), "a status without a digest");
            ensure!(digests.iter().all(|digest| *digest == first.state_digest), "I6: {digests:?}");
            Ok(())
        })
        .await
    }
}
