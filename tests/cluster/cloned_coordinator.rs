//! The data folder of a coordinator is copied, and two processes are the same node. One of them counts: the one that its
//! peers have on record, or a copy that was started after that one was gone.

use anyhow::{Result, ensure};
use quorate_tests::{
    Cluster, Plan, Timing,
    copied::{elsewhere, expect_a_peer_says_so, expect_refused, said_so_far},
    folder::copy,
    wait_until,
};
use std::{fs, time::Duration};

const SOON: Duration = Duration::from_secs(20);

fn plan() -> Plan {
    // As the product has it, so that a term that changes is the copy's doing.
    Plan { timing: Timing::steady(), ..Plan::with_agents(1) }
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
        let before = said_so_far(&mut cluster)?;
        expect_refused(&mut clone, id).await?;
        expect_a_peer_says_so(&mut cluster, id, &before).await?;
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

    let before_refused = said_so_far(&mut cluster)?;
    expect_refused(&mut original, moved).await?;
    expect_a_peer_says_so(&mut cluster, moved, &before_refused).await?;
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
