//! A service that a guard runs ends with its lease, whatever becomes of its agent, of its guard, or of the guard's keeper.

use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::{control::RequestFailoverRequest, types::Group};
use quorate_tests::{
    Cluster, Plan,
    process::Process,
    services::{self, Services},
    wait_until,
};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::{collections::BTreeMap, time::Duration};

pub(crate) const GROUP: &str = "g";
pub(crate) const SERVICE: &str = env!("CARGO_BIN_EXE_quorate-service");
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);
/// A service has written so often before its primary is met by anything.
const WRITES_MIN: usize = 30;

/// A cluster of which each host has a guard for the group.
pub(crate) struct Guarded {
    pub(crate) cluster: Cluster,
    pub(crate) services: Services,
    pub(crate) guards: BTreeMap<u64, Process>,
}

impl Guarded {
    /// Starts it with two hosts; the group is served by h1, whose service writes.
    pub(crate) async fn start(guarded: services::Guarded) -> Result<(Self, Group)> {
        Self::start_with(2, guarded).await
    }

    /// The same with so many hosts.
    pub(crate) async fn start_with(hosts: u64, guarded: services::Guarded) -> Result<(Self, Group)> {
        let cluster = Cluster::start(Plan::with_agents(hosts)).await?;
        let numbers: Vec<u64> = (1..=hosts).collect();
        let services = Services::new(&cluster.root().join("services"), SERVICE.as_ref())?;
        let command = services.command(guarded)?;
        cluster.create_group(GROUP, &numbers).await?;
        cluster.wait_for_active(GROUP, PATIENCE).await?;
        let mut guards = BTreeMap::new();
        for &number in &numbers {
            let agent = cluster.agent_address(number);
            let words = ["guard", "--agent", &agent, GROUP, "--", &command.display().to_string()];
            let mut guard = cluster.other(&format!("guard{number}"), words.map(Into::into).to_vec()).await?;
            guard.start()?;
            guards.insert(number, guard);
        }
        // That of h1 may have come after its promotion, and the others have nothing to do.
        let guarded = Self { cluster, services, guards };
        for number in numbers {
            let wanted = if number == 1 { "the service runs" } else { "waiting" };
            guarded.wait_for_word(number, wanted).await?;
        }
        let group = guarded.wait_for_writes(0).await?;
        ensure!(host(&group)? == 1, "{group:?}");
        Ok((guarded, group))
    }

    pub(crate) async fn wait_for_word(&self, number: u64, wanted: &str) -> Result<()> {
        let guard = self.guards.get(&number).context("a guard of the test")?;
        wait_until(&format!("guard {number} says {wanted:?}"), PATIENCE, async || {
            let said = guard.said()?;
            ensure!(said.contains(wanted), "{said}");
            Ok(())
        })
        .await
    }

    pub(crate) fn guard(&mut self, number: u64) -> Result<&mut Process> {
        self.guards.get_mut(&number).context("a guard of the test")
    }

    /// The only process that a guard with a service starts itself.
    pub(crate) fn keeper(&self, number: u64) -> Result<Pid> {
        let children = self.guards.get(&number).context("a guard of the test")?.children()?;
        children.first().copied().filter(|_| children.len() == 1).with_context(|| format!("{children:?}"))
    }

    /// Waits until a service of this epoch or a later one writes, and the group is active under it.
    pub(crate) async fn wait_for_writes(&self, epoch: u64) -> Result<Group> {
        wait_until(&format!("a service of epoch {epoch} or later writes"), PATIENCE, async || {
            let mut journal = self.services.journal(GROUP);
            let (last, of_it) = journal.read()?.newest().context("nothing was written yet")?;
            ensure!(last.epoch >= epoch && of_it >= WRITES_MIN, "{of_it} writes of {last:?}");
            let group = self.cluster.group(GROUP).await?;
            ensure!(group.epoch == last.epoch, "the group is at {}, and {last:?}", group.epoch);
            Ok(group)
        })
        .await
    }

    /// The next host serves, and nothing of an older epoch has written since it does.
    pub(crate) async fn follows(&self, before: &Group) -> Result<Group> {
        let after = self.wait_for_writes(before.epoch + 1).await?;
        ensure!(host(&after)? != host(before)?, "{after:?}");
        self.ensure_none_outlived()?;
        Ok(after)
    }

    pub(crate) fn ensure_none_outlived(&self) -> Result<()> {
        self.services.journal(GROUP).read()?.ensure_none_outlived()
    }

    pub(crate) async fn fail_over(&self) -> Result<()> {
        let request = RequestFailoverRequest { group: GROUP.to_owned(), ..Default::default() };
        self.cluster.client().request_failover(request).await.context("the failover was refused")?;
        Ok(())
    }

    /// Every old primary is known to have stopped.
    pub(crate) async fn wait_until_whole(&self) -> Result<()> {
        self.cluster.wait_for_hosts().await?;
        wait_until("every old primary is known to have stopped", PATIENCE, async || {
            let group = self.cluster.group(GROUP).await?;
            ensure!(group.unstopped.is_empty(), "{:?}", group.unstopped);
            Ok(())
        })
        .await
    }

    /// Ends everything in order; no guard may have ended before.
    pub(crate) async fn finish(mut self) -> Result<()> {
        for guard in self.guards.values_mut().filter(|guard| guard.should_run()) {
            ensure!(guard.is_alive()?, "{} ended by itself", guard.name());
        }
        for guard in self.guards.values_mut().filter(|guard| guard.should_run()) {
            guard.terminate()?;
            let status = guard.ended(PATIENCE).await?;
            ensure!(matches!(status.code(), Some(0 | 137 | 143)), "{} ended with {status}", guard.name());
        }
        self.ensure_none_outlived()?;
        self.cluster.finish().await
    }
}

