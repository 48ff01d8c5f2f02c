//! The only conversions between protobuf and domain values.
//!
//! Towards the wire they cannot fail. From the wire every field is checked, since it comes from outside: a value that
//! is missing, unknown or over its limit is an [`InvalidField`](crate::InvalidField) that names the field and the remedy.

mod assignment;
mod choice;
mod disk;
mod group;
mod hello;
mod host;
mod lease;
mod member;
mod mutation;
mod operation;
mod read;
mod report;
mod revision;
mod upkeep;
mod welcome;

pub use member::{CancelRequest, ChangeRequest};
pub use mutation::Mutation;
pub use read::{
    Consistency, PAGE_SIZE_DEFAULT, PAGE_SIZE_MAX, WAIT_DEFAULT_MS, WAIT_MAX_MS, consistency, disk_id,
    group_id, host_id, operation_id, page_size, wait_ms,
};
pub use revision::beginning;
