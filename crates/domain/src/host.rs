//! A storage host, as the coordinators know it.

use crate::ids::{HostId, Incarnation, InstanceId, Revision, StartId, Timestamp, Zone};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most hosts.
pub const HOSTS_MAX: usize = 10_000;
/// How far the number of a start may be above the cluster's time in Unix milliseconds. An agent numbers its starts by its own
/// wall clock, or by the last number and one where that is higher: this is 139 years, more than any clock that can be
/// set is ahead (one that counts seconds in 32 bits ends in 2106).
pub const STARTS_AHEAD_OF_TIME_MAX: u64 = 1 << 42;
/// How far the number of a start may be above the last one on record, whatever the time: starts that no coordinator
/// heard of are counted too. So small that nobody comes to the end of the numbers by it.
pub const STARTS_AHEAD_OF_RECORD_MAX: u64 = 1 << 20;

/// Whether a host is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum HostStatus {
    /// Its heartbeats arrive.
    Online,
    /// Some heartbeats did not come.
    Suspect,
    /// Its lease must have ended on both clocks.
    Offline,
}

impl fmt::Display for HostStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Online => "online",
            Self::Suspect => "suspect",
            Self::Offline => "offline",
        })
    }
}

/// How long a host's agent allows its hooks, in milliseconds on its own clock; zero where it has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HookTimes {
    /// The longest that a promotion may take.
    pub promotion_ms: u64,
    /// The longest from the end of the lease until the service has stopped: the demote hook, and whatever ends the service
    /// by force when that is no help.
    pub demotion_ms: u64,
}

impl HookTimes {
    /// True for a host without hooks.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// What a host may do, by its own decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServiceMode {
    /// Everything that its assignment says.
    Normal,
    /// No writes: its lease lapsed, or it never had one.
    ReadOnly,
    /// Nothing, reads neither: its lease lapsed, and the coordinators that it reaches say that they have no quorum.
    Safe,
}

impl fmt::Display for ServiceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Normal => "normal",
            Self::ReadOnly => "read-only",
            Self::Safe => "safe",
        })
    }
}

/// The last time a host's status changed, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When, by the leader's clock.
    pub at: Timestamp,
    /// From what; none when the host was first registered.
    pub from: Option<HostStatus>,
    /// The reason in words.
    pub reason: String,
}

/// The highest number that a start may have, at this time and after the start on record: a number that no later start
/// can exceed would keep the host's name from its agent for good.
pub fn highest_start(now: Timestamp, recorded: Option<Incarnation>) -> Incarnation {
    let by_time = now.0.saturating_add(STARTS_AHEAD_OF_TIME_MAX);
    let by_record = recorded.map_or(0, |recorded| recorded.0.saturating_add(STARTS_AHEAD_OF_RECORD_MAX));
    Incarnation(by_time.max(by_record))
}

/// An operator's word that a host becomes primary of nothing more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cordon {
    /// Since when.
    pub since: Timestamp,
    /// Why, in the operator's words.
    pub reason: String,
}

/// A storage host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub id: HostId,
    /// Where its agent answers platform processes and operators.
    pub address: String,
    /// Its failure domain.
    pub zone: Zone,
    /// Which state folder its agent uses.
    pub instance: InstanceId,
    /// Which start of the agent, as it counts them: rises with every start, and no two starts share one.
    pub incarnation: Incarnation,
    /// Tells that start from another one that counts alike.
    #[serde(default, skip_serializing_if = "StartId::is_unknown")]
    pub start: StartId,
    /// How long that start allows its hooks.
    #[serde(default, skip_serializing_if = "HookTimes::is_none")]
    pub hook_times: HookTimes,
    /// Whether it is heard of.
    pub status: HostStatus,
    /// How often it went offline.
    pub error_count: u64,
    /// The last change of status.
    pub last_transition: Transition,
    /// The revision that last changed what this host should do.
    pub assignment_revision: Revision,
    /// When it first registered.
    pub registered_at: Timestamp,
    /// Set while it becomes primary of nothing more; what it is primary of it keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cordoned: Option<Cordon>,
    /// An operator freed its name for an agent on another state folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unbound: bool,
}
