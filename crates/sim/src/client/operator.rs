//! Operators: who the coordinators should be. They see what is on record, now and then are mistaken, and cancel what
//! takes too long for their taste.

use super::Client;
use crate::{
    chance::Chance,
    coordinator::{coordinator_id, coordinator_spec},
    env::Env,
};
use quorate_domain::{Command, CoordinatorChange, CoordinatorId, CoordinatorRole, Heard, Phase, State};

/// So often, in a million, an operator names a coordinator without looking.
const MISTAKEN_PPM: u64 = 60_000;
/// How soon an operator asks again while a change is open.
const IMPATIENCE_MS: u64 = 1_000;

/// So often, in a million, an operator says that what a new disk holds is a copy by now.
const ACCEPTS_PPM: u64 = 200_000;

impl Client {
    /// A member whose disk was replaced, once an operator is content with what is there.
    pub(super) fn choose_acceptance(&self, env: &mut Env) -> Option<Command> {
        let state = env.seen.as_ref()?;
        let waits = state.groups.values().find_map(|group| {
            let deleting = matches!(group.phase, Phase::Deleting { .. });
            let (host, _) = group.unaccepted.first_key_value().filter(|_| !deleting)?;
            Some((group.id.clone(), host.clone()))
        });
        let (group, host) = waits?;
        let accepts = env.chance(self.node).happens(ACCEPTS_PPM);
        accepts.then(|| Command::AcceptMember { group, host, reason: "it was rebuilt".to_owned() })
    }

    /// The next change of the coordinators, when it is time for one.
    pub(super) fn choose_change(&mut self, env: &mut Env) -> Option<Command> {
        if self.tame || env.plan.spares == 0 || env.now < self.next_change {
            return None;
        }
        let state = env.seen.clone().filter(|state| !state.coordinators.is_empty())?;
        let (machines, pause_ms) = (env.plan.machines(), env.plan.change_pause_ms);
        let now = env.now;
        let chance = env.chance(self.node);
        let open = state.open_change().map(|(operation, _)| operation.id);
        // What was asked for is looked at soon: it may have ended, or be in the way.
        let soon = open.is_none() && chance.happens(500_000);
        let wait_ms = chance.draw(0..=if soon { IMPATIENCE_MS } else { 2 * pause_ms });
        self.next_change = now.after_ms(wait_ms);
        if let Some(operation) = open.filter(|_| chance.happens(600_000)) {
            return Some(Command::CancelCoordinatorChange { operation, heard: Heard::default() });
        }
        let wanted = if chance.happens(MISTAKEN_PPM) {
            anything(machines, chance)
        } else {
            sensible(&state, machines, chance)?
        };
        Some(Command::BeginCoordinatorChange { change: wanted, heard: Heard::default() })
    }
}

/// Any change of any coordinators.
fn anything(machines: usize, chance: &mut Chance) -> CoordinatorChange {
    let id = coordinator_id(chance.index(machines));
    match chance.index(3) {
        0 => CoordinatorChange::Add(coordinator_spec(id)),
        1 => CoordinatorChange::Promote(id),
        _ => CoordinatorChange::Remove(id),
    }
}

/// A change that makes sense for who is on record, if there is one.
fn sensible(state: &State, machines: usize, chance: &mut Chance) -> Option<CoordinatorChange> {
    let of = |role| -> Vec<CoordinatorId> {
        state.coordinators.values().filter(|known| known.role == role).map(|known| known.id).collect()
    };
    let (voters, learners) = (of(CoordinatorRole::Voter), of(CoordinatorRole::Learner));
    let next = state.cluster.highest_coordinator.next();
    let spare = (next <= coordinator_id(machines - 1)).then(|| coordinator_spec(next));
    let voter = *chance.pick(&voters);
    match (chance.index(5), spare) {
        (0, Some(spare)) => Some(CoordinatorChange::Add(spare)),
        (1, Some(add)) => Some(CoordinatorChange::Replace { remove: voter, add }),
        (2 | 3, _) if !learners.is_empty() => {
            let learner = *chance.pick(&learners);
            let goes = chance.happens(200_000);
            Some(if goes { CoordinatorChange::Remove(learner) } else { CoordinatorChange::Promote(learner) })
        }
        (4, _) if voters.len() > 3 || (voters.len() > 1 && chance.happens(50_000)) => {
            Some(CoordinatorChange::Remove(voter))
        }
        _ => None,
    }
}
