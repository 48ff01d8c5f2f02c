//! What the coordinators that this host reaches say of their quorum (DESIGN section 5, service modes).

use std::collections::BTreeMap;

/// The most coordinators whose word is kept; a cluster has five.
pub const COORDINATORS_MAX: usize = 64;

/// What a coordinator said of its quorum when it was asked for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuorumWord {
    /// It leads without a quorum, or hears no leader.
    Lacks,
    /// It has one, or hears a leader that has.
    Has,
    /// Nothing: it was not reached, or spoke of something else. What it said before counts no more.
    Nothing,
}

/// The last words of all coordinators that are reached.
#[derive(Debug, Clone, Default)]
pub(crate) struct QuorumWords {
    lacks: BTreeMap<String, bool>,
    /// All that were reached lacked a quorum after the lease had lapsed, and nobody has said otherwise since. Silence
    /// takes nothing back.
    safe: bool,
}

impl QuorumWords {
    pub(crate) fn heard(&mut self, coordinator: &str, word: QuorumWord) {
        match word {
            QuorumWord::Nothing => {
                self.lacks.remove(coordinator);
                return;
            }
            QuorumWord::Has => self.safe = false,
            QuorumWord::Lacks => {}
        }
        self.lacks.insert(coordinator.to_owned(), word == QuorumWord::Lacks);
        if self.lacks.len() > COORDINATORS_MAX {
            self.lacks.pop_first();
        }
    }

    /// A quorum has confirmed a leader: whatever was said before is out of date.
    pub(crate) fn confirmed(&mut self) {
        *self = Self::default();
    }

    /// The lease has lapsed, and this is what is known.
    pub(crate) fn lapsed(&mut self) {
        self.safe = self.say_none();
    }

    /// True when nobody on this host may serve anything once its lease has lapsed.
    pub(crate) fn say_none(&self) -> bool {
        self.safe || (!self.lacks.is_empty() && self.lacks.values().all(|lacks| *lacks))
    }

    /// Those that lack a quorum, or a word when what they said was lost since.
    pub(crate) fn who_lack(&self) -> String {
        let names: Vec<&str> =
            self.lacks.iter().filter(|(_, lacks)| **lacks).map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "those that were reached last".to_owned() } else { names.join(", ") }
    }
}
