//! Who leads, whether a quorum still says so, and elections that do not stay tied.

use crate::types::{MemberNode, Raft};
use openraft::{RaftMetrics, ServerState, error::Fatal};
use quorate_domain::{CoordinatorId, Term};
use quorate_runtime::shutdown::Shutdown;
use std::time::{Duration, Instant};
use tokio::{runtime::Handle, sync::watch};

/// How often staleness is looked at; it does not depend on anything happening.
const CHECK_EVERY: Duration = Duration::from_millis(50);

/// What this node knows of who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// This node.
    pub node: CoordinatorId,
    /// The present term.
    pub term: Term,
    /// The leader, as far as it is known, and where it is reached.
    pub leader: Option<(CoordinatorId, MemberNode)>,
    /// True when this node leads.
    pub leads: bool,
    /// On a leader: when a quorum last acknowledged it.
    pub quorum_ack: Option<Instant>,
    /// After this long without an acknowledgement a leader decides nothing.
    pub stale_after: Duration,
}

impl Leadership {
    /// True when this node leads and a quorum acknowledged it lately: only then are writes taken.
    pub fn can_decide(&self) -> bool {
        self.leads && self.quorum_ack.is_some_and(|at| at.elapsed() <= self.stale_after)
    }
}

fn read(metrics: &RaftMetrics<u64, MemberNode>, stale_after: Duration) -> Leadership {
    let leads = metrics.state == ServerState::Leader;
    let members = metrics.membership_config.membership();
    let leader = metrics
        .current_leader
        .map(|id| (CoordinatorId(id), members.get_node(&id).cloned().unwrap_or_default()));
    let quorum_ack = metrics
        .millis_since_quorum_ack
        .filter(|_| leads)
        .and_then(|ms| Instant::now().checked_sub(Duration::from_millis(ms)));
    Leadership {
        node: CoordinatorId(metrics.id),
        term: Term(metrics.current_term),
        leader,
        leads,
        quorum_ack,
        stale_after,
    }
}

/// Why the core is gone; it says nothing when it panicked.
fn last_words(metrics: &RaftMetrics<u64, MemberNode>) -> String {
    match &metrics.running_state {
        Err(error) => format!("consensus stopped: {error}"),
        Ok(()) => "consensus stopped: raft's core is gone; its last words are in the log above".to_owned(),
    }
}

/// Follows openraft's metrics: publishes leadership, ends the process on a fatal error, stops the heartbeats of a leader
/// that no quorum acknowledges (they would keep followers behind a bridge from electing another), and starts an
/// election when there has been no leader for a freshly drawn while.
pub(crate) fn follow(
    raft: Raft,
    election_max: Duration,
    shutdown: &Shutdown,
    lane: &Handle,
) -> watch::Receiver<Leadership> {
    let mut metrics = raft.metrics();
    let (mut reports, mut server) = (metrics.clone(), raft.server_metrics());
    let stale_after = election_max * 2;
    let (publish, subscribe) = watch::channel(read(&metrics.borrow_and_update(), stale_after));
    let (token, fatal) = (shutdown.token(), shutdown.clone());
    shutdown.spawn_on(lane, "leadership", async move {
        let mut watchdog = ElectionWatchdog::new(election_max);
        let mut heartbeats = true;
        let mut latest = metrics.borrow_and_update().clone();
        let mut leadership = read(&latest, stale_after);
        loop {
            // A leader that may decide hears of the next acknowledgement soon enough by the clock; openraft reports
            // several times for every entry. One that may not yet is waited for.
            let waited_for = leadership.leads && !leadership.can_decide();
            let changed = tokio::select! {
                () = token.cancelled() => return,
                changed = server.changed() => changed,
                changed = reports.changed(), if waited_for => changed,
                () = tokio::time::sleep(CHECK_EVERY) => Ok(()),
            };
            if changed.is_err() {
                // A node without its core must not live on.
                if !token.is_cancelled() {
                    fatal.fatal(last_words(&metrics.borrow()));
                }
                return;
            }
            // What was not reported again is not fresher than it was.
            if metrics.has_changed().unwrap_or(true) {
                latest = metrics.borrow_and_update().clone();
                leadership = read(&latest, stale_after);
            }
            if let Err(error) = &latest.running_state {
                if matches!(error, Fatal::Stopped) && token.is_cancelled() {
                    return;
                }
                fatal.fatal(last_words(&latest));
                return;
            }
            let wanted = !leadership.leads || leadership.can_decide() || leadership.quorum_ack.is_none();
            if wanted != heartbeats {
                heartbeats = wanted;
                raft.runtime_config().heartbeat(wanted);
                tracing::warn!(
                    heartbeats,
                    term = leadership.term.0,
                    "a leader's heartbeats follow its quorum"
                );
            }
            let voter = latest.membership_config.voter_ids().any(|id| id == latest.id);
            if watchdog.is_due(leadership.leader.is_some() || !voter) {
                tracing::info!(term = leadership.term.0, "no leader for a while: starting an election");
                if raft.trigger().elect().await.is_err() {
                    return;
                }
            }
            publish.send_if_modified(|known| {
                let changed = *known != leadership;
                known.clone_from(&leadership);
                changed
            });
        }
    });
    subscribe
}

