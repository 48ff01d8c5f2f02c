//! What a guard says, passes on and refuses.

use crate::guard::{GROUP, Guarded, PATIENCE};
use anyhow::{Context, Result, bail, ensure};
use quorate_rpc::{
    Failure, classify,
    client::LocalAgentClient,
    pb::{
        agent::{GuardStoppedRequest, ListRolesRequest},
        types::{GroupPhase, Role},
    },
    transport,
};
use quorate_tests::{Cluster, Plan, binary, process::Process, services, wait_until};
use rustix::process::Signal;
use std::{
    fs,
    process::{Command, ExitStatus},
};

async fn guard(cluster: &Cluster, name: &str, words: &[&str]) -> Result<Process> {
    let agent = cluster.agent_address(1);
    let all = ["guard", "--agent", &agent].into_iter().chain(words.iter().copied());
    let mut guard = cluster.other(name, all.map(Into::into).collect()).await?;
    guard.start()?;
    Ok(guard)
}

/// A guard in a namespace of times of its own, where this user can make one.
async fn by_another_clock(cluster: &Cluster) -> Result<Option<Process>> {
    let apart = ["--time", "--boottime", "-1000"];
    if !Command::new("unshare").args(apart).arg("true").status().is_ok_and(|status| status.success()) {
        return Ok(None);
    }
    let quorate = tokio::task::spawn_blocking(binary::quorate).await??.display().to_string();
    let agent = cluster.agent_address(2);
    let words = ["--fork", &quorate, "guard", "--agent", &agent, GROUP, "--", "sleep", "600"];
    let words = apart.into_iter().chain(words).map(Into::into).collect();
    let mut guard = cluster.foreign("by-another-clock", "/usr/bin/unshare", words);
    guard.start()?;
    Ok(Some(guard))
}

