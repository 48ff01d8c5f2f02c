//! What an agent and its warden say to each other: frames of a length (four bytes, big end first) and JSON.

use crate::settings::Settings;
pub use quorate_agent_core::{
    HookOutcome,
    guard::{GROUPS_MAX, Hook, Proof},
};
use quorate_domain::{Epoch, GroupId, HostId};
use serde::{Deserialize, Serialize};

/// The version that both must speak; an agent that finds a warden of another one ends it and starts its own.
pub const VERSION: u32 = 2;
/// The most bytes of one message to the warden.
pub const TO_WARDEN_MAX_BYTES: usize = 64 << 10;
/// The most bytes of one message from the warden: a welcome names every group that it holds.
pub const FROM_WARDEN_MAX_BYTES: usize = 16 << 20;
/// The longest reason that comes with a run, in bytes.
pub const REASON_MAX_BYTES: usize = 4 << 10;

/// What the agent says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum ToWarden {
    /// The first words of a start of an agent. Whatever was guarded before keeps its last deadline.
    Hello(Box<Hello>),
    /// The lease of the host ends then, in milliseconds on `CLOCK_BOOTTIME`; [`FromWarden::Told`] answers.
    Lease {
        /// The end of the lease.
        deadline_ms: u64,
    },
    /// Run a hook; [`FromWarden::Ended`] answers.
    Run(Run),
    /// Kill what this run started, if it has not ended yet.
    Kill {
        /// The agent's number of the run.
        run: u64,
    },
    /// The service of this group is known to have stopped by other means.
    Forget {
        /// The group.
        group: GroupId,
        /// The epoch that it was guarded under.
        epoch: Epoch,
    },
    /// The deadline of every group is now.
    EndAll,
    /// Are you there?
    Ping {
        /// Comes back with the answer.
        number: u64,
    },
    /// Everything up to this number of [`GroupEnded`] was heard.
    Heard {
        /// The number.
        number: u64,
    },
    /// The agent ends in order; the warden goes once nothing is left to guard.
    Goodbye,
}

/// Who the agent is, and what it was told by its operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Must be [`VERSION`].
    pub version: u32,
    /// The host.
    pub host: HostId,
    /// What to run, and for how long.
    pub settings: Settings,
}

/// One run of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The agent's number of it, used once.
    pub run: u64,
    /// The group.
    pub group: GroupId,
    /// The epoch that begins or ends.
    pub epoch: Epoch,
    /// Which hook.
    pub hook: Hook,
    /// Why, in words.
    pub reason: String,
    /// The disk of the group's member on this host, if it is known.
    pub disk: Option<Disk>,
}

/// A disk as a hook is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its name on this host.
    pub name: String,
    /// The directory that it is mounted on; empty when it is not known.
    pub path: String,
}

/// What the warden says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum FromWarden {
    /// Answers a hello.
    Welcome(Welcome),
    /// Answers a hello that cannot be taken; the connection is closed.
    Refused {
        /// What is wrong with it.
        field: String,
        /// What is wrong and what to do.
        problem: String,
    },
    /// The deadline is known here: it will be kept whatever becomes of the agent.
    Told {
        /// The deadline.
        deadline_ms: u64,
    },
    /// A run ended.
    Ended {
        /// The agent's number of it.
        run: u64,
        /// How.
        outcome: HookOutcome,
    },
    /// A line that a hook, or what it left running, wrote.
    Output(Output),
    /// The service of a group has stopped, or is not known to have.
    GroupEnded(GroupEnded),
    /// What the warden would log if it could.
    Log {
        /// True for what an operator should see.
        warning: bool,
        /// In words.
        text: String,
    },
    /// Answers a ping.
    Pong {
        /// That of the ping.
        number: u64,
    },
}

/// What a warden holds when an agent comes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`VERSION`].
    pub version: u32,
    /// Its process.
    pub pid: u32,
    /// How it finds what hooks started, in words.
    pub finds_by: String,
    /// What it guards.
    pub holds: Vec<Held>,
    /// What it ended since an agent last listened.
    pub ended: Vec<GroupEnded>,
}

/// A group that is guarded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The group.
    pub group: GroupId,
    /// Its epoch.
    pub epoch: Epoch,
    /// When it is ended, in milliseconds on `CLOCK_BOOTTIME`.
    pub deadline_ms: u64,
}

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The group.
    pub group: GroupId,
    /// The epoch.
    pub epoch: Epoch,
    /// The hook that wrote it, or started what did.
    pub hook: Hook,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// The line.
    pub line: String,
    /// How many lines were left out before this one.
    pub dropped: u64,
}

/// The end of a group on this host, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupEnded {
    /// Counts the ends; see [`ToWarden::Heard`].
    pub number: u64,
    /// The group.
    pub group: GroupId,
    /// The epoch that ended.
    pub epoch: Epoch,
    /// How it is known that the service has stopped.
    pub proof: Proof,
}
