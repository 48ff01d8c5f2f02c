//! Long-running work that any leader can take up where the last one stopped.

use crate::{
    cause::{Cause, Evidence},
    coordinator::{ChangeProgress, CoordinatorChange},
    ids::{Epoch, GroupId, HostId, OperationId, Timestamp},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// The most finished operations that are kept.
pub const FINISHED_MAX: usize = 1_000;

/// The five steps of a failover, and those of a change of coordinators.
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
    /// A coordinator takes the log, as a learner.
    CatchUp,
    /// Other coordinators vote, and it is on record.
    SwitchVoters,
    /// A coordinator is no member any more.
    LetGo,
    /// The change was cancelled: everything becomes as it was before.
    TakeBack,
}

impl StepName {
    /// The steps of a failover, in order.
    pub const FAILOVER: [Self; 5] = [
        Self::StopOldPrimary,
        Self::EnsureConsistency,
        Self::SwitchPrimary,
        Self::UpdateConfiguration,
        Self::StartNewPrimary,
    ];

    /// The steps of a change of coordinators, in order, unless it is cancelled.
    pub fn of_change(progress: &ChangeProgress) -> Vec<Self> {
        let mut steps = Vec::new();
        if progress.change.catches_up().is_some() {
            steps.push(Self::CatchUp);
        }
        if progress.voters_before != progress.voters_after {
            steps.push(Self::SwitchVoters);
        }
        if progress.change.leaves().is_some() {
            steps.push(Self::LetGo);
        }
        steps
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::StopOldPrimary => "stop-old-primary",
            Self::EnsureConsistency => "ensure-consistency",
            Self::SwitchPrimary => "switch-primary",
            Self::UpdateConfiguration => "update-configuration",
            Self::StartNewPrimary => "start-new-primary",
            Self::CatchUp => "catch-up",
            Self::SwitchVoters => "switch-voters",
            Self::LetGo => "let-go",
            Self::TakeBack => "take-back",
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

/// Work in the making or done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "StoredOperation", into = "StoredOperation")]
pub struct Operation {
    /// Its number.
    pub id: OperationId,
    /// What is done.
    pub work: Work,
    /// How far it is.
    pub status: OperationStatus,
    /// Its steps, in order.
    pub steps: Vec<Step>,
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

/// What an operation does. Other kinds of work get their own kind when they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// A group gets another primary.
    Failover(Failover),
    /// The coordinators change.
    CoordinatorChange(ChangeProgress),
}

/// A failover in the making or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
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
    /// How often a host was promoted in it and could not start.
    pub attempts: BTreeMap<HostId, u32>,
}

impl Failover {
    /// Promotions in it that did not end in an acting primary.
    pub fn failed_attempts(&self) -> u32 {
        self.attempts.values().sum()
    }
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

    /// The failover that it is, if it is one.
    pub fn failover(&self) -> Option<&Failover> {
        match &self.work {
            Work::Failover(failover) => Some(failover),
            Work::CoordinatorChange(_) => None,
        }
    }

    /// The change of coordinators that it is, if it is one.
    pub fn coordinator_change(&self) -> Option<&ChangeProgress> {
        match &self.work {
            Work::Failover(_) => None,
            Work::CoordinatorChange(progress) => Some(progress),
        }
    }

    /// What kind of work it is, for people and clients.
    pub fn kind(&self) -> &'static str {
        match &self.work {
            Work::Failover(_) => "failover",
            Work::CoordinatorChange(ChangeProgress { change, .. }) => CoordinatorChange::kind(change),
        }
    }
}

/// How an operation is stored. Failovers were there first: their fields stand side by side with the others, in the order
/// and with the bytes of that time.
#[derive(Serialize, Deserialize)]
#[expect(clippy::option_option, reason = "not there at all, or there and nobody")]
struct StoredOperation {
    id: OperationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    coordinator_change: Option<ChangeProgress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<GroupId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<FailoverReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<HostId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_epoch: Option<Epoch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    target: Option<Option<HostId>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<Option<HostId>>,
    status: OperationStatus,
    steps: Vec<Step>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts: Option<BTreeMap<HostId, u32>>,
    cause: Cause,
    evidence: Vec<Evidence>,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
    outcome: String,
}

impl From<Operation> for StoredOperation {
    fn from(operation: Operation) -> Self {
        let Operation { id, work, status, steps, cause, evidence, created_at, finished_at, outcome } =
            operation;
        let (failover, coordinator_change) = match work {
            Work::Failover(failover) => (Some(failover), None),
            Work::CoordinatorChange(progress) => (None, Some(progress)),
        };
        let (group, reason, from, from_epoch, target, to, attempts) = match failover {
            Some(Failover { group, reason, from, from_epoch, target, to, attempts }) => (
                Some(group),
                Some(reason),
                Some(from),
                Some(from_epoch),
                Some(target),
                Some(to),
                Some(attempts),
            ),
            None => (None, None, None, None, None, None, None),
        };
        Self {
            id,
            coordinator_change,
            group,
            reason,
            from,
            from_epoch,
            target,
            to,
            status,
            steps,
            attempts,
            cause,
            evidence,
            created_at,
            finished_at,
            outcome,
        }
    }
}

impl TryFrom<StoredOperation> for Operation {
    type Error = String;
    fn try_from(stored: StoredOperation) -> Result<Self, String> {
        let id = stored.id;
        let missing = |field: &str| format!("{id} is no change of coordinators and has no {field}");
        let work = match stored.coordinator_change {
            Some(progress) => Work::CoordinatorChange(progress),
            None => Work::Failover(Failover {
                group: stored.group.ok_or_else(|| missing("group"))?,
                reason: stored.reason.ok_or_else(|| missing("reason"))?,
                from: stored.from.ok_or_else(|| missing("from"))?,
                from_epoch: stored.from_epoch.ok_or_else(|| missing("from_epoch"))?,
                target: stored.target.flatten(),
                to: stored.to.flatten(),
                attempts: stored.attempts.unwrap_or_default(),
            }),
        };
        Ok(Self {
            id,
            work,
            status: stored.status,
            steps: stored.steps,
            cause: stored.cause,
            evidence: stored.evidence,
            created_at: stored.created_at,
            finished_at: stored.finished_at,
            outcome: stored.outcome,
        })
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
    /// The primary took too long to start.
    StartTimedOut,
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
            Self::StartTimedOut => "start-timed-out",
        })
    }
}
