//! The way to the other coordinators: one long-lived channel to each, and another one for snapshots, so that a large
//! transfer never delays a heartbeat.

use super::{
    INSTANCE_HEADER, MAX_MESSAGE_BYTES, REASON_LEFT_BEHIND, REASON_NOT_COUNTED, REASON_NOT_TAKEN,
    REASON_OTHER_INSTANCE, REASON_REMOVED, REFUSED_BY, WAITS,
    acquaintances::{Acquaintances, start_of},
    appends::Appends,
    convert,
};
use openraft::{
    RaftNetwork, RaftNetworkFactory, SnapshotSegmentId,
    error::{
        InstallSnapshotError, NetworkError, RPCError, RaftError, RemoteError, SnapshotMismatch, Unreachable,
    },
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
        VoteRequest, VoteResponse,
    },
};
use quorate_consensus::{
    DataFolder,
    types::{MemberNode, TypeConfig},
};
use quorate_domain::{CoordinatorId, InstanceId};
use quorate_rpc::{
    InvalidField, bounded_line,
    pb::raft::{self as pb, raft_client::RaftClient},
    transport::endpoint,
};
use quorate_runtime::shutdown::Shutdown;
use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::runtime::Handle;
use tonic::{Code, Status, transport::Channel};
use tonic_types::{ErrorDetails, StatusExt};

const RETRY_EVERY: Duration = Duration::from_millis(100);
/// A connection to a peer on which nothing comes is probed after this time, and dead after as long again. The ten and
/// five seconds of other connections would be longer than a cluster may be without a leader: when all connections are
/// dead at one end, as after a firewall has forgotten them, nobody is elected before new ones are made.
const KEEPALIVE: Duration = Duration::from_secs(1);

type RaftRpcError<E = openraft::error::Infallible> = RPCError<u64, MemberNode, RaftError<u64, E>>;

/// The channels of one peer, as long as its address stays.
#[derive(Clone)]
struct Lines {
    address: String,
    appends: Appends,
    messages: RaftClient<Channel>,
    snapshots: RaftClient<Channel>,
}

/// The other coordinators: who this node is to them, and the channels to them. Clones share it.
#[derive(Clone)]
pub(crate) struct Peers {
    folder: Arc<DataFolder>,
    overrides: Arc<BTreeMap<CoordinatorId, String>>,
    lines: Arc<Mutex<BTreeMap<u64, Lines>>>,
    /// When each was last heard to take part in Raft.
    answered: Arc<Mutex<BTreeMap<u64, Instant>>>,
    takes_part: Arc<AtomicBool>,
    /// Which of their starts count.
    pub(super) acquaintances: Acquaintances,
    shutdown: Shutdown,
    pub(super) lane: Handle,
}

impl Peers {
    pub(crate) fn new(
        folder: Arc<DataFolder>,
        overrides: BTreeMap<CoordinatorId, String>,
        shutdown: Shutdown,
        lane: Handle,
    ) -> Self {
        Self {
            acquaintances: Acquaintances::new(Arc::clone(&folder)),
            folder,
            overrides: Arc::new(overrides),
            lines: Arc::default(),
            answered: Arc::default(),
            takes_part: Arc::default(),
            shutdown,
            lane,
        }
    }

    pub(super) fn sender(&self, to: u64) -> pb::Sender {
        pb::Sender {
            cluster_id: self.folder.cluster().to_string(),
            from: self.folder.node().0,
            to,
            instance: self.folder.instance().to_string(),
            start: self.folder.start().to_string(),
        }
    }

