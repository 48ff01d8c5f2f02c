//! The old leader is cut off from its peers while an agent reaches nobody else.

use anyhow::{Context, Result, ensure};
use quorate_rpc::{ClientOptions, client::new_request_id, pb::control::SetGroupLabelsRequest};
use quorate_tests::{Cluster, Plan, link::Mode, probe::boottime_ms, wait_until};
use std::time::Duration;

const SERVED: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn an_isolated_old_leader_renews_nothing_and_the_majority_goes_on() -> Result<()> {
    let cluster = Cluster::start(Plan { linked: true, ..Plan::with_agents(2) }).await?;
    let probe = cluster.probe()?;
    cluster.create_group("g", &[1, 2]).await?;
    let first = probe.wait_for_primary("g", SERVED, |sample| sample.host == "h1").await?;
    let group = cluster.wait_for_active("g", SERVED).await?;
    let old = cluster.leader().await?;
    for id in (1..=3).filter(|id| *id != old) {
        cluster.links().set_agent(1, id, Mode::Closed);
    }
    let since = boottime_ms();
    wait_until("h1 renews by the leader alone", SERVED, async || {
        let last = probe.last("h1", "g").context("h1 said nothing")?;
        ensure!(last.lease_deadline_boot_ms > since + cluster.plan().timing.lease.lease_ms, "{last:?}");
        Ok(())
    })
    .await?;

    cluster.links().set_around(old, Mode::Silent);
    let cut = boottime_ms();
    wait_until("h1 is fenced", SERVED, async || {
        let last = probe.last("h1", "g").context("h1 said nothing")?;
        ensure!(!last.is_primary(), "{last:?}");
        Ok(())
    })
    .await?;
    let heard = cluster.links().agent_bytes(1, old);
    wait_until("h1 still speaks to the old leader", SERVED, async || {
        ensure!(cluster.links().agent_bytes(1, old) > heard);
        Ok(())
    })
    .await?;
    let status = cluster.status(old).await?;
    assert!(!status.can_decide, "the isolated leader thinks that it can decide: {status:?}");
    expect_no_write(&cluster, old).await?;

    let next = probe.wait_for_primary("g", SERVED, |sample| sample.host == "h2").await?;
    assert_eq!(next.epoch, first.epoch + 1);
    let latest_lease =
        probe.samples().into_iter().filter(|sample| sample.host == "h1" && sample.epoch == group.epoch);
    let latest_lease = latest_lease.map(|sample| sample.lease_deadline_boot_ms).max().unwrap_or(0);
    let last_possible = cut + cluster.plan().timing.lease.lease_ms;
    assert!(
        latest_lease <= last_possible,
        "renewed by an isolated leader, {} ms too long",
        latest_lease - last_possible
    );
    assert!(latest_lease < probe.reigns("g")[1].from_boot_ms, "h2 acted before the lease of h1 was over");
    cluster.set_label("majority", "g", "written", "by-the-majority").await?;

    cluster.links().heal();
    cluster.wait_for_equal_states().await?;
    cluster.wait_for_hosts().await?;
    assert_eq!(
        cluster.group("g").await?.labels.get("lost"),
        None,
        "a write of the isolated leader came through"
    );
    probe.assert_no_two_primaries()?;
    cluster.finish().await
}

/// A write that only the isolated leader hears is not acknowledged.
async fn expect_no_write(cluster: &Cluster, old: u64) -> Result<()> {
    let options = ClientOptions {
        deadline: Duration::from_secs(2),
        per_try_timeout: Duration::from_secs(1),
        ..ClientOptions::default()
    };
    let client = quorate_rpc::Client::connect([cluster.api_address(old)], options)?;
    let request = SetGroupLabelsRequest {
        request_id: new_request_id(),
        group: "g".to_owned(),
        labels: [("lost".to_owned(), "yes".to_owned())].into(),
    };
    let answer = client.set_group_labels(request).await;
    let error = answer.expect_err("an isolated leader acknowledged a write");
    ensure!(error.is_unavailable(), "nothing was proposed, so that is what the client should hear: {error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_way_loss_around_the_leader_leaves_one_leader_and_one_primary() -> Result<()> {
    let cluster = Cluster::start(Plan { linked: true, ..Plan::with_agents(2) }).await?;
    let probe = cluster.probe()?;
    cluster.create_group("g", &[1, 2]).await?;
    probe.wait_for_primary("g", SERVED, |sample| sample.host == "h1").await?;
    let old = cluster.leader().await?;
    // What the leader sends arrives; what it is answered does not.
    for id in (1..=3).filter(|id| *id != old) {
        cluster.links().set_peer(id, old, Mode::Silent);
    }
    let next = cluster.leader_other_than(Some(old)).await?;
    wait_until("the old leader decides nothing", SERVED, async || {
        ensure!(!cluster.status(old).await?.can_decide);
        Ok(())
    })
    .await?;
    ensure!(next != old);
    cluster.links().set_around(old, Mode::Open);
    cluster.wait_for_equal_states().await?;
    cluster.wait_for_active("g", SERVED).await?;
    probe.assert_no_two_primaries()?;
    cluster.finish().await
}
