//! I11: nothing is done below the highest epoch that a host has stored, and nothing under an epoch that is not stored.
//!
//! Replicas with sealed epochs of their own join with the data; until then the host is the replica.

use super::{Fact, Invariant};
use crate::time::Moment;

#[derive(Debug)]
pub(super) struct NoLowerEpoch;

impl Invariant for NoLowerEpoch {
    fn name(&self) -> &'static str {
        "I11 no replica takes I/O below its sealed epoch"
    }

    fn see(&mut self, fact: &Fact<'_>, _now: Moment) -> Result<(), String> {
        let Fact::Claims { claim, stored, named } = fact else { return Ok(()) };
        if !claim.fresh || (*stored == Some(claim.epoch) && *named) {
            return Ok(());
        }
        Err(format!(
            "node {} acts for {} under epoch {} and its disk has {stored:?}, named as its own: {named}",
            claim.machine, claim.group, claim.epoch
        ))
    }
}
