//! openraft, told what our entries, answers and members are.

use crate::packed_list::PackedList;
use bytes::Bytes;
use quorate_domain::{Outcome, Proposal};
use std::{fmt, io, sync::Arc};

openraft::declare_raft_types!(
    /// The types that one Raft group of ours is made of.
    pub TypeConfig:
        D = Batch,
        R = BatchOutcome,
        NodeId = u64,
        Node = MemberNode,
        SnapshotData = io::Cursor<Vec<u8>>,
);

/// A log entry.
pub type Entry = openraft::Entry<TypeConfig>;
/// The id of a log entry.
pub type LogId = openraft::LogId<u64>;
/// A vote.
pub type Vote = openraft::Vote<u64>;
/// The running Raft node.
pub type Raft = openraft::Raft<TypeConfig>;
/// The members, and the entry that said so.
pub type StoredMembership = openraft::StoredMembership<u64, MemberNode>;
/// What a snapshot holds.
pub type SnapshotMeta = openraft::SnapshotMeta<u64, MemberNode>;
/// An error of the log or the state machine; it ends the node.
pub type StorageError = openraft::StorageError<u64>;

/// Where a member is reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MemberNode {
    /// By other coordinators.
    pub peer_address: String,
    /// By agents and clients.
    pub api_address: String,
}

impl fmt::Display for MemberNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.peer_address, self.api_address)
    }
}

/// Commands that travel in one entry: encoded once, and decoded at most once on each coordinator.
#[derive(Clone)]
pub struct Batch {
    bytes: Bytes,
    proposals: Option<Arc<Vec<Proposal>>>,
}

/// What a command takes, or more.
const COMMAND_BYTES: usize = 512;

/// A batch whose bytes are not ours.
#[derive(Debug, thiserror::Error)]
#[error("a batch of {length} bytes cannot be read: {source}")]
pub struct BadBatch {
    length: usize,
    source: rmp_serde::decode::Error,
}

impl Batch {
    /// Puts commands into a batch.
    pub fn new(proposals: Vec<Proposal>) -> Self {
        let encoded: Vec<Vec<u8>> = proposals.iter().map(Self::encode).collect();
        Self::of_encoded(proposals, &encoded)
    }

    /// The bytes of one command in a batch.
    pub(crate) fn encode(proposal: &Proposal) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(COMMAND_BYTES);
        rmp_serde::encode::write_named(&mut bytes, proposal)
            .expect("commands of strings, numbers and maps always have bytes");
        bytes
    }

    /// Puts commands into a batch whose bytes were made before, by whoever proposed them.
    pub(crate) fn of_encoded(proposals: Vec<Proposal>, encoded: &[Vec<u8>]) -> Self {
        let mut list = PackedList::default();
        for command in encoded {
            list.push_encoded(command);
        }
        Self { bytes: list.bytes().to_vec().into(), proposals: Some(Arc::new(proposals)) }
    }

    /// A batch as it came from the log or a peer; it is decoded when it is applied.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self { bytes, proposals: None }
    }

    /// What the log keeps.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The commands.
    ///
    /// # Errors
    /// [`BadBatch`] when the bytes are not a list of commands that this version knows.
    pub fn proposals(&self) -> Result<Arc<Vec<Proposal>>, BadBatch> {
        match &self.proposals {
            Some(proposals) => Ok(Arc::clone(proposals)),
            None => rmp_serde::from_slice::<Vec<Proposal>>(&self.bytes)
                .map(Arc::new)
                .map_err(|source| BadBatch { length: self.bytes.len(), source }),
        }
    }
}

impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} bytes)", self.bytes.len())
    }
}

/// The answers to the commands of a batch, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchOutcome(pub Vec<Outcome>);
