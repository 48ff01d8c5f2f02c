//! What hosts may do while the coordinators have no quorum, or are out of reach: DESIGN section 5, service modes.

use anyhow::{Context, Result, ensure};
use quorate_rpc::{
    Client, ClientOptions,
    client::{LocalAgentClient, new_request_id},
    pb::{
        agent::{ListRolesRequest, ListRolesResponse},
        control::{GetGroupRequest, GetHostRequest, SetGroupLabelsRequest, groups_client::GroupsClient},
        types::{Consistency, HostStatus, Role, ServiceMode},
    },
    transport,
};
use quorate_tests::{Cluster, Plan, binary::shown, link::Mode, wait_until};
use std::time::{Duration, Instant};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const SERVED: Duration = Duration::from_secs(30);
/// From the cut to safe mode: the lease, a leader that notices, a round of tries at all coordinators. With the short times
/// of tests that is about five seconds; the rest is for a busy machine.
const BOUND: Duration = Duration::from_secs(15);

async fn said(cluster: &Cluster, agent: u64) -> Result<ListRolesResponse> {
    let channel = transport::endpoint(&cluster.agent_address(agent))?.connect_lazy();
    let answer = LocalAgentClient::new(channel).list_roles(ListRolesRequest::default()).await;
    Ok(answer.with_context(|| format!("agent of h{agent}"))?.into_inner())
}

/// Waits until an agent says that its host is in a mode; what it says then.
async fn wait_for(cluster: &Cluster, agent: u64, mode: ServiceMode) -> Result<ListRolesResponse> {
    wait_until(&format!("h{agent} is {mode:?}"), BOUND, async || {
        let said = said(cluster, agent).await?;
        ensure!(said.service_mode() == mode, "{:?}: {}", said.service_mode(), said.service_mode_reason);
        Ok(said)
    })
    .await
}

/// Waits until the leader has so many hosts in normal mode and in read-only mode.
async fn wait_for_modes(cluster: &Cluster, normal: u64, read_only: u64) -> Result<()> {
    wait_until(&format!("{normal} hosts are normal, {read_only} read-only"), SERVED, async || {
        let leader = cluster.leader().await?;
        let modes = cluster.status(leader).await?.service_modes.context("a leader without modes")?;
        ensure!((modes.normal, modes.read_only) == (normal, read_only), "{modes:?}");
        Ok(())
    })
    .await
}

fn expect_no_quorum(refusal: &Status) -> Result<()> {
    let details = refusal.get_error_details();
    let reason = details.error_info().map(|info| info.reason.as_str()).unwrap_or_default();
    ensure!(refusal.code() == Code::Unavailable, "{refusal:?}");
    ensure!(["NO_QUORUM", "NO_LEADER"].contains(&reason), "{reason}: {refusal:?}");
    ensure!(details.retry_info().is_some(), "{refusal:?}");
    Ok(())
}

