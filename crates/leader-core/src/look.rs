//! One look of a coordinator at the world: does it lead, has it seen enough, and what should change?

use crate::{leader::Leader, outage::Known};
use quorate_domain::{CoordinatorId, HostId, State, Term};
use quorate_planner::{Mono, Plan, incidents, plan_all};

/// A gap of this length between two looks means that the process stood still (DESIGN section 5, rule 6).
pub const STALL_MS: u64 = 2_000;

/// Who leads, as a coordinator that leads sees it: itself, in this term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leading {
    /// The coordinator.
    pub coordinator: CoordinatorId,
    /// The term that it leads in.
    pub term: Term,
    /// True while a quorum acknowledges it. While none does no heartbeat counts, so that it expires nobody until it has
    /// observed for a grace period afterwards.
    pub decides: bool,
}

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// Hosts whose sessions are over.
    pub ended: Vec<HostId>,
    /// How long the process stood still, if it did: it only observes for a grace period.
    pub stalled_ms: Option<u64>,
    /// What to do.
    pub next: Next,
}

/// What a coordinator should do after a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it does not lead, or has not yet applied an entry of its own term.
    Wait,
    /// Form the cluster: the log has nothing yet.
    FormCluster,
    /// Propose these commands.
    Propose(Plan),
}

impl Leader {
    /// Looks at the agreed state, which was last changed by an entry of `applied_term`.
    pub fn look(&mut self, leading: Option<Leading>, state: &State, applied_term: Term, now: Mono) -> Look {
        let stalled_ms = self.stalled_ms(now);
        let mut look = Look { ended: Vec::new(), stalled_ms, next: Next::Wait };
        let reached = leading.map_or(self.hears_another, |leading| leading.decides);
        self.reach.note_record(state.cluster.led.as_ref());
        // Before there is a cluster nobody misses the quorum.
        let reached = reached || state.cluster.id.is_none();
        let over = self.reach.look(reached, stalled_ms.is_some(), now);
        let Some(Leading { coordinator, term, decides }) = leading else {
            look.ended = self.resign();
            return look;
        };
        look.ended = self.lead(coordinator, term, now);
        if stalled_ms.is_some() {
            self.stood_still_until = Some(now);
        }
        if stalled_ms.is_some() || !decides {
            self.observe_only(state.settings().lease.wait_ms, now);
        }
        if let Some(gap) = over {
            self.outages.over(gap, coordinator, now);
        }
        if applied_term != term {
            return look;
        }
        self.become_ready(state, now);
        if let Some(Known { since, until, by_others }) = self.outages.known(coordinator, state, now) {
            self.observations.note_outage(state, since, until);
            if by_others {
                self.reach.learn(since, until);
            }
        }
        look.next = if state.cluster.id.is_none() {
            Next::FormCluster
        } else {
            self.observations.note_applied(state, now);
            let mut plan = plan_all(state, &self.observations, now);
            plan.merge(incidents::plan(state, &self.observations));
            Next::Propose(plan)
        };
        look
    }

    /// A look that comes much too late means that heartbeats may be waiting unread.
    fn stalled_ms(&mut self, now: Mono) -> Option<u64> {
        let gap = now.since_ms(self.last_look.replace(now)?);
        (gap > STALL_MS).then_some(gap)
    }

    /// Nobody is expired for a grace period.
    fn observe_only(&mut self, grace_ms: u64, now: Mono) {
        self.observations.observe_until = self.observations.observe_until.max(now.plus_ms(grace_ms));
    }
}
