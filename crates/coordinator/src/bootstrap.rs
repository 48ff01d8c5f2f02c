//! Forming a cluster without a race, and without a second one.
//!
//! A node that has no log asks the other initial members who they are. If one of them has a log, the cluster exists and
//! will bring this node up to date. If a majority, itself included, has none, it forms the cluster with the configured
//! members; several may do so at once, with the same members that is the same entry. If one of them knows this node by
//! another data folder, this node has lost its data and with it its votes: it must not come back under its id.

use crate::{options::CoordinatorOptions, peer::Peers};
use quorate_consensus::{Consensus, OpenError};
use quorate_domain::CoordinatorId;
use quorate_rpc::pb::raft::IdentifyResponse;
use quorate_runtime::{retry::Backoff, shutdown::Shutdown};
use std::{collections::BTreeSet, time::Duration};
use tonic::Code;

const ASK_DEADLINE: Duration = Duration::from_secs(1);
const RETRY_BASE: Duration = Duration::from_millis(50);
const RETRY_CAP: Duration = Duration::from_secs(2);

/// What the other members say, taken together.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// The cluster exists: wait for its leader.
    Exists,
    /// A majority has no log: form the cluster.
    Form,
    /// Too few answer.
    Ask,
}

/// Forms the cluster if it is to be formed; returns once there is nothing left to do here.
pub(crate) async fn form_cluster(
    options: &CoordinatorOptions,
    consensus: &Consensus,
    peers: &Peers,
    shutdown: &Shutdown,
) -> Result<(), OpenError> {
    let token = shutdown.token();
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
    while !consensus.is_used() && !token.is_cancelled() {
        match ask(options, peers, shutdown).await {
            Verdict::Exists => {
                tracing::info!("the cluster exists; waiting for its leader to send the log");
                return Ok(());
            }
            Verdict::Form => {
                tracing::info!(members = options.raft.members.len(), "forming the cluster");
                return consensus.initialize(options.raft.members.clone()).await;
            }
            Verdict::Ask => {
                let delay = backoff.next_delay().unwrap_or(RETRY_CAP);
                tokio::select! {
                    () = token.cancelled() => {}
                    () = tokio::time::sleep(delay) => {}
                }
            }
        }
    }
    Ok(())
}

async fn ask(options: &CoordinatorOptions, peers: &Peers, shutdown: &Shutdown) -> Verdict {
    let mut answers = Vec::new();
    let mut silent = BTreeSet::new();
    for (id, node) in options.raft.members.iter().filter(|(id, _)| **id != options.node) {
        match peers.identify(*id, node, ASK_DEADLINE).await {
            Ok(answer) => answers.push((*id, answer)),
            Err(status) if status.code() == Code::PermissionDenied => {
                shutdown.fatal(format!("node {id} refuses this coordinator: {}", status.message()));
                return Verdict::Ask;
            }
            Err(status) => {
                if status.code() == Code::FailedPrecondition {
                    tracing::error!(member = id.0, address = %node.peer_address, problem = status.message(), "a member refuses this coordinator");
                }
                silent.insert(id.0);
            }
        }
    }
    let verdict = judge(options, &answers);
    if verdict == Verdict::Ask {
        tracing::info!(?silent, "waiting for a majority of the initial members");
    }
    verdict
}

fn judge(options: &CoordinatorOptions, answers: &[(CoordinatorId, IdentifyResponse)]) -> Verdict {
    if answers.iter().any(|(_, answer)| answer.initialized) {
        return Verdict::Exists;
    }
    let fresh = 1 + answers.len();
    if fresh > options.raft.members.len() / 2 { Verdict::Form } else { Verdict::Ask }
}
