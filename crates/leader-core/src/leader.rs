//! What a leader remembers, for as long as it leads.

use crate::{
    renewals::{Acknowledgement, Renewals, Round},
    session::{Report, Session, SessionId},
};
use quorate_domain::{
    CoordinatorId, Host, HostId, HostStatus, Incarnation, Revision, ServiceMode, State, Term,
};
use quorate_planner::{HostObservation, Mono, Observations};
use std::collections::BTreeMap;

/// The memory of one coordinator; empty while it does not lead.
#[derive(Debug, Clone, Default)]
pub struct Leader {
    pub(crate) observations: Observations,
    sessions: BTreeMap<HostId, Session>,
    renewals: Renewals,
    pub(crate) ready: bool,
    numbered: u64,
    pub(crate) last_look: Option<Mono>,
    /// The waits of the last leadership.
    #[cfg(planted)]
    waits: BTreeMap<(quorate_domain::GroupId, quorate_domain::Epoch), Mono>,
}

impl Leader {
    /// What planners see.
    pub fn observations(&self) -> &Observations {
        &self.observations
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
            Some(session) => session.mode,
            None => (self.ready && host.status == HostStatus::Offline).then_some(ServiceMode::ReadOnly),
        }
    }

    /// How long nobody is expired yet; none when this coordinator does not lead or has looked for long enough.
    pub fn grace_left_ms(&self, now: Mono) -> Option<u64> {
        let left = self.observations.observe_until.since_ms(now);
        (self.ready && left > 0).then_some(left)
    }

    /// Forgets everything but the count of sessions, so that no number is used twice; returns the hosts whose sessions
    /// are over.
    fn start_over(&mut self) -> Vec<HostId> {
        let fresh = Self { numbered: self.numbered, last_look: self.last_look, ..Self::default() };
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

    /// Opens a session; an earlier one of the same host is over. None when this is not the leadership of that term.
    pub fn open_session(
        &mut self,
        host: &HostId,
        incarnation: Incarnation,
        term: Term,
        now: Mono,
    ) -> Option<SessionId> {
        if self.observations.term != term {
            return None;
        }
        self.numbered += 1;
        let number = self.numbered;
        let observed =
            HostObservation { incarnation, last_contact: now, connected: true, ..HostObservation::default() };
        self.observations.hosts.insert(host.clone(), observed);
        let session = Session { number, incarnation, mode: None, installed: Revision(0) };
        self.sessions.insert(host.clone(), session);
        Some(SessionId { host: host.clone(), number })
    }

    /// True while the session is its host's own.
    pub fn is_open(&self, id: &SessionId) -> bool {
        self.sessions.get(&id.host).is_some_and(|session| session.number == id.number)
    }

    fn heard(&mut self, id: &SessionId, now: Mono) -> Option<(&mut Session, &mut HostObservation)> {
        let session = self.sessions.get_mut(&id.host).filter(|session| session.number == id.number)?;
        let seen = self.observations.hosts.get_mut(&id.host)?;
        seen.last_contact = now;
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
        let Some((session, _)) = self.heard(id, now) else { return false };
        session.mode = Some(mode);
        session.installed = installed;
        let incarnation = session.incarnation;
        self.renewals.arrived(id.clone(), incarnation, seq);
        true
    }

    /// A report arrived. False when the session is over.
    pub fn report(&mut self, id: &SessionId, report: Report, now: Mono) -> bool {
        let Some((session, seen)) = self.heard(id, now) else { return false };
        session.installed = report.installed;
        report.note(seen);
        true
    }

    /// Closes a session, unless another has taken its place. What the host said stays.
    pub fn close_session(&mut self, id: &SessionId) {
        if self.is_open(id) {
            self.sessions.remove(&id.host);
            if let Some(seen) = self.observations.hosts.get_mut(&id.host) {
                seen.connected = false;
            }
        }
    }

    /// The round of the quorum that begins now, for everybody whose heartbeat has arrived; none when nobody waits.
    pub fn begin_round(&mut self) -> Option<Round> {
        self.renewals.begin_round()
    }

    /// What to tell the agents once the round has confirmed this state.
    pub fn acknowledge(&self, round: Round, confirmed: &State) -> Vec<Acknowledgement> {
        let is_stopping = |host: &HostId| self.observations.hosts.get(host).is_some_and(|seen| seen.stopping);
        let mut found = round.acknowledgements(confirmed, is_stopping);
        found.retain(|acknowledgement| self.is_open(&acknowledgement.session));
        found
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
