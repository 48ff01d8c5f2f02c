//! Brings Raft's members to what is on record while this coordinator leads: asks the planner for the next step and takes
//! it. It decides nothing itself, and finds its way from wherever an earlier leader stopped.

use crate::{driver::propose, peer::Peers};
use quorate_consensus::{Consensus, Leadership, MembersError, types::MemberNode};
use quorate_domain::{CoordinatorId, CoordinatorSpec, coordinator::listed};
use quorate_planner::coordinators::{NextStep, RaftView, next_step};
use quorate_rpc::bounded_line;
use quorate_runtime::shutdown::Shutdown;
use std::{collections::BTreeSet, time::Duration};
use tonic::Code;

/// How often it is looked whether something is to be done.
const TICK: Duration = Duration::from_millis(250);
/// A member that has not answered for this long is not counted on: twenty heartbeats of the usual length.
pub(crate) const HEARD_WITHIN: Duration = Duration::from_secs(2);
/// How often one that has no vote or no quorum asks whether it was let go: nobody sends it anything then.
const ASK_EVERY: Duration = Duration::from_secs(3);
const ASK_DEADLINE: Duration = Duration::from_secs(1);

/// Raft's members as the planner wants to see them.
pub(crate) fn raft_view(consensus: &Consensus, peers: &Peers) -> RaftView {
    let members = consensus.members();
    let this = consensus.folder().node();
    let is_heard = |id: &CoordinatorId| {
        *id == this || peers.last_answer(id.0).is_some_and(|at| at.elapsed() <= HEARD_WITHIN)
    };
    let heard: BTreeSet<_> = members.nodes.keys().copied().filter(is_heard).collect();
    let nodes = members.nodes.into_iter().map(|(id, node)| {
        let MemberNode { peer_address, api_address } = node;
        (id, CoordinatorSpec { id, api_address, peer_address })
    });
    RaftView {
        this,
        term: members.term,
        committed: members.committed,
        voters: members.voters,
        nodes: nodes.collect(),
        last_index: members.last_index,
        matched: members.matched,
        heard,
    }
}

/// The driver of one coordinator.
pub(crate) struct MembersDriver {
    pub(crate) consensus: Consensus,
    pub(crate) peers: Peers,
}

impl MembersDriver {
    /// Runs until the process stops.
    pub(crate) async fn run(self, shutdown: Shutdown) {
        let token = shutdown.token();
        let leadership = self.consensus.leadership();
        let mut told = Vec::new();
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                () = tokio::time::sleep(TICK) => {}
            }
            let now = leadership.borrow().clone();
            // One step after the other, for as long as there is something to do.
            while !token.is_cancelled() && self.step(&now, &mut told).await {}
        }
    }

    /// Takes the next step. True when it was taken.
    async fn step(&self, leadership: &Leadership, told: &mut Vec<String>) -> bool {
        let view = self.consensus.feed().view();
        if !leadership.can_decide() || view.applied_term != leadership.term {
            return false;
        }
        let raft = raft_view(&self.consensus, &self.peers);
        if raft.term != leadership.term {
            return false;
        }
        match next_step(&view.state, &raft) {
            NextStep::Nothing => false,
            NextStep::Wait(reasons) => {
                if *told != reasons {
                    tracing::info!(reasons = reasons.join("; "), "a change of the coordinators waits");
                    *told = reasons;
                }
                false
            }
            NextStep::Propose(planned) => propose(&self.consensus, planned, view.state.revision()).await,
            NextStep::AddLearner(CoordinatorSpec { id, api_address, peer_address }) => {
                tracing::info!(coordinator = id.0, peer = %peer_address, "a coordinator joins as a learner");
                let node = MemberNode { peer_address, api_address };
                logged("join", &self.consensus.add_learner(id, node).await)
            }
            NextStep::ChangeVoters(voters) => {
                tracing::info!(voters = listed(&voters), "the voters change");
                logged("change of voters", &self.consensus.change_voters(voters).await)
            }
            NextStep::HandOver => {
                if leadership.may_hand_over() {
                    tracing::info!(
                        "this coordinator is about to lose its vote: it hands over to another one"
                    );
                    self.consensus.hand_over();
                }
                false
            }
            NextStep::LetGo(id) => {
                tracing::info!(coordinator = id.0, "a coordinator is let go");
                logged("letting go", &self.consensus.let_go(id).await)
            }
        }
    }
}

fn logged(what: &str, result: &Result<(), MembersError>) -> bool {
    if let Err(error) = result {
        tracing::warn!(%error, "a step towards other coordinators did not come through: {what}; it is looked at anew");
    }
    result.is_ok()
}

/// Ends this coordinator once the others say that it was removed. A learner that was let go is sent nothing any more,
/// and would wait for ever; so would one that led while it was removed, for a leader without its quorum says nothing. Any
/// other that believes to vote hears it when it stands for election.
pub(crate) async fn ask_whether_removed(consensus: Consensus, peers: Peers, shutdown: Shutdown) {
    let this = consensus.folder().node();
    loop {
        tokio::time::sleep(ASK_EVERY).await;
        let members = consensus.members();
        let content = members.votes(this) && consensus.leadership().borrow().reaches_quorum();
        if !consensus.is_used() || content {
            continue;
        }
        for (id, node) in members.nodes.iter().filter(|(id, _)| **id != this) {
            match peers.identify(*id, node, ASK_DEADLINE).await {
                Err(status) if status.code() == Code::PermissionDenied => {
                    shutdown.fatal(format!(
                        "coordinator {id} refuses this one: {}",
                        bounded_line(status.message())
                    ));
                    return;
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
}
