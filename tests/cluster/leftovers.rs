//! A test that fails leaves nothing behind: neither the wardens of agents that it killed, nor the services that they guard.

use anyhow::{Context, Result, ensure};
use quorate_tests::{
    Cluster, Plan, leftovers,
    services::{Conduct, Hook, Services},
    wait_until,
};
use std::{fs, time::Duration};

const SERVED: Duration = Duration::from_secs(30);

/// A cluster whose only agent was killed while its service writes; its warden's demote hook fails for ever.
async fn without_its_agent() -> Result<Cluster> {
    let mut cluster = Cluster::prepare(Plan::with_agents(1)).await?;
    let program = env!("CARGO_BIN_EXE_quorate-service").as_ref();
    let services = Services::new(&cluster.root().join("services"), program)?;
    services.tell(Hook::Demote, "h1", Conduct::Fails)?;
    cluster.configure("h1", &services.config())?;
    cluster.start_all().await?;
    cluster.create_group("g", &[1]).await?;
    let mut journal = services.journal("g");
    wait_until("the service writes", SERVED, async || {
        journal.read()?.newest().context("nothing was written yet")?;
        Ok(())
    })
    .await?;
    cluster.agent(1).kill()?;
    Ok(cluster)
}

fn left(cluster: &Cluster) -> (usize, usize) {
    let root = cluster.root();
    (leftovers::wardens(&root).len(), leftovers::started(&root).len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_dropped_ends_its_wardens_and_what_hooks_have_started_and_no_others() -> Result<()>
{
    let (dropped, other) = (without_its_agent().await?, without_its_agent().await?);
    let pids = [leftovers::wardens(&dropped.root()), leftovers::started(&dropped.root())].concat();
    ensure!(left(&dropped).0 == 1 && left(&dropped).1 >= 1, "{:?} are left", left(&dropped));
    drop(dropped);
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        ensure!(stat.as_ref().map_or(true, |stat| stat.contains(") Z ")), "{stat:?} is still there");
    }
    ensure!(left(&other).0 == 1, "the warden of another cluster was ended: {:?}", left(&other));
    Ok(())
}
