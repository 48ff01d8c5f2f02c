//! What this crate promises to the rest: conversions, errors on the wire, and the client against real connections.

// Helpers of tests may unwrap like tests do.
#![allow(clippy::unwrap_used)]

mod calls;
mod conversions;
mod fake;
mod members;
mod mutations;
mod sessions;
mod statuses;
mod surveys;
mod towards_wire;
mod watches;
