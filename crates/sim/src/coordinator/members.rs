//! Changes of the coordinators, as the coordinator crate makes them: what the leader has heard goes with an operator's
//! command, the real planner's next step is taken in modelled Raft, and who was removed is told so and stays away.

use super::{Asker, Desk, Process, proposer::Fate};
use crate::{
    env::Env,
    message::Packet,
    network::Node,
    oracle::Fact,
    raft::{Membership, Place},
};
use quorate_domain::{Cause, Command, CoordinatorId, CoordinatorSpec, Heard, Outcome, Term};
use quorate_planner::coordinators::{NextStep, RaftView, next_step};
use std::collections::BTreeSet;

/// How often it is looked whether something is to be done.
const TICK_MS: u64 = 250;
/// A member that has not answered for this long is not counted on.
pub(crate) const HEARD_WITHIN_MS: u64 = 2_000;
/// How long one change in Raft may take.
const CHANGE_DEADLINE_MS: u64 = 10_000;
/// How often one that has no vote asks whether it was let go.
const ASK_EVERY_MS: u64 = 3_000;

/// The number of a coordinator.
pub(crate) fn coordinator_id(node: Node) -> CoordinatorId {
    CoordinatorId(node as u64 + 1)
}

/// The machine of a coordinator.
pub(crate) fn coordinator_node(id: CoordinatorId) -> Node {
    usize::try_from(id.0.saturating_sub(1)).unwrap_or(Node::MAX)
}

/// A coordinator as it is named to the cluster.
pub(crate) fn coordinator_spec(id: CoordinatorId) -> CoordinatorSpec {
    CoordinatorSpec { id, api_address: format!("c{id}:7400"), peer_address: format!("c{id}:7401") }
}

fn ids(nodes: &BTreeSet<Node>) -> BTreeSet<CoordinatorId> {
    nodes.iter().map(|node| coordinator_id(*node)).collect()
}

/// A step that was begun and has not ended.
#[derive(Debug)]
enum Step {
    /// A command.
    Proposed,
    /// A change in Raft, and the voters that it ends with if it is one of voters.
    InRaft { place: Place, to: Option<BTreeSet<Node>>, since_ms: u64 },
}

/// The driver of one coordinator.
#[derive(Debug, Default)]
pub(super) struct Members {
    step: Option<Step>,
    /// It is time to look.
    due: bool,
    look_at_ms: u64,
    ask_at_ms: u64,
}

impl Process {
    /// Raft's members as the planner wants to see them.
    fn raft_view(&self, desk: &Desk, env: &Env) -> RaftView {
        let members = self.raft.members();
        let heard = self.raft.heard_within(HEARD_WITHIN_MS, env.local_ms(desk.node));
        let everybody = members.everybody();
        let heard = everybody.iter().copied().filter(|node| *node == desk.me || heard.contains(node));
        RaftView {
            this: desk.id,
            term: Term(self.raft.term()),
            committed: self.raft.members_committed(),
            voters: members.voters.iter().map(ids).collect(),
            heard: heard.map(coordinator_id).collect(),
            nodes: everybody
                .iter()
                .map(|node| coordinator_id(*node))
                .map(|id| (id, coordinator_spec(id)))
                .collect(),
            last_index: self.raft.last_index(),
            matched: self.raft.matched().into_iter().map(|(node, at)| (coordinator_id(node), at)).collect(),
        }
    }

    /// An operator's command, with whom the leader has heard from.
    pub(super) fn with_heard(&self, command: Command, desk: &Desk, env: &mut Env) -> Command {
        let heard = |env: &mut Env| -> Heard {
            let heard = self.raft_view(desk, env).heard();
            env.see(&Fact::Heard { node: desk.node, heard: &heard });
            heard
        };
        match command {
            Command::BeginCoordinatorChange { change, .. } => {
                Command::BeginCoordinatorChange { change, heard: heard(env) }
            }
            Command::CancelCoordinatorChange { operation, .. } => {
                Command::CancelCoordinatorChange { operation, heard: heard(env) }
            }
            other => other,
        }
    }

    /// Time has passed.
    pub(super) fn tick_members(&mut self, now_ms: u64, desk: &Desk, env: &mut Env) {
        if now_ms >= self.members.look_at_ms {
            self.members.look_at_ms = now_ms + TICK_MS;
            self.members.due = true;
        }
        if now_ms >= self.members.ask_at_ms {
            self.members.ask_at_ms = now_ms + ASK_EVERY_MS;
            self.ask_whether_removed(desk, env);
        }
    }

