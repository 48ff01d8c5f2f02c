//! Whether a time without a quorum, as a leader has seen it, was one for everybody.
//!
//! One that was cut off has seen none although the others had one. That it was an outage follows from the record where the
//! same coordinator led before it: another one that could decide would be on record. Where another one led before, it says
//! until when it did; where that one does not answer, a quorum of the voters has to have seen none.

use crate::reach::{Gap, QuorumSeen};
use quorate_domain::{CoordinatorId, State, coordinator::has_quorum};
use quorate_planner::Mono;
use std::collections::{BTreeMap, BTreeSet};

/// How long the one that led before may take to answer. Coordinators ask each other every two seconds.
const ANSWERS_WITHIN_MS: u64 = 4_000;
/// An outage that was over so long before this leadership was for another one to tell.
const RECENT_MS: u64 = 15_000;

/// A time without a quorum that is over.
#[derive(Debug, Clone, Copy)]
struct Seen {
    since: Mono,
    until: Mono,
    known: Mono,
}

/// A time without a quorum, as far as anybody knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) since: Mono,
    pub(crate) until: Mono,
    /// Others have said so.
    pub(crate) by_others: bool,
}

/// What a leader knows of the last time without a quorum, until it can be told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outages {
    /// When this leadership began.
    began: Mono,
    /// Who led before the last time without a quorum, by the record.
    led_before: Option<CoordinatorId>,
    /// As it was seen here, and when that was known.
    seen: Option<Seen>,
    /// What the others have seen, of those that were asked after it.
    words: BTreeMap<CoordinatorId, Gap>,
}

impl Outages {
    /// Of a leadership that begins now.
    pub(crate) fn of_leadership(now: Mono) -> Self {
        Self { began: now, ..Self::default() }
    }

    /// The leadership begins to decide; this one led before it. Others may have seen an outage where this coordinator has
    /// seen none, because it was not there.
    pub(crate) fn begin(&mut self, led_before: Option<CoordinatorId>, now: Mono) {
        self.led_before = led_before;
        self.seen.get_or_insert(Seen { since: now, until: now, known: now });
    }

    /// A time without a quorum is over, as far as it was seen here.
    pub(crate) fn over(&mut self, gap: Gap, leader: CoordinatorId, now: Mono) {
        // While it leads no other one can have decided.
        if gap.since >= self.began {
            self.led_before = Some(leader);
        }
        self.seen = Some(Seen { since: gap.since, until: gap.until.unwrap_or(now), known: now });
        self.words.clear();
    }

    /// What another coordinator answered, who was asked at this moment and is heard now.
    pub(crate) fn told(&mut self, by: CoordinatorId, seen: QuorumSeen, asked: Mono, now: Mono) {
        if self.seen.is_none_or(|seen| asked < seen.known) {
            return;
        }
        // It looked at some time between question and answer: the shorter gap is the certain one.
        let since = Mono(now.0.saturating_sub(seen.before_ms));
        let until = seen.for_ms.map(|for_ms| Mono(asked.0.saturating_sub(for_ms)));
        self.words.insert(by, Gap { since, until });
    }

    /// The time without a quorum, once it is known what it was for the others; an empty one when it was none.
    pub(crate) fn known(&mut self, leader: CoordinatorId, state: &State, now: Mono) -> Option<Known> {
        let Seen { since, until, known } = self.seen?;
        #[cfg(planted)]
        if quorate_domain::planted::is(quorate_domain::planted::Bug::OutageOfOne) {
            self.seen = None;
            return Some(Known { since, until, by_others: false });
        }
        let before = self.led_before;
        let (since, until) = if before == Some(leader) {
            (since, until)
        } else if let Some(word) = before.and_then(|before| self.words.get(&before)) {
            let is_recent = word.until.is_none_or(|until| known.since_ms(until) < RECENT_MS);
            if is_recent { common((Mono(0), known), [word]) } else { (known, known) }
        } else {
            let heard: BTreeSet<CoordinatorId> = self.words.keys().copied().chain([leader]).collect();
            let waits = before.is_some() && now.since_ms(known) < ANSWERS_WITHIN_MS;
            if waits || !has_quorum(&state.recorded_voters(), &heard) {
                return None;
            }
            common((since, until), self.words.values())
        };
        self.seen = None;
        Some(Known { since, until, by_others: before != Some(leader) })
    }
}

/// What all have seen.
fn common<'a>((since, until): (Mono, Mono), gaps: impl IntoIterator<Item = &'a Gap>) -> (Mono, Mono) {
    gaps.into_iter().fold((since, until), |(since, until), gap| {
        let until = gap.until.map_or(until, |known| known.min(until));
        (since.max(gap.since), until.max(since))
    })
}
