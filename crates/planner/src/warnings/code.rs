//! The names of warnings: clients and alerts go by them, so they stay.

use quorate_domain::{CoordinatorId, DiskId, GroupId, HostId};
use std::fmt;

/// How bad it is, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Somebody should look at it.
    Warning,
    /// A group is not served, or nothing can be decided.
    Critical,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Critical => "critical",
        })
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $code:ident = $name:literal,)+) => {
        /// What a warning is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code { $($(#[$doc])* $code,)+ }

        impl Code {
            /// All of them, in the order in which equally bad ones are listed.
            pub const ALL: &'static [Self] = &[$(Self::$code,)+];

            /// Its name, which does not change.
            pub fn name(self) -> &'static str {
                match self { $(Self::$code => $name,)+ }
            }
        }
    };
}

codes! {
    /// This coordinator leads, and no quorum acknowledges it.
    LeaderWithoutQuorum = "LEADER_WITHOUT_QUORUM",
    /// This coordinator hears no leader.
    NoLeader = "NO_LEADER",
    /// The elections of this coordinator are too long for the lease on record.
    ElectionTooLong = "ELECTION_TOO_LONG",
    /// Nobody is known to act as primary of a group.
    GroupNotServed = "GROUP_NOT_SERVED",
    /// A group cannot fail over, and its primary should be replaced.
    FailoverBlocked = "FAILOVER_BLOCKED",
    /// A group has backups, and none of them could follow now.
    NoEligibleBackup = "NO_ELIGIBLE_BACKUP",
    /// A backup is not known to hold a copy, and waits for an operator's word.
    MemberNotAccepted = "MEMBER_NOT_ACCEPTED",
    /// A group is being deleted for longer than that takes.
    GroupNotDeleted = "GROUP_NOT_DELETED",
    /// A service is not known to have stopped on a host that was primary.
    DemotionNotDone = "DEMOTION_NOT_DONE",
    /// The demote hook of a host that was primary runs, and is waited for.
    WaitingForDemotion = "WAITING_FOR_DEMOTION",
    /// Another coordinator does not answer.
    CoordinatorNotReached = "COORDINATOR_NOT_REACHED",
    /// Another coordinator answers, and one of the two does not take the other for who it is.
    CoordinatorRefuses = "COORDINATOR_REFUSES",
    /// A second process runs, or ran, under the id of a coordinator.
    CoordinatorRunsTwice = "COORDINATOR_RUNS_TWICE",
    /// A coordinator goes on in another place, and does not count yet.
    CoordinatorElsewhere = "COORDINATOR_ELSEWHERE",
    /// Another coordinator does not reach this one.
    NotReachedByCoordinator = "NOT_REACHED_BY_COORDINATOR",
    /// Another coordinator lacks entries of the log.
    CoordinatorBehind = "COORDINATOR_BEHIND",
    /// A part of this coordinator stands still.
    PartStandsStill = "PART_STANDS_STILL",
    /// Lines of this coordinator's log are lost.
    LogLinesLost = "LOG_LINES_LOST",
    /// A change of the coordinators waits for something.
    MemberChangeWaits = "MEMBER_CHANGE_WAITS",
    /// Two processes take one host from each other.
    HostIdentityFlapping = "HOST_IDENTITY_FLAPPING",
    /// The agent of a host, or a stranger under its name, comes too often.
    HostHeldBack = "HOST_HELD_BACK",
    /// More hosts are new than are taken in at once.
    NewHostsHeldBack = "NEW_HOSTS_HELD_BACK",
    /// A host's status or its agent changes again and again.
    HostFlapping = "HOST_FLAPPING",
    /// The folder that a host's agent keeps its state in is not there as the agent left it.
    HostStateFolder = "HOST_STATE_FOLDER",
    /// A host's lease must be over.
    HostOffline = "HOST_OFFLINE",
    /// A host's renewals stay away.
    HostSuspect = "HOST_SUSPECT",
    /// A host in session says that it serves nothing at all.
    HostSafe = "HOST_SAFE",
    /// A host in session says that it serves no writes.
    HostReadOnly = "HOST_READ_ONLY",
    /// A disk must not be used.
    DiskFailed = "DISK_FAILED",
    /// A disk should be replaced.
    DiskDegraded = "DISK_DEGRADED",
    /// The checks of a disk give no answer.
    DiskUnknown = "DISK_UNKNOWN",
    /// Disks of several hosts say that they are the same medium.
    DiskIdentityShared = "DISK_IDENTITY_SHARED",
    /// The clocks of two coordinators differ.
    ClockOff = "CLOCK_OFF",
    /// This coordinator is configured otherwise than the cluster was formed.
    LeaseConfiguredOtherwise = "LEASE_CONFIGURED_OTHERWISE",
    /// There is room for few more of something.
    LimitNear = "LIMIT_NEAR",
    /// The number of voters is even.
    EvenVoters = "EVEN_VOTERS",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a warning is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The cluster as a whole.
    Cluster,
    /// A coordinator.
    Coordinator(CoordinatorId),
    /// A group.
    Group(GroupId),
    /// A host.
    Host(HostId),
    /// A disk.
    Disk(DiskId),
}

impl Subject {
    /// What kind of thing it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Coordinator(_) => "coordinator",
            Self::Group(_) => "group",
            Self::Host(_) => "host",
            Self::Disk(_) => "disk",
        }
    }

    /// Which of them; empty for the cluster.
    pub fn id(&self) -> String {
        match self {
            Self::Cluster => String::new(),
            Self::Coordinator(id) => id.to_string(),
            Self::Group(id) => id.to_string(),
            Self::Host(id) => id.to_string(),
            Self::Disk(id) => id.to_string(),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(format!("{} {}", self.kind(), self.id()).trim_end())
    }
}
