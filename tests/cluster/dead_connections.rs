//! Connections that one end still believes in and the other has none of.

use anyhow::{Result, ensure};
use quorate_tests::{Cluster, Plan, link::Mode, wait_until};
use std::time::Duration;

const SERVED: Duration = Duration::from_secs(30);
/// I20.
const LEADER: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn coordinators_have_a_leader_in_five_seconds_after_all_their_connections_went_dead_at_one_end()
-> Result<()> {
    let cluster = Cluster::start(Plan { linked: true, ..Plan::with_agents(1) }).await?;
    let old = cluster.leader().await?;
    cluster.links().set_peers(Mode::HalfOpen, |_, _| true);
    wait_until("the leader has lost its quorum", SERVED, async || {
        ensure!(!cluster.status(old).await?.can_decide);
        Ok(())
    })
    .await?;
    ensure!(cluster.links().half_opened_connections() >= 2, "no connection went dead");
    cluster.links().heal();
    wait_until("a leader can decide", LEADER, async || {
        for id in 1..=3 {
            if cluster.status(id).await?.can_decide {
                return Ok(());
            }
        }
        anyhow::bail!("none leads")
    })
    .await?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}
