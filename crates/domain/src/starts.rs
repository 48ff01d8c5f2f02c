//! Which start of a coordinator counts. A copy of its data folder has the same node, log and votes, so two processes could
//! speak for one node, and a vote could be given twice.
//!
//! Each start has a random id and a number, one higher than that of the start before it on the same folder. A folder that
//! is found in another place than the last time (the boot of the machine, and the lock file's device and inode) begins a
//! new branch and keeps where it branched off: it was moved or copied, or its machine was booted. Within a branch the lock
//! on the folder says that the start before is over; across branches somebody has to ask.
//!
//! A peer that has a start on record takes no other one than that and its successors. Whoever is left behind on the other
//! branch is refused for good, for what was promised since is on record elsewhere.

use crate::ids::{CoordinatorId, InstanceId};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Branches that a start remembers it comes from. Earlier ones are forgotten; each is a boot of the machine or a move.
const ANCESTORS_MAX: usize = 16;
/// Branches of one node that a peer remembers as refused.
const REFUSED_MAX: usize = 64;
/// A start that was heard within this time may still be there though it does not answer just now. Peers ask each other
/// every two seconds.
pub const MAY_BE_THERE_MS: u64 = 6_000;

/// A start of a coordinator on its data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Names this start.
    pub id: InstanceId,
    /// Where it stands.
    at: Point,
    /// The last starts of the branches that it comes from, the latest first.
    ancestors: Vec<Point>,
}

/// A start by its branch and its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Point {
    branch: InstanceId,
    number: u64,
}

/// What a peer has on record of the starts of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownStarts {
    id: InstanceId,
    at: Point,
    /// Branches that were refused for good, the latest last.
    refused: Vec<InstanceId>,
}

/// What a start is to a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The first one that it meets.
    First,
    /// The one on record.
    Current,
    /// It follows the one on record in the same place, which is over.
    Successor,
    /// It comes from the one on record and is in another place: the folder was moved or copied, or the machine booted.
    Elsewhere {
        /// The one on record.
        recorded: InstanceId,
    },
    /// It does not count, now or ever.
    LeftBehind {
        /// Why.
        why: LeftBehind,
    },
}

/// Why a start never counts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeftBehind {
    /// It was refused while another start of its node was alive.
    #[error("it is a copy that was refused while the original ran, and has missed what that promised since")]
    Refused,
    /// Its folder was copied before the recorded start, or put back to an earlier state.
    #[error("its data folder is older than the last start on record, and lacks what was promised since")]
    Older,
    /// The node goes on in another place, and did not come from this start.
    #[error(
        "the node runs on a copy of the data folder that was made earlier, and what it promised there is missing here"
    )]
    Elsewhere,
}

/// What a coordinator says when it is asked about another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Its own start.
    pub start: InstanceId,
    /// By which start it last heard the other one, and how many milliseconds ago.
    pub heard: Option<(InstanceId, u64)>,
    /// It has refused the start that it was asked about.
    pub refuses: bool,
}

/// Whether the start on record of a node is still there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It answers.
    Answers,
    /// This other one has refused the start in question, and knows why.
    RefusedBy(CoordinatorId),
    /// It may be there: it was heard lately, here or elsewhere, or it is not the start in question that answers in its
    /// place.
    Unclear,
    /// It is gone: the start in question answers in its place, and nobody hears the one on record.
    Gone,
}

impl Recorded {
    /// By who answers at the address where everybody reaches the node, by what the others say, and by when the one on record
    /// was last heard here.
    ///
    /// That nobody answers there proves nothing: were a copy let in on the wrong side of a cut, it and its original could
    /// each be in a quorum of their own.
    pub fn by(
        start: &InstanceId,
        recorded: &InstanceId,
        at_its_address: Option<&InstanceId>,
        others: &[(CoordinatorId, Word)],
        heard_here: Option<&(InstanceId, u64)>,
    ) -> Self {
        if at_its_address == Some(recorded) {
            return Self::Answers;
        }
        if let Some((peer, _)) = others.iter().find(|(_, word)| word.refuses) {
            return Self::RefusedBy(*peer);
        }
        let lately = |heard: &(InstanceId, u64)| heard.0 == *recorded && heard.1 <= MAY_BE_THERE_MS;
        let elsewhere = others.iter().filter_map(|(_, word)| word.heard.as_ref());
        let is_heard = elsewhere.chain(heard_here).any(lately);
        if at_its_address == Some(start) && !is_heard { Self::Gone } else { Self::Unclear }
    }
}

