//! A coordinator: gRPC services, leader-only memory, and the driver that turns plans into proposals.
//!
//! ```text
//! agents  -> gateway  -> memory (observations) -> driver -> planner -> consensus
//! clients -> api      -> consensus (propose, confirmed reads, feed)
//! peers   -> peer     -> openraft
//! ```
//!
//! Architecture invariant: nothing here decides. What a command means stands in the domain crate, what should change
//! in the planner crate; this one carries messages, remembers what the leader saw, and proposes.

mod api;
mod bootstrap;
mod cluster_guard;
mod driver;
mod gateway;
mod health;
mod lease_record;
mod lost_lines;
mod members;
mod memory;
mod message_limit;
mod options;
mod peer;
mod peer_watch;
mod run;
mod services;
mod standstill;

pub use options::CoordinatorOptions;
pub use run::{CoordinatorError, run};
