//! What the host says of its groups.

use quorate_domain::{Epoch, GroupId, GroupState};

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
