//! What waits for the store's thread, in order. Groups of applied entries that wait together become one.

use super::Job;
use quorate_runtime::standstill::Pulse;
use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// Revisions that wait at most; the state machine waits beyond it. Fewer than the feed has in memory.
const REVISIONS_MAX: usize = 4_096;
/// Jobs that wait at most.
const JOBS_MAX: usize = 256;

#[derive(Default)]
pub(super) struct Inbox {
    inner: Mutex<Inner>,
    /// Signalled when the thread has a reason to look.
    filled: Condvar,
    /// Signalled when there is room, or never will be.
    drained: Notify,
    /// Why the thread ended, when it did not end in order.
    failure: OnceLock<String>,
    /// Of the thread.
    pub(super) pulse: Pulse,
}

#[derive(Default)]
struct Inner {
    jobs: VecDeque<Job>,
    /// No handle is left, or the thread is gone.
    is_closed: bool,
}

impl Inner {
    /// Only groups of applied entries wait, and not too many: nobody waits for them.
    fn can_wait(&self) -> bool {
        !self.is_closed && self.jobs.len() == 1 && !self.is_full()
    }

    fn is_full(&self) -> bool {
        matches!(self.jobs.back(), Some(Job::Write(write)) if write.revisions.len() >= REVISIONS_MAX)
    }

    fn has_room_for(&self, job: &Job) -> bool {
        self.jobs.len() < JOBS_MAX && !(matches!(job, Job::Write(_)) && self.is_full())
    }

    /// Adds a job at the end; true when it gives the thread a reason to look.
    fn add(&mut self, job: Job) -> bool {
        let could_wait = self.can_wait();
        match (self.jobs.back_mut(), job) {
            (Some(Job::Write(earlier)), Job::Write(later)) => earlier.extend(*later),
            (_, job) => self.jobs.push_back(job),
        }
        !(could_wait && self.can_wait())
    }
}

impl Inbox {
    /// Adds a job at the end, when there is room. False when the thread is gone.
    pub(super) async fn push(&self, job: Job) -> bool {
        loop {
            let drained = self.drained.notified();
            {
                let mut inner = self.lock();
                if inner.is_closed {
                    return false;
                }
                if inner.has_room_for(&job) {
                    if inner.add(job) {
                        self.filled.notify_one();
                    }
                    return true;
                }
            }
            drained.await;
        }
    }

    /// The next job; a group of applied entries only when it has waited for `pace`, so that more of them go together,
    /// or when something waits behind it. None at the very end.
    pub(super) fn next(&self, pace: Duration) -> Option<Job> {
        let mut inner = self.lock();
        while inner.jobs.is_empty() {
            if inner.is_closed {
                return None;
            }
            inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if matches!(inner.jobs.front(), Some(Job::Write(_))) {
            let end = Instant::now() + pace;
            while inner.can_wait() {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                let (again, _) =
                    self.filled.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner);
                inner = again;
            }
        }
        let next = inner.jobs.pop_front();
        drop(inner);
        self.drained.notify_waiters();
        next
    }

    /// Takes nothing more; what is in it will still be taken out.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.filled.notify_one();
        self.drained.notify_waiters();
    }

    /// Remembers why the thread ends, and takes nothing more; the first reason is kept.
    pub(super) fn fail(&self, reason: String) {
        let _ = self.failure.set(reason);
        self.close();
    }

    /// Why the thread ended, when it did not end in order.
    pub(super) fn failure(&self) -> Option<String> {
        self.failure.get().cloned()
    }

    /// Drops what is left, for a thread that ends early: whoever waits for an answer hears that there is none.
    pub(super) fn abandon(&self) {
        self.close();
        self.lock().jobs.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{state_store::Write, types::LogId};
    use openraft::CommittedLeaderId;
    use quorate_domain::{Cause, Committed, Revision, State, Timestamp};
    use std::{sync::Arc, thread};
    use tokio::sync::oneshot;

    const HOUR: Duration = Duration::from_hours(1);

    /// What the entry at an index led to: as many revisions as are wanted.
    fn applied(index: u64, revisions: usize) -> Job {
        let committed = Arc::new(Committed {
            revision: Revision(index),
            at: Timestamp(index),
            cause: Cause::Cluster,
            command: "test".into(),
            events: vec![],
        });
        Job::Write(Box::new(Write {
            state: State::default(),
            revisions: std::iter::repeat_n(committed, revisions).collect(),
            applied: LogId::new(CommittedLeaderId::new(1, 1), index),
            membership: None,
        }))
    }

    fn sync() -> Job {
        Job::Sync { index: 0, done: oneshot::channel().0 }
    }

    /// The last index and the number of revisions of a group, none for another job.
    fn group(job: Option<Job>) -> Option<(u64, usize)> {
        match job {
            Some(Job::Write(write)) => Some((write.applied.index, write.revisions.len())),
            _ => None,
        }
    }

    #[tokio::test]
    async fn groups_that_wait_together_become_one_and_other_jobs_keep_their_place() {
        let inbox = Inbox::default();
        for job in [applied(1, 1), applied(2, 2), sync(), applied(3, 1), applied(4, 0)] {
            assert!(inbox.push(job).await);
        }
        // Nothing waits for the pace here: there is always something behind, and at the end the inbox is closed.
        assert_eq!(group(inbox.next(HOUR)), Some((2, 3)));
        assert!(matches!(inbox.next(HOUR), Some(Job::Sync { .. })));
        inbox.close();
        assert_eq!(group(inbox.next(HOUR)), Some((4, 1)), "what is in it is taken out after it was closed");
        assert!(inbox.next(HOUR).is_none());
        assert!(!inbox.push(sync()).await);
    }

    #[tokio::test]
    async fn a_full_group_is_taken_at_once_and_makes_the_next_one_wait() {
        let inbox = Arc::new(Inbox::default());
        assert!(inbox.push(applied(1, REVISIONS_MAX)).await);
        let other = Arc::clone(&inbox);
        let pushed = tokio::spawn(async move { other.push(applied(2, 1)).await });
        tokio::task::yield_now().await;
        assert!(!pushed.is_finished());
        assert_eq!(group(inbox.next(HOUR)), Some((1, REVISIONS_MAX)));
        assert!(pushed.await.unwrap());
        assert_eq!(group(inbox.next(Duration::ZERO)), Some((2, 1)));
    }

    #[tokio::test]
    async fn a_thread_that_waits_for_its_pace_is_woken_by_whoever_wants_an_answer() {
        let inbox = Arc::new(Inbox::default());
        assert!(inbox.push(applied(1, 1)).await);
        let other = Arc::clone(&inbox);
        let taken = thread::spawn(move || (group(other.next(HOUR)), other.next(HOUR).is_some()));
        assert!(inbox.push(sync()).await);
        assert_eq!(taken.join().unwrap(), (Some((1, 1)), true));
    }

    #[tokio::test]
    async fn a_thread_that_is_gone_takes_nothing_and_answers_nobody() {
        let inbox = Inbox::default();
        let (done, answer) = oneshot::channel();
        assert!(inbox.push(Job::Sync { index: 0, done }).await);
        inbox.abandon();
        assert!(answer.await.is_err());
        assert!(!inbox.push(applied(1, 1)).await);
    }
}
