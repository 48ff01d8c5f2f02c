//! The leader stands still, as a machine does that is suspended: no connection ends, and no host may be taken for dead.

use anyhow::{Result, ensure};
use quorate_tests::{Cluster, Plan, Timing, wait_until};
use std::time::Duration;

const SERVED: Duration = Duration::from_secs(30);
/// Enough that some of them ask the one that stands still, whatever order they ask in.
const AGENTS: u64 = 8;

#[tokio::test(flavor = "multi_thread")]
async fn every_host_finds_the_next_leader_before_that_one_takes_it_for_dead() -> Result<()> {
    let mut cluster = Cluster::start(Plan {
        timing: Timing::steady(),
        log_level: "info,openraft=warn,quorate_agent=debug",
        ..Plan::with_agents(AGENTS)
    })
    .await?;
    let old = cluster.leader().await?;
    let before = cluster.status(old).await?.revision;
    cluster.coordinator(old).pause().await?;
    let new = cluster.leader_other_than(Some(old)).await?;
    wait_until("the new leader judges hosts", SERVED, async || {
        let status = cluster.status(new).await?;
        ensure!(status.can_decide && status.grace_left_ms.is_none(), "{:?} ms left", status.grace_left_ms);
        Ok(())
    })
    .await?;
    cluster.wait_for_hosts().await?;
    let history = cluster.history_from(new, before + 1).await?;
    let events = || history.iter().flat_map(|revision| &revision.events);
    let leaders: Vec<_> = events().filter(|event| event.r#type == "LeaderChanged").collect();
    ensure!(!leaders.is_empty(), "the change of leaders is told: {history:?}");
    let last = &leaders[leaders.len() - 1].message;
    ensure!(last.starts_with(&format!("coordinator {new} leads in term ")), "{leaders:?}");
    let changed: Vec<_> = events().filter(|event| event.r#type == "HostStatusChanged").collect();
    ensure!(changed.is_empty(), "hosts that did nothing wrong: {changed:?}");
    cluster.coordinator(old).resume().await?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}
