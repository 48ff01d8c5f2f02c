//! What the host says of its groups.

use quorate_domain::{Epoch, GroupId};

/// How far a host is with an epoch that it was, or is, to act under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupState {
    /// The assignment is installed, the epoch is on disk.
    Installed,
    /// It acts as primary.
    Acting,
    /// It has stopped and never acts under this epoch again.
    Ended,
    /// It could not start, and never acts under this epoch.
    StartFailed,
}

/// What the host says of one epoch of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReport {
    /// The group.
    pub group: GroupId,
    /// The epoch.
    pub epoch: Epoch,
    /// How far it is.
    pub state: GroupState,
    /// Why, in words; empty when all is well.
    pub reason: String,
}
