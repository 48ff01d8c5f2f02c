//! The harness of the tests that run real processes: coordinators and agents as children of the test, on loopback
//! addresses of their own, with cuttable links between them, and a probe that watches who acts as primary. [`compose`]
//! does the same to containers.
//!
//! Nothing here waits by sleeping: [`wait::wait_until`] waits for a condition, with a deadline.

pub mod bench;
pub mod binary;
pub mod cluster;
pub mod compose;
pub mod copied;
pub mod example;
pub mod faulty_disk;
pub mod folder;
pub mod health;
pub mod history;
pub mod hung_clock;
pub mod leftovers;
pub mod link;
mod log_pipe;
pub mod loopback;
pub mod machine;
pub mod origin;
pub mod probe;
pub mod process;
pub mod recovery;
pub mod segment;
pub mod services;
pub mod statuses;
pub mod storm;
pub mod timing;
pub mod wait;
pub mod wrong_clock;

pub use cluster::{Cluster, Plan};
pub use probe::Probe;
pub use timing::Timing;
pub use wait::wait_until;
