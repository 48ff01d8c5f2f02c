//! Decisions about who the coordinators are.
//!
//! A change goes through Raft between its commands; what Raft has by then comes with them and is held against the record
//! here, in log order. What a leader saw counts in its own term only: nobody else changes Raft's members in that term.

use super::Context;
use crate::{
    cause::Evidence,
    coordinator::{
        COORDINATOR_ID_STEP_MAX, COORDINATORS_MAX, ChangeProgress, Coordinator, CoordinatorChange,
        CoordinatorRole, CoordinatorSpec, Heard, RaftMembers, has_quorum, listed, quorum_of,
    },
    event::Event,
    ids::{CoordinatorId, OperationId, Term},
    rejection::Rejection,
    state::State,
};
use std::collections::BTreeSet;

pub(super) fn record(state: &State, context: &Context<'_>, coordinators: &[Coordinator]) -> Vec<Event> {
    if !state.coordinators.is_empty() || coordinators.is_empty() {
        return vec![];
    }
    let coordinators = coordinators.iter().map(|known| Coordinator { since: context.at, ..known.clone() });
    vec![Event::CoordinatorsRecorded { coordinators: coordinators.collect() }]
}

pub(super) fn begin(
    state: &State,
    context: &Context<'_>,
    change: &CoordinatorChange,
    heard: &Heard,
) -> Result<Vec<Event>, Rejection> {
    if state.coordinators.is_empty() {
        return Err(Rejection::CoordinatorsNotRecorded);
    }
    if let Some((operation, _)) = state.open_change() {
        return Err(Rejection::ChangeInProgress { operation: operation.id });
    }
    check_term(context, heard.term)?;
    match change {
        CoordinatorChange::Add(spec) => {
            check_room(state)?;
            check_new(state, spec, None)?;
        }
        CoordinatorChange::Promote(id) => {
            if find(state, *id)?.role == CoordinatorRole::Voter {
                return Err(Rejection::AlreadyVoter(*id));
            }
        }
        CoordinatorChange::Remove(id) => {
            find(state, *id)?;
        }
        CoordinatorChange::Replace { remove, add } => {
            if find(state, *remove)?.role == CoordinatorRole::Learner {
                return Err(Rejection::NotAVoter(*remove));
            }
            check_new(state, add, Some(*remove))?;
        }
    }
    let progress = ChangeProgress::begun(change.clone(), state.recorded_voters());
    let evidence = check_change_of_voters(&progress, heard)?;
    Ok(vec![Event::CoordinatorChangeBegun {
        operation: OperationId(context.revision.0),
        change: change.clone(),
        evidence,
    }])
}

/// Whether those that shall vote could decide anything: one that answers and lacks much of the log could not acknowledge
/// the change itself, nor a cancel of it. One that is yet to come counts: the change waits for it, and this is asked
/// again once it holds the log.
fn check_change_of_voters(progress: &ChangeProgress, heard: &Heard) -> Result<Vec<Evidence>, Rejection> {
    let (before, after) = (&progress.voters_before, &progress.voters_after);
    if before == after {
        return Ok(vec![]);
    }
    // Nor can the last one be replaced: it would have to lead until the end, and hand over before it.
    if let Some(id) = progress.change.leaves().filter(|id| *before == BTreeSet::from([*id])) {
        return Err(Rejection::LastVoter(id));
    }
    let mut counted = heard.able();
    if !progress.caught_up {
        counted.extend(progress.change.joins().map(|spec| spec.id));
    }
    check_quorum(after, &counted, heard)
}

fn check_quorum(
    voters: &BTreeSet<CoordinatorId>,
    counted: &BTreeSet<CoordinatorId>,
    heard: &Heard,
) -> Result<Vec<Evidence>, Rejection> {
    let holds = has_quorum(voters, counted);
    #[cfg(planted)]
    let holds = holds || crate::planted::is(crate::planted::Bug::NoQuorumCheckOfMembers);
    if !holds {
        let mut lagging = heard.lagging_of(voters);
        lagging.retain(|id, _| !counted.contains(id));
        let heard = voters.intersection(counted).copied().collect();
        return Err(Rejection::WouldLoseQuorum { voters: voters.clone(), heard, lagging });
    }
    let threshold = format!("{} of {}", quorum_of(voters.len()), listed(voters));
    let source = format!("leader of term {}", heard.term);
    Ok(vec![Evidence::new("coordinators_heard", listed(&heard.able()), threshold, source)])
}

pub(super) fn record_caught_up(
    state: &State,
    context: &Context<'_>,
    operation: OperationId,
    through_index: u64,
    heard: &Heard,
) -> Result<Vec<Event>, Rejection> {
    let progress = open(state, operation)?;
    check_term(context, heard.term)?;
    let Some(coordinator) = progress.change.catches_up().filter(|_| !progress.caught_up) else {
        return Ok(vec![]);
    };
    check_not_cancelled(operation, progress)?;
    if !heard.coordinators.contains(&coordinator) {
        let problem = format!("coordinator {coordinator} has not answered the leader lately");
        return Err(Rejection::ChangeNotReady { operation, problem });
    }
    if let Some(lag) = heard.lagging.get(&coordinator) {
        let problem = format!("coordinator {coordinator} has not caught up: it lacks {lag} entries");
        return Err(Rejection::ChangeNotReady { operation, problem });
    }
    let evidence = if progress.voters_before == progress.voters_after {
        vec![]
    } else {
        check_quorum(&progress.voters_after, &heard.able(), heard)?
    };
    Ok(vec![Event::CoordinatorCaughtUp { operation, coordinator, through_index, evidence }])
}