/// A coordinator without a quorum refuses at once whatever needs one, and marks what it reads without.
async fn expect_refusals(cluster: &Cluster, id: u64) -> Result<()> {
    let channel = transport::endpoint(&cluster.api_address(id))?.connect_lazy();
    let mut groups = GroupsClient::new(channel);
    let began = Instant::now();
    let write = SetGroupLabelsRequest {
        request_id: new_request_id(),
        group: "g".to_owned(),
        labels: [("lost".to_owned(), "yes".to_owned())].into(),
    };
    expect_no_quorum(&groups.set_group_labels(write).await.expect_err("a write without a quorum"))?;
    let read = GetGroupRequest { group: "g".to_owned(), ..Default::default() };
    expect_no_quorum(&groups.get_group(read.clone()).await.expect_err("a read without a quorum"))?;
    ensure!(began.elapsed() < Duration::from_secs(2), "it took {:?} to refuse", began.elapsed());
    let stale = GetGroupRequest { consistency: Consistency::Stale.into(), ..read };
    let view = groups.get_group(stale).await?.into_inner().view.context("a read without a view")?;
    ensure!(view.stale && view.coordinator_id == id, "{view:?}");

    let status = cluster.status(id).await?;
    ensure!(!status.reaches_quorum && !status.can_decide, "{status:?}");
    ensure!(status.warnings.first().is_some_and(|first| first.text.starts_with("no quorum")), "{status:?}");
    let (code, text) = shown(&["--endpoints", &cluster.api_address(id), "status"]).await?;
    ensure!(code == 3 && text.contains("no quorum: coordinator"), "{code}: {text}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_are_safe_while_no_coordinator_has_a_quorum_and_normal_again_by_the_committed_state()
-> Result<()> {
    let cluster = Cluster::start(Plan { linked: true, ..Plan::with_agents(3) }).await?;
    let probe = cluster.probe()?;
    cluster.create_group("g", &[1, 2, 3]).await?;
    let first = cluster.wait_for_active("g", SERVED).await?;
    wait_for_modes(&cluster, 3, 0).await?;

    // The coordinators are apart from each other, and every agent reaches each of them.
    cluster.links().set_peers(Mode::Silent, |_, _| true);
    let cut = Instant::now();
    for agent in 1..=3 {
        let said = wait_for(&cluster, agent, ServiceMode::Safe).await?;
        assert!(said.roles.iter().all(|role| role.role() == Role::Fenced), "{said:?}");
        assert!(said.service_mode_reason.contains("no quorum"), "{said:?}");
        println!("h{agent} is safe {:?} after the cut", cut.elapsed());
    }
    for id in 1..=3 {
        expect_refusals(&cluster, id).await.with_context(|| format!("coordinator {id}"))?;
    }
    let (code, text) = shown(&["agent", "status", "--agent", &cluster.agent_address(2)]).await?;
    ensure!(code == 3 && text.contains("mode          safe"), "{code}: {text}");

    cluster.links().heal();
    wait_for_modes(&cluster, 3, 0).await?;
    let group = cluster.wait_for_active("g", SERVED).await?;
    assert!(group.epoch > first.epoch, "an epoch whose lease lapsed came back: {group:?}");
    assert_eq!(group.labels.get("lost"), None, "a refused write had an effect");
    for agent in 1..=3 {
        wait_for(&cluster, agent, ServiceMode::Normal).await?;
    }
    probe.assert_no_two_primaries()?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

/// The committed status of a host.
async fn status_of(cluster: &Cluster, host: &str) -> Result<HostStatus> {
    let request = GetHostRequest { host: host.to_owned(), ..Default::default() };
    Ok(cluster.client().get_host(request).await?.host.context("an answer without a host")?.status())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_reaches_nobody_is_read_only_and_one_on_the_wrong_side_is_safe() -> Result<()> {
    let cluster = Cluster::start(Plan { linked: true, ..Plan::with_agents(3) }).await?;
    let probe = cluster.probe()?;
    cluster.create_group("g", &[1, 2, 3]).await?;
    let first = cluster.wait_for_active("g", SERVED).await?;
    wait_for_modes(&cluster, 3, 0).await?;

    for id in 1..=3 {
        cluster.links().set_agent(1, id, Mode::Silent);
    }
    wait_for(&cluster, 1, ServiceMode::ReadOnly).await?;
    wait_for_modes(&cluster, 2, 1).await?;
    let next = cluster.wait_for_active("g", SERVED).await?;
    assert_eq!(next.epoch, first.epoch + 1);
    let alone = said(&cluster, 1).await?;
    assert_eq!(alone.service_mode(), ServiceMode::ReadOnly, "nobody says that there is no quorum: {alone:?}");

    // Now it reaches one coordinator, which the others do not.
    let leader = cluster.leader().await?;
    let apart = leader % 3 + 1;
    cluster.links().set_around(apart, Mode::Silent);
    cluster.links().set_agent(1, apart, Mode::Open);
    let safe = wait_for(&cluster, 1, ServiceMode::Safe).await?;
    assert!(safe.service_mode_reason.contains("no quorum"), "{safe:?}");
    let lone = cluster.status(apart).await?;
    assert!(!lone.reaches_quorum, "{lone:?}");
    assert!(lone.service_modes.is_none(), "only a leader knows: {lone:?}");
    assert!(cluster.status(leader).await?.reaches_quorum, "the majority goes on");
    let patience = ClientOptions { deadline: BOUND, ..ClientOptions::default() };
    let majority = Client::connect([cluster.api_address(leader)], patience)?;
    let request = GetGroupRequest { group: "g".to_owned(), ..Default::default() };
    assert!(majority.get_group(request).await.is_ok());

    cluster.links().heal();
    wait_for(&cluster, 1, ServiceMode::Normal).await?;
    assert_eq!(
        status_of(&cluster, "h1").await?,
        HostStatus::Online,
        "normal before the committed state says so"
    );
    wait_for_modes(&cluster, 3, 0).await?;
    probe.assert_no_two_primaries()?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}
