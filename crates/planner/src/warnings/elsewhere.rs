//! Coordinators that go on in another place and do not count yet: one of the others that has looked into it says so, and
//! so does the one that goes on there.

use super::{
    Code, Severity, Since, Subject,
    coordinators::{Coordinators, Finding, Problem},
    list::{Drafts, Words},
};
use quorate_domain::CoordinatorId;
use std::{collections::BTreeSet, fmt};

/// A start that counts this soon is worth no warning, as after every boot: six seconds of silence are asked for.
pub const WAITS_IN_SILENCE_MS: u64 = 10_000;

/// A coordinator that goes on in another place, by the word of one that has looked into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// Which.
    pub id: CoordinatorId,
    /// Its start in the other place, in words.
    pub start: String,
    /// Where that start was last heard from, if it was heard here.
    pub whence: Option<String>,
    /// Why it does not count.
    pub waits_for: WaitsFor,
    /// For how long it has waited.
    pub for_ms: u64,
}

/// What a start waits for before it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WaitsFor {
    /// That the start on record is gone.
    Silence,
    /// That these coordinators promise it.
    Promises(BTreeSet<CoordinatorId>),
    /// That the coordinator which has looked into it counts itself: it goes on in another place too.
    ThisOne,
    /// It was promised here, and its coordinator was started again in the place that it had left.
    TakenBack {
        /// The start in that place, in words.
        by: String,
        /// Those that may have counted the start in question, and have not said that they did not.
        missing: BTreeSet<CoordinatorId>,
    },
}

fn listed(ids: &BTreeSet<CoordinatorId>) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silence => f.write_str(
                "the start on record may still run: it was heard lately, or another process answers at the address on record",
            ),
            Self::Promises(missing) if missing.is_empty() => f.write_str("it is not known here yet who votes"),
            Self::Promises(missing) => {
                write!(f, "these coordinators have not agreed to it: {}", listed(missing))
            }
            Self::ThisOne => f.write_str(
                "this coordinator goes on in another place itself, and does not count yet either",
            ),
            Self::TakenBack { missing, .. } => write!(
                f,
                "it was promised, which is not taken back before these coordinators say that they have not counted it: {}",
                listed(missing)
            ),
        }
    }
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, start, whence, waits_for, .. } = self;
        if let WaitsFor::TakenBack { by, .. } = waits_for {
            return write!(
                f,
                "coordinator {id} was started again (start {by}) in a place that it had left, and does not count: it went on \
                 in another place by start {start}, and {waits_for}"
            );
        }
        let whence = whence.as_ref().map_or_else(String::new, |whence| format!(", heard from {whence},"));
        write!(
            f,
            "coordinator {id} goes on in another place by start {start}{whence} and does not count: {waits_for}"
        )
    }
}

impl WaitsFor {
    fn remedy(&self, id: CoordinatorId, all: &Coordinators) -> String {
        match self {
            Self::Silence => format!(
                "let coordinator {id} run in one place only, at its address on record; it is looked at again every two seconds"
            ),
            Self::Promises(missing) => {
                let moved = moved(all);
                if missing.is_disjoint(&moved) {
                    by_the_word_of_an_operator(id)
                } else {
                    without_a_witness(&moved, missing)
                }
            }
            Self::ThisOne => without_a_witness(&moved(all), &BTreeSet::new()),
            Self::TakenBack { missing, .. } => back_to_the_copy(id, &listed(missing)),
        }
    }
}

/// Those that go on in another place, as far as it is known here, and do not count yet: none of them agrees to another one.
fn moved(all: &Coordinators) -> BTreeSet<CoordinatorId> {
    let left = |waits_for: &WaitsFor| matches!(waits_for, WaitsFor::TakenBack { .. });
    let others = all.elsewhere.iter().filter(|moved| !left(&moved.waits_for)).map(|moved| moved.id);
    let mut findings = all.others.iter().flat_map(|contact| &contact.findings);
    let counts_not =
        |finding: &Finding| matches!(finding.problem, Problem::DoesNotCountThis { left: false, .. });
    // One that meets another which waits for it goes on in another place too, whoever has said so.
    let waits =
        findings.any(counts_not) || all.elsewhere.iter().any(|moved| moved.waits_for == WaitsFor::ThisOne);
    others.chain(waits.then_some(all.this)).collect()
}

