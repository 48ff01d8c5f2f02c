//! What goes wrong, where and when.

use crate::time::Moment;
use std::fmt;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)+) => {
        /// A kind of fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Kind { $($(#[$doc])* $kind,)+ }

        impl Kind {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];

            /// Its name in counts and timelines.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)+ }
            }
        }
    };
}

kinds! {
    /// The leader dies and starts again later.
    LeaderCrash = "leader-crash",
    /// A leader dies in the middle of a change of Raft's members.
    LeaderCrashHalfway = "leader-crash-halfway",
    /// A coordinator that does not lead dies.
    FollowerCrash = "follower-crash",
    /// All that do not lead die; one is back after half of the time, which makes a quorum again.
    FollowersCrash = "followers-crash",
    /// The data folder of a coordinator is copied, and the copy is started in another place beside the original.
    Clone = "clone",
    /// A coordinator dies, and a copy of its data folder is started in its place and at its address; then that dies, and the
    /// original is started again.
    Moved = "moved",
    /// All coordinators die together.
    AllCrash = "all-coordinators-crash",
    /// The leader stands still.
    LeaderPause = "leader-pause",
    /// Another coordinator stands still.
    FollowerPause = "follower-pause",
    /// The leader hears and reaches no other coordinator; agents and clients still reach it.
    LeaderCut = "leader-cut",
    /// The leader, some agents and some clients on one side, the majority on the other.
    MinoritySplit = "minority-split",
    /// A coordinator that does not lead, with some agents, on the smaller side.
    MajoritySplit = "majority-split",
    /// What the leader sends to the others is lost.
    LeaderMute = "leader-mute",
    /// What the others send to the leader is lost.
    LeaderDeaf = "leader-deaf",
    /// One link between two nodes of any kind is cut in one direction.
    OneWay = "one-way",
    /// Two halves of the coordinators that only one of them connects.
    Bridge = "bridge",
    /// An agent reaches no coordinator.
    AgentCut = "agent-cut",
    /// Some agents reach only the coordinator that leads now, and that one no other.
    OldLeaderOnly = "old-leader-only",
    /// Messages are lost everywhere.
    Loss = "loss",
    /// Messages are slow everywhere.
    Delay = "delay",
    /// Messages arrive twice and out of order.
    Duplicates = "duplicates",
    /// A link comes and goes.
    Flapping = "flapping",
    /// The disk of a coordinator is slow.
    SlowDisk = "slow-disk",
    /// An agent dies; the platform's processes on its host go on.
    AgentCrash = "agent-crash",
    /// A host loses power and boots again.
    HostCrash = "host-crash",
    /// An agent stands still; the platform's processes on its host go on.
    AgentPause = "agent-pause",
    /// An agent dies or stands still for longer than any wait: its warden is left alone with the services.
    AgentGone = "agent-gone",
    /// An agent is told to stop, and started again later.
    AgentStop = "agent-stop",
    /// The agent's state folder is copied, and the copy is started on another machine while the first one runs.
    FolderCopied = "folder-copied",
    /// A disk of a host fails.
    DiskFailed = "disk-failed",
    /// Hooks of a host fail.
    HookFails = "hook-fails",
    /// Hooks of a host do not end before their time is over.
    HookHangs = "hook-hangs",
    /// A guard is killed; its keeper is left alone with the service.
    GuardKilled = "guard-killed",
    /// A guard and its keeper are killed in one instant.
    GuardAndKeeperKilled = "guard-and-keeper-killed",
    /// The keeper of a service is killed.
    KeeperKilled = "keeper-killed",
    /// A guard stands still.
    GuardPause = "guard-pause",
    /// Services of a host's guards end by themselves soon after their start.
    ServiceEnds = "service-ends",
    /// Services of a host's guards cannot be executed.
    ExecFails = "exec-fails",
    /// An agent dies or stands still once it has written that a guard runs an epoch, before the guard is told.
    AgentCutShort = "agent-cut-short",
    /// The wall clock of a coordinator jumps.
    WallClockJump = "wall-clock-jump",
}

impl Kind {
    /// What happens to guards, or because of them.
    pub(crate) const OF_GUARDS: &'static [Self] = &[
        Self::GuardKilled,
        Self::GuardAndKeeperKilled,
        Self::KeeperKilled,
        Self::GuardPause,
        Self::ServiceEnds,
        Self::ExecFails,
        Self::AgentCutShort,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One fault of a plan. Who it meets is decided when it begins, from `target` and from who leads then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Its number in the plan of the seed.
    pub number: usize,
    /// What happens.
    pub kind: Kind,
    /// When it begins.
    pub at: Moment,
    /// How long it lasts.
    pub lasts_ms: u64,
    /// Chooses among those that it could meet.
    pub target: u64,
}
