//! What the leader remembers of its agents, for as long as it leads.

use quorate_consensus::{Feed, View};
use quorate_domain::{CoordinatorId, HostId, Incarnation, Term};
use quorate_planner::{HostObservation, Mono, Observations};
use quorate_rpc::session::ServiceMode;
use quorate_runtime::clock::Clock;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// Changes of the state within this time are told to agents together.
const RING_REST: Duration = Duration::from_millis(2);
/// The same while no agent is connected here; one that comes gets the present state first.
const IDLE_REST: Duration = Duration::from_millis(50);

/// An agent's open session.
#[derive(Debug)]
pub(crate) struct Session {
    /// Tells it from earlier sessions of the same host.
    pub(crate) number: u64,
    /// Rings when the host's assignment may have changed, or the session is over.
    pub(crate) bell: Arc<Notify>,
    /// What the host last said of its service mode.
    pub(crate) mode: Option<ServiceMode>,
    /// Which assignment it last said it had installed.
    pub(crate) installed_revision: u64,
}

/// The memory itself.
#[derive(Debug, Default)]
pub(crate) struct Inner {
    /// What planners see.
    pub(crate) observations: Observations,
    /// Open sessions.
    pub(crate) sessions: BTreeMap<HostId, Session>,
    /// True once this leadership has applied an entry of its own: before that the state may be old.
    pub(crate) ready: bool,
    numbered: u64,
}

impl Inner {
    /// Forgets everything but the count of sessions, so that no number is used twice; returns those that were open.
    fn start_over(&mut self) -> BTreeMap<HostId, Session> {
        let numbered = self.numbered;
        std::mem::replace(self, Self { numbered, ..Self::default() }).sessions
    }
}

/// The leader's memory. Clones share it.
#[derive(Clone)]
pub(crate) struct Memory {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<Notify>,
    clock: Arc<dyn Clock>,
}

