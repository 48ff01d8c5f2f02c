//! What a leader remembers, for as long as it leads.

use crate::{
    look::STALL_MS,
    outage::Outages,
    pace::{Pace, TooOften},
    reach::{QuorumSeen, Reach},
    renewals::{Acknowledgement, Judged, Renewals, Round},
    session::{Hello, Report, Session, SessionId},
};
use quorate_domain::{
    CoordinatorId, Host, HostId, HostStatus, Incarnation, RefusalReason, Revision, ServiceMode, StartId,
    State, Term,
};
use quorate_planner::{HostObservation, Mono, Observations, remember};
use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
};

/// The memory of one coordinator; empty while it does not lead.
#[derive(Debug, Clone, Default)]
pub struct Leader {
    pub(crate) observations: Observations,
    sessions: BTreeMap<HostId, Session>,
    renewals: Renewals,
    pace: Pace,
    pub(crate) ready: bool,
    numbered: u64,
    pub(crate) last_look: Option<Mono>,
    pub(crate) reach: Reach,
    pub(crate) outages: Outages,
    /// On one that does not lead: it hears a leader.
    pub(crate) hears_another: bool,
    /// When it was noticed that the process had stood still, the last time.
    pub(crate) stood_still_until: Option<Mono>,
    /// The waits of the last leadership.
    #[cfg(planted)]
    waits: BTreeMap<(quorate_domain::GroupId, quorate_domain::Epoch), Mono>,
}

impl Leader {
    /// What planners see.
    pub fn observations(&self) -> &Observations {
        &self.observations
    }

    /// The same, once this leadership has applied an entry of its own; none before, and where this coordinator does not
    /// lead.
    pub fn knowledge(&self) -> Option<&Observations> {
        self.ready.then_some(&self.observations)
    }

    /// What was heard of a host in this leadership.
    pub fn seen(&self, host: &HostId) -> Option<&HostObservation> {
        self.observations.hosts.get(host)
    }

    /// The open session of a host.
    pub fn session(&self, host: &HostId) -> Option<&Session> {
        self.sessions.get(host)
    }

    /// What a host may do, as it last said in its session, or as it must be since it is offline; none when neither is known
    /// here.
    pub fn service_mode(&self, host: &Host) -> Option<ServiceMode> {
        match self.session(&host.id) {
            Some(_) => self.seen(&host.id).and_then(|seen| seen.mode).map(|(mode, _)| mode),
            None => (self.ready && host.status == HostStatus::Offline).then_some(ServiceMode::ReadOnly),
        }
    }

    /// For how long the process has run without standing still, as far as is known: what did not happen before that says
    /// nothing of anybody else. None when it never stood still.
    pub fn awake_for_ms(&self, now: Mono) -> Option<u64> {
        let stands_still = self.last_look.is_some_and(|at| now.since_ms(at) > STALL_MS);
        if stands_still { Some(0) } else { self.stood_still_until.map(|at| now.since_ms(at)) }
    }

    /// How long nobody is expired yet; none when this coordinator does not lead or has looked for long enough.
    pub fn grace_left_ms(&self, now: Mono) -> Option<u64> {
        let left = self.observations.observe_until.since_ms(now);
        (self.ready && left > 0).then_some(left)
    }

    /// Forgets everything but the count of sessions, so that no number is used twice; returns the hosts whose sessions
    /// are over.
    fn start_over(&mut self) -> Vec<HostId> {
        let fresh = Self {
            numbered: self.numbered,
            last_look: self.last_look,
            reach: self.reach,
            hears_another: self.hears_another,
            stood_still_until: self.stood_still_until,
            ..Self::default()
        };
        #[cfg(planted)]
        let fresh = Self { waits: self.observations.revoked_since.clone(), ..fresh };
        std::mem::replace(self, fresh).sessions.into_keys().collect()
    }

    /// Begins the memory of a leadership, if it is not this one's already: nothing is carried over. Returns the hosts
    /// whose sessions are over.
    pub(crate) fn lead(&mut self, leader: CoordinatorId, term: Term, now: Mono) -> Vec<HostId> {
        if self.observations.term == term && self.observations.leader == leader {
            return Vec::new();
        }
        #[cfg(planted)]
        let waits = std::mem::take(&mut self.waits);
        let ended = self.start_over();
        self.outages = Outages::of_leadership(now);
        self.observations = Observations {
            leader,
            term,
            led_since: now,
            observe_until: Mono(u64::MAX),
            ..Observations::default()
        };
        #[cfg(planted)]
        if quorate_domain::planted::is(quorate_domain::planted::Bug::WaitKeptAcrossLeaders) {
            self.observations.revoked_since = waits;
        }
        ended
    }

