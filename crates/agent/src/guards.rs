//! What an agent and its guards say to each other, beside what the core keeps of those that are attached.

use quorate_agent_core::{BootMs, RoleAnswer, Seat, attached};
use quorate_domain::{Epoch, GroupId, InstanceId};
use quorate_rpc::ApiError;
use quorate_warden::protocol::Disk;
use tokio::sync::{mpsc, oneshot};

/// The most roles that wait for a guard: it reads them as they come, or has stood still for as many renewals.
pub(crate) const ROLES_MAX: usize = 64;

/// All that are attached.
pub(crate) type Guards = attached::Guards<mpsc::Sender<Told>>;

/// What a guard is told, or why it is told nothing any more.
pub(crate) type Told = Result<GuardRole, ApiError>;

/// What the host is to a group, as its guard is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuardRole {
    pub(crate) role: RoleAnswer,
    /// Of the group's member on this host, where it is known.
    pub(crate) disk: Option<Disk>,
    /// The epoch that it is asked to be ready for.
    pub(crate) asks: Option<Epoch>,
    /// Of the agent's state folder.
    pub(crate) instance: InstanceId,
    /// It is on record that nothing is left of what earlier guards ran.
    pub(crate) nothing_awaited: bool,
}

/// What the service for local processes tells of a guard.
#[derive(Debug)]
pub(crate) enum GuardEvent {
    /// One wants to be the guard of a group; the answer is the number of its attachment.
    Attach {
        group: GroupId,
        /// For people.
        name: String,
        seat: Seat,
        roles: mpsc::Sender<Told>,
        answer: oneshot::Sender<Result<u64, ApiError>>,
    },
    /// It is there for an epoch that is to begin.
    Ready { group: GroupId, number: u64, epoch: Epoch },
    /// The service runs.
    Started { group: GroupId, number: u64, epoch: Epoch },
    /// Nothing is left of what other guards ran; an operator vouches for it, or it was looked for.
    NothingLeft { group: GroupId, number: u64, vouched: bool },
    /// What keeps it from beginning anything; empty for nothing any more.
    Hindered { group: GroupId, number: u64, reason: String },
    /// A keeper has outlived its guard and ended the service, if it knows the guard's secret.
    KeeperStopped {
        group: GroupId,
        epoch: Epoch,
        reason: String,
        secret: String,
        answer: oneshot::Sender<Result<(), ApiError>>,
    },
    /// It knows the deadline.
    Knows { group: GroupId, number: u64, epoch: Epoch, deadline: BootMs },
    /// Nothing is left of its service.
    Stopped { group: GroupId, number: u64, epoch: Epoch, reason: String, failed: bool },
    /// It is gone.
    Gone { group: GroupId, number: u64 },
}
