//! What the leader remembers of its agents, shared between the tasks of a coordinator, and the ways to the agents that
//! are connected. What the memory means stands in the leader-core crate.

use quorate_consensus::{Feed, Leadership, View};
use quorate_domain::{HostId, Incarnation, RefusalReason, StartId, State, Term};
use quorate_leader_core::{Acknowledgement, Leader, Leading, Look, QuorumSeen, Round, SessionId};
use quorate_planner::{
    Mono,
    warnings::{Coordinators, Warnings, warnings},
};
use quorate_rpc::{
    pb::agent::CoordinatorMessage,
    session::{ParsedCoordinatorMessage, ParsedRenewalAck},
};
use quorate_runtime::clock::Clock;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{Notify, mpsc};
use tonic::Status;

/// Changes of the state within this time are told to agents together.
const RING_REST: Duration = Duration::from_millis(2);
/// The same while no agent is connected here; one that comes gets the present state first.
const IDLE_REST: Duration = Duration::from_millis(50);

/// Where messages to one agent go.
pub(crate) type Outbox = mpsc::Sender<Result<CoordinatorMessage, Status>>;

/// An agent is told of another one that wants its host at most this often.
const NOTICE_EVERY_MS: u64 = 10_000;

/// The way to an agent in session.
#[derive(Debug)]
struct Way {
    /// Rings when the host's assignment may have changed, or the session is over.
    bell: Arc<Notify>,
    outbox: Outbox,
    /// When its agent was last told of another one that asked for its host.
    noticed: Option<Mono>,
}

/// The memory itself.
#[derive(Debug, Default)]
struct Inner {
    leader: Leader,
    ways: BTreeMap<HostId, Way>,
}

impl Inner {
    fn end(&mut self, hosts: &[HostId]) {
        for way in hosts.iter().filter_map(|host| self.ways.remove(host)) {
            way.bell.notify_one();
        }
    }
}

/// The leader's memory. Clones share it.
#[derive(Clone)]
pub(crate) struct Memory {
    inner: Arc<Mutex<Inner>>,
    /// What the last look has shown of the quorum, and when that was. Other coordinators ask for it, who must not wait for
    /// a look.
    quorum: Arc<Mutex<Option<(QuorumSeen, Mono)>>>,
    changed: Arc<Notify>,
    renewals: Arc<Notify>,
    clock: Arc<dyn Clock>,
}

