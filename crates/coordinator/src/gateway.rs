//! Agents' sessions: a registration, heartbeats that are acknowledged only by a quorum, reports, and the assignment as it
//! changes.

use crate::memory::Memory;
use quorate_consensus::{Consensus, Leadership, ProposeError, View};
use quorate_domain::{Assignment, Cause, Command, HostId, Outcome, Term, assignment::assignment};
use quorate_planner::{DiskObservation, GroupObservation, GroupState, HostObservation};
use quorate_rpc::{
    ApiError, InvalidField,
    pb::agent::{AgentMessage, CoordinatorMessage, agent_gateway_server::AgentGateway},
    session::{
        AssignmentDelta, GroupReportState, ParsedAgentMessage, ParsedCoordinatorMessage, ParsedHeartbeat,
        ParsedHello, ParsedRenewalAck, ParsedReport, ParsedWelcome,
    },
};
use std::{collections::BTreeMap, pin::Pin, sync::Arc, time::Duration};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// An agent says who it is within this time, or is not listened to.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// Messages to one agent that may wait; an agent that does not read loses its session.
const OUTBOX_MAX: usize = 64;
/// Heartbeats of one session that wait for a quorum at the same time; more are not acknowledged.
const RENEWALS_MAX: usize = 8;

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
    hello: ParsedHello,
    number: u64,
    bell: Arc<Notify>,
    outbox: mpsc::Sender<Result<CoordinatorMessage, Status>>,
    renewals: Arc<Semaphore>,
    /// What the agent was sent last.
    sent: Assignment,
}

impl Gateway {
    pub(crate) fn new(consensus: Consensus, memory: Memory, stop: CancellationToken) -> Self {
        Self { consensus, memory, stop }
    }

    fn not_leader(&self) -> Status {
        not_leader(&self.consensus.leadership().borrow())
    }

    /// Registers the host, in the replicated state where something is new and by a confirmed read where not; either way
    /// a quorum has agreed that this coordinator leads.
    async fn register(&self, hello: &ParsedHello, term: Term) -> Result<View, Status> {
        let known = self.consensus.feed().view();
        let unchanged = known.state.hosts.get(&hello.host).is_some_and(|host| {
            (&host.instance, host.incarnation, &host.zone, &host.address)
                == (&hello.instance, hello.incarnation, &hello.zone, &hello.address)
        });
        if !known.state.hosts.contains_key(&hello.host) {
            self.memory.expect_host(&hello.host, hello.incarnation, term);
        }
        if !unchanged {
            let command = Command::RegisterHost {
                host: hello.host.clone(),
                zone: hello.zone.clone(),
                address: hello.address.clone(),
                instance: hello.instance.clone(),
                incarnation: hello.incarnation,
            };
            let cause = Cause::Agent { host: hello.host.clone() };
            match self.consensus.propose(cause, command).await {
                Ok(Outcome::Accepted { .. }) => {}
                Ok(Outcome::Refused(rejection)) => return Err(ApiError::Rejected(rejection).into()),
                Err(error) => return Err(propose_error(error)),
            }
        }
        self.consensus.confirmed_view().await.map_err(|error| crate::api::read_error(error).into())
    }

    async fn open(
        &self,
        hello: ParsedHello,
        outbox: mpsc::Sender<Result<CoordinatorMessage, Status>>,
    ) -> Result<Session, Status> {
        let leadership = self.consensus.leadership().borrow().clone();
        if !leadership.leads {
            return Err(self.not_leader());
        }
        let cluster = self.consensus.folder().cluster();
        if hello.cluster.as_ref().is_some_and(|named| named != cluster) {
            let problem = "belongs to another cluster";
            let remedy =
                format!("this is {cluster}; correct the agent's coordinators, or give it an empty state_dir");
            return Err(ApiError::Invalid(InvalidField::new("cluster_id", problem, remedy)).into());
        }
        let view = self.register(&hello, leadership.term).await?;
        let (number, bell) = self
            .memory
            .open_session(&hello.host, hello.incarnation, leadership.term)
            .ok_or_else(|| self.not_leader())?;
        // What was applied between the view and the bell rang nobody's bell.
        bell.notify_one();
        let sent = assignment(&view.state, &hello.host).unwrap_or_default();
        let renewals = Arc::new(Semaphore::new(RENEWALS_MAX));
        let session = Session { gateway: self.clone(), hello, number, bell, outbox, renewals, sent };
        session.welcome(&view, leadership.term)?;
        tracing::info!(host.id = %session.hello.host, incarnation = session.hello.incarnation.0, "agent session open");
        Ok(session)
    }
}

