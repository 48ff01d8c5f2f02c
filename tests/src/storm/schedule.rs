//! Which fault comes when, where and for how long: drawn from a seed, so that the seed is the schedule.

use super::fault::Kind;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use std::{fmt, time::Duration};

/// The shortest and the longest time that a fault lasts beyond what proves it.
const HOLD_MS: std::ops::Range<u64> = 200..1_200;
/// The shortest and the longest rest between two faults.
const REST_MS: std::ops::Range<u64> = 50..600;

/// A fault that is planned. Who leads and who is primary is not known before it begins, so what it hits is a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its place in the schedule, from 1.
    pub number: usize,
    /// What.
    pub kind: Kind,
    /// Picks among those that have the role: which follower, which group's primary.
    pub target: u64,
    /// How long it lasts once it has been proven.
    pub hold: Duration,
    /// How long nothing happens before it.
    pub rest: Duration,
}

impl Fault {
    /// One of some, the same for the same schedule.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<T: Copy>(&self, among: &[T]) -> T {
        among[usize::try_from(self.target % among.len() as u64).unwrap_or(0)]
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, kind, target, hold, rest } = self;
        write!(f, "{number:>3} {kind} (target {}, rest {rest:?}, hold {hold:?})", target % 60)
    }
}

/// Faults without end: in every round each kind comes once, in an order of its own.
#[derive(Debug)]
pub struct Schedule {
    random: StdRng,
    kinds: Vec<Kind>,
    round: Vec<Kind>,
    drawn: usize,
}

impl Schedule {
    /// The schedule of a seed over these kinds.
    pub fn new(seed: u64, kinds: &[Kind]) -> Self {
        Self { random: StdRng::seed_from_u64(seed), kinds: kinds.to_vec(), round: Vec::new(), drawn: 0 }
    }
}

impl Iterator for Schedule {
    type Item = Fault;

    fn next(&mut self) -> Option<Fault> {
        if self.round.is_empty() {
            self.round.clone_from(&self.kinds);
            self.round.shuffle(&mut self.random);
        }
        let kind = self.round.pop()?;
        self.drawn += 1;
        Some(Fault {
            number: self.drawn,
            kind,
            target: self.random.random_range(0..60),
            hold: Duration::from_millis(self.random.random_range(HOLD_MS)),
            rest: Duration::from_millis(self.random.random_range(REST_MS)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storm::fault::KINDS;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_replays_its_schedule_and_another_seed_has_another() {
        let drawn = |seed| Schedule::new(seed, &KINDS).take(100).collect::<Vec<_>>();
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn every_kind_comes_once_in_every_round() {
        let drawn: Vec<_> = Schedule::new(7, &KINDS).take(3 * KINDS.len()).map(|fault| fault.kind).collect();
        for round in drawn.chunks(KINDS.len()) {
            let kinds: BTreeSet<_> = round.iter().collect();
            assert_eq!(kinds.len(), KINDS.len());
        }
    }
}
