//! The leader is killed while clients write: nothing that was acknowledged is lost or done twice.

use crate::writers::{Acked, Write, Writers, expect_each_once};
use anyhow::{Context, Result, ensure};
use quorate_rpc::ClientError;
use quorate_tests::{Cluster, Plan, wait_until};
use std::{collections::BTreeMap, time::Duration};

const ROUNDS: u64 = 20;
const WRITERS: u64 = 4;
/// Acknowledgements of one round, and how many of them come before the kill.
const PER_ROUND: usize = 240;
const BEFORE_KILL: usize = 80;
/// Acknowledged commands that are sent again at the end.
const ASKED_AGAIN: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn keeps_every_acknowledged_command_over_twenty_kills_of_the_leader_under_load() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(2)).await?;
    cluster.create_group("g", &[1, 2]).await?;
    cluster.wait_for_active("g", Duration::from_secs(10)).await?;
    let mut writers = Writers::start(&cluster, "g", WRITERS)?;
    for round in 1..=ROUNDS {
        let leader = cluster.leader().await?;
        let before = writers.acked();
        writers.allow(PER_ROUND);
        writers.wait_for(before + BEFORE_KILL).await?;
        cluster.coordinator(leader).kill()?;
        writers.wait_for(before + PER_ROUND).await.with_context(|| format!("round {round}"))?;
        cluster.coordinator(leader).start()?;
        cluster.wait_for_equal_states().await.with_context(|| format!("round {round}"))?;
    }
    let acked = writers.finish().await?;
    ensure!(acked.len() as u64 >= ROUNDS * PER_ROUND as u64, "only {} were acknowledged", acked.len());
    cluster.wait_for_equal_states().await?;
    for id in 1..=3 {
        expect_each_once(&cluster, id, &acked).await?;
    }
    expect_last_labels(&cluster, &acked).await?;
    let step = acked.len() / ASKED_AGAIN;
    for Acked { write, revision } in acked.iter().step_by(step.max(1)) {
        let again = write.send_until_answered(&cluster.client()).await?;
        assert_eq!(again, *revision, "another answer to {}", write.request_id());
    }
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

/// The last acknowledged value of each writer's label is the one that is there.
async fn expect_last_labels(cluster: &Cluster, acked: &[Acked]) -> Result<()> {
    let mut last: BTreeMap<String, (u64, String)> = BTreeMap::new();
    for Acked { write, revision } in acked {
        let Write::Labels(request) = write else { continue };
        for (key, value) in &request.labels {
            let known = last.entry(key.clone()).or_default();
            if known.0 < *revision {
                *known = (*revision, value.clone());
            }
        }
    }
    let labels = cluster.group("g").await?.labels;
    assert_eq!(last.len() as u64, WRITERS);
    for (key, (_, value)) in last {
        assert_eq!(labels.get(&key), Some(&value), "label {key}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_a_repeated_request_the_same_after_the_leader_changed() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(2)).await?;
    cluster.create_group("g", &[1, 2]).await?;
    let first = cluster.set_label("once", "g", "key", "first").await?;
    let later = cluster.set_label("later", "g", "key", "second").await?;
    ensure!(later > first);
    let leader = cluster.leader().await?;
    cluster.coordinator(leader).kill()?;
    let next = cluster.leader().await?;
    ensure!(next != leader);

    let again = cluster.set_label("once", "g", "key", "first").await?;
    assert_eq!(again, first, "the same request has the same answer");
    let label = cluster.group("g").await?.labels.remove("key");
    assert_eq!(label.as_deref(), Some("second"), "and no second effect");
    let reused = cluster.set_label("once", "g", "key", "third").await.unwrap_err();
    let code = match reused.downcast_ref::<ClientError>() {
        Some(ClientError::Refused { code, .. }) => code.as_str(),
        Some(ClientError::Invalid { .. }) => "REQUEST_ID_REUSED",
        other => panic!("a reused request id was not refused: {other:?}"),
    };
    assert_eq!(code, "REQUEST_ID_REUSED");
    let history = cluster.history(next).await?;
    let effects = history.iter().filter(|revision| revision.request_id == "once").count();
    assert_eq!(effects, 1);

    cluster.coordinator(leader).start()?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn two_survivors_find_a_leader_after_every_one_of_twenty_kills() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(0)).await?;
    for round in 0..20 {
        let leader = cluster.leader().await?;
        cluster.coordinator(leader).kill()?;
        let next = cluster.leader().await.with_context(|| format!("round {round}"))?;
        ensure!(next != leader);
        cluster.coordinator(leader).start()?;
        wait_until("the killed one follows", Duration::from_secs(20), async || {
            let status = cluster.status(leader).await?;
            ensure!(status.leader_id != 0, "it knows no leader");
            Ok(())
        })
        .await?;
    }
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}
