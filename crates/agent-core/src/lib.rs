//! What one host may do now. An agent feeds this crate what arrives (assignments, acknowledgements, ends of hooks, the
//! clock) and performs the [`Step`]s that come back; what the host is to a group at any instant is answered by
//! [`Core::role`], from the clock reading it is given and never from something remembered.
//!
//! The rules are those of DESIGN section 5: a lease counts from the moment its heartbeat was sent, an epoch that has
//! ended on a host never comes back, and nothing acts under an epoch that is not on disk.
//!
//! Architecture invariant: there is no clock, no randomness, no IO, no async and no hash map in this crate.

pub mod attached;
mod core;
mod durable;
pub mod guard;
mod installed;
pub mod kept;
mod lease;
pub mod leftovers;
pub mod mandate;
mod quorum;
mod report;
mod role;
mod seat;
mod step;
mod tenure;
mod time;

pub use core::{Core, Start};
pub use durable::{DurableEpochs, FORMER_GROUPS_MAX};
pub use lease::{Lease, OUTSTANDING_MAX};
pub use quorum::{COORDINATORS_MAX, QuorumWord};
pub use report::GroupReport;
pub use role::{LocalRole, RoleAnswer};
pub use seat::{Seat, seal};
pub use step::{HookKind, HookOutcome, Step};
pub use time::BootMs;
