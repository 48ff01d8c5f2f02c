//! A disk that was not to be used for a while, and one that its agent could not look at: neither has failed for good.

use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::{
    control::{ClearDiskRequest, GetDiskRequest, RequestFailoverRequest},
    types::{Disk, FaultClass, GroupPhase, Verdict},
};
use quorate_tests::{Cluster, Plan, wait_until};
use std::{fs, time::Duration};

const SERVED: Duration = Duration::from_secs(20);

async fn disk(cluster: &Cluster, host: &str) -> Result<Disk> {
    let request = GetDiskRequest { host: host.into(), name: "d1".into(), ..Default::default() };
    cluster.client().get_disk(request).await?.disk.context("no disk")
}

async fn wait_for_verdict(cluster: &Cluster, host: &str, verdict: Verdict) -> Result<Disk> {
    wait_until(&format!("{host}/d1 is {verdict:?}"), SERVED, async || {
        let found = disk(cluster, host).await?;
        ensure!(found.verdict() == verdict, "{found:?}");
        Ok(found)
    })
    .await
}

async fn wait_for_primary(cluster: &Cluster, host: &str) -> Result<()> {
    wait_until(&format!("{host} acts"), SERVED, async || {
        let group = cluster.group("g").await?;
        let primary = group.primary.as_ref().context("no primary")?;
        ensure!(group.phase() == GroupPhase::Active && primary.host == host, "{group:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_mounted_again_is_healthy_and_its_host_may_be_primary_again() -> Result<()> {
    let cluster = Cluster::start(Plan::with_agents(2)).await?;
    cluster.create_group("g", &[1, 2]).await?;
    wait_for_primary(&cluster, "h1").await?;

    let mount = cluster.disk(1);
    let away = mount.with_extension("away");
    fs::rename(&mount, &away).context("unmounting")?;
    // What lies under a mount point.
    fs::create_dir(&mount).context("the empty mount point")?;
    let failed = wait_for_verdict(&cluster, "h1", Verdict::Failed).await?;
    let codes: Vec<_> = failed.reasons.iter().map(|reason| (reason.code.as_str(), reason.class())).collect();
    assert_eq!(codes, [("identity_missing", FaultClass::Environment)]);
    assert_eq!(failed.latched, None);
    wait_for_primary(&cluster, "h2").await?;
    ensure!(fs::read_dir(&mount)?.next().is_none(), "what lies under the mount point was written to");

    fs::remove_dir(&mount).and_then(|()| fs::rename(&away, &mount)).context("mounting")?;
    let healed = wait_for_verdict(&cluster, "h1", Verdict::Healthy).await?;
    assert_eq!((healed.identity, healed.reasons.len()), (failed.identity, 0));
    let back = RequestFailoverRequest { group: "g".into(), target: "h1".into(), ..Default::default() };
    cluster.client().request_failover(back).await?;
    wait_for_primary(&cluster, "h1").await?;

    let clear =
        ClearDiskRequest { host: "h1".into(), name: "d1".into(), reason: "x".into(), ..Default::default() };
    let refused = cluster.client().clear_disk(clear).await.unwrap_err().to_string();
    ensure!(refused.contains("not latched"), "{refused}");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_has_no_descriptor_left_says_nothing_of_its_disks() -> Result<()> {
    const LACKS: &str = "a disk is not checked";
    let mut cluster = Cluster::start(Plan::with_agents(1)).await?;
    let before = disk(&cluster, "h1").await?;
    let usual = cluster.agent(1).take_descriptors()?;
    wait_until("the agent's checks have no descriptor", SERVED, async || {
        ensure!(cluster.agent(1).said()?.contains(LACKS));
        Ok(())
    })
    .await?;
    // Several checks later it is still as it was.
    let interval = Duration::from_millis(cluster.plan().timing.probe_interval_ms);
    let until = tokio::time::Instant::now() + interval * 5;
    wait_until("five more checks were due", SERVED, async || {
        let now = disk(&cluster, "h1").await?;
        assert_eq!((now.verdict(), now.error_count), (Verdict::Healthy, before.error_count), "{now:?}");
        ensure!(tokio::time::Instant::now() > until);
        Ok(())
    })
    .await?;
    cluster.agent(1).set_descriptors(usual)?;
    wait_until("the agent checks its disk again", SERVED, async || {
        let (checked, now) = (before.checked_at_ms, disk(&cluster, "h1").await?);
        ensure!(now.checked_at_ms > checked && now.verdict() == Verdict::Healthy, "{now:?}");
        Ok(())
    })
    .await?;
    cluster.finish().await
}