    /// A learner that was let go is sent nothing any more, and a leader without its quorum says nothing; any other that
    /// believes to vote hears of it when it stands.
    fn ask_whether_removed(&self, desk: &Desk, env: &mut Env) {
        let members = self.raft.members();
        let (leads, now_ms) = (self.raft.leads(), env.local_ms(desk.node));
        let reaches_quorum =
            if leads { self.raft.can_decide(now_ms) } else { self.raft.heard_leader(now_ms).is_some() };
        // Where there may be copies, everybody meets the originals first.
        if members.votes(desk.me) && reaches_quorum && env.plan.clones == 0 {
            return;
        }
        for peer in members.everybody().into_iter().filter(|peer| *peer != desk.me) {
            env.send(desk.node, peer, Packet::Identify(self.sender(desk)));
        }
    }

    /// True when the one that speaks was removed, as far as is known here: it is told so, and nothing else.
    pub(super) fn refuses(&self, machine: Node, from: Node, desk: &Desk, env: &mut Env) -> bool {
        let gone = self.raft.state().has_gone(coordinator_id(from));
        if gone {
            env.counts.add("members/refused-by-a-peer");
            env.send(desk.node, machine, Packet::Removed);
        }
        gone
    }

    /// Ends the step that is done, and takes the next one when it is time.
    pub(super) fn members_on(&mut self, desk: &Desk, env: &mut Env) {
        if !self.raft.leads() {
            self.members.step = None;
            return;
        }
        let now_ms = env.local_ms(desk.node);
        if let Some(Step::InRaft { place, to, since_ms }) = &self.members.step {
            let (place, to, since_ms) = (*place, to.clone(), *since_ms);
            if place.term != self.raft.term() || now_ms > since_ms + CHANGE_DEADLINE_MS {
                self.members.step = None;
            } else if self.raft.applied().index >= place.index {
                self.members.step = None;
                match to.filter(|to| self.raft.members().voters != [to.clone()]) {
                    Some(to) => self.change_voters(to, since_ms, env, now_ms),
                    None => self.members.due = true,
                }
            }
        }
        if self.members.step.is_none() && std::mem::take(&mut self.members.due) {
            self.next_members_step(now_ms, desk, env);
        }
    }

    fn next_members_step(&mut self, now_ms: u64, desk: &Desk, env: &mut Env) {
        let led = self.leading(desk, now_ms).is_some_and(|leading| leading.term.0 == self.raft.term());
        if !led || !self.raft.can_decide(now_ms) || self.raft.applied().term != self.raft.term() {
            return;
        }
        let view = self.raft_view(desk, env);
        if view.heard().lagging.keys().any(|id| self.raft.members().votes(coordinator_node(*id))) {
            env.counts.add("members/a-voter-lagged");
        }
        let step = next_step(self.raft.state(), &view);
        if !matches!(step, NextStep::Nothing) {
            env.note(desk.node, || format!("next of the coordinators: {step:?}"));
        }
        match step {
            NextStep::Nothing => {}
            NextStep::Wait(_) => env.counts.add("members/waited"),
            NextStep::Propose(planned) => {
                if let Command::RecordCaughtUp { heard, .. } = &planned.command {
                    env.see(&Fact::Heard { node: desk.node, heard });
                }
                self.members.step = Some(Step::Proposed);
                let cause = Cause::Planner { rule: planned.rule.to_owned() };
                self.propose(cause, planned.command, Asker::Members, desk, env);
            }
            NextStep::AddLearner(spec) => {
                let node = coordinator_node(spec.id);
                self.change(|members| members.with_learner(node), None, now_ms, env, now_ms);
            }
            NextStep::ChangeVoters(voters) => {
                let to = voters.into_iter().map(coordinator_node).collect();
                self.change_voters(to, now_ms, env, now_ms);
            }
            NextStep::HandOver => {
                if self.raft.hand_over(now_ms) {
                    env.counts.add("members/leader-handed-over");
                } else {
                    env.counts.add("members/leader-rested-from-handing-over");
                }
            }
            NextStep::LetGo(id) => {
                let node = coordinator_node(id);
                self.change(|members| members.without(node), None, now_ms, env, now_ms);
            }
        }
    }

    fn change_voters(&mut self, to: BTreeSet<Node>, since_ms: u64, env: &Env, now_ms: u64) {
        let wanted = to.clone();
        self.change(move |members| members.towards(&wanted), Some(to), since_ms, env, now_ms);
    }

    fn change(
        &mut self,
        change: impl FnOnce(&Membership) -> Membership,
        to: Option<BTreeSet<Node>>,
        since_ms: u64,
        env: &Env,
        now_ms: u64,
    ) {
        let place = self.raft.reconfigure(change, env.now, now_ms);
        self.members.step = place.map(|place| Step::InRaft { place, to, since_ms });
    }

    /// The driver's command has its answer.
    pub(super) fn members_driven(&mut self, fate: &Fate) {
        self.members.step = None;
        self.members.due |= matches!(fate, Fate::Outcome(Outcome::Accepted { changed: true, .. }));
    }
}
