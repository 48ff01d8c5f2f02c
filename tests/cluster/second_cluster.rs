//! Coordinators whose folders were deleted form a second cluster under the same name: agents do not go over to it.

use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::control::ListHostsRequest;
use quorate_tests::{Cluster, Plan, binary, wait_until};
use std::{fs, time::Duration};

const SERVED: Duration = Duration::from_secs(30);

/// What `quorate agent status` says of h1, and its exit code.
async fn agent_status(cluster: &Cluster) -> Result<(i32, String)> {
    let program = tokio::task::spawn_blocking(binary::quorate).await??;
    let words = ["agent", "status", "--agent", &cluster.agent_address(1), "-o", "json"];
    let output = tokio::process::Command::new(program).args(words).output().await?;
    let code = output.status.code().context("it was killed")?;
    Ok((code, String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// Waits until the agent says that it was asked to go over, naming both formations, and acts for nobody.
async fn stays_away(cluster: &Cluster, first: &str, second: &str) -> Result<()> {
    wait_until("the agent says whose coordinator it was refused by", SERVED, async || {
        let (code, text) = agent_status(cluster).await?;
        // Read-only; or safe, where one that was dying had the time to say that it has no quorum.
        ensure!(code == 1 || code == 3, "{code}: {text}");
        ensure!(text.contains(first) && text.contains(second), "{text}");
        ensure!(text.contains(&cluster.api_address(1)) && text.contains("state_dir"), "{text}");
        Ok(())
    })
    .await
}

async fn formation(cluster: &Cluster) -> Result<String> {
    let leader = cluster.leader().await?;
    Ok(cluster.status(leader).await?.formation_id)
}

/// The coordinators that the agent would ask after a restart.
fn kept(cluster: &Cluster) -> Result<String> {
    fs::read_to_string(cluster.root().join("h1-state/identity.json")).context("the agent's identity")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_does_not_go_over_to_a_cluster_that_its_emptied_coordinators_form() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(1)).await?;
    cluster.create_group("g", &[1]).await?;
    cluster.wait_for_active("g", SERVED).await?;
    let first = formation(&cluster).await?;
    ensure!(first.len() == 32, "{first}");
    let coordinators: Vec<String> = (1..=3).map(|id| cluster.api_address(id)).collect();
    let known = kept(&cluster)?;
    ensure!(coordinators.iter().all(|address| known.contains(address)), "{known}");

    // All are gone, and the first is started again with an empty folder, and alone: another list than the agent has.
    for id in 1..=3 {
        cluster.coordinator(id).kill()?;
        fs::rename(cluster.data_dir(id), cluster.root().join(format!("c{id}-away")))?;
    }
    let file = cluster.config_file("c1");
    let config = fs::read_to_string(&file)?;
    let others =
        |line: &&str| !line.trim_start().starts_with("\"2=") && !line.trim_start().starts_with("\"3=");
    let alone: Vec<&str> = config.lines().filter(others).collect();
    ensure!(config.lines().count() == alone.len() + 2, "{config}");
    fs::write(&file, alone.join("\n"))?;
    cluster.coordinator(1).start()?;
    let second = formation(&cluster).await?;
    ensure!(second.len() == 32 && second != first, "{second} after {first}");

    stays_away(&cluster, &first, &second).await?;
    // The same from disk.
    cluster.agent(1).kill()?;
    cluster.agent(1).start()?;
    stays_away(&cluster, &first, &second).await?;
    let said = cluster.agent(1).said()?;
    let refused = said.lines().filter(|line| line.contains("this coordinator is of another cluster"));
    ensure!(refused.clone().any(|line| line.contains(&first) && line.contains(&second)), "not in its log");
    let hosts = cluster.client_of(&[1])?.list_hosts(ListHostsRequest::default()).await?.hosts;
    ensure!(hosts.is_empty(), "it registered: {hosts:?}");
    let known = kept(&cluster)?;
    ensure!(coordinators.iter().all(|address| known.contains(address)), "{known}");

    // The real ones come back, and the agent with them.
    cluster.coordinator(1).kill()?;
    fs::remove_dir_all(cluster.data_dir(1))?;
    fs::write(&file, &config)?;
    for id in 1..=3 {
        fs::rename(cluster.root().join(format!("c{id}-away")), cluster.data_dir(id))?;
        cluster.coordinator(id).start()?;
    }
    ensure!(formation(&cluster).await? == first, "it does not keep its formation");
    wait_until("the agent is normal again", SERVED, async || {
        let (code, text) = agent_status(&cluster).await?;
        ensure!(code == 0 && !text.contains(&second), "{code}: {text}");
        Ok(())
    })
    .await?;
    cluster.wait_for_active("g", SERVED).await?;
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}