pub(super) fn record_voters(
    state: &State,
    context: &Context<'_>,
    operation: OperationId,
    members: &RaftMembers,
) -> Result<Vec<Event>, Rejection> {
    let progress = open(state, operation)?;
    check_term(context, members.term)?;
    if progress.on_record {
        return Ok(vec![]);
    }
    check_not_cancelled(operation, progress)?;
    check_caught_up(operation, progress)?;
    check_voters(operation, members, &progress.voters_after)?;
    if progress.voters_before == progress.voters_after {
        return Ok(vec![]);
    }
    Ok(vec![Event::VotersSwitched { operation, voters: members.voters.clone() }])
}

pub(super) fn cancel(
    state: &State,
    context: &Context<'_>,
    operation: OperationId,
    heard: &Heard,
) -> Result<Vec<Event>, Rejection> {
    let progress = open(state, operation)?;
    check_term(context, heard.term)?;
    if progress.on_record {
        return Err(Rejection::ChangeOnRecord { operation, voters: progress.voters_after.clone() });
    }
    if progress.cancelled {
        return Ok(vec![]);
    }
    // Raft may be anywhere between the two sets of voters by now: going back is a change of voters like any other.
    check_quorum(&progress.voters_before, &heard.able(), heard)?;
    Ok(vec![Event::CoordinatorChangeCancelled { operation, change: progress.change.clone() }])
}

pub(super) fn finish(
    state: &State,
    context: &Context<'_>,
    operation: OperationId,
    members: &RaftMembers,
) -> Result<Vec<Event>, Rejection> {
    let progress = open(state, operation)?;
    check_term(context, members.term)?;
    let not_ready = |problem: String| Err(Rejection::ChangeNotReady { operation, problem });
    if !progress.cancelled {
        check_caught_up(operation, progress)?;
    }
    if !progress.cancelled && !progress.on_record && progress.voters_before != progress.voters_after {
        return not_ready("it is not on record yet who votes".to_owned());
    }
    check_voters(operation, members, progress.wanted_voters())?;
    let gone = progress.let_go();
    if let Some(id) = gone.filter(|id| members.contains(*id)) {
        return not_ready(format!("coordinator {id} is still a member of Raft"));
    }
    let stays = state.coordinators.keys().filter(|id| Some(**id) != gone);
    if let Some(id) = stays.copied().find(|id| !members.contains(*id)) {
        return not_ready(format!("coordinator {id} is not a member of Raft"));
    }
    Ok(vec![Event::CoordinatorChangeFinished {
        operation,
        change: progress.change.clone(),
        cancelled: progress.cancelled,
        gone,
        voters: members.voters.clone(),
    }])
}

fn open(state: &State, operation: OperationId) -> Result<&ChangeProgress, Rejection> {
    let open = state.open_change().filter(|(open, _)| open.id == operation);
    open.map(|(_, progress)| progress).ok_or(Rejection::ChangeNotOpen(operation))
}

fn find(state: &State, id: CoordinatorId) -> Result<&Coordinator, Rejection> {
    state.coordinators.get(&id).map(AsRef::as_ref).ok_or(Rejection::CoordinatorNotFound(id))
}

pub(super) fn check_term(context: &Context<'_>, seen_in: Term) -> Result<(), Rejection> {
    if seen_in == context.term {
        return Ok(());
    }
    Err(Rejection::SeenInAnotherTerm { seen_in, term: context.term })
}

fn check_room(state: &State) -> Result<(), Rejection> {
    if state.coordinators.len() < COORDINATORS_MAX {
        return Ok(());
    }
    Err(Rejection::LimitReached { what: "coordinators".to_owned(), limit: COORDINATORS_MAX })
}

/// The one whose place it takes may have lost its disk, and be this very machine: it may be reached where that one was.
fn check_new(
    state: &State,
    spec: &CoordinatorSpec,
    in_place_of: Option<CoordinatorId>,
) -> Result<(), Rejection> {
    let highest = state.cluster.highest_coordinator;
    if spec.id <= highest {
        return Err(Rejection::CoordinatorIdUsed { id: spec.id, highest });
    }
    if spec.id.0 - highest.0 > COORDINATOR_ID_STEP_MAX {
        return Err(Rejection::CoordinatorIdTooHigh { id: spec.id, highest });
    }
    for known in state.coordinators.values().filter(|known| Some(known.id) != in_place_of) {
        for address in [&spec.api_address, &spec.peer_address] {
            if [&known.api_address, &known.peer_address].contains(&address) {
                return Err(Rejection::AddressInUse { address: address.clone(), coordinator: known.id });
            }
        }
    }
    Ok(())
}

fn check_not_cancelled(operation: OperationId, progress: &ChangeProgress) -> Result<(), Rejection> {
    if progress.cancelled {
        return Err(Rejection::ChangeNotReady { operation, problem: "it was cancelled".to_owned() });
    }
    Ok(())
}

fn check_caught_up(operation: OperationId, progress: &ChangeProgress) -> Result<(), Rejection> {
    if progress.caught_up {
        return Ok(());
    }
    let problem = "the coordinator that comes or gets a vote has not caught up".to_owned();
    Err(Rejection::ChangeNotReady { operation, problem })
}

fn check_voters(
    operation: OperationId,
    members: &RaftMembers,
    wanted: &BTreeSet<CoordinatorId>,
) -> Result<(), Rejection> {
    if members.voters == *wanted {
        return Ok(());
    }
    let problem = format!("in Raft {} vote, and {} should", listed(&members.voters), listed(wanted));
    Err(Rejection::ChangeNotReady { operation, problem })
}
