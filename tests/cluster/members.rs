//! The coordinators themselves change while the cluster serves.

use crate::writers::Write;
use anyhow::{Context, Result, ensure};
use quorate_rpc::{
    Client, ClientError, ClientOptions,
    pb::{
        control::{
            AddMemberRequest, GetGroupRequest, PromoteMemberRequest, RemoveMemberRequest,
            ReplaceMemberRequest, SetGroupLabelsRequest,
        },
        raft::{IdentifyRequest, Sender, raft_client::RaftClient},
        types::{Group, GroupPhase, OperationStatus},
    },
};
use quorate_tests::{
    Cluster, Plan,
    cluster::members::{cancel, change_ended, members, succeeded, voters},
    wait_until,
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

const ENDS: Duration = Duration::from_secs(20);

/// Sets one label after the other until it is told to stop; every acknowledged value in its order.
async fn write_until(client: Client, stop: Arc<AtomicBool>) -> Result<Vec<(String, u64)>> {
    let mut written = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let request_id = format!("w{}", written.len());
        let write = Write::Labels(SetGroupLabelsRequest {
            request_id: request_id.clone(),
            group: "g".to_owned(),
            labels: [("key".to_owned(), request_id.clone())].into(),
        });
        let revision = write.send_until_answered(&client).await?;
        written.push((request_id, revision));
    }
    Ok(written)
}

async fn group(client: &Client) -> Result<Group> {
    let request = GetGroupRequest { group: "g".to_owned(), consistency: 0 };
    client.get_group(request).await?.group.context("the group")
}

