//! The primary's agent is killed, frozen and stopped: another host follows, never before it is safe.

use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::types::{GroupPhase, Role};
use quorate_tests::{
    Cluster, Plan, Probe,
    binary::shown,
    history::find_event,
    probe::{Sample, boottime_ms},
    wait_until,
};
use std::{os::unix::fs::PermissionsExt, time::Duration};

const SERVED: Duration = Duration::from_secs(20);
/// Longer than processes are usually given to stop.
const SLOW_HOOK_S: u64 = 17;
const SLOW_HOOK: Duration = Duration::from_secs(SLOW_HOOK_S);

/// A cluster of three hosts whose group `g` is served by h1.
async fn served() -> Result<(Cluster, Probe, Sample)> {
    let cluster = Cluster::start(Plan::with_agents(3)).await?;
    let probe = cluster.probe()?;
    cluster.create_group("g", &[1, 2, 3]).await?;
    let first = probe.wait_for_primary("g", SERVED, |sample| sample.host == "h1").await?;
    cluster.wait_for_active("g", SERVED).await?;
    Ok((cluster, probe, first))
}

async fn revision(cluster: &Cluster) -> Result<u64> {
    let leader = cluster.leader().await?;
    Ok(cluster.status(leader).await?.revision)
}

/// Milliseconds by the leader's clock from the revoke to the switch and to the new primary's acknowledgement.
async fn times_since_revoke(cluster: &Cluster, from_revision: u64) -> Result<(u64, u64)> {
    cluster.wait_for_active("g", SERVED).await?;
    let history = cluster.history(cluster.leader().await?).await?;
    let (revoked_at, revoked) = find_event(&history, "FailoverBegun", "g", from_revision)?;
    let (switched_at, switched) = find_event(&history, "PrimarySwitched", "g", revoked)?;
    let (started_at, _) = find_event(&history, "PrimaryStarted", "g", switched)?;
    Ok((switched_at - revoked_at, started_at - revoked_at))
}

