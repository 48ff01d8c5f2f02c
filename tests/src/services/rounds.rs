//! Rounds of one mode on one cluster: the primary is met by it, another host follows, everything is whole again.

use super::{Conduct, Hook, Journal, Mode, Services};
use crate::{Cluster, Plan, Timing, wait_until};
use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::{control::RequestFailoverRequest, types::Group};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

const GROUP: &str = "g";
const HOSTS: u64 = 3;
/// How long a cluster may take, beyond every wait that it is configured with, until the next service writes and until
/// everything is whole again.
const PATIENCE: Duration = Duration::from_secs(45);

/// A service has written so often before its primary is met by anything.
const WRITES_MIN: usize = 50;

/// What is run.
#[derive(Debug, Clone)]
pub struct Options {
    /// What happens to the primary.
    pub mode: Mode,
    /// How often.
    pub rounds: u32,
    /// The times of the cluster.
    pub timing: Timing,
    /// The program of `quorate-service`.
    pub program: PathBuf,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Rounds {
    /// Writes of all services.
    pub writes: usize,
    /// From each fault to the first write of the next epoch.
    pub gaps: Vec<Duration>,
}

/// Runs the rounds.
///
/// # Errors
/// When a service outlives its lease, or the next one does not come.
pub async fn run(options: &Options) -> Result<Rounds> {
    let usual = Plan::with_agents(HOSTS);
    let log_level = if options.mode == Mode::LogUnread { "trace" } else { usual.log_level };
    let plan = Plan { timing: options.timing.clone(), log_level, ..usual };
    let mut cluster = Cluster::prepare(plan).await?;
    let services = Services::new(&cluster.root().join("services"), &options.program)?;
    for number in 1..=HOSTS {
        let name = format!("h{number}");
        services.tell(Hook::Demote, &name, options.mode.demotion())?;
        cluster.configure(&name, &services.config())?;
        if options.mode == Mode::LogUnread {
            cluster.agent(number).say_to_nobody();
        }
    }
    cluster.start_all().await?;
    cluster.create_group(GROUP, &[1, 2, 3]).await?;
    let (mut gaps, mut journal) = (Vec::new(), services.journal(GROUP));
    for _ in 0..options.rounds {
        let before = wait_for_writes(&cluster, &mut journal, 0).await?;
        let primary = number(&before)?;
        let met = Instant::now();
        meet(&mut cluster, options.mode, primary).await?;
        wait_for_writes(&cluster, &mut journal, before.epoch + 1).await?;
        gaps.push(met.elapsed());
        journal.read()?.ensure_none_outlived()?;
        make_whole(&mut cluster, options.mode, primary).await?;
        journal.read()?.ensure_none_outlived()?;
    }
    let writes = journal.read()?.writes();
    // An agent stays as long as it may while what it has started is not known to have stopped.
    for number in 1..=HOSTS {
        services.tell(Hook::Demote, &format!("h{number}"), Conduct::Works)?;
    }
    cluster.finish().await?;
    Ok(Rounds { writes, gaps })
}

/// The number of the host that is primary.
fn number(group: &Group) -> Result<u64> {
    let host = group.primary.as_ref().context("a group without a primary")?;
    host.host.trim_start_matches('h').parse().with_context(|| format!("no number in {host:?}"))
}

/// Waits until a service of this epoch or a later one writes, and the group is active under it.
async fn wait_for_writes(cluster: &Cluster, journal: &mut Journal, epoch: u64) -> Result<Group> {
    wait_until(&format!("a service of epoch {epoch} or later writes"), PATIENCE, async || {
        let (last, of_it) = journal.read()?.newest().context("nothing was written yet")?;
        ensure!(last.epoch >= epoch, "{last:?} was written last");
        ensure!(of_it >= WRITES_MIN, "{of_it} writes of {last:?}");
        let group = cluster.wait_for_active(GROUP, PATIENCE).await?;
        ensure!(group.epoch == last.epoch, "{last:?} was written last, and the group is at {}", group.epoch);
        Ok(group)
    })
    .await
}

async fn meet(cluster: &mut Cluster, mode: Mode, primary: u64) -> Result<()> {
    match mode {
        Mode::CleanFailover | Mode::DemotionFails | Mode::DemotionSlow | Mode::LogUnread => {
            let request = RequestFailoverRequest { group: GROUP.to_owned(), ..Default::default() };
            cluster.client().request_failover(request).await.context("the failover was refused")?;
        }
        Mode::AgentKilled => cluster.agent(primary).kill()?,
        Mode::AgentStopped => cluster.agent(primary).pause().await?,
    }
    Ok(())
}

/// Undoes what was done, and waits until the old primary may be promoted again.
async fn make_whole(cluster: &mut Cluster, mode: Mode, primary: u64) -> Result<()> {
    match mode {
        Mode::AgentKilled => cluster.agent(primary).start()?,
        Mode::AgentStopped => cluster.agent(primary).resume().await?,
        _ => {}
    }
    cluster.wait_for_hosts().await?;
    wait_until("every old primary is known to have stopped", PATIENCE, async || {
        let group = cluster.group(GROUP).await?;
        ensure!(group.unstopped.is_empty(), "{:?}", group.unstopped);
        Ok(())
    })
    .await
}
