//! Which start of a coordinator counts. A copy of its data folder has the same node, log and votes, so two processes could
//! speak for one node, and a vote could be given twice.
//!
//! Each start has a random id and a number, one higher than that of the start before it on the same folder, and the ids of
//! those before it: a folder that was put back to an earlier state goes on from there by other ids. A folder that
//! is found in another place than the last time (the boot of the machine, and the lock file's device and inode) begins a
//! new branch and keeps where it branched off: it was moved or copied, or its machine was booted. Within a branch the lock
//! on the folder says that the start before is over, and so does the lock file itself where it is the very same one (its
//! inode and its birth) after a boot of the same machine; otherwise the others have to agree ([`survey`]).
//!
//! A peer that has a start on record takes no other one than that and its successors. Whoever is left behind on the other
//! branch is refused for good, for what was promised since is on record elsewhere.

mod survey;

pub use survey::{Decision, MAY_BE_THERE_MS, Pending, Survey, Why, Wish, Word};

use crate::ids::InstanceId;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Branches that a start remembers it comes from. Earlier ones are forgotten; each is a boot of the machine or a move.
const ANCESTORS_MAX: usize = 16;
/// Branches of one node that a peer remembers as refused.
const REFUSED_MAX: usize = 64;
/// Starts before it that a start names.
const BEFORE_MAX: usize = 32;
/// Stands before the id of a start before, as it travels.
const AFTER: char = '<';
/// Follows a point whose start came after one that is over for certain, as it travels.
const IS_OVER: &str = "+";

/// Where a data folder is found, held against where it was at the last start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// There, and the lock on it says that the start before is over.
    Same,
    /// After a boot, or under another device, and its lock file is the very same one: the start before is over.
    SameFile,
    /// Elsewhere. The start before may still run on what this is a copy of.
    Another,
}

/// A start of a coordinator on its data folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Names this start.
    pub id: InstanceId,
    /// Where it stands.
    at: Point,
    /// The last starts of the branches that it comes from, the latest first.
    ancestors: Vec<Point>,
    /// The starts before it, the latest first, whatever the branch.
    #[serde(default)]
    before: Vec<InstanceId>,
}

/// A start by its branch and its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Point {
    branch: InstanceId,
    number: u64,
    /// The start that the branch came from is over for certain.
    #[serde(default)]
    over: bool,
}

/// What a peer has on record of the starts of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownStarts {
    /// The one that counts.
    counts: Start,
    /// Starts that were refused for good, with all that comes from them, the latest last. Where they come from is left out.
    refused: Vec<Start>,
    /// A start that goes on in another place, beside which nothing counts any more. It counts itself once enough of the
    /// others have promised the same.
    #[serde(default)]
    promised: Option<Start>,
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
    /// Another start was promised, and whether that one counts must be settled first.
    Contested {
        /// The one on record.
        recorded: InstanceId,
        /// The one that was promised.
        promised: Box<Start>,
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

/// What a start says of itself cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a start of a coordinator: ID[<ID ..] BRANCH#NUMBER [BRANCH#NUMBER ..]")]
pub struct BadStart(String);

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}{}", self.branch, self.number, if self.over { IS_OVER } else { "" })
    }
}

impl FromStr for Point {
    type Err = BadStart;

    fn from_str(text: &str) -> Result<Self, BadStart> {
        let bad = || BadStart(text.to_owned());
        let (branch, number) = text.split_once('#').ok_or_else(bad)?;
        let branch = InstanceId::new(branch).map_err(|_| bad())?;
        let (number, over) = number.strip_suffix(IS_OVER).map_or((number, false), |number| (number, true));
        if !number.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(bad());
        }
        Ok(Self { branch, number: number.parse().map_err(|_| bad())?, over })
    }
}

impl Point {
    /// True for a start in the same place as this earlier one, and for that one itself.
    fn is_at_or_after(&self, earlier: &Self) -> bool {
        self.branch == earlier.branch && self.number >= earlier.number
    }
}

/// As it travels between coordinators.
impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        self.before.iter().try_for_each(|before| write!(f, "{AFTER}{before}"))?;
        write!(f, " {}", self.at)?;
        self.ancestors.iter().try_for_each(|ancestor| write!(f, " {ancestor}"))
    }
}

impl FromStr for Start {
    type Err = BadStart;

    fn from_str(text: &str) -> Result<Self, BadStart> {
        let bad = || BadStart(text.chars().take(64).collect());
        let mut words = text.split(' ');
        let ids = words.next().into_iter().flat_map(|ids| ids.split(AFTER)).map(InstanceId::new);
        let mut ids = ids.collect::<Result<Vec<_>, _>>().map_err(|_| bad())?;
        if ids.is_empty() || ids.len() > 1 + BEFORE_MAX {
            return Err(bad());
        }
        let before = ids.split_off(1);
        let id = ids.pop().ok_or_else(bad)?;
        let mut points = words.map(Point::from_str).collect::<Result<Vec<_>, _>>().map_err(|_| bad())?;
        if points.is_empty() || points.len() > 1 + ANCESTORS_MAX {
            return Err(bad());
        }
        let ancestors = points.split_off(1);
        let at = points.pop().ok_or_else(bad)?;
        Ok(Self { id, at, ancestors, before })
    }
}

