//! Operations, towards the wire.

use crate::pb::types as wire;
use quorate_domain::{Evidence, HostId, Operation, Step};

/// The only kind of operation there is so far.
const FAILOVER: &str = "failover";

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
        let host = |id: &Option<HostId>| id.as_ref().map(ToString::to_string).unwrap_or_default();
        Self {
            id: operation.id.to_string(),
            kind: FAILOVER.to_owned(),
            group: operation.group.to_string(),
            reason: operation.reason.to_string(),
            from: operation.from.to_string(),
            from_epoch: operation.from_epoch.0,
            target: host(&operation.target),
            to: host(&operation.to),
            status: wire::OperationStatus::from(operation.status).into(),
            steps: operation.steps.iter().map(Into::into).collect(),
            cause: operation.cause.to_string(),
            request_id: operation.cause.request_id().map(ToString::to_string).unwrap_or_default(),
            evidence: operation.evidence.iter().map(Into::into).collect(),
            created_at_ms: operation.created_at.0,
            finished_at_ms: operation.finished_at.map(|at| at.0),
            outcome: operation.outcome.clone(),
            failed_attempts: operation.failed_attempts().into(),
        }
    }
}
