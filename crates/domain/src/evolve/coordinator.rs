//! Folds in what happened to the coordinators.

use super::{change_operation, end_step, finish, start_step, steps};
use crate::{
    apply::Committed,
    coordinator::{ChangeProgress, Coordinator, CoordinatorChange, CoordinatorRole, CoordinatorSpec, listed},
    event::Event,
    ids::{CoordinatorId, OperationId, Timestamp},
    operation::{Operation, OperationStatus, Step, StepName, StepStatus, Work},
    state::State,
};
use std::{collections::BTreeSet, sync::Arc};

pub(super) fn coordinator(state: &mut State, committed: &Committed, event: &Event) {
    let at = committed.at;
    match event {
        Event::CoordinatorsRecorded { coordinators } => {
            for known in coordinators {
                put(state, known.clone());
            }
        }
        Event::CoordinatorChangeBegun { operation, change, evidence } => {
            let progress = ChangeProgress::begun(change.clone(), state.recorded_voters());
            let record = Operation {
                id: *operation,
                steps: steps(&StepName::of_change(&progress), at),
                work: Work::CoordinatorChange(progress),
                status: OperationStatus::Running,
                cause: committed.cause.clone(),
                evidence: evidence.clone(),
                created_at: at,
                finished_at: None,
                outcome: String::new(),
            };
            if let Some(spec) = change.joins() {
                put(state, learner(spec, at));
            }
            state.operations.insert(*operation, Arc::new(record));
            state.open_change = Some(*operation);
        }
        Event::CoordinatorCaughtUp { operation, coordinator, through_index, evidence } => {
            change(state, *operation, |record, progress| {
                progress.caught_up = true;
                let note = format!("coordinator {coordinator} holds the log up to entry {through_index}");
                end_step(record, StepName::CatchUp, at, StepStatus::Done, &note);
                record.evidence.extend(evidence.iter().cloned());
                start_step(record, StepName::SwitchVoters, at);
            });
        }
        Event::VotersSwitched { operation, voters } => {
            switch_voters(state, voters, at);
            change(state, *operation, |record, progress| {
                progress.on_record = true;
                let note = format!("{} vote", listed(voters));
                end_step(record, StepName::SwitchVoters, at, StepStatus::Done, &note);
                start_step(record, StepName::LetGo, at);
            });
        }
        Event::CoordinatorChangeCancelled { operation, .. } => {
            change(state, *operation, |record, progress| {
                progress.cancelled = true;
                for step in &mut record.steps {
                    if step.status == StepStatus::Running {
                        step.status = StepStatus::Failed;
                        step.finished_at = Some(at);
                        "cancelled".clone_into(&mut step.note);
                    }
                }
                record.steps.push(Step {
                    name: StepName::TakeBack,
                    status: StepStatus::Running,
                    started_at: Some(at),
                    finished_at: None,
                    note: String::new(),
                });
            });
        }
        Event::CoordinatorChangeFinished { operation, change, cancelled, gone, voters } => {
            if let Some(id) = gone {
                state.coordinators.remove(id);
            }
            end(state, *operation, change, *cancelled, voters, at);
        }
        _ => {}
    }
}

fn end(
    state: &mut State,
    id: OperationId,
    change: &CoordinatorChange,
    cancelled: bool,
    voters: &BTreeSet<CoordinatorId>,
    at: Timestamp,
) {
    let last = if cancelled { StepName::TakeBack } else { StepName::LetGo };
    let note = match (cancelled, change.leaves()) {
        (false, Some(gone)) => format!("coordinator {gone} is no member any more"),
        _ => format!("{} vote", listed(voters)),
    };
    change_operation(state, id, |record| end_step(record, last, at, StepStatus::Done, &note));
    let voters = listed(voters);
    let (status, outcome) = if cancelled {
        (OperationStatus::Failed, format!("cancelled and taken back; {voters} vote"))
    } else {
        (OperationStatus::Succeeded, format!("{voters} vote"))
    };
    finish(state, id, at, status, outcome);
    state.open_change = None;
}

fn learner(spec: &CoordinatorSpec, since: Timestamp) -> Coordinator {
    let CoordinatorSpec { id, api_address, peer_address } = spec.clone();
    Coordinator { id, api_address, peer_address, role: CoordinatorRole::Learner, since }
}

fn put(state: &mut State, known: Coordinator) {
    let cluster = Arc::make_mut(&mut state.cluster);
    cluster.highest_coordinator = cluster.highest_coordinator.max(known.id);
    state.coordinators.insert(known.id, Arc::new(known));
}

fn switch_voters(state: &mut State, voters: &BTreeSet<CoordinatorId>, at: Timestamp) {
    let known: Vec<_> = state.coordinators.values().cloned().collect();
    for record in known {
        let role =
            if voters.contains(&record.id) { CoordinatorRole::Voter } else { CoordinatorRole::Learner };
        if role != record.role {
            let changed = Coordinator { role, since: at, ..record.as_ref().clone() };
            state.coordinators.insert(changed.id, Arc::new(changed));
        }
    }
}

fn change(state: &mut State, id: OperationId, change: impl FnOnce(&mut Operation, &mut ChangeProgress)) {
    change_operation(state, id, |record| {
        let Work::CoordinatorChange(progress) = &record.work else { return };
        let mut progress = progress.clone();
        change(record, &mut progress);
        record.work = Work::CoordinatorChange(progress);
    });
}
