//! How soon a healed stack is well again.

use super::Scene;
use crate::{
    probe::boottime_ms,
    recovery::{EQUAL, LEADER, PRIMARIES, served},
    statuses::{told, wait_for_equal_states},
    wait::wait_until,
};
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

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
            wait_until(&what, left(PRIMARIES), async || {
                served(&self.group(group).await?, &self.probe, since)
            })
            .await?;
        }
        self.hosts_online(left(PRIMARIES)).await.context("I20: after a fault")?;
        let primaries = began.elapsed();
        self.all_healthy(left(EQUAL)).await?;
        let calm = self.everybody.calm().await;
        let (addresses, members) = (self.addresses(), self.stack.coordinators().len());
        ensure!(addresses.len() == members, "of {members} coordinators these have an address: {addresses:?}");
        wait_for_equal_states(&addresses, left(EQUAL)).await.context("I20: equal states")?;
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
}
