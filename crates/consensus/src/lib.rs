//! Agreement: openraft, the log, snapshots and the state store; nothing else.
//!
//! ```text
//! propose -> Proposer (many commands, one entry) -> openraft -> LogStore -> wal/ (fdatasync)
//!                                                     |
//!                                                     v
//!                               StateMachine: domain::apply -> Feed (views, events) -> watchers, drivers
//!                                                     |
//!                                                     v
//!                                     StateStore (sled, one thread) and snapshot files
//! ```
//!
//! Architecture invariant: what a command means is decided in the domain crate; this one orders commands, keeps them,
//! and says honestly what became of them. Peers are reached through a network that the caller brings.

#![allow(clippy::result_large_err)] // openraft's errors are what they are

pub mod codec;
pub mod disk;
pub mod feed;
pub mod folder;
pub mod handle;
mod leader_heard;
mod leadership;
mod log_store;
mod members;
mod opening;
mod packed_list;
mod proposer;
mod quiet_network;
mod reads;
mod sealed_json;
mod snapshot;
mod snapshot_folder;
mod state_machine;
mod state_store;
pub mod types;
pub mod wal;
mod watched;

#[cfg(test)]
mod tests;

pub use disk::{Disk, RealDisk};
pub use feed::{Archived, Feed, View};
pub use folder::{DataFolder, FolderError};
pub use handle::{Consensus, RaftOptions};
pub use leadership::Leadership;
pub use log_store::LogOpenError;
pub use members::{Members, MembersError, VotersWatch};
pub use opening::OpenError;
pub use proposer::ProposeError;
pub use reads::ReadError;
pub use snapshot::SnapshotError;
pub use state_store::StoreError;
