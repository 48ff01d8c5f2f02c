//! What becomes of a start that goes on in another place, by what the others say.
//!
//! A leader counts the answers of whoever it counts, so no two coordinators may count different copies of a folder. One that
//! finds the start on record gone promises the other start that nothing else counts here, and that one counts once every
//! voter has promised it, but for the node itself. One refusal is the end of a start that waits, and one that waits counts
//! no other: of two that were copied at the same time each would count by the word of the other. Where the start before is
//! over for certain, it counts as soon as that is not heard, so that a machine can be booted while another coordinator is
//! lost.

use super::{KnownStarts, Standing, Start};
use crate::ids::{CoordinatorId, InstanceId};
use std::collections::BTreeSet;

/// A start that was heard within this time may still be there though it does not answer just now. Peers ask each other
/// every two seconds.
pub const MAY_BE_THERE_MS: u64 = 6_000;

/// What a coordinator says when it is asked about another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Its own start.
    pub start: InstanceId,
    /// By which start it last heard the other one, and how many milliseconds ago.
    pub heard: Option<(InstanceId, u64)>,
    /// It has refused the start that it was asked about.
    pub refuses: bool,
    /// Nothing counts there from now on but the start that it was asked about, and what comes after it.
    pub takes: bool,
}

impl Word {
    /// What it is worth, when the start that says it counts or does not: the original of its folder may go on, and would know
    /// nothing of what it has promised. Nor may its refusal take back a promise that another start has come to count by.
    #[must_use]
    pub fn if_it_counts(self, counts: bool) -> Self {
        Self { takes: self.takes && counts, refuses: self.refuses && counts, ..self }
    }
}

/// What the asking one would have of the others, besides their word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// Nothing.
    #[default]
    Word,
    /// To promise the start, if they do not hear the one on record: a copy of it goes on, and has what it promised.
    Promise,
    /// To refuse the start, if they have not promised it: the one on record is back, or another copy goes on.
    Refusal,
}

/// What is known of a start that goes on in another place, when it is decided about.
#[derive(Debug, Clone, Copy)]
pub struct Survey<'a> {
    /// The start in question.
    pub start: &'a Start,
    /// Its node.
    pub node: CoordinatorId,
    /// The start that was on record when the others were asked.
    pub recorded: &'a InstanceId,
    /// Who decides.
    pub here: CoordinatorId,
    /// It goes on in another place itself, and no other one has counted it yet: what the original of its folder counts may be
    /// another start of the node.
    pub here_waits: bool,
    /// Who votes: one set, or two while a quorum of each is needed.
    pub voters: &'a [BTreeSet<CoordinatorId>],
    /// The start that answers where everybody reaches the node.
    pub at_its_address: Option<&'a InstanceId>,
    /// What the others that answered say.
    pub words: &'a [(CoordinatorId, Word)],
    /// By which start the node was last heard here, and how many milliseconds ago.
    pub heard_here: Option<&'a (InstanceId, u64)>,
}

/// What becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It counts from now on.
    Counts,
    /// Nothing else counts here any more. It does when enough others say the same.
    Promised,
    /// It never counts.
    Refused(Why),
    /// It is asked again.
    Open(Pending),
}

/// Why a start is refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The one on record answers.
    #[error("it runs on a copy of the data folder of the start on record, which answers at its address")]
    Answers,
    /// Another one has refused it.
    #[error("coordinator {0} has refused it")]
    RefusedBy(CoordinatorId),
}

/// What a start waits for before it counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pending {
    /// The one on record may be there: it was heard lately, or it is not the start in question that answers in its place.
    MayBeThere,
    /// These have not promised it.
    Promises(BTreeSet<CoordinatorId>),
    /// The one that decides waits itself.
    ThisOne,
}