/// What a start says of itself cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a start of a coordinator: ID BRANCH#NUMBER [BRANCH#NUMBER ..]")]
pub struct BadStart(String);

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.branch, self.number)
    }
}

impl FromStr for Point {
    type Err = BadStart;

    fn from_str(text: &str) -> Result<Self, BadStart> {
        let bad = || BadStart(text.to_owned());
        let (branch, number) = text.split_once('#').ok_or_else(bad)?;
        let branch = InstanceId::new(branch).map_err(|_| bad())?;
        Ok(Self { branch, number: number.parse().map_err(|_| bad())? })
    }
}

/// As it travels between coordinators.
impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id, self.at)?;
        self.ancestors.iter().try_for_each(|ancestor| write!(f, " {ancestor}"))
    }
}

impl FromStr for Start {
    type Err = BadStart;

    fn from_str(text: &str) -> Result<Self, BadStart> {
        let bad = || BadStart(text.chars().take(64).collect());
        let mut words = text.split(' ');
        let id = words.next().and_then(|id| InstanceId::new(id).ok()).ok_or_else(bad)?;
        let mut points = words.map(Point::from_str).collect::<Result<Vec<_>, _>>().map_err(|_| bad())?;
        if points.is_empty() || points.len() > 1 + ANCESTORS_MAX {
            return Err(bad());
        }
        let ancestors = points.split_off(1);
        let at = points.pop().ok_or_else(bad)?;
        Ok(Self { id, at, ancestors })
    }
}

impl Start {
    /// The start after `last` on the same folder, in the same place or in another one. `random` names what is new.
    pub fn after(last: Option<&Self>, same_place: bool, mut random: impl FnMut() -> InstanceId) -> Self {
        let id = random();
        let Some(last) = last else {
            return Self { id, at: Point { branch: random(), number: 1 }, ancestors: Vec::new() };
        };
        let number = last.at.number + 1;
        if same_place {
            let at = Point { branch: last.at.branch.clone(), number };
            return Self { id, at, ancestors: last.ancestors.clone() };
        }
        let ancestors = [&last.at].into_iter().chain(&last.ancestors).take(ANCESTORS_MAX).cloned().collect();
        Self { id, at: Point { branch: random(), number }, ancestors }
    }

    /// How many starts there were before it, and it.
    pub fn number(&self) -> u64 {
        self.at.number
    }

    /// True when `known` may be among the ancestors that it has forgotten.
    fn may_have_forgotten(&self, known: &Point) -> bool {
        self.ancestors.len() == ANCESTORS_MAX
            && self.ancestors.last().is_some_and(|oldest| known.number <= oldest.number)
    }
}

impl KnownStarts {
    /// What it is after a start was met and counts.
    #[must_use]
    pub fn with(known: Option<&Self>, start: &Start) -> Self {
        let refused = known.map_or_else(Vec::new, |known| known.refused.clone());
        Self { id: start.id.clone(), at: start.at.clone(), refused }
    }

    /// The same, and a branch that never counts.
    #[must_use]
    pub fn refusing(&self, start: &Start) -> Self {
        let mut refused = self.refused.clone();
        refused.retain(|branch| *branch != start.at.branch);
        refused.push(start.at.branch.clone());
        let surplus = refused.len().saturating_sub(REFUSED_MAX);
        refused.drain(..surplus);
        Self { refused, ..self.clone() }
    }

    /// The start that counts.
    pub fn id(&self) -> &InstanceId {
        &self.id
    }

    /// True when this is the start that counts.
    pub fn is_current(&self, id: &InstanceId) -> bool {
        self.id == *id
    }

