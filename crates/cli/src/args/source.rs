//! Where a role's configuration comes from: a file, `--set`, and flags for the keys that differ from node to node.

use crate::config::{Flag, Sources};
use clap::Args;
use std::path::PathBuf;

/// A configuration file and what overrides it.
#[derive(Debug, Clone, Args)]
pub(crate) struct SourceArgs {
    /// The configuration file (TOML); the environment overrides it, and flags override both.
    #[arg(short, long, env = "QUORATE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set any key, such as `raft.heartbeat_ms=50`; repeat it for more.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl From<SourceArgs> for Sources {
    fn from(args: SourceArgs) -> Self {
        args.over([])
    }
}

impl SourceArgs {
    fn over<const N: usize>(self, flags: [(&str, &str, Option<String>); N]) -> Sources {
        let given = |(name, key, value): (&str, &str, Option<String>)| {
            value.map(|value| Flag { name: name.to_owned(), key: key.to_owned(), value })
        };
        Sources::of_process(self.config, flags.into_iter().filter_map(given).collect(), self.sets)
    }
}

/// The configuration of a coordinator.
#[derive(Debug, Clone, Args)]
pub(crate) struct CoordinatorArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Sets cluster.id.
    #[arg(long, value_name = "NAME")]
    cluster_id: Option<String>,
    /// Sets node.id.
    #[arg(long, value_name = "N")]
    node_id: Option<String>,
    /// Sets `data_dir`.
    #[arg(long, value_name = "FOLDER")]
    data_dir: Option<String>,
    /// Sets listen.peer.
    #[arg(long, value_name = "HOST:PORT")]
    listen_peer: Option<String>,
    /// Sets listen.api.
    #[arg(long, value_name = "HOST:PORT")]
    listen_api: Option<String>,
    /// Sets members.
    #[arg(long, value_name = "ID=PEER/API,...")]
    members: Option<String>,
}

/// A coordinator to run.
#[derive(Debug, Clone, Args)]
pub(crate) struct RunCoordinatorArgs {
    #[command(flatten)]
    pub(crate) config: CoordinatorArgs,
    /// Your word that nothing runs, nor ever will, on what `data_dir` is a copy of. For one start of a folder that was moved
    /// while another coordinator is lost; wrong, it can make two leaders of one term.
    #[arg(long)]
    pub(crate) original_is_gone: bool,
}

impl From<CoordinatorArgs> for Sources {
    fn from(args: CoordinatorArgs) -> Self {
        args.source.over([
            ("--cluster-id", "cluster.id", args.cluster_id),
            ("--node-id", "node.id", args.node_id),
            ("--data-dir", "data_dir", args.data_dir),
            ("--listen-peer", "listen.peer", args.listen_peer),
            ("--listen-api", "listen.api", args.listen_api),
            ("--members", "members", args.members),
        ])
    }
}

/// The configuration of an agent.
#[derive(Debug, Clone, Args)]
pub(crate) struct AgentArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Sets host.id.
    #[arg(long, value_name = "NAME")]
    host_id: Option<String>,
    /// Sets host.zone.
    #[arg(long, value_name = "NAME")]
    zone: Option<String>,
    /// Sets `state_dir`.
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<String>,
    /// Sets coordinators.
    #[arg(long, value_name = "HOST:PORT,...")]
    coordinators: Option<String>,
    /// Sets listen.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Sets disks.
    #[arg(long, value_name = "NAME=FOLDER,...")]
    disks: Option<String>,
}

impl From<AgentArgs> for Sources {
    fn from(args: AgentArgs) -> Self {
        args.source.over([
            ("--host-id", "host.id", args.host_id),
            ("--zone", "host.zone", args.zone),
            ("--state-dir", "state_dir", args.state_dir),
            ("--coordinators", "coordinators", args.coordinators),
            ("--listen", "listen", args.listen),
            ("--disks", "disks", args.disks),
        ])
    }
}
