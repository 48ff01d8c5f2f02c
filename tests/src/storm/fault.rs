//! What can go wrong.

use std::fmt;

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// kill -9 of the leading coordinator.
    KillLeader,
    /// kill -9 of another one.
    KillFollower,
    /// kill -9 of all coordinators together.
    KillCoordinators,
    /// kill -9 of the agent that is primary of a group.
    KillAgent,
    /// SIGTERM to such an agent, and a start when it has ended.
    RestartAgent,
    /// SIGSTOP of the leader for longer than an election, then SIGCONT.
    FreezeLeader,
    /// The same for another coordinator.
    FreezeFollower,
    /// SIGSTOP of the agent that is primary of a group for longer than its lease.
    FreezeAgent,
    /// Everything between the leader and its peers is lost.
    CutLeader,
    /// Everything between a minority and the others is lost.
    CutMinority,
    /// What the leader sends to its peers is lost.
    DeafPeers,
    /// What the leader is sent by its peers is lost.
    DeafLeader,
    /// Two sides that do not reach each other, and one coordinator that both reach.
    Bridge,
    /// An agent that is primary of a group reaches no coordinator.
    CutAgent,
    /// Such an agent reaches only a leader that is cut from its peers.
    OldLeaderOnly,
    /// Everything between coordinators takes a while.
    SlowLinks,
    /// Connections between the leader and its peers are reset, and new ones too.
    DroppedConnections,
    /// Connections between the leader and its peers are gone at one end only, for good.
    HalfOpenConnections,
    /// The links of the leader fail and come back, again and again.
    FlappingLinks,
    /// Every coordinator is stopped in order and started again, one after the other.
    RollingRestart,
    /// The disk of a coordinator is full.
    FullDisk,
    /// The disk of a coordinator answers a sync with an error.
    StorageError,
    /// kill -9 of the warden of a primary's agent.
    KillWarden,
    /// Promote hooks exit with 1: that of the next primary, or those of all members.
    PromoteFails,
    /// The same, and they take longer than they may.
    PromoteHangs,
    /// The demote hook of a primary exits with 1.
    DemoteFails,
    /// It takes longer than it may.
    DemoteHangs,
    /// Nobody reads what the agent of a primary logs.
    UnreadAgentLog,
    /// Nobody reads what the leader logs.
    UnreadLeaderLog,
    /// The data folder of a coordinator is copied and runs under the same id at another address.
    Clone,
    /// The agent of a primary can open nothing more.
    AgentWithoutDescriptors,
    /// A coordinator can open nothing more.
    CoordinatorWithoutDescriptors,
    /// The log of the leader hangs in a sync.
    HungDisk,
}

/// Every kind.
pub const KINDS: [Kind; 33] = [
    Kind::KillLeader,
    Kind::KillFollower,
    Kind::KillCoordinators,
    Kind::KillAgent,
    Kind::RestartAgent,
    Kind::FreezeLeader,
    Kind::FreezeFollower,
    Kind::FreezeAgent,
    Kind::CutLeader,
    Kind::CutMinority,
    Kind::DeafPeers,
    Kind::DeafLeader,
    Kind::Bridge,
    Kind::CutAgent,
    Kind::OldLeaderOnly,
    Kind::SlowLinks,
    Kind::DroppedConnections,
    Kind::HalfOpenConnections,
    Kind::FlappingLinks,
    Kind::RollingRestart,
    Kind::FullDisk,
    Kind::StorageError,
    Kind::KillWarden,
    Kind::PromoteFails,
    Kind::PromoteHangs,
    Kind::DemoteFails,
    Kind::DemoteHangs,
    Kind::UnreadAgentLog,
    Kind::UnreadLeaderLog,
    Kind::Clone,
    Kind::AgentWithoutDescriptors,
    Kind::CoordinatorWithoutDescriptors,
    Kind::HungDisk,
];

impl Kind {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillLeader => "kill -9 of the leader",
            Self::KillFollower => "kill -9 of a follower",
            Self::KillCoordinators => "kill -9 of all coordinators",
            Self::KillAgent => "kill -9 of a primary's agent",
            Self::RestartAgent => "restart in order of a primary's agent",
            Self::FreezeLeader => "SIGSTOP of the leader",
            Self::FreezeFollower => "SIGSTOP of a follower",
            Self::FreezeAgent => "SIGSTOP of a primary's agent past T",
            Self::CutLeader => "leader cut from its peers",
            Self::CutMinority => "minority cut off",
            Self::DeafPeers => "one way: the leader is not heard",
            Self::DeafLeader => "one way: the leader hears nothing",
            Self::Bridge => "bridge: one coordinator sees both sides",
            Self::CutAgent => "primary's agent cut from all coordinators",
            Self::OldLeaderOnly => "primary's agent reaches only the old leader",
            Self::SlowLinks => "slow links",
            Self::DroppedConnections => "connections of the leader reset",
            Self::HalfOpenConnections => "half-open connections of the leader",
            Self::FlappingLinks => "flapping links of the leader",
            Self::RollingRestart => "rolling restart of the coordinators",
            Self::FullDisk => "full disk of a coordinator",
            Self::StorageError => "storage error of a coordinator",
            Self::KillWarden => "kill -9 of a primary's warden",
            Self::PromoteFails => "promote hook fails",
            Self::PromoteHangs => "promote hook hangs",
            Self::DemoteFails => "demote hook fails",
            Self::DemoteHangs => "demote hook hangs",
            Self::UnreadAgentLog => "unread log of a primary's agent",
            Self::UnreadLeaderLog => "unread log of the leader",
            Self::Clone => "clone of a coordinator",
            Self::AgentWithoutDescriptors => "EMFILE of a primary's agent",
            Self::CoordinatorWithoutDescriptors => "EMFILE of a coordinator",
            Self::HungDisk => "hung disk of the leader",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
