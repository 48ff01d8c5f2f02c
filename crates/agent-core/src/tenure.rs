//! One epoch on this host, from the grant to the end that is certain.

use crate::{
    guard::Proof,
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
    /// The demotion failed: the service is not known to have stopped. It is tried again then.
    Retrying(BootMs),
    /// Ended; the platform may believe in it until then.
    Lingering(BootMs),
    /// Ended for certain.
    Over,
}

/// The pause after the first failed demotion; each further one doubles it.
pub(crate) const RETRY_FIRST_MS: u64 = 1_000;
/// The longest pause before a failed demotion is tried again.
pub(crate) const RETRY_MAX_MS: u64 = 8_000;

/// What is said of a service that hooks started, in a start that nobody has told how to end it.
const NO_HOOKS: &str = "hooks started it, and this agent has none any more";

/// How long after its deadline the word of a guard may come before its service is not known to have stopped.
pub(crate) const GUARD_WORD_MS: u64 = 500;
/// What is said of a service whose guard gives no word.
const NO_WORD: &str = "its guard has not said that nothing is left of the service";
/// The same, where the agent has hooks by now, and so takes no guard.
const NO_WORD_BESIDE_HOOKS: &str = "its guard has not said that nothing is left of the service, and what is ended by force on this host \
     is only what hooks started; give the agent a demote hook that stops it, or no hooks and the guard of the group again";

/// One epoch on this host.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own about what may run")]
#[derive(Debug, Clone)]
pub(crate) struct Tenure {
    pub(crate) epoch: Epoch,
    pub(crate) stage: Stage,
    /// Its promote hook failed, or its service ended unasked.
    pub(crate) start_failed: bool,
    /// Why it ended; empty before.
    pub(crate) reason: String,
    /// How often its demotion has failed.
    failed_demotions: u32,
    /// Why its demotion failed last; empty while it has not.
    last_words: String,
    /// Its service is known to have stopped.
    gone: bool,
    /// The latest end of the lease that somebody on this host was told together with "primary".
    told: BootMs,
    /// The latest end of the lease when the epoch ended.
    promised: BootMs,
    /// False when another start elsewhere may act under it, which no hook run here can end.
    only_here: bool,
    /// The latest end of the lease that a guard of the group was told: by then it has ended its service, if it runs at all.
    guarded_until: BootMs,
    /// A guard was told of it, and nobody has said since that nothing is left of what it ran.
    awaits_guard: bool,
    /// What keeps the guard that is there now from saying so; empty for nothing.
    guard_hindrance: String,
    /// It begins with the service of a guard, which may be told while that has not begun.
    pub(crate) by_guard: bool,
    /// A start with hooks may have begun it: that there are none now ends nothing.
    had_hooks: bool,
}