    /// The ways to all members that were spoken to.
    pub(super) fn known_clients(&self) -> BTreeMap<u64, RaftClient<Channel>> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(|(id, lines)| (*id, lines.messages.clone())).collect()
    }

    /// The channels to a member; made at its first use and whenever its address changes.
    fn lines(&self, to: u64, node: &MemberNode) -> Result<Lines, InvalidField> {
        let address = self.overrides.get(&CoordinatorId(to)).unwrap_or(&node.peer_address);
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = lines.get(&to).filter(|known| known.address == *address) {
            return Ok(known.clone());
        }
        // A channel's tasks run where it is made.
        let _on_lane = self.lane.enter();
        let messages = client(address)?;
        let made = Lines {
            address: address.clone(),
            appends: Appends::new(messages.clone()),
            messages,
            snapshots: client(address)?,
        };
        lines.insert(to, made.clone());
        Ok(made)
    }

    /// From now on this node takes messages of Raft.
    pub(crate) fn take_part(&self) {
        self.takes_part.store(true, Ordering::Release);
    }

    /// True once this node takes messages of Raft.
    pub(crate) fn takes_part(&self) -> bool {
        self.takes_part.load(Ordering::Acquire)
    }

    /// When a member last answered an append, a vote or a snapshot. Who it is it may tell when it takes nothing any more,
    /// because its disk hangs, and that counts for nothing.
    pub(crate) fn last_answer(&self, from: u64) -> Option<Instant> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).get(&from).copied()
    }

    pub(super) fn note_answer(&self, from: u64) {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner).insert(from, Instant::now());
    }

    /// Asks a member who it is.
    pub(crate) async fn identify(
        &self,
        to: CoordinatorId,
        node: &MemberNode,
        deadline: Duration,
    ) -> Result<pb::IdentifyResponse, Status> {
        let mut client =
            self.lines(to.0, node).map_err(|error| Status::unavailable(error.to_string()))?.messages;
        let request = pb::IdentifyRequest { sender: Some(self.sender(to.0)), ..Default::default() };
        match tokio::time::timeout(deadline, client.identify(request)).await {
            Ok(answer) => {
                let (answer, _) = answer.and_then(|answer| self.accept(to.0, answer))?;
                self.counted_by(to);
                Ok(answer)
            }
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }

    /// Asks one that is to be a member who it is. What it answers is not remembered: it may never become one.
    pub(crate) async fn identify_newcomer(
        &self,
        to: CoordinatorId,
        node: &MemberNode,
        deadline: Duration,
    ) -> Result<pb::IdentifyResponse, Status> {
        let address = self.overrides.get(&to).unwrap_or(&node.peer_address);
        let mut client = client(address).map_err(|error| Status::invalid_argument(error.to_string()))?;
        let request = pb::IdentifyRequest { sender: Some(self.sender(to.0)), ..Default::default() };
        match tokio::time::timeout(deadline, client.identify(request)).await {
            Ok(answer) => answer.map(tonic::Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        }
    }

    /// Takes an answer only from the data folder that the member had when it was first met, and from the start on it that
    /// counts; gives back both.
    pub(super) fn accept<T>(&self, from: u64, answer: tonic::Response<T>) -> Result<(T, InstanceId), Status> {
        let header = answer.metadata().get(INSTANCE_HEADER).and_then(|value| value.to_str().ok());
        let instance = header.and_then(|text| InstanceId::new(text).ok()).ok_or_else(|| {
            not_taken(format!("member {from} answers without a valid {INSTANCE_HEADER}"), false)
        })?;
        self.folder
            .meet_peer(CoordinatorId(from), &instance)
            .map_err(|refused| not_taken(refused.to_string(), false))?;
        let start = start_of(answer.metadata()).map_err(|status| not_taken(status.message(), false))?;
        let start = self
            .admit(CoordinatorId(from), start, "its own address")
            // To this one the reason is nothing that it must end for: it is not the one that is refused.
            .map_err(|status| not_taken(status.message(), is_not_counted(&status)))?;
        Ok((answer.into_inner(), start))
    }

    /// A peer that knows this node by another data folder, or knows that it was removed, will never count its votes
    /// again: this process must end.
    pub(crate) fn end_if_refused(&self, by: CoordinatorId, status: &Status) {
        let final_reasons = [REASON_OTHER_INSTANCE, REASON_LEFT_BEHIND, REASON_REMOVED];
        let Some(info) = status.get_details_error_info() else { return };
        // A copy of a peer's folder that does not count itself ends nobody.
        let start = info.metadata.get(REFUSED_BY).and_then(|start| InstanceId::new(start).ok());
        let another_counts = start.is_some_and(|start| {
            self.folder.current_start(by).is_some() && !self.folder.is_current_start(by, &start)
        });
        if final_reasons.contains(&info.reason.as_str()) && !another_counts {
            self.shutdown
                .fatal(format!("refused by another coordinator: {}", bounded_line(status.message())));
        }
    }
}

/// An answer that is not taken, and whether whoever gave it may count yet.
fn not_taken(message: impl Into<String>, waits: bool) -> Status {
    let metadata: HashMap<_, _> = waits.then(|| (WAITS.to_owned(), String::new())).into_iter().collect();
    let details = ErrorDetails::with_error_info(REASON_NOT_TAKEN, "quorate", metadata);
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

fn is_not_counted(status: &Status) -> bool {
    status.get_details_error_info().is_some_and(|info| info.reason == REASON_NOT_COUNTED)
}

fn client(address: &str) -> Result<RaftClient<Channel>, InvalidField> {
    let endpoint = endpoint(address)?.http2_keep_alive_interval(KEEPALIVE).keep_alive_timeout(KEEPALIVE);
    Ok(RaftClient::new(endpoint.connect_lazy())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES))
}

/// Makes openraft's clients. They cost nothing: openraft makes one for each target and linearizable read.
#[derive(Clone)]
pub(crate) struct PeerNetwork(pub(crate) Peers);

impl RaftNetworkFactory<TypeConfig> for PeerNetwork {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, node: &MemberNode) -> PeerClient {
        PeerClient { peers: self.0.clone(), target, lines: self.0.lines(target, node) }
    }
}