/// Breaks ties for good: each wait is drawn anew, unlike openraft's own, which is drawn once per process.
struct ElectionWatchdog {
    election_max: Duration,
    leaderless_since: Option<(Instant, Duration)>,
}

impl ElectionWatchdog {
    fn new(election_max: Duration) -> Self {
        Self { election_max, leaderless_since: None }
    }

    fn is_due(&mut self, content: bool) -> bool {
        if content {
            self.leaderless_since = None;
            return false;
        }
        let election_max = self.election_max;
        let (since, wait) = *self
            .leaderless_since
            .get_or_insert_with(|| (Instant::now(), election_max.mul_f64(rand::random_range(1.5..4.0))));
        let due = since.elapsed() >= wait;
        if due {
            self.leaderless_since = None;
        }
        due
    }
}

/// The part of the election range that belongs to one of several voters, so that no two draw alike.
pub(crate) fn own_range(min_ms: u64, max_ms: u64, rank: usize, voters: usize) -> (u64, u64) {
    let voters = voters.max(1) as u64;
    let width = ((max_ms - min_ms) / voters).max(1);
    let low = min_ms + width * (rank as u64).min(voters - 1);
    (low, (low + width).min(max_ms).max(low + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::StorageIOError;

    #[test]
    fn election_ranges_of_voters_do_not_overlap() {
        for voters in 1..=7_usize {
            let ranges: Vec<_> = (0..voters).map(|rank| own_range(500, 800, rank, voters)).collect();
            assert!(ranges.iter().all(|(low, high)| low < high && *low >= 500 && *high <= 800), "{ranges:?}");
            assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:?}");
        }
    }

    #[test]
    fn the_last_words_of_a_core_are_its_error_when_it_had_one() {
        let mut metrics = RaftMetrics::new_initial(1);
        assert!(last_words(&metrics).contains("in the log above"));
        let failed = StorageIOError::write_logs(&std::io::Error::other("could not sync FILE"));
        metrics.running_state = Err(Fatal::StorageError(failed.into()));
        assert!(last_words(&metrics).ends_with("could not sync FILE"), "{}", last_words(&metrics));
    }

    #[test]
    fn the_watchdog_waits_only_while_there_is_no_leader() {
        let mut watchdog = ElectionWatchdog::new(Duration::ZERO);
        assert!(!watchdog.is_due(true));
        assert!(watchdog.is_due(false), "a wait of zero is over at once");
        let mut patient = ElectionWatchdog::new(Duration::from_hours(1));
        assert!(!patient.is_due(false));
        assert!(patient.leaderless_since.is_some());
        assert!(!patient.is_due(true));
        assert!(patient.leaderless_since.is_none());
    }
}
