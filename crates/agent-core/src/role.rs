//! What the host is at one instant.

use crate::time::BootMs;
use quorate_domain::{Epoch, GroupId};

/// What the host is to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LocalRole {
    /// It acts.
    Primary,
    /// It may be promoted, and does not act.
    Backup,
    /// It was named primary, and does not act; or the host is in safe mode and does nothing at all.
    Fenced,
}

/// Role, epoch and deadlines of a group: true at the instant that was asked about, never a bare yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleAnswer {
    /// The group.
    pub group: GroupId,
    /// What the host is to it.
    pub role: LocalRole,
    /// Under which epoch.
    pub epoch: Epoch,
    /// A primary takes no new write from here on; zero for every other role.
    pub write_deadline: BootMs,
    /// The end of the lease; zero for every role but primary.
    pub lease_deadline: BootMs,
    /// Why, in words.
    pub reason: String,
}
