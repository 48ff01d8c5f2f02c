use super::*;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use todc_utils::{
    linearizability::{
        WGLChecker,
        history::{
            Action::{Call, Response},
            History,
        },
    },
    specifications::Specification,
};

const HISTORIES: u64 = 4_000;

fn write(invoked: u64, returned: u64, value: u32, revision: u64) -> Interval {
    Interval { invoked, returned, act: Act::Write { value, revision } }
}

fn read(invoked: u64, returned: u64, value: u32, revision: u64) -> Interval {
    Interval { invoked, returned, act: Act::Read { value, revision } }
}

fn maybe(invoked: u64, value: u32) -> Interval {
    Interval { invoked, returned: 0, act: Act::MaybeWrite { value } }
}

#[test]
fn histories_that_some_order_explains_pass() {
    let table: Vec<(&str, Vec<Interval>)> = vec![
        ("nothing happened", vec![]),
        ("the beginning is read", vec![read(1, 2, 0, 0)]),
        ("what was written is read", vec![write(1, 2, 7, 3), read(3, 4, 7, 3)]),
        ("writes at the same time", vec![write(1, 9, 7, 4), write(2, 8, 8, 3), read(10, 11, 7, 5)]),
        ("a read during a write", vec![write(1, 9, 7, 4), read(2, 3, 7, 4), read(4, 5, 7, 4)]),
        ("an unknown write that was never seen", vec![maybe(1, 7), read(2, 3, 0, 0)]),
        (
            "one that took effect late",
            vec![maybe(1, 7), read(2, 3, 0, 0), write(4, 5, 8, 2), read(6, 7, 7, 3)],
        ),
    ];
    for (what, history) in table {
        assert_eq!(check(&history), Ok(()), "{what}");
    }
}

#[test]
fn histories_that_no_order_explains_are_caught() {
    let table: Vec<(&str, Vec<Interval>)> = vec![
        ("a lost write", vec![write(1, 2, 7, 3), read(3, 4, 0, 3)]),
        ("a stale read", vec![write(1, 2, 7, 3), write(3, 4, 8, 4), read(5, 6, 7, 4)]),
        ("a read from the future", vec![read(1, 2, 7, 3), write(3, 4, 7, 3)]),
        ("two reads against each other", vec![write(1, 9, 7, 4), read(2, 3, 7, 4), read(4, 5, 0, 4)]),
        ("a revision that fell", vec![write(1, 2, 7, 5), write(3, 4, 8, 4)]),
        ("a revision given twice", vec![write(1, 2, 7, 5), write(1, 2, 8, 5)]),
        ("a read of an old state", vec![write(1, 2, 7, 5), read(3, 4, 7, 4)]),
        ("what was never written", vec![read(1, 2, 9, 1)]),
        ("an unknown write seen before it was sent", vec![read(1, 2, 7, 1), maybe(3, 7)]),
        (
            "an unknown write that came and went",
            vec![maybe(1, 7), read(2, 3, 7, 1), write(4, 5, 8, 2), read(6, 7, 8, 2), read(8, 9, 7, 2)],
        ),
    ];
    for (what, history) in table {
        assert!(check(&history).is_err(), "{what}");
    }
}

#[test]
fn a_long_history_with_many_clients_is_judged_at_once() {
    let mut history = Vec::new();
    for round in 0..2_000_u64 {
        let at = round * 10;
        let value = u32::try_from(round).unwrap() + 1;
        history.push(write(at, at + 9, value, round * 2 + 1));
        for reader in 1..6 {
            let (value, revision) =
                if reader % 2 == 0 { (value, round * 2 + 1) } else { (value - 1, round * 2) };
            history.push(read(at + reader, at + 9, value, revision));
        }
        history.push(maybe(at, 1_000_000 + value));
    }
    assert_eq!(check(&history), Ok(()));
    history.push(read(5_000, 5_001, 3, 7));
    assert!(check(&history).is_err());
}

/// The same register for the published checker.
struct Spec;

impl Specification for Spec {
    type State = Register;
    type Operation = Act;

    fn init() -> Register {
        Register::default()
    }

    fn apply(operation: &Act, state: &Register) -> (bool, Register) {
        let after = state.after(*operation);
        (after.is_some(), after.unwrap_or(*state))
    }
}

/// What the published checker says. It knows no unknown outcomes: each may take effect, at any time to the end, or not.
fn published(history: &[Interval]) -> bool {
    let unknown: Vec<usize> =
        (0..history.len()).filter(|index| matches!(history[*index].act, Act::MaybeWrite { .. })).collect();
    (0..1_u32 << unknown.len()).any(|chosen| {
        let left_out = |index: usize| {
            unknown.iter().position(|one| *one == index).is_some_and(|bit| chosen >> bit & 1 == 0)
        };
        let mut actions = Vec::new();
        for (index, one) in history.iter().enumerate().filter(|(index, _)| !left_out(*index)) {
            let end = if unknown.contains(&index) { u64::MAX } else { one.returned };
            actions.push((one.invoked, 0, index, Call(one.act)));
            actions.push((end, 1, index, Response(one.act)));
        }
        actions.sort_by_key(|(at, kind, index, _)| (*at, *kind, *index));
        let actions: Vec<_> = actions.into_iter().map(|(_, _, index, action)| (index, action)).collect();
        actions.is_empty() || WGLChecker::<Spec>::is_linearizable(History::from_actions(actions))
    })
}

/// A few operations that a register really did, each somewhere between its call and its answer; then, often, one answer
/// is changed.
fn random_history(random: &mut StdRng) -> Vec<Interval> {
    let count = random.random_range(1..=7);
    let mut points: Vec<(u64, u64, u64)> = (0..count)
        .map(|_| {
            let mut three = [0; 3].map(|_: u64| random.random_range(0..24));
            three.sort_unstable();
            (three[1], three[0], three[2])
        })
        .collect();
    points.sort_unstable();
    let (mut value, mut revision) = (0, 0);
    let mut history: Vec<Interval> = points
        .into_iter()
        .map(|(_, invoked, returned)| {
            let act = match random.random_range(0..5) {
                0 | 1 => Act::Read { value, revision },
                2 => {
                    let maybe = random.random_range(1..4);
                    if random.random_bool(0.5) {
                        value = maybe;
                    }
                    Act::MaybeWrite { value: maybe }
                }
                _ => {
                    value = random.random_range(1..4);
                    revision += random.random_range(1..3);
                    Act::Write { value, revision }
                }
            };
            Interval { invoked, returned, act }
        })
        .collect();
    if random.random_bool(0.6) {
        let spoiled = random.random_range(0..history.len());
        match &mut history[spoiled].act {
            Act::Read { value, revision } | Act::Write { value, revision } => {
                *value = random.random_range(0..4);
                *revision = revision.saturating_add_signed(random.random_range(-1..=1));
            }
            Act::MaybeWrite { value } => *value = random.random_range(1..4),
        }
    }
    history
}

#[test]
fn agrees_with_a_published_checker_on_thousands_of_small_histories() {
    let (mut good, mut bad) = (0, 0);
    for seed in 0..HISTORIES {
        let history = random_history(&mut StdRng::seed_from_u64(seed));
        let (ours, theirs) = (check(&history).is_ok(), published(&history));
        assert_eq!(ours, theirs, "seed {seed}: {history:#?}");
        *if ours { &mut good } else { &mut bad } += 1;
    }
    assert!(good > HISTORIES / 10 && bad > HISTORIES / 10, "{good} good and {bad} bad ones prove little");
}
