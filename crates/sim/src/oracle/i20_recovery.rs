//! I20: a healed cluster has a leader within 5 s, one primary per healthy group within 15 s and the pause that its
//! failed starts have earned it, equal state within 30 s;
//! no change of coordinators stays open.

use super::{Fact, Invariant, Unserved};
use crate::{plan::Plan, time::Moment};

/// A leader, after this long.
pub(crate) const LEADER_MS: u64 = 5_000;
/// A primary for every healthy group, where D need not cover a demote hook.
const PRIMARIES_MS: u64 = 15_000;
/// The longest pause that failed starts earn a group.
const PAUSE_MAX_MS: u64 = 30_000;
/// A change of coordinators has ended, and those that were removed know it.
const SETTLED_MS: u64 = 15_000;
/// Equal states.
pub(crate) const EQUAL_MS: u64 = 30_000;

#[derive(Debug)]
pub(super) struct Recovery {
    /// A primary for every healthy group: D is longer by the demotion that hosts allow themselves.
    primaries_ms: u64,
}

impl Recovery {
    pub(super) fn new(plan: &Plan) -> Self {
        let demotion_ms = plan.habits.hook_times().demotion_ms;
        Self { primaries_ms: PRIMARIES_MS + plan.lease.longest_ms(demotion_ms) }
    }
}

/// The pause that starts which have failed have earned a group.
fn pause_ms(failed_starts: u32) -> u64 {
    failed_starts
        .checked_sub(1)
        .map_or(0, |more| 1_000_u64.saturating_mul(1 << more.min(10)).min(PAUSE_MAX_MS))
}

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
        let late = |group: &&Unserved| {
            now.since_ms(group.since.max(*since)) >= self.primaries_ms + pause_ms(group.failed_starts)
        };
        let unserved: Vec<&str> =
            health.without_primary.iter().filter(late).map(|group| group.what.as_str()).collect();
        if !unserved.is_empty() {
            return Err(format!("{passed_ms} ms after everything was healed: {}", unserved.join("; ")));
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
