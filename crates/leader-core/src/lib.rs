//! What a leading coordinator knows of its hosts and may say to them. A coordinator feeds this crate what arrives
//! (registrations, heartbeats, reports, its own leadership, the clock) and performs what comes back: plans to propose,
//! renewals to acknowledge, changes of assignments to send.
//!
//! The rules are those of DESIGN section 5: nothing is carried from one leadership to the next, nobody is expired by a
//! leader that is new or stood still, and a renewal is acknowledged only by a round of the quorum that began after it
//! had arrived.
//!
//! Architecture invariant: there is no clock, no randomness, no IO, no async and no hash map in this crate.

mod assignments;
mod leader;
mod look;
mod outage;
mod pace;
mod reach;
mod renewals;
mod session;

pub use assignments::Assignments;
pub use leader::Leader;
pub use look::{Leading, Look, Next, STALL_MS};
pub use pace::TooOften;
pub use reach::QuorumSeen;
pub use renewals::{Acknowledgement, RENEWALS_MAX, Round};
pub use session::{Hello, Report, Session, SessionId};
