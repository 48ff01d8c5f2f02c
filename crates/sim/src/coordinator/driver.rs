//! Runs the planners while this coordinator leads, and proposes what they return.

use super::{Asker, Desk, Process, coordinator_id};
use crate::{
    env::{Env, Timer},
    message::Packet,
    network::Node,
    oracle::Fact,
};
use quorate_domain::{Cause, ClusterId, Command, FormationId, Settings, Term};
use quorate_leader_core::{Next, QuorumSeen};
use quorate_planner::Mono;

/// A look at the world at least this often.
const LOOK_EVERY_MS: u64 = 250;
/// What changes within this time is looked at together.
const REST_MS: u64 = 5;
/// How often the others are asked what they have seen of the quorum.
const ASK_EVERY_MS: u64 = 2_000;
/// The most commands of one plan that are proposed at once.
const PROPOSE_MAX: usize = 512;

impl Process {
    /// Something has changed: looks soon, unless the answers to the last plan are still awaited.
    pub(super) fn want_look(&mut self, desk: &Desk, env: &mut Env) {
        let due_ms = env.local_ms(desk.node) + REST_MS;
        if self.driving == 0 && self.look_due_ms.is_none_or(|known| due_ms < known) {
            self.look_at(due_ms, desk, env);
        }
    }

    fn look_at(&mut self, due_ms: u64, desk: &Desk, env: &mut Env) {
        self.look_due_ms = Some(due_ms);
        env.wake_when_shown(due_ms, desk.node, desk.life, Timer::Look);
    }

    /// Looks at the world, if it is time and the last plan is done.
    pub(super) fn look_if_due(&mut self, desk: &Desk, env: &mut Env) {
        let now_ms = env.local_ms(desk.node);
        if self.driving > 0 {
            return;
        }
        let Some(due_ms) = self.look_due_ms else { return self.look_at(now_ms, desk, env) };
        if now_ms < due_ms {
            return;
        }
        let leading = self.leading(desk, now_ms);
        let state = self.raft.state().clone();
        let applied_term = Term(self.raft.applied().term);
        self.leader.hears_leader(self.raft.heard_leader(now_ms).is_some());
        let look = self.leader.look(leading, &state, applied_term, Mono(now_ms));
        if !look.ended.is_empty() {
            self.end_sessions_of(&look.ended, desk, env);
        }
        if look.stalled_ms.is_some() && leading.is_some() {
            env.counts.add("leader/stood-still-and-only-observes");
        }
        if let Next::Propose(plan) = &look.next {
            let (node, term) = (desk.node, self.published.term);
            let anew = look.stalled_ms.is_some() || !leading.is_some_and(|leading| leading.decides);
            env.see(&Fact::Planned { node, term, anew, state: &state, plan });
        }
        let mut next_ms = now_ms + LOOK_EVERY_MS;
        match look.next {
            Next::Wait => {}
            Next::FormCluster => {
                let cluster = ClusterId::new("c").expect("a letter makes a name");
                let settings = Settings { lease: env.plan.lease.clone() };
                // Another one by each node and in each term.
                let bits = u128::from(self.raft.term()) << 64 | u128::from(desk.id.0);
                let formation = Some(FormationId::of(bits));
                self.driving += 1;
                let command = Command::CreateCluster { cluster, formation, settings };
                self.propose(Cause::Cluster, command, Asker::Driver, desk, env);
            }
            // It would be refused before it is written.
            Next::Propose(_) if !self.raft.can_decide(now_ms) => {}
            Next::Propose(plan) => {
                if let Some(at) = plan.wake_at {
                    next_ms = next_ms.min(at.0.max(now_ms + 1));
                }
                for planned in plan.commands.into_iter().take(PROPOSE_MAX) {
                    env.note(desk.node, || format!("plans {}: {:?}", planned.rule, planned.command));
                    self.driving += 1;
                    let cause = Cause::Planner { rule: planned.rule.to_owned() };
                    self.propose(cause, planned.command, Asker::Driver, desk, env);
                }
            }
        }
        self.look_at(next_ms, desk, env);
    }

    /// While it leads, asks the others now and then what they have seen of the quorum.
    pub(super) fn ask_of_quorum(&mut self, now_ms: u64, desk: &Desk, env: &mut Env) {
        if !self.published.leads || now_ms < self.ask_of_quorum_ms {
            return;
        }
        self.ask_of_quorum_ms = now_ms + ASK_EVERY_MS;
        for peer in self.raft.members().everybody().into_iter().filter(|peer| *peer != desk.me) {
            env.send(desk.node, peer, Packet::AskOfQuorum { asked_ms: now_ms });
        }
    }

    /// Says what it has seen.
    pub(super) fn asked_of_quorum(&self, machine: Node, asked_ms: u64, desk: &Desk, env: &mut Env) {
        if let Some(seen) = self.leader.quorum_seen(Mono(env.local_ms(desk.node))) {
            env.send(desk.node, machine, Packet::SawQuorum { by: desk.me, seen, asked_ms });
        }
    }

    /// Another one has said what it has seen.
    pub(super) fn peer_saw(&mut self, by: Node, seen: QuorumSeen, asked_ms: u64, desk: &Desk, env: &Env) {
        let (asked, now) = (Mono(asked_ms), Mono(env.local_ms(desk.node)));
        self.leader.peer_saw(coordinator_id(by), seen, asked, now);
    }

    /// One of the driver's commands has its answer.
    pub(super) fn driven(&mut self, desk: &Desk, env: &mut Env) {
        self.driving = self.driving.saturating_sub(1);
        self.want_look(desk, env);
    }
}
