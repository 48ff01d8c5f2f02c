//! What an operator should look at: what this coordinator sees of the others, given to the planner of warnings, and its
//! list on the wire.

use super::Api;
use quorate_consensus::Leadership;
use quorate_domain::{CoordinatorId, State};
use quorate_planner::{
    coordinators::even_voters,
    warnings::{Contact, Coordinators, Severity, Warning, Warnings},
};
use quorate_rpc::pb::{control::Health, types};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

/// To look through everything costs time in which no heartbeat is heard: what was found is good for so many times as long
/// as it took, whoever asks meanwhile. In a small cluster that is less than a millisecond.
const REST_FACTOR: u32 = 10;

/// What was found, until when it is good enough, and whether what only a leader knows is in it.
type Found = (Instant, Arc<Warnings>, bool);

/// What was last found to be wrong.
#[derive(Debug, Default)]
pub(super) struct Warned(Mutex<Option<Found>>);

fn ms_since(at: Instant) -> u64 {
    u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// For how long a leader has asked the others for answers: it leads for so long, and has not stood still for so long. What
/// was answered before, to an earlier leadership, says nothing of their silence since.
fn asked_for_ms(led_ms: Option<u64>, awake_ms: Option<u64>) -> u64 {
    led_ms.unwrap_or(0).min(awake_ms.unwrap_or(u64::MAX))
}

impl Api {
    /// The coordinators as this one sees them.
    pub(super) fn coordinators(&self, state: &State, leadership: &Leadership) -> Coordinators {
        let raft = self.consensus.members();
        let this = leadership.node;
        // Those that are asked too: a coordinator that nobody has sent the log yet knows the others by its configuration only.
        let known = raft.nodes.keys().chain(state.coordinators.keys()).copied().chain(self.watch.asks());
        let ids: BTreeSet<CoordinatorId> = known.filter(|id| *id != this).collect();
        let asked_for_ms = asked_for_ms(leadership.led_since.map(ms_since), self.memory.awake_for_ms());
        let contact = |id: CoordinatorId| {
            let in_raft = leadership.leads && raft.nodes.contains_key(&id);
            let answered_ms = self.peers.last_answer(id.0).map_or(u64::MAX, ms_since);
            let asked = self.watch.asked(id);
            Contact {
                id,
                votes: raft.votes(id),
                lag: in_raft
                    .then(|| raft.last_index.saturating_sub(raft.matched.get(&id).copied().unwrap_or(0))),
                silent_ms: in_raft.then_some(answered_ms.min(asked_for_ms)),
                identified: asked.identified,
                findings: asked.findings,
            }
        };
        Coordinators {
            this,
            leads: leadership.leads,
            votes: raft.votes(this),
            reaches_quorum: leadership.reaches_quorum(),
            unacknowledged_ms: leadership.quorum_ack.map(ms_since),
            others: ids.into_iter().map(contact).collect(),
            change_waits: self.change_waits(),
            election_too_long: self.lease.danger(state),
            configured_otherwise: self.lease.difference(state),
            even_voters: even_voters(state.recorded_voters().len()),
            copies: self.peers.run_twice(),
            elsewhere: self.peers.waiting_starts(),
            stands_still: leadership.stands_still,
            lost_lines: self.lost.look(),
        }
    }

    /// What is wrong, and whether what only a leader knows is among it.
    pub(super) fn warnings(&self, state: &State, seen: &Coordinators) -> (Arc<Warnings>, bool) {
        let mut last = self.warned.0.lock().unwrap_or_else(PoisonError::into_inner);
        let began = Instant::now();
        if let Some((good_until, found, knows)) = &*last
            && began < *good_until
        {
            return (Arc::clone(found), *knows);
        }
        let (found, knows) = self.memory.warnings(state, seen);
        let found = Arc::new(found);
        let rest = began.elapsed() * REST_FACTOR;
        *last = Some((Instant::now() + rest, Arc::clone(&found), knows));
        (found, knows)
    }
}

/// How bad it is. Healthy is only what a leader says that can decide and knows whether every group is served.
pub(super) fn health(found: &Warnings, knows: bool) -> Health {
    match found.worst {
        Some(Severity::Critical) => Health::Critical,
        Some(Severity::Warning) => Health::Warning,
        Some(Severity::Note) | None if knows => Health::Healthy,
        Some(Severity::Note) | None => Health::Unknown,
    }
}

/// A warning on the wire.
pub(super) fn described(warning: &Warning) -> types::Warning {
    let severity = match warning.severity {
        Severity::Note => types::Severity::Note,
        Severity::Warning => types::Severity::Warning,
        Severity::Critical => types::Severity::Critical,
    };
    types::Warning {
        code: warning.code.name().to_owned(),
        severity: severity.into(),
        subject_kind: warning.subject.kind().to_owned(),
        subject_id: warning.subject.id(),
        since_ms: warning.since.map(|since| since.ms),
        since_at_least: warning.since.is_some_and(|since| since.at_least),
        text: warning.text.clone(),
        remedy: warning.remedy.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_silent_for_longer_than_this_leader_has_asked() {
        for (led_ms, awake_ms, expected) in [
            (Some(354_999), None, 354_999),
            (Some(354_999), Some(40), 40),
            (Some(10), Some(354_999), 10),
            (Some(10), None, 10),
            (None, Some(10), 0),
        ] {
            assert_eq!(asked_for_ms(led_ms, awake_ms), expected, "{led_ms:?} {awake_ms:?}");
        }
    }

    #[test]
    fn only_a_leader_that_knows_whether_every_group_is_served_calls_a_cluster_healthy() {
        for (worst, knows, expected) in [
            (None, true, Health::Healthy),
            (Some(Severity::Note), true, Health::Healthy),
            (None, false, Health::Unknown),
            (Some(Severity::Note), false, Health::Unknown),
            (Some(Severity::Warning), true, Health::Warning),
            (Some(Severity::Warning), false, Health::Warning),
            (Some(Severity::Critical), true, Health::Critical),
            (Some(Severity::Critical), false, Health::Critical),
        ] {
            let found = Warnings { worst, ..Warnings::default() };
            assert_eq!(health(&found, knows), expected, "{worst:?} {knows}");
        }
    }
}
