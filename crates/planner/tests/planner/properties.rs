//! Arbitrary states under arbitrary observations.

use crate::{
    arbitrary::{Move, any_move, disk, group, host, opening, reasons, verdict},
    world::line,
};
use proptest::{collection::vec, option, prelude::*};
use quorate_domain::{
    CoordinatorId, DiskIdentity, Epoch, GroupState, Incarnation, Outcome, Proposal, State, Term, Timestamp,
    apply,
};
use quorate_planner::{
    DiskObservation, GroupObservation, HostObservation, Mono, Observations, Plan, Planned, plan_all,
};

const NOW: Mono = Mono(100_000);

/// What was seen of one host, to be fitted to a state.
#[derive(Debug, Clone)]
struct Seen {
    /// 0 and 2 are other starts than the recorded one.
    start: u64,
    silent_ms: u64,
    connected: bool,
    stopping: bool,
    complete: bool,
    disks: Vec<Option<(u8, u8)>>,
    /// The report on each group: how far, and of the present epoch or the one before.
    groups: Vec<Option<(u8, bool)>>,
}

fn any_seen() -> impl Strategy<Value = Seen> {
    let start = prop_oneof![8 => Just(1_u64), 1 => Just(0), 1 => Just(2)];
    let stopping = prop_oneof![5 => Just(false), 1 => Just(true)];
    let disks = vec(option::of((0_u8..4, 0_u8..3)), 2);
    let groups = vec(option::of((0_u8..4, prop_oneof![4 => Just(true), 1 => Just(false)])), 2);
    (start, 0_u64..12_000, any::<bool>(), stopping, any::<bool>(), disks, groups).prop_map(
        |(start, silent_ms, connected, stopping, complete, disks, groups)| Seen {
            start,
            silent_ms,
            connected,
            stopping,
            complete,
            disks,
            groups,
        },
    )
}

impl Seen {
    fn observation(&self, state: &State, number: u8) -> HostObservation {
        let known = state.hosts.get(&host(number)).map_or(0, |host| host.incarnation.0);
        let mut seen = HostObservation {
            incarnation: Incarnation((known + self.start).saturating_sub(1)),
            last_contact: Mono(NOW.0 - self.silent_ms),
            connected: self.connected,
            stopping: self.stopping,
            disks_complete: self.complete,
            ..HostObservation::default()
        };
        for (name, report) in (0_u8..).zip(&self.disks) {
            let Some((choice, identity)) = report else { continue };
            let report = DiskObservation {
                identity: DiskIdentity(["", "medium-a", "medium-b"][usize::from(*identity)].into()),
                path: "/data".into(),
                capacity_bytes: 1_000,
                free_bytes: 1,
                verdict: verdict(*choice),
                reasons: reasons(*choice),
                checked_at: Timestamp(1),
            };
            seen.disks.insert(disk(name), report);
        }
        for (name, report) in (0_u8..).zip(&self.groups) {
            let Some((choice, present)) = report else { continue };
            let epoch = state.groups.get(&group(name)).map_or(1, |group| group.epoch.0);
            let states =
                [GroupState::Installed, GroupState::Acting, GroupState::Ended, GroupState::StartFailed];
            let report = GroupObservation {
                epoch: Epoch(epoch - u64::from(!present)),
                state: states[usize::from(*choice)],
                reason: "test".into(),
            };
            seen.groups.insert(group(name), report);
        }
        seen
    }
}

/// A state that some moves led to, and what a leader may have seen of it.
fn any_view() -> impl Strategy<Value = (State, Observations)> {
    let ages = vec(option::weighted(0.8, 0_u64..40_000), 2);
    (
        vec(any_move(), 0..80),
        vec(option::weighted(0.8, any_seen()), 4),
        ages,
        0_u64..20_000,
        -5_000_i64..5_000,
    )
        .prop_map(|(moves, seen, ages, led_ms, observe)| {
            let state = reached(&moves);
            let mut observations = Observations {
                leader: CoordinatorId(1),
                term: Term(3),
                led_since: Mono(NOW.0 - led_ms),
                observe_until: Mono(NOW.0.saturating_add_signed(observe)),
                ..Observations::default()
            };
            for (number, seen) in (0_u8..).zip(&seen) {
                if let Some(seen) = seen {
                    observations.hosts.insert(host(number), seen.observation(&state, number));
                }
            }
            observations.note_applied(&state, NOW);
            for (noted, age_ms) in observations.revoked_since.values_mut().zip(&ages) {
                noted.0 -= age_ms.unwrap_or(0);
            }
            (state, observations)
        })
}

fn reached(moves: &[Move]) -> State {
    let mut state = State::default();
    for (term, proposal) in opening() {
        apply(&mut state, term, &proposal);
    }
    for step in moves {
        let proposal = step.proposal(&state);
        apply(&mut state, Term(step.term), &proposal);
    }
    state
}

fn propose(state: &mut State, term: Term, planned: &Planned) -> Outcome {
    let cause = quorate_domain::Cause::Planner { rule: planned.rule.to_owned() };
    let proposal = Proposal::new(state.now(), cause, planned.command.clone());
    apply(state, term, &proposal).outcome
}

/// A plan without what changes with every millisecond.
fn outline(plan: &Plan) -> Vec<String> {
    plan.commands
        .iter()
        .map(|planned| {
            let line = line(&planned.command);
            let steady = line.split(" waited ").next().unwrap_or_default();
            format!("{}: {steady}", planned.rule)
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_planned_command_is_accepted_and_changes_something((state, observations) in any_view()) {
        for planned in plan_all(&state, &observations, NOW).commands {
            let mut copy = state.clone();
            let outcome = propose(&mut copy, observations.term, &planned);
            prop_assert!(
                matches!(outcome, Outcome::Accepted { changed: true, .. }),
                "{planned:?}: {outcome:?}"
            );
            prop_assert_eq!(quorate_domain::invariants::violations(&copy), Vec::<String>::new());
        }
    }

    #[test]
    fn a_command_of_a_plan_is_refused_in_another_term_only_if_it_rests_on_a_wait((state, observations) in any_view()) {
        for planned in plan_all(&state, &observations, NOW).commands {
            let mut copy = state.clone();
            let outcome = propose(&mut copy, Term(99), &planned);
            let waited = line(&planned.command).contains(" waited ");
            prop_assert_eq!(matches!(outcome, Outcome::Refused(_)), waited, "{:?}", planned);
        }
    }

    #[test]
    fn nothing_new_is_wanted_before_the_plan_says_so((state, observations) in any_view(), ahead_ms in 0_u64..50_000) {
        let plan = plan_all(&state, &observations, NOW);
        let later = NOW.plus_ms(ahead_ms).min(plan.wake_at.map_or(Mono(u64::MAX), |at| Mono(at.0 - 1)));
        prop_assert!(plan.wake_at.is_none_or(|at| at > NOW));
        prop_assert_eq!(outline(&plan), outline(&plan_all(&state, &observations, later)));
    }

    #[test]
    fn planning_and_applying_comes_to_rest((mut state, mut observations) in any_view()) {
        for _ in 0..20 {
            let plan = plan_all(&state, &observations, NOW);
            if plan.commands.is_empty() {
                return Ok(());
            }
            for planned in &plan.commands {
                propose(&mut state, observations.term, planned);
                observations.note_applied(&state, NOW);
            }
        }
        prop_assert!(false, "still planning: {:?}", plan_all(&state, &observations, NOW));
    }
}
