//! Tables of decisions about the coordinators: what each command answers in each place, and what it leads to.

use crate::stage::{Stage, TERM};
use quorate_domain::{
    Applied, Cause, Command, Coordinator, CoordinatorChange, CoordinatorId, CoordinatorRole, CoordinatorSpec,
    Event, Heard, Operation, OperationId, OperationStatus, Outcome, Proposal, RaftMembers, RequestId,
    StepName, StepStatus, Term, Timestamp, apply,
    coordinator::{COORDINATOR_ID_STEP_MAX, COORDINATORS_MAX},
    invariants,
};
use std::collections::BTreeSet;

pub(crate) fn n(id: u64) -> CoordinatorId {
    CoordinatorId(id)
}

pub(crate) fn ids(ids: &[u64]) -> BTreeSet<CoordinatorId> {
    ids.iter().copied().map(CoordinatorId).collect()
}

pub(crate) fn spec(id: u64) -> CoordinatorSpec {
    CoordinatorSpec {
        id: n(id),
        api_address: format!("10.0.0.{id}:7401"),
        peer_address: format!("10.0.0.{id}:7402"),
    }
}

fn voter(id: u64) -> Coordinator {
    let CoordinatorSpec { id, api_address, peer_address } = spec(id);
    Coordinator { id, api_address, peer_address, role: CoordinatorRole::Voter, since: Timestamp(0) }
}

fn record(voters: &[u64]) -> Command {
    Command::RecordCoordinators { coordinators: voters.iter().map(|id| voter(*id)).collect() }
}

pub(crate) fn heard(coordinators: &[u64]) -> Heard {
    Heard { term: TERM, coordinators: ids(coordinators), ..Heard::default() }
}

/// These answer, and these of them lack so many entries.
fn heard_lagging(coordinators: &[u64], lagging: &[(u64, u64)]) -> Heard {
    let lagging = lagging.iter().map(|(id, lag)| (n(*id), *lag)).collect();
    Heard { lagging, ..heard(coordinators) }
}

pub(crate) fn members(voters: &[u64], learners: &[u64]) -> RaftMembers {
    RaftMembers { term: TERM, voters: ids(voters), learners: ids(learners) }
}

fn begin(change: CoordinatorChange, who: &[u64]) -> Command {
    Command::BeginCoordinatorChange { change, heard: heard(who) }
}

fn add(id: u64) -> CoordinatorChange {
    CoordinatorChange::Add(spec(id))
}

fn replace(remove: u64, by: u64) -> CoordinatorChange {
    CoordinatorChange::Replace { remove: n(remove), add: spec(by) }
}

impl Stage {
    /// A cluster whose voters are these, on record.
    fn coordinators(voters: &[u64]) -> Self {
        let mut stage = Self::hosts();
        stage.ok(record(voters));
        stage
    }

    fn change(&self) -> &Operation {
        self.state.open_change().expect("a change is open").0
    }

    fn change_id(&self) -> OperationId {
        self.change().id
    }

    fn caught_up(&self, who: &[u64]) -> Command {
        Command::RecordCaughtUp { operation: self.change_id(), through_index: 90, heard: heard(who) }
    }

    fn voters(&self, voters: &[u64], learners: &[u64]) -> Command {
        Command::RecordVoters { operation: self.change_id(), members: members(voters, learners) }
    }

    fn cancel(&self, who: &[u64]) -> Command {
        Command::CancelCoordinatorChange { operation: self.change_id(), heard: heard(who) }
    }

    fn finish(&self, voters: &[u64], learners: &[u64]) -> Command {
        Command::FinishCoordinatorChange { operation: self.change_id(), members: members(voters, learners) }
    }

    fn roles(&self) -> Vec<(u64, CoordinatorRole)> {
        self.state.coordinators.values().map(|known| (known.id.0, known.role)).collect()
    }

    fn step(&self, operation: OperationId, name: StepName) -> StepStatus {
        let steps = &self.state.operations[&operation].steps;
        steps.iter().find(|step| step.name == name).expect("the step is there").status
    }
}