pub(crate) fn host(group: &Group) -> Result<u64> {
    let host = &group.primary.as_ref().context("a group without a primary")?.host;
    host.trim_start_matches('h').parse().with_context(|| format!("no number in {host:?}"))
}

/// Waits until the service of a host is no more, without a word of anybody.
async fn wait_until_gone(pid: Pid) -> Result<()> {
    wait_until("the service is gone", PATIENCE, async || {
        ensure!(test_kill_process(pid).is_err(), "it runs");
        Ok(())
    })
    .await
}

fn service_of(guarded: &Guarded, number: u64) -> Result<Pid> {
    let pid = guarded.services.pid(GROUP, &format!("h{number}")).context("it has not written its number")?;
    Pid::from_raw(pid).context("no process has number 0")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_service_ends_before_the_next_begins_in_a_clean_failover() -> Result<()> {
    let (guarded, mut group) = Guarded::start(services::Guarded::Obeys).await?;
    for _ in 0..3 {
        guarded.fail_over().await?;
        group = guarded.follows(&group).await?;
        guarded.wait_until_whole().await?;
    }
    guarded.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_service_that_ignores_sigterm_is_killed_with_all_that_it_started() -> Result<()> {
    let (guarded, group) = Guarded::start(services::Guarded::Deaf).await?;
    guarded.fail_over().await?;
    let group = guarded.follows(&group).await?;
    guarded.wait_until_whole().await?;
    guarded.fail_over().await?;
    guarded.follows(&group).await?;
    guarded.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guarded_service_of_a_killed_agent_is_gone_before_the_next_begins() -> Result<()> {
    let (mut guarded, group) = Guarded::start(services::Guarded::Deaf).await?;
    guarded.cluster.agent(1).kill()?;
    let group = guarded.follows(&group).await?;
    guarded.cluster.agent(1).start()?;
    guarded.wait_until_whole().await?;
    guarded.fail_over().await?;
    guarded.follows(&group).await?;
    guarded.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_guarded_service_of_a_stopped_agent_is_gone_before_the_next_begins() -> Result<()> {
    let (mut guarded, group) = Guarded::start(services::Guarded::Deaf).await?;
    guarded.cluster.agent(1).pause().await?;
    let group = guarded.follows(&group).await?;
    guarded.cluster.agent(1).resume().await?;
    guarded.wait_until_whole().await?;
    guarded.ensure_none_outlived()?;
    guarded.fail_over().await?;
    guarded.follows(&group).await?;
    guarded.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_of_a_killed_guard_dies_with_it_and_the_next_begins() -> Result<()> {
    let (mut guarded, group) = Guarded::start(services::Guarded::Deaf).await?;
    let service = service_of(&guarded, 1)?;
    guarded.guard(1)?.kill()?;
    wait_until_gone(service).await?;
    guarded.follows(&group).await?;
    let before = guarded.guard(1)?.said()?.len();
    guarded.guard(1)?.start()?;
    wait_until("another guard waits for the next time", PATIENCE, async || {
        let said = guarded.guards.get(&1).context("a guard of the test")?.said()?;
        ensure!(said[before..].contains("waiting"), "{}", &said[before..]);
        Ok(())
    })
    .await?;
    guarded.wait_until_whole().await?;
    guarded.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_of_a_stopped_guard_is_gone_before_the_next_begins() -> Result<()> {
    let (mut guarded, group) = Guarded::start(services::Guarded::Deaf).await?;
    guarded.guard(1)?.pause().await?;
    guarded.follows(&group).await?;
    guarded.guard(1)?.resume().await?;
    guarded.wait_until_whole().await?;
    guarded.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_of_a_stopped_or_killed_keeper_is_gone_before_the_next_begins() -> Result<()> {
    for signal in [Signal::STOP, Signal::KILL] {
        let (mut guarded, group) = Guarded::start(services::Guarded::Deaf).await?;
        kill_process(guarded.keeper(1)?, signal)?;
        guarded.follows(&group).await.with_context(|| format!("{signal:?}"))?;
        if signal == Signal::KILL {
            // Its guard had nothing left to do, and says so.
            let status = guarded.guard(1)?.ended(PATIENCE).await?;
            ensure!(status.code() == Some(1), "{status}");
        }
        guarded.finish().await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guarded_service_that_ends_by_itself_hands_the_group_over_and_its_exit_code_on() -> Result<()> {
    let (mut guarded, group) = Guarded::start(services::Guarded::Leaves).await?;
    let service = service_of(&guarded, 1)?;
    guarded.services.leave()?;
    let status = guarded.guard(1)?.ended(PATIENCE).await?;
    ensure!(status.code() == Some(7), "{status}");
    ensure!(test_kill_process(service).is_err(), "what it left running goes before the guard does");
    wait_until("the group has left h1 for a reason that is told", PATIENCE, async || {
        let now = guarded.cluster.group(GROUP).await?;
        ensure!(now.epoch > group.epoch, "{now:?}");
        let said = guarded.cluster.agent(1).said()?;
        ensure!(said.contains("ended with exit code 7; nobody had asked it to end"), "{said}");
        Ok(())
    })
    .await?;
    guarded.ensure_none_outlived()?;
    // The guard of h2 has started the same, which ended likewise.
    let status = guarded.guard(2)?.ended(PATIENCE).await?;
    ensure!(status.code() == Some(7), "{status}");
    guarded.finish().await
}
