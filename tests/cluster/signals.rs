//! What signals do to coordinators and agents: the first one stops in order, the second one at once, whatever hangs.

use anyhow::{Context, Result, ensure};
use quorate_tests::{
    Cluster, Plan,
    process::Process,
    services::{Conduct, Hook, Services},
    wait_until,
};
use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::Signal,
};
use std::{fs, path::Path, time::Duration};

const PATIENCE: Duration = Duration::from_secs(45);
/// Far less than anything that an orderly stop waits for in these tests.
const AT_ONCE: Duration = Duration::from_secs(3);
/// As `quorate` has it for whoever would not wait.
const IMPATIENT: i32 = 130;
const FAULTY: &str = env!("CARGO_BIN_EXE_quorate-faulty");
const SERVICE: &str = env!("CARGO_BIN_EXE_quorate-service");

/// The second signal ends it at once, although the first has not.
async fn ends_at_the_second(process: &mut Process) -> Result<()> {
    process.terminate()?;
    wait_until("the signal was taken", PATIENCE, async || {
        // Pending signals of the process, and those that it has taken are none.
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid()?))?;
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).context("no mask")?;
        ensure!(u64::from_str_radix(pending.trim(), 16)? == 0, "{pending}");
        Ok(())
    })
    .await?;
    ensure!(process.is_alive()?, "{} has something that holds it up", process.name());
    process.terminate()?;
    let status = process.ended(AT_ONCE).await?;
    ensure!(status.code() == Some(IMPATIENT), "{status}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_is_an_orderly_stop() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(2)).await?;
    cluster.create_group("g", &[1, 2]).await?;
    let before = cluster.wait_for_active("g", PATIENCE).await?;
    let leader = cluster.leader().await?;
    for process in [leader, 0] {
        let process = if process == 0 { cluster.agent(1) } else { cluster.coordinator(leader) };
        process.signal(Signal::HUP)?;
        let status = process.ended(PATIENCE).await?;
        ensure!(status.success(), "{} ended with {status}", process.name());
        ensure!(process.said()?.contains("SIGHUP received"), "it does not say why");
    }
    let after = wait_until("the other host serves", PATIENCE, async || {
        let group = cluster.group("g").await?;
        ensure!(group.epoch > before.epoch, "{group:?}");
        Ok(group)
    })
    .await?;
    ensure!(after.primary.is_some_and(|primary| primary.host == "h2"));
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_whose_serving_thread_hangs_ends_at_the_second_signal() -> Result<()> {
    let mut cluster =
        Cluster::start(Plan { faulty_program: Some(FAULTY.into()), ..Plan::with_agents(1) }).await?;
    let leader = cluster.leader().await?;
    cluster.hang_serving(leader, true)?;
    wait_until("it serves nobody", PATIENCE, async || {
        ensure!(cluster.status(leader).await.is_err(), "it answers");
        Ok(())
    })
    .await?;
    ends_at_the_second(cluster.coordinator(leader)).await?;
    cluster.leader_other_than(Some(leader)).await?;
    cluster.finish().await
}

/// Writing this file waits for a reader that never comes, as on a disk that hangs.
fn hang_at(file: &Path) -> Result<()> {
    let made = mknodat(CWD, file, FileType::Fifo, Mode::from_raw_mode(0o600), 0);
    made.with_context(|| format!("could not make {}", file.display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_whose_state_folder_hangs_ends_at_the_second_signal() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(2)).await?;
    hang_at(&cluster.root().join("h1-state/epochs.json.new"))?;
    // A grant must be on disk before anything is done under it.
    cluster.create_group("g", &[1, 2]).await?;
    wait_until("h1 has something to write", PATIENCE, async || {
        let group = cluster.group("g").await?;
        ensure!(group.epoch > 0, "{group:?}");
        Ok(())
    })
    .await?;
    ends_at_the_second(cluster.agent(1)).await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_warden_ends_the_service_of_an_agent_that_ended_at_the_second_signal() -> Result<()> {
    let mut cluster = Cluster::prepare(Plan::with_agents(2)).await?;
    let services = Services::new(&cluster.root().join("services"), SERVICE.as_ref())?;
    for host in ["h1", "h2"] {
        services.tell(Hook::Demote, host, Conduct::Slow)?;
        cluster.configure(host, &services.config())?;
    }
    cluster.start_all().await?;
    cluster.create_group("g", &[1, 2]).await?;
    let before = cluster.wait_for_active("g", PATIENCE).await?;
    wait_until("the service writes", PATIENCE, async || {
        ensure!(services.journal("g").read()?.writes() > 30);
        Ok(())
    })
    .await?;
    // Its demote hook takes nine seconds.
    ends_at_the_second(cluster.agent(1)).await?;
    wait_until("the next service writes", PATIENCE, async || {
        let mut journal = services.journal("g");
        let succession = journal.read()?;
        let (newest, of_next) = succession.newest().context("nothing was written")?;
        ensure!(newest.epoch > before.epoch && of_next > 30, "{of_next} writes of {newest:?}");
        succession.ensure_none_outlived()
    })
    .await?;
    cluster.agent(1).start()?;
    cluster.wait_for_hosts().await?;
    services.journal("g").read()?.ensure_none_outlived()?;
    cluster.finish().await
}
