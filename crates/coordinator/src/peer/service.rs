//! What this coordinator answers its peers.

use super::{
    INSTANCE_HEADER, Peers, REASON_OTHER_INSTANCE, REASON_REMOVED, START_HEADER, acquaintances::whole_ms,
    convert,
};
use crate::{lost_lines::Lost, memory::Memory, peer_watch::PeerWatch};
use openraft::error::{InstallSnapshotError, RaftError};
use quorate_consensus::{Consensus, folder::PeerRefused};
use quorate_domain::{CoordinatorId, InstanceId, starts::Start};
use quorate_rpc::pb::raft::{self as pb, raft_server::Raft};
use quorate_runtime::clock::Clock;
use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
    sync::Arc,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_types::{ErrorDetails, StatusExt};

/// Answers that wait to be sent on one stream; the messages behind them wait as well.
const ANSWERS_MAX: usize = 16;

/// The Raft service of one coordinator.
pub(crate) struct PeerService {
    /// Who forms the cluster by the configuration.
    initial: BTreeSet<CoordinatorId>,
    consensus: Consensus,
    peers: Peers,
    watch: PeerWatch,
    memory: Memory,
    lost: Lost,
    clock: Arc<dyn Clock>,
}

impl PeerService {
    pub(crate) fn new(
        initial: BTreeSet<CoordinatorId>,
        consensus: Consensus,
        peers: Peers,
        watch: PeerWatch,
        memory: Memory,
        lost: Lost,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { initial, consensus, peers, watch, memory, lost, clock }
    }

    /// True when it may have promised something to this cluster: by the configuration, by Raft, or by the record.
    fn is_member(&self, id: CoordinatorId) -> bool {
        self.initial.contains(&id)
            || self.consensus.members().nodes.contains_key(&id)
            || self.consensus.feed().view().state.coordinators.contains_key(&id)
    }

    fn answer<T>(&self, body: T) -> Result<Response<T>, Status> {
        let folder = self.consensus.folder();
        let instance =
            folder.instance().as_str().parse().map_err(|error| bad_header(INSTANCE_HEADER, &error))?;
        let start = folder.start().to_string().parse().map_err(|error| bad_header(START_HEADER, &error))?;
        let mut response = Response::new(body);
        response.metadata_mut().insert(INSTANCE_HEADER, instance);
        response.metadata_mut().insert(START_HEADER, start);
        Ok(response)
    }

    /// Nothing is taken from a stranger: another cluster, a message for another node, or a node that lost its data.
    fn check(&self, sender: Option<pb::Sender>) -> Result<pb::Sender, Status> {
        let sender = sender.ok_or_else(|| Status::invalid_argument("sender is missing"))?;
        let folder = self.consensus.folder();
        if sender.cluster_id != folder.cluster().as_str() {
            return Err(Status::failed_precondition(format!(
                "cluster.id {} is not the cluster of this coordinator, {}; correct cluster.id or members",
                sender.cluster_id,
                folder.cluster()
            )));
        }
        if sender.to != folder.node().0 {
            return Err(Status::failed_precondition(format!(
                "meant for node {}, and this is node {}; correct the address of node {} in members",
                sender.to,
                folder.node(),
                sender.to
            )));
        }
        if sender.from == sender.to {
            return Err(Status::failed_precondition(format!(
                "two coordinators use node.id {}; give each its own",
                sender.from
            )));
        }
        if self.consensus.feed().view().state.has_gone(CoordinatorId(sender.from)) {
            return Err(removed(sender.from));
        }
        let instance =
            InstanceId::new(&sender.instance).map_err(|error| Status::invalid_argument(error.to_string()))?;
        // Whoever is no member has promised nothing that could be lost with its data, and any number may come.
        if self.is_member(CoordinatorId(sender.from)) {
            folder.meet_peer(CoordinatorId(sender.from), &instance).map_err(|error| refused(&error))?;
        }
        Ok(sender)
    }

