//! Raft between coordinators over gRPC: the transport, the service, and the translation of openraft's messages.
//!
//! The only place besides the consensus crate that names openraft.

mod acquaintances;
mod appends;
mod convert;
mod service;
mod transport;

pub(crate) use service::PeerService;
pub(crate) use transport::{PeerNetwork, Peers};

/// The largest message between coordinators: 32 entries of a megabyte, and some.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// Carries the answering member's data folder with every answer. A member that lost its data would answer as if it had
/// never promised what it had: its answers must not reach openraft.
pub(crate) const INSTANCE_HEADER: &str = "quorate-instance";
/// Carries the answering member's start on its data folder. A copy of the folder would answer for the same node.
pub(crate) const START_HEADER: &str = "quorate-start";
/// The reason that a coordinator finds whose data folder is a copy, or was left behind by one.
pub(crate) const REASON_LEFT_BEHIND: &str = "PEER_LEFT_BEHIND";
/// Where the details of such a refusal have the start that refuses.
pub(crate) const REFUSED_BY: &str = "start";
/// The reason that a coordinator finds which goes on in another place and does not count yet where it asked.
pub(crate) const REASON_NOT_COUNTED: &str = "PEER_NOT_COUNTED";
/// Where the details of such a refusal have the start that was promised, when the one that asks had been left for it.
pub(crate) const PROMISED_TO: &str = "promised";
/// The reason of an answer that this coordinator does not take from a peer. It stays in the process.
pub(crate) const REASON_NOT_TAKEN: &str = "PEER_NOT_TAKEN";
/// Where the details of that say that the peer goes on in another place and may count yet.
pub(crate) const WAITS: &str = "waits";
/// The reason that a refused peer finds in the error details.
pub(crate) const REASON_OTHER_INSTANCE: &str = "PEER_OTHER_INSTANCE";
/// The reason that a coordinator finds which was removed from the cluster.
pub(crate) const REASON_REMOVED: &str = "PEER_REMOVED";
