//! What read requests name, page by page.

use crate::{
    field::{InvalidField, known, name},
    pb::types,
};
use quorate_domain::{DiskId, GroupId, HostId, OperationId};

/// How many entries a page has when none is asked for.
pub const PAGE_SIZE_DEFAULT: usize = 100;
/// The most entries of a page; more is cut to it, since the next page token brings the rest.
pub const PAGE_SIZE_MAX: usize = 1_000;
/// How long a wait lasts when none is asked for.
pub const WAIT_DEFAULT_MS: u64 = 30_000;
/// The longest wait in one request.
pub const WAIT_MAX_MS: u64 = 60_000;

/// How old a view a read may get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// Nothing committed before the request is missing.
    Linearizable,
    /// Whatever the asked coordinator has applied.
    Stale,
}

/// Reads a consistency; unlike every other enum it may be left out, and then means the safe one.
///
/// # Errors
/// A number that is not known.
pub fn consistency(number: i32) -> Result<Consistency, InvalidField> {
    let allowed = ["CONSISTENCY_LINEARIZABLE", "CONSISTENCY_STALE"];
    Ok(match known("consistency", number, &allowed)? {
        types::Consistency::Unspecified | types::Consistency::Linearizable => Consistency::Linearizable,
        types::Consistency::Stale => Consistency::Stale,
    })
}

/// Reads the field `group`.
///
/// # Errors
/// A name that is missing or not valid.
pub fn group_id(group: &str) -> Result<GroupId, InvalidField> {
    name("group", group)
}

/// Reads the field `host`.
///
/// # Errors
/// A name that is missing or not valid.
pub fn host_id(host: &str) -> Result<HostId, InvalidField> {
    name("host", host)
}

/// Reads the fields `host` and `name`.
///
/// # Errors
/// A name that is missing or not valid.
pub fn disk_id(host: &str, disk: &str) -> Result<DiskId, InvalidField> {
    Ok(DiskId { host: host_id(host)?, name: name("name", disk)? })
}

/// Reads the field `operation`.
///
/// # Errors
/// An id that is missing or not valid.
pub fn operation_id(operation: &str) -> Result<OperationId, InvalidField> {
    name("operation", operation)
}

/// How many entries to put on a page.
pub fn page_size(asked: u32) -> usize {
    match usize::try_from(asked) {
        Ok(0) => PAGE_SIZE_DEFAULT,
        Ok(asked) => asked.min(PAGE_SIZE_MAX),
        Err(_) => PAGE_SIZE_MAX,
    }
}

/// How long to wait, in milliseconds.
pub fn wait_ms(asked: u64) -> u64 {
    if asked == 0 { WAIT_DEFAULT_MS } else { asked.min(WAIT_MAX_MS) }
}
