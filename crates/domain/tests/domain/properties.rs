use crate::arbitrary::{Move, any_move, opening};
use proptest::{collection::vec, prelude::*};
use quorate_domain::{
    Applied, Command, Led, Outcome, Proposal, RefusedAgent, Rejection, RequestId, State, Term, apply,
    host::{STARTS_AHEAD_OF_RECORD_MAX, highest_start},
    invariants,
    rows::Row,
};
use std::collections::BTreeMap;

/// Sequences of moves; most begin with a cluster that stands.
fn any_moves() -> impl Strategy<Value = (bool, Vec<Move>)> {
    (prop_oneof![30 => Just(true), 1 => Just(false)], vec(any_move(), 1..100))
}

/// Runs a sequence and shows each step: before, the proposal, the answer, after.
fn run(
    (opened, moves): &(bool, Vec<Move>),
    mut check: impl FnMut(&State, &Proposal, &Applied, &State) -> Result<(), TestCaseError>,
) -> Result<(State, Vec<(Term, Proposal)>), TestCaseError> {
    let mut state = State::default();
    let mut log = Vec::new();
    let mut step = |state: &mut State, term: Term, proposal: Proposal| {
        let before = state.clone();
        let applied = apply(state, term, &proposal);
        check(&before, &proposal, &applied, state)?;
        log.push((term, proposal));
        Ok::<(), TestCaseError>(())
    };
    for (term, proposal) in if *opened { opening() } else { vec![] } {
        step(&mut state, term, proposal)?;
    }
    for next in moves {
        let proposal = next.proposal(&state);
        step(&mut state, Term(next.term), proposal)?;
    }
    Ok((state, log))
}

fn sorted_rows(state: &State) -> BTreeMap<Vec<u8>, Vec<u8>> {
    state.rows().collect()
}

/// What the row of the cluster remembers of what operators were told.
fn told(state: &State) -> (Option<&Led>, &[RefusedAgent]) {
    (state.cluster.led.as_ref(), &state.cluster.refused)
}

/// The rows of what is decided, without the memory of requests and the clock that it moves.
fn decided_rows(state: &State) -> Vec<Row> {
    state.rows().filter(|(key, _)| !matches!(key.first(), Some(b'q' | b'c'))).collect()
}

