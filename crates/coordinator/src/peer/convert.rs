//! openraft's messages as protobuf and back. Entries and memberships stay in the bytes of the log.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, VoteRequest, VoteResponse,
};
use quorate_consensus::{
    codec::{self, CodecError},
    types::{LogId, TypeConfig, Vote},
};
use quorate_domain::starts::Wish;
use quorate_rpc::pb::raft as pb;

/// Why a peer's message is not usable.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadMessage {
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

fn required<T>(value: Option<T>, field: &'static str) -> Result<T, BadMessage> {
    value.ok_or(BadMessage::Missing(field))
}

/// A wish that is not known is none.
pub(super) fn wish(wish: i32) -> Wish {
    match pb::StartWish::try_from(wish) {
        Ok(pb::StartWish::Promise) => Wish::Promise,
        Ok(pb::StartWish::Refusal) => Wish::Refusal,
        Ok(pb::StartWish::Unspecified) | Err(_) => Wish::Word,
    }
}

pub(super) fn wish_to_pb(wish: Wish) -> pb::StartWish {
    match wish {
        Wish::Word => pb::StartWish::Unspecified,
        Wish::Promise => pb::StartWish::Promise,
        Wish::Refusal => pb::StartWish::Refusal,
    }
}

fn log_id_to_pb(id: LogId) -> pb::LogId {
    pb::LogId { term: id.leader_id.term, index: id.index }
}

fn log_id(id: pb::LogId) -> LogId {
    codec::entry_id(id.term, id.index)
}

pub(super) fn vote_to_pb(vote: Vote) -> pb::Ballot {
    pb::Ballot { term: vote.leader_id.term, node: codec::voted_for(&vote), committed: vote.committed }
}

pub(super) fn vote(ballot: Option<pb::Ballot>) -> Result<Vote, BadMessage> {
    let ballot = required(ballot, "vote")?;
    Ok(codec::ballot(ballot.term, ballot.node, ballot.committed))
}

pub(super) fn append_to_pb(request: &AppendEntriesRequest<TypeConfig>) -> pb::AppendEntriesRequest {
    pb::AppendEntriesRequest {
        sender: None,
        vote: Some(vote_to_pb(request.vote)),
        previous: request.prev_log_id.map(log_id_to_pb),
        entries: request.entries.iter().map(codec::encode_entry).collect(),
        leader_commit: request.leader_commit.map(log_id_to_pb),
    }
}

pub(super) fn append(
    request: pb::AppendEntriesRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, BadMessage> {
    Ok(AppendEntriesRequest {
        vote: vote(request.vote)?,
        prev_log_id: request.previous.map(log_id),
        entries: request.entries.into_iter().map(codec::decode_entry).collect::<Result<_, _>>()?,
        leader_commit: request.leader_commit.map(log_id),
    })
}

pub(super) fn append_response_to_pb(response: &AppendEntriesResponse<u64>) -> pb::AppendEntriesResponse {
    use pb::append_entries_response::{Conflict, Result, Success};
    let result = match response {
        AppendEntriesResponse::Success => Result::Success(Success { partial_through: None, partial: false }),
        AppendEntriesResponse::PartialSuccess(through) => {
            Result::Success(Success { partial_through: through.map(log_id_to_pb), partial: true })
        }
        AppendEntriesResponse::Conflict => Result::Conflict(Conflict {}),
        AppendEntriesResponse::HigherVote(higher) => Result::HigherVote(vote_to_pb(*higher)),
    };
    pb::AppendEntriesResponse { result: Some(result) }
}

pub(super) fn append_response(
    response: pb::AppendEntriesResponse,
) -> Result<AppendEntriesResponse<u64>, BadMessage> {
    use pb::append_entries_response::Result;
    Ok(match required(response.result, "result")? {
        Result::Success(success) if success.partial => {
            AppendEntriesResponse::PartialSuccess(success.partial_through.map(log_id))
        }
        Result::Success(_) => AppendEntriesResponse::Success,
        Result::Conflict(_) => AppendEntriesResponse::Conflict,
        Result::HigherVote(higher) => AppendEntriesResponse::HigherVote(vote(Some(higher))?),
    })
}

pub(super) fn vote_request_to_pb(request: &VoteRequest<u64>, sender: pb::Sender) -> pb::VoteRequest {
    pb::VoteRequest {
        sender: Some(sender),
        vote: Some(vote_to_pb(request.vote)),
        last_log: request.last_log_id.map(log_id_to_pb),
    }
}

pub(super) fn vote_request(request: &pb::VoteRequest) -> Result<VoteRequest<u64>, BadMessage> {
    Ok(VoteRequest::new(vote(request.vote)?, request.last_log.map(log_id)))
}

pub(super) fn vote_response_to_pb(response: &VoteResponse<u64>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_to_pb(response.vote)),
        granted: response.vote_granted,
        last_log: response.last_log_id.map(log_id_to_pb),
    }
}

pub(super) fn vote_response(response: pb::VoteResponse) -> Result<VoteResponse<u64>, BadMessage> {
    Ok(VoteResponse::new(vote(response.vote)?, response.last_log.map(log_id), response.granted))
}

pub(super) fn snapshot_to_pb(
    request: InstallSnapshotRequest<TypeConfig>,
    sender: pb::Sender,
) -> pb::InstallSnapshotRequest {
    pb::InstallSnapshotRequest {
        sender: Some(sender),
        vote: Some(vote_to_pb(request.vote)),
        meta: codec::encode_snapshot_meta(&request.meta),
        offset: request.offset,
        data: request.data.into(),
        done: request.done,
    }
}

pub(super) fn snapshot(
    request: pb::InstallSnapshotRequest,
) -> Result<InstallSnapshotRequest<TypeConfig>, BadMessage> {
    Ok(InstallSnapshotRequest {
        vote: vote(request.vote)?,
        meta: codec::decode_snapshot_meta(&request.meta)?,
        offset: request.offset,
        data: request.data.into(),
        done: request.done,
    })
}
