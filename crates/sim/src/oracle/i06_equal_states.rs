//! I6: an equal applied index means an equal state; a snapshot with the tail behind it equals the full replay.

use super::{Fact, Invariant, asked};
use crate::time::Moment;
use quorate_domain::{Applied, State};
use std::collections::BTreeMap;

/// The whole state is compared at every so many entries; the outcome of every command always is.
const STATES_EVERY: u64 = 8;

#[derive(Debug, Default)]
pub(super) struct EqualStates {
    outcomes: BTreeMap<(u64, usize), Applied>,
    states: BTreeMap<u64, State>,
    last: Option<(u64, State)>,
}

impl Invariant for EqualStates {
    fn name(&self) -> &'static str {
        "I6 equal applied index means equal state"
    }

    fn see(&mut self, fact: &Fact<'_>, _now: Moment) -> Result<(), String> {
        match *fact {
            Fact::Applied { node, entry, nth, proposal, applied, .. } => {
                let first = self.outcomes.entry((entry.index, nth)).or_insert_with(|| applied.clone());
                if first == applied {
                    return Ok(());
                }
                Err(format!(
                    "c{} applied command {nth} of entry {} ({}) and came to {:?}; the first one came to {:?}",
                    node + 1,
                    entry.index,
                    asked(proposal),
                    applied.outcome,
                    first.outcome
                ))
            }
            Fact::Through { node, index, state } => {
                if self.last.as_ref().is_none_or(|(last, _)| *last < index) {
                    self.last = Some((index, state.clone()));
                }
                if index % STATES_EVERY == 0 { self.compare(node, index, state) } else { Ok(()) }
            }
            Fact::Restored { node, at, state } if at.index > 0 => self.compare(node, at.index, state),
            _ => Ok(()),
        }
    }
}

impl EqualStates {
    fn compare(&mut self, node: usize, index: u64, state: &State) -> Result<(), String> {
        let last = self.last.as_ref().filter(|(last, _)| *last == index).map(|(_, state)| state.clone());
        let first = self.states.entry(index).or_insert_with(|| last.unwrap_or_else(|| state.clone()));
        if first == state {
            return Ok(());
        }
        Err(format!("c{} has another state at entry {index}: {}", node + 1, difference(first, state)))
    }
}

/// The first row that differs.
fn difference(first: &State, other: &State) -> String {
    let rows: BTreeMap<_, _> = first.rows().collect();
    let others: BTreeMap<_, _> = other.rows().collect();
    rows.keys()
        .chain(others.keys())
        .find(|key| rows.get(*key) != others.get(*key))
        .map_or_else(|| "an index".to_owned(), |key| format!("row {:?}", String::from_utf8_lossy(key)))
}
