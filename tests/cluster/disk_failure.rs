//! The primary's disk fails.

use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::{control::GetDiskRequest, types::Verdict};
use quorate_tests::{Cluster, Plan, history::find_event, wait_until};
use std::{fs, time::Duration};

const SERVED: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_group_leaves_a_failed_disk_by_release_and_not_by_waiting() -> Result<()> {
    let cluster = Cluster::start(Plan::with_agents(3)).await?;
    let probe = cluster.probe_of([2, 3])?;
    cluster.create_group("g", &[1, 2, 3]).await?;
    let first = cluster.wait_for_active("g", SERVED).await?;
    let before = cluster.status(cluster.leader().await?).await?.revision;

    let disk = cluster.disk(1);
    fs::rename(&disk, disk.with_extension("away")).context("moving the disk away")?;
    fs::write(&disk, "not a directory").context("putting a file in its place")?;
    let next = probe.wait_for_primary("g", SERVED, |sample| sample.host != "h1").await?;
    assert_eq!(next.epoch, first.epoch + 1);
    cluster.wait_for_active("g", SERVED).await?;
    wait_until("the verdict is committed", SERVED, async || {
        let request = GetDiskRequest { host: "h1".into(), name: "d1".into(), ..Default::default() };
        let found = cluster.client().get_disk(request).await?.disk.context("no disk")?;
        ensure!(found.verdict() == Verdict::Failed && !found.reasons.is_empty(), "{found:?}");
        Ok(())
    })
    .await?;

    let history = cluster.history(cluster.leader().await?).await?;
    let (revoked_at, revoked) = find_event(&history, "FailoverBegun", "g", before)?;
    find_event(&history, "PrimaryReleased", "g", revoked)?;
    let (switched_at, _) = find_event(&history, "PrimarySwitched", "g", revoked)?;
    let wait = cluster.plan().timing.wait();
    let took = Duration::from_millis(switched_at - revoked_at);
    assert!(took < wait / 2, "switched {took:?} after the revoke, as if it had waited D = {wait:?}");
    probe.assert_no_two_primaries()?;
    cluster.finish().await
}
