//! What the agent is asked to do.

use crate::{durable::DurableEpochs, time::BootMs};
use quorate_domain::{Epoch, GroupId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Which of the operator's hooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookKind {
    /// Starts the service of a group here.
    Promote,
    /// Stops it.
    Demote,
}

impl fmt::Display for HookKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Promote => "promote",
            Self::Demote => "demote",
        })
    }
}

/// How a hook ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookOutcome {
    /// It ran and ended well: the platform has done what it was told. After a demotion, its service is known to have stopped.
    Succeeded,
    /// There is no demote hook, and nothing is left of what this host's hooks had started: it was ended by force, or nothing
    /// was on record. It says nothing of what hooks did not start, such as the service of a guard.
    ByForce,
    /// There are no hooks at all, or none of this kind. A promotion needs none; after a demotion the platform is certain to have stopped only when
    /// every deadline that it was told has passed.
    NotConfigured,
    /// It could not be run, ended badly, or was killed; the reason in words. After a demotion, the service is not known to
    /// have stopped: the demotion is tried again.
    Failed(String),
}

/// One thing for the agent to do, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make this durable, in place of what was stored before, then call `epochs_stored` with the same number. One is
    /// under way at a time.
    StoreEpochs {
        /// Names the request.
        request: u64,
        /// Everything to store.
        epochs: DurableEpochs,
    },
    /// Tell the warden when the host's lease ends, and call `warden_told` with the same number once it knows. Only in a
    /// start that is guarded. One is under way at a time.
    TellWarden {
        /// Names the request.
        request: u64,
        /// The end of the lease.
        deadline: BootMs,
    },
    /// Run a hook, then call `hook_finished`. At most one runs for a group at a time.
    RunHook {
        /// The group.
        group: GroupId,
        /// The epoch that begins or ends.
        epoch: Epoch,
        /// Which one.
        kind: HookKind,
        /// Why, in words.
        reason: String,
    },
    /// Kill the running promote hook of an epoch that has ended, then call `hook_finished` as for any end.
    KillHook {
        /// The group.
        group: GroupId,
        /// The epoch.
        epoch: Epoch,
    },
    /// What the host is has changed: send a fresh full report.
    Report,
    /// The assignment cannot be followed from what is installed: end the session and ask anew.
    Resync,
    /// Every role has ended and may be reported so: the agent may exit.
    Stopped,
}
