//! gRPC: the generated messages and services, the only conversions between them and domain values, errors on the
//! wire, and the client that follows the leader.
//!
//! Architecture invariant: a value that comes from outside leaves this crate either checked or refused by
//! [`InvalidField`]; nothing is decided here.

pub mod client;
pub mod codec;
pub mod convert;
mod field;
mod incoming;
pub mod pb;
pub mod reflection;
pub mod session;
pub mod status;
pub mod transport;

pub use client::{Client, ClientError, ClientOptions};
pub use field::{InvalidField, TEXT_MAX_BYTES, bounded_line};
pub use incoming::incoming;
pub use status::{ApiError, Failure, classify};
pub use transport::DEFAULT_MAX_MESSAGE_BYTES;
