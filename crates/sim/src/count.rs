//! How often what happened: a run in which nothing went wrong proves nothing.

use std::{collections::BTreeMap, fmt};

/// Counts by name. Names are `fault/...` for faults that took effect, `decision/...` for what was decided, `refused/...`
/// for what was refused, and so on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<String, u64>);

impl Counts {
    /// Once more.
    pub fn add(&mut self, name: impl Into<String>) {
        self.add_many(name, 1);
    }

    /// So many more.
    pub fn add_many(&mut self, name: impl Into<String>, many: u64) {
        *self.0.entry(name.into()).or_default() += many;
    }

    /// Takes in the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            self.add_many(name.clone(), *count);
        }
    }

    /// How often.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Which of these never happened.
    pub fn missing(&self, expected: impl IntoIterator<Item = String>) -> Vec<String> {
        expected.into_iter().filter(|name| self.of(name) == 0).collect()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.keys().map(String::len).max().unwrap_or(0);
        for (name, count) in &self.0 {
            writeln!(f, "  {name:<width$} {count:>10}")?;
        }
        Ok(())
    }
}
