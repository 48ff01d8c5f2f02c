//! The standard health service: a coordinator serves only while it belongs to a side that can decide.

use anyhow::{Context, Result, ensure};
use quorate_tests::{Cluster, Plan, link::Mode, wait_until};
use std::time::Duration;
use tonic::{Code, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

const SOON: Duration = Duration::from_secs(20);
const GROUPS: &str = "quorate.control.v1.Groups";
/// The empty name is the whole server.
const NAMES: [&str; 8] = [
    "",
    GROUPS,
    "quorate.control.v1.Cluster",
    "quorate.control.v1.Disks",
    "quorate.control.v1.Events",
    "quorate.control.v1.Hosts",
    "quorate.control.v1.Operations",
    "quorate.agent.v1.AgentGateway",
];

fn ask(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

fn client(cluster: &Cluster, id: u64) -> Result<HealthClient<Channel>> {
    let endpoint = quorate_rpc::transport::endpoint(&cluster.api_address(id))?;
    Ok(HealthClient::new(endpoint.connect_lazy()))
}

/// Waits until a coordinator says the same of every service.
async fn wait_for(cluster: &Cluster, id: u64, wanted: ServingStatus) -> Result<()> {
    wait_until(&format!("coordinator {id} is {wanted:?}"), SOON, async || {
        let mut client = client(cluster, id)?;
        for name in NAMES {
            let status = client.check(ask(name)).await?.into_inner().status();
            ensure!(status == wanted, "{name:?} is {status:?}");
        }
        Ok(())
    })
    .await
}

/// The next status that a watch sends, other than the given.
async fn next_other_than(
    watch: &mut tonic::Streaming<tonic_health::pb::HealthCheckResponse>,
    known: ServingStatus,
) -> Result<ServingStatus> {
    let change = async {
        loop {
            let status = watch.message().await?.context("the watch ended")?.status();
            if status != known {
                return Ok(status);
            }
        }
    };
    tokio::time::timeout(SOON, change).await.context("the watch says nothing")?
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_serves_only_while_it_belongs_to_a_side_that_can_decide() -> Result<()> {
    let cluster = Cluster::start(Plan { linked: true, ..Plan::with_agents(0) }).await?;
    for id in 1..=3 {
        wait_for(&cluster, id, ServingStatus::Serving).await?;
    }
    let leader = cluster.leader().await?;
    let follower = leader % 3 + 1;
    let unknown = client(&cluster, leader)?.check(ask("no.such.Service")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let mut watch = client(&cluster, follower)?.watch(ask(GROUPS)).await?.into_inner();
    assert_eq!(next_other_than(&mut watch, ServingStatus::Unknown).await?, ServingStatus::Serving);

    // One follower is cut off: it alone stops serving.
    cluster.links().set_around(follower, Mode::Silent);
    assert_eq!(next_other_than(&mut watch, ServingStatus::Serving).await?, ServingStatus::NotServing);
    for id in (1..=3).filter(|id| *id != follower) {
        wait_for(&cluster, id, ServingStatus::Serving).await?;
    }
    cluster.links().heal();
    assert_eq!(next_other_than(&mut watch, ServingStatus::NotServing).await?, ServingStatus::Serving);

    // All are cut from each other: nobody serves, the old leader neither.
    cluster.leader().await?;
    cluster.links().set_peers(Mode::Silent, |_, _| true);
    for id in 1..=3 {
        wait_for(&cluster, id, ServingStatus::NotServing).await?;
        let status = cluster.status(id).await?;
        assert!(!status.reaches_quorum && !status.can_decide, "{status:?}");
    }
    cluster.links().heal();
    for id in 1..=3 {
        wait_for(&cluster, id, ServingStatus::Serving).await?;
    }
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_of_a_leader_that_hears_no_answers_stop_serving_or_get_another_leader() -> Result<()> {
    let cluster = Cluster::start(Plan { linked: true, coordinators: 5, ..Plan::with_agents(0) }).await?;
    let leader = cluster.leader().await?;
    let companion = leader % 5 + 1;
    let minority = [leader, companion];
    let majority: Vec<u64> = (1..=5).filter(|id| !minority.contains(id)).collect();
    // The leader keeps one follower, which hears it as before, until the leader knows that it has lost its quorum.
    cluster.links().set_between(&minority, &majority, Mode::Silent);
    for id in minority {
        wait_for(&cluster, id, ServingStatus::NotServing).await?;
    }
    for id in majority {
        wait_for(&cluster, id, ServingStatus::Serving).await?;
    }
    cluster.links().heal();
    for id in 1..=5 {
        wait_for(&cluster, id, ServingStatus::Serving).await?;
    }
    cluster.finish().await
}