    /// Nor from a start of a member that does not count, which a copy of its data folder is.
    fn check_start(&self, sender: &pb::Sender, whence: Option<SocketAddr>) -> Result<Speaker, Status> {
        let node = CoordinatorId(sender.from);
        // As long as it is none, it has promised nothing that a copy could break.
        if !self.is_member(node) {
            return Ok(Speaker { node: sender.from, start: None });
        }
        let whence = whence.map_or_else(|| "somewhere".to_owned(), |address| address.ip().to_string());
        Ok(Speaker { node: sender.from, start: Some(self.peers.admit(node, &sender.start, &whence)?) })
    }

    /// The same for a message of Raft, which may also come too early.
    fn check_raft(&self, sender: Option<pb::Sender>, whence: Option<SocketAddr>) -> Result<Speaker, Status> {
        let sender = self.check(sender)?;
        if self.peers.takes_part() {
            return self.check_start(&sender, whence);
        }
        Err(Status::unavailable(
            "this coordinator has an empty log and asks the other members whether it may take part",
        ))
    }
}

/// Who speaks on a stream.
struct Speaker {
    node: u64,
    /// None of one that is no member.
    start: Option<InstanceId>,
}

impl Speaker {
    /// It may have been left behind since it began to speak.
    fn still_counts(&self, peers: &Peers) -> bool {
        self.start.as_ref().is_none_or(|start| peers.is_current(self.node, start))
    }
}

fn bad_header(name: &str, error: &tonic::metadata::errors::InvalidMetadataValue) -> Status {
    Status::internal(format!("{name}: {error}"))
}

fn refused(error: &PeerRefused) -> Status {
    match error {
        PeerRefused::OtherInstance { .. } => {
            let details = ErrorDetails::with_error_info(REASON_OTHER_INSTANCE, "quorate", HashMap::new());
            Status::with_error_details(Code::PermissionDenied, error.to_string(), details)
        }
        PeerRefused::NotRemembered(_) => Status::internal(error.to_string()),
    }
}

fn removed(id: u64) -> Status {
    let details = ErrorDetails::with_error_info(REASON_REMOVED, "quorate", HashMap::new());
    let message = format!(
        "coordinator {id} was removed from the cluster, and its id is never used again: leave it stopped, or bring it back \
         under a new node id with an empty data_dir and `quorate member add`"
    );
    Status::with_error_details(Code::PermissionDenied, message, details)
}

fn bad(error: &convert::BadMessage) -> Status {
    Status::invalid_argument(error.to_string())
}

fn failed(error: impl std::error::Error) -> Status {
    Status::internal(error.to_string())
}

/// Takes messages and answers them in order, until one cannot be taken or the stream is given up.
async fn answer_appends(
    consensus: Consensus,
    peers: Peers,
    speaker: Speaker,
    first: pb::AppendEntriesRequest,
    mut incoming: Streaming<pb::AppendEntriesRequest>,
    answers: mpsc::Sender<Result<pb::AppendEntriesResponse, Status>>,
) {
    let mut next = Ok(Some(first));
    while let Ok(Some(request)) = next {
        let answer = if speaker.still_counts(&peers) {
            append(&consensus, request).await
        } else {
            // It opens another stream, and hears why there.
            Err(Status::unavailable("the sender goes on by another start"))
        };
        let last = answer.is_err();
        if answers.send(answer).await.is_err() || last {
            return;
        }
        next = incoming.message().await;
    }
}

async fn append(
    consensus: &Consensus,
    request: pb::AppendEntriesRequest,
) -> Result<pb::AppendEntriesResponse, Status> {
    let request = convert::append(request).map_err(|error| bad(&error))?;
    let answer = consensus.append_entries(request).await.map_err(failed)?;
    Ok(convert::append_response_to_pb(&answer))
}

#[tonic::async_trait]
impl Raft for PeerService {
    type AppendEntriesStream = ReceiverStream<Result<pb::AppendEntriesResponse, Status>>;

