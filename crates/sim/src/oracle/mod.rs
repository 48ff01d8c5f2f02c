//! What must hold, judged after every event against true time and against everything that ever happened, which no node
//! sees. One file for each invariant of DESIGN section 10.

mod decisions;
mod fact;
mod i01_one_leader_per_term;
mod i02_committed_entries_agree;
mod i04_nothing_goes_back;
mod i06_equal_states;
mod i07_linearizable;
mod i08_one_effect;
mod i09_one_primary;
mod i10_epochs_rise;
mod i11_no_lower_epoch;
mod i12_no_early_promotion;
mod i13_read_only_by_t;
mod i14_new_epoch_after_restart;
mod i15_renewals_by_quorum;
mod i16_fit_candidates;
mod i19_one_formation;
mod i20_recovery;
mod i21_bounds;
mod i22_coordinators;
mod i23_one_service;
mod i24_contact_by_renewals;
mod i25_true_outages;

pub(crate) use fact::{Claim, Fact, Health, Unserved};
pub(crate) use i07_linearizable::REGISTER;
pub(crate) use i20_recovery::{EQUAL_MS, LEADER_MS};

use crate::{count::Counts, plan::Plan, time::Moment};
use quorate_domain::{Applied, Proposal};
use std::sync::Arc;

/// Something that must hold.
trait Invariant: std::fmt::Debug {
    /// Its number and its words.
    fn name(&self) -> &'static str;

    /// Takes in a fact.
    ///
    /// # Errors
    /// What is wrong, in words.
    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String>;
}

/// What did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant.
    pub invariant: &'static str,
    /// What is wrong.
    pub what: String,
    /// When it showed.
    pub at: Moment,
}

/// Watches everything.
#[derive(Debug)]
pub(crate) struct Oracle {
    invariants: Vec<Box<dyn Invariant>>,
    decisions: decisions::Decisions,
    /// The last entry that was applied anywhere, and how many of its commands.
    decided: (u64, usize),
    /// The first thing that did not hold.
    pub(crate) violation: Option<Violation>,
}

impl Oracle {
    /// An oracle for a world of this plan.
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            invariants: vec![
                Box::new(i01_one_leader_per_term::OneLeaderPerTerm::default()),
                Box::new(i02_committed_entries_agree::CommittedEntriesAgree::default()),
                Box::new(i04_nothing_goes_back::NothingGoesBack::default()),
                Box::new(i06_equal_states::EqualStates::default()),
                Box::new(i07_linearizable::Linearizable::default()),
                Box::new(i08_one_effect::OneEffect::default()),
                Box::new(i09_one_primary::OnePrimary::default()),
                Box::new(i10_epochs_rise::EpochsRise::default()),
                Box::new(i11_no_lower_epoch::NoLowerEpoch),
                Box::new(i12_no_early_promotion::NoEarlyPromotion::new(plan)),
                Box::new(i13_read_only_by_t::ReadOnlyByT::new(plan)),
                Box::new(i14_new_epoch_after_restart::NewEpochAfterRestart::default()),
                Box::new(i15_renewals_by_quorum::RenewalsByQuorum::default()),
                Box::new(i16_fit_candidates::FitCandidates),
                Box::new(i19_one_formation::OneFormation::default()),
                Box::new(i20_recovery::Recovery::new(plan)),
                Box::new(i21_bounds::Bounds::new(plan)),
                Box::new(i22_coordinators::Coordinators::default()),
                Box::new(i23_one_service::OneService::new(plan)),
                Box::new(i24_contact_by_renewals::ContactByRenewals::new(plan)),
                Box::new(i25_true_outages::TrueOutages::new(plan)),
            ],
            decisions: decisions::Decisions::default(),
            decided: (0, 0),
            violation: None,
        }
    }

    /// Takes in a fact, and judges it.
    pub(crate) fn see(&mut self, fact: &Fact<'_>, now: Moment, counts: &mut Counts) {
        self.judge(fact, now, counts);
        if let Fact::Applied { entry, nth, proposal, before, after, applied, .. } = *fact
            && (entry.index, nth + 1) > self.decided
        {
            self.decided = (entry.index, nth + 1);
            let decided = Fact::Decided { term: entry.term, proposal, before, after, applied };
            self.judge(&decided, now, counts);
        }
    }

    fn judge(&mut self, fact: &Fact<'_>, now: Moment, counts: &mut Counts) {
        self.decisions.see(fact, counts);
        for invariant in &mut self.invariants {
            if let Err(what) = invariant.see(fact, now)
                && self.violation.is_none()
            {
                self.violation = Some(Violation { invariant: invariant.name(), what, at: now });
            }
        }
    }
}

/// The events of a decision, if it changed something.
fn events(applied: &Applied) -> &[quorate_domain::Event] {
    applied.committed.as_ref().map_or(&[], |committed| &committed.events)
}

/// The command's own answer, for messages.
fn asked(proposal: &Proposal) -> String {
    format!("{} by {}", proposal.command.name(), proposal.cause)
}

/// True when two shared things are the same or equal.
fn same<T: Eq>(one: &Arc<T>, other: &Arc<T>) -> bool {
    Arc::ptr_eq(one, other) || one == other
}