const L: CoordinatorRole = CoordinatorRole::Learner;
const V: CoordinatorRole = CoordinatorRole::Voter;

#[test]
fn those_that_formed_the_cluster_are_put_on_record_once() {
    let mut stage = Stage::hosts();
    assert_eq!(stage.refused(begin(add(4), &[1])), "COORDINATORS_NOT_RECORDED");
    assert_eq!(stage.ok(record(&[1, 2, 3])).len(), 1);
    assert_eq!(stage.roles(), [(1, V), (2, V), (3, V)]);
    assert_eq!(stage.state.cluster.highest_coordinator, n(3));
    assert_eq!(stage.ok(record(&[1, 2, 3, 4])), [], "the record is not overwritten");
}

#[test]
fn a_new_coordinator_is_a_learner_first_and_votes_when_it_is_promoted() {
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    let operation = stage.next_operation();
    let events = stage.ok(begin(add(4), &[1, 2]));
    assert_eq!(
        events,
        [Event::CoordinatorChangeBegun { operation, change: add(4), evidence: vec![] }],
        "nobody else votes, so nothing rests on who was heard"
    );
    assert_eq!(stage.roles(), [(1, V), (2, V), (3, V), (4, L)]);
    assert_eq!(stage.refused(stage.finish(&[1, 2, 3], &[4])), "CHANGE_NOT_READY", "it has not caught up");
    assert_eq!(stage.refused(stage.caught_up(&[1, 2, 3])), "CHANGE_NOT_READY", "it is not heard");
    stage.ok(stage.caught_up(&[1, 2, 4]));
    assert_eq!(stage.ok(stage.caught_up(&[1, 2, 4])), [], "once is enough");
    assert_eq!(stage.refused(stage.finish(&[1, 2, 3], &[])), "CHANGE_NOT_READY", "Raft does not have it");
    stage.ok(stage.finish(&[1, 2, 3], &[4]));
    assert_eq!(stage.state.operations[&operation].status, OperationStatus::Succeeded);

    let operation = stage.next_operation();
    stage.ok(begin(CoordinatorChange::Promote(n(4)), &[1, 2, 4]));
    assert_eq!(stage.refused(stage.voters(&[1, 2, 3, 4], &[])), "CHANGE_NOT_READY", "not caught up");
    stage.ok(stage.caught_up(&[1, 2, 4]));
    assert_eq!(stage.refused(stage.voters(&[1, 2, 3], &[4])), "CHANGE_NOT_READY", "Raft is not there yet");
    assert_eq!(stage.refused(stage.finish(&[1, 2, 3, 4], &[])), "CHANGE_NOT_READY", "not on record");
    stage.ok(stage.voters(&[1, 2, 3, 4], &[]));
    assert_eq!(stage.roles(), [(1, V), (2, V), (3, V), (4, V)]);
    stage.ok(stage.finish(&[1, 2, 3, 4], &[]));
    for step in [StepName::CatchUp, StepName::SwitchVoters] {
        assert_eq!(stage.step(operation, step), StepStatus::Done);
    }
    assert!(stage.state.open_change().is_none());
    assert_eq!(invariants::violations(&stage.state), Vec::<String>::new());
}

#[test]
fn a_voter_is_removed_only_when_it_is_on_record_who_votes_without_it() {
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    let operation = stage.next_operation();
    stage.ok(begin(CoordinatorChange::Remove(n(3)), &[1, 2]));
    assert_eq!(stage.refused(stage.finish(&[1, 2], &[])), "CHANGE_NOT_READY");
    stage.ok(stage.voters(&[1, 2], &[3]));
    assert_eq!(stage.roles(), [(1, V), (2, V), (3, L)]);
    assert_eq!(stage.refused(stage.finish(&[1, 2], &[3])), "CHANGE_NOT_READY", "Raft still has it");
    stage.ok(stage.finish(&[1, 2], &[]));
    assert_eq!(stage.roles(), [(1, V), (2, V)]);
    assert!(stage.state.has_gone(n(3)) && !stage.state.has_gone(n(4)) && !stage.state.has_gone(n(2)));
    assert_eq!(stage.step(operation, StepName::LetGo), StepStatus::Done);
    assert_eq!(stage.refused(begin(add(3), &[1, 2])), "COORDINATOR_ID_USED");
}

