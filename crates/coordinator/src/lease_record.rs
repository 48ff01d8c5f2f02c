//! The lease that the cluster was formed with, against the configuration of this coordinator: only the record counts, and
//! an operator who has changed the configuration must hear of it.

use quorate_consensus::Feed;
use quorate_domain::{LeaseSettings, State};

/// What this coordinator is configured with.
#[derive(Debug, Clone)]
pub(crate) struct LeaseRecord {
    /// `lease.*`.
    pub(crate) configured: LeaseSettings,
    /// `raft.election_max_ms`.
    pub(crate) election_max_ms: u64,
}

impl LeaseRecord {
    /// Why this coordinator's elections are too long for the lease on record; none before there is one.
    pub(crate) fn danger(&self, state: &State) -> Option<String> {
        let lease = recorded(state)?;
        // Followers wait out the leader's lease and then a random time up to the same.
        let allowed_ms = lease.longest_election_allowed_ms() / 2;
        (self.election_max_ms > allowed_ms).then(|| {
            format!(
                "raft.election_max_ms: {} ms is too long for the lease that the cluster was formed with: T = {} ms is less than \
                 heartbeat + longest election + retry, and every election would fence every host; lower it to at most \
                 {allowed_ms}; lease.lease_ms of the configuration does not count once the cluster is formed",
                self.election_max_ms, lease.lease_ms
            )
        })
    }

    /// What is configured otherwise than it is on record; none before there is a record.
    pub(crate) fn difference(&self, state: &State) -> Option<String> {
        let differences = self.configured.differences(recorded(state)?);
        let each: Vec<String> = differences
            .into_iter()
            .map(|(key, here, there)| format!("{key} is {here} and on record {there}"))
            .collect();
        (!each.is_empty()).then(|| {
            format!(
                "this coordinator is configured otherwise than the cluster was formed: {}; what is on record counts, so set \
                 the configuration to that",
                each.join(", ")
            )
        })
    }

    /// Says once in the log what is wrong, as soon as there is a record, which does not change any more.
    pub(crate) async fn tell(self, feed: Feed) {
        let mut views = feed.watch();
        if let Ok(view) = views.wait_for(|view| recorded(&view.state).is_some()).await {
            for warning in [self.danger(&view.state), self.difference(&view.state)].into_iter().flatten() {
                tracing::warn!("{warning}");
            }
        }
    }
}

fn recorded(state: &State) -> Option<&LeaseSettings> {
    state.cluster.id.as_ref().map(|_| &state.settings().lease)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_domain::{Cause, ClusterId, Command, Proposal, Settings, Term, Timestamp, apply};

    fn formed(lease: LeaseSettings) -> State {
        let mut state = State::default();
        let cluster = ClusterId::new("c").expect("a letter makes a name");
        let command = Command::CreateCluster { cluster, formation: None, settings: Settings { lease } };
        apply(&mut state, Term(1), &Proposal::new(Timestamp(1), Cause::Cluster, command));
        assert!(state.cluster.id.is_some());
        state
    }

    #[test]
    fn what_differs_from_the_record_is_named_with_both_values_once_there_is_one() {
        let configured = LeaseSettings { wait_ms: 9_000, margin_ms: 700, ..LeaseSettings::default() };
        let record = LeaseRecord { configured: configured.clone(), election_max_ms: 800 };
        assert_eq!(record.difference(&State::default()), None, "nothing is on record yet");
        assert_eq!(record.difference(&formed(configured)), None);
        let said = record.difference(&formed(LeaseSettings::default())).unwrap_or_default();
        for part in ["lease.wait_ms is 9000 and on record 7500", "lease.margin_ms is 700 and on record 500"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(!said.contains("lease.lease_ms"), "{said}");
    }

    #[test]
    fn an_election_that_is_too_long_for_the_record_is_a_danger_whatever_is_configured() {
        let configured = LeaseSettings { lease_ms: 60_000, wait_ms: 70_000, ..LeaseSettings::default() };
        // T - 2 H is 4 s, and a follower may wait twice the longest election.
        for (election_max_ms, is_danger) in [(800, false), (2_000, false), (2_001, true), (5_000, true)] {
            let record = LeaseRecord { configured: configured.clone(), election_max_ms };
            assert_eq!(record.danger(&State::default()), None);
            let said = record.danger(&formed(LeaseSettings::default()));
            assert_eq!(said.is_some(), is_danger, "{election_max_ms}: {said:?}");
            assert!(said.is_none_or(|said| said.contains("lower it to at most 2000")));
        }
    }
}
