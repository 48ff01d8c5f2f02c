//! What the log stands for at this moment, as far as the writer must know it: the metas, the last purge, and which
//! segments still hold an entry that counts.

use std::collections::{BTreeMap, btree_map::Entry};

use bytes::Bytes;

use super::Record;

/// What a new segment must say again, and what keeps old segments from being free.
#[derive(Debug, Default)]
pub(crate) struct LogState {
    pub(crate) metas: BTreeMap<u8, Bytes>,
    pub(crate) purged: Option<(u64, Bytes)>,
    live: LiveEntries,
}

impl LogState {
    /// Takes in a record that stands in `segment`.
    pub(crate) fn apply(&mut self, record: &Record, segment: u64) {
        match record {
            Record::Entry { index, .. } => {
                if self.is_above_purge(*index) {
                    self.live.put(*index, segment);
                }
            }
            Record::Meta { key, data } => {
                self.metas.insert(*key, data.clone());
            }
            Record::TruncateFrom { index } => self.live.truncate_from(*index),
            Record::PurgeTo { index, data } => {
                if self.purged.as_ref().is_none_or(|(purged, _)| index >= purged) {
                    self.purged = Some((*index, data.clone()));
                    self.live.purge_to(*index);
                }
            }
        }
    }

    /// Whether an entry of this index still counts.
    pub(crate) fn is_above_purge(&self, index: u64) -> bool {
        self.purged.as_ref().is_none_or(|(purged, _)| index > *purged)
    }

    /// The lowest segment that is needed while `active` is being written.
    pub(crate) fn floor(&self, active: u64) -> u64 {
        self.live.lowest_segment().unwrap_or(active).min(active)
    }
}

/// Where the live entries stand, as runs of neighbouring indexes: about one run per segment.
#[derive(Debug, Default)]
struct LiveEntries {
    /// First index of a run -> the run.
    runs: BTreeMap<u64, Run>,
    /// Segment -> number of live entries in it; no zeros.
    counts: BTreeMap<u64, u64>,
}

#[derive(Debug, Clone, Copy)]
struct Run {
    last: u64,
    segment: u64,
}

impl LiveEntries {
    fn lowest_segment(&self) -> Option<u64> {
        self.counts.first_key_value().map(|(segment, _)| *segment)
    }

    fn put(&mut self, index: u64, segment: u64) {
        self.take_out(index);
        *self.counts.entry(segment).or_default() += 1;
        let before = self.runs.range_mut(..index).next_back();
        match before {
            Some((_, run)) if run.segment == segment && run.last.checked_add(1) == Some(index) => {
                run.last = index;
            }
            _ => {
                self.runs.insert(index, Run { last: index, segment });
            }
        }
    }

    fn truncate_from(&mut self, index: u64) {
        for (first, run) in self.runs.split_off(&index) {
            self.discount(run.segment, first, run.last);
        }
        if let Some((_, run)) = self.runs.range_mut(..index).next_back()
            && run.last >= index
        {
            let cut = std::mem::replace(&mut run.last, index - 1);
            let segment = run.segment;
            self.discount(segment, index, cut);
        }
    }

    fn purge_to(&mut self, index: u64) {
        while let Some((first, run)) = self.runs.first_key_value().map(|(first, run)| (*first, *run))
            && first <= index
        {
            self.runs.remove(&first);
            self.discount(run.segment, first, run.last.min(index));
            if run.last > index {
                self.runs.insert(index + 1, run);
            }
        }
    }

    fn take_out(&mut self, index: u64) {
        let Some((first, run)) = self.runs.range_mut(..=index).next_back() else { return };
        if run.last < index {
            return;
        }
        let (first, whole) = (*first, *run);
        if first == index {
            self.runs.remove(&first);
        } else {
            run.last = index - 1;
        }
        if whole.last > index {
            self.runs.insert(index + 1, whole);
        }
        self.discount(whole.segment, index, index);
    }

    fn discount(&mut self, segment: u64, first: u64, last: u64) {
        let gone = last - first + 1;
        if let Entry::Occupied(mut count) = self.counts.entry(segment) {
            if *count.get() > gone {
                *count.get_mut() -= gone;
            } else {
                count.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Put(u64, u64),
        Truncate(u64),
        Purge(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0_u64..12, 1_u64..5).prop_map(|(index, segment)| Step::Put(index, segment)),
            1 => (0_u64..12).prop_map(Step::Truncate),
            1 => (0_u64..12).prop_map(Step::Purge),
        ]
    }

    proptest! {
        #[test]
        fn knows_the_same_segments_as_a_plain_map(steps in prop::collection::vec(step(), 0..60)) {
            let mut live = LiveEntries::default();
            let mut plain = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Put(index, segment) => {
                        live.put(index, segment);
                        plain.insert(index, segment);
                    }
                    Step::Truncate(index) => {
                        live.truncate_from(index);
                        plain.retain(|at, _| *at < index);
                    }
                    Step::Purge(index) => {
                        live.purge_to(index);
                        plain.retain(|at, _| *at > index);
                    }
                }
                let runs: BTreeMap<u64, u64> = live
                    .runs
                    .iter()
                    .flat_map(|(first, run)| (*first..=run.last).map(|index| (index, run.segment)))
                    .collect();
                prop_assert_eq!(&runs, &plain);
                let mut counts = BTreeMap::new();
                for segment in plain.values() {
                    *counts.entry(*segment).or_insert(0) += 1;
                }
                prop_assert_eq!(&live.counts, &counts);
            }
        }
    }

    #[test]
    fn takes_the_highest_index_there_is() {
        let mut live = LiveEntries::default();
        live.put(u64::MAX - 1, 1);
        live.put(u64::MAX, 1);
        live.purge_to(u64::MAX - 1);
        assert_eq!(live.lowest_segment(), Some(1));
        live.purge_to(u64::MAX);
        assert_eq!(live.lowest_segment(), None);
    }

    #[test]
    fn keeps_one_run_for_entries_in_order() {
        let mut live = LiveEntries::default();
        (1..=1000).for_each(|index| live.put(index, 1));
        (1001..=2000).for_each(|index| live.put(index, 2));
        assert_eq!(live.runs.len(), 2);
    }
}
