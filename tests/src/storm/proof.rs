//! What was seen of a fault.

use super::recovery::Healed;
use anyhow::{Result, ensure};
use std::{fmt, time::Instant};

/// What shows that a fault took effect, and that it was over afterwards.
#[derive(Debug)]
pub(super) struct Proof {
    began: Instant,
    effect: Vec<String>,
    end: Vec<String>,
    healed: Option<Healed>,
}

impl Default for Proof {
    fn default() -> Self {
        Self { began: Instant::now(), effect: Vec::new(), end: Vec::new(), healed: None }
    }
}

impl Proof {
    pub(super) fn effect(&mut self, seen: impl Into<String>) {
        self.effect.push(self.dated(&seen.into()));
    }

    pub(super) fn end(&mut self, seen: impl Into<String>) {
        self.end.push(self.dated(&seen.into()));
    }

    fn dated(&self, seen: &str) -> String {
        format!("{seen} ({:.1} s)", self.began.elapsed().as_secs_f64())
    }

    /// From now on nothing is in the way any more: what the cluster still needs is its own time.
    pub(super) fn healed(&mut self, now: Healed) {
        self.healed = Some(now);
    }

    /// A fault that nothing shows is none.
    ///
    /// # Errors
    /// When nothing was seen of its effect or of its end.
    pub(super) fn check(&self) -> Result<()> {
        ensure!(!self.effect.is_empty(), "nothing shows that the fault took effect");
        ensure!(!self.end.is_empty(), "nothing shows that the fault was over");
        Ok(())
    }

    /// Since when nothing is in the way.
    pub(super) fn take_healed(&mut self) -> Option<Healed> {
        self.healed.take()
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
        assert!(proof.check().is_err());
        proof.effect("it was gone");
        assert!(proof.check().is_err());
        proof.end("it was back");
        proof.check().unwrap();
        assert_eq!(proof.to_string(), "it was gone (0.0 s); healed: it was back (0.0 s)");
    }
}
