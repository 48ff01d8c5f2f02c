//! What a coordinator is told of itself.

use crate::{
    warnings::{short, well},
    world::World,
};
use quorate_planner::warnings::{Code, Coordinators, Finding, LostLines, Problem};

#[test]
fn a_coordinator_that_stands_still_or_loses_lines_of_its_log_says_so() {
    let told = |coordinators: &Coordinators| -> Vec<String> {
        World::new().warned_by(coordinators).listed.iter().map(short).collect()
    };
    assert_eq!(
        told(&Coordinators { stands_still: true, ..well() }),
        ["warning PART_STANDS_STILL coordinator 1"]
    );
    let lost = |lately_ms| Coordinators { lost_lines: LostLines { count: 7, lately_ms }, ..well() };
    assert_eq!(told(&lost(Some(2_000))), ["warning LOG_LINES_LOST coordinator 1"]);
    assert_eq!(told(&lost(None)), ["note LOG_LINES_LOST coordinator 1"], "it was long ago");
    let text = |coordinators: &Coordinators| {
        let found = World::new().warned_by(coordinators);
        let lost = found.listed.into_iter().find(|warning| warning.code == Code::LogLinesLost);
        lost.map(|warning| warning.text)
    };
    let expected = "7 lines of the log of coordinator 1 are lost since it started, the last 2.0 s ago";
    assert_eq!(text(&lost(Some(2_000))).as_deref(), Some(expected));
}

#[test]
fn what_stands_still_or_is_lost_at_another_coordinator_is_told_under_its_own_id() {
    let told = |problem| -> Vec<String> {
        let mut all = well();
        all.others[1].findings = vec![Finding { problem, address: "c:1".into(), for_ms: 4_000 }];
        World::new().warned_by(&all).listed.iter().map(short).collect()
    };
    let lost = |lately_ms| Problem::LostLines(LostLines { count: 7, lately_ms });
    assert_eq!(told(Problem::StandsStill), ["warning PART_STANDS_STILL coordinator 3"]);
    assert_eq!(told(lost(Some(2_000))), ["warning LOG_LINES_LOST coordinator 3"]);
    assert_eq!(told(lost(None)), ["note LOG_LINES_LOST coordinator 3"]);
}
