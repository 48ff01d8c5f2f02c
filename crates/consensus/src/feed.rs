//! What was applied, for everybody who wants to know: the present view, and the revisions as they come.

use crate::state_store::StateStore;
use quorate_domain::{Committed, Revision, State, Term};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

/// The most revisions that are kept in memory; older ones come from the archive.
pub const RECENT_MAX: usize = 8_192;
/// The most revisions that one read of the feed returns.
pub const PAGE_MAX: usize = 1_000;

/// A consistent view of the state. Clones share it.
#[derive(Debug, Clone)]
pub struct View {
    /// The state.
    pub state: Arc<State>,
    /// The last log entry in it.
    pub applied_index: u64,
    /// The term of that entry.
    pub applied_term: Term,
}

/// An answer to "what happened since".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Archived {
    /// These revisions, in order and without gaps; empty when there is nothing newer.
    Revisions(Vec<Arc<Committed>>),
    /// The first one wanted is no longer kept; this is the oldest that is.
    Compacted(Revision),
}

/// Where views and revisions come out. Clones share it.
#[derive(Clone)]
pub struct Feed {
    view: Arc<watch::Sender<View>>,
    newest: Arc<Mutex<VecDeque<Arc<Committed>>>>,
    archive: StateStore,
}

impl Feed {
    pub(crate) fn new(view: View, archive: StateStore) -> Self {
        Self { view: Arc::new(watch::Sender::new(view)), newest: Arc::default(), archive }
    }

    /// The state as it was last applied here.
    pub fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// Wakes whenever something was applied.
    pub fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// Revisions from `start` on, at most [`PAGE_MAX`].
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub async fn since(&self, start: Revision, limit: usize) -> Result<Archived, String> {
        let limit = limit.min(PAGE_MAX);
        if start > self.view.borrow().state.revision() {
            return Ok(Archived::Revisions(vec![]));
        }
        if let Some(found) = self.recent(start, limit) {
            return Ok(Archived::Revisions(found));
        }
        match self.archive.revisions(start, limit).await? {
            // There was something from `start` on, so it was kept before a snapshot took the place of everything.
            Archived::Revisions(found) if found.is_empty() => Ok(Archived::Compacted(self.first_joined())),
            answer => Ok(answer),
        }
    }

    /// The first revision that watchers can have when the archive has none.
    fn first_joined(&self) -> Revision {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.front().map_or_else(|| self.view.borrow().state.revision().next(), |first| first.revision)
    }

    /// The oldest revision that can still be had.
    ///
    /// # Errors
    /// When the archive cannot be read.
    pub async fn first_kept(&self) -> Result<Revision, String> {
        match self.archive.revisions(Revision(0), 1).await? {
            Archived::Compacted(first) => Ok(first),
            Archived::Revisions(found) => Ok(found.first().map_or(Revision(1), |first| first.revision)),
        }
    }

    fn recent(&self, start: Revision, limit: usize) -> Option<Vec<Arc<Committed>>> {
        let recent = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let first = recent.front()?.revision;
        let skip = start.0.checked_sub(first.0)?;
        Some(recent.iter().skip(usize::try_from(skip).ok()?).take(limit).cloned().collect())
    }

    /// Makes what was applied known: the revisions first, so that whoever sees the view finds them.
    pub(crate) fn publish(&self, view: View, revisions: &[Arc<Committed>]) {
        {
            let mut recent = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            recent.extend(revisions.iter().cloned());
            let surplus = recent.len().saturating_sub(RECENT_MAX);
            recent.drain(..surplus);
        }
        self.view.send_replace(view);
    }

    /// A snapshot took the place of everything: what is in memory no longer joins up.
    pub(crate) fn restart(&self, view: View) {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.view.send_replace(view);
    }
}
