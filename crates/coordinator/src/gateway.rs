//! Agents' sessions: a registration, heartbeats that are acknowledged only by a quorum, reports, and the assignment as it
//! changes.

use crate::memory::{Memory, Outbox};
use quorate_consensus::{Consensus, Leadership, ProposeError, View};
use quorate_domain::{Cause, Outcome, RefusalReason, Rejection, State, Term};
use quorate_leader_core::{Assignments, Hello, Report, SessionId, TooOften};
use quorate_planner::{DiskObservation, GroupObservation};
use quorate_rpc::{
    ApiError, InvalidField,
    convert::beginning,
    pb::agent::{AgentMessage, CoordinatorMessage, agent_gateway_server::AgentGateway},
    session::{
        ParsedAgentMessage, ParsedCoordinatorMessage, ParsedHeartbeat, ParsedHello, ParsedReport,
        ParsedWelcome,
    },
};
use std::{net::IpAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// An agent says who it is within this time, or is not listened to.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// Messages to one agent that may wait; an agent that does not read loses its session.
const OUTBOX_MAX: usize = 64;

/// The service that agents speak to.
#[derive(Clone)]
pub(crate) struct Gateway {
    consensus: Consensus,
    memory: Memory,
    stop: CancellationToken,
}

/// One session after its registration.
struct Session {
    gateway: Gateway,
    id: SessionId,
    bell: Arc<Notify>,
    outbox: Outbox,
    assignments: Assignments,
    /// The coordinators' API addresses that the agent was told.
    told: Vec<String>,
}

impl Gateway {
    pub(crate) fn new(consensus: Consensus, memory: Memory, stop: CancellationToken) -> Self {
        Self { consensus, memory, stop }
    }

    /// Why nobody is served here: another one leads, none is heard, or this leader has lost its quorum. An agent that
    /// hears nothing else stops serving altogether (DESIGN section 5, service modes).
    fn not_leader(&self) -> Status {
        refusal(&self.consensus.leadership().borrow()).into()
    }

    /// Registers the host, in the replicated state where something is new and by a confirmed read where not; either way
    /// a quorum has agreed that this coordinator leads.
    async fn register(&self, hello: Hello, source: Option<IpAddr>, term: Term) -> Result<View, Status> {
        let known = self.consensus.feed().view();
        self.memory
            .tell(|leader, now| leader.admit(&hello, source, &known.state, term, now))
            .map_err(|too_often| held_back(&too_often))?;
        if !known.state.hosts.contains_key(&hello.host) {
            self.memory.tell(|leader, now| leader.expect_host(&hello.host, hello.incarnation, term, now));
        }
        if hello.refusal(&known.state).is_some() {
            // Whoever is refused may ask again and again: that costs a round of the quorum, and no entry of the log.
            let newest = self.consensus.confirmed_view().await.map_err(crate::api::read_error)?;
            if let Some(refusal) = hello.refusal(&newest.state) {
                self.tell_holder(&hello, &refusal, &newest.state, term);
                return Err(ApiError::Rejected(refusal).into());
            }
        }
        if let Some(command) = hello.registration(&known.state) {
            match self.consensus.propose(Cause::Agent { host: hello.host.clone() }, command).await {
                Ok(Outcome::Accepted { .. }) => {}
                Ok(Outcome::Refused(rejection)) => {
                    self.tell_holder(&hello, &rejection, &known.state, term);
                    return Err(ApiError::Rejected(rejection).into());
                }
                Err(error) => return Err(propose_error(error)),
            }
        }
        self.consensus.confirmed_view().await.map_err(|error| crate::api::read_error(error).into())
    }

    /// Operators hear of an agent that was refused, and the agent that speaks for the host does.
    fn tell_holder(&self, hello: &Hello, refusal: &Rejection, state: &State, term: Term) {
        let Some(reason) = Hello::refused_as(refusal) else { return };
        self.memory.refused(state, &hello.host, reason, &hello.address, term);
        let Hello { host, instance, incarnation, address, .. } = hello;
        let folder = beginning(instance);
        let text = format!(
            "another agent asked for host {host} and was refused: start {incarnation} on state folder {folder}.., at {address}; stop it, or give it a host.id and a state_dir of its own"
        );
        if self.memory.notice(host, &text) {
            tracing::warn!(host.id = %host, incarnation = incarnation.0, instance = %folder, address, code = refusal.code(), "two agents want one host");
        }
    }

    /// Where the coordinators are reached: those on record, and those that Raft has before any are.
    fn api_addresses(&self, view: &View) -> Vec<String> {
        let recorded: Vec<_> =
            view.state.coordinators.values().map(|known| known.api_address.clone()).collect();
        if !recorded.is_empty() {
            return recorded;
        }
        self.consensus.members().nodes.into_values().map(|node| node.api_address).collect()
    }

    /// Refuses an agent of another cluster, or of another forming of one of this name: those who lost or were deprived
    /// of their folders can form a second cluster, and what its leader says must not pass for the first one's word.
    fn refuse_strangers(&self, hello: &ParsedHello, state: &State, term: Term) -> Result<(), Status> {
        let cluster = self.consensus.folder().cluster();
        let ours = &state.cluster.formation;
        let (reason, error) = match (&hello.cluster, &hello.formation) {
            (Some(theirs), _) if theirs != cluster => {
                let (ours, theirs) = (cluster.clone(), theirs.clone());
                (RefusalReason::OtherCluster, ApiError::OtherCluster { who: "coordinator", ours, theirs })
            }
            // Before the first command is applied here, nothing is known of it.
            (_, Some(theirs)) if state.cluster.id.is_some() && ours.as_ref() != Some(theirs) => {
                let (cluster, ours, theirs) = (cluster.clone(), ours.clone(), theirs.clone());
                (RefusalReason::OtherFormation, ApiError::OtherFormation { cluster, ours, theirs })
            }
            _ => return Ok(()),
        };
        self.memory.refused(state, &hello.host, reason, &hello.address, term);
        Err(error.into())
    }

    async fn open(
        &self,
        hello: ParsedHello,
        source: Option<IpAddr>,
        outbox: Outbox,
    ) -> Result<Session, Status> {
        let known = self.consensus.feed().view().state;
        // Also by those who do not lead: of another cluster, neither the leader nor the lack of one means anything.
        let leadership = self.consensus.leadership().borrow().clone();
        self.refuse_strangers(&hello, &known, leadership.term)?;
        if !leads_with_quorum(&leadership) {
            return Err(self.not_leader());
        }
        if known.cluster.id.is_none() {
            let confirmed = self.consensus.confirmed_view().await.map_err(crate::api::read_error)?;
            self.refuse_strangers(&hello, &confirmed.state, leadership.term)?;
        }
        let ParsedHello { host, zone, address, instance, incarnation, start, hook_times, .. } = hello;
        let view = self
            .register(
                Hello { host: host.clone(), zone, address, instance, incarnation, start, hook_times },
                source,
                leadership.term,
            )
            .await?;
        let (id, bell) = self
            .memory
            .open_session(&host, incarnation, start, leadership.term, outbox.clone())
            .ok_or_else(|| self.not_leader())?;
        // What was applied between the view and the bell rang nobody's bell.
        bell.notify_one();
        let assignments = Assignments::begin(&view.state, host);
        let told = self.api_addresses(&view);
        let session = Session { gateway: self.clone(), id, bell, outbox, assignments, told };
        if let Err(status) = session.welcome(&view, leadership.term) {
            self.memory.close_session(&session.id);
            return Err(status);
        }
        tracing::info!(host.id = %session.id.host, incarnation = incarnation.0, "agent session open");
        Ok(session)
    }
}

/// True for a leader that has not lost its quorum; one that waits for the first acknowledgement may have it.
fn leads_with_quorum(leadership: &Leadership) -> bool {
    leadership.leads && !leadership.has_lost_quorum()
}

pub(crate) fn refusal(leadership: &Leadership) -> ApiError {
    if leadership.has_lost_quorum() {
        return ApiError::NoQuorum;
    }
    ApiError::NotLeader { leader: leadership.leader_hint() }
}

fn held_back(too_often: &TooOften) -> Status {
    let TooOften { haste, retry_after_ms, .. } = too_often;
    ApiError::HeldBack { what: haste.to_string(), retry_after_ms: *retry_after_ms }.into()
}

fn propose_error(error: ProposeError) -> Status {
    crate::api::propose_error(error, None).into()
}

impl Session {
    fn say(&self, message: &ParsedCoordinatorMessage) -> Result<(), Status> {
        self.outbox.try_send(Ok(message.into())).map_err(|_| ApiError::SlowReader.into())
    }

    fn welcome(&self, view: &View, term: Term) -> Result<(), Status> {
        let leadership = self.gateway.consensus.leadership().borrow().clone();
        self.say(&ParsedCoordinatorMessage::Welcome(ParsedWelcome {
            cluster: self.gateway.consensus.folder().cluster().clone(),
            formation: view.state.cluster.formation.clone(),
            coordinator: leadership.node,
            term,
            lease: view.state.settings().lease.clone(),
            api_addresses: self.told.clone(),
        }))?;
        self.say(&ParsedCoordinatorMessage::Snapshot(self.assignments.sent().clone()))
    }

    /// Serves the session until the agent goes, another session of its host begins, or this coordinator no longer leads.
    async fn serve(mut self, mut inbox: Streaming<AgentMessage>) -> Result<(), Status> {
        let mut leadership = self.gateway.consensus.leadership();
        let term = leadership.borrow().term;
        let bell = Arc::clone(&self.bell);
        let stop = self.gateway.stop.clone();
        loop {
            tokio::select! {
                message = inbox.message() => match message? {
                    Some(message) => self.hear(message)?,
                    None => return Ok(()),
                },
                () = bell.notified() => self.follow_changes()?,
                () = lost(&mut leadership, term) => return Err(self.gateway.not_leader()),
                () = stop.cancelled() => return Err(crate::api::STOPPING.into()),
            }
            if !self.gateway.memory.ask(|leader| leader.is_open(&self.id)) {
                if lost_now(&leadership.borrow(), term) {
                    return Err(self.gateway.not_leader());
                }
                let replaced = self.gateway.memory.ask(|leader| leader.session(&self.id.host).is_some());
                let why = if replaced { ApiError::SessionReplaced } else { ApiError::NoQuorum };
                return Err(why.into());
            }
        }
    }

    fn hear(&self, message: AgentMessage) -> Result<(), Status> {
        let parsed = ParsedAgentMessage::try_from(message).map_err(ApiError::Invalid)?;
        match parsed {
            ParsedAgentMessage::Hello(_) => {
                Err(out_of_turn("is a second hello", "a session has one; open another session"))
            }
            ParsedAgentMessage::Heartbeat(heartbeat) => {
                let ParsedHeartbeat { seq, installed, service_mode } = heartbeat;
                let memory = &self.gateway.memory;
                memory.tell(|leader, now| leader.heartbeat(&self.id, seq, installed, service_mode, now));
                memory.ask_for_round();
                Ok(())
            }
            ParsedAgentMessage::Report(report) => {
                let memory = &self.gateway.memory;
                memory.tell(|leader, _| leader.report(&self.id, observed(report)));
                memory.notify();
                Ok(())
            }
        }
    }

    /// Sends what changed in the host's assignment, and of the coordinators, since the last time.
    fn follow_changes(&mut self) -> Result<(), Status> {
        let view = self.gateway.consensus.feed().view();
        let addresses = self.gateway.api_addresses(&view);
        if addresses != self.told {
            self.say(&ParsedCoordinatorMessage::Coordinators(addresses.clone()))?;
            self.told = addresses;
        }
        match self.assignments.follow(&view.state) {
            Some(delta) => self.say(&ParsedCoordinatorMessage::Delta(delta)),
            None => Ok(()),
        }
    }
}

/// Acknowledges renewals, each after a round of the quorum that began after it had arrived (DESIGN section 5, rule 2),
/// with the assignment revision of the view that the round confirmed. No round, no acknowledgement. A leader that has lost
/// its quorum says so, so that its agents look for another one. Never returns.
pub(crate) async fn acknowledge_renewals(consensus: Consensus, memory: Memory) {
    let leadership = consensus.leadership();
    loop {
        let round = memory.next_round().await;
        match consensus.confirmed_view().await {
            Ok(view) => memory.acknowledge(round, &view),
            Err(_) if leadership.borrow().has_lost_quorum() => memory.give_up(round),
            // The next heartbeats ask again.
            Err(_) => {}
        }
    }
}

fn lost_now(leadership: &Leadership, term: Term) -> bool {
    !leadership.leads || leadership.term != term
}

async fn lost(leadership: &mut watch::Receiver<Leadership>, term: Term) {
    // An error means that the node has stopped, which is as good a loss as any.
    let _ = leadership.wait_for(|now| lost_now(now, term)).await;
}

fn observed(report: ParsedReport) -> Report {
    let groups = report.groups.into_iter().map(|group| {
        let told = GroupObservation { epoch: group.epoch, state: group.state, reason: group.reason };
        (group.group, told)
    });
    let disks = report.disks.into_iter().map(|disk| {
        let observed = DiskObservation {
            identity: disk.identity,
            path: disk.path,
            capacity_bytes: disk.capacity_bytes,
            free_bytes: disk.free_bytes,
            verdict: disk.verdict,
            reasons: disk.reasons,
            checked_at: disk.checked_at,
        };
        (disk.name, observed)
    });
    Report {
        installed: report.installed,
        stopping: report.stopping,
        disks_complete: report.disks_complete,
        disks: disks.collect(),
        groups: groups.collect(),
        state_folder_problem: report.state_folder_problem,
    }
}

/// A message that has no place there.
fn out_of_turn(problem: &str, remedy: &str) -> Status {
    ApiError::Invalid(InvalidField::new("message", problem, remedy)).into()
}

async fn first_hello(inbox: &mut Streaming<AgentMessage>) -> Result<ParsedHello, Status> {
    let first = tokio::time::timeout(HELLO_DEADLINE, inbox.message())
        .await
        .map_err(|_| ApiError::TooLate { what: "the hello", remedy: "open another session" })??
        .ok_or_else(|| out_of_turn("is missing", "a session begins with a hello"))?;
    match ParsedAgentMessage::try_from(first).map_err(ApiError::Invalid)? {
        ParsedAgentMessage::Hello(hello) => Ok(hello),
        _ => Err(out_of_turn("is not a hello", "a session begins with one")),
    }
}

type MessageStream = Pin<Box<dyn Stream<Item = Result<CoordinatorMessage, Status>> + Send>>;

#[tonic::async_trait]
impl AgentGateway for Gateway {
    type SessionStream = MessageStream;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<MessageStream>, Status> {
        if !leads_with_quorum(&self.consensus.leadership().borrow()) {
            return Err(self.not_leader());
        }
        let source = request.remote_addr().map(|address| address.ip());
        let mut inbox = request.into_inner();
        let (outbox, messages) = mpsc::channel(OUTBOX_MAX);
        let gateway = self.clone();
        tokio::spawn(async move {
            let result = match first_hello(&mut inbox).await {
                Ok(hello) => run_session(&gateway, hello, source, inbox, outbox.clone()).await,
                Err(status) => Err(status),
            };
            if let Err(status) = result {
                // Waits for room, so that the agent hears why; an agent that is gone closes the channel.
                let _ = outbox.send(Err(status)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(messages))))
    }
}

async fn run_session(
    gateway: &Gateway,
    hello: ParsedHello,
    source: Option<IpAddr>,
    inbox: Streaming<AgentMessage>,
    outbox: Outbox,
) -> Result<(), Status> {
    let session = gateway.open(hello, source, outbox).await?;
    let id = session.id.clone();
    let result = session.serve(inbox).await;
    gateway.memory.close_session(&id);
    let why = result.as_ref().err().map_or("the agent closed it", Status::message);
    tracing::info!(host.id = %id.host, why, "agent session over");
    result
}