impl Memory {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { inner: Arc::default(), changed: Arc::default(), clock }
    }

    /// The leader's clock.
    pub(crate) fn now(&self) -> Mono {
        Mono(self.clock.boottime().as_ms())
    }

    /// Looks at it or changes it; never across an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the driver.
    pub(crate) fn notify(&self) {
        self.changed.notify_one();
    }

    /// Returns when somebody has called [`Memory::notify`].
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Begins the memory of a leadership, if it is not this one's already: nothing is carried over.
    pub(crate) fn lead(&self, leader: CoordinatorId, term: Term) {
        let now = self.now();
        let mut inner = self.lock();
        if inner.observations.term == term && inner.observations.leader == leader {
            return;
        }
        let sessions = inner.start_over();
        inner.observations = Observations {
            leader,
            term,
            led_since: now,
            observe_until: Mono(u64::MAX),
            ..Observations::default()
        };
        drop(inner);
        ring_all(sessions);
    }

    /// The leadership has applied its first own entry: from now on its waits count.
    pub(crate) fn become_ready(&self, view: &View) {
        let now = self.now();
        let mut inner = self.lock();
        if inner.ready || inner.observations.term != view.applied_term {
            return;
        }
        inner.ready = true;
        inner.observations.led_since = now;
        inner.observations.observe_until = now.plus_ms(view.state.settings().lease.wait_ms);
    }

    /// Forgets everything and ends the sessions: this coordinator no longer leads.
    pub(crate) fn resign(&self) {
        let mut inner = self.lock();
        if inner.observations.term == Term(0) {
            return;
        }
        let sessions = inner.start_over();
        drop(inner);
        ring_all(sessions);
    }

    /// The leader's own clock stood still for a while: heartbeats may be waiting, so nobody is expired for a grace period.
    pub(crate) fn observe_only(&self, grace_ms: u64) {
        let now = self.now();
        let mut inner = self.lock();
        inner.observations.observe_until = inner.observations.observe_until.max(now.plus_ms(grace_ms));
    }

    /// Notes that a host which the state does not know yet is there: once its registration is applied, and before its
    /// session is open, it must not count as silent since this leadership began.
    pub(crate) fn expect_host(&self, host: &HostId, incarnation: Incarnation, term: Term) {
        let now = self.now();
        let mut inner = self.lock();
        if inner.observations.term == term {
            let seen = HostObservation { incarnation, last_contact: now, ..HostObservation::default() };
            inner.observations.hosts.entry(host.clone()).or_insert(seen);
        }
    }

    /// Opens a session; an earlier one of the same host is over. None when this is not the leadership of that term.
    pub(crate) fn open_session(
        &self,
        host: &HostId,
        incarnation: Incarnation,
        term: Term,
    ) -> Option<(u64, Arc<Notify>)> {
        let now = self.now();
        let mut inner = self.lock();
        if inner.observations.term != term {
            return None;
        }
        inner.numbered += 1;
        let number = inner.numbered;
        let bell = Arc::new(Notify::new());
        let session = Session { number, bell: Arc::clone(&bell), mode: None, installed_revision: 0 };
        let observed =
            HostObservation { incarnation, last_contact: now, connected: true, ..HostObservation::default() };
        inner.observations.hosts.insert(host.clone(), observed);
        let earlier = inner.sessions.insert(host.clone(), session);
        drop(inner);
        if let Some(earlier) = earlier {
            earlier.bell.notify_one();
        }
        self.notify();
        Some((number, bell))
    }

    /// Changes what is known of a host, if the session is still its own; tells whether it is.
    pub(crate) fn with_session(
        &self,
        host: &HostId,
        number: u64,
        change: impl FnOnce(&mut Session, &mut HostObservation),
    ) -> bool {
        let now = self.now();
        let mut inner = self.lock();
        let Inner { observations, sessions, .. } = &mut *inner;
        let (Some(session), Some(seen)) = (
            sessions.get_mut(host).filter(|session| session.number == number),
            observations.hosts.get_mut(host),
        ) else {
            return false;
        };
        seen.last_contact = now;
        change(session, seen);
        true
    }

    /// True while the session is its host's own.
    pub(crate) fn is_open(&self, host: &HostId, number: u64) -> bool {
        self.lock().sessions.get(host).is_some_and(|session| session.number == number)
    }

    /// Closes a session, unless another has taken its place. What the host said stays.
    pub(crate) fn close_session(&self, host: &HostId, number: u64) {
        let mut inner = self.lock();
        if inner.sessions.get(host).is_some_and(|session| session.number == number) {
            inner.sessions.remove(host);
            if let Some(seen) = inner.observations.hosts.get_mut(host) {
                seen.connected = false;
            }
        }
        drop(inner);
        self.notify();
    }

    /// Rings a host's bell whenever its record changes, until the node stops. A task of its own: an assignment must not
    /// wait for the driver, which waits for the quorum.
    pub(crate) async fn ring_for_changes(self, feed: Feed) {
        let mut views = feed.watch();
        let mut before = views.borrow_and_update().clone();
        while views.changed().await.is_ok() {
            let now = views.borrow_and_update().clone();
            let rest = if self.ring_changed(&before, &now) { RING_REST } else { IDLE_REST };
            before = now;
            tokio::time::sleep(rest).await;
        }
    }

    /// Rings the bells of the hosts whose record differs between two views. False when nobody could hear them.
    fn ring_changed(&self, before: &View, after: &View) -> bool {
        use imbl::ordmap::DiffItem;
        let inner = self.lock();
        if inner.sessions.is_empty() {
            return false;
        }
        for item in before.state.hosts.diff(&after.state.hosts) {
            let (DiffItem::Add(id, _) | DiffItem::Update { new: (id, _), .. } | DiffItem::Remove(id, _)) =
                item;
            if let Some(session) = inner.sessions.get(id) {
                session.bell.notify_one();
            }
        }
        true
    }
}

fn ring_all(sessions: BTreeMap<HostId, Session>) {
    for session in sessions.into_values() {
        session.bell.notify_one();
    }
}