    /// The leadership has applied its first own entry: from now on its waits count.
    pub(crate) fn become_ready(&mut self, state: &State, now: Mono) {
        if self.ready {
            return;
        }
        self.ready = true;
        self.outages.begin(state.cluster.led.as_ref().map(|led| led.coordinator), now);
        self.observations.led_since = now;
        self.observations.observe_until = now.plus_ms(state.settings().lease.wait_ms);
    }

    /// Forgets everything: this coordinator does not lead. Returns the hosts whose sessions are over.
    pub(crate) fn resign(&mut self) -> Vec<HostId> {
        if self.observations.term == Term(0) { Vec::new() } else { self.start_over() }
    }

    /// Notes that a host which the state does not know yet is there: once its registration is applied, and before its
    /// session is open, it must not count as silent since this leadership began.
    pub fn expect_host(&mut self, host: &HostId, incarnation: Incarnation, term: Term, now: Mono) {
        if self.observations.term == term {
            let seen = HostObservation { incarnation, last_contact: now, ..HostObservation::default() };
            self.observations.hosts.entry(host.clone()).or_insert(seen);
        }
    }

    /// Notes whether this coordinator, where it does not lead, hears a leader: to be said before a look.
    pub fn hears_leader(&mut self, hears: bool) {
        self.hears_another = hears;
    }

    /// What this coordinator has seen of the quorum, for the one that leads; none when it has not looked yet.
    pub fn quorum_seen(&self, now: Mono) -> Option<QuorumSeen> {
        self.reach.seen(now)
    }

    /// What another coordinator has seen of the quorum, which was asked at this moment.
    pub fn peer_saw(&mut self, by: CoordinatorId, seen: QuorumSeen, asked: Mono, now: Mono) {
        self.outages.told(by, seen, asked, now);
    }

    /// An agent was refused in the leadership of this term: operators should be told.
    pub fn refused(
        &mut self,
        state: &State,
        host: &HostId,
        reason: RefusalReason,
        address: &str,
        term: Term,
    ) {
        if self.observations.term == term {
            self.observations.refused.add(state, host, reason, address);
        }
    }

    /// A hello arrived from an address, if that is known, in the leadership of this term: may it cost what it would by this
    /// state?
    ///
    /// # Errors
    /// [`TooOften`] when too many came before it; it costs nothing then.
    pub fn admit(
        &mut self,
        hello: &Hello,
        source: Option<IpAddr>,
        state: &State,
        term: Term,
        now: Mono,
    ) -> Result<(), TooOften> {
        if self.observations.term != term {
            return Ok(());
        }
        let admitted = self.pace.admit(hello, source, state, now);
        if let Err(TooOften { haste, host, .. }) = &admitted {
            self.observations.held_back.note(*haste, host.clone(), now);
        }
        admitted
    }

    /// Opens a session; an earlier one of the same host is over. None when this is not the leadership of that term.
    pub fn open_session(
        &mut self,
        host: &HostId,
        incarnation: Incarnation,
        start: StartId,
        term: Term,
        now: Mono,
    ) -> Option<SessionId> {
        if self.observations.term != term {
            return None;
        }
        self.numbered += 1;
        let number = self.numbered;
        let known = self.observations.hosts.remove(host).unwrap_or_default();
        let mut observed = HostObservation {
            incarnation,
            last_contact: if known.on_credit { known.last_contact } else { now },
            acknowledged: known.acknowledged,
            on_credit: true,
            connected: true,
            starts: known.starts,
            changes: known.changes,
            changed_at: known.changed_at,
            ..HostObservation::default()
        };
        if observed.starts.last().is_none_or(|(last, _)| *last != start) {
            remember(&mut observed.starts, (start, now));
        }
        self.observations.hosts.insert(host.clone(), observed);
        let session = Session { number, incarnation, installed: Revision(0), uncounted: VecDeque::default() };
        self.sessions.insert(host.clone(), session);
        Some(SessionId { host: host.clone(), number })
    }

