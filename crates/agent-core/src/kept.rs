//! One service that is kept under a lease by whoever started it: when it is asked to end, and when it is killed. Whoever asks,
//! and however it ends, nothing of it is left when the lease is over.

use crate::time::BootMs;

/// Until when a service may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Until {
    /// It is asked to end then: no write is to be taken from there on.
    pub writes: BootMs,
    /// Nothing of it may be left then.
    pub lease: BootMs,
}

impl Until {
    /// When it is killed: halfway from its last write to the end of the lease. The rest is for the kill itself, on a machine
    /// that is busy.
    pub fn kill_at(self) -> BootMs {
        let left = self.lease.since_ms(self.writes);
        BootMs(self.lease.0.saturating_sub(left / 2)).min(self.lease)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Ask the service to end.
    Ask,
    /// Kill everything that it started, until nothing is left.
    Kill,
}

/// How far a service is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing runs.
    Idle,
    /// It runs.
    Serving,
    /// It was asked to end, and has time until then, if the lease lasts so long.
    Ending(BootMs),
    /// It is being killed.
    Killing,
}

/// A service, or none.
#[derive(Debug, Clone)]
pub struct Kept {
    stage: Stage,
    until: Until,
    /// Somebody asked it to end, or the lease did.
    asked: bool,
}

impl Default for Kept {
    fn default() -> Self {
        let until = Until { writes: BootMs(0), lease: BootMs(0) };
        Self { stage: Stage::Idle, until, asked: false }
    }
}

impl Kept {
    /// It is about to be started.
    ///
    /// # Errors
    /// Why it must not be.
    pub fn start(&mut self, until: Until, now: BootMs) -> Result<(), String> {
        if self.stage != Stage::Idle {
            return Err("a service runs already".to_owned());
        }
        if now >= until.writes.min(until.kill_at()) {
            return Err(format!("its lease has run out: no write is taken from {} on", until.writes));
        }
        *self = Self { stage: Stage::Serving, until, asked: false };
        Ok(())
    }

    /// Its lease was renewed. What was asked to end goes on ending.
    pub fn renewed(&mut self, until: Until) {
        if until.lease >= self.until.lease {
            self.until = until;
        }
    }

    /// It is to end by then, or with its lease.
    pub fn end(&mut self, by: BootMs) -> Option<Act> {
        match &mut self.stage {
            Stage::Serving => {
                self.stage = Stage::Ending(by);
                self.asked = true;
                Some(Act::Ask)
            }
            Stage::Ending(before) => {
                *before = by.min(*before);
                None
            }
            Stage::Idle | Stage::Killing => None,
        }
    }

    /// It is to be killed.
    pub fn kill(&mut self) -> Option<Act> {
        let begins = matches!(self.stage, Stage::Serving | Stage::Ending(_));
        begins.then(|| {
            self.asked = true;
            self.stage = Stage::Killing;
            Act::Kill
        })
    }

    /// What was started has ended by itself, and what that left running goes too.
    pub fn ended(&mut self) -> Option<Act> {
        let begins = matches!(self.stage, Stage::Serving | Stage::Ending(_));
        begins.then(|| {
            self.stage = Stage::Killing;
            Act::Kill
        })
    }

    /// Nothing of it is left. True when it was asked to end, and not when it did by itself.
    pub fn gone(&mut self) -> bool {
        self.stage = Stage::Idle;
        self.asked
    }

    /// Does what time asks for.
    pub fn pass(&mut self, now: BootMs) -> Option<Act> {
        if self.next_wake().is_none_or(|due| now < due) {
            return None;
        }
        match self.stage {
            Stage::Serving if now < self.until.kill_at() => self.end(self.until.kill_at()),
            Stage::Serving | Stage::Ending(_) => self.kill(),
            Stage::Idle | Stage::Killing => None,
        }
    }

    /// When [`Kept::pass`] must be called at the latest.
    pub fn next_wake(&self) -> Option<BootMs> {
        match self.stage {
            Stage::Serving => Some(self.until.writes.min(self.until.kill_at())),
            Stage::Ending(by) => Some(by.min(self.until.kill_at())),
            Stage::Idle | Stage::Killing => None,
        }
    }

