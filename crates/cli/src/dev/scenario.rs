//! What can be broken in a dev cluster, and how it must get over it.

use super::{
    cluster::{Cluster, get_group, get_status, online_hosts},
    layout::host_number,
    narrate::{Failover, Narrator},
};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use quorate_rpc::{
    client::Client,
    pb::{control::SetGroupLabelsRequest, types::Group},
};
use std::{
    collections::HashMap,
    fmt, fs,
    time::{Duration, Instant},
};

/// D of a dev cluster: the default, since its configuration sets no other.
const WAIT_MS: u64 = 7_500;
/// A failover ends this long after D at the latest.
const FINISH_WITHIN_MS: u64 = 1_000;
const DEADLINE: Duration = Duration::from_mins(1);

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Scenario {
    /// The agent that is primary is killed; its groups move once its leases are over.
    HostDown,
    /// The leading coordinator is killed; another leads, and no group moves.
    LeaderDown,
    /// The primary's disk becomes unusable; the group moves as soon as the old primary has let go.
    DiskFailed,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostDown => "host-down",
            Self::LeaderDown => "leader-down",
            Self::DiskFailed => "disk-failed",
        })
    }
}

/// Breaks it, tells what happens, and judges the outcome: 0 when the cluster got over it.
pub(super) async fn run(scenario: Scenario, cluster: &mut Cluster) -> Result<u8> {
    match scenario {
        Scenario::HostDown => host_down(cluster).await,
        Scenario::LeaderDown => leader_down(cluster).await,
        Scenario::DiskFailed => disk_failed(cluster).await,
    }
    .map(|()| {
        println!("\nthe cluster got over {scenario}");
        0
    })
}

async fn revision(client: &Client) -> Result<u64> {
    Ok(get_status(client).await?.revision)
}

fn primary(group: &Group) -> Result<(String, String)> {
    let member = group.primary.as_ref().with_context(|| format!("group {} without a primary", group.id))?;
    Ok((member.host.clone(), member.disk.clone()))
}

fn at(moment: Option<u64>, what: &str) -> Result<u64> {
    moment.with_context(|| format!("no event tells when {what}"))
}

/// How long after the revoke another primary was named, and how long until it acted.
fn judge(group: &str, failover: &Failover) -> Result<(u64, u64)> {
    let revoked = at(failover.revoked_at_ms, "the old primary was revoked")?;
    let switched = at(failover.switched_at_ms, "another primary was named")?.saturating_sub(revoked);
    let started = at(failover.started_at_ms, "it acted")?.saturating_sub(revoked);
    println!(
        "  {group}: promoted {switched} ms after the revoke, acting after {started} ms ({})",
        failover.operation
    );
    Ok((switched, started))
}

async fn expect_moved(client: &Client, group: &Group) -> Result<()> {
    let now = get_group(client, &group.id).await?;
    let (before, after) = (primary(group)?.0, primary(&now)?.0);
    ensure!(before != after, "group {} is still on {before}", group.id);
    ensure!(
        now.epoch == group.epoch + 1,
        "group {} went from epoch {} to {}",
        group.id,
        group.epoch,
        now.epoch
    );
    println!("  {}: {before} under epoch {} -> {after} under epoch {}", group.id, group.epoch, now.epoch);
    Ok(())
}

/// Tells what happens until another primary of the group acts, and when each step was.
async fn moved(narrator: &mut Narrator, group: &Group) -> Result<Failover> {
    narrator
        .until("the group to have another primary", DEADLINE, |so_far| {
            so_far.failovers.get(&group.id).is_some_and(|failover| failover.started_at_ms.is_some())
        })
        .await?;
    println!("\noutcome (D = {WAIT_MS} ms)");
    narrator.failovers.get(&group.id).cloned().context("no failover was seen")
}