async fn gone(cluster: &mut Cluster, id: u64) -> Result<()> {
    let status = cluster.coordinator(id).ended(ENDS).await?;
    ensure!(status.code() == Some(1), "coordinator {id} was removed and ended with {status}");
    let said = cluster.coordinator(id).said()?;
    ensure!(said.contains("was removed from the cluster"), "coordinator {id} does not say why it ended");
    ensure!(said.contains("quorate member add"), "coordinator {id} names no remedy");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_become_five_and_then_three_others_while_clients_write() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(1)).await?;
    cluster.create_group("g", &[1]).await?;
    let (stop, client) = (Arc::new(AtomicBool::new(false)), cluster.new_client(ClientOptions::default())?);
    let writer = tokio::spawn(write_until(client.clone(), Arc::clone(&stop)));
    for id in [4, 5] {
        cluster.start_newcomer(id).await?;
        cluster.grow(&client, id).await?;
    }
    ensure!(voters(&client).await? == [1, 2, 3, 4, 5]);
    // Of the first three none is left.
    for id in [1, 2] {
        let request = RemoveMemberRequest { request_id: String::new(), id };
        let operation = client.remove_member(request).await?.operation;
        succeeded(&change_ended(&client, &operation).await?)?;
        gone(&mut cluster, id).await?;
    }
    cluster.start_newcomer(6).await?;
    let operation = cluster.replace_member(&client, 3, 6).await?;
    succeeded(&change_ended(&client, &operation).await?)?;
    gone(&mut cluster, 3).await?;
    let present = cluster.client_of(&[4])?;
    ensure!(voters(&present).await? == [4, 5, 6]);

    stop.store(true, Ordering::Release);
    let written = writer.await??;
    ensure!(written.len() > 10, "only {} writes", written.len());
    let leader = cluster.leader().await?;
    let history = cluster.history(leader).await?;
    for (request_id, revision) in &written {
        let found: Vec<_> = history.iter().filter(|known| known.request_id == *request_id).collect();
        ensure!(found.len() == 1 && found[0].revision == *revision, "{request_id} at {revision}: {found:?}");
    }
    cluster.wait_for_equal_states().await?;

    // The agent's configuration names only those that are gone; a start acts under a new epoch only.
    let before = group(&present).await?.epoch;
    cluster.agent(1).kill()?;
    cluster.agent(1).start()?;
    wait_until("the agent finds the coordinators that it was told of", ENDS, async || {
        let group = group(&present).await?;
        ensure!(group.epoch > before, "epoch {}, and {before} before", group.epoch);
        ensure!(group.phase() == GroupPhase::Active, "{:?}", group.phase());
        Ok(())
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_coordinator_is_replaced_under_a_new_id() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(1)).await?;
    let leader = cluster.leader().await?;
    let lost = (1..=3).find(|id| *id != leader).context("three coordinators")?;
    cluster.coordinator(lost).kill()?;
    std::fs::remove_dir_all(cluster.data_dir(lost))?;
    let client = cluster.client();
    let request = ReplaceMemberRequest {
        request_id: "nobody-there".to_owned(),
        remove: lost,
        id: 4,
        api_address: cluster.api_address(4),
        peer_address: cluster.peer_address(4),
    };
    let refused = client.replace_member(request).await;
    ensure!(
        matches!(&refused, Err(ClientError::Refused { code, .. }) if code == "COORDINATOR_NOT_READY"),
        "{refused:?}"
    );
    cluster.start_newcomer(4).await?;
    let operation = cluster.replace_member(&client, lost, 4).await?;
    succeeded(&change_ended(&client, &operation).await?)?;
    let expected: Vec<u64> = (1..=4).filter(|id| *id != lost).collect();
    ensure!(voters(&client).await? == expected);
    cluster.wait_for_equal_states().await?;
    // It comes back after all, wiped, under its old id.
    cluster.coordinator(lost).start()?;
    let status = cluster.coordinator(lost).ended(ENDS).await?;
    ensure!(status.code() == Some(1), "{status}");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_cannot_find_the_cluster_is_not_taken_in_and_is_told_why() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(1)).await?;
    cluster.start_newcomer(4).await?;
    cluster.coordinator(4).kill()?;
    let file = cluster.config_file("c4");
    let right = std::fs::read_to_string(&file)?;
    // Nobody listens where its `members` say that the others are.
    let wrong = [1, 2, 3].iter().fold(right.clone(), |text, id| {
        let peer = cluster.peer_address(*id);
        let (host, _) = peer.rsplit_once(':').expect("host:port");
        text.replacen(&format!("{id}={peer}/"), &format!("{id}={host}:9/"), 1)
    });
    ensure!(wrong != right, "{right}");
    std::fs::write(&file, wrong)?;
    cluster.coordinator(4).start()?;
    wait_until("the newcomer answers", ENDS, async || cluster.status(4).await).await?;
    let client = cluster.client();
    let request = AddMemberRequest {
        request_id: String::new(),
        id: 4,
        api_address: cluster.api_address(4),
        peer_address: cluster.peer_address(4),
    };
    let refused = client.add_member(request).await;
    ensure!(
        matches!(&refused, Err(ClientError::Refused { code, message })
            if code == "COORDINATOR_NOT_READY" && message.contains("`members` name no present coordinator")),
        "{refused:?}"
    );
    cluster.coordinator(4).kill()?;
    std::fs::write(&file, right)?;
    cluster.coordinator(4).start()?;
    let operation = cluster.add_member(&client, 4).await?;
    succeeded(&change_ended(&client, &operation).await?)?;
    cluster.finish().await
}

