//! What operators are told of although nothing else follows from it: who leads, outages of the quorum, and agents that were
//! refused.

use crate::ids::{CoordinatorId, HostId, Term, Timestamp};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The most refused agents that are remembered; while all of them are fresh, others are not told of. Whoever speaks the
/// agents' protocol can be refused under any name as often as it likes.
pub const REFUSED_MAX: usize = 16;
/// The same refusal of the same host is told of again after this long.
pub const REFUSED_AGAIN_MS: u64 = 600_000;
/// The longest address of a refused agent, in bytes.
pub const REFUSED_ADDRESS_MAX_BYTES: usize = 256;

/// The leader on record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Led {
    /// Who.
    pub coordinator: CoordinatorId,
    /// In which term.
    pub term: Term,
    /// Since when, as far as that is on record.
    pub since: Timestamp,
    /// How many outages of the quorum this leadership has put on record.
    #[serde(default)]
    pub outages: u64,
}

/// A time without a quorum, as one coordinator saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outage {
    /// Its number in the leadership that tells of it; the first is 1.
    pub number: u64,
    /// How long it lasted, at least.
    pub lasted_ms: u64,
}

/// Why an agent was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RefusalReason {
    /// It names another cluster.
    OtherCluster,
    /// It belongs to another forming of a cluster of this name.
    OtherFormation,
    /// A later start of the host's agent is on record.
    Superseded,
    /// An agent on another state folder has this host.
    HostIdInUse,
    /// The number of its start leaves no room above it.
    StartNumberTooHigh,
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::OtherCluster => "it belongs to another cluster",
            Self::OtherFormation => "it belongs to another formation of this cluster",
            Self::Superseded => "a later start of this host's agent is on record",
            Self::HostIdInUse => "an agent on another state folder has this host.id",
            Self::StartNumberTooHigh => "the number of its start is too high: its clock, or a forged hello",
        })
    }
}

/// An agent that was refused lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedAgent {
    /// The host that it named.
    pub host: HostId,
    /// Why.
    pub reason: RefusalReason,
    /// When it was told of.
    pub at: Timestamp,
}

impl RefusedAgent {
    /// True while it counts against the bounds.
    pub(crate) fn is_fresh(&self, now: Timestamp) -> bool {
        now.since_ms(self.at) < REFUSED_AGAIN_MS
    }
}

/// True when a refusal would be told of: it was not lately, and there is room.
pub fn is_told(known: &[RefusedAgent], host: &HostId, reason: RefusalReason, now: Timestamp) -> bool {
    let mut fresh = known.iter().filter(|refused| refused.is_fresh(now));
    let room = fresh.clone().count() < REFUSED_MAX;
    room && !fresh.any(|refused| refused.host == *host && refused.reason == reason)
}