pub(crate) fn not_leader(leadership: &Leadership) -> Status {
    let leader = leadership.leader.clone().filter(|_| !leadership.leads);
    ApiError::NotLeader { leader: leader.map(|(id, node)| (id, node.api_address)) }.into()
}

fn propose_error(error: ProposeError) -> Status {
    crate::api::propose_error(error, None).into()
}

impl Session {
    fn say(&self, message: &ParsedCoordinatorMessage) -> Result<(), Status> {
        self.outbox.try_send(Ok(message.into())).map_err(|_| {
            Status::resource_exhausted("the agent does not read what it is sent; the session ends")
        })
    }

    fn welcome(&self, view: &View, term: Term) -> Result<(), Status> {
        let leadership = self.gateway.consensus.leadership().borrow().clone();
        let members = self.gateway.consensus.raft().metrics().borrow().membership_config.clone();
        self.say(&ParsedCoordinatorMessage::Welcome(ParsedWelcome {
            cluster: self.gateway.consensus.folder().cluster().clone(),
            coordinator: leadership.node,
            term,
            lease: view.state.settings().lease.clone(),
            api_addresses: members.nodes().map(|(_, node)| node.api_address.clone()).collect(),
        }))?;
        self.say(&ParsedCoordinatorMessage::Snapshot(self.sent.clone()))
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
                () = bell.notified() => self.follow_assignment()?,
                () = lost(&mut leadership, term) => return Err(self.gateway.not_leader()),
                () = stop.cancelled() => return Err(Status::unavailable("this coordinator is stopping")),
            }
            if !self.gateway.memory.is_open(&self.hello.host, self.number) {
                if lost_now(&leadership.borrow(), term) {
                    return Err(self.gateway.not_leader());
                }
                return Err(Status::aborted("another session of this host has begun"));
            }
        }
    }

    fn hear(&self, message: AgentMessage) -> Result<(), Status> {
        let parsed = ParsedAgentMessage::try_from(message).map_err(ApiError::Invalid)?;
        match parsed {
            ParsedAgentMessage::Hello(_) => {
                Err(Status::failed_precondition("a session has one hello; open another session"))
            }
            ParsedAgentMessage::Heartbeat(heartbeat) => {
                self.gateway.memory.with_session(&self.hello.host, self.number, |session, _| {
                    session.mode = Some(heartbeat.service_mode);
                    session.installed_revision = heartbeat.installed.0;
                });
                self.renew(heartbeat);
                Ok(())
            }
            ParsedAgentMessage::Report(report) => {
                self.gateway.memory.with_session(&self.hello.host, self.number, |session, seen| {
                    session.installed_revision = report.installed.0;
                    note_report(seen, report);
                });
                self.gateway.memory.notify();
                Ok(())
            }
        }
    }

    /// Acknowledges a renewal after a round of the quorum that starts from now on (DESIGN section 5, rule 2), with the
    /// assignment revision of the view that the round confirmed. No round, no acknowledgement.
    fn renew(&self, heartbeat: ParsedHeartbeat) {
        let Ok(permit) = Arc::clone(&self.renewals).try_acquire_owned() else { return };
        let (consensus, outbox) = (self.gateway.consensus.clone(), self.outbox.clone());
        let (host, incarnation) = (self.hello.host.clone(), self.hello.incarnation);
        tokio::spawn(async move {
            let _permit = permit;
            let Ok(view) = consensus.confirmed_view().await else { return };
            let Some(known) = view.state.hosts.get(&host).filter(|known| known.incarnation == incarnation)
            else {
                return;
            };
            let ack = ParsedRenewalAck { seq: heartbeat.seq, assignment: known.assignment_revision };
            // An agent that does not read is not renewed; its session ends by itself.
            let _ = outbox.try_send(Ok((&ParsedCoordinatorMessage::RenewalAck(ack)).into()));
        });
    }

    /// Sends what changed in the host's assignment since the last time.
    fn follow_assignment(&mut self) -> Result<(), Status> {
        let view = self.gateway.consensus.feed().view();
        let Some(now) = assignment(&view.state, &self.hello.host) else { return Ok(()) };
        if now.revision == self.sent.revision {
            return Ok(());
        }
        let delta = difference(&self.sent, &now);
        self.sent = now;
        self.say(&ParsedCoordinatorMessage::Delta(delta))
    }
}