#[test]
fn a_replacement_is_one_change_with_all_its_steps() {
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    let operation = stage.next_operation();
    stage.ok(begin(replace(1, 4), &[2, 3]));
    stage.ok(stage.caught_up(&[2, 3, 4]));
    stage.ok(stage.voters(&[2, 3, 4], &[1]));
    stage.ok(stage.finish(&[2, 3, 4], &[]));
    assert_eq!(stage.roles(), [(2, V), (3, V), (4, V)]);
    let done = &stage.state.operations[&operation];
    let steps: Vec<_> = done.steps.iter().map(|step| (step.name, step.status)).collect();
    let expected = [StepName::CatchUp, StepName::SwitchVoters, StepName::LetGo];
    assert_eq!(steps, expected.map(|name| (name, StepStatus::Done)));
    assert_eq!((done.kind(), done.outcome.as_str()), ("replace-member", "2, 3, 4 vote"));
    assert!(done.evidence.iter().any(|evidence| evidence.what == "coordinators_heard"), "{done:?}");
}

#[test]
fn refuses_a_change_that_would_leave_no_quorum_among_those_that_answer() {
    for (voters, change, who, expected) in [
        (&[1, 2, 3][..], CoordinatorChange::Remove(n(3)), &[1, 3][..], Some("WOULD_LOSE_QUORUM")),
        (&[1, 2, 3], CoordinatorChange::Remove(n(2)), &[1, 3], None),
        (&[1, 2, 3], replace(3, 4), &[1, 3], None),
        (&[1, 2, 3, 4, 5], replace(3, 6), &[1, 3], Some("WOULD_LOSE_QUORUM")),
        (&[1, 2], CoordinatorChange::Remove(n(2)), &[1], None),
        (&[1, 2], CoordinatorChange::Remove(n(1)), &[1], Some("WOULD_LOSE_QUORUM")),
        (&[1], CoordinatorChange::Remove(n(1)), &[1], Some("LAST_VOTER")),
        (&[1], replace(1, 4), &[1], Some("LAST_VOTER")),
    ] {
        let mut stage = Stage::coordinators(voters);
        let command = begin(change, who);
        match expected {
            Some(code) => assert_eq!(stage.refused(command.clone()), code, "{command:?}"),
            None => assert_eq!(stage.ok(command.clone()).len(), 1, "{command:?}"),
        }
    }
}

#[test]
fn whoever_answers_and_lacks_much_of_the_log_does_not_count_for_a_quorum_and_is_named() {
    let begin = |change, heard| Command::BeginCoordinatorChange { change, heard };
    let all_but_3 = heard_lagging(&[1, 2, 3], &[(3, 70_000)]);
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    // 1 and 3 would vote, and nothing is committed before 3 has caught up: no cancel either.
    let refused = stage.apply(begin(CoordinatorChange::Remove(n(2)), all_but_3.clone()));
    let Outcome::Refused(reason) = refused.outcome else { panic!("taken") };
    assert_eq!(reason.code(), "WOULD_LOSE_QUORUM");
    let said = reason.to_string();
    assert!(said.contains("only these do: 1; 3 answers and lacks 70000 entries;"), "{said}");
    // It may go itself, and one of those that keep up may be replaced by a newcomer only while the others keep up.
    for (change, taken) in [
        (CoordinatorChange::Remove(n(3)), true),
        (replace(3, 4), true),
        (replace(2, 4), true),
        (CoordinatorChange::Remove(n(1)), false),
    ] {
        let mut stage = stage.clone();
        let command = begin(change, all_but_3.clone());
        if taken {
            stage.ok(command);
        } else {
            assert_eq!(stage.refused(command.clone()), "WOULD_LOSE_QUORUM", "{command:?}");
        }
    }
    stage.ok(begin(replace(2, 4), all_but_3));
    let operation = stage.change_id();
    let caught_up = |heard| Command::RecordCaughtUp { operation, through_index: 90, heard };
    let cancel = |heard| Command::CancelCoordinatorChange { operation, heard };
    let lags = heard_lagging(&[1, 2, 4], &[(4, 65)]);
    assert_eq!(stage.refused(caught_up(lags)), "CHANGE_NOT_READY", "the newcomer itself lags");
    let others_lag = heard_lagging(&[1, 3, 4], &[(1, 65), (3, 65)]);
    assert_eq!(stage.refused(caught_up(others_lag)), "WOULD_LOSE_QUORUM");
    assert_eq!(stage.refused(cancel(heard_lagging(&[1, 2, 3], &[(2, 65), (3, 65)]))), "WOULD_LOSE_QUORUM");
    stage.ok(caught_up(heard_lagging(&[1, 2, 3, 4], &[(3, 65)])));
    stage.ok(cancel(heard_lagging(&[1, 2, 3, 4], &[(3, 65)])));
}

