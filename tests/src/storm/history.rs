//! What clients did and what they were told, on one clock.

use super::linearizable::{Act, Interval};
use anyhow::{Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// What a client asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// A register, which is a label of a group, shall have this value; no two writes have the same.
    Write {
        /// The command's own id, whenever it is sent.
        request_id: String,
        /// The group.
        group: String,
        /// The label.
        register: String,
        /// What it shall be.
        value: u32,
    },
    /// All registers of a group.
    Read {
        /// The group.
        group: String,
    },
    /// Another primary.
    Failover {
        /// The command's own id.
        request_id: String,
        /// The group.
        group: String,
    },
}

/// What the client was told in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// It is done, at this revision.
    Done {
        /// The revision.
        revision: u64,
    },
    /// The registers of the group, as they were at a revision.
    Values {
        /// By register; those that are missing were never written.
        values: BTreeMap<String, u32>,
        /// The revision.
        revision: u64,
    },
    /// It was refused, with this code; nothing changed.
    Refused(String),
    /// Nothing was done, certainly.
    Failed,
    /// It may have been done, or be done yet.
    Unknown,
}

/// One operation of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Operation {
    /// Microseconds since the storm began.
    pub(super) invoked: u64,
    /// The same.
    pub(super) returned: u64,
    /// What it was.
    pub(super) call: Call,
    /// How it ended.
    pub(super) told: Told,
}

/// How many operations ended in which way.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Acknowledged or read.
    pub(super) acknowledged: AtomicU64,
    /// Refused with a code.
    pub(super) refused: AtomicU64,
    /// Certainly without effect.
    pub(super) failed: AtomicU64,
    /// Never answered.
    pub(super) unknown: AtomicU64,
}

/// Takes in operations from all clients. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Recorder {
    started: Instant,
    operations: Arc<Mutex<Vec<Operation>>>,
    counts: Arc<Counts>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { started: Instant::now(), operations: Arc::default(), counts: Arc::default() }
    }
}