fn lost_now(leadership: &Leadership, term: Term) -> bool {
    !leadership.leads || leadership.term != term
}

async fn lost(leadership: &mut watch::Receiver<Leadership>, term: Term) {
    // An error means that the node has stopped, which is as good a loss as any.
    let _ = leadership.wait_for(|now| lost_now(now, term)).await;
}

fn difference(from: &Assignment, to: &Assignment) -> AssignmentDelta {
    let before: BTreeMap<_, _> = from.entries.iter().map(|entry| (&entry.group, entry)).collect();
    let after: BTreeMap<_, _> = to.entries.iter().map(|entry| (&entry.group, entry)).collect();
    AssignmentDelta {
        from: from.revision,
        to: to.revision,
        changed: to.entries.iter().filter(|entry| before.get(&entry.group) != Some(entry)).cloned().collect(),
        removed: before
            .keys()
            .filter(|group| !after.contains_key(*group))
            .map(|group| (*group).clone())
            .collect(),
    }
}

fn note_report(seen: &mut HostObservation, report: ParsedReport) {
    seen.stopping = report.stopping;
    seen.disks_complete = report.disks_complete;
    seen.groups.clear();
    for group in report.groups {
        let state = match group.state {
            GroupReportState::Installed => GroupState::Installed,
            GroupReportState::Acting => GroupState::Acting,
            GroupReportState::Ended => GroupState::Ended,
            GroupReportState::StartFailed => GroupState::StartFailed,
        };
        let told = GroupObservation { epoch: group.epoch, state, reason: group.reason };
        // Of several epochs of one group only the last matters: the earlier ones ended before it was granted.
        if seen.groups.get(&group.group).is_none_or(|known| known.epoch < told.epoch) {
            seen.groups.insert(group.group, told);
        }
    }
    seen.disks = report
        .disks
        .into_iter()
        .map(|disk| {
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
        })
        .collect();
}

async fn first_hello(inbox: &mut Streaming<AgentMessage>) -> Result<ParsedHello, Status> {
    let first = tokio::time::timeout(HELLO_DEADLINE, inbox.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no hello came in time"))??
        .ok_or_else(|| Status::invalid_argument("the session ended before its hello"))?;
    match ParsedAgentMessage::try_from(first).map_err(ApiError::Invalid)? {
        ParsedAgentMessage::Hello(hello) => Ok(hello),
        _ => Err(Status::failed_precondition("the first message of a session is its hello")),
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
        if !self.consensus.leadership().borrow().leads {
            return Err(self.not_leader());
        }
        let mut inbox = request.into_inner();
        let (outbox, messages) = mpsc::channel(OUTBOX_MAX);
        let gateway = self.clone();
        tokio::spawn(async move {
            let result = match first_hello(&mut inbox).await {
                Ok(hello) => run_session(&gateway, hello, inbox, outbox.clone()).await,
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
    inbox: Streaming<AgentMessage>,
    outbox: mpsc::Sender<Result<CoordinatorMessage, Status>>,
) -> Result<(), Status> {
    let host: HostId = hello.host.clone();
    let session = gateway.open(hello, outbox).await?;
    let number = session.number;
    let result = session.serve(inbox).await;
    gateway.memory.close_session(&host, number);
    let why = result.as_ref().err().map_or("the agent closed it", Status::message);
    tracing::info!(host.id = %host, why, "agent session over");
    result
}
