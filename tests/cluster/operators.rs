//! What operators do to hosts, disks and members, by the verbs of the binary on a running cluster.

use anyhow::{Context, Result, bail, ensure};
use quorate_rpc::{ClientOptions, pb::control::GetStatusRequest, pb::types::GroupPhase};
use quorate_tests::{Cluster, Plan, binary, wait_until};
use std::{process::Output, time::Duration};

const SERVED: Duration = Duration::from_secs(30);

/// Runs a verb against the cluster.
async fn verb(cluster: &Cluster, words: &[&str]) -> Result<Output> {
    let program = tokio::task::spawn_blocking(binary::quorate).await??;
    let endpoints: Vec<_> = (1..=3).map(|id| cluster.api_address(id)).collect();
    let run = tokio::process::Command::new(program)
        .args(["--endpoints", &endpoints.join(",")])
        .args(words)
        .output();
    Ok(run.await?)
}

async fn done(cluster: &Cluster, words: &[&str]) -> Result<String> {
    let output = verb(cluster, words).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{words:?} ended with {}: {said}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A verb that is refused under this code.
async fn refused(cluster: &Cluster, words: &[&str], code: &str) -> Result<()> {
    let output = verb(cluster, words).await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(4) && said.contains(code), "{words:?}, {}: {said}", output.status);
    Ok(())
}

async fn order(cluster: &Cluster) -> Result<Vec<String>> {
    Ok(cluster.group("g").await?.members.into_iter().map(|member| member.host).collect())
}

async fn wait_for_primary(cluster: &Cluster, host: &str) -> Result<()> {
    wait_until(&format!("{host} acts"), SERVED, async || {
        let group = cluster.group("g").await?;
        let primary = group.primary.as_ref().context("no primary")?;
        ensure!(group.phase() == GroupPhase::Active && primary.host == host, "{group:?}");
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_the_order_stays_and_a_cordoned_host_is_spared() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(3)).await?;
    cluster.create_group("g", &[1, 2]).await?;
    wait_for_primary(&cluster, "h1").await?;

    done(&cluster, &["group", "member", "add", "g", "h3"]).await?;
    refused(&cluster, &["group", "failover", "g", "--to", "h3"], "NOT_ELIGIBLE").await?;
    done(&cluster, &["group", "member", "accept", "g", "h3", "--reason", "copied by hand"]).await?;
    done(&cluster, &["host", "cordon", "h2", "--reason", "new kernel"]).await?;
    refused(&cluster, &["group", "failover", "g", "--to", "h2"], "NOT_ELIGIBLE").await?;
    done(&cluster, &["group", "failover", "g", "--wait"]).await?;
    wait_for_primary(&cluster, "h3").await?;
    assert_eq!(order(&cluster).await?, ["h1", "h2", "h3"], "who leads does not change it");

    done(&cluster, &["host", "uncordon", "h2"]).await?;
    refused(&cluster, &["group", "member", "remove", "g", "h3", "--reason", "x"], "MEMBER_IS_PRIMARY")
        .await?;
    done(&cluster, &["group", "member", "remove", "g", "h1", "--reason", "moved"]).await?;
    done(&cluster, &["group", "member", "reorder", "g", "h3", "h2"]).await?;
    let shown = done(&cluster, &["group", "show", "g"]).await?;
    ensure!(shown.contains("order         h3/d1 h2/d1"), "{shown}");

    refused(&cluster, &["host", "forget", "h1", "--reason", "sold"], "HOST_NOT_OFFLINE").await?;
    refused(&cluster, &["disk", "forget", "h2/d1", "--reason", "x"], "DISK_IS_MEMBER").await?;
    cluster.agent(1).terminate()?;
    cluster.agent(1).ended(SERVED).await?;
    wait_until("h1 is forgotten once it is offline", SERVED, async || {
        let output = verb(&cluster, &["host", "forget", "h1", "--reason", "sold"]).await?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    })
    .await?;
    refused(&cluster, &["host", "show", "h1"], "HOST_NOT_FOUND").await?;
    cluster.agent(1).start()?;
    wait_until("it may come back as a new host", SERVED, async || {
        done(&cluster, &["host", "show", "h1"]).await.map(|_| ())
    })
    .await?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_and_agents_that_mean_another_cluster_are_refused() -> Result<()> {
    let cluster = Cluster::start(Plan::with_agents(1)).await?;
    done(&cluster, &["--cluster", "test", "host", "list"]).await?;
    for words in [&["host", "list"][..], &["status"], &["events"]] {
        let words = [&["--cluster", "prod"][..], words].concat();
        let output = verb(&cluster, &words).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(4) && said.contains("prod is meant"), "{words:?}: {said}");
    }
    let options = ClientOptions { cluster: Some("prod".parse()?), ..ClientOptions::default() };
    let refusal = cluster.new_client(options)?.get_status(GetStatusRequest::default()).await;
    let Err(error) = refusal else { bail!("it was answered") };
    ensure!(error.to_string().contains("cluster test"), "{error}");

    cluster.wait_for_hosts().await?;
    let agent = cluster.agent_address(1);
    done(&cluster, &["--cluster", "test", "agent", "status", "--agent", &agent]).await?;
    let asks = ["--cluster", "prod", "agent", "status", "--agent", &agent];
    let guards = ["--cluster", "prod", "guard", "--agent", &agent, "g", "--", "sleep", "600"];
    for words in [&asks[..], &guards] {
        let output = verb(&cluster, words).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(4), "{words:?}, {}: {said}", output.status);
        for word in ["this agent is of cluster test, and prod is meant", "[OTHER_CLUSTER]"] {
            ensure!(said.contains(word), "{words:?}: {said}");
        }
    }

    let coordinator = cluster.api_address(1);
    let asks = ["agent", "status", "--agent", &coordinator];
    let guards = ["guard", "--agent", &coordinator, "g", "--", "sleep", "600"];
    let checks = ["healthcheck", "agent", "--address", &coordinator];
    for (words, code) in [(&asks[..], 3), (&guards, 1), (&checks, 1)] {
        let output = verb(&cluster, words).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(code), "{words:?}, {}: {said}", output.status);
        ensure!(said.contains(&format!("what answers at {coordinator} is no agent")), "{words:?}: {said}");
        ensure!(said.contains("listen"), "{words:?}: {said}");
    }

    let config = std::fs::read_to_string(cluster.config_file("h1"))?;
    let (own, other) = (cluster.agent_address(1), cluster.agent_address(9));
    let config = config.replace("\"test\"", "\"prod\"").replace("h1", "h9").replace(&own, &other);
    std::fs::create_dir_all(cluster.root().join("h9-d1"))?;
    let mut stranger = cluster.stranger("agent", "h9", &config).await?;
    stranger.start()?;
    wait_until("the agent says that this is another cluster", SERVED, async || {
        let said = stranger.said()?;
        ensure!(said.contains("this coordinator is of cluster test, and prod is meant"), "{said}");
        Ok(())
    })
    .await?;
    refused(&cluster, &["host", "show", "h9"], "HOST_NOT_FOUND").await?;
    cluster.finish().await
}