/// Waits until a host says that it is a backup of the group.
async fn wait_for_backup(probe: &Probe, host: &str, since_boot_ms: u64) -> Result<()> {
    wait_until(&format!("{host} is a backup"), SERVED, async || {
        let last = probe.last(host, "g").context("it said nothing yet")?;
        ensure!(last.at_boot_ms >= since_boot_ms && last.role == Role::Backup, "{last:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn promotes_a_backup_under_the_next_epoch_once_a_killed_primary_must_have_stopped() -> Result<()> {
    let (mut cluster, probe, first) = served().await?;
    let before = revision(&cluster).await?;
    cluster.agent(1).kill()?;
    let next = probe.wait_for_primary("g", SERVED, |sample| sample.host != "h1").await?;
    assert_eq!(next.epoch, first.epoch + 1);
    let wait_ms = cluster.plan().timing.lease.wait_ms;
    let (switched, started) = times_since_revoke(&cluster, before).await?;
    assert!(switched >= wait_ms, "promoted {switched} ms after the revoke, before D = {wait_ms} ms");
    assert!(started <= wait_ms + 1_000, "served only {started} ms after the revoke, D is {wait_ms} ms");
    let reigns = probe.reigns("g");
    let promised = reigns[0].promised_boot_ms;
    assert!(promised < reigns[1].from_boot_ms, "a process of h1 may still write: {reigns:?}");

    let restarted = boottime_ms();
    cluster.agent(1).start()?;
    wait_for_backup(&probe, "h1", restarted).await?;
    probe.assert_no_two_primaries()?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_was_frozen_past_its_lease_comes_back_fenced() -> Result<()> {
    let (mut cluster, probe, first) = served().await?;
    cluster.agent(1).pause().await?;
    let next = probe.wait_for_primary("g", SERVED, |sample| sample.host != "h1").await?;
    assert_eq!(next.epoch, first.epoch + 1);
    let resumed = boottime_ms();
    cluster.agent(1).resume().await?;
    wait_for_backup(&probe, "h1", resumed).await?;
    let acted = probe
        .samples()
        .into_iter()
        .find(|sample| sample.host == "h1" && sample.at_boot_ms >= resumed && sample.is_primary());
    assert_eq!(acted, None, "it acted after it was thawed");
    probe.assert_no_two_primaries()?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_thaws_during_the_wait_does_not_act_on_its_old_lease() -> Result<()> {
    let (mut cluster, probe, first) = served().await?;
    cluster.agent(1).pause().await?;
    let frozen = probe.last("h1", "g").context("h1 said that it acts")?;
    let lease_over = frozen.lease_deadline_boot_ms.max(boottime_ms() + cluster.plan().timing.lease.lease_ms);
    wait_until("the frozen host's lease is over", SERVED, async || {
        ensure!(boottime_ms() > lease_over);
        Ok(())
    })
    .await?;
    let resumed = boottime_ms();
    cluster.agent(1).resume().await?;
    let next = probe.wait_for_primary("g", SERVED, |sample| sample.epoch > first.epoch).await?;
    assert_eq!(next.epoch, first.epoch + 1);
    let acted = probe
        .samples()
        .into_iter()
        .find(|sample| sample.at_boot_ms >= resumed && sample.is_primary() && sample.epoch == first.epoch);
    assert_eq!(acted, None, "it acted on a lease that was over");
    probe.assert_no_two_primaries()?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_of_a_primary_that_told_nobody_releases_at_once() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(3)).await?;
    let probe = cluster.probe_of([2, 3])?;
    cluster.create_group("g", &[1, 2, 3]).await?;
    let first = cluster.wait_for_active("g", SERVED).await?;
    // Who only looks is told nothing.
    let address = cluster.agent_address(1);
    let (_, healthy) = shown(&["healthcheck", "agent", "--address", &address]).await?;
    ensure!(healthy.contains("primary of 1 groups"), "{healthy}");
    let (_, status) = shown(&["agent", "status", "--agent", &address]).await?;
    ensure!(status.contains("primary"), "{status}");
    let stopped = boottime_ms();
    let next = stop_and_see_it_follow(&mut cluster, &probe, first.epoch).await?;
    let took = Duration::from_millis(next.at_boot_ms - stopped);
    assert!(took < Duration::from_secs(1), "it took {took:?} from the signal to the next primary");
    probe.assert_no_two_primaries()?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graceful_stop_of_a_primary_keeps_what_it_told_and_still_beats_the_wait() -> Result<()> {
    let (mut cluster, probe, first) = served().await?;
    let stopped = boottime_ms();
    let next = stop_and_see_it_follow(&mut cluster, &probe, first.epoch).await?;
    let (took, wait) = (Duration::from_millis(next.at_boot_ms - stopped), cluster.plan().timing.wait());
    assert!(took < wait, "it took {took:?} from the signal to the next primary, and D is {wait:?}");
    let reigns = probe.reigns("g");
    let told = reigns[0].promised_boot_ms;
    assert!(told <= reigns[1].from_boot_ms, "h1 had told a process that it may write: {reigns:?}");
    probe.assert_no_two_primaries()?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demote_hook_that_takes_long_is_waited_for_and_the_release_is_reported() -> Result<()> {
    let mut plan = Plan::with_agents(2);
    // Long enough that only the release can end the wait.
    plan.timing.lease.wait_ms = 60_000;
    let mut cluster = Cluster::prepare(plan).await?;
    let (hook, ran) = (cluster.root().join("demote"), cluster.root().join("demoted"));
    std::fs::write(&hook, format!("#!/bin/sh\nsleep {SLOW_HOOK_S}\necho yes > {}\n", ran.display()))?;
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755))?;
    let file = cluster.config_file("h1");
    let config = std::fs::read_to_string(&file)?;
    let hooks = format!("hooks.on_demote = '{}'\nhooks.demote_timeout_ms = 60000\n", hook.display());
    std::fs::write(&file, hooks + &config)?;
    cluster.start_all().await?;
    cluster.create_group("g", &[1, 2]).await?;
    let first = cluster.wait_for_active("g", SERVED).await?;

    let before = revision(&cluster).await?;
    cluster.agent(1).terminate()?;
    let status = cluster.agent(1).ended(SLOW_HOOK * 3).await?;
    let said = cluster.agent(1).said()?;
    ensure!(status.success(), "the agent ended with {status}: {:?}", said.lines().last());
    ensure!(ran.exists(), "the agent ended before its hook did");
    let next = wait_until("h2 follows", SERVED, async || {
        let group = cluster.group("g").await?;
        ensure!(group.epoch > first.epoch && group.phase() == GroupPhase::Active, "{group:?}");
        Ok(group)
    })
    .await?;
    assert_eq!(next.epoch, first.epoch + 1);
    let (switched, _) = times_since_revoke(&cluster, before).await?;
    assert!(switched < cluster.plan().timing.lease.wait_ms, "switched {switched} ms after the revoke");
    find_event(&cluster.history(cluster.leader().await?).await?, "PrimaryReleased", "g", before)?;
    cluster.finish().await
}

/// Stops h1 by a signal: it ends well, its release is on record, and h2 or h3 acts under the next epoch.
async fn stop_and_see_it_follow(cluster: &mut Cluster, probe: &Probe, epoch: u64) -> Result<Sample> {
    let before = revision(cluster).await?;
    cluster.agent(1).terminate()?;
    let next = probe.wait_for_primary("g", SERVED, |sample| sample.host != "h1").await?;
    assert_eq!(next.epoch, epoch + 1);
    let status = cluster.agent(1).ended(SERVED).await?;
    assert!(status.success(), "the agent ended with {status}");
    let (switched, _) = times_since_revoke(cluster, before).await?;
    assert!(switched < cluster.plan().timing.lease.wait_ms, "switched {switched} ms after the revoke");
    let history = cluster.history(cluster.leader().await?).await?;
    find_event(&history, "PrimaryReleased", "g", before)?;
    Ok(next)
}
