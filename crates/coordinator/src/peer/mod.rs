//! Raft between coordinators over gRPC: the transport, the service, and the translation of openraft's messages.
//!
//! The only place besides the consensus crate that names openraft.

mod convert;
mod service;
mod transport;

pub(crate) use service::PeerService;
pub(crate) use transport::{PeerNetwork, Peers};

/// The largest message between coordinators: 32 entries of a megabyte, and some.
pub(crate) const MAX_MESSAGE_BYTES: usize = 64 << 20;
/// The reason that a refused peer finds in the error details.
pub(crate) const REASON_OTHER_INSTANCE: &str = "PEER_OTHER_INSTANCE";