/// What a coordinator remembers of its peers.
fn met(cluster: &Cluster, id: u64) -> Result<String> {
    Ok(std::fs::read_to_string(cluster.data_dir(id).join("peers.json"))?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_lost_its_data_is_refused_and_whoever_was_none_yet_may_begin_anew() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(1)).await?;
    let leader = cluster.leader().await?;
    wait_until("the leader has met the others", ENDS, async || {
        let met = met(&cluster, leader)?;
        let others = (1..=3_u64).filter(|id| *id != leader);
        ensure!(others.into_iter().all(|id| met.matches(&format!("\"{id}\"")).count() == 2), "{met}");
        Ok(())
    })
    .await?;
    let before = met(&cluster, leader)?;
    let mut raft = RaftClient::connect(format!("http://{}", cluster.peer_address(leader))).await?;
    for from in 1_000..1_020 {
        let (cluster_id, instance) = ("test".to_owned(), "stranger".to_owned());
        let sender = Sender { cluster_id, from, to: leader, instance, start: String::new() };
        let request = IdentifyRequest { sender: Some(sender), ..Default::default() };
        let answer = raft.identify(request).await?.into_inner();
        ensure!(answer.takes_part && answer.known_instance.is_empty(), "{answer:?}");
    }
    ensure!(met(&cluster, leader)? == before, "strangers are not remembered");

    cluster.start_newcomer(4).await?;
    wait_until("the newcomer answers", ENDS, async || cluster.status(4).await).await?;
    cluster.coordinator(4).kill()?;
    std::fs::remove_dir_all(cluster.data_dir(4))?;
    cluster.coordinator(4).start()?;
    let client = cluster.client();
    cluster.grow(&client, 4).await?;
    for id in 1..=3 {
        wait_until("everybody has met the new member", ENDS, async || {
            let met = met(&cluster, id)?;
            ensure!(met.contains("\"4\""), "{met}");
            Ok(())
        })
        .await?;
    }
    cluster.coordinator(4).kill()?;
    std::fs::remove_dir_all(cluster.data_dir(4))?;
    cluster.coordinator(4).start()?;
    let status = cluster.coordinator(4).ended(ENDS).await?;
    ensure!(status.code() == Some(1), "{status}");
    let said = cluster.coordinator(4).said()?;
    ensure!(said.contains("node 4 was known with data folder"), "{said}");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_whose_folder_was_lost_comes_back_at_its_own_addresses_under_a_new_id() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(1)).await?;
    cluster.create_group("g", &[1]).await?;
    let leader = cluster.leader().await?;
    let lost = (1..=3).find(|id| *id != leader).context("three coordinators")?;
    cluster.coordinator(lost).kill()?;
    std::fs::remove_dir_all(cluster.data_dir(lost))?;
    cluster.start_in_place_of(lost, 4).await?;
    let client = cluster.client();
    let operation = cluster.replace_member_at(&client, lost, 4, lost).await?;
    succeeded(&change_ended(&client, &operation).await?)?;
    let expected: Vec<u64> = (1..=4).filter(|id| *id != lost).collect();
    ensure!(voters(&client).await? == expected);
    let listed = members(&client).await?.members;
    let back = listed.iter().find(|member| member.id == 4).context("coordinator 4 is listed")?;
    ensure!(back.peer_address == cluster.peer_address(lost), "{back:?}");
    wait_until("it has what the others have", ENDS, async || {
        let at = members(&cluster.client_of(&[lost])?).await?.members;
        ensure!(at.iter().all(|member| member.lag_entries.is_none_or(|lag| lag == 0)), "{at:?}");
        Ok(())
    })
    .await?;
    cluster.finish().await
}

