//! I2: committed entries agree everywhere and never vanish.

use super::{Fact, Invariant, same};
use crate::{raft::Entry, time::Moment};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Debug, Default)]
pub(super) struct CommittedEntriesAgree {
    committed: BTreeMap<u64, Arc<Entry>>,
}

impl Invariant for CommittedEntriesAgree {
    fn name(&self) -> &'static str {
        "I2 committed entries agree everywhere and never vanish"
    }

    fn see(&mut self, fact: &Fact<'_>, _now: Moment) -> Result<(), String> {
        let Fact::Committed { node, entry } = fact else { return Ok(()) };
        let first = self.committed.entry(entry.index).or_insert_with(|| Arc::clone(entry));
        if same(first, entry) {
            return Ok(());
        }
        Err(format!(
            "c{} committed another entry {} (term {}) than was committed before (term {})",
            node + 1,
            entry.index,
            entry.term,
            first.term
        ))
    }
}
