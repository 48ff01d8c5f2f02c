//! The host's disks: who they are, how full, and whether they still do what they promise.
//!
//! Each disk is looked after apart from the others, its I/O on a thread of its own with a time limit, so that a disk
//! that hangs holds up nothing but itself. SMART, kernel error counters and scrubs join `check.rs` as further findings.

mod check;
mod io;
mod watch;

pub use check::{PrepareError, prepare};
pub use io::{DiskIo, Space, SystemIo, WriteFault};

pub(crate) use check::DiskState;
pub(crate) use watch::{Watch, watch};