impl Memory {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            inner: Arc::default(),
            quorum: Arc::default(),
            changed: Arc::default(),
            renewals: Arc::default(),
            clock,
        }
    }

    /// The leader's clock.
    pub(crate) fn now(&self) -> Mono {
        Mono(self.clock.boottime().as_ms())
    }

    /// This machine's clocks.
    pub(crate) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks it something.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&Leader) -> T) -> T {
        question(&self.lock().leader)
    }

    /// Changes it, at this moment of the leader's clock.
    pub(crate) fn tell<T>(&self, change: impl FnOnce(&mut Leader, Mono) -> T) -> T {
        // Read inside the lock: the memory's time must not go back.
        let mut inner = self.lock();
        change(&mut inner.leader, self.now())
    }

    /// What an operator should look at, as far as this coordinator knows; and whether it knows what only a leader can.
    pub(crate) fn warnings(&self, state: &State, coordinators: &Coordinators) -> (Warnings, bool) {
        let inner = self.lock();
        let seen = inner.leader.knowledge();
        (warnings(state, seen, coordinators, self.now()), seen.is_some())
    }

    /// For how long this process has not stood still, as far as is known; none when it never did.
    pub(crate) fn awake_for_ms(&self) -> Option<u64> {
        let now = self.now();
        self.ask(|leader| leader.awake_for_ms(now))
    }

    /// Wakes the driver.
    pub(crate) fn notify(&self) {
        self.changed.notify_one();
    }

    /// Returns when somebody has called [`Memory::notify`].
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// One look at the world; ends the sessions of a leadership that is over. Also says when it was.
    pub(crate) fn look(&self, leadership: &Leadership, view: &View) -> (Look, Mono) {
        let leading = leadership.leads.then(|| Leading {
            coordinator: leadership.node,
            term: leadership.term,
            decides: leadership.can_decide(),
        });
        let mut inner = self.lock();
        let now = self.now();
        inner.leader.hears_leader(leadership.heard_leader().is_some());
        let look = inner.leader.look(leading, &view.state, view.applied_term, now);
        inner.end(&look.ended);
        let seen = inner.leader.quorum_seen(now);
        *self.quorum.lock().unwrap_or_else(PoisonError::into_inner) = seen.map(|seen| (seen, now));
        (look, now)
    }

    /// What this coordinator has seen of the quorum; none before its first look.
    pub(crate) fn quorum_seen(&self) -> Option<QuorumSeen> {
        let (seen, at) = (*self.quorum.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(seen.later(self.now().since_ms(at)))
    }

    /// Opens a session; an earlier one of the same host is over. None when this is not the leadership of that term.
    pub(crate) fn open_session(
        &self,
        host: &HostId,
        incarnation: Incarnation,
        start: StartId,
        term: Term,
        outbox: Outbox,
    ) -> Option<(SessionId, Arc<Notify>)> {
        let mut inner = self.lock();
        let id = inner.leader.open_session(host, incarnation, start, term, self.now())?;
        let bell = Arc::new(Notify::new());
        inner.end(std::slice::from_ref(host));
        inner.ways.insert(host.clone(), Way { bell: Arc::clone(&bell), outbox, noticed: None });
        drop(inner);
        self.notify();
        Some((id, bell))
    }

    /// Tells a host's agent something, not more often than every while: whoever is refused may ask again and again. False
    /// when it was told lately, or is not in session here.
    pub(crate) fn notice(&self, host: &HostId, text: &str) -> bool {
        let mut inner = self.lock();
        let now = self.now();
        let Some(way) = inner.ways.get_mut(host) else { return false };
        if way.noticed.is_some_and(|at| now.since_ms(at) < NOTICE_EVERY_MS) {
            return false;
        }
        way.noticed = Some(now);
        way.outbox.try_send(Ok((&ParsedCoordinatorMessage::Notice(text.to_owned())).into())).is_ok()
    }

    /// An agent was refused: operators are told.
    pub(crate) fn refused(
        &self,
        state: &State,
        host: &HostId,
        reason: RefusalReason,
        address: &str,
        term: Term,
    ) {
        self.lock().leader.refused(state, host, reason, address, term);
        self.notify();
    }

    /// Closes a session, unless another has taken its place.
    pub(crate) fn close_session(&self, id: &SessionId) {
        let mut inner = self.lock();
        if inner.leader.is_open(id) {
            inner.ways.remove(&id.host);
        }
        inner.leader.close_session(id);
        drop(inner);
        self.notify();
    }

    /// Asks for a round of the quorum on behalf of the heartbeats that wait.
    pub(crate) fn ask_for_round(&self) {
        self.renewals.notify_one();
    }

    /// The heartbeats that a round of the quorum serves if it begins now; waits until there are some.
    pub(crate) async fn next_round(&self) -> Round {
        loop {
            if let Some(round) = self.lock().leader.begin_round() {
                return round;
            }
            self.renewals.notified().await;
        }
    }

    /// Tells the agents that a round has confirmed this view. One that does not read is not renewed; its session ends
    /// by itself.
    pub(crate) fn acknowledge(&self, round: Round, view: &View) {
        let mut inner = self.lock();
        for Acknowledgement { session, seq, assignment } in inner.leader.acknowledge(round, &view.state) {
            if let Some(way) = inner.ways.get(&session.host) {
                let ack = ParsedCoordinatorMessage::RenewalAck(ParsedRenewalAck { seq, assignment });
                let _ = way.outbox.try_send(Ok((&ack).into()));
            }
        }
    }

    /// Ends the sessions whose heartbeats no quorum will confirm.
    pub(crate) fn give_up(&self, round: Round) {
        let mut inner = self.lock();
        let hosts = inner.leader.give_up(round);
        inner.end(&hosts);
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

    /// Rings the bells of the hosts whose record differs between two views, and all when the coordinators do. False when nobody could hear them.
    fn ring_changed(&self, before: &View, after: &View) -> bool {
        use imbl::ordmap::DiffItem;
        let inner = self.lock();
        if inner.ways.is_empty() {
            return false;
        }
        if before.state.coordinators != after.state.coordinators {
            for way in inner.ways.values() {
                way.bell.notify_one();
            }
            return true;
        }
        for item in before.state.hosts.diff(&after.state.hosts) {
            let (DiffItem::Add(id, _) | DiffItem::Update { new: (id, _), .. } | DiffItem::Remove(id, _)) =
                item;
            if let Some(way) = inner.ways.get(id) {
                way.bell.notify_one();
            }
        }
        true
    }
}
