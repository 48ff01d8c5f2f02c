//! A coordinator that plays leader to one agent, and a folder with hooks that write down what they were told.

#![allow(clippy::unwrap_used, reason = "what the tests share")]

use quorate_agent::{Agent, AgentError, AgentOptions, DiskOptions, HookOptions, ProbeOptions, WardenOptions};
use quorate_agent_core::BootMs;
use quorate_domain::{
    Assignment, AssignmentEntry, ClusterId, CoordinatorId, DiskName, Epoch, FormationId, GroupId, GroupState,
    HostId, Incarnation, LeaseSettings, Rejection, Revision, Role, Term, Zone,
};
use quorate_rpc::{
    ApiError,
    client::LocalAgentClient,
    pb::agent::{
        AgentMessage, CoordinatorMessage, GetRoleRequest, GetRoleResponse, ListRolesRequest,
        ListRolesResponse,
        agent_gateway_server::{AgentGateway, AgentGatewayServer},
    },
    session::{
        ParsedAgentMessage, ParsedCoordinatorMessage, ParsedHello, ParsedRenewalAck, ParsedReport,
        ParsedWelcome,
    },
};
use quorate_runtime::clock::{BootInstant, Clock, SystemClock};
use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_stream::{
    StreamExt,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::Server};

pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) fn lease() -> LeaseSettings {
    LeaseSettings {
        heartbeat_ms: 100,
        lease_ms: 3_000,
        write_stop_ms: 2_500,
        wait_ms: 3_600,
        ..LeaseSettings::default()
    }
}

pub(crate) fn group() -> GroupId {
    GroupId::new("g").unwrap()
}

pub(crate) fn boot_now() -> BootMs {
    BootMs(SystemClock.boottime().as_ms())
}

/// The system's clock, and a jump: what a process sees that was stopped for a while.
#[derive(Default)]
pub(crate) struct JumpingClock {
    ahead_ms: AtomicU64,
}

impl JumpingClock {
    pub(crate) fn jump(&self, by: Duration) {
        self.ahead_ms.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for JumpingClock {
    fn boottime(&self) -> BootInstant {
        SystemClock.boottime() + Duration::from_millis(self.ahead_ms.load(Ordering::SeqCst))
    }

    fn unix_ms(&self) -> u64 {
        SystemClock.unix_ms() + self.ahead_ms.load(Ordering::SeqCst)
    }
}

/// Waits until the condition holds.
pub(crate) async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What the leader knows and is to do.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) acknowledges: bool,
    pub(crate) redirect_to: Option<String>,
    pub(crate) in_use: bool,
    /// It says that it has no quorum.
    pub(crate) lacks_quorum: bool,
    pub(crate) recorded: u64,
    /// Which forming of the cluster it is of.
    pub(crate) formation: Option<FormationId>,
    pub(crate) revision: u64,
    pub(crate) entries: Vec<AssignmentEntry>,
    pub(crate) hellos: Vec<ParsedHello>,
    pub(crate) reports: Vec<ParsedReport>,
    /// When the last heartbeat arrived that was acknowledged: it was sent earlier.
    pub(crate) acknowledged_at: BootMs,
    /// Looks at the world when a report arrives; what it says is kept beside the report.
    pub(crate) look: Option<Box<dyn Fn() -> bool + Send>>,
    pub(crate) looks: Vec<bool>,
    out: Option<mpsc::Sender<Result<CoordinatorMessage, Status>>>,
}

#[derive(Clone)]
pub(crate) struct Leader {
    book: Arc<Mutex<Book>>,
    pub(crate) address: SocketAddr,
}