    /// True while it is being killed.
    pub fn is_killing(&self) -> bool {
        self.stage == Stage::Killing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn until(writes: u64, lease: u64) -> Until {
        Until { writes: BootMs(writes), lease: BootMs(lease) }
    }

    fn serving() -> Kept {
        let mut kept = Kept::default();
        kept.start(until(5_000, 6_000), BootMs(10)).unwrap();
        kept
    }

    #[test]
    fn it_is_killed_halfway_between_its_last_write_and_the_end_of_its_lease() {
        assert_eq!(until(5_000, 6_000).kill_at(), BootMs(5_500));
        assert_eq!(until(6_000, 6_000).kill_at(), BootMs(6_000));
        assert_eq!(until(9_000, 6_000).kill_at(), BootMs(6_000), "figures that make no sense end no later");
        assert_eq!(until(0, u64::MAX).kill_at(), BootMs(u64::MAX - u64::MAX / 2));
    }

    #[test]
    fn an_unrenewed_lease_asks_and_then_kills_in_time() {
        let mut kept = serving();
        assert_eq!((kept.pass(BootMs(4_999)), kept.next_wake()), (None, Some(BootMs(5_000))));
        assert_eq!(kept.pass(BootMs(5_000)), Some(Act::Ask));
        assert_eq!((kept.pass(BootMs(5_499)), kept.next_wake()), (None, Some(BootMs(5_500))));
        assert_eq!(kept.pass(BootMs(5_500)), Some(Act::Kill));
        assert_eq!((kept.pass(BootMs(9_000)), kept.next_wake()), (None, None));
        assert!(kept.gone());
    }

    #[test]
    fn whoever_looks_late_kills_at_once() {
        assert_eq!(serving().pass(BootMs(5_600)), Some(Act::Kill));
    }

    #[test]
    fn a_renewal_moves_the_deadline_and_an_older_one_does_not() {
        let mut kept = serving();
        kept.renewed(until(7_000, 8_000));
        kept.renewed(until(6_000, 7_000));
        assert_eq!(kept.next_wake(), Some(BootMs(7_000)));
    }

    #[test]
    fn what_was_asked_to_end_has_its_time_and_no_more_than_its_lease() {
        let mut kept = serving();
        assert_eq!(kept.end(BootMs(20_000)), Some(Act::Ask));
        assert_eq!(kept.next_wake(), Some(BootMs(5_500)));
        // Its guard was told to stop, and the host is primary until it has.
        kept.renewed(until(30_000, 31_000));
        assert_eq!(kept.next_wake(), Some(BootMs(20_000)));
        assert_eq!(kept.end(BootMs(12_000)), None, "asked once");
        assert_eq!(kept.end(BootMs(15_000)), None);
        assert_eq!(kept.next_wake(), Some(BootMs(12_000)), "whoever wants it sooner has it sooner");
        assert_eq!(kept.pass(BootMs(12_000)), Some(Act::Kill));
    }

    #[test]
    fn an_end_by_itself_is_told_from_one_that_was_asked_for() {
        let mut kept = serving();
        assert_eq!(kept.ended(), Some(Act::Kill));
        assert_eq!(kept.ended(), None);
        assert!(!kept.gone());
        let mut kept = serving();
        kept.end(BootMs(100));
        assert_eq!(kept.ended(), Some(Act::Kill));
        assert!(kept.gone());
    }

    #[test]
    fn nothing_starts_beside_another_or_without_a_lease() {
        let mut kept = serving();
        kept.start(until(5_000, 6_000), BootMs(10)).unwrap_err();
        kept.kill();
        kept.start(until(5_000, 6_000), BootMs(10)).unwrap_err();
        kept.gone();
        kept.start(until(5_000, 6_000), BootMs(5_000)).unwrap_err();
        kept.start(until(9_000, 6_000), BootMs(6_000)).unwrap_err();
        kept.start(until(5_000, 6_000), BootMs(4_999)).unwrap();
    }
}
