//! A leader of which a part stands still does not lead, though Raft has a thread of its own that goes on; and one that was
//! stopped as a whole says nothing that it cannot know.

use anyhow::{Context, Result, ensure};
use quorate_rpc::{
    Client, ClientOptions,
    pb::control::{GetStatusRequest, GetStatusResponse},
};
use quorate_tests::{Cluster, Plan, Timing, wait_until};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;

const SERVED: Duration = Duration::from_secs(20);
/// A part is borne for five seconds, and an election with these times takes under two.
const LED_ANEW: Duration = Duration::from_secs(10);
/// The leader ends after fifteen seconds.
const ENDS: Duration = Duration::from_secs(22);
/// Longer than a part may stand still.
const STOPPED_FOR: Duration = Duration::from_secs(17);
/// Who asks a leader all the time how it is, and how often it is stopped.
const ASKERS: usize = 8;
const STOPS: usize = 5;

fn plan() -> Plan {
    Plan {
        timing: Timing::steady(),
        faulty_program: Some(env!("CARGO_BIN_EXE_quorate-faulty").into()),
        ..Plan::with_agents(2)
    }
}

async fn served() -> Result<Cluster> {
    let cluster = Cluster::start(plan()).await?;
    cluster.create_group("g", &[1, 2]).await?;
    cluster.wait_for_active("g", SERVED).await?;
    Ok(cluster)
}

