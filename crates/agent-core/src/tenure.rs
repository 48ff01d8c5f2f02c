//! One epoch on this host, from the grant to the end that is certain.

use crate::{
    step::{HookKind, HookOutcome},
    time::{BootMs, NEVER},
};
use quorate_domain::Epoch;

/// How far an epoch is on this host. It only ever moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Granted, and not begun: not yet on disk, without a lease, or an earlier epoch has not ended.
    Waiting,
    /// The promote hook runs.
    Promoting,
    /// It acts.
    Acting,
    /// Ended while the promote hook ran, which is being killed.
    Interrupted,
    /// Ended; the demote hook is to be run.
    Stopped,
    /// The demote hook runs.
    Demoting,
    /// Ended; the platform may believe in it until then.
    Lingering(BootMs),
    /// Ended for certain.
    Over,
}

/// One epoch on this host.
#[derive(Debug, Clone)]
pub(crate) struct Tenure {
    pub(crate) epoch: Epoch,
    pub(crate) stage: Stage,
    /// Its promote hook failed.
    pub(crate) start_failed: bool,
    /// Why it ended; empty before.
    pub(crate) reason: String,
    /// The latest end of the lease that somebody on this host was told together with "primary".
    told: BootMs,
    /// The latest end of the lease when the epoch ended.
    promised: BootMs,
    /// False when another start elsewhere may act under it, which no hook run here can end.
    only_here: bool,
}

impl Tenure {
    /// A grant.
    pub(crate) fn granted(epoch: Epoch) -> Self {
        Self {
            epoch,
            stage: Stage::Waiting,
            start_failed: false,
            reason: String::new(),
            told: BootMs(0),
            promised: BootMs(0),
            only_here: true,
        }
    }

    /// A grant that an earlier start of the agent may have acted under; its lease is over at `over_by`.
    pub(crate) fn inherited(epoch: Epoch, over_by: BootMs, only_here: bool, reason: String) -> Self {
        Self {
            stage: Stage::Stopped,
            reason,
            told: over_by,
            promised: over_by,
            only_here,
            ..Self::granted(epoch)
        }
    }

    /// It has become known when the lease of a start elsewhere is over.
    pub(crate) fn over_at_last(&mut self, over_by: BootMs) {
        for moment in [&mut self.told, &mut self.promised] {
            if *moment == NEVER {
                *moment = over_by;
            }
        }
        if self.stage == Stage::Lingering(NEVER) {
            self.stage = Stage::Lingering(over_by);
        }
    }

    /// True when a stopping agent need not wait for it: it is over, or what it waits for is not on this host.
    pub(crate) fn is_no_reason_to_stay(&self) -> bool {
        matches!(self.stage, Stage::Over | Stage::Lingering(NEVER))
    }

    /// A grant that may not be acted under.
    pub(crate) fn refused(epoch: Epoch, reason: String) -> Self {
        Self { stage: Stage::Over, reason, ..Self::granted(epoch) }
    }

    pub(crate) fn live(&self) -> bool {
        matches!(self.stage, Stage::Waiting | Stage::Promoting | Stage::Acting)
    }

    /// True while it needs a lease to go on.
    pub(crate) fn leans_on_lease(&self) -> bool {
        matches!(self.stage, Stage::Promoting | Stage::Acting)
    }

    pub(crate) fn hook_runs(&self) -> bool {
        matches!(self.stage, Stage::Promoting | Stage::Interrupted | Stage::Demoting)
    }

    pub(crate) fn over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Somebody on this host was told that it is primary until `lease_deadline`.
    pub(crate) fn tell(&mut self, lease_deadline: BootMs) {
        self.told = self.told.max(lease_deadline);
    }

    /// Ends it for good. True when its promote hook must be killed.
    pub(crate) fn end(&mut self, reason: String, promised: BootMs) -> bool {
        self.stage = match self.stage {
            Stage::Waiting => Stage::Over,
            Stage::Promoting => Stage::Interrupted,
            Stage::Acting => Stage::Stopped,
            ended => ended,
        };
        self.reason = reason;
        self.promised = promised;
        self.stage == Stage::Interrupted
    }

    /// Takes in the end of a hook. An end that nobody waits for changes nothing.
    pub(crate) fn hook_finished(&mut self, kind: HookKind, outcome: HookOutcome, promised: BootMs) {
        match (self.stage, kind, outcome) {
            (Stage::Promoting, HookKind::Promote, HookOutcome::Failed(why)) => {
                self.start_failed = true;
                self.reason = format!("the promote hook failed: {why}");
                self.promised = promised;
                self.stage = Stage::Stopped;
            }
            (Stage::Promoting, HookKind::Promote, _) => self.stage = Stage::Acting,
            (Stage::Interrupted, HookKind::Promote, _) => self.stage = Stage::Stopped,
            (Stage::Demoting, HookKind::Demote, outcome) => self.demoted(outcome),
            _ => {}
        }
    }

    fn demoted(&mut self, outcome: HookOutcome) {
        #[cfg(planted)]
        if quorate_domain::planted::is(quorate_domain::planted::Bug::ReleaseWhileTold) {
            self.stage = Stage::Over;
            return;
        }
        self.stage = match outcome {
            HookOutcome::Succeeded if self.only_here => Stage::Over,
            HookOutcome::Succeeded | HookOutcome::NotConfigured => Stage::Lingering(self.told),
            HookOutcome::Failed(why) => {
                self.reason = format!("{}; the demote hook failed: {why}", self.reason);
                Stage::Lingering(self.promised.max(self.told))
            }
        };
    }

    /// Lets a deadline that has passed do its work.
    pub(crate) fn pass(&mut self, now: BootMs) {
        if let Stage::Lingering(until) = self.stage
            && now >= until
        {
            self.stage = Stage::Over;
        }
    }
}
