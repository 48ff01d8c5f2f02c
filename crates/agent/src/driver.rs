//! The task that owns the core: feeds it what arrives, and performs the steps that come back.

use crate::{
    config::AgentOptions,
    convert,
    disks::DiskState,
    event::{Event, SessionEvent, WardenEvent},
    guards::Guards,
    hooks::{Hooks, Word},
    keeper::Keeper,
    link::Link,
    local_api::{Answer, Question},
    state_folder::{Identity, StateError},
};
use quorate_agent_core::{BootMs, Core, Step};
use quorate_domain::{
    ClusterId, DiskName, Epoch, GroupId, Incarnation, ServiceMode, StartId, Timestamp,
    host::STARTS_AHEAD_OF_TIME_MAX,
};
use quorate_rpc::{
    ApiError, Failure,
    session::{
        ParsedAgentMessage, ParsedCoordinatorMessage, ParsedHeartbeat, ParsedHello, ParsedReport,
        ParsedWelcome, SESSION_PROTOCOL,
    },
    status::Reason,
};
use quorate_runtime::clock::Clock;
use quorate_warden::protocol::Disk;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::sync::mpsc::Sender;

mod guarding;
mod stopping;

/// A session that is silent for this many heartbeats is given up.
const SILENT_AFTER_HEARTBEATS: u64 = 3;
/// The least patience with a silent coordinator: a very short heartbeat says little about a slow network.
const PATIENCE_MIN_MS: u64 = 500;
/// What a stop on a hanging disk may take beyond the lease.
const STUCK_EXTRA_MS: u64 = 5_000;
/// How far a number on record may be above the wall clock here for this agent to go above it. Twice what coordinators take,
/// since the clock here may be at its beginning.
const FOLLOWED_AHEAD_OF_TIME_MAX: u64 = 2 * STARTS_AHEAD_OF_TIME_MAX;
/// How often the same complaint about a refused session is logged.
const COMPLAIN_EVERY_MS: u64 = 10_000;

/// The core and everything that it speaks to.
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about the agent's end or its next report"
)]
pub(crate) struct Driver {
    pub(crate) core: Core,
    pub(crate) options: Arc<AgentOptions>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) identity: Identity,
    pub(crate) keeper: Keeper,
    pub(crate) link: Link,
    pub(crate) events: Sender<Event>,
    pub(crate) hooks: Hooks,
    pub(crate) guards: Guards,
    disks: BTreeMap<DiskName, DiskState>,
    next_heartbeat: BootMs,
    report_due: bool,
    /// When a report is due although nothing but times and free space has changed.
    refresh_at: BootMs,
    /// When the state folder is looked at again.
    look_at: BootMs,
    /// What is wrong with it; empty when nothing is.
    folder_problem: String,
    start: StartId,
    complained: Option<(String, BootMs)>,
    /// What a coordinator of another cluster said since a leader last took the agent in.
    stranger: Option<String>,
    /// As it was last logged.
    mode: ServiceMode,
    stop_by: Option<BootMs>,
    stopped: bool,
    /// Epochs whose service is not known to have stopped, as far as it was said while the agent stops.
    left_running: BTreeSet<(GroupId, Epoch)>,
    lost: Option<StateError>,
    stuck: bool,
    /// The cluster that the host belongs to, for whoever asks which it is.
    known_cluster: Arc<OnceLock<ClusterId>>,
    /// A leader has taken this start in.
    taken_in: bool,
    /// What was said when another start had taken its place.
    superseded: Option<String>,
}

impl Driver {
    pub(crate) fn new(
        core: Core,
        options: Arc<AgentOptions>,
        clock: Arc<dyn Clock>,
        identity: Identity,
        keeper: Keeper,
        hooks: Hooks,
        events: Sender<Event>,
    ) -> Self {
        let link = Link::new(options.coordinators.clone(), &identity.coordinators);
        let known_cluster = identity.cluster.as_ref().or(options.cluster.as_ref()).cloned();
        Self {
            core,
            options,
            clock,
            identity,
            keeper,
            link,
            events,
            hooks,
            guards: Guards::default(),
            disks: BTreeMap::new(),
            next_heartbeat: BootMs(0),
            report_due: false,
            refresh_at: BootMs(0),
            look_at: BootMs(0),
            folder_problem: String::new(),
            // Never zero, which means that it was not told.
            start: StartId(rand::random_range(1..=u64::MAX)),
            complained: None,
            stranger: None,
            mode: ServiceMode::ReadOnly,
            stop_by: None,
            stopped: false,
            left_running: BTreeSet::new(),
            lost: None,
            stuck: false,
            known_cluster: Arc::new(known_cluster.map_or_else(OnceLock::new, OnceLock::from)),
            taken_in: false,
            superseded: None,
        }
    }