impl Leader {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let book = Book { acknowledges: true, revision: 1, ..Book::default() };
        let leader = Self { book: Arc::new(Mutex::new(book)), address };
        let service = AgentGatewayServer::new(leader.clone());
        tokio::spawn(
            Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)),
        );
        leader
    }

    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Commits an assignment of the group and sends it if somebody is there.
    pub(crate) fn assign(&self, epoch: u64, role: Role, granted_to: Incarnation) {
        let mut book = self.book();
        book.revision += 1;
        book.entries = vec![AssignmentEntry {
            group: group(),
            epoch: Epoch(epoch),
            role,
            granted_to,
            disk: DiskName::new("d1").unwrap(),
            primary: HostId::new("h1").unwrap(),
        }];
        let message = ParsedCoordinatorMessage::Snapshot(assignment(&book));
        if let Some(out) = &book.out {
            let _ = out.try_send(Ok((&message).into()));
        }
    }

    pub(crate) fn last_state(&self, epoch: u64) -> Option<GroupState> {
        let book = self.book();
        let groups = &book.reports.last()?.groups;
        groups.iter().find(|report| report.epoch == Epoch(epoch)).map(|report| report.state)
    }

    pub(crate) async fn reported(&self, epoch: u64, state: GroupState) {
        let what = format!("a report of {state:?} under epoch {epoch}");
        until(&what, async || (self.last_state(epoch) == Some(state)).then_some(())).await;
    }

    fn open(&self, hello: ParsedHello) -> Result<ReceiverStream<Result<CoordinatorMessage, Status>>, Status> {
        let mut book = self.book();
        let host = hello.host.clone();
        let offered = hello.incarnation;
        book.hellos.push(hello);
        if let Some(address) = &book.redirect_to {
            return Err(ApiError::NotLeader { leader: Some((CoordinatorId(2), address.clone())) }.into());
        }
        if book.lacks_quorum {
            return Err(ApiError::NoQuorum.into());
        }
        if book.in_use {
            return Err(ApiError::from(Rejection::HostIdInUse { host, instance: "other".into() }).into());
        }
        if offered.0 <= book.recorded {
            let recorded = Incarnation(book.recorded);
            return Err(ApiError::from(Rejection::StaleIncarnation { host, recorded, offered }).into());
        }
        let (out, messages) = mpsc::channel(64);
        let welcome = ParsedWelcome {
            cluster: ClusterId::new("c").unwrap(),
            formation: book.formation.clone(),
            coordinator: CoordinatorId(1),
            term: Term(1),
            lease: lease(),
            api_addresses: vec![self.address.to_string()],
        };
        let snapshot = ParsedCoordinatorMessage::Snapshot(assignment(&book));
        for message in [ParsedCoordinatorMessage::Welcome(welcome), snapshot] {
            out.try_send(Ok((&message).into())).unwrap();
        }
        book.out = Some(out);
        Ok(ReceiverStream::new(messages))
    }

    fn take(&self, message: AgentMessage) {
        let mut book = self.book();
        match ParsedAgentMessage::try_from(message).unwrap() {
            ParsedAgentMessage::Heartbeat(heartbeat) if book.acknowledges => {
                book.acknowledged_at = boot_now();
                let ack = ParsedRenewalAck { seq: heartbeat.seq, assignment: Revision(book.revision) };
                if let Some(out) = &book.out {
                    let _ = out.try_send(Ok((&ParsedCoordinatorMessage::RenewalAck(ack)).into()));
                }
            }
            ParsedAgentMessage::Report(report) => {
                let seen = book.look.as_ref().is_some_and(|look| look());
                book.looks.push(seen);
                book.reports.push(report);
            }
            _ => {}
        }
    }
}

fn assignment(book: &Book) -> Assignment {
    Assignment { revision: Revision(book.revision), entries: book.entries.clone() }
}

#[tonic::async_trait]
impl AgentGateway for Leader {
    type SessionStream = ReceiverStream<Result<CoordinatorMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<AgentMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let mut incoming = request.into_inner();
        let first = incoming.message().await?.ok_or_else(|| Status::cancelled("no hello"))?;
        let ParsedAgentMessage::Hello(hello) = ParsedAgentMessage::try_from(first).map_err(ApiError::from)?
        else {
            return Err(Status::invalid_argument("the first message is no hello"));
        };
        let answers = self.open(hello)?;
        let leader = self.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = incoming.next().await {
                leader.take(message);
            }
            leader.book().out = None;
        });
        Ok(Response::new(answers))
    }
}

