//! `quorate dev`: a whole cluster on this machine. Real coordinators with real Raft, real agents over real folders, each
//! a process of its own, all on loopback addresses.

mod cluster;
mod layout;
mod narrate;
mod process;
mod scenario;

use anyhow::{Context, Result};
use clap::Args;
use cluster::Cluster;
use layout::Layout;
use scenario::Scenario;
use std::path::PathBuf;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A cluster to try things on: three coordinators, five storage hosts in three zones, three groups.
#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Keep the cluster in this folder, and take it up again from there [default: a temporary folder, removed at the end].
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
    /// Break something, tell what happens, and exit 0 only if the cluster got over it.
    #[arg(long, value_enum)]
    scenario: Option<Scenario>,
    /// How many coordinators.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=5))]
    coordinators: u8,
    /// How many storage hosts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(2..=50))]
    agents: u8,
}

/// Runs the cluster until it is interrupted or the scenario has ended; returns the exit code.
///
/// # Errors
/// When the cluster does not come up, or a scenario cannot be carried out.
pub(crate) async fn run(args: DevArgs) -> Result<u8> {
    // Holds the temporary folder until the processes in it have ended.
    let temporary =
        if args.dir.is_none() { Some(tempfile::tempdir().context("making a folder")?) } else { None };
    let folder =
        args.dir.as_deref().or(temporary.as_ref().map(tempfile::TempDir::path)).context("no folder")?;
    let layout = Layout::new(folder, args.coordinators, args.agents)?;
    println!(
        "starting {} coordinators and {} storage hosts in {}",
        args.coordinators,
        args.agents,
        folder.display()
    );
    let mut stop = StopSignals::install().context("installing signal handlers")?;
    let mut cluster = Cluster::start(layout)?;
    let result = tokio::select! {
        result = serve(&mut cluster, args.scenario) => result,
        () = stop.any() => Ok(0),
    };
    cluster.stop().await;
    result
}

/// What ends the cluster: ctrl-c, a plain kill, or the end of the terminal. None of them may leave its processes behind.
struct StopSignals([Signal; 3]);

impl StopSignals {
    fn install() -> std::io::Result<Self> {
        let [interrupt, terminate, hangup] =
            [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

async fn serve(cluster: &mut Cluster, scenario: Option<Scenario>) -> Result<u8> {
    cluster.wait_until_serving().await?;
    cluster.describe();
    let Some(scenario) = scenario else {
        println!("\nrunning until ctrl-c");
        return Err(cluster.first_unexpected_end().await);
    };
    println!("\nscenario {scenario}");
    scenario::run(scenario, cluster).await
}
