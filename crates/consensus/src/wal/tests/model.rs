//! What a log holds, said as plainly as possible, to compare with.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::super::{Record, Recovered};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Model {
    entries: BTreeMap<u64, Bytes>,
    metas: BTreeMap<u8, Bytes>,
    purged: Option<(u64, Bytes)>,
}

impl Model {
    /// The state after these batches.
    pub(super) fn after<'a>(batches: impl IntoIterator<Item = &'a Vec<Record>>) -> Self {
        let mut model = Self::default();
        batches.into_iter().for_each(|batch| model.apply(batch));
        model
    }

    /// The states before the first batch, and after each.
    pub(super) fn states(batches: &[Vec<Record>]) -> Vec<Self> {
        (0..=batches.len()).map(|count| Self::after(&batches[..count])).collect()
    }

    pub(super) fn apply(&mut self, batch: &[Record]) {
        for record in batch {
            match record {
                Record::Entry { index, data } => {
                    self.entries.insert(*index, data.clone());
                }
                Record::Meta { key, data } => {
                    self.metas.insert(*key, data.clone());
                }
                Record::TruncateFrom { index } => self.entries.retain(|at, _| at < index),
                Record::PurgeTo { index, data } => {
                    if self.purged.is_none() || self.purged.as_ref().unwrap().0 <= *index {
                        self.purged = Some((*index, data.clone()));
                    }
                }
            }
            if let Some((purged, _)) = &self.purged {
                self.entries.retain(|at, _| at > purged);
            }
        }
    }

    pub(super) fn is(&self, recovered: &Recovered) -> bool {
        self.entries == recovered.entries && self.metas == recovered.metas && self.purged == recovered.purged
    }
}
