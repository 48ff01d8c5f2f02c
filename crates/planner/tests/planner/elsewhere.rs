//! Coordinators that go on in another place: what is said of them by the others, and by themselves.

use crate::{
    warnings::{short, well},
    world::World,
};
use quorate_domain::CoordinatorId;
use quorate_planner::warnings::{Coordinators, Elsewhere, Finding, Problem, WaitsFor, Warning};

const BY_AN_OPERATOR: &str = "start the moved coordinator (2) once with --original-is-gone, if nothing runs, nor ever \
                              will, on any folder that its folder is a copy of";

fn told(all: &Coordinators) -> Vec<Warning> {
    World::new().warned_by(all).listed
}

fn ids(ids: &[u64]) -> std::collections::BTreeSet<CoordinatorId> {
    ids.iter().copied().map(CoordinatorId).collect()
}

fn finding(problem: Problem, for_ms: u64) -> Finding {
    Finding { problem, address: "b:7400".into(), for_ms }
}

#[test]
fn each_thing_that_a_start_waits_for_has_its_own_words_and_remedy() {
    let one = |whence: Option<&str>, waits_for| {
        let whence = whence.map(str::to_owned);
        let start = "4b6c (number 8)".to_owned();
        let moved = Elsewhere { id: CoordinatorId(2), start, whence, waits_for, for_ms: 12_000 };
        let found = told(&Coordinators { elsewhere: vec![moved], ..well() });
        assert_eq!(
            found.iter().map(short).collect::<Vec<_>>(),
            ["critical COORDINATOR_ELSEWHERE coordinator 2"]
        );
        (found[0].text.clone(), found[0].remedy.clone())
    };
    let (text, remedy) = one(Some("10.0.0.9"), WaitsFor::Promises(ids(&[3])));
    assert_eq!(
        text,
        "coordinator 2 goes on in another place by start 4b6c (number 8), heard from 10.0.0.9, and does not count: these \
         coordinators have not agreed to it: 3"
    );
    assert!(remedy.contains(BY_AN_OPERATOR), "{remedy}");
    let (text, remedy) = one(None, WaitsFor::Silence);
    assert!(text.contains("may still run") && !text.contains("heard from"), "{text}");
    assert!(!remedy.contains("--original-is-gone") && remedy.contains("in one place only"), "{remedy}");
    let (text, remedy) = one(None, WaitsFor::TakenBack { by: "91d0 (number 9)".into(), missing: ids(&[3]) });
    assert!(
        text.starts_with(
            "coordinator 2 was started again (start 91d0 (number 9)) in a place that it had left"
        ),
        "{text}"
    );
    assert!(text.contains("by start 4b6c (number 8)") && text.ends_with("counted it: 3"), "{text}");
    assert!(!remedy.contains("start the moved coordinator"), "{remedy}");
    assert!(remedy.contains("start its copy again") && remedy.contains("bring back 3"), "{remedy}");
}