    pub(crate) fn now(&self) -> BootMs {
        BootMs(self.clock.boottime().as_ms())
    }

    /// When [`Driver::wake`] must be called at the latest.
    pub(crate) fn next_wake(&self) -> BootMs {
        let heartbeat = self.link.is_welcomed().then_some(self.next_heartbeat);
        let lapse = (self.mode == ServiceMode::Normal).then(|| self.core.lapses_at());
        // One that gave way opens no session any more: its link is always due.
        let link = self.superseded.is_none().then(|| self.link.next_wake());
        let look = (self.superseded.is_none() && self.lost.is_none()).then_some(self.look_at);
        let guards = self.guards.next_wake();
        let wakes = [link, self.core.next_wake(), heartbeat, lapse, self.stop_by, look, guards];
        wakes.into_iter().flatten().min().unwrap_or_default()
    }

    /// Does what time asks for.
    pub(crate) fn wake(&mut self) {
        let now = self.now();
        let steps = self.core.tick(now);
        self.perform(steps);
        if self.link.is_silent(now) {
            let message = format!("{} says nothing any more", self.link.target());
            self.session_over(Some(&Failure::Unreachable { sent: true, message }));
        }
        if self.superseded.is_none() && self.link.wants_session(now) {
            self.link.open(self.hello(), self.events.clone(), now);
        }
        if self.link.is_welcomed() && now >= self.next_heartbeat {
            self.heartbeat();
        }
        if now >= self.look_at {
            self.keeper.look();
            self.look_at = now.after_ms(millis(self.options.probe.interval));
        }
    }

    /// Roles go on: what this start knows it knows. What could no longer be stored ends them.
    fn folder_seen(&mut self, problem: String) {
        if problem == self.folder_problem {
            return;
        }
        if problem.is_empty() {
            tracing::info!("the state folder is there again as it was left");
        } else {
            tracing::error!(
                problem,
                "the state folder is not as it was left: put it back; a start without it knows no epochs, and is another agent \
                 to the coordinators"
            );
        }
        self.folder_problem = problem;
        self.report_due = true;
    }

