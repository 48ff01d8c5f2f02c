//! Whether a history of one register has a linearization: the search of Wing and Gong with the memory of Lowe.
//!
//! The register is a label of a group together with the revision of the state at the last operation on it: a write must
//! be told a higher revision than whatever was there, a read the present value at that revision or a later one. So a
//! history that fits the values and not the revisions is caught too.
//!
//! A write whose outcome nobody knows may take effect at any time after it was sent, or never.

use std::collections::HashSet;

/// What an operation did to a register, as its client saw it. Values are numbers; zero is the value in the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// It was acknowledged at this revision.
    Write {
        /// What was written.
        value: u32,
        /// The revision that the client was told.
        revision: u64,
    },
    /// It was never answered.
    MaybeWrite {
        /// What was written, if it was.
        value: u32,
    },
    /// It was answered.
    Read {
        /// What was read.
        value: u32,
        /// The revision of the state that it was read from.
        revision: u64,
    },
}

/// An operation on a register, between two instants of one clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Interval {
    /// Nothing happened before.
    pub(super) invoked: u64,
    /// Nothing happened after; without meaning for a write of unknown outcome.
    pub(super) returned: u64,
    /// What it did.
    pub(super) act: Act,
}

/// The register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Register {
    value: u32,
    revision: u64,
}

impl Register {
    /// What is there after an operation, if the operation could be seen to do what it did.
    pub(super) fn after(self, act: Act) -> Option<Self> {
        match act {
            Act::Write { value, revision } => (revision > self.revision).then_some(Self { value, revision }),
            Act::MaybeWrite { value } => Some(Self { value, ..self }),
            Act::Read { value, revision } => {
                (value == self.value && revision >= self.revision).then_some(Self { revision, ..self })
            }
        }
    }
}

/// Why a history cannot be: how far every attempt came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "no order explains it: of {total} operations at most {explained} do; then the register held {register:?}, and none of these fits: {stuck:?}"
)]
pub(super) struct NotLinearizable {
    /// Operations with an answer.
    pub(super) total: usize,
    /// The most of them that could be put in order.
    pub(super) explained: usize,
    /// What the register held then.
    pub(super) register: Register,
    /// The operations of which one had to be next.
    pub(super) stuck: Vec<Interval>,
}

/// Looks for an order of the operations that explains all answers and keeps to real time.
///
/// # Errors
/// When there is none.
pub(super) fn check(history: &[Interval]) -> Result<(), NotLinearizable> {
    Search::new(history).run()
}

struct Search {
    /// Operations with an answer, by the time of their call.
    certain: Vec<Interval>,
    /// Writes without an answer whose value was read. Others never have to happen.
    uncertain: Vec<Interval>,
    done: Vec<bool>,
    applied: Vec<bool>,
    /// Everything before is done.
    first: usize,
    explained: usize,
    register: Register,
    seen: HashSet<Place>,
    best: (usize, Register, Vec<Interval>),
}

/// Where a search was: what is done, and what the register holds.
#[derive(PartialEq, Eq, Hash)]
struct Place {
    first: usize,
    beyond: Vec<usize>,
    applied: Vec<bool>,
    register: Register,
}

/// A choice of the next operation, to be taken back when it leads nowhere.
struct Choice {
    candidates: Vec<Candidate>,
    tried: usize,
    before: (usize, Register),
}

#[derive(Clone, Copy)]
enum Candidate {
    Certain(usize),
    Uncertain(usize),
}

impl Search {
    fn new(history: &[Interval]) -> Self {
        let read: HashSet<u32> = history
            .iter()
            .filter_map(|one| match one.act {
                Act::Read { value, .. } => Some(value),
                _ => None,
            })
            .collect();
        let (mut certain, mut uncertain) = (Vec::new(), Vec::new());
        for one in history {
            match one.act {
                Act::MaybeWrite { value } if read.contains(&value) => uncertain.push(*one),
                Act::MaybeWrite { .. } => {}
                _ => certain.push(*one),
            }
        }
        certain.sort_by_key(|one| one.invoked);
        Self {
            done: vec![false; certain.len()],
            applied: vec![false; uncertain.len()],
            certain,
            uncertain,
            first: 0,
            explained: 0,
            register: Register::default(),
            seen: HashSet::new(),
            best: (0, Register::default(), Vec::new()),
        }
    }

