//! What a process says finds no taker: the disk behind stderr is full, or nobody reads the pipe. It goes on all the same.

use anyhow::{Result, ensure};
use quorate_tests::{Cluster, Plan, Timing, wait_until};
use std::{
    io::Read,
    time::{Duration, Instant},
};

const SERVED: Duration = Duration::from_secs(20);
/// So long, in leases, everything must go on.
const LEASES: u32 = 3;
/// A lost coordinator is watched for so long, and its peers may say so many lines of it.
const WATCHED: Duration = Duration::from_secs(8);
const LINES_MAX: usize = 60;

fn plan() -> Plan {
    // As the product has it, so that a term that changes is the logs' doing.
    Plan { timing: Timing::steady(), ..Plan::with_agents(2) }
}

/// Group `g` is served by h1 and decisions are taken for a few leases, under one leader and one epoch.
async fn expect_all_goes_on(cluster: &Cluster) -> Result<()> {
    cluster.create_group("g", &[1, 2]).await?;
    let served = cluster.wait_for_active("g", SERVED).await?;
    let leader = cluster.leader().await?;
    let term = cluster.status(leader).await?.term;
    let started = Instant::now();
    let mut decisions = 0_u32;
    while started.elapsed() < cluster.plan().timing.lease() * LEASES {
        decisions += 1;
        cluster.set_label(&format!("r{decisions}"), "g", "key", &decisions.to_string()).await?;
        let status = cluster.status(leader).await?;
        ensure!(status.can_decide && status.term == term, "{status:?}");
        let modes = status.service_modes.unwrap_or_default();
        ensure!(modes.normal == 2, "a host does not serve: {modes:?}");
        let group = cluster.group("g").await?;
        ensure!(group.epoch == served.epoch, "another host was promoted: {group:?}");
    }
    ensure!(decisions > 10, "{decisions} decisions");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_process_ends_because_the_disk_behind_its_log_is_full() -> Result<()> {
    let mut cluster = Cluster::prepare(plan()).await?;
    for id in 1..=3 {
        cluster.coordinator(id).say_to("/dev/full");
    }
    for number in 1..=2 {
        cluster.agent(number).say_to("/dev/full");
    }
    cluster.start_all().await?;
    expect_all_goes_on(&cluster).await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_log_nobody_reads_keeps_leading_and_serving() -> Result<()> {
    let mut cluster = Cluster::prepare(plan()).await?;
    for id in 1..=3 {
        cluster.coordinator(id).say_to_nobody();
    }
    cluster.start_all().await?;
    expect_all_goes_on(&cluster).await?;

    // Whoever reads it in the end finds what was said meanwhile.
    let leader = cluster.leader().await?;
    let unread = cluster.coordinator(leader).take_unread();
    let mut reader = unread.ok_or_else(|| anyhow::anyhow!("coordinator {leader} has no pipe"))?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut said = String::new();
        reader.read_to_string(&mut said).map(|_| said)
    });
    // Ends in order, also those whose logs are never read.
    cluster.finish().await?;
    let said = reading.await??;
    for line in ["coordinator started", "agent session open", "coordinator stopped"] {
        ensure!(said.contains(line), "no {line:?} in what was said: {}", said.trim_start_matches('.'));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_log_nobody_reads_keeps_heartbeating() -> Result<()> {
    let mut cluster = Cluster::prepare(plan()).await?;
    cluster.agent(1).say_to_nobody();
    cluster.start_all().await?;
    expect_all_goes_on(&cluster).await?;
    // It notices what happens, acts on it and would say so.
    let before = cluster.group("g").await?.epoch;
    cluster.agent(2).kill()?;
    wait_until("h2 is missed", SERVED, async || {
        let status = cluster.status(cluster.leader().await?).await?;
        ensure!(status.hosts_online == 1, "{} are online", status.hosts_online);
        Ok(())
    })
    .await?;
    ensure!(cluster.wait_for_active("g", SERVED).await?.epoch == before);
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_coordinator_costs_its_peers_few_lines() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(0)).await?;
    let leader = cluster.leader().await?;
    let lost = leader % 3 + 1;
    cluster.coordinator(lost).kill()?;
    let before = cluster.coordinator(leader).said()?.len();
    let killed = Instant::now();
    wait_until("it is missed for a while", WATCHED * 2, async || {
        ensure!(killed.elapsed() >= WATCHED);
        Ok(())
    })
    .await?;
    let said = cluster.coordinator(leader).said()?;
    let lines = said[before..].lines().count();
    ensure!(lines <= LINES_MAX, "{lines} lines within {WATCHED:?} about one lost coordinator");
    ensure!(said[before..].contains("WARN"), "not a word of it");
    cluster.finish().await
}