    async fn append_entries(
        &self,
        request: Request<Streaming<pb::AppendEntriesRequest>>,
    ) -> Result<Response<Self::AppendEntriesStream>, Status> {
        let whence = request.remote_addr();
        let mut incoming = request.into_inner();
        let first = incoming.message().await?;
        let mut first =
            first.ok_or_else(|| Status::invalid_argument("a stream of appends without a message"))?;
        let speaker = self.check_raft(first.sender.take(), whence)?;
        let (answers, outgoing) = mpsc::channel(ANSWERS_MAX);
        let (consensus, peers) = (self.consensus.clone(), self.peers.clone());
        tokio::spawn(answer_appends(consensus, peers, speaker, first, incoming, answers));
        self.answer(ReceiverStream::new(outgoing))
    }

    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        let whence = request.remote_addr();
        let mut request = request.into_inner();
        self.check_raft(request.sender.take(), whence)?;
        let request = convert::vote_request(&request).map_err(|error| bad(&error))?;
        let answer = self.consensus.vote(request).await.map_err(failed)?;
        self.answer(convert::vote_response_to_pb(&answer))
    }

    async fn install_snapshot(
        &self,
        request: Request<pb::InstallSnapshotRequest>,
    ) -> Result<Response<pb::InstallSnapshotResponse>, Status> {
        let whence = request.remote_addr();
        let mut request = request.into_inner();
        self.check_raft(request.sender.take(), whence)?;
        let request = convert::snapshot(request).map_err(|error| bad(&error))?;
        let answer = match self.consensus.install_snapshot(request).await {
            Ok(answer) => pb::InstallSnapshotResponse {
                vote: Some(convert::vote_to_pb(answer.vote)),
                expected_offset: None,
            },
            Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
                pb::InstallSnapshotResponse { vote: None, expected_offset: Some(mismatch.expect.offset) }
            }
            Err(RaftError::Fatal(error)) => return Err(failed(error)),
        };
        self.answer(answer)
    }

    async fn identify(
        &self,
        request: Request<pb::IdentifyRequest>,
    ) -> Result<Response<pb::IdentifyResponse>, Status> {
        let whence = request.remote_addr();
        let pb::IdentifyRequest { sender, about, about_start, wish } = request.into_inner();
        let sender = self.check(sender)?;
        let asker = CoordinatorId(sender.from);
        // A question about another one changes nothing, and may be asked in order to judge whoever asks.
        if about == 0 {
            self.check_start(&sender, whence)?;
        }
        let folder = self.consensus.folder();
        let heard = self.peers.heard(CoordinatorId(about));
        let (refuses_start, takes_start) = match about_start.parse::<Start>() {
            Ok(start) if about != 0 => {
                let heard = heard.as_ref().map(|(id, ago)| (id.clone(), whole_ms(*ago)));
                folder
                    .word_on_start(CoordinatorId(about), &start, convert::wish(wish), heard.as_ref())
                    .map_err(failed)?
            }
            _ => (false, false),
        };
        let known = folder.known_peer(asker);
        let lost = self.lost.look();
        self.answer(pb::IdentifyResponse {
            cluster_id: folder.cluster().to_string(),
            node: folder.node().0,
            instance: folder.instance().to_string(),
            initialized: self.consensus.is_used(),
            known_instance: known.map_or_else(String::new, |instance| instance.to_string()),
            unix_ms: self.clock.unix_ms(),
            asker_not_reached: self.watch.not_reached(asker).unwrap_or_default(),
            takes_part: self.peers.takes_part(),
            heard_start: heard.as_ref().map_or_else(String::new, |(start, _)| start.to_string()),
            heard_ms_ago: heard.map_or(0, |(_, ago)| whole_ms(ago)),
            refuses_start,
            takes_start,
            asker_runs_twice: self.peers.runs_twice(asker).unwrap_or_default(),
            stands_still: self.consensus.leadership().borrow().stands_still,
            log_lines_lost: lost.count,
            log_lines_lost_ms_ago: lost.lately_ms,
            quorum_seen: self
                .memory
                .quorum_seen()
                .map(|seen| pb::QuorumSeen { for_ms: seen.for_ms, before_ms: seen.before_ms }),
        })
    }
}
