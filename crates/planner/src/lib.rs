//! What should change next in a Quorate cluster, and why.
//!
//! A planner looks at the agreed [`State`](quorate_domain::State), at what the leader has seen itself
//! ([`Observations`]) and at the leader's clock, and answers with a [`Plan`]: commands to propose, each with the rule
//! that wants it and the evidence inside, and the moment at which it is worth asking again. It performs nothing, and a
//! plan made on an old view does no harm: `decide` checks everything again in log order.
//!
//! - [`liveness`]: is a host heard of?
//! - [`disks`]: what do the agents say of their disks?
//! - [`failover`]: who should be primary of each group?
//! - [`incidents`]: what should operators be told of although nothing follows from it?
//! - [`warnings`]: what should an operator look at? It answers with words, worst first, and wants nothing changed.
//! - [`coordinators`]: who should be a coordinator? It answers with one step at a time, some of them of Raft itself.
//!
//! Architecture invariant: there is no clock, no randomness, no IO, no async, no hash map and no memory between two
//! plans in this crate. What must not outlive a leadership stands in [`Observations`] and nowhere else.

pub mod coordinators;
pub mod disks;
pub mod failover;
mod held_back;
pub mod incidents;
pub mod liveness;
mod observations;
mod plan;
pub mod warnings;

pub use held_back::{HELD_BACK_TOLD_MS, Haste, Held, HeldBack};
pub use observations::{
    DiskObservation, FailedStart, GroupObservation, HostObservation, Mono, Observations, StateClock,
    TURNS_MAX, remember,
};
pub use plan::{Plan, Planned, plan_all};
