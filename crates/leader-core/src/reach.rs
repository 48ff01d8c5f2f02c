//! Since when this coordinator knows of no quorum.

use quorate_domain::{Led, Term};
use quorate_planner::Mono;

/// A time in which a coordinator knew of no quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gap {
    /// When it knew of one for the last time before; when it first looked, before it knew of any.
    pub(crate) since: Mono,
    /// When it knew of one again; none while it does not.
    pub(crate) until: Option<Mono>,
}

/// What a coordinator has seen of the quorum, as it tells the one that leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuorumSeen {
    /// For how many milliseconds it has known of one; none while it knows of none.
    pub for_ms: Option<u64>,
    /// How many milliseconds ago it knew of one for the last time before that, or first looked.
    pub before_ms: u64,
}

impl QuorumSeen {
    /// The same, so many milliseconds later.
    #[must_use]
    pub fn later(self, by_ms: u64) -> Self {
        let for_ms = self.for_ms.map(|for_ms| for_ms.saturating_add(by_ms));
        Self { for_ms, before_ms: self.before_ms.saturating_add(by_ms) }
    }
}

/// What a coordinator has seen of the quorum, whether it leads or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reach {
    /// When it last knew of a quorum; when it first looked, before it knew of any. None when it has not looked, or stood
    /// still: what happened then it cannot know.
    last: Option<Mono>,
    /// It knew of none at the last look.
    lost: bool,
    /// The last time without one that is over; an empty one where it knew of a quorum at its first look.
    gap: Option<Gap>,
    /// How many outages the leader on record has told, and in which term.
    told: (Term, u64),
}

impl Reach {
    /// Looks again; `reached` as far as it knows now. Gives back a time without a quorum that is over by this look.
    pub(crate) fn look(&mut self, reached: bool, stood_still: bool, now: Mono) -> Option<Gap> {
        if stood_still {
            *self = Self { told: self.told, ..Self::default() };
        }
        let since = self.last;
        let was_lost = std::mem::replace(&mut self.lost, !reached);
        if reached || since.is_none() {
            self.last = Some(now);
        }
        if !reached || (since.is_some() && !was_lost) {
            return None;
        }
        self.gap = Some(Gap { since: since.unwrap_or(now), until: Some(now) });
        self.gap.filter(|_| since.is_some())
    }

    /// The others have said what of the last time without a quorum was one for them too.
    pub(crate) fn learn(&mut self, since: Mono, until: Mono) {
        self.gap = self.gap.map(|_| Gap { since, until: Some(until) });
    }

    /// The leader on record may have told of an outage: what this one has seen until now is on record.
    pub(crate) fn note_record(&mut self, led: Option<&Led>) {
        let told = led.map_or((Term(0), 0), |led| (led.term, led.outages));
        let before = std::mem::replace(&mut self.told, told);
        if told != before
            && told.1 > 0
            && let Some(Gap { since, until: Some(until) }) = &mut self.gap
        {
            *since = *until;
        }
    }

    /// What it has seen; none when it has not looked yet.
    pub(crate) fn seen(&self, now: Mono) -> Option<QuorumSeen> {
        let gap = self.gap.filter(|_| !self.lost).or(self.last.map(|since| Gap { since, until: None }))?;
        let for_ms = gap.until.map(|until| now.since_ms(until));
        Some(QuorumSeen { for_ms, before_ms: now.since_ms(gap.since) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_domain::{CoordinatorId, Timestamp};

    fn gap(since: u64, until: u64) -> Gap {
        Gap { since: Mono(since), until: Some(Mono(until)) }
    }

    fn looks(all: &[(u64, bool, bool)]) -> (Reach, Vec<Option<Gap>>) {
        let mut reach = Reach::default();
        let found = all.iter().map(|(at, reached, still)| reach.look(*reached, *still, Mono(*at))).collect();
        (reach, found)
    }

    #[test]
    fn an_outage_lasts_from_the_last_quorum_to_the_next() {
        let (reach, found) =
            looks(&[(0, true, false), (250, false, false), (500, false, false), (9_000, true, false)]);
        assert_eq!(found, [None, None, None, Some(gap(0, 9_000))]);
        let seen = QuorumSeen { for_ms: Some(1_000), before_ms: 10_000 };
        assert_eq!(reach.seen(Mono(10_000)), Some(seen));
    }

    #[test]
    fn one_that_starts_without_a_quorum_counts_from_its_first_look() {
        let (_, found) =
            looks(&[(100, false, false), (9_000, false, false), (9_250, true, false), (9_500, true, false)]);
        assert_eq!(found, [None, None, Some(gap(100, 9_250)), None]);
    }

    #[test]
    fn what_happened_while_it_stood_still_is_not_known() {
        let (_, found) =
            looks(&[(0, true, false), (250, false, false), (60_000, true, true), (60_250, true, false)]);
        assert_eq!(found, [None, None, None, None]);
        let (_, found) = looks(&[(0, true, false), (60_000, false, true), (65_000, true, false)]);
        assert_eq!(found, [None, None, Some(gap(60_000, 65_000))], "it counts anew");
    }

    #[test]
    fn what_is_on_record_is_told_to_nobody_again() {
        let (mut reach, _) = looks(&[(0, true, false), (250, false, false), (9_000, true, false)]);
        let led = |term, outages| Led {
            coordinator: CoordinatorId(1),
            term: Term(term),
            since: Timestamp(1),
            outages,
        };
        reach.note_record(Some(&led(2, 0)));
        assert_eq!(reach.seen(Mono(9_100)), Some(QuorumSeen { for_ms: Some(100), before_ms: 9_100 }));
        reach.note_record(Some(&led(2, 1)));
        assert_eq!(reach.seen(Mono(9_100)), Some(QuorumSeen { for_ms: Some(100), before_ms: 100 }));
    }

    #[test]
    fn it_tells_of_no_quorum_before_it_looked_and_of_none_while_it_knows_none() {
        assert_eq!(Reach::default().seen(Mono(5)), None);
        let (reach, _) = looks(&[(100, true, false), (200, true, false)]);
        assert_eq!(reach.seen(Mono(300)), Some(QuorumSeen { for_ms: Some(200), before_ms: 200 }));
        let (reach, _) = looks(&[(100, true, false), (200, false, false), (9_000, false, false)]);
        assert_eq!(reach.seen(Mono(9_100)), Some(QuorumSeen { for_ms: None, before_ms: 9_000 }));
    }
}