/// Whether a retry may be the one for the other: what the leader saw when it proposed is nothing that anybody asked for.
fn ask_the_same(one: &Command, other: &Command) -> bool {
    use Command::{BeginCoordinatorChange as Begin, CancelCoordinatorChange as Cancel};
    match (one, other) {
        (Begin { change: one, .. }, Begin { change: other, .. }) => one == other,
        (Cancel { operation: one, .. }, Cancel { operation: other, .. }) => one == other,
        _ => one == other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_step_keeps_every_invariant(moves in any_moves()) {
        run(&moves, |before, _, _, after| {
            prop_assert_eq!(invariants::violations(after), Vec::<String>::new());
            prop_assert_eq!(invariants::transition_violations(before, after), Vec::<String>::new());
            Ok(())
        })?;
    }

    #[test]
    fn the_clock_never_goes_back_and_the_revision_counts_what_changed(moves in any_moves()) {
        run(&moves, |before, _, applied, after| {
            prop_assert!(after.now() >= before.now());
            prop_assert_eq!(after.revision().0 - before.revision().0, u64::from(applied.committed.is_some()));
            if let Some(committed) = &applied.committed {
                prop_assert_eq!(committed.revision, after.revision());
                prop_assert_eq!(committed.at, after.now());
                prop_assert!(!committed.events.is_empty());
            }
            Ok(())
        })?;
    }

    #[test]
    fn whatever_numbers_starts_come_with_there_is_room_for_those_that_follow(moves in any_moves()) {
        let mut steps = 0;
        run(&moves, |_, _, _, after| {
            steps += 1;
            let most = highest_start(after.now(), None).0 + steps * STARTS_AHEAD_OF_RECORD_MAX;
            let highest = after.hosts.values().map(|host| host.incarnation.0).max().unwrap_or(0);
            prop_assert!(highest <= most, "{highest} > {most}");
            Ok(())
        })?;
    }

    #[test]
    fn what_was_refused_or_needless_changes_nothing_but_the_memory_of_requests(moves in any_moves()) {
        run(&moves, |before, proposal, applied, after| {
            if applied.committed.is_some() {
                return Ok(());
            }
            prop_assert_eq!(decided_rows(before), decided_rows(after));
            prop_assert_eq!(told(before), told(after));
            prop_assert_eq!(&before.cluster.settings, &after.cluster.settings);
            if proposal.cause.request_id().is_none() {
                prop_assert_eq!(before.digest(), after.digest());
            }
            Ok(())
        })?;
    }

    #[test]
    fn what_was_accepted_as_a_change_changes_a_row(moves in any_moves()) {
        run(&moves, |before, proposal, applied, after| {
            if let Outcome::Accepted { changed, revision, .. } = &applied.outcome
                && applied.committed.is_some()
            {
                prop_assert!(*changed);
                prop_assert_eq!(*revision, after.revision());
                let rows_differ = decided_rows(before) != decided_rows(after) || told(before) != told(after);
                let forms = matches!(proposal.command, Command::CreateCluster { .. });
                prop_assert!(forms || rows_differ, "{:?}", proposal.command);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_replay_from_scratch_ends_with_the_same_state(moves in any_moves()) {
        let (state, log) = run(&moves, |_, _, _, _| Ok(()))?;
        let mut again = State::default();
        for (term, proposal) in &log {
            apply(&mut again, *term, proposal);
        }
        prop_assert_eq!(again.digest(), state.digest());
        prop_assert_eq!(again, state);
    }

    #[test]
    fn a_snapshot_and_the_tail_end_with_the_same_state(moves in any_moves(), cut in 0.0_f64..1.0) {
        let (state, log) = run(&moves, |_, _, _, _| Ok(()))?;
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let cut = (log.len() as f64 * cut) as usize;
        let mut again = State::default();
        for (term, proposal) in &log[..cut] {
            apply(&mut again, *term, proposal);
        }
        let mut again = State::from_rows(again.rows()).unwrap();
        for (term, proposal) in &log[cut..] {
            apply(&mut again, *term, proposal);
        }
        prop_assert_eq!(again.digest(), state.digest());
        prop_assert_eq!(again, state);
    }

    #[test]
    fn rows_make_the_same_state_again_in_any_order(moves in any_moves()) {
        run(&moves, |_, _, _, after| {
            let mut rows: Vec<Row> = after.rows().collect();
            rows.reverse();
            let again = State::from_rows(rows).unwrap();
            prop_assert_eq!(&again, after);
            prop_assert_eq!(again.digest(), after.digest());
            Ok(())
        })?;
    }

    #[test]
    fn the_changes_of_each_step_applied_to_stored_rows_give_the_new_rows(moves in any_moves()) {
        let mut stored = sorted_rows(&State::default());
        run(&moves, |before, _, _, after| {
            for (key, value) in after.changes_since(before) {
                match value {
                    Some(value) => stored.insert(key, value),
                    None => stored.remove(&key),
                };
            }
            prop_assert_eq!(&stored, &sorted_rows(after));
            Ok(())
        })?;
    }

    #[test]
    fn one_request_id_has_one_answer_and_no_second_effect(moves in any_moves()) {
        let mut first: BTreeMap<RequestId, (Command, Outcome)> = BTreeMap::new();
        run(&moves, |before, proposal, applied, after| {
            let Some(id) = proposal.cause.request_id() else { return Ok(()) };
            match first.get(id) {
                None => {
                    first.insert(id.clone(), (proposal.command.clone(), applied.outcome.clone()));
                }
                Some((command, outcome)) => {
                    let reused = Outcome::Refused(Rejection::RequestIdReused(id.clone()));
                    let expected = if ask_the_same(command, &proposal.command) { outcome } else { &reused };
                    prop_assert_eq!(&applied.outcome, expected);
                    prop_assert_eq!(before, after);
                }
            }
            Ok(())
        })?;
    }

    #[test]
    fn every_request_asked_again_at_the_end_hears_what_it_heard_first(moves in any_moves(), late in 0_u64..1_000_000) {
        let mut heard: Vec<(Proposal, Outcome)> = Vec::new();
        let (mut state, _) = run(&moves, |_, proposal, applied, _| {
            if proposal.cause.request_id().is_some() {
                heard.push((proposal.clone(), applied.outcome.clone()));
            }
            Ok(())
        })?;
        for (mut proposal, outcome) in heard {
            proposal.at.0 += late;
            let before = state.clone();
            prop_assert_eq!(apply(&mut state, Term(9), &proposal).outcome, outcome);
            prop_assert_eq!(&state, &before);
        }
    }
}

/// The properties above are worth what the sequences reach: every kind of event, and most refusals.
#[test]
fn arbitrary_sequences_reach_every_event_and_most_refusals() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut events, mut refusals) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..400 {
        let moves = any_moves().new_tree(&mut runner).unwrap().current();
        run(&moves, |_, _, applied, _| {
            for event in applied.committed.iter().flat_map(|committed| &committed.events) {
                *events.entry(event.name()).or_insert(0_u32) += 1;
            }
            if let Outcome::Refused(rejection) = &applied.outcome {
                *refusals.entry(rejection.code()).or_insert(0_u32) += 1;
            }
            Ok(())
        })
        .unwrap();
    }
    assert_eq!(events.len(), 46, "{events:#?}");
    assert!(events["PrimarySwitched"] > 100 && events["PrimaryStarted"] > 100, "{events:#?}");
    for event in ["VotersSwitched", "CoordinatorChangeCancelled", "CoordinatorChangeFinished"] {
        assert!(events[event] > 50, "{events:#?}");
    }
    assert!(refusals.len() >= 30, "{refusals:#?}");
}