/// Everything that an agent needs of its host.
pub(crate) struct Place {
    dir: tempfile::TempDir,
    pub(crate) coordinators: Vec<String>,
    pub(crate) has_hooks: bool,
}

pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) incarnation: Incarnation,
    stop: CancellationToken,
    task: JoinHandle<Result<(), AgentError>>,
}

impl Place {
    pub(crate) fn new(leader: &Leader) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("disk")).unwrap();
        for hook in ["promote", "demote"] {
            let path = dir.path().join(hook);
            let log = dir.path().join("hooks.log");
            let body =
                format!("#!/bin/sh\necho \"{hook} $QUORATE_GROUP $QUORATE_EPOCH\" >> {}\n", log.display());
            fs::write(dir.path().join("new"), body).unwrap();
            fs::set_permissions(dir.path().join("new"), fs::Permissions::from_mode(0o755)).unwrap();
            fs::rename(dir.path().join("new"), path).unwrap();
        }
        Self { dir, coordinators: vec![leader.address.to_string()], has_hooks: true }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn hooks_log(&self) -> String {
        read(&self.path("hooks.log"))
    }

    pub(crate) fn options(&self) -> AgentOptions {
        AgentOptions {
            host: HostId::new("h1").unwrap(),
            zone: Zone::new("z1").unwrap(),
            state_dir: self.path("state"),
            coordinators: self.coordinators.clone(),
            listen: "127.0.0.1:0".into(),
            advertise: "127.0.0.1:7500".into(),
            disks: vec![DiskOptions { name: DiskName::new("d1").unwrap(), path: self.path("disk") }],
            probe: ProbeOptions { interval: Duration::from_millis(50), ..ProbeOptions::default() },
            hooks: HookOptions {
                on_promote: self.has_hooks.then(|| self.path("promote")),
                on_demote: self.has_hooks.then(|| self.path("demote")),
                promote_limit: Duration::from_secs(20),
                demote_limit: Duration::from_secs(20),
                ..HookOptions::default()
            },
            warden: WardenOptions {
                program: Some(env!("CARGO_BIN_EXE_warden-of-agents-under-test").into()),
                ..WardenOptions::default()
            },
        }
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(Arc::new(SystemClock)).await
    }

    pub(crate) async fn start_with(&self, clock: Arc<dyn Clock>) -> Running {
        // The lock of a start that was killed goes with its thread.
        let agent = until("the state folder is free", async || {
            Agent::start(self.options(), Arc::clone(&clock)).await.ok()
        })
        .await;
        let (address, incarnation, stop) =
            (agent.local_addr(), agent.incarnation(), CancellationToken::new());
        let task = tokio::spawn(agent.run(stop.clone()));
        Running { address, incarnation, stop, task }
    }
}

pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

impl Running {
    pub(crate) async fn asking(&self) -> LocalAgentClient<tonic::transport::Channel> {
        LocalAgentClient::connect(format!("http://{}", self.address)).await.unwrap()
    }

    pub(crate) async fn stop(self) -> Result<(), AgentError> {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.task).await.unwrap().unwrap()
    }

    /// Ends it between two instructions, as a kill would.
    pub(crate) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// What the agent says of the group; none while it does not know it.
pub(crate) async fn role_of(
    client: &mut LocalAgentClient<tonic::transport::Channel>,
) -> Option<GetRoleResponse> {
    let request = GetRoleRequest { group: group().to_string() };
    client.get_role(request).await.ok().map(Response::into_inner)
}

/// What the agent says of its host.
pub(crate) async fn role_of_host(
    client: &mut LocalAgentClient<tonic::transport::Channel>,
) -> ListRolesResponse {
    client.list_roles(ListRolesRequest::default()).await.unwrap().into_inner()
}
