//! Whether the parts of a process make progress, judged by somebody who does not wait for them.

use crate::clock::BootInstant;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// What one part shows of its progress: a number that is odd while something is under way, and another one whenever
/// something was done. It costs its part no look at a clock and no lock. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// Something was done, and the next is under way: for a part that always has something to do, and for the begin of
    /// one thing.
    pub fn beat(&self) {
        self.step(|number| (number + 1) | 1);
    }

    /// Nothing is under way any more.
    pub fn rest(&self) {
        self.step(|number| (number + 1) & !1);
    }

    /// One part alone changes its number, so this need not be one step.
    fn step(&self, next: impl Fn(u64) -> u64) {
        self.0.store(next(self.0.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// The present number.
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Judges how long each of several parts has stood still, from looks at their pulses.
///
/// Time in which the judge itself did not look is not held against them: a process that was stopped or suspended as a
/// whole wakes up with all its parts as they were.
#[derive(Debug)]
pub struct Judge {
    /// A gap between two looks counts for no more than this.
    gap_max: Duration,
    last_look: Option<BootInstant>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Default)]
struct Part {
    number: u64,
    stood: Duration,
}

impl Judge {
    /// For looks that come at least this often while the process runs.
    pub fn new(gap_max: Duration) -> Self {
        Self { gap_max, last_look: None, parts: Vec::new() }
    }

    /// Takes a look at all parts, always in the same order, and says how long each has stood still with something under
    /// way.
    pub fn look(&mut self, now: BootInstant, numbers: &[u64]) -> Vec<Duration> {
        let gap = self.last_look.map_or(Duration::ZERO, |last| now.saturating_sub(last)).min(self.gap_max);
        self.last_look = Some(now);
        self.parts.resize(numbers.len(), Part::default());
        for (part, number) in self.parts.iter_mut().zip(numbers) {
            let same = part.number == *number && number % 2 == 1;
            part.stood = if same { part.stood + gap } else { Duration::ZERO };
            part.number = *number;
        }
        self.parts.iter().map(|part| part.stood).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: u64 = 200;

    /// Looks at one part, each time this much later; how long it had stood still at each look.
    fn stood(looks: &[(u64, u64)]) -> Vec<u64> {
        let (mut judge, mut now) = (Judge::new(Duration::from_millis(2 * LOOK)), 1_000);
        let look = |(after_ms, number): &(u64, u64)| {
            now += after_ms;
            let stood = judge.look(BootInstant::from_ms(now), &[*number])[0];
            u64::try_from(stood.as_millis()).unwrap()
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn a_pulse_is_odd_while_something_is_under_way_and_never_shows_the_same_again() {
        let pulse = Pulse::default();
        let mut seen = vec![pulse.read()];
        for _ in 0..3 {
            pulse.beat();
            seen.push(pulse.read());
            pulse.beat();
            seen.push(pulse.read());
            pulse.rest();
            seen.push(pulse.read());
        }
        assert_eq!(seen, [0, 1, 3, 4, 5, 7, 8, 9, 11, 12]);
        pulse.rest();
        assert_eq!(pulse.read(), 12, "it rests already");
    }

    #[test]
    fn a_part_stands_still_while_its_number_is_odd_and_the_same() {
        assert_eq!(stood(&[(LOOK, 1), (LOOK, 1), (LOOK, 1), (LOOK, 3), (LOOK, 3)]), [0, 200, 400, 0, 200]);
        assert_eq!(stood(&[(LOOK, 2), (LOOK, 2), (LOOK, 2)]), [0, 0, 0], "nothing is under way");
        assert_eq!(stood(&[(LOOK, 1), (LOOK, 1), (LOOK, 2), (LOOK, 3)]), [0, 200, 0, 0]);
    }

    #[test]
    fn a_process_that_was_stopped_as_a_whole_has_no_part_that_stood_still() {
        assert_eq!(stood(&[(LOOK, 1), (3_600_000, 1), (LOOK, 3)]), [0, 400, 0]);
        // One that stood still before goes on standing still from there.
        assert_eq!(stood(&[(LOOK, 1), (LOOK, 1), (60_000, 1), (LOOK, 1)]), [0, 200, 600, 800]);
    }

    #[test]
    fn parts_are_judged_each_by_itself() {
        let mut judge = Judge::new(Duration::from_secs(1));
        judge.look(BootInstant::from_ms(0), &[1, 1, 4]);
        let stood = judge.look(BootInstant::from_ms(700), &[1, 3, 4]);
        assert_eq!(stood, [Duration::from_millis(700), Duration::ZERO, Duration::ZERO]);
    }
}