    /// What a start is to whoever has this on record.
    pub fn judge(&self, start: &Start) -> Standing {
        #[cfg(planted)]
        if crate::planted::is(crate::planted::Bug::CloneCounted) {
            return Standing::Current;
        }
        let left_behind = |why| Standing::LeftBehind { why };
        if self.id == start.id {
            return Standing::Current;
        }
        let comes_from = |branch: &InstanceId| {
            start.at.branch == *branch || start.ancestors.iter().any(|point| point.branch == *branch)
        };
        if self.refused.iter().any(comes_from) {
            return left_behind(LeftBehind::Refused);
        }
        if start.at.branch == self.at.branch {
            // The lock on the folder: there is one at a time.
            let later = start.at.number > self.at.number;
            return if later { Standing::Successor } else { left_behind(LeftBehind::Older) };
        }
        let elsewhere = Standing::Elsewhere { recorded: self.id.clone() };
        match start.ancestors.iter().find(|point| point.branch == self.at.branch) {
            Some(point) if point.number >= self.at.number => elsewhere,
            Some(_) => left_behind(LeftBehind::Older),
            None if start.may_have_forgotten(&self.at) => elsewhere,
            None => left_behind(LeftBehind::Elsewhere),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that were never drawn before in the same test.
    struct Names(u32);

    impl Names {
        fn next(&mut self, last: Option<&Start>, same_place: bool) -> Start {
            Start::after(last, same_place, || {
                self.0 += 1;
                InstanceId::new(format!("n{}", self.0)).unwrap()
            })
        }
    }

    fn known(start: &Start) -> KnownStarts {
        KnownStarts::with(None, start)
    }

    fn elsewhere(recorded: &Start) -> Standing {
        Standing::Elsewhere { recorded: recorded.id.clone() }
    }

    fn behind(why: LeftBehind) -> Standing {
        Standing::LeftBehind { why }
    }

    #[test]
    fn a_restart_in_the_same_place_follows_and_what_came_before_it_does_not() {
        let mut names = Names(0);
        let first = names.next(None, true);
        let second = names.next(Some(&first), true);
        let third = names.next(Some(&second), true);
        assert_eq!(known(&first).judge(&first), Standing::Current);
        assert_eq!(known(&first).judge(&third), Standing::Successor, "also when one was missed");
        assert_eq!(known(&third).judge(&second), behind(LeftBehind::Older));
        // Put back from a copy that was made before the last start, in the very same place.
        let restored = names.next(Some(&second), true);
        assert_eq!(known(&third).judge(&restored), behind(LeftBehind::Older));
    }

    #[test]
    fn a_copy_is_told_from_its_original_and_whichever_is_on_record_stays() {
        let mut names = Names(0);
        let original = names.next(None, true);
        let copy = names.next(Some(&original), false);
        assert_eq!(known(&original).judge(&copy), elsewhere(&original));
        // The copy was accepted, because the original was gone: it never comes back.
        let accepted = KnownStarts::with(Some(&known(&original)), &copy);
        assert_eq!(accepted.judge(&original), behind(LeftBehind::Elsewhere));
        let mut again = original.clone();
        for _ in 0..5 {
            again = names.next(Some(&again), true);
            assert_eq!(accepted.judge(&again), behind(LeftBehind::Elsewhere), "however often it starts");
        }
        let rebooted = names.next(Some(&again), false);
        assert_eq!(accepted.judge(&rebooted), behind(LeftBehind::Elsewhere));
        // But the folder may be moved back from where the node runs now.
        let back = names.next(Some(&copy), false);
        assert_eq!(accepted.judge(&back), elsewhere(&copy));
    }

    #[test]
    fn a_copy_that_was_refused_once_stays_refused_and_a_fresh_one_does_not() {
        let mut names = Names(0);
        let original = names.next(None, true);
        let copy = names.next(Some(&original), false);
        let refusing = known(&original).refusing(&copy);
        let again = names.next(Some(&copy), true);
        assert_eq!(refusing.judge(&again), behind(LeftBehind::Refused));
        let copied_on = names.next(Some(&copy), false);
        assert_eq!(refusing.judge(&copied_on), behind(LeftBehind::Refused));
        let restarted = KnownStarts::with(Some(&refusing), &names.next(Some(&original), true));
        assert_eq!(restarted.judge(&again), behind(LeftBehind::Refused), "also by the next record");
        let fresh = names.next(Some(&original), false);
        assert_eq!(refusing.judge(&fresh), elsewhere(&original));
    }

    #[test]
    fn a_copy_from_before_the_recorded_start_is_refused_as_lost_data_would_be() {
        let mut names = Names(0);
        let first = names.next(None, true);
        let second = names.next(Some(&first), true);
        let stale = names.next(Some(&first), false);
        assert_eq!(known(&second).judge(&stale), behind(LeftBehind::Older));
    }

    #[test]
    fn a_peer_that_has_missed_any_number_of_boots_knows_a_node_again() {
        let mut names = Names(0);
        let first = names.next(None, true);
        let mut last = first.clone();
        for boot in 0..3 * ANCESTORS_MAX {
            last = names.next(Some(&last), false);
            assert_eq!(known(&first).judge(&last), elsewhere(&first), "after {boot} boots");
        }
        assert_eq!(last.to_string().parse(), Ok(last.clone()), "and it travels");
        // One who branched off later than all that it remembers is none of its ancestors.
        let other = names.next(Some(&last), false);
        let next = names.next(Some(&last), false);
        assert_eq!(known(&other).judge(&next), behind(LeftBehind::Elsewhere));
    }

    #[test]
    fn what_is_no_start_is_refused() {
        for text in ["", "a", "a b", "a b#", "a b#x", "a #1", "a b#1 c", "a b#-1", "a  b#1"] {
            assert!(text.parse::<Start>().is_err(), "{text:?}");
        }
        let long = format!("a{}", " b#1".repeat(2 + ANCESTORS_MAX));
        assert!(long.parse::<Start>().is_err());
    }

    #[test]
    fn refused_branches_are_bounded_and_the_latest_stay() {
        let mut names = Names(0);
        let original = names.next(None, true);
        let copies: Vec<_> = (0..=REFUSED_MAX).map(|_| names.next(Some(&original), false)).collect();
        let refusing = copies.iter().fold(known(&original), |known, copy| known.refusing(copy));
        assert_eq!(refusing.refused.len(), REFUSED_MAX);
        assert_eq!(refusing.judge(&copies[REFUSED_MAX]), behind(LeftBehind::Refused));
    }

    #[test]
    fn a_start_is_gone_only_when_the_other_one_answers_in_its_place_and_nobody_hears_it() {
        let [copy, original, third] = ["copy", "original", "third"].map(|id| InstanceId::new(id).unwrap());
        let word = |heard: Option<(&InstanceId, u64)>, refuses| Word {
            start: third.clone(),
            heard: heard.map(|(id, ago_ms)| (id.clone(), ago_ms)),
            refuses,
        };
        let long_ago = MAY_BE_THERE_MS + 1;
        let table = [
            (Some(&original), vec![], None, Recorded::Answers),
            (Some(&original), vec![word(None, true)], None, Recorded::Answers),
            (Some(&copy), vec![word(None, true)], None, Recorded::RefusedBy(CoordinatorId(2))),
            (None, vec![word(None, true)], None, Recorded::RefusedBy(CoordinatorId(2))),
            (Some(&copy), vec![], None, Recorded::Gone),
            (Some(&copy), vec![word(Some((&original, long_ago)), false)], None, Recorded::Gone),
            (Some(&copy), vec![word(Some((&third, 1)), false)], None, Recorded::Gone),
            (Some(&copy), vec![word(Some((&original, MAY_BE_THERE_MS)), false)], None, Recorded::Unclear),
            (Some(&copy), vec![], Some((original.clone(), 1)), Recorded::Unclear),
            // On the wrong side of a cut nobody hears the original, and nobody else is asked.
            (None, vec![], Some((original.clone(), long_ago)), Recorded::Unclear),
            (Some(&third), vec![], None, Recorded::Unclear),
        ];
        for (at_its_address, words, heard_here, expected) in table {
            let others: Vec<_> = words.into_iter().map(|word| (CoordinatorId(2), word)).collect();
            let found = Recorded::by(&copy, &original, at_its_address, &others, heard_here.as_ref());
            assert_eq!(found, expected, "{at_its_address:?} {others:?} {heard_here:?}");
        }
    }
}
