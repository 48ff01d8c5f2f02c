//! All coordinators die at once and come back.

use anyhow::Result;
use quorate_tests::{Cluster, Plan, wait_until};
use std::time::Duration;

const SERVED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn serves_every_group_again_from_an_intact_state_after_all_coordinators_were_killed() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(3)).await?;
    let probe = cluster.probe()?;
    let groups = [("g1", [1, 2, 3]), ("g2", [2, 3, 1]), ("g3", [3, 1, 2])];
    for (group, hosts) in groups {
        cluster.create_group(group, &hosts).await?;
        probe.wait_for_primary(group, SERVED, |_| true).await?;
        cluster.wait_for_active(group, SERVED).await?;
        cluster.set_label(&format!("label-{group}"), group, "owner", group).await?;
    }
    let before = cluster.wait_for_equal_states().await?;
    let history = cluster.history(1).await?;

    for id in 1..=3 {
        cluster.coordinator(id).kill()?;
    }
    for id in 1..=3 {
        cluster.coordinator(id).start()?;
    }
    let leader = cluster.leader().await?;
    let after = cluster.status(leader).await?;
    assert!(
        after.revision >= before.revision,
        "revisions went back: {} to {}",
        before.revision,
        after.revision
    );
    assert!(after.term >= before.term, "terms went back: {} to {}", before.term, after.term);
    let again = cluster.history(leader).await?;
    assert_eq!(again[..history.len()], history[..], "the history before the kill is as it was");
    for (group, _) in groups {
        let found = cluster.wait_for_active(group, SERVED).await?;
        assert_eq!(found.labels.get("owner").map(String::as_str), Some(group));
        // Where the coordinators were away for longer than a lease, it goes on under a later epoch.
        probe.wait_for_primary(group, SERVED, |sample| sample.epoch >= found.epoch).await?;
        let revision = cluster.set_label(&format!("label-{group}"), group, "owner", group).await?;
        assert!(revision <= before.revision, "the request table was lost");
        cluster.set_label(&format!("again-{group}"), group, "owner", "another").await?;
    }
    wait_until("the agents renew their leases again", SERVED, async || cluster.wait_for_hosts().await)
        .await?;
    cluster.wait_for_equal_states().await?;
    probe.assert_no_two_primaries()?;
    cluster.finish().await
}
