//! A deterministic simulation of a whole Quorate cluster: coordinators, agents, platforms and clients in one thread,
//! without a clock, a network or a disk of this machine. It drives the real domain, planner, leader-core and agent-core;
//! Raft, the network, clocks and disks are models. An oracle that sees everything, in true time, judges every event.
//!
//! A seed stands for a whole run. The same seed gives the same run, event by event.
//!
//! Architecture invariant: there is no thread, no async, no clock of the machine and no hash map with a seed of its own
//! in this crate, and nothing in it decides what production decides: it only carries messages and lets time pass.

mod agent;
mod chance;
mod client;
mod coordinator;
mod count;
mod env;
mod expected;
mod fault;
mod inject;
mod message;
mod network;
mod oracle;
mod plan;
mod raft;
mod shrink;
mod standstill;
mod time;
mod timeline;
mod world;

pub use count::Counts;
pub use expected::expected;
pub use fault::{Fault, Kind};
pub use oracle::Violation;
pub use plan::Plan;
pub use shrink::shrink;
pub use time::Moment;
pub use world::{Report, World};