#[test]
fn coordinators_that_were_moved_at_the_same_time_are_not_told_to_wait_for_each_other() {
    type Row<'a> = (&'a str, Vec<(u64, WaitsFor)>, Vec<(u64, Option<&'a str>)>);
    let start_them = "start the coordinators that have not agreed";
    let (promises, back) = (
        |missing: &[u64]| WaitsFor::Promises(ids(missing)),
        || WaitsFor::TakenBack { by: "91d0 (number 9)".into(), missing: ids(&[3]) },
    );
    // What this coordinator (1) has looked into, and whom each remedy takes for moved; none where it names who is to be started.
    let table: [Row<'_>; 7] = [
        ("one, while another is lost", vec![(2, promises(&[3]))], vec![(2, None)]),
        (
            "two, which wait for each other",
            vec![(2, promises(&[3])), (3, promises(&[2]))],
            vec![(2, Some("(2, 3)")), (3, Some("(2, 3)"))],
        ),
        (
            "three of five",
            vec![(2, promises(&[3, 4])), (3, promises(&[2, 4])), (4, promises(&[2, 3]))],
            vec![(2, Some("(2, 3, 4)")), (3, Some("(2, 3, 4)")), (4, Some("(2, 3, 4)"))],
        ),
        (
            "two, one of which is not gone in its old place",
            vec![(2, promises(&[3])), (3, WaitsFor::Silence)],
            vec![(2, Some("(2, 3)"))],
        ),
        (
            "two, while a third waits for the lost 5 alone",
            vec![(2, promises(&[5])), (3, promises(&[5]))],
            vec![(2, None), (3, None)],
        ),
        ("one, and one that was taken back", vec![(2, promises(&[3])), (3, back())], vec![(2, None)]),
        ("this one and another", vec![(3, WaitsFor::ThisOne)], vec![(3, Some("(1, 3)"))]),
    ];
    for (name, waiting, expected) in table {
        let elsewhere = waiting.into_iter().map(|(id, waits_for)| {
            let start = "4b6c (number 8)".to_owned();
            Elsewhere { id: CoordinatorId(id), start, whence: None, waits_for, for_ms: 12_000 }
        });
        let found = told(&Coordinators { elsewhere: elsewhere.collect(), ..well() });
        for (id, moved) in expected {
            let subject = format!("critical COORDINATOR_ELSEWHERE coordinator {id}");
            let warning = found.iter().find(|warning| short(warning) == subject).unwrap();
            let remedy = &warning.remedy;
            assert_eq!(remedy.contains(start_them), moved.is_none(), "{name}, {id}: {remedy}");
            assert!(
                remedy.contains("once with --original-is-gone, if nothing runs"),
                "{name}, {id}: {remedy}"
            );
            let Some(moved) = moved else { continue };
            let begins = format!("coordinators that were moved at the same time {moved} have no witness");
            assert!(remedy.starts_with(&begins), "{name}, {id}: {remedy}");
            let first = format!("start one of them, {} say, once", &moved[1..2]);
            assert!(remedy.contains(&first) && remedy.contains("once it counts, the next one"), "{remedy}");
        }
    }
}

#[test]
fn of_those_that_have_not_agreed_the_ones_that_were_not_moved_are_to_be_started() {
    let waiting = |id, missing| {
        let start = "4b6c (number 8)".to_owned();
        let waits_for = WaitsFor::Promises(ids(missing));
        Elsewhere { id: CoordinatorId(id), start, whence: None, waits_for, for_ms: 12_000 }
    };
    let elsewhere = vec![waiting(2, &[3, 5]), waiting(3, &[2, 5])];
    let found = told(&Coordinators { elsewhere, ..well() });
    assert_eq!(found.len(), 2);
    for warning in found {
        assert!(
            warning.remedy.ends_with("; start those too that have not agreed and were not moved (5)"),
            "{warning:?}"
        );
    }
}

#[test]
fn the_one_that_goes_on_there_says_so_itself_and_calls_nobody_lost() {
    let mut all = Coordinators { this: CoordinatorId(2), leads: false, ..well() };
    let why = || "these coordinators have not agreed to it: 3".to_owned();
    all.others[0] = quorate_planner::warnings::Contact { id: CoordinatorId(1), ..all.others[0].clone() };
    for contact in &mut all.others {
        contact.silent_ms = None;
        contact.findings = vec![finding(Problem::DoesNotCountThis { why: why(), left: false }, 9_000)];
    }
    assert_eq!(told(&all), [], "as after every boot");
    for contact in &mut all.others {
        contact.findings[0].for_ms = 14_000;
    }
    let found = told(&all);
    assert_eq!(found.iter().map(short).collect::<Vec<_>>(), ["critical COORDINATOR_ELSEWHERE coordinator 2"]);
    let text = "this coordinator (2) goes on in another place and does not count yet at 1, 3; coordinator 1 says: these \
                coordinators have not agreed to it: 3";
    assert_eq!(found[0].text, text);
    assert!(found[0].remedy.contains(BY_AN_OPERATOR), "{found:?}");

    let start = "4b6c (number 8)".to_owned();
    let waits_for = WaitsFor::ThisOne;
    let other = Elsewhere { id: CoordinatorId(3), start, whence: None, waits_for, for_ms: 14_000 };
    for warning in told(&Coordinators { elsewhere: vec![other], ..all.clone() }) {
        let text = "coordinators that were moved at the same time (2, 3) have no witness";
        assert!(warning.remedy.starts_with(text), "{warning:?}");
    }

    all.others[1].findings[0].problem = Problem::DoesNotCountThis { why: why(), left: true };
    let found = told(&all);
    assert!(found[0].text.contains("was started again in a place that it had left"), "{found:?}");
    assert!(found[0].remedy.contains("start its copy again"), "{found:?}");
    assert!(!found[0].remedy.contains("start the moved coordinator"), "{found:?}");
}

#[test]
fn whose_answers_are_not_taken_is_not_said_to_refuse() {
    let judged = |waits, for_ms, looked_into: bool| {
        let mut all = well();
        let why = "another process answers there".to_owned();
        all.others[0].findings = vec![finding(Problem::NotTaken { why, waits }, for_ms)];
        if looked_into {
            let start = "4b6c (number 8)".to_owned();
            let waits_for = WaitsFor::Silence;
            all.elsewhere = vec![Elsewhere { id: CoordinatorId(2), start, whence: None, waits_for, for_ms }];
        }
        told(&all)
    };
    let found = judged(false, 100, false);
    assert_eq!(found.iter().map(short).collect::<Vec<_>>(), ["warning COORDINATOR_REFUSES coordinator 2"]);
    let text =
        "what coordinator 2 answers is not taken by this one, at b:7400: another process answers there";
    assert_eq!(found[0].text, text);
    // One that may count yet is told of once, by whoever looked into it.
    assert_eq!(judged(true, 9_000, false), []);
    let codes = |found: Vec<Warning>| found.iter().map(short).collect::<Vec<_>>();
    assert_eq!(codes(judged(true, 14_000, true)), ["critical COORDINATOR_ELSEWHERE coordinator 2"]);
    assert_eq!(codes(judged(true, 14_000, false)), ["warning COORDINATOR_REFUSES coordinator 2"]);
}
