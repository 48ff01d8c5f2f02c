//! Benches on clusters of real processes. Each prints a table for people and, when asked, one JSON object as its last
//! line.

pub mod decisions;
pub mod etcd;
pub mod failover_time;
mod load;

pub use load::{Measured, Target};
