//! Starts a coordinator and runs it until it is told to stop.

use crate::{
    api::Api,
    bootstrap,
    cluster_guard::ClusterGuard,
    driver::Driver,
    gateway::{self, Gateway},
    health,
    lease_record::LeaseRecord,
    lost_lines::Lost,
    members::{self, MembersDriver},
    memory::Memory,
    message_limit::Measured,
    options::CoordinatorOptions,
    peer::{self, PeerNetwork, PeerService, Peers},
    peer_watch::PeerWatch,
    services,
    standstill::{self, Parts},
};
use quorate_consensus::{Consensus, DataFolder, FolderError, OpenError, folder};
use quorate_planner::coordinators::even_voters;
use quorate_rpc::{
    incoming,
    pb::{
        agent::agent_gateway_server::AgentGatewayServer,
        control::{
            cluster_server::ClusterServer, disks_server::DisksServer, events_server::EventsServer,
            groups_server::GroupsServer, hosts_server::HostsServer, operations_server::OperationsServer,
        },
        raft::raft_server::RaftServer,
    },
    reflection::{ReflectionError, reflection},
    transport::{KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT},
};
use quorate_runtime::{clock::Clock, lane::Lane, shutdown::Shutdown};
use std::{io, sync::Arc, time::Duration};
use tokio::{net::TcpListener, runtime::Handle};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Server, server::Router};
use tonic_health::pb::health_server;

/// How long the log is given to take its last words.
const CLOSE_DEADLINE: Duration = Duration::from_secs(10);

