//! A guard that gives no word proves nothing: nobody follows before it is known that nothing is left of its service.

use crate::guard::{GROUP, Guarded, PATIENCE, SERVICE};
use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::types::Group;
use quorate_tests::{
    Cluster, Plan, binary,
    health::{status, text, warning},
    process::Process,
    services::{self, Services},
    wait_until,
};
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// Stops the guard of h1 and its keeper, and waits until the status says what is not known; the keeper.
async fn silence(guarded: &Guarded) -> Result<Pid> {
    let keeper = guarded.keeper(1)?;
    kill_process(keeper, Signal::STOP)?;
    guarded.guards.get(&1).context("a guard of the test")?.pause().await?;
    wait_until_told(guarded).await?;
    Ok(keeper)
}

async fn wait_until_told(guarded: &Guarded) -> Result<()> {
    wait_until("the status says that the service may run", PATIENCE, async || {
        let (code, document) = status(&guarded.cluster, &[1, 2, 3]).await?;
        let told = warning(&document, "DEMOTION_NOT_DONE", GROUP)?;
        let said = text(told);
        ensure!(code == 1 && said.contains("on h1 is not known to have stopped"), "{code}: {said}");
        let remedy = told["remedy"].as_str().unwrap_or_default();
        ensure!(remedy.contains("quorate guard g"), "{told}");
        Ok(())
    })
    .await
}

async fn wait_until_untold(guarded: &Guarded) -> Result<()> {
    wait_until("the status says nothing of it any more", PATIENCE, async || {
        let (_, document) = status(&guarded.cluster, &[1, 2, 3]).await?;
        ensure!(warning(&document, "DEMOTION_NOT_DONE", GROUP).is_err(), "{document}");
        Ok(())
    })
    .await
}

