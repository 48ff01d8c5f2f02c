//! The data folder of a coordinator is copied, and two processes are the same node. One of them counts: the one that its
//! peers have on record, or a copy that was started after that one was gone.

use anyhow::{Context, Result, ensure};
use quorate_tests::{Cluster, Plan, Timing, process::Process, wait_until};
use std::{fs, path::Path, time::Duration};

const SOON: Duration = Duration::from_secs(20);

fn plan() -> Plan {
    // As the product has it, so that a term that changes is the copy's doing.
    Plan { timing: Timing::steady(), ..Plan::with_agents(1) }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("making {}", to.display()))?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target).with_context(|| format!("copying {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// A process with the configuration of a coordinator, on another folder and other ports of the same address.
async fn elsewhere(cluster: &Cluster, id: u64, name: &str, folder: &Path) -> Result<Process> {
    let config = fs::read_to_string(cluster.config_file(&format!("c{id}")))?;
    let lines = config.lines().map(|line| {
        if line.starts_with("data_dir") {
            return Ok(format!("data_dir = '{}'", folder.display()));
        }
        if !line.starts_with("listen.") {
            return Ok(line.to_owned());
        }
        let (address, port) = line.trim_end_matches('"').rsplit_once(':').context("host:port")?;
        Ok(format!("{address}:{}\"", port.parse::<u16>()? + 50))
    });
    let config = lines.collect::<Result<Vec<_>>>()?.join("\n");
    cluster.stranger("coordinator", name, &config).await
}

/// The process is refused by another coordinator and says why.
async fn expect_refused(process: &mut Process, id: u64) -> Result<()> {
    process.start()?;
    let status = process.ended(SOON).await.with_context(|| process.said().unwrap_or_default())?;
    let said = process.said()?;
    ensure!(status.code() == Some(1), "it ended with {status}: {said}");
    let last = said.lines().next_back().unwrap_or_default();
    for words in [&format!("coordinator {id} runs twice") as &str, "refused for good", "remove its copy"] {
        ensure!(last.contains(words), "{words:?} is not in the last words: {said}");
    }
    Ok(())
}

/// A coordinator other than the one that runs twice says so in its status and in its log.
async fn expect_a_peer_says_so(cluster: &mut Cluster, id: u64) -> Result<()> {
    let words = format!("coordinator {id} runs twice");
    let says = async |cluster: &Cluster, other: u64| -> Result<()> {
        let warnings = cluster.status(other).await?.warnings;
        ensure!(warnings.iter().any(|warning| warning.text.starts_with(&words)), "{other}: {warnings:?}");
        Ok(())
    };
    let [one, another] = [id % 3 + 1, (id + 1) % 3 + 1];
    let found = match says(cluster, one).await {
        Ok(()) => one,
        Err(_) => says(cluster, another).await.map(|()| another)?,
    };
    let said = cluster.coordinator(found).said()?;
    ensure!(said.lines().any(|line| line.contains("ERROR") && line.contains(&words)), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_started_beside_its_original_is_refused_and_the_cluster_goes_on() -> Result<()> {
    let mut cluster = Cluster::start(plan()).await?;
    cluster.create_group("g", &[1]).await?;
    cluster.wait_for_active("g", SOON).await?;
    let leader = cluster.leader().await?;
    let term = cluster.status(leader).await?.term;
    for id in [leader % 3 + 1, leader] {
        let folder = cluster.root().join(format!("c{id}-copy"));
        copy(&cluster.data_dir(id), &folder)?;
        let mut clone = elsewhere(&cluster, id, &format!("copy-{id}"), &folder).await?;
        expect_refused(&mut clone, id).await?;
        expect_a_peer_says_so(&mut cluster, id).await?;
        wait_until("the original says so too", SOON, async || {
            let warnings = cluster.status(id).await?.warnings;
            let said =
                warnings.iter().any(|warning| warning.text.contains(&format!("coordinator {id} runs twice")));
            ensure!(said, "{warnings:?}");
            Ok(())
        })
        .await?;
        // However often it is started.
        expect_refused(&mut clone, id).await?;
        let status = cluster.status(leader).await?;
        ensure!(status.can_decide && status.term == term, "another leader, or none: {status:?}");
        cluster.set_label(&format!("copied-{id}"), "g", "key", "value").await?;
    }
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_moved_is_accepted_and_the_original_never_comes_back() -> Result<()> {
    let mut cluster = Cluster::start(plan()).await?;
    cluster.create_group("g", &[1]).await?;
    let leader = cluster.leader().await?;
    let (moved, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    cluster.coordinator(moved).terminate()?;
    cluster.coordinator(moved).ended(SOON).await?;
    let (before, folder) = (cluster.data_dir(moved), cluster.root().join("moved"));
    copy(&before, &folder)?;
    let mut original = elsewhere(&cluster, moved, "original", &before).await?;

    let file = cluster.config_file(&format!("c{moved}"));
    let config = fs::read_to_string(&file)?;
    fs::write(&file, config.replacen(&before.display().to_string(), &folder.display().to_string(), 1))?;
    cluster.coordinator(moved).start()?;
    cluster.wait_for_equal_states().await?;
    // Its vote and its answers count: without them nothing is decided.
    cluster.coordinator(other).kill()?;
    cluster.set_label("by-two", "g", "key", "value").await?;
    cluster.coordinator(other).start()?;
    cluster.wait_for_equal_states().await?;

    expect_refused(&mut original, moved).await?;
    expect_a_peer_says_so(&mut cluster, moved).await?;
    // Not even when the peers start anew, and the copy is not there just then.
    for id in [leader, other] {
        cluster.coordinator(id).terminate()?;
        cluster.coordinator(id).ended(SOON).await?;
        cluster.coordinator(id).start()?;
        cluster.wait_for_equal_states().await?;
    }
    cluster.coordinator(moved).terminate()?;
    cluster.coordinator(moved).ended(SOON).await?;
    expect_refused(&mut original, moved).await?;
    cluster.coordinator(moved).start()?;
    cluster.wait_for_equal_states().await?;
    cluster.set_label("after-all", "g", "key", "other").await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_refused_does_not_count_after_its_original_is_gone() -> Result<()> {
    let mut cluster = Cluster::start(plan()).await?;
    let leader = cluster.leader().await?;
    let id = leader % 3 + 1;
    let folder = cluster.root().join("copy");
    copy(&cluster.data_dir(id), &folder)?;
    let mut clone = elsewhere(&cluster, id, "copy", &folder).await?;
    expect_refused(&mut clone, id).await?;
    cluster.coordinator(id).kill()?;
    expect_refused(&mut clone, id).await?;
    cluster.coordinator(id).start()?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}
