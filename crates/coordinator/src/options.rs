//! What a coordinator is told at its start.

use quorate_consensus::{Disk, RaftOptions};
use quorate_domain::{ClusterId, CoordinatorId, Settings};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

/// What a coordinator is told at its start. Whoever builds it has checked it.
#[derive(Debug, Clone)]
pub struct CoordinatorOptions {
    /// The cluster.
    pub cluster: ClusterId,
    /// This node.
    pub node: CoordinatorId,
    /// Where its log and state are.
    pub data_dir: PathBuf,
    /// The disk that this folder is on: [`quorate_consensus::RealDisk`], but for tests that break it.
    pub disk: Arc<dyn Disk>,
    /// The word of an operator that nothing runs, nor ever will, on what this folder is a copy of.
    pub original_is_gone: bool,
    /// Where other coordinators reach it, as `host:port` to bind.
    pub listen_peer: String,
    /// Where agents and clients reach it, as `host:port` to bind.
    pub listen_api: String,
    /// Raft's timing, limits, and the initial members.
    pub raft: RaftOptions,
    /// How this node reaches some members' peer port, where it is not the advertised address.
    pub peer_override: BTreeMap<CoordinatorId, String>,
    /// The settings that the cluster is formed with; later the replicated ones count.
    pub settings: Settings,
    /// The largest message that the API takes.
    pub max_message_bytes: usize,
}
