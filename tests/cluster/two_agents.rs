//! One state folder runs twice: the start that came first gives way for good, and both sides say so.

use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::types::Revision;
use quorate_tests::{Cluster, Plan, process::Process, wait_until};
use std::{fs, time::Duration};

const SOON: Duration = Duration::from_secs(30);

/// An agent on a copy of the state folder of h1, which goes on running.
async fn copy_of_h1(cluster: &Cluster) -> Result<Process> {
    let (from, to) = (cluster.root().join("h1-state"), cluster.root().join("h1-copy"));
    fs::create_dir(&to)?;
    for name in ["identity.json", "epochs.json"] {
        fs::copy(from.join(name), to.join(name)).with_context(|| format!("copying {name}"))?;
    }
    let config = fs::read_to_string(cluster.config_file("h1"))?;
    let (own, other) = (cluster.agent_address(1), cluster.agent_address(9));
    let config = config.replace("h1-state", "h1-copy").replace(&own, &other);
    cluster.stranger("agent", "h1-again", &config).await
}

/// How many events of this type there are about h1.
fn of_h1(history: &[Revision], kind: &str) -> usize {
    let events = history.iter().flat_map(|revision| &revision.events);
    events.filter(|event| event.r#type == kind && event.host == "h1").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_that_another_start_took_the_host_from_gives_way_for_good_and_both_are_told() -> Result<()>
{
    let mut cluster = Cluster::start(Plan::with_agents(2)).await?;
    cluster.create_group("g", &[1, 2]).await?;
    cluster.wait_for_active("g", SOON).await?;
    let leader = cluster.leader().await?;
    let before = cluster.status(leader).await?.revision + 1;

    let mut copy = copy_of_h1(&cluster).await?;
    copy.start()?;
    let status = cluster.agent(1).ended(SOON).await.context("the first start gives way")?;
    assert_eq!(status.code(), Some(1));
    let said = cluster.agent(1).said()?;
    ensure!(said.contains("error: agent: another start of this host's agent took its place"), "{said}");
    wait_until("the copy is told of the other one", SOON, async || {
        ensure!(copy.said()?.contains("another agent asked for host h1 and was refused"));
        Ok(())
    })
    .await?;

    for _ in 0..2 {
        cluster.agent(1).start()?;
        let status = cluster.agent(1).ended(SOON).await.context("a start on the folder that gave way")?;
        assert_eq!(status.code(), Some(1));
    }
    ensure!(cluster.agent(1).said()?.contains("speaks for host h1 no more"));
    // Whoever is primary by now is so without interruption.
    let served = cluster.wait_for_active("g", SOON).await?;
    let until = tokio::time::Instant::now() + cluster.plan().timing.wait() * 3;
    wait_until("several leases have passed", SOON, async || {
        let now = cluster.group("g").await?;
        assert_eq!((now.epoch, now.phase), (served.epoch, served.phase), "{now:?}");
        ensure!(tokio::time::Instant::now() > until);
        Ok(())
    })
    .await?;
    ensure!(copy.is_alive()?, "the one that came later stays: {:?}", copy.said()?.lines().last());
    let history = cluster.history_from(leader, before).await?;
    assert_eq!(of_h1(&history, "HostRestarted"), 1, "the host changed hands once");
    assert_eq!(of_h1(&history, "AgentRefused"), 1, "operators are told once, however often it was refused");
    cluster.finish().await
}
