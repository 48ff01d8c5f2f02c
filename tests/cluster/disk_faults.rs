//! The disk under a coordinator's log fails or is full: the coordinator ends and says why, the others go on.

use crate::writers::{Writers, expect_each_once};
use anyhow::{Context, Result, ensure};
use quorate_tests::{Cluster, Plan};
use std::time::Duration;

const ENDS: Duration = Duration::from_secs(20);
const WRITERS: u64 = 2;
/// Acknowledgements before a disk breaks, and after.
const BEFORE: usize = 20;
const AFTER: usize = 60;

fn on_faulty_disks() -> Plan {
    Plan { faulty_program: Some(env!("CARGO_BIN_EXE_quorate-faulty").into()), ..Plan::with_agents(2) }
}

/// Breaks the disk of a coordinator while clients write; it ends, the clients go on, and on a healthy disk it comes back.
async fn break_disk(
    cluster: &mut Cluster,
    writers: &mut Writers,
    id: u64,
    rule: &str,
    says: &str,
) -> Result<()> {
    let before = writers.acked();
    writers.allow(BEFORE + AFTER);
    writers.wait_for(before + BEFORE).await?;
    let earlier = cluster.coordinator(id).said()?.len();
    cluster.set_disk_rule(id, rule)?;
    let status = cluster.coordinator(id).ended(ENDS).await.with_context(|| format!("after {rule:?}"))?;
    assert_eq!(status.code(), Some(1));
    let said = cluster.coordinator(id).said()?;
    // Other threads may log a line behind it while the process ends.
    let last = said[earlier..]
        .lines()
        .rfind(|line| line.starts_with("error: coordinator:"))
        .context("no last words")?;
    // Nearly always the log; the state store is on the same disk, and may be written in this very moment.
    let file = ["log/", "state/"].map(|file| cluster.data_dir(id).join(file).display().to_string());
    ensure!(file.iter().any(|file| last.contains(file)), "none of {file:?} in its last words: {last}");
    for wanted in ["consensus stopped", says, "check the disk"] {
        ensure!(last.contains(wanted), "no {wanted:?} in its last words: {last}");
    }
    writers.wait_for(before + BEFORE + AFTER).await.context("the others go on")?;
    cluster.set_disk_rule(id, "")?;
    cluster.coordinator(id).start()?;
    cluster.wait_for_equal_states().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_whose_disk_fails_ends_and_says_why_and_nothing_acknowledged_is_lost() -> Result<()> {
    let mut cluster = Cluster::start(on_faulty_disks()).await?;
    cluster.create_group("g", &[1, 2]).await?;
    cluster.wait_for_active("g", Duration::from_secs(10)).await?;
    let mut writers = Writers::start(&cluster, "g", WRITERS)?;
    let (failed, full) = ("os error 5", "os error 28");
    for (of_leader, rule, says) in [
        (false, "fail sync EIO", failed),
        (true, "fail sync EIO", failed),
        (false, "fail write ENOSPC", full),
        (true, "fail write ENOSPC", full),
    ] {
        let leader = cluster.leader().await?;
        let id = (1..=3).find(|id| (*id == leader) == of_leader).context("three coordinators")?;
        let broken = break_disk(&mut cluster, &mut writers, id, rule, says).await;
        broken.with_context(|| format!("{rule:?} on coordinator {id}, leader: {of_leader}"))?;
    }
    let acked = writers.finish().await?;
    cluster.wait_for_equal_states().await?;
    for id in 1..=3 {
        expect_each_once(&cluster, id, &acked).await?;
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_on_a_slow_disk_delays_nobody_else() -> Result<()> {
    let cluster = Cluster::start(on_faulty_disks()).await?;
    cluster.create_group("g", &[1, 2]).await?;
    let leader = cluster.leader().await?;
    let term = cluster.status(leader).await?.term;
    let slow = (1..=3).find(|id| *id != leader).context("three coordinators")?;
    cluster.set_disk_rule(slow, "slow sync 300ms")?;
    for number in 0..20 {
        cluster.set_label(&format!("r{number}"), "g", "key", &number.to_string()).await?;
    }
    let behind = cluster.status(slow).await?.applied_index;
    let ahead = cluster.status(leader).await?.applied_index;
    ensure!(behind < ahead, "the disk is not slow: {behind} and {ahead}");
    assert_eq!(cluster.status(leader).await?.term, term, "nobody stood for election");
    cluster.set_disk_rule(slow, "")?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}