    /// Takes in what a part says.
    pub(crate) fn event(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Stored(request) => {
                let steps = self.core.epochs_stored(request, now);
                self.perform(steps);
            }
            Event::Renumbered(incarnation) => {
                self.identity.incarnation = incarnation;
                let steps = self.core.renumbered(incarnation, now);
                self.perform(steps);
            }
            Event::FolderSeen(problem) => self.folder_seen(problem.unwrap_or_default()),
            Event::StateLost(error) => {
                tracing::error!(error = %error, "the state folder cannot be written: ending every role");
                let steps = self.core.storage_failed("the agent cannot keep its state", now);
                self.lost = Some(error);
                self.begin_stop(steps);
            }
            Event::Warden(event) => self.warden(event),
            Event::Guard(event) => self.guard(event, now),
            Event::Disk(state) => self.disk(state, now),
            Event::Session(number, event) if self.link.is_current(number) => self.session(event),
            Event::Session(..) => {}
        }
    }

    /// Answers a local process.
    pub(crate) fn question(&mut self, question: Question) {
        let at = self.now();
        let groups = question.group.map_or_else(|| self.core.groups(), |group| [group].into());
        let mut role = |group| {
            if question.observe_only {
                self.core.show_role(group, at)
            } else {
                self.core.tell_role(group, at)
            }
        };
        let roles = groups.iter().filter_map(&mut role).collect();
        let (host, incarnation) = (self.options.host.clone(), self.core.incarnation());
        let service_mode = self.core.service_mode(at);
        let mut service_mode_reason = self.core.service_mode_reason(at);
        if let Some(stranger) = self.stranger.as_ref().filter(|_| service_mode != ServiceMode::Normal) {
            service_mode_reason = format!("{service_mode_reason}; {stranger}");
        }
        // Whoever asked may have gone.
        let _ =
            question.answer.send(Answer { roles, at, host, incarnation, service_mode, service_mode_reason });
    }

    /// Says in the log when the host may do more or less than before.
    pub(crate) fn note_mode(&mut self) {
        let now = self.now();
        let mode = self.core.service_mode(now);
        if mode == self.mode {
            return;
        }
        self.mode = mode;
        let (host, reason) = (&self.options.host, self.core.service_mode_reason(now));
        if mode == ServiceMode::Normal {
            tracing::info!(host.id = %host, mode = %mode, reason, "service mode");
        } else {
            tracing::warn!(host.id = %host, mode = %mode, reason, "service mode");
        }
    }

    pub(crate) fn perform(&mut self, steps: Vec<Step>) {
        let mut steps = std::collections::VecDeque::from(steps);
        while let Some(step) = steps.pop_front() {
            match step {
                Step::StoreEpochs { request, epochs } => {
                    if !self.keeper.store(request, epochs) && self.lost.is_none() && !self.stuck {
                        self.stuck = true;
                        tracing::error!("the state folder's disk hangs: ending every role");
                        steps.extend(self.core.storage_failed("the agent cannot keep its state", self.now()));
                        let by =
                            self.now().after_ms(self.core.settings().lease_ms.saturating_add(STUCK_EXTRA_MS));
                        self.stop_by.get_or_insert(by);
                    }
                }
                Step::TellWarden { request, deadline } => {
                    if self.hooks.tell(request, deadline) {
                        steps.extend(self.core.warden_told(request, self.now()));
                    }
                }
                Step::RunHook { group, epoch, kind, reason } => {
                    tracing::info!(group.id = %group, epoch = epoch.0, hook = %kind, reason, "running hook");
                    if let Some(outcome) = self.run_hook(&group, epoch, kind, reason) {
                        steps.extend(self.core.hook_finished(&group, epoch, kind, outcome, self.now()));
                    }
                }
                Step::KillHook { group, epoch } => steps.extend(self.kill_hook(&group, epoch)),
                Step::Report => self.report_due = true,
                Step::Resync => {
                    let message = "the assignment does not follow from what is installed".to_owned();
                    self.session_over(Some(&Failure::Invalid { field: "revision".to_owned(), message }));
                }
                Step::Stopped => {
                    self.stopped = true;
                    self.report_due = true;
                }
            }
        }
    }

    pub(crate) fn warden(&mut self, event: WardenEvent) {
        for word in self.hooks.event(event) {
            let now = self.now();
            let steps = match word {
                Word::Told(request) => self.core.warden_told(request, now),
                Word::Lost => self.core.warden_lost(now),
                Word::Ended(group, epoch, kind, outcome) => {
                    self.core.hook_finished(&group, epoch, kind, outcome, now)
                }
                Word::Stopped(group, epoch, proof) => self.core.service_ended(&group, epoch, &proof, now),
            };
            self.perform(steps);
        }
    }

    /// The disk of the group's member on this host, as a hook is told of it.
    fn disk_of(&self, group: &GroupId) -> Option<Disk> {
        let name = self.core.disk(group)?;
        let path = self.options.disks.iter().find(|disk| disk.name == *name);
        let path = path.map_or_else(String::new, |disk| disk.path.display().to_string());
        Some(Disk { name: name.to_string(), path })
    }

    fn disk(&mut self, state: DiskState, now: BootMs) {
        if !state.identity.is_empty() && self.identity.disks.get(&state.name) != Some(&state.identity) {
            let (name, identity) = (state.name.clone(), state.identity.clone());
            if self.keeper.record_disk(name.clone(), identity.clone()) {
                self.identity.disks.insert(name, identity);
            }
        }
        let same = self.disks.get(&state.name).is_some_and(|before| says_the_same(before, &state));
        if !same {
            let codes: Vec<&str> = state.reasons.iter().map(|reason| reason.code.as_str()).collect();
            tracing::info!(disk = %state.name, verdict = %state.verdict, reasons = ?codes, "disk checked");
        }
        self.disks.insert(state.name.clone(), state);
        self.report_due |= !same || now >= self.refresh_at;
    }

    fn session(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Opened(out) => self.link.opened(out),
            SessionEvent::Ended(failure) => self.session_over(failure.as_ref()),
            SessionEvent::Message(message) => {
                let now = self.now();
                let patience_ms = self.core.settings().heartbeat_ms.saturating_mul(SILENT_AFTER_HEARTBEATS);
                self.message(message, now);
                self.link.heard(now, patience_ms.max(PATIENCE_MIN_MS));
            }
        }
    }

    fn message(&mut self, message: ParsedCoordinatorMessage, now: BootMs) {
        let before = self.core.installed_revision();
        let steps = match message {
            ParsedCoordinatorMessage::Welcome(welcome) => return self.welcome(welcome, now),
            ParsedCoordinatorMessage::RenewalAck(ack) => {
                self.core.heartbeat_acknowledged(ack.seq, ack.assignment, now)
            }
            ParsedCoordinatorMessage::Snapshot(assignment) => self.core.assignment_snapshot(assignment, now),
            ParsedCoordinatorMessage::Delta(delta) => {
                self.core.assignment_delta(delta.from, delta.to, delta.changed, &delta.removed, now)
            }
            ParsedCoordinatorMessage::Notice(text) => {
                return tracing::warn!(coordinator = self.link.target(), "{text}");
            }
            ParsedCoordinatorMessage::Coordinators(api_addresses) => {
                return self.learn_coordinators(api_addresses);
            }
        };
        self.perform(steps);
        if self.core.installed_revision() != before {
            tracing::info!(revision = self.core.installed_revision().0, "assignment installed");
            // The leader learns from it what is installed, and the host has a lease the sooner.
            self.next_heartbeat = now;
        }
    }

    fn welcome(&mut self, welcome: ParsedWelcome, now: BootMs) {
        if let Some(refusal) = self.strange(&welcome) {
            return self.session_over(Some(&refusal));
        }
        let target = self.link.target();
        tracing::info!(coordinator = target, term = welcome.term.0, host.id = %self.options.host, "welcomed by the leader");
        let ParsedWelcome { cluster, formation, .. } = welcome;
        let is_known = self.identity.cluster.is_some() && self.identity.formation == formation;
        if !is_known && self.keeper.learn_cluster(cluster.clone(), formation.clone()) {
            // Another one is never taken after it.
            let _ = self.known_cluster.set(cluster.clone());
            (self.identity.cluster, self.identity.formation) = (Some(cluster), formation);
        }
        (self.complained, self.stranger, self.taken_in) = (None, None, true);
        self.link.welcomed(&welcome.api_addresses);
        self.learn_coordinators(welcome.api_addresses);
        let steps = self.core.welcomed(welcome.lease, now);
        self.perform(steps);
        self.next_heartbeat = now;
        self.report_due = true;
    }

    /// The cluster that the host belongs to, once it is known.
    pub(crate) fn known_cluster(&self) -> Arc<OnceLock<ClusterId>> {
        Arc::clone(&self.known_cluster)
    }

    /// The cluster that the host belongs to: by its state folder, or by its configuration before it was ever taken in.
    fn cluster(&self) -> Option<&ClusterId> {
        self.identity.cluster.as_ref().or(self.options.cluster.as_ref())
    }

    /// Why a welcome is none: whoever says it leads another cluster, or another forming of one of this name. Before
    /// anything else of it is looked at: what it says of the coordinators would be taken for where the real ones are.
    fn strange(&self, welcome: &ParsedWelcome) -> Option<Failure> {
        let cluster = &welcome.cluster;
        if let Some(known) = self.cluster().filter(|known| *known != cluster) {
            let message = format!(
                "this coordinator is of cluster {cluster} and this agent belongs to {known}; correct coordinators, or use another state_dir"
            );
            return Some(Failure::Refused { code: Reason::OtherCluster.as_str().to_owned(), message });
        }
        let known = self.identity.formation.as_ref()?;
        if welcome.formation.as_ref() == Some(known) {
            return None;
        }
        // As a coordinator says it that looks at the hello.
        let (cluster, ours, theirs) = (cluster.clone(), welcome.formation.clone(), known.clone());
        let refusal = ApiError::OtherFormation { cluster, ours, theirs };
        Some(Failure::Refused { code: refusal.reason(), message: refusal.to_string() })
    }

    /// Keeps where the coordinators are, for a start at which none of those that are configured is left.
    fn learn_coordinators(&mut self, api_addresses: Vec<String>) {
        self.link.learn(&api_addresses);
        if self.identity.coordinators != api_addresses
            && self.keeper.learn_coordinators(api_addresses.clone())
        {
            self.identity.coordinators = api_addresses;
        }
    }

    fn session_over(&mut self, failure: Option<&Failure>) {
        let now = self.now();
        let was_welcomed = self.link.is_welcomed();
        match failure {
            Some(Failure::StaleStart { message, .. }) if self.taken_in => self.give_way(message),
            Some(Failure::StaleStart { recorded, .. }) => self.raise_incarnation(*recorded),
            Some(Failure::Refused { code, message }) if code == "HOST_ID_IN_USE" && self.taken_in => {
                self.give_way(message);
            }
            _ => {}
        }
        if convert::is_stranger(failure) {
            self.stranger = failure.map(|failure| format!("{}: {failure}", self.link.target()));
        }
        self.complain(failure, was_welcomed, now);
        let steps = self.core.coordinator_said(self.link.target(), convert::quorum_word(failure), now);
        self.perform(steps);
        self.link.lost(failure, now);
        let steps = self.core.session_lost(now);
        self.perform(steps);
    }

    /// This start was the host's, and another one is by now: two of them would take it from each other for ever. The one
    /// that came later stays, and this one ends for good.
    fn give_way(&mut self, message: &str) {
        if self.superseded.is_some() {
            return;
        }
        tracing::error!(
            error = message,
            "another start of this host's agent took its place: ending every role"
        );
        if !self.keeper.supersede() {
            tracing::warn!("the state folder's disk hangs: a start on it may ask for the host again");
        }
        self.superseded = Some(message.to_owned());
        let steps = self.core.stop("another start of the agent took its place", self.now());
        self.begin_stop(steps);
    }

    /// No higher than it must be: how far a number may be above the one on record is bounded.
    fn raise_incarnation(&mut self, recorded: Incarnation) {
        if recorded.0 > self.clock.unix_ms().saturating_add(FOLLOWED_AHEAD_OF_TIME_MAX) {
            // No agent comes to such a number by itself; on disk it would outlast the reset that takes it off record.
            return tracing::error!(
                incarnation = recorded.0,
                "the start on record was not one of an agent's own: `quorate host reset` makes the host's name free of it"
            );
        }
        if !self.keeper.raise_incarnation(recorded) {
            tracing::warn!("the incarnation could not be raised; trying again with the next session");
        }
    }

    /// Says why there is no session, and does not say it again and again.
    fn complain(&mut self, failure: Option<&Failure>, was_welcomed: bool, now: BootMs) {
        let text =
            failure.map_or_else(|| "the coordinator ended the session".to_owned(), ToString::to_string);
        let known = self
            .complained
            .as_ref()
            .is_some_and(|(said, at)| *said == text && now.since_ms(*at) < COMPLAIN_EVERY_MS);
        if known {
            return;
        }
        let coordinator = self.link.target();
        match failure {
            _ if convert::is_stranger(failure) => {
                tracing::warn!(
                    coordinator,
                    error = text,
                    "no session: this coordinator is of another cluster"
                );
            }
            Some(Failure::Refused { code, .. }) => {
                tracing::warn!(
                    coordinator,
                    code,
                    error = text,
                    "no session: the coordinators refuse this agent"
                );
            }
            _ if was_welcomed => {
                tracing::info!(coordinator, error = text, "session over; looking for the leader");
            }
            _ => tracing::debug!(coordinator, error = text, "no session; trying the next coordinator"),
        }
        self.complained = Some((text, now));
    }

    fn hello(&self) -> ParsedHello {
        ParsedHello {
            cluster: self.cluster().cloned(),
            formation: self.identity.formation.clone(),
            host: self.options.host.clone(),
            zone: self.options.zone.clone(),
            address: self.options.advertise.clone(),
            instance: self.identity.instance.clone(),
            incarnation: self.core.incarnation(),
            start: self.start,
            protocol: SESSION_PROTOCOL,
            hook_times: self.options.hook_times(),
        }
    }

    fn heartbeat(&mut self) {
        // The lease counts from here: whatever keeps the message on its way only shortens it.
        let sent_at = self.now();
        let seq = self.core.heartbeat_sent(sent_at);
        self.next_heartbeat = sent_at.after_ms(self.core.settings().heartbeat_ms.max(1));
        let heartbeat = ParsedHeartbeat {
            seq,
            installed: self.core.installed_revision(),
            service_mode: self.core.service_mode(sent_at),
        };
        if !self.link.send(&ParsedAgentMessage::Heartbeat(heartbeat)) {
            let message = format!("{} takes no messages any more", self.link.target());
            self.session_over(Some(&Failure::Unreachable { sent: true, message }));
        }
    }

    /// Sends the report that is due, if there is somebody to send it to.
    pub(crate) fn flush_report(&mut self) {
        if !self.report_due || !self.link.is_welcomed() {
            return;
        }
        let report = ParsedReport {
            groups: self.core.report().into_iter().map(convert::group_report).collect(),
            disks: self.disks.values().map(convert::disk_report).collect(),
            installed: self.core.installed_revision(),
            stopping: self.core.stopping(),
            state_folder_problem: convert::bounded(&self.folder_problem),
            disks_complete: self.disks.len() == self.options.disks.len(),
        };
        if self.link.send(&ParsedAgentMessage::Report(report)) {
            self.report_due = false;
            self.refresh_at = self.now().after_ms(millis(self.options.probe.interval));
        }
    }
}

/// True when only times and free space differ.
fn says_the_same(before: &DiskState, after: &DiskState) -> bool {
    let bare = |state: &DiskState| {
        let mut state = DiskState { checked_at: Timestamp(0), free_bytes: 0, ..state.clone() };
        state.reasons.iter_mut().for_each(|reason| reason.at = Timestamp(0));
        state
    };
    bare(before) == bare(after)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