impl Tenure {
    /// A grant.
    pub(crate) fn granted(epoch: Epoch) -> Self {
        Self {
            epoch,
            stage: Stage::Waiting,
            start_failed: false,
            reason: String::new(),
            failed_demotions: 0,
            last_words: String::new(),
            gone: false,
            told: BootMs(0),
            promised: BootMs(0),
            only_here: true,
            guarded_until: BootMs(0),
            awaits_guard: false,
            guard_hindrance: String::new(),
            by_guard: false,
            had_hooks: false,
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

    /// A start with hooks may have begun it.
    pub(crate) fn inherited_by_hooks(&mut self) {
        self.had_hooks = true;
    }

    /// A guard was told of it by the start of the agent that held it.
    pub(crate) fn inherited_by_guard(&mut self) {
        self.tell_guard(self.told);
    }

    /// It has become known when the lease of a start elsewhere is over.
    pub(crate) fn over_at_last(&mut self, over_by: BootMs) {
        for moment in [&mut self.told, &mut self.promised, &mut self.guarded_until] {
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

    /// A guard on this host was told that it may run its service until `lease_deadline`.
    pub(crate) fn tell_guard(&mut self, lease_deadline: BootMs) {
        self.guarded_until = self.guarded_until.max(lease_deadline);
        self.awaits_guard = true;
    }

    /// Nothing is left of what the guard ran, and it runs nothing more under this epoch.
    pub(crate) fn guard_stopped(&mut self) {
        self.guarded_until = BootMs(0);
        if let Stage::Lingering(until) = &mut self.stage {
            *until = self.told;
        }
        self.guard_left_nothing();
    }

    /// Nothing is left of what the guard ran. Should it be there yet, it may begin until the deadline that it was told.
    pub(crate) fn guard_left_nothing(&mut self) {
        self.awaits_guard = false;
        if let Stage::Retrying(_) = self.stage {
            self.stage = Stage::Stopped;
        }
    }

    /// A guard that is there cannot say that nothing is left, and why; empty for nothing.
    pub(crate) fn guard_hindered(&mut self, hindrance: &str) {
        hindrance.clone_into(&mut self.guard_hindrance);
        if let (Stage::Retrying(_), true) = (self.stage, self.awaits_guard) {
            self.last_words = self.no_word();
        }
    }

    /// What is said of a service whose guard gives no word.
    fn no_word(&self) -> String {
        if self.guard_hindrance.is_empty() {
            NO_WORD.to_owned()
        } else {
            format!("{NO_WORD}: {}", self.guard_hindrance)
        }
    }

    /// True while it is not known that nothing is left of what a guard ran.
    pub(crate) fn awaits_guard(&self) -> bool {
        self.awaits_guard
    }

    /// Until when a guard may run its service and say that it has ended: the end of the epoch waits for it.
    fn guarded_by(&self) -> BootMs {
        self.guarded_until.after_ms(if self.awaits_guard { GUARD_WORD_MS } else { 0 })
    }

    /// True while a guard may run its service, or is about to say that it has ended.
    pub(crate) fn is_guarded(&self, now: BootMs) -> bool {
        self.guarded_until > BootMs(0) && now < self.guarded_by()
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

    /// True once its demotion has failed, until it is over.
    pub(crate) fn has_failed_to_stop(&self) -> bool {
        self.failed_demotions > 0
    }

    /// What is to be said of it: why it ended, and what keeps it from being over.
    pub(crate) fn account(&self) -> String {
        if self.failed_demotions == 0 || self.over() {
            return self.reason.clone();
        }
        format!("{}; {}", self.reason, self.last_words)
    }

    /// Takes in the end of a hook. An end that nobody waits for changes nothing.
    pub(crate) fn hook_finished(
        &mut self,
        kind: HookKind,
        outcome: HookOutcome,
        promised: BootMs,
        now: BootMs,
    ) {
        match (self.stage, kind, outcome) {
            (Stage::Promoting, HookKind::Promote, HookOutcome::Failed(why)) => {
                self.start_failed = true;
                self.reason = format!("the promote hook failed: {why}");
                self.promised = promised;
                self.stage = Stage::Stopped;
            }
            (Stage::Promoting, HookKind::Promote, _) => self.stage = Stage::Acting,
            (Stage::Interrupted, HookKind::Promote, _) => self.stage = Stage::Stopped,
            (Stage::Demoting, HookKind::Demote, outcome) => self.demoted(outcome, now),
            _ => {}
        }
        self.need_no_demotion(now);
    }

    fn demoted(&mut self, outcome: HookOutcome, now: BootMs) {
        #[cfg(planted)]
        if quorate_domain::planted::is(quorate_domain::planted::Bug::ReleaseWhileTold) {
            self.stage = Stage::Over;
            return;
        }
        // A demote hook that succeeded has ended whatever ran here; where there is none, only the guard knows.
        let outcome = match outcome {
            #[cfg(planted)]
            HookOutcome::NotConfigured
                if quorate_domain::planted::is(quorate_domain::planted::Bug::SilentGuardReleases) =>
            {
                HookOutcome::NotConfigured
            }
            HookOutcome::NotConfigured if self.awaits_guard => HookOutcome::Failed(self.no_word()),
            HookOutcome::NotConfigured if self.had_hooks => HookOutcome::Failed(NO_HOOKS.to_owned()),
            HookOutcome::ByForce if self.awaits_guard => HookOutcome::Failed(NO_WORD_BESIDE_HOOKS.to_owned()),
            HookOutcome::Failed(why) => HookOutcome::Failed(format!("its demotion failed: {why}")),
            known => known,
        };
        self.stage = match outcome {
            HookOutcome::Succeeded if self.only_here => Stage::Over,
            // What was not started by hooks may act on what it was told.
            HookOutcome::Succeeded | HookOutcome::ByForce | HookOutcome::NotConfigured => {
                Stage::Lingering(self.told)
            }
            #[cfg(planted)]
            HookOutcome::Failed(_)
                if quorate_domain::planted::is(quorate_domain::planted::Bug::FailedDemotionReleases) =>
            {
                Stage::Lingering(self.promised.max(self.told))
            }
            HookOutcome::Failed(why) => {
                let doubled = 1_u64.checked_shl(self.failed_demotions).unwrap_or(u64::MAX);
                self.failed_demotions = self.failed_demotions.saturating_add(1);
                self.last_words = why;
                Stage::Retrying(now.after_ms(RETRY_FIRST_MS.saturating_mul(doubled).min(RETRY_MAX_MS)))
            }
        };
    }

    /// The service is known to have stopped, by other means than a hook of this agent: whoever ended it at its deadline has
    /// seen that nothing of it is left. True when a hook that still runs must be killed.
    pub(crate) fn service_ended(&mut self, proof: &Proof, promised: BootMs, now: BootMs) -> bool {
        let kill = self.live() && self.end(proof.to_string(), promised);
        self.gone |= proof.holds() && (!self.awaits_guard || proof.is_of_all());
        self.need_no_demotion(now);
        kill
    }

    /// Nothing is left to stop, but a start elsewhere may go on, and what local processes were told holds to its end.
    fn need_no_demotion(&mut self, now: BootMs) {
        if self.gone && matches!(self.stage, Stage::Stopped | Stage::Retrying(_)) {
            self.stage = Stage::Lingering(self.told.max(self.guarded_until));
            self.pass(now);
        }
    }

    /// Lets a moment that has come do its work.
    pub(crate) fn pass(&mut self, now: BootMs) {
        match self.stage {
            Stage::Lingering(until) if now >= until => self.stage = Stage::Over,
            Stage::Retrying(at) if now >= at => self.stage = Stage::Stopped,
            Stage::Stopped if now >= self.guarded_by() => self.guarded_until = BootMs(0),
            _ => {}
        }
    }

    /// When [`Tenure::pass`] has something to do.
    pub(crate) fn passes_at(&self) -> Option<BootMs> {
        match self.stage {
            // A moment that has passed wakes nobody: then the demotion runs.
            Stage::Stopped if self.guarded_until > BootMs(0) => Some(self.guarded_by()),
            Stage::Lingering(at) | Stage::Retrying(at) => Some(at),
            _ => None,
        }
    }
}
