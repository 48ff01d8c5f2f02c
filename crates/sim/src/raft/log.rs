//! The log of one coordinator, without what a snapshot took the place of.

use super::membership::{Configured, Membership};
use quorate_domain::{Proposal, rows::Row};
use std::sync::Arc;

/// What an entry carries.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Payload {
    /// Nothing: the first entry of a leader.
    Blank,
    /// Commands that were proposed together.
    Commands(Vec<Proposal>),
    /// Who takes part from here on, as soon as it stands in a log.
    Members(Arc<Membership>),
}

/// One entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Its place in the log; the first is 1.
    pub(crate) index: u64,
    /// The term of the leader that made it.
    pub(crate) term: u64,
    /// What it carries.
    pub(crate) payload: Payload,
}

/// Where a log ends: the term and index of its last entry, in the order in which logs are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    /// The term.
    pub(crate) term: u64,
    /// The index.
    pub(crate) index: u64,
}

/// A state that takes the place of the entries up to its own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The last entry in it.
    pub(crate) at: Place,
    /// The state, as it is written to a file and read from it.
    pub(crate) rows: Vec<Row>,
    /// Who took part by then.
    pub(crate) configured: Configured,
}

/// Entries behind a base.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log {
    base: Place,
    entries: Vec<Arc<Entry>>,
    /// The configuration in force at the base, if there is one, and those of the entries behind it.
    configured: Vec<Configured>,
}

impl Log {
    /// The log that the first nodes of a cluster begin with: it names them.
    pub(crate) fn of_first(count: usize) -> Self {
        let payload = Payload::Members(Arc::new(Membership::of_first(count)));
        let mut log = Self::default();
        log.append(&[Arc::new(Entry { index: 1, term: 0, payload })]);
        log
    }

    /// The configuration in force: the latest, committed or not.
    pub(crate) fn configured(&self) -> Configured {
        self.configured.last().cloned().unwrap_or_default()
    }

    /// The configuration in force at an entry.
    pub(crate) fn configured_at(&self, index: u64) -> Configured {
        let found = self.configured.iter().rev().find(|known| known.index <= index);
        found.cloned().unwrap_or_default()
    }

    /// How many entries are kept.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The end.
    pub(crate) fn last(&self) -> Place {
        self.entries.last().map_or(self.base, |last| Place { term: last.term, index: last.index })
    }

    fn slot(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.base.index + 1)?).ok()
    }

    /// An entry, if it is here.
    pub(crate) fn get(&self, index: u64) -> Option<&Arc<Entry>> {
        self.entries.get(self.slot(index)?)
    }

    /// The term of an entry, if it is known here.
    pub(crate) fn term_at(&self, index: u64) -> Option<u64> {
        if index == self.base.index {
            return Some(self.base.term);
        }
        self.get(index).map(|entry| entry.term)
    }

    /// Entries from an index on, at most `limit`.
    pub(crate) fn from(&self, index: u64, limit: usize) -> Vec<Arc<Entry>> {
        let Some(slot) = self.slot(index) else { return Vec::new() };
        self.entries.iter().skip(slot).take(limit).cloned().collect()
    }

    /// Drops an entry and all behind it.
    pub(crate) fn cut(&mut self, index: u64) {
        if let Some(slot) = self.slot(index) {
            self.entries.truncate(slot);
            self.configured.retain(|known| known.index < index);
        }
    }

    /// Adds entries that follow.
    pub(crate) fn append(&mut self, entries: &[Arc<Entry>]) {
        self.entries.extend_from_slice(entries);
        for entry in entries {
            if let Payload::Members(members) = &entry.payload {
                self.configured.push(Configured { index: entry.index, members: Arc::clone(members) });
            }
        }
    }

    /// A snapshot takes the place of all that it covers; what follows it here stays, if it does follow.
    pub(crate) fn restart(&mut self, snapshot: &Snapshot) {
        let at = snapshot.at;
        if self.term_at(at.index) == Some(at.term) {
            self.purge(at);
        } else {
            *self = Self { base: at, entries: Vec::new(), configured: vec![snapshot.configured.clone()] };
        }
    }

    /// Forgets the entries up to an index that a snapshot covers.
    pub(crate) fn purge(&mut self, upto: Place) {
        if let Some(slot) = self.slot(upto.index) {
            self.entries.drain(..(slot + 1).min(self.entries.len()));
            self.base = upto;
            let at_base = self.configured.iter().rposition(|known| known.index <= upto.index).unwrap_or(0);
            self.configured.drain(..at_base);
        }
    }
}
