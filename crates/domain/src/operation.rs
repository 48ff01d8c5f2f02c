//! Long-running work that any leader can take up where the last one stopped.

use crate::{
    cause::{Cause, Evidence},
    ids::{Epoch, GroupId, HostId, OperationId, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The most finished operations that are kept.
pub const FINISHED_MAX: usize = 1_000;

/// The five steps of a failover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum StepName {
    /// Revoke the old primary, then have its release or wait D.
    StopOldPrimary,
    /// Choose the candidate among those that may be promoted.
    EnsureConsistency,
    /// Name it primary under the next epoch.
    SwitchPrimary,
    /// The new assignment is installed on its host.
    UpdateConfiguration,
    /// Its promote hook ended well and it acts.
    StartNewPrimary,
}

impl StepName {
    /// All steps, in order.
    pub const ALL: [Self; 5] = [
        Self::StopOldPrimary,
        Self::EnsureConsistency,
        Self::SwitchPrimary,
        Self::UpdateConfiguration,
        Self::StartNewPrimary,
    ];
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::StopOldPrimary => "stop-old-primary",
            Self::EnsureConsistency => "ensure-consistency",
            Self::SwitchPrimary => "switch-primary",
            Self::UpdateConfiguration => "update-configuration",
            Self::StartNewPrimary => "start-new-primary",
        })
    }
}

/// How far a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepStatus {
    /// Not begun.
    Pending,
    /// Under way.
    Running,
    /// Ended well.
    Done,
    /// Ended badly.
    Failed,
}

impl fmt::Display for StepStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        })
    }
}

/// One step of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Which.
    pub name: StepName,
    /// How far.
    pub status: StepStatus,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What there is to say of it.
    pub note: String,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OperationStatus {
    /// Under way.
    Running,
    /// Ended as wanted.
    Succeeded,
    /// Ended otherwise; the outcome says how.
    Failed,
}

impl fmt::Display for OperationStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        })
    }
}

/// A failover in the making or made. Other kinds of work get their own kind when they come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its number.
    pub id: OperationId,
    /// The group that moves.
    pub group: GroupId,
    /// Why it was begun.
    pub reason: FailoverReason,
    /// The primary that is taken away.
    pub from: HostId,
    /// The epoch that ends.
    pub from_epoch: Epoch,
    /// The host asked for by an operator.
    pub target: Option<HostId>,
    /// The host that follows, once switched.
    pub to: Option<HostId>,
    /// How far it is.
    pub status: OperationStatus,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// How often a host was promoted in it and could not start.
    pub attempts: BTreeMap<HostId, u32>,
    /// Who wanted it.
    pub cause: Cause,
    /// What that rested on.
    pub evidence: Vec<Evidence>,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How it ended, in words.
    pub outcome: String,
}

impl Operation {
    /// The step of that name, to change it.
    pub fn step_mut(&mut self, name: StepName) -> Option<&mut Step> {
        self.steps.iter_mut().find(|step| step.name == name)
    }

    /// The step that is under way.
    pub fn current_step(&self) -> Option<&Step> {
        self.steps.iter().find(|step| step.status == StepStatus::Running)
    }

    /// Promotions in it that did not end in an acting primary.
    pub fn failed_attempts(&self) -> u32 {
        self.attempts.values().sum()
    }
}

/// Why a failover was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailoverReason {
    /// An operator asked.
    Requested,
    /// The primary's host is not heard of.
    HostLost,
    /// The primary's agent started anew and may not act under its old epoch.
    HostRestarted,
    /// The primary gave up its epoch: its lease lapsed, or it stops.
    Released,
    /// The primary's disk failed.
    DiskFailed,
    /// The primary could not start.
    StartFailed,
}

impl FailoverReason {
    /// True when the old primary itself is the best candidate, if it may be promoted: nothing speaks against its host.
    pub fn prefers_old_primary(self) -> bool {
        matches!(self, Self::HostRestarted | Self::Released)
    }
}

impl fmt::Display for FailoverReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Requested => "requested",
            Self::HostLost => "host-lost",
            Self::HostRestarted => "host-restarted",
            Self::Released => "released",
            Self::DiskFailed => "disk-failed",
            Self::StartFailed => "start-failed",
        })
    }
}
