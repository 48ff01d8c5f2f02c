//! A time without a quorum is told once there is one again, for as long as it was.

use anyhow::{Context, Result, ensure};
use quorate_tests::{Cluster, Plan, Timing, wait_until};
use std::time::Duration;
use tokio::time::sleep;

const TOLD: Duration = Duration::from_secs(30);
/// How long there is no quorum.
const OUTAGE: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread")]
async fn a_quorum_that_was_lost_is_told_by_whichever_coordinator_leads_next() -> Result<()> {
    let mut cluster = Cluster::start(Plan { timing: Timing::steady(), ..Plan::with_agents(1) }).await?;
    let led = cluster.leader().await?;
    let before = cluster.status(led).await?.revision;
    for other in (1..=3).filter(|id| *id != led) {
        cluster.coordinator(other).kill()?;
    }
    wait_until("the leader has no quorum", TOLD, async || {
        ensure!(!cluster.status(led).await?.can_decide, "it can decide");
        Ok(())
    })
    .await?;
    sleep(OUTAGE).await;
    for other in (1..=3).filter(|id| *id != led) {
        cluster.coordinator(other).start()?;
    }
    wait_until("the outage is told", TOLD, async || {
        let history = cluster.history_from(led, before + 1).await?;
        let events = || history.iter().flat_map(|revision| &revision.events);
        let lost = events().filter(|event| event.r#type == "QuorumLost").count();
        let regained: Vec<_> = events().filter(|event| event.r#type == "QuorumRegained").collect();
        ensure!(lost == 1 && regained.len() == 1, "{history:?}");
        let detail: serde_json::Value = serde_json::from_str(&regained[0].detail_json)?;
        let lasted =
            detail["QuorumRegained"]["lasted_ms"].as_u64().with_context(|| format!("no time in {detail}"))?;
        ensure!(Duration::from_millis(lasted) >= OUTAGE, "it lasted longer: {detail}");
        Ok(())
    })
    .await?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}
