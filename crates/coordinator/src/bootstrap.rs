//! Forming a cluster without a race, and without a second one.
//!
//! A node that has no log asks the other initial members who they are. If one of them has a log, the cluster exists and
//! will bring this node up to date. If a majority, itself included, has none, it forms the cluster with the configured
//! members; several may do so at once, with the same members that is the same entry. If one of them knows this node by
//! another data folder, this node has lost its data and with it its votes: it must not come back under its id.
//!
//! A node that is not among the configured members comes later: it forms nothing, and waits until it is added.

use crate::{options::CoordinatorOptions, peer::Peers};
use quorate_consensus::{Consensus, OpenError};
use quorate_domain::CoordinatorId;
use quorate_rpc::{bounded_line, pb::raft::IdentifyResponse};
use quorate_runtime::{retry::Backoff, shutdown::Shutdown};
use std::{collections::BTreeMap, time::Duration};
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

/// Forms the cluster if it is to be formed, and lets this node take part; returns once there is nothing left to do here.
///
/// A node with an empty log takes no message of Raft before the others have said what they know of it: the leader would
/// make it a follower that answers in vain for ever, and nobody would hear that its data was lost.
pub(crate) async fn form_cluster(
    options: &CoordinatorOptions,
    consensus: &Consensus,
    peers: &Peers,
    shutdown: &Shutdown,
) -> Result<(), OpenError> {
    if consensus.is_used() {
        peers.take_part();
        return Ok(());
    }
    let is_initial = options.raft.members.contains_key(&options.node);
    if !is_initial {
        tracing::info!(
            node = options.node.0,
            "not among the configured members: waiting to be added with `quorate member add`"
        );
    }
    let token = shutdown.token();
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP);
    let mut answers = BTreeMap::new();
    while !token.is_cancelled() {
        ask(options, peers, shutdown, &mut answers).await;
        if token.is_cancelled() {
            // Refused: whatever the others said, this node must not take part.
            break;
        }
        if !peers.takes_part() {
            match judge(options, &answers) {
                Verdict::Exists => {
                    tracing::info!("the cluster exists; waiting for its leader to send the log");
                    peers.take_part();
                }
                Verdict::Form if !is_initial => {
                    tracing::info!("no member has a log yet; waiting until the cluster is formed");
                }
                Verdict::Form => {
                    tracing::info!(members = options.raft.members.len(), "forming the cluster");
                    consensus.initialize(options.raft.members.clone()).await?;
                    peers.take_part();
                }
                Verdict::Ask => {
                    let asked = options.raft.members.keys().filter(|id| **id != options.node);
                    let silent: Vec<_> = asked.filter(|id| !answers.contains_key(*id)).collect();
                    tracing::info!(?silent, "waiting for a majority of the initial members");
                }
            }
        }
        // Whoever was silent so far may be the one that knows this node by another data folder.
        let others = options.raft.members.len() - usize::from(is_initial);
        if peers.takes_part() && answers.len() >= others {
            return Ok(());
        }
        let delay = backoff.next_delay().unwrap_or(RETRY_CAP);
        tokio::select! {
            () = token.cancelled() => {}
            () = tokio::time::sleep(delay) => {}
        }
    }
    Ok(())
}

/// Asks the other members who they are: all of them while the cluster is to be formed, and later those that have not
/// answered yet. One that refuses this node ends it.
async fn ask(
    options: &CoordinatorOptions,
    peers: &Peers,
    shutdown: &Shutdown,
    answers: &mut BTreeMap<CoordinatorId, IdentifyResponse>,
) {
    for (id, node) in options.raft.members.iter().filter(|(id, _)| **id != options.node) {
        if peers.takes_part() && answers.contains_key(id) {
            continue;
        }
        match peers.identify(*id, node, ASK_DEADLINE).await {
            Ok(answer) => {
                answers.insert(*id, answer);
            }
            Err(status) if status.code() == Code::PermissionDenied => {
                shutdown
                    .fatal(format!("node {id} refuses this coordinator: {}", bounded_line(status.message())));
                return;
            }
            Err(status) => {
                if status.code() == Code::FailedPrecondition {
                    tracing::error!(member = id.0, address = %node.peer_address, problem = bounded_line(status.message()), "a member refuses this coordinator");
                }
                // What it said earlier may be over: only answers of one round form a cluster.
                if !peers.takes_part() {
                    answers.remove(id);
                }
            }
        }
    }
}

fn judge(options: &CoordinatorOptions, answers: &BTreeMap<CoordinatorId, IdentifyResponse>) -> Verdict {
    if answers.values().any(|answer| answer.initialized) {
        return Verdict::Exists;
    }
    let fresh = 1 + answers.len();
    if fresh > options.raft.members.len() / 2 { Verdict::Form } else { Verdict::Ask }
}
