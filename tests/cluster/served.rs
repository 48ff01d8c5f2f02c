//! HEALTHY means that every group is served: what is wrong is named by the status of the cluster, in time and by its code.

use anyhow::{Context, Result, ensure};
use quorate_tests::{
    Cluster, Plan,
    binary::shown,
    health::{status, text, warning},
    link::Mode,
    wait_until,
};
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

const SOON: Duration = Duration::from_secs(20);

/// Gives agents a promote hook, before they are started, and a demote hook that has nothing to stop.
fn hook(cluster: &Cluster, numbers: &[u64], promote: &str) -> Result<()> {
    let script = |name: &str, body: &str| -> Result<PathBuf> {
        let path = cluster.root().join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    };
    let (promote, demote) = (script("promote", promote)?, script("demote", "exit 0")?);
    let hooks =
        format!("hooks.on_promote = '{}'\nhooks.on_demote = '{}'\n", promote.display(), demote.display());
    for number in numbers {
        cluster.configure(&format!("h{number}"), &hooks)?;
    }
    Ok(())
}

/// A status that never called the cluster healthy until this one.
async fn never_healthy_until(
    cluster: &Cluster,
    within: Duration,
    mut is_told: impl FnMut(&Value) -> Result<()>,
) -> Result<()> {
    let began = Instant::now();
    loop {
        let (code, document) = status(cluster, &[1, 2, 3]).await?;
        ensure!(code == 1 && document["health"] == "critical", "exit code {code}: {document}");
        match is_told(&document) {
            Ok(()) => return Ok(()),
            Err(why) => ensure!(began.elapsed() < within, "not told within {within:?}: {why:#}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_promote_hooks_are_named_with_group_host_and_last_words_within_d_and_never_called_healthy()
-> Result<()> {
    let mut cluster = Cluster::prepare(Plan::with_agents(3)).await?;
    hook(&cluster, &[1, 2, 3], "echo no such volume >&2; exit 3")?;
    cluster.start_all().await?;
    wait_until("it is healthy while there is no group", SOON, async || {
        let (code, document) = status(&cluster, &[1, 2, 3]).await?;
        ensure!(code == 0 && document["health"] == "healthy", "exit code {code}: {document}");
        Ok(())
    })
    .await?;
    cluster.create_group("g", &[1, 2, 3]).await?;
    let wait = cluster.plan().timing.wait();
    never_healthy_until(&cluster, wait, |document| {
        let told = warning(document, "GROUP_NOT_SERVED", "g")?;
        ensure!(told["severity"] == "critical" && told["since_ms"].is_u64(), "{told}");
        let said = text(told);
        let named = ["h1", "h2", "h3"].iter().any(|host| said.contains(host));
        ensure!(named && said.contains("exit code 3") && said.contains("no such volume"), "{said}");
        Ok(())
    })
    .await?;
    // Also while one host after the other is tried.
    let until = Instant::now() + wait;
    never_healthy_until(&cluster, wait * 2, |_| {
        ensure!(Instant::now() >= until);
        Ok(())
    })
    .await?;
    let (code, screen) = shown(&["--endpoints", &cluster.api_address(1), "status"]).await?;
    ensure!(code == 1 && screen.contains("1 CRITICAL") && screen.contains("group g for"), "{code}: {screen}");
    ensure!(screen.contains("do: "), "{screen}");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promote_hook_that_hangs_is_named_with_its_group_and_host_for_as_long_as_it_hangs() -> Result<()> {
    let mut cluster = Cluster::prepare(Plan::with_agents(1)).await?;
    // Should the test fail, it is over soon.
    hook(&cluster, &[1], "exec sleep 40")?;
    cluster.configure("h1", "hooks.promote_timeout_ms = 60000\n")?;
    cluster.start_all().await?;
    cluster.create_group("g", &[1]).await?;
    let mut longest = 0;
    never_healthy_until(&cluster, SOON, |document| {
        let told = warning(document, "GROUP_NOT_SERVED", "g")?;
        let lasts = told["since_ms"].as_u64().context("it is known since when")?;
        ensure!(lasts >= longest, "{lasts} ms after {longest} ms");
        longest = lasts;
        let said = text(told);
        ensure!(said.contains("h1") && said.contains("its promote hook has not ended"), "{said}");
        ensure!(lasts > 3_000, "for {lasts} ms");
        Ok(())
    })
    .await?;
    // An agent that stops in order ends its hook with itself.
    cluster.finish().await
}

/// A host of which the state folder hangs never begins to serve: it cannot note the epoch, and it must not act without.
#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_whose_state_folder_hangs_is_named_within_d_and_the_next_one_serves() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(3)).await?;
    cluster.create_group("g", &[1, 2, 3]).await?;
    let first = cluster.wait_for_active("g", SOON).await?;
    // The next write opens a pipe that nobody reads, and waits in the kernel.
    let pipe = cluster.root().join("h2-state/epochs.json.new");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status()?;
    ensure!(made.success(), "mkfifo {}: {made}", pipe.display());
    cluster.agent(1).kill()?;
    let wait = cluster.plan().timing.wait();
    wait_until("h2 is to serve", SOON, async || {
        let group = cluster.group("g").await?;
        ensure!(
            group.primary.as_ref().is_some_and(|member| member.host == "h2") && group.epoch > first.epoch,
            "{group:?}"
        );
        Ok(())
    })
    .await?;
    never_healthy_until(&cluster, wait, |document| {
        let said = text(warning(document, "GROUP_NOT_SERVED", "g")?);
        ensure!(said.contains("h2") && said.contains("has not begun"), "{said}");
        Ok(())
    })
    .await?;
    wait_until("h3 serves", SOON, async || {
        let group = cluster.wait_for_active("g", SOON).await?;
        ensure!(group.primary.as_ref().is_some_and(|member| member.host == "h3"), "{group:?}");
        Ok(())
    })
    .await?;
    let (code, document) = status(&cluster, &[1, 2, 3]).await?;
    ensure!(code == 1, "h1 is offline: exit code {code}: {document}");
    // Nothing that was asked of it ends while its folder hangs.
    cluster.agent(2).kill()?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_coordinator_is_not_reached_in_the_list_of_members_with_a_time() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(0)).await?;
    let leader = cluster.leader().await?;
    let (killed, other) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    let asked = cluster.api_address(other);
    let members = async || {
        let (code, text) = shown(&["--endpoints", &asked, "-o", "json", "member", "list"]).await?;
        ensure!(code == 0, "{code}: {text}");
        let document: Value = serde_json::from_str(&text)?;
        Ok(document["members"].as_array().context("a list")?.clone())
    };
    wait_until("all coordinators answer", SOON, async || {
        let members = members().await?;
        ensure!(members.iter().all(|member| member["state"] == "answering"), "{members:?}");
        Ok(())
    })
    .await?;
    cluster.coordinator(killed).kill()?;
    let since = Instant::now();
    wait_until("the killed one is not reached for a while", SOON, async || {
        let members = members().await?;
        let lost = members.iter().find(|member| member["id"] == killed).context("it is a member")?;
        ensure!(lost["state"] == "not_reached", "{lost}");
        let lasts = lost["state_for_ms"].as_u64().context("it is known for how long")?;
        let longest = u64::try_from(since.elapsed().as_millis())?;
        ensure!(lasts > 2_000, "{lost}");
        ensure!(lasts <= longest + 1_000, "for {lasts} ms, and it was killed {longest} ms ago");
        let rest = members.iter().filter(|member| member["id"] != killed);
        ensure!(rest.clone().all(|member| member["state"] == "answering"), "{members:?}");
        Ok(())
    })
    .await?;
    let (_, table) = shown(&["--endpoints", &asked, "member", "list"]).await?;
    ensure!(table.contains("STATE") && table.contains("not reached for"), "{table}");
    let (code, document) = status(&cluster, &[leader, other]).await?;
    let told = warning(&document, "COORDINATOR_NOT_REACHED", &killed.to_string())?;
    ensure!(code == 1 && text(told).contains("if one more is lost"), "exit code {code}: {told}");
    cluster.coordinator(killed).start()?;
    wait_until("it answers again", SOON, async || {
        let members = members().await?;
        ensure!(members.iter().all(|member| member["state"] == "answering"), "{members:?}");
        let (code, document) = status(&cluster, &[leader, other]).await?;
        ensure!(code == 0, "exit code {code}: {document}");
        Ok(())
    })
    .await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_leader_that_is_cut_off_and_asked_first_is_not_believed() -> Result<()> {
    let cluster = Cluster::start(Plan { linked: true, ..Plan::with_agents(0) }).await?;
    let old = cluster.leader().await?;
    let others: Vec<u64> = (1..=3).filter(|id| *id != old).collect();
    cluster.links().set_around(old, Mode::Silent);
    wait_until("the old leader knows that it has lost its quorum", SOON, async || {
        let said = cluster.status(old).await?;
        ensure!(!said.can_decide && said.leader_id == old, "{said:?}");
        Ok(())
    })
    .await?;
    cluster.leader_other_than(Some(old)).await?;
    for order in [[old, others[0], others[1]], [old, others[1], others[0]]] {
        let (code, document) = status(&cluster, &order).await?;
        ensure!(code != 3 && document["can_decide"] == true, "exit code {code}: {document}");
    }
    wait_until("the old leader is named by the new one", SOON, async || {
        let (code, document) = status(&cluster, &[old, others[0], others[1]]).await?;
        let told = warning(&document, "COORDINATOR_NOT_REACHED", &old.to_string())?;
        ensure!(code == 1 && text(told).contains("if one more is lost"), "exit code {code}: {told}");
        Ok(())
    })
    .await?;
    // Where only it is given, it names the others, which are asked as well.
    let (code, document) = status(&cluster, &[old]).await?;
    ensure!(code == 1 && document["can_decide"] == true, "exit code {code}: {document}");
    // What it knows itself is still to be had.
    let address = cluster.api_address(old);
    let (code, text) = shown(&["--endpoints", &address, "--stale", "-o", "json", "status"]).await?;
    let document: Value = serde_json::from_str(&text)?;
    ensure!(code == 3, "exit code {code}: {text}");
    warning(&document, "LEADER_WITHOUT_QUORUM", &old.to_string())?;
    cluster.links().heal();
    cluster.wait_for_equal_states().await?;
    cluster.finish().await
}