/// How it ends by itself, and what it has said by then.
async fn outcome(mut guard: Process) -> Result<(ExitStatus, String)> {
    let status = guard.ended(PATIENCE).await?;
    Ok((status, guard.said()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_and_sigint_end_service_and_guard_and_the_group_moves() -> Result<()> {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let (mut guarded, group) = Guarded::start(services::Guarded::Obeys).await?;
        guarded.guard(1)?.signal(signal)?;
        let status = guarded.guard(1)?.ended(PATIENCE).await?;
        ensure!(status.code() == Some(code), "{status}");
        guarded.follows(&group).await?;
        guarded.finish().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_sigterm_kills_a_deaf_service_at_once() -> Result<()> {
    let (mut guarded, group) = Guarded::start(services::Guarded::Deaf).await?;
    guarded.guard(1)?.terminate()?;
    guarded.wait_for_word(1, "told to stop").await?;
    ensure!(guarded.guard(1)?.is_alive()?, "the service has ten seconds");
    guarded.guard(1)?.terminate()?;
    let status = guarded.guard(1)?.ended(PATIENCE).await?;
    ensure!(status.code() == Some(137), "{status}");
    guarded.follows(&group).await?;
    guarded.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_is_refused_by_name_where_it_cannot_be() -> Result<()> {
    let (guarded, _) = Guarded::start(services::Guarded::Obeys).await?;
    let second = guard(&guarded.cluster, "second", &[GROUP, "--", "sleep", "600"]).await?;
    let (status, said) = outcome(second).await?;
    ensure!(status.code() == Some(4), "{status}: {said}");
    ensure!(said.contains("group g has a guard on this host already: process"), "{said}");
    let wrong = guard(&guarded.cluster, "wrong", &["no-such-group", "--", "sleep", "600"]).await?;
    let (status, said) = outcome(wrong).await?;
    ensure!(status.code() == Some(4), "{status}: {said}");
    ensure!(said.contains("knows no group no-such-group; check its name"), "{said}");
    let no_program = guard(&guarded.cluster, "no-program", &[GROUP, "--", "/there/is/none"]).await?;
    let (status, said) = outcome(no_program).await?;
    ensure!(status.code() == Some(2) && said.contains("COMMAND /there/is/none: "), "{status}: {said}");
    if let Some(by_another_clock) = by_another_clock(&guarded.cluster).await? {
        let (status, said) = outcome(by_another_clock).await?;
        ensure!(status.code() == Some(4) && said.contains("counts by another clock"), "{status}: {said}");
    }
    guarded.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_cannot_say_that_the_service_of_a_guard_has_stopped() -> Result<()> {
    let (guarded, group) = Guarded::start(services::Guarded::Deaf).await?;
    let agent = transport::endpoint(&guarded.cluster.agent_address(1))?.connect().await?;
    let mut agent = LocalAgentClient::new(agent);
    for secret in ["", "d41d8cd98f00b204e9800998ecf8427e"] {
        let (reason, secret) = ("a stranger says so".to_owned(), secret.to_owned());
        let word = GuardStoppedRequest { group: GROUP.to_owned(), epoch: group.epoch, reason, secret };
        let refused = agent.guard_stopped(word).await.err().context("a stranger was believed")?;
        let Failure::Refused { code, message } = classify(&refused) else { bail!("{refused}") };
        ensure!(code == "NO_KEEPER" && message.contains("only the keeper of the guard"), "{message}");
    }
    // Nor does it end what no guard serves.
    guarded.cluster.create_group("plain", &[1, 2]).await?;
    let plain = guarded.cluster.wait_for_active("plain", PATIENCE).await?;
    let (reason, secret) = ("a stranger says so".to_owned(), String::new());
    agent
        .guard_stopped(GuardStoppedRequest { group: plain.id.clone(), epoch: plain.epoch, reason, secret })
        .await?;
    for before in [&plain, &group] {
        let now = guarded.cluster.group(&before.id).await?;
        ensure!(now.epoch == before.epoch && now.phase() == GroupPhase::Active, "{now:?}");
    }
    let roles = agent.list_roles(ListRolesRequest::default()).await?.into_inner().roles;
    let served = roles.iter().filter(|role| role.role() == Role::Primary).count();
    ensure!(served == 2, "{roles:?}");
    guarded.wait_for_writes(group.epoch).await?;
    guarded.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_waits_for_its_agent_unless_it_is_told_not_to() -> Result<()> {
    let mut cluster = Cluster::start(Plan::with_agents(2)).await?;
    cluster.create_group(GROUP, &[1, 2]).await?;
    cluster.wait_for_active(GROUP, PATIENCE).await?;
    cluster.agent(1).kill()?;
    let hasty = guard(&cluster, "hasty", &["--no-wait", GROUP, "--", "sleep", "600"]).await?;
    let (status, said) = outcome(hasty).await?;
    ensure!(status.code() == Some(3) && said.contains("does not answer"), "{status}: {said}");
    let told = cluster.root().join("told");
    let tell = format!("env | grep ^QUORATE_ > {0}.new; mv {0}.new {0}; exec sleep 600", told.display());
    let patient = guard(&cluster, "patient", &[GROUP, "--", "sh", "-c", &tell]).await?;
    wait_until("it says that it waits", PATIENCE, async || {
        ensure!(patient.said()?.contains("does not answer"));
        Ok(())
    })
    .await?;
    cluster.agent(1).start()?;
    cluster.wait_for_hosts().await?;
    wait_until("it waits for its role", PATIENCE, async || {
        ensure!(patient.said()?.contains("attached to the agent"), "{}", patient.said()?);
        Ok(())
    })
    .await?;
    let request = quorate_rpc::pb::control::RequestFailoverRequest {
        group: GROUP.to_owned(),
        target: "h1".to_owned(),
        ..Default::default()
    };
    wait_until("h1 is primary", PATIENCE, async || {
        let group = cluster.group(GROUP).await?;
        if group.primary.as_ref().is_some_and(|primary| primary.host == "h1") {
            return Ok(());
        }
        cluster.client().request_failover(request.clone()).await.context("not yet")?;
        anyhow::bail!("it moves")
    })
    .await?;
    let seen = wait_until("the service runs", PATIENCE, async || Ok(fs::read_to_string(&told)?)).await?;
    let disk = cluster.disk(1);
    for wanted in
        ["QUORATE_GROUP=g", "QUORATE_EPOCH=", "QUORATE_ROLE=primary", "QUORATE_HOST=h1", "QUORATE_DISK=d1"]
    {
        ensure!(seen.lines().any(|line| line.starts_with(wanted)), "{seen}");
    }
    ensure!(seen.contains(&format!("QUORATE_DISK_PATH={}", disk.display())), "{seen}");
    patient.terminate()?;
    let (status, said) = outcome(patient).await?;
    ensure!(status.code() == Some(143), "{status}: {said}");
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_with_hooks_takes_no_guard() -> Result<()> {
    let mut cluster = Cluster::prepare(Plan::with_agents(2)).await?;
    for number in [1, 2] {
        let file = cluster.config_file(&format!("h{number}"));
        fs::write(&file, format!("hooks.on_demote = '/bin/true'\n{}", fs::read_to_string(&file)?))?;
    }
    cluster.start_all().await?;
    cluster.create_group(GROUP, &[1, 2]).await?;
    cluster.wait_for_active(GROUP, PATIENCE).await?;
    let refused = guard(&cluster, "refused", &[GROUP, "--", "sleep", "600"]).await?;
    let (status, said) = outcome(refused).await?;
    ensure!(status.code() == Some(4) && said.contains("GUARD_BESIDE_HOOKS"), "{status}: {said}");
    cluster.finish().await
}
