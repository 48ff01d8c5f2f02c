//! What is wrong with a configuration, said so that it can be repaired without reading the source.

use std::error::Error;
use std::fmt;

use super::key::Role;
use super::origin::Origin;

/// The longest piece of somebody's value that is repeated in a message, in characters.
const SHOWN_VALUE_CHARS: usize = 120;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The dotted key, the variable or the file at fault.
    pub(crate) key: String,
    /// The value at fault, where there is one.
    pub(crate) value: Option<String>,
    /// Where it came from, where it came from anywhere.
    pub(crate) origin: Option<Origin>,
    /// What is wrong.
    pub(crate) found: String,
    /// What would have been accepted.
    pub(crate) expected: String,
    /// What to do.
    pub(crate) remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {}", shortened(value))?;
        }
        if let Some(origin) = &self.origin {
            write!(f, " ({origin})")?;
        }
        write!(f, ": {}; expected {}; {}", self.found, self.expected, self.remedy)
    }
}

/// Keeps a message on one line and of a readable length, whatever the value holds.
fn shortened(value: &str) -> String {
    let mut shown: String = value
        .chars()
        .take(SHOWN_VALUE_CHARS)
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect();
    if shown.len() < value.len() {
        shown.push_str("...");
    }
    shown
}

/// Everything that is wrong with the configuration of one role.
#[derive(Clone, Debug)]
pub(crate) struct Problems {
    role: Role,
    /// Each problem, in the order found.
    pub(super) all: Vec<Problem>,
}

impl Problems {
    /// The problems of `role`'s configuration.
    pub(super) fn new(role: Role, all: Vec<Problem>) -> Self {
        Self { role, all }
    }

    /// Whether the configuration is good.
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.all.len() == 1 { "problem" } else { "problems" };
        write!(f, "{} {noun} in the configuration of the {}:", self.all.len(), self.role)?;
        for (number, problem) in (1..).zip(&self.all) {
            write!(f, "\n{number:>3}. {problem}")?;
        }
        Ok(())
    }
}

impl Error for Problems {}
