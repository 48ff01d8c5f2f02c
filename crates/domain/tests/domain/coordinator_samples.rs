//! One value of everything about coordinators that is stored, spelled out: never change these, add new ones.

use crate::{
    coordinators::{heard, ids, members, n, spec},
    samples::stored_cluster,
};
use quorate_domain::{
    Cause, Command, Committed, Coordinator, CoordinatorChange, CoordinatorRole, Event, Evidence, Operation,
    OperationId, OperationStatus, Proposal, RequestId, Revision, Step, StepName, StepStatus, Timestamp, Work,
    coordinator::ChangeProgress, state::Cluster,
};

pub(crate) fn stored_cluster_with_coordinators() -> Cluster {
    Cluster { highest_coordinator: n(9), ..stored_cluster() }
}

pub(crate) fn stored_coordinators() -> Vec<Coordinator> {
    [(1, CoordinatorRole::Voter), (9, CoordinatorRole::Learner)]
        .into_iter()
        .map(|(id, role)| Coordinator {
            id: n(id),
            api_address: spec(id).api_address,
            peer_address: spec(id).peer_address,
            role,
            since: Timestamp(6_000 + id),
        })
        .collect()
}

fn changes() -> [CoordinatorChange; 4] {
    [
        CoordinatorChange::Add(spec(9)),
        CoordinatorChange::Promote(n(9)),
        CoordinatorChange::Remove(n(1)),
        CoordinatorChange::Replace { remove: n(1), add: spec(9) },
    ]
}

pub(crate) fn stored_changes() -> Vec<Operation> {
    (60..)
        .zip(changes())
        .map(|(id, change)| Operation {
            id: OperationId(id),
            work: Work::CoordinatorChange(ChangeProgress {
                change,
                voters_before: ids(&[1, 2, 3]),
                voters_after: ids(&[2, 3, 9]),
                caught_up: id % 2 == 0,
                on_record: id == 61,
                cancelled: id == 62,
            }),
            status: if id == 63 { OperationStatus::Running } else { OperationStatus::Succeeded },
            steps: [StepName::CatchUp, StepName::SwitchVoters, StepName::LetGo, StepName::TakeBack]
                .into_iter()
                .map(|name| Step {
                    name,
                    status: StepStatus::Done,
                    started_at: Some(Timestamp(4_100)),
                    finished_at: None,
                    note: "note".into(),
                })
                .collect(),
            cause: Cause::Cluster,
            evidence: evidence(),
            created_at: Timestamp(4_000),
            finished_at: (id != 63).then_some(Timestamp(4_600)),
            outcome: "outcome".into(),
        })
        .collect()
}

fn evidence() -> Vec<Evidence> {
    vec![Evidence::new("coordinators_heard", "1, 2", "2 of 1, 2, 3", "leader of term 5")]
}

/// One proposal of each command, and of each kind of change.
pub(crate) fn proposals() -> Vec<Proposal> {
    let cause = Cause::Operator { request_id: RequestId::new("r1").expect("a valid request id") };
    let operation = OperationId(60);
    let begun = changes()
        .into_iter()
        .map(|change| Command::BeginCoordinatorChange { change, heard: heard(&[1, 2, 300]) });
    let others = [
        Command::RecordCoordinators { coordinators: stored_coordinators() },
        Command::RecordCaughtUp { operation, through_index: 70_000, heard: heard(&[1, 9]) },
        Command::RecordVoters { operation, members: members(&[2, 3, 9], &[1]) },
        Command::CancelCoordinatorChange { operation, heard: heard(&[1, 2]) },
        Command::FinishCoordinatorChange { operation, members: members(&[2, 3, 9], &[]) },
    ];
    begun.chain(others).map(|command| Proposal::new(Timestamp(9_000), cause.clone(), command)).collect()
}

/// One revision with every event.
pub(crate) fn committed() -> Committed {
    let operation = OperationId(60);
    let change = CoordinatorChange::Replace { remove: n(1), add: spec(9) };
    Committed {
        revision: Revision(70_001),
        at: Timestamp(9_000),
        cause: Cause::Planner { rule: "coordinators/finish".into() },
        command: "FinishCoordinatorChange".into(),
        events: vec![
            Event::CoordinatorsRecorded { coordinators: stored_coordinators() },
            Event::CoordinatorChangeBegun { operation, change: change.clone(), evidence: evidence() },
            Event::CoordinatorCaughtUp {
                operation,
                coordinator: n(9),
                through_index: 70_000,
                evidence: evidence(),
            },
            Event::VotersSwitched { operation, voters: ids(&[2, 3, 9]) },
            Event::CoordinatorChangeCancelled { operation, change: change.clone() },
            Event::CoordinatorChangeFinished {
                operation,
                change,
                cancelled: false,
                gone: Some(n(1)),
                voters: ids(&[2, 3, 9]),
            },
        ],
    }
}
