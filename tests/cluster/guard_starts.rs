//! What counts as the start of a guarded service, and who is tried next.

use crate::guard::{GROUP, Guarded, PATIENCE, host};
use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::types::GroupPhase;
use quorate_tests::{Cluster, Plan, binary, process::Process, services, wait_until};
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_never_active_on_a_host_whose_guard_stands_still_and_the_next_one_serves() -> Result<()> {
    let (mut guarded, group) = Guarded::start_with(3, services::Guarded::Deaf).await?;
    guarded.guard(2)?.pause().await?;
    guarded.guard(1)?.kill()?;
    let acted_on_h2 = AtomicBool::new(false);
    let after = wait_until("h3 serves", PATIENCE, async || {
        let now = guarded.cluster.group(GROUP).await?;
        let acts_on_h2 = now.phase() == GroupPhase::Active && host(&now)? == 2;
        acted_on_h2.fetch_or(acts_on_h2, Ordering::Relaxed);
        ensure!(now.phase() == GroupPhase::Active && host(&now)? == 3, "{now:?}");
        Ok(now)
    })
    .await?;
    ensure!(!acted_on_h2.into_inner() && after.epoch > group.epoch, "{after:?}");
    guarded.wait_for_writes(after.epoch).await?;
    let said = guarded.cluster.agent(2).said()?;
    ensure!(said.contains("does not answer"), "{said}");
    guarded.ensure_none_outlived()?;
    guarded.guard(2)?.resume().await?;
    guarded.wait_until_whole().await?;
    guarded.finish().await
}

/// Starts a guard again whenever it ends, as a service manager does.
const AGAIN: &str =
    "trap 'kill $! 2>/dev/null; wait; exit 0' TERM; while :; do \"$0\" \"$@\" & wait $!; done";

async fn again(cluster: &Cluster, number: u64, command: &[&str]) -> Result<Process> {
    let agent = cluster.agent_address(number);
    let quorate = tokio::task::spawn_blocking(binary::quorate).await??;
    let mut words = vec!["-c", AGAIN, quorate.to_str().context("a path in UTF-8")?];
    words.extend(["guard", "--agent", &agent, GROUP, "--"]);
    words.extend(command);
    let words = words.into_iter().map(Into::into).collect();
    let mut process = cluster.foreign(&format!("again{number}"), "/bin/sh", words);
    process.start()?;
    Ok(process)
}

#[tokio::test(flavor = "multi_thread")]
async fn services_that_end_at_once_are_tried_with_growing_pauses_and_the_third_host_serves() -> Result<()> {
    let cluster = Cluster::start(Plan::with_agents(3)).await?;
    let mut guards = Vec::new();
    for number in [1, 2, 3] {
        let command: &[&str] = if number == 3 { &["sleep", "600"] } else { &["sh", "-c", "exit 7"] };
        guards.push(again(&cluster, number, command).await?);
    }
    // Each waits for its group to be there.
    cluster.create_group(GROUP, &[1, 2, 3]).await?;
    let first = cluster.group(GROUP).await?;
    let group = wait_until("h3 serves", PATIENCE, async || {
        let now = cluster.group(GROUP).await?;
        ensure!(now.phase() == GroupPhase::Active && host(&now)? == 3, "{now:?}");
        Ok(now)
    })
    .await?;
    ensure!(group.epoch <= first.epoch + 8, "it moved to and fro from {}: {group:?}", first.epoch);
    for guard in &mut guards {
        guard.terminate()?;
        guard.ended(PATIENCE).await?;
    }
    cluster.finish().await
}