/// Its peer server goes on telling who it is, and it could acknowledge nothing: neither the change nor a cancel of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_whose_disk_hangs_is_not_counted_on_although_it_says_who_it_is() -> Result<()> {
    let faulty = env!("CARGO_BIN_EXE_quorate-faulty");
    let plan = Plan { faulty_program: Some(faulty.into()), ..Plan::with_agents(1) };
    let cluster = Cluster::start(plan).await?;
    cluster.create_group("g", &[1]).await?;
    let leader = cluster.leader().await?;
    let [hangs, other] = (1..=3).filter(|id| *id != leader).collect::<Vec<_>>()[..] else {
        anyhow::bail!("three coordinators")
    };
    cluster.set_disk_rule(hangs, "slow sync 8000ms")?;
    let client = cluster.client_of(&[leader])?;
    let label = SetGroupLabelsRequest {
        request_id: "w".to_owned(),
        group: "g".to_owned(),
        labels: [("key".to_owned(), "value".to_owned())].into(),
    };
    client.set_group_labels(label).await?;
    wait_until("the leader counts on it no more", ENDS, async || {
        let listed = members(&client).await?.members;
        let silent = listed.iter().find(|member| member.id == hangs).and_then(|member| member.last_answer_ms);
        ensure!(silent.is_some_and(|ms| ms > 2_500), "{silent:?}");
        Ok(())
    })
    .await?;
    let request = RemoveMemberRequest { request_id: String::new(), id: other };
    let refused = client.remove_member(request).await;
    ensure!(
        matches!(&refused, Err(ClientError::Refused { code, .. }) if code == "WOULD_LOSE_QUORUM"),
        "{refused:?}"
    );
    let warnings = cluster.status(leader).await?.warnings;
    let unreached = format!("coordinator {hangs} is not reached at");
    ensure!(!warnings.iter().any(|warning| warning.text.contains(&unreached)), "it was asked: {warnings:?}");
    cluster.set_disk_rule(hangs, "")?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_dies_in_the_middle_of_a_change_is_followed_by_one_that_finishes_it() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(1)).await?;
    let leader = cluster.leader().await?;
    let other = (1..=3).find(|id| *id != leader).context("three coordinators")?;
    let client = cluster.new_client(ClientOptions::default())?;
    cluster.start_newcomer(4).await?;
    wait_until("the newcomer answers", ENDS, async || cluster.status(4).await).await?;
    let request = ReplaceMemberRequest {
        request_id: "asked-twice".to_owned(),
        remove: other,
        id: 4,
        api_address: cluster.api_address(4),
        peer_address: cluster.peer_address(4),
    };
    let operation = client.replace_member(request.clone()).await?.operation;
    cluster.coordinator(leader).kill()?;
    // Whoever lost the answer asks again: the newcomer is no stranger any more by then, and that is no refusal.
    let again = client.replace_member(request).await?.operation;
    ensure!(again == operation, "{again}, and {operation} before");
    succeeded(&change_ended(&client, &operation).await?)?;
    cluster.coordinator(leader).start()?;
    gone(&mut cluster, other).await?;
    let expected: Vec<u64> = (1..=4).filter(|id| *id != other).collect();
    ensure!(voters(&client).await? == expected);
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_waits_says_for_what_and_is_taken_back_when_it_is_cancelled() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(1)).await?;
    let client = cluster.new_client(ClientOptions::default())?;
    cluster.start_newcomer(4).await?;
    let request = AddMemberRequest {
        request_id: String::new(),
        id: 4,
        api_address: cluster.api_address(4),
        peer_address: cluster.peer_address(4),
    };
    wait_until("the newcomer answers", ENDS, async || cluster.status(4).await).await?;
    // It answered and stands still from then on: it never catches up.
    let operation = client.add_member(request).await?.operation;
    succeeded(&change_ended(&client, &operation).await?)?;
    cluster.coordinator(4).pause().await?;
    wait_until("the leader counts on it no more", ENDS, async || {
        let listed = members(&client).await?.members;
        let silent = listed.iter().find(|member| member.id == 4).and_then(|member| member.last_answer_ms);
        ensure!(silent.is_some_and(|ms| ms > 2_000), "{silent:?}");
        Ok(())
    })
    .await?;
    let request = PromoteMemberRequest { request_id: String::new(), id: 4 };
    let operation = client.promote_member(request).await?.operation;
    wait_until("the change says what it waits for", ENDS, async || {
        let warnings = members(&client).await?.warnings;
        ensure!(
            warnings.iter().any(|warning| warning.contains("coordinator 4 is not reached")),
            "{warnings:?}"
        );
        Ok(())
    })
    .await?;
    cancel(&client, &operation).await?;
    let ended = change_ended(&client, &operation).await?;
    ensure!(ended.status() == OperationStatus::Failed, "{ended:?}");
    ensure!(ended.outcome.contains("cancelled and taken back"), "{}", ended.outcome);
    ensure!(voters(&client).await? == [1, 2, 3]);
    cluster.coordinator(4).resume().await?;
    let request = RemoveMemberRequest { request_id: String::new(), id: 4 };
    let operation = client.remove_member(request).await?.operation;
    succeeded(&change_ended(&client, &operation).await?)?;
    gone(&mut cluster, 4).await?;
    cluster.finish().await
}