#[test]
fn a_learner_gets_no_vote_when_the_others_have_gone_silent_since() {
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    stage.ok(begin(replace(3, 4), &[1, 2]));
    assert_eq!(stage.refused(stage.caught_up(&[1])), "CHANGE_NOT_READY");
    let lonely =
        Command::RecordCaughtUp { operation: stage.change_id(), through_index: 9, heard: heard(&[4]) };
    assert_eq!(stage.refused(lonely), "WOULD_LOSE_QUORUM");
    stage.ok(stage.caught_up(&[1, 4]));
}

#[test]
fn refuses_what_does_not_fit_to_the_record() {
    let taken = |api: &str, peer: &str| {
        CoordinatorChange::Add(CoordinatorSpec {
            api_address: api.into(),
            peer_address: peer.into(),
            ..spec(4)
        })
    };
    for (change, code) in [
        (add(3), "COORDINATOR_ID_USED"),
        (replace(1, 2), "COORDINATOR_ID_USED"),
        (add(3 + COORDINATOR_ID_STEP_MAX + 1), "COORDINATOR_ID_TOO_HIGH"),
        (replace(1, u64::MAX), "COORDINATOR_ID_TOO_HIGH"),
        (taken("10.0.0.1:7401", "10.0.0.4:7402"), "ADDRESS_IN_USE"),
        (taken("10.0.0.4:7401", "10.0.0.1:7402"), "ADDRESS_IN_USE"),
        (taken("10.0.0.2:7402", "10.0.0.4:7402"), "ADDRESS_IN_USE"),
        (CoordinatorChange::Promote(n(2)), "ALREADY_VOTER"),
        (CoordinatorChange::Promote(n(9)), "COORDINATOR_NOT_FOUND"),
        (CoordinatorChange::Remove(n(9)), "COORDINATOR_NOT_FOUND"),
        (replace(9, 10), "COORDINATOR_NOT_FOUND"),
    ] {
        let mut stage = Stage::coordinators(&[1, 2, 3]);
        assert_eq!(stage.refused(begin(change.clone(), &[1, 2, 3])), code, "{change}");
    }
}

/// Its disk was lost, and its machine is as good as any.
#[test]
fn whoever_takes_the_place_of_another_may_be_reached_where_that_one_was_and_nobody_else_may() {
    let at = |address: u64, id: u64| CoordinatorSpec { id: n(id), ..spec(address) };
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    let add = CoordinatorChange::Add(at(3, 4));
    assert_eq!(stage.refused(begin(add, &[1, 2])), "ADDRESS_IN_USE");
    let beside = CoordinatorChange::Replace { remove: n(3), add: at(2, 4) };
    assert_eq!(stage.refused(begin(beside, &[1, 2])), "ADDRESS_IN_USE");
    let own = CoordinatorChange::Replace { remove: n(3), add: at(3, 4) };
    stage.ok(begin(own, &[1, 2]));
    assert_eq!(invariants::violations(&stage.state), Vec::<String>::new());
    let mut cancelled = stage.clone();
    cancelled.ok(cancelled.cancel(&[1, 2]));
    assert_eq!(invariants::violations(&cancelled.state), Vec::<String>::new());
    cancelled.ok(cancelled.finish(&[1, 2, 3], &[]));
    assert_eq!(invariants::violations(&cancelled.state), Vec::<String>::new());
    stage.ok(stage.caught_up(&[1, 2, 4]));
    stage.ok(stage.voters(&[1, 2, 4], &[3]));
    assert_eq!(invariants::violations(&stage.state), Vec::<String>::new());
    stage.ok(stage.finish(&[1, 2, 4], &[]));
    assert_eq!(invariants::violations(&stage.state), Vec::<String>::new());
    assert_eq!(stage.state.coordinators[&n(4)].peer_address, spec(3).peer_address);
}