impl Recorder {
    /// Microseconds since the storm began.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Notes how an operation that was invoked then ended now.
    pub(super) fn note(&self, invoked: u64, call: Call, told: Told) {
        let count = match &told {
            Told::Done { .. } | Told::Values { .. } => &self.counts.acknowledged,
            Told::Refused(_) => &self.counts.refused,
            Told::Failed => &self.counts.failed,
            Told::Unknown => &self.counts.unknown,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let returned = self.now();
        self.lock().push(Operation { invoked, returned, call, told });
    }

    /// The counts so far.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many operations were acknowledged so far.
    pub(super) fn acknowledged(&self) -> u64 {
        self.counts.acknowledged.load(Ordering::Relaxed)
    }

    /// Everything since the last time that it was taken.
    pub(super) fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Operation>> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The operations on each register, by group and label.
pub(super) fn by_register(operations: &[Operation]) -> BTreeMap<(String, String), Vec<Interval>> {
    let mut registers = BTreeMap::<(String, String), Vec<Interval>>::new();
    let mut known = BTreeMap::<&str, BTreeSet<&str>>::new();
    for one in operations {
        let Call::Write { group, register, value, .. } = &one.call else { continue };
        known.entry(group).or_default().insert(register);
        let act = match one.told {
            Told::Done { revision } => Act::Write { value: *value, revision },
            Told::Unknown => Act::MaybeWrite { value: *value },
            // Without effect: whoever reads the value all the same reads what was never written.
            _ => continue,
        };
        let interval = Interval { invoked: one.invoked, returned: one.returned, act };
        registers.entry((group.clone(), register.clone())).or_default().push(interval);
    }
    for one in operations {
        let (Call::Read { group }, Told::Values { values, revision }) = (&one.call, &one.told) else {
            continue;
        };
        let names: BTreeSet<&str> = known.get(group.as_str()).into_iter().flatten().copied().collect();
        for register in names.into_iter().chain(values.keys().map(String::as_str)).collect::<BTreeSet<_>>() {
            let value = values.get(register).copied().unwrap_or(0);
            let act = Act::Read { value, revision: *revision };
            let interval = Interval { invoked: one.invoked, returned: one.returned, act };
            registers.entry((group.clone(), register.to_owned())).or_default().push(interval);
        }
    }
    registers
}

/// Revisions follow real time, over all registers and groups together: what was invoked after another operation had
/// been answered has a later revision if it is a command, and no earlier one if it is a read. All of it comes after
/// `floor`; the highest revision that was told comes back, the floor of what follows.
///
/// # Errors
/// The first operation of which that is not true.
pub(super) fn check_revisions(operations: &[Operation], floor: u64) -> Result<u64> {
    let told = |one: &Operation| match &one.told {
        Told::Done { revision } => Some((*revision, true)),
        Told::Values { revision, .. } => Some((*revision, false)),
        _ => None,
    };
    let mut answered: Vec<(u64, u64)> =
        operations.iter().filter_map(|one| told(one).map(|(revision, _)| (one.returned, revision))).collect();
    answered.sort_unstable();
    let mut invoked: Vec<&Operation> = operations.iter().filter(|one| told(one).is_some()).collect();
    invoked.sort_by_key(|one| one.invoked);
    let (mut before, mut highest) = (0, floor);
    for one in invoked {
        while let Some((_, revision)) = answered.get(before).filter(|(returned, _)| *returned < one.invoked) {
            highest = highest.max(*revision);
            before += 1;
        }
        let Some((revision, command)) = told(one) else { continue };
        let least = if command { highest + 1 } else { highest };
        ensure!(
            revision >= least,
            "revision {highest} had been told before {one:?} was sent, and it was told {revision}"
        );
    }
    Ok(answered.into_iter().map(|(_, revision)| revision).fold(floor, u64::max))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storm::linearizable::check;

    fn write(invoked: u64, returned: u64, value: u32, told: Told) -> Operation {
        let call = Call::Write {
            request_id: format!("r{value}"),
            group: "g".to_owned(),
            register: "r".to_owned(),
            value,
        };
        Operation { invoked, returned, call, told }
    }

    fn read(invoked: u64, returned: u64, value: Option<u32>, revision: u64) -> Operation {
        let values = value.into_iter().map(|value| ("r".to_owned(), value)).collect();
        let call = Call::Read { group: "g".to_owned() };
        Operation { invoked, returned, call, told: Told::Values { values, revision } }
    }

    fn judged(operations: &[Operation]) -> bool {
        by_register(operations).values().all(|history| check(history).is_ok())
    }

    #[test]
    fn a_read_of_a_group_is_a_read_of_every_register_of_it() {
        let done = Told::Done { revision: 3 };
        assert!(judged(&[write(1, 2, 7, done.clone()), read(3, 4, Some(7), 3)]));
        assert!(!judged(&[write(1, 2, 7, done), read(3, 4, None, 3)]), "the label is gone");
    }

    #[test]
    fn a_refused_or_failed_write_that_is_read_is_caught_and_an_unknown_one_is_not() {
        for told in [Told::Failed, Told::Refused("NO".to_owned())] {
            assert!(!judged(&[write(1, 2, 7, told), read(3, 4, Some(7), 3)]));
        }
        assert!(judged(&[write(1, 2, 7, Told::Unknown), read(3, 4, Some(7), 3)]));
    }

    #[test]
    fn revisions_that_run_against_real_time_are_caught() {
        let done = |revision| Told::Done { revision };
        let good = [write(1, 2, 7, done(3)), write(3, 4, 8, done(4)), read(5, 6, None, 4)];
        assert_eq!(check_revisions(&good, 2).unwrap(), 4);
        assert!(check_revisions(&good, 3).is_err());
        check_revisions(&[write(1, 9, 7, done(4)), write(3, 4, 8, done(3))], 0).unwrap();
        assert!(check_revisions(&[write(1, 2, 7, done(3)), write(3, 4, 8, done(3))], 0).is_err());
        assert!(check_revisions(&[write(1, 2, 7, done(3)), read(3, 4, None, 2)], 0).is_err());
    }
}
