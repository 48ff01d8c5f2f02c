//! Coordinators that are not set up as they should be: what is wrong is said on either side, and the others go on.

use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::types::Warning;
use quorate_tests::{Cluster, Plan, wait_until, wrong_clock::AHEAD_MS};
use std::{fs, time::Duration};

const SOON: Duration = Duration::from_secs(20);
/// The program whose clock and disk are wrong on demand.
const FAULTY: &str = env!("CARGO_BIN_EXE_quorate-faulty");

/// A coordinator warns in these words, in its status and in its log.
async fn warns(cluster: &mut Cluster, id: u64, words: &[&str]) -> Result<()> {
    wait_until(&format!("coordinator {id} warns of {words:?}"), SOON, async || {
        let warnings = cluster.status(id).await?.warnings;
        let said = |warning: &Warning| format!("{}; {}", warning.text, warning.remedy);
        let found = warnings.iter().any(|warning| words.iter().all(|word| said(warning).contains(word)));
        ensure!(found, "{warnings:?}");
        Ok(())
    })
    .await?;
    let said = cluster.coordinator(id).said()?;
    let logged = said.lines().any(|line| words.iter().all(|word| line.contains(word)));
    ensure!(logged, "coordinator {id} did not log {words:?}: {said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_two_minutes_off_is_told_on_either_side_and_decides_nothing() -> Result<()> {
    let plan = Plan { faulty_program: Some(FAULTY.into()), ..Plan::with_agents(2) };
    let mut cluster = Cluster::prepare(plan).await?;
    cluster.coordinator(3).set_env(AHEAD_MS, "120000");
    cluster.start_all().await?;
    for id in [1, 2] {
        warns(&mut cluster, id, &["the clock of coordinator 3 is 120.", "ahead of this one's", "NTP"])
            .await?;
        warns(&mut cluster, 3, &[&format!("the clock of coordinator {id} is 120."), "behind this one's"])
            .await?;
    }
    cluster.create_group("g1", &[1, 2]).await?;
    cluster.wait_for_active("g1", SOON).await?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_advertised_address_that_nobody_answers_at_is_told_on_either_side() -> Result<()> {
    let mut cluster = Cluster::prepare(Plan::with_agents(1)).await?;
    let file = cluster.config_file("c3");
    let config = fs::read_to_string(&file)?;
    let listen = config.lines().find(|line| line.starts_with("listen.peer = "));
    let listen = listen.context("a configuration has listen.peer")?.to_owned();
    let advertised = listen.trim_start_matches("listen.peer = ").trim_matches('"').to_owned();
    let (host, port) = advertised.rsplit_once(':').context("host:port")?;
    let other = format!("listen.peer = \"{host}:{}\"", port.parse::<u16>()? + 50);
    fs::write(&file, config.replacen(&listen, &other, 1))?;
    cluster.start_all().await?;
    for id in [1, 2] {
        let words = ["coordinator 3 is not reached at", advertised.as_str()];
        warns(&mut cluster, id, &words).await?;
        let told = format!("coordinator {id} does not reach this one at its advertised peer address");
        warns(&mut cluster, 3, &[&told, &advertised, "correct the address in members"]).await?;
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_with_the_same_id_ends_and_says_why() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(1)).await?;
    let config = fs::read_to_string(cluster.config_file("c2"))?;
    let folder = cluster.data_dir(2).display().to_string();
    let listens: Vec<&str> = config.lines().filter(|line| line.starts_with("listen.")).collect();
    let mut copied = config.replacen(&folder, &format!("{folder}-copy"), 1);
    for listen in listens {
        let (address, port) = listen.trim_end_matches('"').rsplit_once(':').context("host:port")?;
        copied = copied.replacen(listen, &format!("{address}:{}\"", port.parse::<u16>()? + 50), 1);
    }
    let mut second = cluster.stranger("coordinator", "second-2", &copied).await?;
    second.start()?;
    let status = second.ended(SOON).await.with_context(|| second.said().unwrap_or_default())?;
    let said = second.said()?;
    assert_eq!(status.code(), Some(1), "{said}");
    let last = said.lines().next_back().unwrap_or_default();
    for words in ["node 2 was known with data folder", "under a new node id"] {
        assert!(last.contains(words), "{words:?} is not in the last words: {said}");
    }
    cluster.leader().await?;
    ensure!(cluster.coordinator(2).is_alive()?, "the first node 2 ended too");
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}