impl Start {
    /// The start after `last` on the same folder. `random` names what is new.
    pub fn after(last: Option<&Self>, place: Place, mut random: impl FnMut() -> InstanceId) -> Self {
        let id = random();
        let Some(last) = last else {
            let at = Point { branch: random(), number: 1, over: false };
            return Self { id, at, ancestors: Vec::new(), before: Vec::new() };
        };
        let before = [&last.id].into_iter().chain(&last.before).take(BEFORE_MAX).cloned().collect();
        let number = last.at.number + 1;
        if place == Place::Same {
            let at = Point { number, ..last.at.clone() };
            return Self { id, at, ancestors: last.ancestors.clone(), before };
        }
        let ancestors = [&last.at].into_iter().chain(&last.ancestors).take(ANCESTORS_MAX).cloned().collect();
        let at = Point { branch: random(), number, over: place == Place::SameFile };
        Self { id, at, ancestors, before }
    }

    /// An operator says that nothing runs, nor ever will, on anything that its folder is a copy of.
    pub fn vouch(&mut self) {
        let branches = [&mut self.at].into_iter().chain(&mut self.ancestors);
        branches.for_each(|point| point.over = true);
    }

    /// How many starts there were before it, and it.
    pub fn number(&self) -> u64 {
        self.at.number
    }

    /// Its own branch and those that it comes from, the latest first.
    fn branches(&self) -> impl Iterator<Item = &Point> {
        [&self.at].into_iter().chain(&self.ancestors)
    }

    /// True when the start at this point came before it, or is it. What branched off earlier does not come from it.
    fn comes_from(&self, earlier: &Point) -> bool {
        self.branches().any(|point| point.is_at_or_after(earlier))
    }

    /// Whether the start before it of that number was this one; none when it names none of that number.
    fn names(&self, known: &Self) -> Option<bool> {
        let back = self.at.number.checked_sub(known.at.number)?;
        match back.checked_sub(1) {
            None => Some(self.id == known.id),
            Some(at) => self.before.get(usize::try_from(at).ok()?).map(|id| *id == known.id),
        }
    }

    /// True when the folder of this one went on from an earlier state than `known` left there.
    fn has_lost(&self, known: &Self) -> bool {
        self.names(known) == Some(false)
    }

    /// True when `known` came before it, or is it, as far as both can tell.
    fn comes_from_start(&self, known: &Self) -> bool {
        self.comes_from(&known.at) && !self.has_lost(known)
    }

    /// True when the start `known` is over for certain, because this one follows it on the very same file.
    fn surely_follows(&self, known: &Self) -> bool {
        if self.names(known) != Some(true) {
            return false;
        }
        let known = &known.at;
        for point in self.branches() {
            if point.branch == known.branch {
                return point.is_at_or_after(known);
            }
            if !point.over {
                return false;
            }
        }
        false
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
        Self { counts: start.clone(), refused, promised: None }
    }

    /// The same, and a branch that never counts.
    #[must_use]
    pub fn refusing(&self, start: &Start) -> Self {
        let mut refused = self.refused.clone();
        refused.retain(|known: &Start| !known.comes_from_start(start));
        refused.push(Start { ancestors: Vec::new(), before: Vec::new(), ..start.clone() });
        let surplus = refused.len().saturating_sub(REFUSED_MAX);
        refused.drain(..surplus);
        // What was promised before it on the same file is over.
        let ends = |promised: &Start| promised.comes_from_start(start) || start.surely_follows(promised);
        let promised = self.promised.clone().filter(|promised| !ends(promised));
        Self { refused, promised, ..self.clone() }
    }

    /// The start that counts.
    pub fn id(&self) -> &InstanceId {
        &self.counts.id
    }

    /// True when this is the start that counts. None does while another one is promised.
    pub fn is_current(&self, id: &InstanceId) -> bool {
        self.counts.id == *id && self.promised.is_none()
    }

    /// What a start is to whoever has this on record.
    pub fn judge(&self, start: &Start) -> Standing {
        let by_record = self.judge_by_record(start);
        let Some(promised) = &self.promised else { return by_record };
        let recorded = self.counts.id.clone();
        match by_record {
            Standing::LeftBehind { .. } => by_record,
            _ if start.surely_follows(promised) => Standing::Elsewhere { recorded },
            _ => Standing::Contested { recorded, promised: Box::new(promised.clone()) },
        }
    }

    fn judge_by_record(&self, start: &Start) -> Standing {
        #[cfg(planted)]
        if crate::planted::is(crate::planted::Bug::CloneCounted) {
            return Standing::Current;
        }
        let left_behind = |why| Standing::LeftBehind { why };
        if self.counts.id == start.id {
            return Standing::Current;
        }
        if self.refused.iter().any(|refused| start.comes_from_start(refused)) {
            return left_behind(LeftBehind::Refused);
        }
        let elsewhere = Standing::Elsewhere { recorded: self.counts.id.clone() };
        if start.at.branch == self.counts.at.branch {
            // The lock on the folder: there is one at a time.
            return match start.names(&self.counts) {
                Some(true) => Standing::Successor,
                None if start.at.number > self.counts.at.number => elsewhere,
                Some(false) | None => left_behind(LeftBehind::Older),
            };
        }
        let has_lost = start.has_lost(&self.counts);
        match start.ancestors.iter().find(|point| point.branch == self.counts.at.branch) {
            Some(point) if point.number >= self.counts.at.number && !has_lost => elsewhere,
            Some(_) => left_behind(LeftBehind::Older),
            None if start.may_have_forgotten(&self.counts.at) && !has_lost => elsewhere,
            None => left_behind(LeftBehind::Elsewhere),
        }
    }

    /// True when this start never counts here, and not because one that comes from it does.
    pub fn refuses(&self, start: &Start) -> bool {
        let is_left_behind = matches!(self.judge(start), Standing::LeftBehind { .. });
        is_left_behind && !self.counts.comes_from_start(start)
    }
}

#[cfg(test)]
mod tests;