async fn host_down(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.client.clone();
    let group = get_group(&client, "g1").await?;
    let (host, _) = primary(&group)?;
    let mut narrator = Narrator::after(&client, revision(&client).await?);
    cluster.kill_agent(host_number(&host)?).await?;
    let failover = moved(&mut narrator, &group).await?;
    let (switched, started) = judge(&group.id, &failover)?;
    ensure!(failover.released_at_ms.is_none(), "a killed agent cannot have released anything");
    ensure!(switched >= WAIT_MS, "promoted {} ms too early", WAIT_MS - switched);
    ensure!(
        started <= WAIT_MS + FINISH_WITHIN_MS,
        "acting {started} ms after the revoke, later than D + {FINISH_WITHIN_MS} ms"
    );
    expect_moved(&client, &group).await?;
    let online = online_hosts(&client).await?;
    ensure!(!online.contains(&host), "{host} is dead and counted as online");
    Ok(())
}

async fn disk_failed(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.client.clone();
    let group = get_group(&client, "g1").await?;
    let (host, disk) = primary(&group)?;
    let number = disk.trim_start_matches('d').parse().context("reading the disk's number")?;
    let folder = cluster.layout.disk_folder(host_number(&host)?, number);
    let mut narrator = Narrator::after(&client, revision(&client).await?);
    // A file in the place of the folder: no write can succeed there, whoever tries.
    let aside = folder.with_extension("removed");
    fs::rename(&folder, &aside).with_context(|| format!("moving {} away", folder.display()))?;
    fs::write(&folder, b"not a disk").with_context(|| format!("replacing {}", folder.display()))?;
    println!("  disk {host}/{disk} made unusable ({})", folder.display());
    let failover = moved(&mut narrator, &group).await?;
    let (switched, _) = judge(&group.id, &failover)?;
    ensure!(failover.released_at_ms.is_some(), "the old primary is alive and did not release");
    ensure!(switched < WAIT_MS, "the release came, and the wait was served all the same");
    expect_moved(&client, &group).await
}

async fn leader_down(cluster: &mut Cluster) -> Result<()> {
    let client = cluster.client.clone();
    let before = get_status(&client).await?;
    let group = get_group(&client, "g1").await?;
    let mut narrator = Narrator::after(&client, before.revision);
    let leader = u8::try_from(before.leader_id).context("the leader's number")?;
    cluster.kill_coordinator(leader).await?;
    let killed = Instant::now();
    let request = SetGroupLabelsRequest {
        group: group.id.clone(),
        labels: HashMap::from([("scenario".to_owned(), format!("leader-down-{}", before.revision))]),
        ..Default::default()
    };
    client.with_deadline(DEADLINE).set_group_labels(request).await?;
    println!("  next command committed {} ms after the kill", killed.elapsed().as_millis());
    narrator
        .until("the command's event", DEADLINE, |so_far| {
            so_far.seen.iter().any(|(name, _)| name == "GroupLabelsChanged")
        })
        .await?;
    // Long enough for a lease to end that nobody renews, and for a wait to be over.
    let hosts = u64::from(cluster.layout.agents);
    let renewed = cluster
        .wait("every host to be renewed by the new leader", DEADLINE, async |client: Client| {
            let status = get_status(&client).await.ok()?;
            (killed.elapsed() > Duration::from_millis(2 * WAIT_MS) && status.hosts_online == hosts)
                .then_some(status)
        })
        .await?;
    println!("\noutcome");
    println!("  leader {leader} in term {} -> {} in term {}", before.term, renewed.leader_id, renewed.term);
    ensure!(renewed.leader_id != before.leader_id, "a dead coordinator leads");
    let now = get_group(&client, &group.id).await?;
    ensure!(
        now.epoch == group.epoch,
        "group {} moved from epoch {} to {}, though its primary was renewed",
        group.id,
        group.epoch,
        now.epoch
    );
    println!("  {} stays on {} under epoch {}", group.id, primary(&now)?.0, now.epoch);
    Ok(())
}
