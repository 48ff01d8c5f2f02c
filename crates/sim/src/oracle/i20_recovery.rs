//! I20: a healed cluster has a leader within 5 s, one primary per healthy group within 15 s, equal state within 30 s;
//! no change of coordinators stays open.

use super::{Fact, Invariant};
use crate::time::Moment;

/// A leader, after this long.
pub(crate) const LEADER_MS: u64 = 5_000;
/// A primary for every healthy group.
const PRIMARIES_MS: u64 = 15_000;
/// A change of coordinators has ended, and those that were removed know it.
const SETTLED_MS: u64 = 15_000;
/// Equal states.
pub(crate) const EQUAL_MS: u64 = 30_000;

#[derive(Debug)]
pub(super) struct Recovery;

impl Invariant for Recovery {
    fn name(&self) -> &'static str {
        "I20 a healed cluster recovers in time"
    }

    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String> {
        let Fact::Healing { since, health } = fact else { return Ok(()) };
        let passed_ms = now.since_ms(*since);
        if passed_ms >= LEADER_MS && !health.led {
            return Err(format!("no leader {passed_ms} ms after everything was healed"));
        }
        if passed_ms >= PRIMARIES_MS && !health.without_primary.is_empty() {
            return Err(format!(
                "{passed_ms} ms after everything was healed: {}",
                health.without_primary.join("; ")
            ));
        }
        if passed_ms >= SETTLED_MS && !health.coordinators.is_empty() {
            return Err(format!(
                "{passed_ms} ms after everything was healed: {}",
                health.coordinators.join("; ")
            ));
        }
        if let Some(differences) = health.differences.as_ref().filter(|_| passed_ms >= EQUAL_MS) {
            return Err(format!("{passed_ms} ms after everything was healed: {differences}"));
        }
        Ok(())
    }
}