/// openraft's client to one peer.
pub(crate) struct PeerClient {
    peers: Peers,
    target: u64,
    lines: Result<Lines, InvalidField>,
}

impl PeerClient {
    fn lines(&self) -> Result<&Lines, Unreachable> {
        self.lines.as_ref().map_err(|error| Unreachable::new(&io::Error::other(error.to_string())))
    }

    /// Waits for an answer to a single message.
    async fn call<T, E>(
        &self,
        option: &RPCOption,
        request: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RPCError<u64, MemberNode, E>>
    where
        E: std::error::Error,
    {
        let answer = async { request.await.and_then(|answer| self.peers.accept(self.target, answer)) };
        let (answer, _) = self.wait(option, answer).await?;
        self.peers.note_answer(self.target);
        Ok(answer)
    }

    /// Waits for an answer at most as long as openraft does.
    async fn wait<T, E>(
        &self,
        option: &RPCOption,
        answer: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, RPCError<u64, MemberNode, E>>
    where
        E: std::error::Error,
    {
        let answer = match tokio::time::timeout(option.hard_ttl(), answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        };
        answer.map_err(|status| {
            self.peers.end_if_refused(CoordinatorId(self.target), &status);
            let error = io::Error::other(format!("{:?}: {}", status.code(), status.message()));
            match status.code() {
                Code::Unavailable | Code::FailedPrecondition | Code::PermissionDenied => {
                    RPCError::Unreachable(Unreachable::new(&error))
                }
                _ => RPCError::Network(NetworkError::new(&error)),
            }
        })
    }
}

fn bad_answer<E: std::error::Error>(error: &convert::BadMessage) -> RPCError<u64, MemberNode, E> {
    RPCError::Network(NetworkError::new(error))
}

impl RaftNetwork<TypeConfig> for PeerClient {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<u64>, RaftRpcError> {
        let appends = &self.lines()?.appends;
        let request = convert::append_to_pb(&rpc);
        let answer = self.wait(&option, appends.send(&self.peers, self.target, request)).await?;
        convert::append_response(answer).map_err(|error| bad_answer(&error))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<u64>,
        option: RPCOption,
    ) -> Result<VoteResponse<u64>, RaftRpcError> {
        let mut client = self.lines()?.messages.clone();
        let request = convert::vote_request_to_pb(&rpc, self.peers.sender(self.target));
        let answer = self.call(&option, client.vote(request)).await?;
        convert::vote_response(answer).map_err(|error| bad_answer(&error))
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<InstallSnapshotResponse<u64>, RaftRpcError<InstallSnapshotError>> {
        let mut client = self.lines()?.snapshots.clone();
        let id = rpc.meta.snapshot_id.clone();
        let offset = rpc.offset;
        let request = convert::snapshot_to_pb(rpc, self.peers.sender(self.target));
        let answer = self.call(&option, client.install_snapshot(request)).await?;
        if let Some(expected) = answer.expected_offset {
            let segment = |offset| SnapshotSegmentId { id: id.clone(), offset };
            let mismatch = SnapshotMismatch { expect: segment(expected), got: segment(offset) };
            let error = RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch));
            return Err(RPCError::RemoteError(RemoteError::new(self.target, error)));
        }
        convert::vote(answer.vote)
            .map(|vote| InstallSnapshotResponse { vote })
            .map_err(|error| bad_answer(&error))
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(RETRY_EVERY))
    }
}