/// Why a coordinator does not start.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// Its data folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its log, snapshots or state.
    #[error(transparent)]
    Consensus(#[from] OpenError),
    /// An address that it should listen on.
    #[error("{field} {address}: {source}; free the port, or set another address")]
    Listen {
        /// The setting.
        field: &'static str,
        /// Its value.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Elections that are too long for the lease on record.
    #[error("{0}")]
    UnsafeElection(String),
    /// The thread of Raft.
    #[error("a thread for raft: {0}{remedy}", remedy = thread_remedy(.0))]
    Lane(#[source] io::Error),
    /// The thread that watches the others.
    #[error("a thread to watch the others: {0}; raise the limit of threads of this process")]
    Standstill(#[source] io::Error),
    /// The reflection service.
    #[error("reflection: {0}")]
    Reflection(#[from] ReflectionError),
}

/// A thread takes descriptors, and a place among those that this process may have.
fn thread_remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::WouldBlock => "; raise the limit of threads (`TasksMax=` in the unit, `ulimit -u`)",
        _ => folder::remedy(source),
    }
}

/// Runs a coordinator; returns when `shutdown` is triggered and everything is closed.
///
/// # Errors
/// [`CoordinatorError`] when it does not start. What goes wrong later is told to `shutdown`.
pub async fn run(
    options: CoordinatorOptions,
    clock: Arc<dyn Clock>,
    shutdown: Shutdown,
) -> Result<(), CoordinatorError> {
    let disk = Arc::clone(&options.disk);
    let folder = Arc::new(DataFolder::open(
        disk,
        &options.data_dir,
        &options.cluster,
        options.node,
        options.original_is_gone,
    )?);
    // Raft, its log's answers and its peers have a thread of their own; everybody else is served on this runtime.
    let lane = Lane::start("raft").map_err(CoordinatorError::Lane)?;
    let on_lane = lane.handle();
    let here = Handle::current();
    let peer_listener = listen("listen.peer", &options.listen_peer, on_lane).await?;
    let api_listener = listen("listen.api", &options.listen_api, &here).await?;
    let peers =
        Peers::new(Arc::clone(&folder), options.peer_override.clone(), shutdown.clone(), on_lane.clone());
    let network = PeerNetwork(peers.clone());
    let consensus =
        Consensus::open(folder, &options.raft, network, Arc::clone(&clock), &shutdown, on_lane).await?;
    peers.know_voters(consensus.voters_watch());
    let lease = LeaseRecord {
        configured: options.settings.lease.clone(),
        election_max_ms: options.raft.election_max_ms,
    };
    if let Some(danger) = lease.danger(&consensus.feed().view().state) {
        return Err(CoordinatorError::UnsafeElection(danger));
    }
    let memory = Memory::new(Arc::clone(&clock));
    let (watch, lost) = (PeerWatch::default(), Lost::default());

    let raft = RaftServer::new(PeerService::new(
        options.raft.members.keys().copied().collect(),
        consensus.clone(),
        peers.clone(),
        watch.clone(),
        memory.clone(),
        lost.clone(),
        Arc::clone(&clock),
    ))
    .max_decoding_message_size(peer::MAX_MESSAGE_BYTES)
    .max_encoding_message_size(peer::MAX_MESSAGE_BYTES);
    serve("peer server", server().add_service(raft), peer_listener, &shutdown, on_lane);
    let deadline = options.raft.proposal_deadline;
    let api = Api::new(
        consensus.clone(),
        memory.clone(),
        peers.clone(),
        watch.clone(),
        lease.clone(),
        lost,
        deadline,
    );
    let gateway = Gateway::new(consensus.clone(), memory.clone(), shutdown.token());
    let (reporter, health_service) = health::begin().await;
    let guard = ClusterGuard(options.cluster.clone());
    let router = api_router(&api, gateway, &guard, options.max_message_bytes)?.add_service(health_service);
    serve("api server", router, api_listener, &shutdown, &here);

    let renewals = gateway::acknowledge_renewals(consensus.clone(), memory.clone());
    until_stopped("renewals", renewals, &shutdown);
    until_stopped("assignments", memory.clone().ring_for_changes(consensus.feed().clone()), &shutdown);
    until_stopped("lease record", lease.tell(consensus.feed().clone()), &shutdown);
    until_stopped("health", health::follow(reporter, consensus.leadership()), &shutdown);
    let watching = watch.run(consensus.clone(), options.raft.members.clone(), peers.clone(), memory.clone());
    until_stopped("peer watch", watching, &shutdown);
    let mut parts = Parts::of(&consensus);
    until_stopped("serving pulse", standstill::beat(parts.add("the thread that serves")), &shutdown);
    let raft_pulse = standstill::beat(parts.add("the thread of raft"));
    until_stopped_on(on_lane, "raft pulse", raft_pulse, &shutdown);
    let driver = Driver {
        consensus: consensus.clone(),
        memory,
        pulse: parts.add("the driver"),
        cluster: options.cluster.clone(),
        settings: options.settings.clone(),
    };
    shutdown.spawn("driver", driver.run(shutdown.clone()));
    let _watch = parts
        .watch(consensus.clone(), Arc::clone(&clock), shutdown.clone())
        .map_err(CoordinatorError::Standstill)?;
    let members = MembersDriver { consensus: consensus.clone(), peers: peers.clone() };
    shutdown.spawn("members", members.run(shutdown.clone()));
    let removed = members::ask_whether_removed(consensus.clone(), peers.clone(), shutdown.clone());
    until_stopped("removal watch", removed, &shutdown);
    tracing::info!(
        node = options.node.0, cluster.id = %options.cluster, api = %options.listen_api, peer = %options.listen_peer,
        "coordinator started"
    );
    if let Some(warning) = even_voters(options.raft.members.len()) {
        tracing::warn!(members = options.raft.members.len(), "{warning}");
    }
    bootstrap::form_cluster(&options, &consensus, &peers, &shutdown).await?;
    shutdown.token().cancelled().await;
    if tokio::time::timeout(CLOSE_DEADLINE, consensus.close()).await.is_err() {
        tracing::warn!("raft did not close in time; the log is safe as it is");
    }
    Ok(())
}

async fn listen(
    field: &'static str,
    address: &str,
    runtime: &Handle,
) -> Result<TcpListener, CoordinatorError> {
    let bound = runtime.spawn(TcpListener::bind(address.to_owned())).await;
    bound.map_err(io::Error::other).flatten().map_err(|source| CoordinatorError::Listen {
        field,
        address: address.to_owned(),
        source,
    })
}

fn server() -> Server {
    Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

fn api_router(
    api: &Api,
    gateway: Gateway,
    guard: &ClusterGuard,
    max_message_bytes: usize,
) -> Result<Router, CoordinatorError> {
    let named = services::API.into_iter().chain([health_server::SERVICE_NAME]);
    let agents = AgentGatewayServer::new(gateway).max_decoding_message_size(max_message_bytes);
    let cluster = ClusterServer::new(api.clone()).max_decoding_message_size(max_message_bytes);
    let hosts = HostsServer::new(api.clone()).max_decoding_message_size(max_message_bytes);
    let disks = DisksServer::new(api.clone()).max_decoding_message_size(max_message_bytes);
    let groups = GroupsServer::new(api.clone()).max_decoding_message_size(max_message_bytes);
    let events = EventsServer::new(api.clone()).max_decoding_message_size(max_message_bytes);
    let operations = OperationsServer::new(api.clone()).max_decoding_message_size(max_message_bytes);
    Ok(server()
        .add_routes(reflection(named)?)
        .add_service(Measured::new(agents, max_message_bytes))
        .add_service(Measured::new(guarded(cluster, guard), max_message_bytes))
        .add_service(Measured::new(guarded(hosts, guard), max_message_bytes))
        .add_service(Measured::new(guarded(disks, guard), max_message_bytes))
        .add_service(Measured::new(guarded(groups, guard), max_message_bytes))
        .add_service(Measured::new(guarded(events, guard), max_message_bytes))
        .add_service(Measured::new(guarded(operations, guard), max_message_bytes)))
}

/// A service for those who mean this cluster.
fn guarded<S>(service: S, guard: &ClusterGuard) -> InterceptedService<S, ClusterGuard> {
    InterceptedService::new(service, guard.clone())
}

/// Runs a task that has nothing to finish when the process stops.
fn until_stopped(name: &'static str, task: impl Future<Output = ()> + Send + 'static, shutdown: &Shutdown) {
    until_stopped_on(&Handle::current(), name, task, shutdown);
}

fn until_stopped_on(
    runtime: &Handle,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
    shutdown: &Shutdown,
) {
    let token = shutdown.token();
    shutdown.spawn_on(runtime, name, async move {
        tokio::select! {
            () = token.cancelled() => {}
            () = task => {}
        }
    });
}

/// Serves on a runtime until the process stops. Open streams are cut then: an agent or client goes to another
/// coordinator sooner.
fn serve(name: &'static str, router: Router, listener: TcpListener, shutdown: &Shutdown, runtime: &Handle) {
    let (token, fatal) = (shutdown.token(), shutdown.clone());
    shutdown.spawn_on(runtime, name, async move {
        tokio::select! {
            () = token.cancelled() => {}
            result = router.serve_with_incoming(incoming(listener)) => if let Err(error) = result {
                fatal.fatal(format!("{name}: {error}"));
            },
        }
    });
}