/// A part of the leader stands still from now on: another one leads, agents are served by it, and the old leader ends.
/// `heal` lets it be started again.
async fn expect_another_leads(
    cluster: &mut Cluster,
    old: u64,
    words: &[&str],
    heal: impl FnOnce(&Cluster) -> Result<()>,
) -> Result<()> {
    let stood = Instant::now();
    let new = cluster.leader_other_than(Some(old)).await?;
    let took = stood.elapsed();
    ensure!(took < LED_ANEW, "another one led only after {took:?}");
    cluster.wait_for_hosts().await?;
    cluster.wait_for_active("g", SERVED).await?;
    cluster.set_label(&format!("after-{old}"), "g", "led-by", &new.to_string()).await?;

    let status = cluster.coordinator(old).ended(ENDS).await.context("the old leader ends itself")?;
    ensure!(status.code() == Some(1), "it ended with {status}");
    let said = cluster.coordinator(old).said()?;
    let last = said.lines().rfind(|line| line.starts_with("error: coordinator:")).context("no last words")?;
    for wanted in words.iter().chain(&["has stood still for 15 s", "it ends itself"]) {
        ensure!(last.contains(wanted), "no {wanted:?} in its last words: {last}");
    }
    heal(cluster)?;
    cluster.coordinator(old).start()?;
    cluster.wait_for_equal_states().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_serves_nobody_lets_another_one_lead_and_ends() -> Result<()> {
    let mut cluster = served().await?;
    let old = cluster.leader().await?;
    cluster.hang_serving(old, true)?;
    let heal = |cluster: &Cluster| cluster.hang_serving(old, false);
    expect_another_leads(&mut cluster, old, &["the thread that serves", "start it again"], heal).await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_log_or_state_store_hangs_lets_another_one_lead_and_ends() -> Result<()> {
    let mut cluster = served().await?;
    for (rule, part, folder) in [
        ("slow sync 300000ms", "the log on disk", "log"),
        ("slow store 300000ms", "the state store", "state"),
    ] {
        let old = cluster.leader().await?;
        cluster.set_disk_rule(old, rule)?;
        // Only a request under way shows that the disk hangs. Its outcome may be unknown.
        let client = cluster.client();
        let labels = quorate_rpc::pb::control::SetGroupLabelsRequest {
            request_id: format!("hangs-{folder}"),
            group: "g".to_owned(),
            labels: [("hangs".to_owned(), folder.to_owned())].into(),
        };
        let asked = tokio::spawn(async move { client.set_group_labels(labels).await });
        let folder = cluster.data_dir(old).join(folder).display().to_string();
        let heal = |cluster: &Cluster| cluster.set_disk_rule(old, "");
        let led = expect_another_leads(&mut cluster, old, &[part, &folder, "check the disk"], heal).await;
        led.with_context(|| format!("{rule:?} on coordinator {old}"))?;
        let _ = asked.await?;
    }
    cluster.finish().await
}

/// What a coordinator said of itself, and when that arrived.
type Told = (Instant, GetStatusResponse);

/// Asks a coordinator all the time, by several connections, until it is told to stop.
fn ask_all_the_time(address: &str, stop: &Arc<AtomicBool>) -> Result<JoinSet<Vec<Told>>> {
    let mut askers = JoinSet::new();
    for _ in 0..ASKERS {
        let patience = ClientOptions {
            deadline: Duration::from_secs(30),
            per_try_timeout: Duration::from_secs(30),
            ..ClientOptions::default()
        };
        let (client, stop) = (Client::connect([address], patience)?, Arc::clone(stop));
        askers.spawn(async move {
            let mut told = Vec::new();
            while !stop.load(Ordering::Acquire) {
                if let Ok(status) = client.get_status(GetStatusRequest::default()).await {
                    told.push((Instant::now(), status));
                }
            }
            told
        });
    }
    Ok(askers)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thawed_leader_never_says_that_it_can_decide_before_a_quorum_has_answered_it() -> Result<()> {
    // With an election range as wide as this the first to stand does so long before an acknowledgement is too old.
    let mut timing = Timing::short();
    timing.election_max_ms = 600;
    let mut cluster = Cluster::start(Plan { timing, ..Plan::with_agents(0) }).await?;
    let mut heard = 0;
    for round in 0..STOPS {
        let old = cluster.leader().await?;
        let term = cluster.status(old).await?.term;
        let stop = Arc::new(AtomicBool::new(false));
        let askers = ask_all_the_time(&cluster.api_address(old), &stop)?;
        let paused = Instant::now();
        cluster.coordinator(old).pause().await?;
        let new = cluster.leader_other_than(Some(old)).await?;

        let status = cluster.status(new).await?;
        let silent = status.members.iter().find(|member| member.id == old).context("it is a member")?;
        let (silent_ms, paused_ms) = (silent.last_answer_ms, paused.elapsed().as_millis());
        ensure!(
            silent_ms.is_none_or(|ms| u128::from(ms) <= paused_ms),
            "it was stopped {paused_ms} ms ago and has not answered for {silent_ms:?} ms"
        );

        let thawed = Instant::now();
        cluster.coordinator(old).resume().await?;
        wait_until("the old leader knows the new term", SERVED, async || {
            let status = cluster.status(old).await?;
            ensure!(status.term > term && status.reaches_quorum, "term {}", status.term);
            Ok(())
        })
        .await?;
        stop.store(true, Ordering::Release);
        let told: Vec<Told> = askers.join_all().await.into_iter().flatten().collect();
        let after = told.iter().filter(|(at, status)| *at >= thawed && status.term == term);
        heard += after.clone().count();
        let claims = after.filter(|(_, status)| status.can_decide || status.reaches_quorum).count();
        ensure!(claims == 0, "round {round}: {claims} times it said that it can decide in term {term}");
    }
    ensure!(heard > 0, "nobody ever heard the old leader before it knew of the new one");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_coordinator_decides_again_after_it_was_stopped() -> Result<()> {
    let mut cluster = Cluster::start(Plan { coordinators: 1, ..Plan::with_agents(1) }).await?;
    cluster.create_group("g", &[1]).await?;
    let paused = Instant::now();
    cluster.coordinator(1).pause().await?;
    wait_until("it was stopped for longer than an acknowledgement is good for", SERVED, async || {
        ensure!(paused.elapsed() > cluster.plan().timing.election_max() * 4);
        Ok(())
    })
    .await?;
    cluster.coordinator(1).resume().await?;
    cluster.leader().await?;
    cluster.set_label("again", "g", "key", "value").await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_stopped_as_a_whole_for_longer_does_not_end() -> Result<()> {
    let mut cluster = served().await?;
    let old = cluster.leader().await?;
    let paused = Instant::now();
    cluster.coordinator(old).pause().await?;
    cluster.leader_other_than(Some(old)).await?;
    wait_until("it was stopped for longer than a part may stand still", STOPPED_FOR * 2, async || {
        ensure!(paused.elapsed() >= STOPPED_FOR);
        Ok(())
    })
    .await?;
    cluster.coordinator(old).resume().await?;
    cluster.wait_for_equal_states().await?;
    let said = cluster.coordinator(old).said()?;
    ensure!(!said.contains("stands still"), "a part is said to stand still");
    cluster.finish().await
}