    /// True while the session is its host's own.
    pub fn is_open(&self, id: &SessionId) -> bool {
        self.sessions.get(&id.host).is_some_and(|session| session.number == id.number)
    }

    /// Something that the host said in its session changes what counts: it has installed this. Whatever it says, that
    /// alone is no contact.
    fn heard(&mut self, id: &SessionId, installed: Revision) -> Option<(&mut Session, &mut HostObservation)> {
        let session = self.sessions.get_mut(&id.host).filter(|session| session.number == id.number)?;
        let seen = self.observations.hosts.get_mut(&id.host)?;
        session.installed = installed;
        count(session, seen);
        Some((session, seen))
    }

    /// A heartbeat arrived; it waits for a round of the quorum. False when the session is over.
    pub fn heartbeat(
        &mut self,
        id: &SessionId,
        seq: u64,
        installed: Revision,
        mode: ServiceMode,
        now: Mono,
    ) -> bool {
        let Some((session, seen)) = self.heard(id, installed) else { return false };
        seen.waiting = Some(now);
        if seen.mode.is_none_or(|(known, _)| known != mode) {
            seen.mode = Some((mode, now));
        }
        let incarnation = session.incarnation;
        self.renewals.arrived(id.clone(), incarnation, seq, now);
        true
    }

    /// A report arrived. False when the session is over.
    pub fn report(&mut self, id: &SessionId, report: Report) -> bool {
        let Some((_, seen)) = self.heard(id, report.installed) else { return false };
        let failed = report.failed_starts(&id.host);
        report.note(seen);
        for (group, start) in failed {
            let known = self.observations.failed_starts.get(&group);
            if known.is_none_or(|known| known.epoch <= start.epoch) {
                self.observations.failed_starts.insert(group, start);
            }
        }
        true
    }

    /// Closes a session, unless another has taken its place. What the host said stays.
    pub fn close_session(&mut self, id: &SessionId) {
        if self.is_open(id) {
            self.sessions.remove(&id.host);
            if let Some(seen) = self.observations.hosts.get_mut(&id.host) {
                (seen.connected, seen.mode) = (false, None);
            }
        }
    }

    /// The round of the quorum that begins now, for everybody whose heartbeat has arrived; none when nobody waits.
    pub fn begin_round(&mut self) -> Option<Round> {
        self.renewals.begin_round()
    }

    /// What to tell the agents once the round has confirmed this state. Whose renewal counts thereby was in contact when
    /// its heartbeat arrived.
    pub fn acknowledge(&mut self, round: Round, confirmed: &State) -> Vec<Acknowledgement> {
        let hosts = &self.observations.hosts;
        let judged = round.judged(confirmed, |host| hosts.get(host).is_some_and(|seen| seen.stopping));
        for (id, judged) in judged {
            self.judge(&id, judged);
        }
        let is_stopping = |host: &HostId| self.observations.hosts.get(host).is_some_and(|seen| seen.stopping);
        let mut found = round.acknowledgements(confirmed, is_stopping);
        found.retain(|acknowledgement| self.is_open(&acknowledgement.session));
        found
    }

    fn judge(&mut self, id: &SessionId, judged: Judged) {
        let session = self.sessions.get_mut(&id.host).filter(|session| session.number == id.number);
        let (Some(session), Some(seen)) = (session, self.observations.hosts.get_mut(&id.host)) else {
            return;
        };
        seen.waiting = seen.waiting.filter(|at| *at > judged.through);
        if let Some((arrived, needs)) = judged.proves {
            if judged.acknowledged {
                seen.acknowledged = seen.acknowledged.max(arrived);
            }
            session.confirmed(arrived, needs);
            count(session, seen);
        }
    }

    /// The round has failed for good: this leader has lost its quorum. The sessions that it was for are over, so that
    /// their agents look for a coordinator that has one. Returns their hosts.
    pub fn give_up(&mut self, round: Round) -> Vec<HostId> {
        let mut waited = round.sessions();
        waited.retain(|session| self.is_open(session));
        for session in &waited {
            self.close_session(session);
        }
        waited.into_iter().map(|session| session.host).collect()
    }
}

/// Takes in the renewals that count by now.
fn count(session: &mut Session, seen: &mut HostObservation) {
    if let Some(arrived) = session.counted() {
        seen.last_contact = seen.last_contact.max(arrived);
        seen.on_credit = false;
    }
}