    fn run(mut self) -> Result<(), NotLinearizable> {
        let mut choices = vec![self.choice()];
        while self.explained < self.certain.len() {
            let Some(choice) = choices.last_mut() else { return Err(self.failed()) };
            if let Some(candidate) = choice.candidates.get(choice.tried).copied() {
                choice.tried += 1;
                if self.take(candidate) {
                    choices.push(self.choice());
                }
                continue;
            }
            choices.pop();
            if let Some(previous) = choices.last() {
                self.take_back(previous);
            }
        }
        Ok(())
    }

    /// What may be next: everything that was called before the first answer that is still to be explained.
    fn choice(&mut self) -> Choice {
        let mut deadline = u64::MAX;
        let mut open = Vec::new();
        for (index, one) in self.certain.iter().enumerate().skip(self.first) {
            if one.invoked > deadline {
                break;
            }
            if !self.done[index] {
                deadline = deadline.min(one.returned);
                open.push(index);
            }
        }
        open.retain(|index| self.certain[*index].invoked <= deadline);
        open.sort_by_key(|index| self.certain[*index].returned);
        if self.explained >= self.best.0 {
            let stuck = open.iter().map(|index| self.certain[*index]).collect();
            self.best = (self.explained, self.register, stuck);
        }
        let uncertain = (0..self.uncertain.len())
            .filter(|index| !self.applied[*index] && self.uncertain[*index].invoked <= deadline);
        let candidates =
            open.into_iter().map(Candidate::Certain).chain(uncertain.map(Candidate::Uncertain)).collect();
        Choice { candidates, tried: 0, before: (self.first, self.register) }
    }

    /// Puts an operation next, unless it does not fit or the same was tried before.
    fn take(&mut self, candidate: Candidate) -> bool {
        let act = match candidate {
            Candidate::Certain(index) => self.certain[index].act,
            Candidate::Uncertain(index) => self.uncertain[index].act,
        };
        let Some(after) = self.register.after(act) else { return false };
        let before = (self.first, self.register);
        self.register = after;
        self.mark(candidate, true);
        while self.done.get(self.first) == Some(&true) {
            self.first += 1;
        }
        let new = self.seen.insert(self.place());
        if !new {
            self.mark(candidate, false);
            (self.first, self.register) = before;
        }
        new
    }

    fn take_back(&mut self, choice: &Choice) {
        if let Some(candidate) = choice.candidates.get(choice.tried - 1).copied() {
            self.mark(candidate, false);
        }
        (self.first, self.register) = choice.before;
    }

    fn mark(&mut self, candidate: Candidate, done: bool) {
        match candidate {
            Candidate::Certain(index) => {
                self.done[index] = done;
                self.explained = if done { self.explained + 1 } else { self.explained - 1 };
            }
            Candidate::Uncertain(index) => self.applied[index] = done,
        }
    }

    fn place(&self) -> Place {
        // What was called after the first open answer cannot be done, so this ends soon.
        let mut beyond = Vec::new();
        let mut deadline = u64::MAX;
        for (index, one) in self.certain.iter().enumerate().skip(self.first) {
            if one.invoked > deadline {
                break;
            }
            if self.done[index] {
                beyond.push(index);
            } else {
                deadline = deadline.min(one.returned);
            }
        }
        Place { first: self.first, beyond, applied: self.applied.clone(), register: self.register }
    }

    fn failed(self) -> NotLinearizable {
        let (explained, register, stuck) = self.best;
        NotLinearizable { total: self.certain.len(), explained, register, stuck }
    }
}

#[cfg(test)]
mod tests;
