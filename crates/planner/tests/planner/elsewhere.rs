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
