//! Operations, towards the wire.

use crate::pb::types as wire;
use quorate_domain::{
    CoordinatorChange, CoordinatorId, Evidence, Failover, HostId, Operation, Step, Work,
    coordinator::ChangeProgress,
};

impl From<&Evidence> for wire::Evidence {
    fn from(evidence: &Evidence) -> Self {
        Self {
            what: evidence.what.clone(),
            observed: evidence.observed.clone(),
            threshold: evidence.threshold.clone(),
            source: evidence.source.clone(),
        }
    }
}

impl From<&Step> for wire::Step {
    fn from(step: &Step) -> Self {
        Self {
            name: step.name.to_string(),
            status: wire::StepStatus::from(step.status).into(),
            started_at_ms: step.started_at.map(|at| at.0),
            finished_at_ms: step.finished_at.map(|at| at.0),
            note: step.note.clone(),
        }
    }
}

impl From<&Operation> for wire::Operation {
    fn from(operation: &Operation) -> Self {
        let shared = Self {
            id: operation.id.to_string(),
            kind: operation.kind().to_owned(),
            status: wire::OperationStatus::from(operation.status).into(),
            steps: operation.steps.iter().map(Into::into).collect(),
            cause: operation.cause.to_string(),
            request_id: operation.cause.request_id().map(ToString::to_string).unwrap_or_default(),
            evidence: operation.evidence.iter().map(Into::into).collect(),
            created_at_ms: operation.created_at.0,
            finished_at_ms: operation.finished_at.map(|at| at.0),
            outcome: operation.outcome.clone(),
            ..Self::default()
        };
        match &operation.work {
            Work::Failover(failover) => of_failover(shared, failover),
            Work::CoordinatorChange(progress) => of_change(shared, progress),
        }
    }
}

fn of_failover(shared: wire::Operation, failover: &Failover) -> wire::Operation {
    let host = |id: &Option<HostId>| id.as_ref().map(ToString::to_string).unwrap_or_default();
    wire::Operation {
        group: failover.group.to_string(),
        reason: failover.reason.to_string(),
        from: failover.from.to_string(),
        from_epoch: failover.from_epoch.0,
        target: host(&failover.target),
        to: host(&failover.to),
        failed_attempts: failover.failed_attempts().into(),
        ..shared
    }
}

/// Who goes stands in `from` and who comes or gets a vote in `to`, so that lists of operations show them.
fn of_change(shared: wire::Operation, progress: &ChangeProgress) -> wire::Operation {
    let change = &progress.change;
    let promoted = match change {
        CoordinatorChange::Promote(id) => Some(*id),
        _ => None,
    };
    let joins = change.joins().map(|spec| spec.id);
    let shown = |id: Option<CoordinatorId>| id.map(|id| id.to_string()).unwrap_or_default();
    let number = |id: Option<CoordinatorId>| id.map_or(0, |id| id.0);
    wire::Operation {
        reason: if progress.cancelled { "cancelled" } else { "requested" }.to_owned(),
        from: shown(change.leaves()),
        to: shown(joins.or(promoted)),
        member_change: Some(wire::MemberChange {
            joins: number(joins),
            promoted: number(promoted),
            leaves: number(change.leaves()),
            voters_before: progress.voters_before.iter().map(|id| id.0).collect(),
            voters_after: progress.voters_after.iter().map(|id| id.0).collect(),
            caught_up: progress.caught_up,
            on_record: progress.on_record,
            cancelled: progress.cancelled,
        }),
        ..shared
    }
}
