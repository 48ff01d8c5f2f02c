//! What was seen of a fault.

use anyhow::{Result, ensure};
use std::fmt;

/// What shows that a fault took effect, and that it was over afterwards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Proof {
    effect: Vec<String>,
    end: Vec<String>,
}

impl Proof {
    pub(super) fn effect(&mut self, seen: impl Into<String>) {
        self.effect.push(seen.into());
    }

    pub(super) fn end(&mut self, seen: impl Into<String>) {
        self.end.push(seen.into());
    }

    /// A fault that nothing shows is none.
    ///
    /// # Errors
    /// When nothing was seen of its effect or of its end.
    pub(super) fn check(self) -> Result<Self> {
        ensure!(!self.effect.is_empty(), "nothing shows that the fault took effect");
        ensure!(!self.end.is_empty(), "nothing shows that the fault was over");
        Ok(self)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; healed: {}", self.effect.join(", "), self.end.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_counts_only_with_something_seen_of_its_effect_and_of_its_end() {
        let mut proof = Proof::default();
        assert!(proof.clone().check().is_err());
        proof.effect("it was gone");
        assert!(proof.clone().check().is_err());
        proof.end("it was back");
        assert_eq!(proof.check().unwrap().to_string(), "it was gone; healed: it was back");
    }
}
