//! Raft's own nouns as protobuf: on the wire between coordinators and, in the same bytes, on disk.
//!
//! Fields are only ever added. The golden files under `tests/golden` must decode for ever.

use crate::types::{Batch, Entry, LogId, MemberNode, SnapshotMeta, StoredMembership, Vote};
use bytes::Bytes;
use openraft::{CommittedLeaderId, EntryPayload, LeaderId, Membership};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that are not one of our records.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Not protobuf, or not this message.
    #[error("not a {what}: {source}")]
    Malformed {
        /// What was expected.
        what: &'static str,
        /// What prost says.
        source: prost::DecodeError,
    },
    /// A field is missing that must be there.
    #[error("{what} without {field}")]
    Missing {
        /// What was expected.
        what: &'static str,
        /// The field.
        field: &'static str,
    },
}

#[derive(Clone, PartialEq, Message)]
struct LogIdRecord {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "3")]
    index: u64,
}

#[derive(Clone, PartialEq, Message)]
struct VoteRecord {
    #[prost(uint64, tag = "1")]
    term: u64,
    #[prost(uint64, tag = "2")]
    node: u64,
    #[prost(bool, tag = "3")]
    committed: bool,
}

#[derive(Clone, PartialEq, Message)]
struct MemberRecord {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    peer_address: String,
    #[prost(string, tag = "3")]
    api_address: String,
}

#[derive(Clone, PartialEq, Message)]
struct VoterSet {
    #[prost(uint64, repeated, tag = "1")]
    ids: Vec<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct MembershipRecord {
    #[prost(message, repeated, tag = "1")]
    configs: Vec<VoterSet>,
    #[prost(message, repeated, tag = "2")]
    members: Vec<MemberRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredMembershipRecord {
    #[prost(message, optional, tag = "1")]
    log_id: Option<LogIdRecord>,
    #[prost(message, optional, tag = "2")]
    membership: Option<MembershipRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct EntryRecord {
    #[prost(message, optional, tag = "1")]
    log_id: Option<LogIdRecord>,
    /// Commands; absent with `membership` absent too: a blank entry.
    #[prost(bytes = "bytes", optional, tag = "2")]
    batch: Option<Bytes>,
    #[prost(message, optional, tag = "3")]
    membership: Option<MembershipRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct SnapshotMetaRecord {
    #[prost(message, optional, tag = "1")]
    last_log_id: Option<LogIdRecord>,
    #[prost(message, optional, tag = "2")]
    membership: Option<StoredMembershipRecord>,
    #[prost(string, tag = "3")]
    snapshot_id: String,
}

/// Names an entry. A term has one leader, so its number is enough.
pub fn entry_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 0), index)
}

/// Whom a vote is for; zero, which is no node, for nobody.
pub fn voted_for(vote: &Vote) -> u64 {
    vote.leader_id.voted_for().unwrap_or(0)
}

/// A vote in a term, for a node or, with zero, for nobody yet.
pub fn ballot(term: u64, node: u64, committed: bool) -> Vote {
    let voted_for = (node != 0).then_some(node);
    Vote { leader_id: LeaderId { term, voted_for }, committed }
}

fn log_id_record(id: &LogId) -> LogIdRecord {
    LogIdRecord { term: id.leader_id.term, index: id.index }
}

fn log_id(record: &LogIdRecord) -> LogId {
    entry_id(record.term, record.index)
}

fn membership_record(membership: &Membership<u64, MemberNode>) -> MembershipRecord {
    MembershipRecord {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|ids| VoterSet { ids: ids.iter().copied().collect() })
            .collect(),
        members: membership
            .nodes()
            .map(|(id, node)| MemberRecord {
                id: *id,
                peer_address: node.peer_address.clone(),
                api_address: node.api_address.clone(),
            })
            .collect(),
    }
}

fn membership(record: MembershipRecord) -> Membership<u64, MemberNode> {
    let configs: Vec<BTreeSet<u64>> =
        record.configs.into_iter().map(|set| set.ids.into_iter().collect()).collect();
    let members: BTreeMap<u64, MemberNode> = record
        .members
        .into_iter()
        .map(|member| {
            (member.id, MemberNode { peer_address: member.peer_address, api_address: member.api_address })
        })
        .collect();
    Membership::new(configs, members)
}

fn stored_membership_record(stored: &StoredMembership) -> StoredMembershipRecord {
    StoredMembershipRecord {
        log_id: stored.log_id().as_ref().map(log_id_record),
        membership: Some(membership_record(stored.membership())),
    }
}

