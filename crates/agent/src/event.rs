//! What the parts beside the core tell it.

use crate::{disks::DiskState, guards::GuardEvent, state_folder::StateError};
use quorate_domain::Incarnation;
use quorate_rpc::{Failure, pb::agent::AgentMessage, session::ParsedCoordinatorMessage};
use quorate_warden::protocol::{FromWarden, Welcome};
use tokio::sync::mpsc::Sender;

/// The most events that wait for the core; whoever has more to say waits.
pub(crate) const EVENTS_MAX: usize = 1_024;

/// What a part tells the core.
#[derive(Debug)]
pub(crate) enum Event {
    /// The epochs of this request are on disk.
    Stored(u64),
    /// The agent has a later incarnation, on disk.
    Renumbered(Incarnation),
    /// The state folder was looked at: what is wrong with it, if anything is.
    FolderSeen(Option<String>),
    /// What the agent must keep could not be kept.
    StateLost(StateError),
    /// Something of the warden.
    Warden(WardenEvent),
    /// Something of a guard.
    Guard(GuardEvent),
    /// A disk was looked at.
    Disk(DiskState),
    /// Something of the session of this number.
    Session(u64, SessionEvent),
}

/// What the way to the warden tells.
#[derive(Debug)]
pub(crate) enum WardenEvent {
    /// There is one, and this is what it holds and has ended.
    Up(Welcome),
    /// It said something.
    Said(FromWarden),
    /// It is gone, and what it was told is not to be counted on; why in words.
    Lost(String),
}

/// What a session tells.
#[derive(Debug)]
pub(crate) enum SessionEvent {
    /// A coordinator took the stream.
    Opened(Sender<AgentMessage>),
    /// It said something.
    Message(ParsedCoordinatorMessage),
    /// It is over; with a reason unless the coordinator ended it orderly.
    Ended(Option<Failure>),
}
