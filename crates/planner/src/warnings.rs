//! What an operator should look at, worst first, and what to do about each: one list for the status of the cluster, for
//! whoever reads it and for alerts.
//!
//! Nothing is decided by it, and nothing is invented in it: how long something has lasted comes from the state or from
//! what this leader has seen, and where that begins with the leader it says "at least". A coordinator that does not lead
//! knows the state and its own view of the others, and says no more than that.

mod code;
mod coordinators;
mod disks;
mod elsewhere;
mod groups;
mod hosts;
mod limits;
mod list;

pub use code::{Code, Severity, Subject};
pub use coordinators::{Contact, Coordinators, Finding, LostLines, Problem, SILENT_MS, Standing};
pub use elsewhere::{Elsewhere, WAITS_IN_SILENCE_MS, WaitsFor};
pub use list::{LISTED_MAX, Since, TEXT_MAX_BYTES, Warning, Warnings};

use crate::{Mono, Observations};
use list::Drafts;
use quorate_domain::{State, Timestamp};

/// What a coordinator looks at.
#[derive(Clone, Copy)]
struct Sight<'a> {
    state: &'a State,
    /// What it has seen as the leader; none while it does not lead.
    seen: Option<&'a Observations>,
    now: Mono,
}

impl Sight<'_> {
    /// How long ago something was that happened at a time of the state.
    fn since(&self, at: Timestamp) -> Since {
        match self.seen.map(|seen| &seen.state_clock) {
            Some(clock) => Since { ms: clock.age_ms(at, self.now), at_least: at < clock.first },
            // Nothing may have been applied since for a long time.
            None => Since { ms: self.state.now().since_ms(at), at_least: true },
        }
    }

    /// The same by the leader's own clock.
    fn since_seen(&self, at: Mono) -> Since {
        Since { ms: self.now.since_ms(at), at_least: false }
    }
}

/// Everything that an operator should look at. `seen` is what this coordinator has seen as the leader; none where it does
/// not lead.
///
/// The cost grows with hosts, disks and groups, at less than a microsecond for each that is well. Words are only found
/// for those that are listed.
pub fn warnings(
    state: &State,
    seen: Option<&Observations>,
    coordinators: &Coordinators,
    now: Mono,
) -> Warnings {
    let sight = Sight { state, seen, now };
    let mut found = Drafts::default();
    coordinators::add(&mut found, coordinators);
    elsewhere::add(&mut found, coordinators);
    groups::add(&mut found, sight);
    hosts::add(&mut found, sight);
    disks::add(&mut found, sight);
    limits::add(&mut found, sight);
    found.list()
}