fn stored_membership(record: StoredMembershipRecord) -> StoredMembership {
    let members = record.membership.map_or_else(Membership::default, membership);
    StoredMembership::new(record.log_id.as_ref().map(log_id), members)
}

fn decode<M: Message + Default>(what: &'static str, bytes: impl bytes::Buf) -> Result<M, CodecError> {
    M::decode(bytes).map_err(|source| CodecError::Malformed { what, source })
}

/// A log id as bytes.
pub fn encode_log_id(id: &LogId) -> Bytes {
    log_id_record(id).encode_to_vec().into()
}

/// A log id from bytes.
///
/// # Errors
/// [`CodecError`] when they are not one.
pub fn decode_log_id(bytes: &[u8]) -> Result<LogId, CodecError> {
    decode::<LogIdRecord>("log id", bytes).map(|record| log_id(&record))
}

/// A vote as bytes.
pub fn encode_vote(vote: &Vote) -> Bytes {
    VoteRecord { term: vote.leader_id.term, node: voted_for(vote), committed: vote.committed }
        .encode_to_vec()
        .into()
}

/// A vote from bytes.
///
/// # Errors
/// [`CodecError`] when they are not one.
pub fn decode_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    let record: VoteRecord = decode("vote", bytes)?;
    Ok(ballot(record.term, record.node, record.committed))
}

/// An entry as bytes.
pub fn encode_entry(entry: &Entry) -> Bytes {
    let (batch, members) = match &entry.payload {
        EntryPayload::Blank => (None, None),
        EntryPayload::Normal(batch) => (Some(batch.bytes().clone()), None),
        EntryPayload::Membership(members) => (None, Some(membership_record(members))),
    };
    EntryRecord { log_id: Some(log_id_record(&entry.log_id)), batch, membership: members }
        .encode_to_vec()
        .into()
}

/// An entry from bytes; its commands are not looked at.
///
/// # Errors
/// [`CodecError`] when they are not one.
pub fn decode_entry(bytes: Bytes) -> Result<Entry, CodecError> {
    let record: EntryRecord = decode("log entry", bytes)?;
    let id = record.log_id.as_ref().ok_or(CodecError::Missing { what: "log entry", field: "log_id" })?;
    let payload = match (record.batch, record.membership) {
        (Some(batch), _) => EntryPayload::Normal(Batch::from_bytes(batch)),
        (None, Some(members)) => EntryPayload::Membership(membership(members)),
        (None, None) => EntryPayload::Blank,
    };
    Ok(Entry { log_id: log_id(id), payload })
}

/// The members as bytes.
pub fn encode_membership(stored: &StoredMembership) -> Bytes {
    stored_membership_record(stored).encode_to_vec().into()
}

/// The members from bytes.
///
/// # Errors
/// [`CodecError`] when they are not members.
pub fn decode_membership(bytes: &[u8]) -> Result<StoredMembership, CodecError> {
    decode::<StoredMembershipRecord>("membership", bytes).map(stored_membership)
}

/// A snapshot's description as bytes.
pub fn encode_snapshot_meta(meta: &SnapshotMeta) -> Bytes {
    SnapshotMetaRecord {
        last_log_id: meta.last_log_id.as_ref().map(log_id_record),
        membership: Some(stored_membership_record(&meta.last_membership)),
        snapshot_id: meta.snapshot_id.clone(),
    }
    .encode_to_vec()
    .into()
}

/// A snapshot's description from bytes.
///
/// # Errors
/// [`CodecError`] when they are not one.
pub fn decode_snapshot_meta(bytes: &[u8]) -> Result<SnapshotMeta, CodecError> {
    let record: SnapshotMetaRecord = decode("snapshot description", bytes)?;
    let members =
        record.membership.ok_or(CodecError::Missing { what: "snapshot description", field: "membership" })?;
    Ok(SnapshotMeta {
        last_log_id: record.last_log_id.as_ref().map(log_id),
        last_membership: stored_membership(members),
        snapshot_id: record.snapshot_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_has_one_leader_so_votes_for_two_nodes_in_it_do_not_compare() {
        let (one, other) = (ballot(4, 1, false), ballot(4, 2, false));
        assert_eq!(one.partial_cmp(&other), None, "openraft is built without single-term-leader");
        assert!(ballot(4, 0, false) < one && one < ballot(4, 1, true) && one < ballot(5, 2, false));
    }

    #[test]
    fn votes_come_back_as_they_were_also_those_for_nobody() {
        for vote in [ballot(0, 0, false), ballot(7, 0, false), ballot(7, 3, false), ballot(7, 3, true)] {
            assert_eq!(decode_vote(&encode_vote(&vote)).unwrap(), vote);
        }
    }
}
