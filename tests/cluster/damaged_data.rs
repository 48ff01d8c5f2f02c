//! What is on a coordinator's disk is damaged while it is down.

use anyhow::{Context, Result, ensure};
use quorate_tests::{Cluster, Plan, folder::copy, segment::Segment, wait_until};
use std::{fs, time::Duration};

const ENDS: Duration = Duration::from_secs(20);

/// A cluster with something in its logs, and a coordinator that does not lead.
async fn with_writes() -> Result<(Cluster, u64)> {
    let cluster = Cluster::start(Plan::with_agents(1)).await?;
    cluster.create_group("g", &[1]).await?;
    for number in 0..50 {
        cluster.set_label(&format!("r{number}"), "g", "key", &number.to_string()).await?;
    }
    cluster.wait_for_equal_states().await?;
    let leader = cluster.leader().await?;
    Ok((cluster, (1..=3).find(|id| *id != leader).context("three coordinators")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_the_middle_of_the_log_is_refused_with_file_and_offset() -> Result<()> {
    let (mut cluster, id) = with_writes().await?;
    cluster.coordinator(id).kill()?;
    let segment = Segment::newest(&cluster.data_dir(id))?;
    ensure!(segment.batches.len() > 10, "only {} batches", segment.batches.len());
    let middle = segment.batches[segment.batches.len() / 2].clone();
    let places = [middle.body_offset() + middle.body_bytes / 2, middle.offset];
    for place in places {
        segment.flip_bit(place, 3)?;
        cluster.coordinator(id).start()?;
        let status = cluster.coordinator(id).ended(ENDS).await?;
        let said = cluster.coordinator(id).said()?;
        let last = said.lines().rev().find(|line| line.contains("corrupt")).context("it did not say why")?;
        assert_eq!(status.code(), Some(1), "{last}");
        assert!(last.contains(&segment.path().display().to_string()), "no file: {last}");
        assert!(last.contains(&format!("offset {}", middle.offset)), "not offset {}: {last}", middle.offset);
        segment.flip_bit(place, 3)?;
    }
    cluster.coordinator(id).start()?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut_and_reported_and_the_node_catches_up() -> Result<()> {
    let (mut cluster, id) = with_writes().await?;
    let others: Vec<u64> = (1..=3).filter(|other| *other != id).collect();
    for other in &others {
        cluster.coordinator(*other).kill()?;
    }
    // Alone it stands for election after election, and nobody ever hears of it: its last batch is a vote that no
    // other node counts on, as it is when the machine dies in the middle of writing it.
    let term = cluster.status(id).await?.term;
    wait_until("it voted for itself in vain", ENDS, async || {
        ensure!(cluster.status(id).await?.term >= term + 2);
        Ok(())
    })
    .await?;
    cluster.coordinator(id).kill()?;
    let segment = Segment::newest(&cluster.data_dir(id))?;
    let last = segment.batches.last().context("a log with batches")?.clone();
    let garbage = vec![0xa5; usize::try_from(last.body_bytes)?];
    segment.overwrite(last.body_offset(), &garbage)?;
    cluster.coordinator(id).start()?;
    wait_until("it says that it cut the tail", ENDS, async || {
        let said = fs::read_to_string(cluster.root().join(format!("c{id}.log")))?;
        let line = said.lines().find(|line| line.contains("cut a torn tail off the log"));
        let line = line.context("it did not say so")?;
        ensure!(line.contains(&segment.path().display().to_string()), "no file: {line}");
        ensure!(line.contains(&last.offset.to_string()), "not offset {}: {line}", last.offset);
        Ok(())
    })
    .await?;
    for other in others {
        cluster.coordinator(other).start()?;
    }
    cluster.leader().await?;
    cluster.set_label("after", "g", "key", "after").await?;
    cluster.wait_for_equal_states().await?;
    assert_eq!(cluster.group("g").await?.labels.get("key").map(String::as_str), Some("after"));
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_lost_its_data_is_refused_under_its_old_id() -> Result<()> {
    let (mut cluster, id) = with_writes().await?;
    cluster.coordinator(id).kill()?;
    fs::remove_dir_all(cluster.data_dir(id)).context("wiping the data folder")?;
    cluster.coordinator(id).start()?;
    let status = cluster.coordinator(id).ended(ENDS).await?;
    let said = cluster.coordinator(id).said()?;
    assert_eq!(status.code(), Some(1));
    assert!(said.contains("its data was lost") && said.contains("new node id"), "{said}");
    cluster.set_label("two-suffice", "g", "key", "still").await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_state_store_is_set_aside_and_rebuilt() -> Result<()> {
    let (mut cluster, id) = with_writes().await?;
    cluster.coordinator(id).kill()?;
    let store = cluster.data_dir(id).join("state");
    let mut damaged = 0;
    for entry in fs::read_dir(&store)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::write(entry.path(), vec![0xa5; usize::try_from(entry.metadata()?.len().max(64))?])?;
            damaged += 1;
        }
    }
    ensure!(damaged > 0, "nothing to damage in {}", store.display());
    cluster.coordinator(id).start()?;
    let same = cluster.wait_for_equal_states().await?;
    ensure!(same.applied_index > 0);
    assert!(cluster.data_dir(id).join("state.damaged").is_dir(), "the damaged store was not set aside");
    cluster.finish().await
}

/// The coordinator ends at once; its last words.
async fn refuses_its_folder(cluster: &mut Cluster, id: u64, more: &[&str]) -> Result<String> {
    cluster.coordinator(id).start_with(more)?;
    let status = cluster.coordinator(id).ended(ENDS).await?;
    let said = cluster.coordinator(id).said()?;
    ensure!(status.code() == Some(1), "it ended with {status}: {said}");
    Ok(said.lines().next_back().unwrap_or_default().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_kept_its_identity_and_lost_the_rest_votes_no_more() -> Result<()> {
    let (mut cluster, id) = with_writes().await?;
    cluster.coordinator(id).kill()?;
    let (folder, kept) = (cluster.data_dir(id), cluster.root().join("kept"));
    fs::rename(&folder, &kept)?;
    // As a copy that was cut short, or a volume that is not mounted.
    for with_snapshots in [false, true] {
        fs::create_dir(&folder)?;
        for name in ["identity.json", "lock", "peers.json"] {
            fs::copy(kept.join(name), folder.join(name))?;
        }
        if with_snapshots {
            copy(&kept.join("snapshots"), &folder.join("snapshots"))?;
        }
        for more in [&[] as &[&str], &["--original-is-gone"]] {
            let last = refuses_its_folder(&mut cluster, id, more).await?;
            for words in ["log is empty, and this coordinator has voted", "copy all of it", "new node id"] {
                ensure!(last.contains(words), "{words:?} is not in {last:?}");
            }
        }
        fs::remove_dir_all(&folder)?;
    }
    // With everything in it it counts again.
    fs::rename(&kept, &folder)?;
    cluster.coordinator(id).start()?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}