/// What helps coordinators that were moved at the same time. `missing` have not agreed: starting them helps only where they
/// were not moved.
fn without_a_witness(moved: &BTreeSet<CoordinatorId>, missing: &BTreeSet<CoordinatorId>) -> String {
    let first = moved.first().map_or_else(String::new, |id| format!(", {id} say,"));
    let down: BTreeSet<_> = missing.difference(moved).copied().collect();
    let down = if down.is_empty() {
        String::new()
    } else {
        format!("; start those too that have not agreed and were not moved ({})", listed(&down))
    };
    format!(
        "coordinators that were moved at the same time ({}) have no witness, for each waits for the others: start one of \
         them{first} once with --original-is-gone, if nothing runs, nor ever will, on any folder that its folder is a copy \
         of; once it counts, the next one in the same way, if that still waits{down}",
        listed(moved)
    )
}

fn by_the_word_of_an_operator(id: CoordinatorId) -> String {
    format!(
        "start the coordinators that have not agreed; if one of them is lost, start the moved coordinator ({id}) once with \
         --original-is-gone, if nothing runs, nor ever will, on any folder that its folder is a copy of"
    )
}

/// A lost coordinator may have counted the copy: its promise is not taken back without it, whatever an operator says.
fn back_to_the_copy(id: CoordinatorId, missing: &str) -> String {
    let back = if missing.is_empty() { "the coordinators that are lost" } else { missing };
    format!(
        "stop coordinator {id} there and start its copy again, in the place that it went to; or bring back {back}. \
         --original-is-gone does not help the original"
    )
}

pub(super) fn add<'a>(found: &mut Drafts<'a>, all: &'a Coordinators) {
    for moved in &all.elsewhere {
        let since = Some(Since { ms: moved.for_ms, at_least: false });
        let code = (Severity::Critical, Code::CoordinatorElsewhere);
        found.add(code, Subject::Coordinator(moved.id), since, move || {
            Words::new(moved.to_string(), moved.waits_for.remedy(moved.id, all))
        });
    }
    own(found, all);
}

/// This coordinator itself is the one that does not count yet.
fn own<'a>(found: &mut Drafts<'a>, all: &'a Coordinators) {
    let id = all.this;
    let mut at = BTreeSet::new();
    let (mut ms, mut said, mut was_left) = (0, None, false);
    for contact in &all.others {
        for finding in &contact.findings {
            if let Problem::DoesNotCountThis { why, left } = &finding.problem {
                at.insert(contact.id);
                ms = ms.max(finding.for_ms);
                was_left |= *left;
                said = said.or(Some((contact.id, why)));
            }
        }
    }
    let Some((by, why)) = said.filter(|_| ms >= WAITS_IN_SILENCE_MS) else { return };
    let code = (Severity::Critical, Code::CoordinatorElsewhere);
    let since = Some(Since { ms, at_least: false });
    found.add(code, Subject::Coordinator(id), since, move || {
        let at = listed(&at);
        if was_left {
            let text = format!(
                "this coordinator ({id}) was started again in a place that it had left, and does not count at {at}; \
                 coordinator {by} says: {why}"
            );
            return Words::new(text, back_to_the_copy(id, ""));
        }
        let text = format!(
            "this coordinator ({id}) goes on in another place and does not count yet at {at}; coordinator {by} says: {why}"
        );
        let moved = moved(all);
        let remedy = if moved.len() > 1 {
            without_a_witness(&moved, &BTreeSet::new())
        } else {
            by_the_word_of_an_operator(id)
        };
        Words::new(text, remedy)
    });
}
