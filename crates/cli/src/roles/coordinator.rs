//! `quorate coordinator`.

use super::until_stopped;
use crate::{
    Machine,
    args::RunCoordinatorArgs,
    config::{self, CoordinatorConfig},
};
use quorate_consensus::{Disk, RaftOptions, types::MemberNode, wal};
use quorate_coordinator::CoordinatorOptions;
use quorate_domain::Settings;
use quorate_runtime::{shutdown::Shutdown, telemetry};
use std::{sync::Arc, time::Duration};

/// How long it may take to stop after it was told to; its log is closed in far less.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// Runs a coordinator until it is told to stop.
///
/// # Errors
/// A configuration with problems, or what ended it.
pub(crate) async fn run(args: RunCoordinatorArgs, machine: Machine) -> anyhow::Result<u8> {
    let config = config::coordinator(&args.config.into())?;
    telemetry::init(&config.log.level, config.log.format)?;
    let shutdown = Shutdown::new();
    let options =
        CoordinatorOptions { original_is_gone: args.original_is_gone, ..options(config, machine.disk) };
    let role = quorate_coordinator::run(options, machine.clock, shutdown.clone());
    until_stopped("coordinator", role, &shutdown, STOP_DEADLINE).await
}

/// What the configuration means to the coordinator.
pub(crate) fn options(config: CoordinatorConfig, disk: Arc<dyn Disk>) -> CoordinatorOptions {
    let members = config.members.iter().map(|member| {
        let node = MemberNode { peer_address: member.peer.to_string(), api_address: member.api.to_string() };
        (member.id, node)
    });
    let raft = RaftOptions {
        heartbeat_ms: config.raft.heartbeat_ms,
        election_min_ms: config.raft.election_min_ms,
        election_max_ms: config.raft.election_max_ms,
        snapshot_every: config.raft.snapshot_every,
        keep_entries: config.raft.keep_entries,
        proposal_deadline: Duration::from_millis(config.limits.proposal_deadline_ms),
        members: members.collect(),
        log: wal::Options::default(),
    };
    CoordinatorOptions {
        cluster: config.cluster_id,
        node: config.node_id,
        data_dir: config.data_dir,
        disk,
        original_is_gone: false,
        listen_peer: config.listen_peer.to_string(),
        listen_api: config.listen_api.to_string(),
        raft,
        peer_override: config
            .peer_override
            .into_iter()
            .map(|(id, address)| (id, address.to_string()))
            .collect(),
        settings: Settings { lease: config.lease },
        max_message_bytes: usize::try_from(config.limits.max_message_bytes).unwrap_or(usize::MAX),
    }
}
