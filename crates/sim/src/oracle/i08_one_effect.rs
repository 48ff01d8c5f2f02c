//! I8: one request id, at most one effect, the same answer.

use super::{Fact, Invariant};
use crate::{
    message::{Answers, Asks},
    time::Moment,
};
use quorate_domain::{Outcome, RequestId, Revision};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct OneEffect {
    effects: BTreeMap<RequestId, Revision>,
    answers: BTreeMap<RequestId, Outcome>,
}

impl Invariant for OneEffect {
    fn name(&self) -> &'static str {
        "I8 one request id, at most one effect, the same answer"
    }

    fn see(&mut self, fact: &Fact<'_>, _now: Moment) -> Result<(), String> {
        match *fact {
            Fact::Decided { proposal, applied, .. } => {
                let (Some(id), Some(committed)) = (proposal.cause.request_id(), &applied.committed) else {
                    return Ok(());
                };
                match self.effects.insert(id.clone(), committed.revision) {
                    Some(first) => Err(format!(
                        "request {id} took effect at revision {first} and again at {}",
                        committed.revision
                    )),
                    None => Ok(()),
                }
            }
            Fact::Returned {
                asks: Asks::Change { request, .. }, answers: Answers::Done(outcome), ..
            } => {
                let first = self.answers.entry(request.clone()).or_insert_with(|| outcome.clone());
                if first == outcome {
                    return Ok(());
                }
                Err(format!("request {request} was answered {first:?} and then {outcome:?}"))
            }
            _ => Ok(()),
        }
    }
}
