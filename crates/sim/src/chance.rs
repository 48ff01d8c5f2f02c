//! Chance, all of it from the seed. Every purpose has a stream of its own, so that taking one fault out of a run moves
//! as little as possible of the rest.

use rand::{RngExt, SeedableRng, rngs::Xoshiro256PlusPlus};
use std::ops::RangeInclusive;

/// One stream of chance.
#[derive(Debug, Clone)]
pub(crate) struct Chance(Xoshiro256PlusPlus);

impl Chance {
    /// The stream for one purpose under a seed.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        // Two seeds or two purposes must not give neighbouring states.
        let mixed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ purpose.wrapping_mul(0xD1B5_4A32_D192_ED03);
        Self(Xoshiro256PlusPlus::seed_from_u64(mixed))
    }

    /// A number from the range, each as likely as the other.
    pub(crate) fn draw(&mut self, range: RangeInclusive<u64>) -> u64 {
        self.0.random_range(range)
    }

    /// An index below `length`.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        self.0.random_range(0..length.max(1))
    }

    /// True this often in a million.
    pub(crate) fn happens(&mut self, ppm: u64) -> bool {
        ppm > 0 && self.0.random_range(0..1_000_000) < ppm
    }

    /// One of these.
    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// Puts things into any order.
    pub(crate) fn shuffle<T>(&mut self, things: &mut [T]) {
        for last in (1..things.len()).rev() {
            things.swap(last, self.index(last + 1));
        }
    }
}
