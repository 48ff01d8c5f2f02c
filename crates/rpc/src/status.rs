//! Errors on the wire: domain answers become gRPC statuses with typed details, and clients read those details back.
//!
//! Both directions branch on codes. The text of a status is for people.

mod api_error;
mod failure;
mod reason;
mod rejection;

pub use api_error::ApiError;
pub use failure::{Failure, LeaderAddress, classify};
pub use reason::{DOMAIN, Reason};
