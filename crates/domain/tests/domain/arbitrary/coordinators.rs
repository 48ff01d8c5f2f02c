//! Arbitrary commands about the coordinators, most of them right for the state.

use super::{Move, near};
use quorate_domain::{
    Command, Coordinator, CoordinatorChange, CoordinatorId, CoordinatorRole, CoordinatorSpec, Heard,
    OperationId, RaftMembers, State, Term, Timestamp, coordinator::ChangeProgress,
};
use std::collections::BTreeSet;

/// The three that form the cluster.
pub(super) fn recorded() -> Command {
    let coordinators = (1..=3).map(|id| {
        let CoordinatorSpec { id, api_address, peer_address } = spec(id, id);
        Coordinator { id, api_address, peer_address, role: CoordinatorRole::Voter, since: Timestamp(0) }
    });
    Command::RecordCoordinators { coordinators: coordinators.collect() }
}

fn spec(id: u64, address: u64) -> CoordinatorSpec {
    CoordinatorSpec {
        id: CoordinatorId(id),
        api_address: format!("10.1.0.{address}:7401"),
        peer_address: format!("10.1.0.{address}:7402"),
    }
}

impl Move {
    pub(super) fn about_coordinators(&self, state: &State) -> Command {
        let open = state.open_change();
        let operation = OperationId(near(open.map_or(1, |(open, _)| open.id.0), self.luck, 4));
        let progress = open.map(|(_, progress)| progress);
        match self.kind {
            21 if progress.is_none() || self.luck == 13 => {
                Command::BeginCoordinatorChange { change: self.change(state), heard: self.heard(state) }
            }
            22 if self.choice < 4 => recorded(),
            22 | 23 if self.choice < 12 => {
                Command::CancelCoordinatorChange { operation, heard: self.heard(state) }
            }
            24 => Command::FinishCoordinatorChange { operation, members: self.members(state) },
            _ if progress.is_some_and(|progress| !progress.caught_up && !progress.cancelled) => {
                let (through_index, heard) = (u64::from(self.choice), self.heard(state));
                Command::RecordCaughtUp { operation, through_index, heard }
            }
            _ if progress.is_some_and(|progress| !progress.on_record) && self.luck > 20 => {
                Command::RecordVoters { operation, members: self.members(state) }
            }
            _ => Command::FinishCoordinatorChange { operation, members: self.members(state) },
        }
    }

    /// One of those on record, or one that is not.
    fn known(&self, state: &State) -> CoordinatorId {
        let known: Vec<_> = state.coordinators.keys().collect();
        known.get(usize::from(self.other + 4 * self.disk)).map_or(CoordinatorId(1), |id| **id)
    }

    fn change(&self, state: &State) -> CoordinatorChange {
        let next = near(state.cluster.highest_coordinator.0 + 1, self.luck, 8);
        let address = match self.luck {
            10 => 1,
            // Where the one is whose place it may take.
            25..=28 => self.known(state).0,
            _ => next,
        };
        let add = spec(next, address);
        match self.choice % 4 {
            0 => CoordinatorChange::Add(add),
            1 => CoordinatorChange::Promote(self.known(state)),
            2 => CoordinatorChange::Remove(self.known(state)),
            _ => CoordinatorChange::Replace { remove: self.known(state), add },
        }
    }

    /// In most cases everybody, sometimes all but one or one alone.
    fn heard(&self, state: &State) -> Heard {
        let mut coordinators: BTreeSet<_> = state.coordinators.keys().copied().collect();
        match self.luck {
            14..=18 => drop(coordinators.remove(&self.known(state))),
            19 | 20 => coordinators = [self.known(state)].into(),
            _ => {}
        }
        let lagging =
            (21..=24).contains(&self.luck).then(|| (self.known(state), 65 + u64::from(self.choice)));
        Heard {
            term: Term(near(self.term, self.luck, 11)),
            coordinators,
            lagging: lagging.into_iter().collect(),
        }
    }

    /// What Raft has when it is where the change wants it, in most cases.
    fn members(&self, state: &State) -> RaftMembers {
        let progress = state.open_change().map(|(_, progress)| progress);
        let mut voters =
            progress.map_or_else(|| state.recorded_voters(), |progress| progress.wanted_voters().clone());
        if self.luck == 15 {
            voters.remove(&self.known(state));
        }
        let mut learners: BTreeSet<_> = state.coordinators.keys().copied().collect();
        learners.retain(|id| !voters.contains(id));
        if let Some(gone) = progress.and_then(ChangeProgress::let_go).filter(|_| self.luck != 16) {
            learners.remove(&gone);
        }
        RaftMembers { term: Term(near(self.term, self.luck, 17)), voters, learners }
    }
}