#[test]
fn a_new_number_may_skip_some_and_there_is_always_a_next_one() {
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    stage.ok(begin(add(3 + COORDINATOR_ID_STEP_MAX), &[1, 2]));
    stage.ok(stage.cancel(&[1, 2]));
    stage.ok(stage.finish(&[1, 2, 3], &[]));
    stage.ok(begin(add(4 + COORDINATOR_ID_STEP_MAX), &[1, 2]));
}

#[test]
fn one_change_at_a_time_and_no_more_coordinators_than_the_limit() {
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    for id in 4..=COORDINATORS_MAX as u64 {
        stage.ok(begin(add(id), &[1, 2, 3]));
        assert_eq!(stage.refused(begin(add(id + 1), &[1, 2, 3])), "CHANGE_IN_PROGRESS");
        stage.ok(stage.caught_up(&[1, 2, 3, id]));
        let learners: Vec<u64> = (4..=id).collect();
        stage.ok(stage.finish(&[1, 2, 3], &learners));
    }
    assert_eq!(stage.refused(begin(add(8), &[1, 2, 3])), "LIMIT_REACHED");
    assert_eq!(stage.refused(begin(replace(4, 8), &[1, 2, 3])), "NOT_A_VOTER");
    stage.ok(begin(replace(1, 8), &[1, 2, 3]));
    assert_eq!(invariants::violations(&stage.state), Vec::<String>::new());
}

#[test]
fn what_was_seen_in_another_term_does_not_count() {
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    stage.ok(begin(add(4), &[1, 2]));
    stage.term = Term(TERM.0 + 1);
    for command in [
        stage.caught_up(&[1, 2, 4]),
        stage.voters(&[1, 2, 3], &[4]),
        stage.cancel(&[1, 2]),
        stage.finish(&[1, 2, 3], &[4]),
    ] {
        assert_eq!(stage.refused(command), "SEEN_IN_ANOTHER_TERM");
    }
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    stage.term = Term(TERM.0 + 1);
    assert_eq!(stage.refused(begin(add(4), &[1, 2])), "SEEN_IN_ANOTHER_TERM");
}

#[test]
fn a_change_is_cancelled_and_taken_back_and_whoever_came_goes_for_good() {
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    let operation = stage.next_operation();
    stage.ok(begin(replace(3, 4), &[1, 2]));
    stage.ok(stage.caught_up(&[1, 2, 4]));
    stage.ok(stage.cancel(&[1, 2]));
    let again = stage.apply(stage.cancel(&[1, 2]));
    assert!(again.committed.is_none(), "once is enough");
    let taken_back =
        matches!(again.outcome, Outcome::Accepted { operation: Some(op), .. } if op == operation);
    assert!(taken_back, "whoever asks again can wait for it: {:?}", again.outcome);
    assert_eq!(stage.refused(stage.voters(&[1, 2, 4], &[3])), "CHANGE_NOT_READY", "it was cancelled");
    assert_eq!(stage.refused(stage.finish(&[1, 2, 4], &[3])), "CHANGE_NOT_READY", "Raft is not back");
    assert_eq!(stage.refused(stage.finish(&[1, 2, 3], &[4])), "CHANGE_NOT_READY", "4 is still there");
    stage.ok(stage.finish(&[1, 2, 3], &[]));
    assert_eq!(stage.roles(), [(1, V), (2, V), (3, V)]);
    assert_eq!(stage.state.operations[&operation].status, OperationStatus::Failed);
    assert_eq!(stage.step(operation, StepName::TakeBack), StepStatus::Done);
    assert_eq!(stage.step(operation, StepName::SwitchVoters), StepStatus::Failed);
    assert!(stage.state.has_gone(n(4)));
    assert_eq!(stage.refused(begin(add(4), &[1, 2])), "COORDINATOR_ID_USED");
    let gone = Command::CancelCoordinatorChange { operation, heard: heard(&[1, 2]) };
    assert_eq!(stage.refused(gone), "CHANGE_NOT_OPEN");
}