/// The old service writes on, and nobody else was made primary meanwhile.
async fn ensure_alone(guarded: &Guarded, before: &Group) -> Result<()> {
    let count = || {
        let mut journal = guarded.services.journal(GROUP);
        let (last, of_it) = journal.read()?.newest().context("nothing was written")?;
        anyhow::Ok((last.clone(), of_it))
    };
    let (_, at_first) = count()?;
    wait_until("the old service has written for some time", PATIENCE, async || {
        let (last, now) = count()?;
        ensure!(last.epoch == before.epoch, "{last:?}");
        ensure!(now > at_first + 300, "{now} after {at_first}");
        Ok(())
    })
    .await?;
    let group = guarded.cluster.group(GROUP).await?;
    ensure!(group.epoch == before.epoch, "{group:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_follows_while_guard_and_keeper_stand_still_and_they_settle_it_when_they_go_on() -> Result<()>
{
    let (guarded, group) = Guarded::start(services::Guarded::Deaf).await?;
    let keeper = silence(&guarded).await?;
    ensure_alone(&guarded, &group).await?;
    kill_process(keeper, Signal::CONT)?;
    guarded.guards.get(&1).context("a guard of the test")?.resume().await?;
    guarded.follows(&group).await?;
    wait_until_untold(&guarded).await?;
    guarded.wait_until_whole().await?;
    guarded.finish().await
}

/// What is ended by force on a host is what hooks started, and the service of a guard is none of that.
#[tokio::test(flavor = "multi_thread")]
async fn hooks_without_a_demote_hook_and_a_fence_command_are_no_proof_of_a_guard() -> Result<()> {
    for hooks in [
        "hooks.on_promote = '/bin/false'\nhooks.service = 'child'\nwarden.cgroups = false\n",
        "warden.fence_command = '/bin/true'\nwarden.cgroups = false\n",
    ] {
        let (mut guarded, group) = Guarded::start(services::Guarded::Deaf).await?;
        let keeper = silence(&guarded).await?;
        guarded.cluster.agent(1).kill()?;
        guarded.cluster.configure("h1", hooks)?;
        guarded.cluster.agent(1).start()?;
        guarded.cluster.wait_for_hosts().await?;
        wait_until("the status says why it waits", PATIENCE, async || {
            let (code, document) = status(&guarded.cluster, &[1, 2, 3]).await?;
            let said = text(warning(&document, "DEMOTION_NOT_DONE", GROUP)?);
            ensure!(code == 1 && said.contains("give the agent a demote hook"), "{code}: {said}");
            Ok(())
        })
        .await?;
        ensure_alone(&guarded, &group).await.with_context(|| hooks.to_owned())?;
        // The keeper's word still counts. The restarted host may have its group back, and its hooks start no service.
        kill_process(keeper, Signal::CONT)?;
        guarded.guard(1)?.kill()?;
        wait_until_untold(&guarded).await?;
        guarded.cluster.wait_for_active(GROUP, PATIENCE).await?;
        guarded.finish().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_told_to_stop_gives_no_group_away_and_says_what_it_leaves() -> Result<()> {
    let (mut guarded, group) = Guarded::start(services::Guarded::Deaf).await?;
    let keeper = silence(&guarded).await?;
    guarded.cluster.agent(1).terminate()?;
    wait_until("the status says that it stops", PATIENCE, async || {
        let (_, document) = status(&guarded.cluster, &[1, 2, 3]).await?;
        let told = warning(&document, "DEMOTION_NOT_DONE", GROUP)?;
        let remedy = told["remedy"].as_str().unwrap_or_default();
        ensure!(text(told).contains("its agent is stopping"), "{told}");
        ensure!(remedy.contains("start it again before"), "{told}");
        Ok(())
    })
    .await?;
    ensure_alone(&guarded, &group).await?;
    // It ends when it must, and is started again, as `systemctl restart` does it.
    let ended = guarded.cluster.agent(1).ended(PATIENCE).await?;
    ensure!(!ended.success(), "{ended}");
    let said = guarded.cluster.agent(1).said()?;
    ensure!(said.contains("the agent is to stop and the service is not known to have stopped"), "{said}");
    ensure!(said.contains("the agent ends and the service is not known to have stopped"), "{said}");
    guarded.cluster.agent(1).start()?;
    guarded.cluster.wait_for_hosts().await?;
    wait_until_told(&guarded).await?;
    ensure_alone(&guarded, &group).await?;
    kill_process(keeper, Signal::CONT)?;
    guarded.guard(1)?.resume().await?;
    guarded.wait_for_writes(group.epoch + 1).await?;
    guarded.ensure_none_outlived()?;
    wait_until_untold(&guarded).await?;
    guarded.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_agent_remembers_it_and_a_later_guard_ends_what_is_left() -> Result<()> {
    let (mut guarded, group) = Guarded::start(services::Guarded::Deaf).await?;
    silence(&guarded).await?;
    guarded.cluster.agent(1).kill()?;
    guarded.cluster.agent(1).start()?;
    guarded.cluster.wait_for_hosts().await?;
    wait_until_told(&guarded).await?;
    ensure_alone(&guarded, &group).await?;
    let agent = guarded.cluster.agent_address(1);
    let command = guarded.services.command(services::Guarded::Deaf)?.display().to_string();
    let words = ["guard", "--agent", &agent, GROUP, "--", &command];
    let mut later = guarded.cluster.other("later", words.map(Into::into).to_vec()).await?;
    later.start()?;
    // The restarted host may have its group back.
    guarded.wait_for_writes(group.epoch + 1).await?;
    wait_until_untold(&guarded).await?;
    ensure!(later.said()?.contains("killed what an earlier guard had left running"), "{}", later.said()?);
    guarded.ensure_none_outlived()?;
    // The first one goes on, and finds that it has a successor.
    guarded.guard(1)?.resume().await?;
    let ended = guarded.guard(1)?.ended(PATIENCE).await?;
    ensure!(!ended.success(), "{ended}");
    later.terminate()?;
    let ended = later.ended(PATIENCE).await?;
    ensure!(matches!(ended.code(), Some(0 | 137 | 143)), "{ended}");
    guarded.finish().await
}

/// Runs something by `setpriv`, of which the words before the program are given.
fn by_setpriv(cluster: &Cluster, name: &str, words: &[&str]) -> Result<Process> {
    let mut process = cluster.foreign(name, "/usr/bin/setpriv", words.iter().map(Into::into).collect());
    process.start()?;
    Ok(process)
}

/// A guard that may not look at the processes of other users, as root in a container without privileges.
#[tokio::test(flavor = "multi_thread")]
async fn what_hides_hinders_a_guard_only_while_its_word_is_awaited_and_an_operator_gives_it() -> Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let cluster = Cluster::start(Plan::with_agents(1)).await?;
    let services = Services::new(&cluster.root().join("services"), SERVICE.as_ref())?;
    let command = services.command(services::Guarded::Deaf)?.display().to_string();
    let quorate = tokio::task::spawn_blocking(binary::quorate).await??.display().to_string();
    let agent = cluster.agent_address(1);
    cluster.create_group(GROUP, &[1]).await?;
    cluster.wait_for_active(GROUP, PATIENCE).await?;
    let mut hides = by_setpriv(&cluster, "hides", &["--reuid", "54321", "--clear-groups", "sleep", "600"])?;
    let guard = |name: &str, more: &[&str]| {
        let words = [
            "--bounding-set",
            "-sys_ptrace,-perfmon,-sys_admin",
            &quorate,
            "guard",
            "--agent",
            &agent,
            GROUP,
        ];
        by_setpriv(&cluster, name, &[&words[..], more, &["--", &command]].concat())
    };
    let serves = async |epoch: u64| {
        wait_until(&format!("the service of epoch {epoch} or later writes"), PATIENCE, async || {
            let mut journal = services.journal(GROUP);
            let (last, _) = journal.read()?.newest().context("nothing was written yet")?;
            ensure!(last.epoch >= epoch, "{last:?}");
            Ok(last.epoch)
        })
        .await
    };

    let mut first = guard("first", &[])?;
    let epoch = serves(0).await?;
    let keeper = *first.children()?.first().context("a guard has a keeper")?;
    first.pause().await?;
    kill_process(keeper, Signal::STOP)?;
    kill_process(keeper, Signal::KILL)?;
    first.kill()?;

    let mut second = guard("second", &[])?;
    wait_until("the status says what hinders the guard", PATIENCE, async || {
        let (code, document) = status(&cluster, &[1, 2, 3]).await?;
        let said = text(warning(&document, "DEMOTION_NOT_DONE", GROUP)?);
        ensure!(
            code == 1 && said.contains("cannot be looked at") && said.contains("--nothing-left"),
            "{said}"
        );
        Ok(())
    })
    .await?;
    second.terminate()?;
    ensure!(second.ended(PATIENCE).await?.success(), "{}", second.said()?);
    let mut third = guard("third", &["--nothing-left"])?;
    serves(epoch + 1).await?;
    third.terminate()?;
    third.ended(PATIENCE).await?;
    hides.kill()?;
    services.journal(GROUP).read()?.ensure_none_outlived()?;
    cluster.finish().await
}
