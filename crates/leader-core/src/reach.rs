//! Since when this coordinator knows of no quorum.

use quorate_planner::Mono;

/// What a coordinator has seen of the quorum, whether it leads or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reach {
    /// When it last knew of a quorum; when it first looked, before it knew of any. None when it has not looked, or stood
    /// still: what happened then it cannot know.
    last: Option<Mono>,
    /// It knew of none at the last look.
    lost: bool,
}

impl Reach {
    /// Looks again; `reached` as far as it knows now. When an outage is over: since when there was no quorum.
    pub(crate) fn look(&mut self, reached: bool, stood_still: bool, now: Mono) -> Option<Mono> {
        if stood_still {
            *self = Self::default();
        }
        let since = self.last;
        let was_lost = std::mem::replace(&mut self.lost, !reached);
        if reached || since.is_none() {
            self.last = Some(now);
        }
        since.filter(|_| reached && was_lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(all: &[(u64, bool, bool)]) -> Vec<Option<Mono>> {
        let mut reach = Reach::default();
        all.iter().map(|(at, reached, still)| reach.look(*reached, *still, Mono(*at))).collect()
    }

    #[test]
    fn an_outage_lasts_from_the_last_quorum_to_the_next() {
        let found =
            looks(&[(0, true, false), (250, false, false), (500, false, false), (9_000, true, false)]);
        assert_eq!(found, [None, None, None, Some(Mono(0))]);
    }

    #[test]
    fn one_that_starts_without_a_quorum_counts_from_its_first_look() {
        let found =
            looks(&[(100, false, false), (9_000, false, false), (9_250, true, false), (9_500, true, false)]);
        assert_eq!(found, [None, None, Some(Mono(100)), None]);
    }

    #[test]
    fn what_happened_while_it_stood_still_is_not_known() {
        let found =
            looks(&[(0, true, false), (250, false, false), (60_000, true, true), (60_250, true, false)]);
        assert_eq!(found, [None, None, None, None]);
        let found = looks(&[(0, true, false), (60_000, false, true), (65_000, true, false)]);
        assert_eq!(found, [None, None, Some(Mono(60_000))], "it counts anew");
    }
}
