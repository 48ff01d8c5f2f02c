//! I7: client history is linearizable; a timeout is *unknown*.
//!
//! The order of revisions is the witness: if every operation can stand at its revision without breaking the order of
//! real time, and every read shows what its revision holds, the history is linearizable. No search is needed.

use super::{Fact, Invariant, events};
use crate::{
    message::{Answers, Asks},
    time::Moment,
};
use quorate_domain::{Event, GroupId, Outcome, RequestId, Revision};
use std::collections::BTreeMap;

/// The label that is the register of a group.
pub(crate) const REGISTER: &str = "register";

/// Names an operation.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Operation {
    Change(RequestId),
    Read(usize, u64),
}

fn operation(client: usize, number: u64, asks: &Asks) -> Operation {
    match asks {
        Asks::Change { request, .. } => Operation::Change(request.clone()),
        Asks::Read(_) => Operation::Read(client, number),
    }
}

#[derive(Debug, Default)]
pub(super) struct Linearizable {
    /// The highest revision that any client has been shown.
    shown: u64,
    /// The same when an operation began: a change under a request id begins when the id is first used.
    floors: BTreeMap<Operation, u64>,
    /// What each register holds from which revision on.
    registers: BTreeMap<GroupId, BTreeMap<u64, Option<String>>>,
    decided: u64,
}

impl Invariant for Linearizable {
    fn name(&self) -> &'static str {
        "I7 client history is linearizable"
    }

    fn see(&mut self, fact: &Fact<'_>, _now: Moment) -> Result<(), String> {
        match *fact {
            Fact::Asked { client, number, asks } => {
                self.floors.entry(operation(client, number, asks)).or_insert(self.shown);
                Ok(())
            }
            Fact::Returned { client, number, asks, answers } => {
                let floor = self.floors.get(&operation(client, number, asks)).copied().unwrap_or(0);
                self.returned(floor, asks, answers)
            }
            Fact::Decided { applied, .. } => {
                let Some(committed) = &applied.committed else { return Ok(()) };
                self.decided = self.decided.max(committed.revision.0);
                for event in events(applied) {
                    self.note(committed.revision, event);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Linearizable {
    fn note(&mut self, revision: Revision, event: &Event) {
        let (group, value) = match event {
            Event::GroupCreated { group, labels, .. } => (group, labels.get(REGISTER).cloned()),
            Event::GroupLabelsChanged { group, labels } => match labels.get(REGISTER) {
                Some(value) => (group, Some(value.clone()).filter(|value| !value.is_empty())),
                None => return,
            },
            Event::GroupDeleted { group, .. } => (group, None),
            _ => return,
        };
        self.registers.entry(group.clone()).or_default().insert(revision.0, value);
    }

    fn returned(&mut self, floor: u64, asks: &Asks, answers: &Answers) -> Result<(), String> {
        let revision = match answers {
            Answers::Done(Outcome::Accepted { revision, changed, .. }) => {
                if revision.0 < floor || (*changed && revision.0 <= floor) {
                    return Err(format!(
                        "{asks:?} took effect at revision {revision}, before it was asked for: {floor} had been shown"
                    ));
                }
                revision.0
            }
            Answers::Value { revision, value } => {
                self.read(floor, asks, *revision, value.as_ref())?;
                revision.0
            }
            _ => return Ok(()),
        };
        if revision > self.decided {
            return Err(format!("{asks:?} was answered from revision {revision}, which nobody has decided"));
        }
        self.shown = self.shown.max(revision);
        Ok(())
    }

    fn read(
        &self,
        floor: u64,
        asks: &Asks,
        revision: Revision,
        value: Option<&String>,
    ) -> Result<(), String> {
        if revision.0 < floor {
            return Err(format!(
                "{asks:?} shows revision {revision}: {floor} had been shown before it began"
            ));
        }
        let Asks::Read(group) = asks else { return Ok(()) };
        let register = self.registers.get(group);
        let held = register.and_then(|register| register.range(..=revision.0).next_back());
        let expected = held.and_then(|(_, value)| value.as_ref());
        if expected == value {
            return Ok(());
        }
        Err(format!("{asks:?} shows {value:?} at revision {revision}, which holds {expected:?}"))
    }
}
