//! The agent of one storage host: the streams, hooks, disk checks and durable epochs around
//! [`quorate_agent_core`], which alone decides what the host may do.
//!
//! One task owns the core ([`Agent::run`]). Everything else (the session with the leader, hooks, disk checks, the state
//! folder, questions of local processes) runs beside it and sends it events, so that a hung disk or hook or a silent
//! coordinator never keeps the host from fencing itself.
//!
//! Architecture invariant: no answer about a role is kept anywhere; each is worked out at the clock reading of its own
//! moment.

mod config;
mod convert;
mod coordinators;
mod disks;
mod driver;
mod error;
mod event;
mod guards;
mod hooks;
mod keeper;
mod link;
mod local_api;
mod run;
mod session;
mod state_folder;
mod warden;

pub use config::{AgentOptions, DiskOptions, HookOptions, ProbeOptions, WardenOptions};
pub use disks::{DiskIo, PrepareError, Space, SystemIo, WriteFault, prepare};
pub use error::AgentError;
pub use quorate_warden::{CgroupUse, Service};
pub use run::{Agent, run};
pub use state_folder::{Identity, StateError, StateFolder};
