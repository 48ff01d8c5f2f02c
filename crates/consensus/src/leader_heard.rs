//! When a follower last heard its leader. openraft keeps that to itself, and goes on naming a leader that died until this
//! node stands for election.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// When a follower last heard its leader. Clones share it, so that its age is known without anybody being woken for every
/// heartbeat.
#[derive(Debug, Clone, Default)]
pub struct LeaderHeard {
    at: Arc<Mutex<Option<Instant>>>,
}

impl LeaderHeard {
    fn at(&self) -> MutexGuard<'_, Option<Instant>> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leader of this node's term said something.
    pub(crate) fn note(&self, at: Instant) {
        let mut known = self.at();
        *known = (*known).max(Some(at));
    }

    /// True when it was heard within this time.
    pub(crate) fn within(&self, time: Duration) -> bool {
        self.at().is_some_and(|at| at.elapsed() <= time)
    }
}

/// Two records of one node are the same, whatever the time.
impl PartialEq for LeaderHeard {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.at, &other.at)
    }
}

impl Eq for LeaderHeard {}