impl Survey<'_> {
    /// Voters that are not the node itself.
    fn others(&self) -> BTreeSet<CoordinatorId> {
        self.voters.iter().flatten().copied().filter(|id| *id != self.node).collect()
    }

    /// That nobody answers at its address proves nothing: it may be on the other side of a cut.
    fn recorded_is_gone(&self) -> bool {
        let lately = |heard: &(InstanceId, u64)| heard.0 == *self.recorded && heard.1 <= MAY_BE_THERE_MS;
        let elsewhere = self.words.iter().filter_map(|(_, word)| word.heard.as_ref());
        let is_heard = elsewhere.chain(self.heard_here).any(lately);
        self.at_its_address == Some(&self.start.id) && !is_heard
    }

    fn refused(&self) -> Option<Decision> {
        let (peer, _) = self.words.iter().find(|(_, word)| word.refuses)?;
        Some(Decision::Refused(Why::RefusedBy(*peer)))
    }

    /// `then` is what becomes of it if the one on record is gone.
    fn unless_there(&self, then: Decision) -> Decision {
        if self.at_its_address == Some(self.recorded) {
            return Decision::Refused(Why::Answers);
        }
        if let Some(refused) = self.refused() {
            return refused;
        }
        if self.recorded_is_gone() { then } else { Decision::Open(Pending::MayBeThere) }
    }

    /// It is promised here.
    fn by_promises(&self) -> Decision {
        if let Some(refused) = self.refused() {
            return refused;
        }
        let takes = |id: &CoordinatorId| self.words.iter().any(|(by, word)| by == id && word.takes);
        let missing: BTreeSet<_> =
            self.others().into_iter().filter(|id| *id != self.here && !takes(id)).collect();
        if self.voters.is_empty() || !missing.is_empty() {
            return Decision::Open(Pending::Promises(missing));
        }
        if self.here_waits {
            return Decision::Open(Pending::ThisOne);
        }
        Decision::Counts
    }
}

impl KnownStarts {
    /// True when nothing counts here from now on but this start, what follows it for certain, and what it was left for.
    pub fn takes(&self, start: &Start) -> bool {
        let next = match &self.promised {
            Some(promised) => start.surely_follows(promised),
            None => start.at.is_at_or_after(&self.counts.at) && !start.has_lost(&self.counts),
        };
        next || self.counts.comes_from_start(start)
    }

    /// What becomes of a start that goes on in another place.
    pub fn decide(&self, survey: &Survey<'_>) -> Decision {
        let is_elsewhere = matches!(self.judge(survey.start), Standing::Elsewhere { .. });
        // Something else may have been decided since.
        if self.counts.id != *survey.recorded || !is_elsewhere {
            return Decision::Open(Pending::MayBeThere);
        }
        match &self.promised {
            _ if survey.start.surely_follows(&self.counts) => survey.unless_there(Decision::Counts),
            Some(_) => survey.by_promises(),
            None => survey.unless_there(Decision::Promised),
        }
    }

    /// What to ask the others for about the promised start, when one comes that is another.
    pub fn wish_beside(promised: &Start, other: &Start) -> Wish {
        if other.comes_from_start(promised) { Wish::Promise } else { Wish::Refusal }
    }

    /// What is on record after it was decided, if that is anything else.
    #[must_use]
    pub fn after(&self, decision: &Decision, start: &Start) -> Option<Self> {
        match decision {
            Decision::Counts => Some(Self::with(Some(self), start)),
            Decision::Promised => Some(Self { promised: Some(start.clone()), ..self.clone() }),
            Decision::Refused(_) => Some(self.refusing(start)),
            Decision::Open(_) => None,
        }
    }

    /// What is on record after another one asked about a start, if that is anything else. `heard` is when the one on record
    /// was last heard here.
    #[must_use]
    pub fn after_wish(&self, wish: Wish, start: &Start, heard: Option<&(InstanceId, u64)>) -> Option<Self> {
        let standing = self.judge(start);
        let is_elsewhere = matches!(standing, Standing::Elsewhere { .. } | Standing::Contested { .. });
        let is_copy = is_elsewhere && !start.surely_follows(&self.counts);
        let is_there = heard.is_some_and(|(id, ago_ms)| *id == self.counts.id && *ago_ms <= MAY_BE_THERE_MS);
        match wish {
            Wish::Promise if is_copy && self.promised.is_none() && !is_there => {
                self.after(&Decision::Promised, start)
            }
            Wish::Refusal if is_copy && !self.takes(start) && !self.may_take(start) => {
                Some(self.refusing(start))
            }
            Wish::Word | Wish::Promise | Wish::Refusal => None,
        }
    }

    /// True when a promise was given to this start, or to one that comes from it.
    fn may_take(&self, start: &Start) -> bool {
        self.promised.as_ref().is_some_and(|promised| promised.comes_from_start(start))
    }
}