/// The dead end that was found by simulation: Raft was through with the change, nothing of it was on record, and a cancel
/// was taken; by then the old voter had been let go and could not come back.
#[test]
fn a_cancel_is_refused_from_the_record_of_the_voters_on_and_until_then_nobody_may_be_let_go() {
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    stage.ok(begin(replace(3, 4), &[1, 2]));
    stage.ok(stage.caught_up(&[1, 2, 4]));
    // Raft is through: 1, 2 and 4 vote there.
    let (_, progress) = stage.state.open_change().expect("a change is open");
    assert_eq!(progress.let_go(), None, "3 is not told to go: a cancel may still need it");
    let mut cancelled = stage.clone();
    cancelled.ok(cancelled.cancel(&[1, 2, 4]));
    assert_eq!(cancelled.refused(cancelled.voters(&[1, 2, 4], &[3])), "CHANGE_NOT_READY");
    let (_, progress) = cancelled.state.open_change().expect("a change is open");
    assert_eq!((progress.wanted_voters(), progress.let_go()), (&ids(&[1, 2, 3]), Some(n(4))));

    stage.ok(stage.voters(&[1, 2, 4], &[3]));
    assert_eq!(stage.refused(stage.cancel(&[1, 2, 4])), "CHANGE_ON_RECORD");
    let (_, progress) = stage.state.open_change().expect("a change is open");
    assert_eq!((progress.wanted_voters(), progress.let_go()), (&ids(&[1, 2, 4]), Some(n(3))));
}

#[test]
fn a_cancel_is_refused_when_those_who_voted_before_have_no_quorum_any_more() {
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    stage.ok(begin(replace(3, 4), &[1, 2]));
    stage.ok(stage.caught_up(&[1, 2, 4]));
    assert_eq!(stage.refused(stage.cancel(&[1, 4])), "WOULD_LOSE_QUORUM");
}

#[test]
fn the_removal_of_a_learner_is_on_record_from_the_beginning() {
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    stage.ok(begin(add(4), &[1, 2]));
    stage.ok(stage.caught_up(&[1, 2, 4]));
    stage.ok(stage.finish(&[1, 2, 3], &[4]));
    stage.ok(begin(CoordinatorChange::Remove(n(4)), &[1, 2]));
    assert_eq!(stage.refused(stage.cancel(&[1, 2])), "CHANGE_ON_RECORD");
    stage.ok(stage.finish(&[1, 2, 3], &[]));
    assert_eq!(stage.roles(), [(1, V), (2, V), (3, V)]);
}

#[test]
fn a_retry_of_a_request_is_the_same_request_whoever_is_heard_by_then() {
    let mut stage = Stage::coordinators(&[1, 2, 3]);
    let mut ask = |command: Command| -> Applied {
        let cause = Cause::Operator { request_id: RequestId::new("r1").expect("a valid id") };
        apply(&mut stage.state, TERM, &Proposal::new(Timestamp(9_000), cause, command))
    };
    let first = ask(begin(add(4), &[1, 2]));
    let again = ask(begin(add(4), &[1, 2, 3]));
    assert_eq!(first.outcome, again.outcome);
    assert!(again.committed.is_none());
    let other = ask(begin(add(5), &[1, 2]));
    assert!(matches!(&other.outcome, Outcome::Refused(reason) if reason.code() == "REQUEST_ID_REUSED"));
}
