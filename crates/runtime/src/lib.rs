//! The doors to the outside world: time, threads, stopping, logs, waiting between tries, and addresses.
//!
//! Architecture invariant: this crate knows nothing of Quorate's own nouns and uses no other workspace crate.

pub mod address;
pub mod clock;
pub mod lack;
pub mod lane;
pub mod retry;
pub mod shutdown;
pub mod standstill;
pub mod telemetry;
