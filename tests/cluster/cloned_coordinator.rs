//! The data folder of a coordinator is copied, and two processes are the same node. One of them counts: the one that its
//! peers have on record, or a copy that was started after that one was gone.

use anyhow::{Context, Result, ensure};
use quorate_tests::{
    Cluster, Plan, Timing,
    copied::{elsewhere, expect_a_peer_says_so, expect_refused, said_so_far},
    folder::copy,
    wait_until,
};
use serde_json::Value;
use std::{fs, path::Path, time::Duration};

const SOON: Duration = Duration::from_secs(20);

fn plan() -> Plan {
    // As the product has it, so that a term that changes is the copy's doing.
    Plan { timing: Timing::steady(), ..Plan::with_agents(1) }
}

/// A coordinator says that one which goes on in another place counts there.
async fn counts(cluster: &mut Cluster, at: u64, moved: u64) -> Result<()> {
    let of = format!("coordinator={moved}");
    wait_until(&format!("coordinator {at} counts {moved}"), SOON, async || {
        let said = cluster.coordinator(at).said()?;
        let mut lines = said.lines().filter(|line| line.contains("it counts from now on"));
        ensure!(lines.any(|line| line.contains(&of)), "{said}");
        Ok(())
    })
    .await
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

    point_at(&cluster, moved, &folder)?;
    cluster.coordinator(moved).start()?;
    counts(&mut cluster, leader, moved).await?;
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

/// The configuration of a coordinator, with its data in this folder from now on.
fn point_at(cluster: &Cluster, id: u64, folder: &Path) -> Result<()> {
    let file = cluster.config_file(&format!("c{id}"));
    let config = fs::read_to_string(&file)?;
    let lines = config.lines().map(|line| {
        if line.starts_with("data_dir") {
            format!("data_dir = '{}'", folder.display())
        } else {
            line.to_owned()
        }
    });
    Ok(fs::write(&file, lines.collect::<Vec<_>>().join("\n"))?)
}

/// What a data folder has in one of its files of JSON, without the checksum at its end.
fn kept(folder: &Path, file: &str) -> Result<Value> {
    let text = fs::read_to_string(folder.join(file))?;
    let body = text.rsplit_once("crc32 ").map_or(text.as_str(), |(body, _)| body);
    serde_json::from_str(body).with_context(|| text.clone())
}

/// True once both others take this start of a coordinator and no other one, false when it is refused and ends.
async fn goes_on(cluster: &mut Cluster, id: u64, folder: &Path, others: [u64; 2]) -> Result<bool> {
    let mut alive = true;
    wait_until("the original counts, or ends", SOON, async || {
        alive = cluster.coordinator(id).is_alive()?;
        if !alive {
            return Ok(());
        }
        let start = kept(folder, "identity.json")?["start"]["id"].clone();
        for other in others {
            let known = kept(&cluster.data_dir(other), "peers.json")?["starts"][id.to_string()].clone();
            let counts = known["counts"]["id"] == start && known["promised"].is_null();
            ensure!(counts, "coordinator {other} has {known}, and it is {start}");
        }
        Ok(())
    })
    .await?;
    Ok(alive)
}

// The others must not differ about which of them counts, however long the copy ran: one of them refused the original for
// good, and another one the copy, and the next loss stopped a cluster that called itself healthy.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_ran_instead_of_its_original_for_a_while_leaves_no_two_opinions() -> Result<()> {
    let mut cluster = Cluster::start(plan()).await?;
    cluster.create_group("g", &[1]).await?;
    let leader = cluster.leader().await?;
    let (id, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let original = cluster.data_dir(id);
    // About as long as the silence that is asked for: around it one of the others has decided and another one has not.
    for (round, ran_ms) in [5_600, 6_400, 7_200, 8_000].into_iter().enumerate() {
        cluster.coordinator(id).kill()?;
        let folder = cluster.root().join(format!("copy-{round}"));
        copy(&original, &folder)?;
        point_at(&cluster, id, &folder)?;
        cluster.coordinator(id).start()?;
        tokio::time::sleep(Duration::from_millis(ran_ms)).await;
        cluster.coordinator(id).kill()?;
        point_at(&cluster, id, &original)?;
        cluster.coordinator(id).start()?;
        if !goes_on(&mut cluster, id, &original, [leader, other]).await? {
            // All others went over to the copy: it goes on, and the original never does.
            ensure!(cluster.coordinator(id).ended(SOON).await?.code() == Some(1));
            point_at(&cluster, id, &folder)?;
            cluster.coordinator(id).start()?;
            cluster.wait_for_equal_states().await?;
            cluster.coordinator(other).kill()?;
            cluster.set_label(&format!("by-two-{round}"), "g", "key", "value").await?;
            cluster.coordinator(other).start()?;
            cluster.wait_for_equal_states().await?;
            return cluster.finish().await;
        }
        // Its vote counts at both of the others: each of them can be lost.
        for lost in [other, leader] {
            cluster.coordinator(lost).kill()?;
            cluster
                .set_label(&format!("without-{lost}-{round}"), "g", "key", &format!("{round}-{lost}"))
                .await?;
            cluster.coordinator(lost).start()?;
            cluster.wait_for_equal_states().await?;
        }
    }
    cluster.finish().await
}

fn by_an_operator(moved: u64) -> String {
    format!("start the moved coordinator ({moved}) once with --original-is-gone")
}

/// A coordinator tells of one that goes on in another place, and what to do.
async fn says(cluster: &Cluster, at: u64, words: [&str; 2], remedy: &str) -> Result<()> {
    wait_until(&format!("coordinator {at} says {words:?}"), SOON, async || {
        let warnings = cluster.status(at).await?.warnings;
        let said = warnings.iter().any(|warning| {
            warning.code == "COORDINATOR_ELSEWHERE"
                && words.iter().all(|word| warning.text.contains(word))
                && warning.remedy.contains(remedy)
        });
        ensure!(said, "{warnings:?}");
        Ok(())
    })
    .await
}

/// A cluster, its leader, and the two others, which are stopped: one to be moved, and one that is lost.
async fn two_are_stopped() -> Result<(Cluster, u64, u64, u64)> {
    let mut cluster = Cluster::start(plan()).await?;
    cluster.create_group("g", &[1]).await?;
    let leader = cluster.leader().await?;
    let (moved, lost) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    for id in [moved, lost] {
        cluster.coordinator(id).terminate()?;
        cluster.coordinator(id).ended(SOON).await?;
    }
    Ok((cluster, leader, moved, lost))
}

// The lost one may have counted the copy: no operator's word gives the original back what was promised to that.
#[tokio::test(flavor = "multi_thread")]
async fn an_original_that_is_started_again_is_sent_back_to_its_copy_while_another_coordinator_is_lost()
-> Result<()> {
    let (mut cluster, leader, moved, lost) = two_are_stopped().await?;
    let (original, folder) = (cluster.data_dir(moved), cluster.root().join("moved"));
    copy(&original, &folder)?;
    point_at(&cluster, moved, &folder)?;
    cluster.coordinator(moved).start()?;
    let waits = format!("coordinator {moved} goes on in another place");
    says(&cluster, leader, [&waits, "heard from "], &by_an_operator(moved)).await?;
    cluster.coordinator(moved).kill()?;

    point_at(&cluster, moved, &original)?;
    cluster.coordinator(moved).start()?;
    let back = "start its copy again";
    let again = format!("coordinator {moved} was started again");
    let counted = format!("say that they have not counted it: {lost}");
    says(&cluster, leader, [&again, &counted], back).await?;
    let own = format!("this coordinator ({moved}) was started again in a place that it had left");
    says(&cluster, moved, [&own, &counted], back).await?;
    for at in [leader, moved] {
        let warnings = cluster.status(at).await?.warnings;
        let wrong = warnings.iter().find(|warning| warning.remedy.contains(&by_an_operator(moved)));
        ensure!(wrong.is_none(), "coordinator {at} advises an operator's word: {wrong:?}");
    }

    cluster.coordinator(moved).kill()?;
    point_at(&cluster, moved, &folder)?;
    cluster.coordinator(moved).start()?;
    cluster.coordinator(lost).start()?;
    counts(&mut cluster, leader, moved).await?;
    cluster.set_label("by-three", "g", "key", "value").await?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_folder_counts_while_another_coordinator_is_lost_only_by_an_operators_word() -> Result<()> {
    let (mut cluster, leader, moved, lost) = two_are_stopped().await?;
    let folder = cluster.root().join("moved");
    copy(&cluster.data_dir(moved), &folder)?;
    point_at(&cluster, moved, &folder)?;
    cluster.coordinator(moved).start()?;
    let waits = format!("coordinator {moved} goes on in another place");
    let missing = format!("have not agreed to it: {lost}");
    says(&cluster, leader, [&waits, &missing], &by_an_operator(moved)).await?;
    // Whom it shows is nobody's choice: both tell the same.
    let own =
        format!("this coordinator ({moved}) goes on in another place and does not count yet at {leader}");
    says(&cluster, moved, [&own, &missing], &by_an_operator(moved)).await?;
    for at in [leader, moved] {
        let warnings = cluster.status(at).await?.warnings;
        let healthy = [leader, moved].map(|id| format!("member replace {id} "));
        let wrong = warnings.iter().find(|warning| healthy.iter().any(|verb| warning.remedy.contains(verb)));
        ensure!(wrong.is_none(), "coordinator {at} would have a healthy one replaced: {wrong:?}");
        let refuses = warnings.iter().find(|warning| warning.text.contains("refuses this one"));
        ensure!(refuses.is_none(), "coordinator {at}: {refuses:?}");
    }
    cluster.coordinator(moved).kill()?;
    cluster.coordinator(moved).start_with(&["--original-is-gone"])?;
    counts(&mut cluster, leader, moved).await?;
    cluster.set_label("by-two", "g", "key", "value").await?;
    cluster.coordinator(lost).start()?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_was_put_back_to_an_earlier_start_is_refused_however_often_it_starts() -> Result<()> {
    let mut cluster = Cluster::start(plan()).await?;
    cluster.create_group("g", &[1]).await?;
    let leader = cluster.leader().await?;
    let id = leader % 3 + 1;
    let (folder, backup) = (cluster.data_dir(id), cluster.root().join("backup"));
    let stop = async |cluster: &mut Cluster| -> Result<()> {
        cluster.coordinator(id).terminate()?;
        cluster.coordinator(id).ended(SOON).await?;
        Ok(())
    };
    stop(&mut cluster).await?;
    copy(&folder, &backup)?;
    cluster.coordinator(id).start()?;
    cluster.set_label("after-the-backup", "g", "key", "value").await?;
    cluster.wait_for_equal_states().await?;
    stop(&mut cluster).await?;
    // In the very same files, as a snapshot of the disk is put back, and in others, as a backup is.
    for name in ["identity.json", "peers.json", "log/opened-by.json"] {
        fs::write(folder.join(name), fs::read(backup.join(name))?)?;
    }
    for _ in 0..3 {
        refused_in_place(&mut cluster, id, "refused for good").await?;
    }
    fs::remove_dir_all(&folder)?;
    copy(&backup, &folder)?;
    for _ in 0..3 {
        refused_in_place(&mut cluster, id, "refused for good").await?;
    }
    cluster.set_label("without-it", "g", "key", "value").await?;
    cluster.finish().await
}

/// What says who it is stays, and what it has promised is put back from a backup, or taken from another coordinator.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_an_earlier_start_or_of_another_coordinator_is_refused_under_the_last_identity() -> Result<()>
{
    let mut cluster = Cluster::start(plan()).await?;
    cluster.create_group("g", &[1]).await?;
    let leader = cluster.leader().await?;
    let id = leader % 3 + 1;
    let other = 6 - leader - id;
    let (folder, kept) = (cluster.data_dir(id), cluster.root().join("kept"));
    let backups = [cluster.root().join("backup"), cluster.data_dir(other)];
    for start in 1..=3 {
        cluster.coordinator(id).terminate()?;
        cluster.coordinator(id).ended(SOON).await?;
        if start == 1 {
            copy(&folder, &backups[0])?;
        }
        if start < 3 {
            cluster.coordinator(id).start()?;
            cluster.set_label(&format!("start-{start}"), "g", "key", "value").await?;
            cluster.wait_for_equal_states().await?;
        }
    }
    cluster.coordinator(other).terminate()?;
    cluster.coordinator(other).ended(SOON).await?;
    copy(&folder, &kept)?;
    for backup in &backups {
        for name in ["log", "state", "snapshots"] {
            fs::remove_dir_all(folder.join(name))?;
            copy(&backup.join(name), &folder.join(name))?;
        }
        refused_in_place(&mut cluster, id, "is not the log that this coordinator had at its last start")
            .await?;
    }
    // With its own it goes on.
    fs::remove_dir_all(&folder)?;
    copy(&kept, &folder)?;
    for id in [id, other] {
        cluster.coordinator(id).start()?;
    }
    cluster.set_label("with-its-own", "g", "key", "value").await?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

/// The coordinator ends and says why.
async fn refused_in_place(cluster: &mut Cluster, id: u64, why: &str) -> Result<()> {
    cluster.coordinator(id).start()?;
    let status = cluster.coordinator(id).ended(SOON).await?;
    let said = cluster.coordinator(id).said()?;
    ensure!(status.code() == Some(1) && said.contains(why), "{status}: {said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_were_copied_at_the_same_time_count_only_by_the_word_of_an_operator() -> Result<()> {
    let mut cluster = Cluster::start(plan()).await?;
    cluster.create_group("g", &[1]).await?;
    for id in [2, 3] {
        cluster.coordinator(id).terminate()?;
        cluster.coordinator(id).ended(SOON).await?;
        let folder = cluster.root().join(format!("moved-{id}"));
        copy(&cluster.data_dir(id), &folder)?;
        point_at(&cluster, id, &folder)?;
    }
    for id in [2, 3] {
        cluster.coordinator(id).start()?;
    }
    // Each has the promise of the first one: by the word of each other they would be a quorum, beside that of the originals.
    for id in [2, 3] {
        let other = 5 - id;
        wait_until(&format!("{id} says that it waits itself"), SOON, async || {
            let warnings = cluster.status(id).await?.warnings;
            let of = format!("coordinator {other} goes on in another place");
            let waits = |text: &str| {
                text.contains(&of) && text.contains("this coordinator goes on in another place itself")
            };
            ensure!(warnings.iter().any(|warning| waits(&warning.text)), "{warnings:?}");
            Ok(())
        })
        .await?;
    }
    for id in 1..=3 {
        ensure!(!cluster.status(id).await?.can_decide, "{id} decides");
    }
    cluster.coordinator(2).terminate()?;
    cluster.coordinator(2).ended(SOON).await?;
    cluster.coordinator(2).start_with(&["--original-is-gone"])?;
    cluster.wait_for_equal_states().await?;
    cluster.set_label("after-all", "g", "key", "value").await?;
    cluster.finish().await
}
