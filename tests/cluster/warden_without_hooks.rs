//! Hooks that are taken away from an agent: what they started is found and ended, and what cannot be proven waits for them.

use crate::warden::{
    FAILS, SERVED, end, epochs, expect_no_overlap, follows_without_overlap, has_stopped, served,
    wait_for_epoch, warden_of, write_demote,
};
use anyhow::{Context, Result, ensure};
use quorate_tests::{
    Cluster,
    health::{status, text, warning},
    wait_until,
};
use rustix::process::{Signal, kill_process};
use std::fs;

/// Takes the hooks out of the configuration of h1; what it was.
fn take_hooks_away(cluster: &Cluster) -> Result<String> {
    let file = cluster.config_file("h1");
    let before = fs::read_to_string(&file)?;
    let without: Vec<&str> = before.lines().filter(|line| !line.starts_with("hooks.")).collect();
    ensure!(without.len() < before.lines().count(), "{before}");
    fs::write(&file, without.join("\n"))?;
    Ok(before)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_hooks_left_is_killed_by_a_start_without_them_and_waits_for_them_to_be_known_as_stopped()
-> Result<()> {
    let (mut cluster, epoch) = served(FAILS, false).await?;
    let warden = warden_of(&mut cluster, 1)?;
    kill_process(warden, Signal::KILL)?;
    cluster.agent(1).kill()?;
    let hooks = take_hooks_away(&cluster)?;
    cluster.agent(1).start()?;
    wait_until("the status says what is not known, and what to do", SERVED, async || {
        let (code, document) = status(&cluster, &[1, 2, 3]).await?;
        let told = warning(&document, "DEMOTION_NOT_DONE", "g")?;
        let said = text(told);
        ensure!(code == 1 && said.contains("on h1 is not known to have stopped"), "{code}: {said}");
        ensure!(said.contains("give it back the hooks that it had"), "{said}");
        let remedy = told["remedy"].as_str().unwrap_or_default();
        ensure!(remedy.contains("give the agent its hooks back"), "{told}");
        Ok(())
    })
    .await?;
    let written = epochs(&cluster)?.len();
    // It has been killed, and for three times D nobody follows.
    let wait = cluster.plan().timing.wait() * 3;
    let over = tokio::time::Instant::now() + wait;
    wait_until("D has passed three times", wait * 2, async || {
        ensure!(tokio::time::Instant::now() >= over);
        Ok(())
    })
    .await?;
    ensure!(epochs(&cluster)?.len() == written, "something writes");
    ensure!(cluster.group("g").await?.epoch == epoch, "{:?}", cluster.group("g").await?);
    // Another start without hooks knows it still.
    cluster.agent(1).kill()?;
    cluster.agent(1).start()?;
    wait_until("the status says it again", SERVED, async || {
        let (_, document) = status(&cluster, &[1, 2, 3]).await?;
        let said = text(warning(&document, "DEMOTION_NOT_DONE", "g")?);
        ensure!(said.contains("give it back the hooks that it had"), "{said}");
        Ok(())
    })
    .await?;
    // The hooks are given back, and the demote hook succeeds.
    fs::write(cluster.config_file("h1"), hooks)?;
    write_demote(&cluster, "exit 0")?;
    cluster.agent(1).kill()?;
    cluster.agent(1).start()?;
    wait_for_epoch(&cluster, |last| last > epoch).await?;
    expect_no_overlap(&cluster)?;
    has_stopped(&cluster).await?;
    cluster.wait_for_hosts().await?;
    end(cluster).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warden_that_outlived_its_agent_is_taken_over_by_a_start_without_hooks() -> Result<()> {
    let (mut cluster, epoch) = served("echo x >> \"$0.ran\"\nexit 1", false).await?;
    let ran = cluster.root().join("demote.ran");
    let warden = warden_of(&mut cluster, 1)?;
    cluster.agent(1).kill()?;
    take_hooks_away(&cluster)?;
    cluster.agent(1).start()?;
    // It is the same one, and what it kills it has seen running below the hook: that is a proof.
    wait_until("the agent has taken it over", SERVED, async || {
        let said = cluster.agent(1).said()?;
        ensure!(said.contains("this agent has no hooks, and a start before it had some"), "{said}");
        ensure!(said.contains("nothing is left of what hooks had started"), "{said}");
        Ok(())
    })
    .await?;
    ensure!(warden_of(&mut cluster, 1)? == warden, "another one was started");
    let runs = || fs::read_to_string(&ran).unwrap_or_default().lines().count();
    let before = runs();
    cluster.wait_for_active("g", SERVED).await?;
    let group = cluster.group("g").await?;
    ensure!(group.epoch > epoch, "{group:?}");
    if group.primary.as_ref().context("a primary")?.host == "h2" {
        follows_without_overlap(&cluster, epoch).await?;
    }
    ensure!(runs() == before, "the demote hook of the start before runs on");
    end(cluster).await
}
