//! I19, as far as agents are concerned: whoever proposes it, one forming of the cluster is decided, and every leader says
//! that one to every agent.

use super::{Fact, Invariant};
use crate::time::Moment;
use quorate_domain::FormationId;

#[derive(Debug, Default)]
pub(super) struct OneFormation {
    first: Option<FormationId>,
}

impl Invariant for OneFormation {
    fn name(&self) -> &'static str {
        "I19 one forming of the cluster"
    }

    fn see(&mut self, fact: &Fact<'_>, _now: Moment) -> Result<(), String> {
        let Fact::Welcomed { machine, formation } = fact else { return Ok(()) };
        let Some(formation) = formation else {
            return Err(format!("node {machine} is welcomed to a cluster that was never formed"));
        };
        let first = self.first.get_or_insert_with(|| (*formation).clone());
        if first == *formation {
            return Ok(());
        }
        Err(format!(
            "node {machine} is welcomed to the cluster formed under {formation}; the first was {first}"
        ))
    }
}
