//! I12: no promotion before D, a release, or confirmed fencing.
//!
//! The wait is measured in true time, within the leadership that promotes: from the later of its election and its own
//! apply of the revoke. A release must be true: nobody acts under that epoch then, or ever again.

use super::{Claim, Fact, Invariant, events};
use crate::{network::Node, plan::Plan, time::Moment};
use quorate_domain::{Command, Epoch, Event, GroupId, command::Fencing};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub(super) struct NoEarlyPromotion {
    /// D on a clock that runs as fast as allowed, and the longest demotion on one that runs as slowly, in true time.
    least_us: u64,
    leaders: BTreeMap<u64, (Node, Moment)>,
    /// When a coordinator applied the revoke of a group's epoch.
    revoked: BTreeMap<(Node, GroupId, Epoch), Moment>,
    released: BTreeSet<(GroupId, Epoch)>,
    claims: BTreeMap<(GroupId, Node), Claim>,
}

impl NoEarlyPromotion {
    pub(super) fn new(plan: &Plan) -> Self {
        let wait_us = plan.lease.wait_ms * 1_000;
        // A millisecond is what a clock that shows whole ones can be short of.
        let rho = plan.lease.clock_error_ppm;
        let demotion_us = plan.habits.hook_times().demotion_ms * 1_000;
        let least_us =
            wait_us * 1_000_000 / (1_000_000 + rho) + demotion_us * 1_000_000 / (1_000_000 - rho) - 1_000;
        Self {
            least_us,
            leaders: BTreeMap::new(),
            revoked: BTreeMap::new(),
            released: BTreeSet::new(),
            claims: BTreeMap::new(),
        }
    }
}

impl Invariant for NoEarlyPromotion {
    fn name(&self) -> &'static str {
        "I12 no promotion before D or a release"
    }

    fn see(&mut self, fact: &Fact<'_>, now: Moment) -> Result<(), String> {
        match *fact {
            Fact::Won { node, term } => {
                self.leaders.insert(term, (node, now));
                Ok(())
            }
            Fact::Applied { node, applied, .. } => {
                for event in events(applied) {
                    if let Event::FailoverBegun { group, epoch, .. }
                    | Event::GroupDeletionBegun { group, epoch } = event
                    {
                        self.revoked.entry((node, group.clone(), *epoch)).or_insert(now);
                    }
                }
                Ok(())
            }
            Fact::Restored { node, state, .. } => {
                for group in state.revoked_groups() {
                    self.revoked.entry((node, group.id.clone(), group.epoch)).or_insert(now);
                }
                Ok(())
            }
            Fact::Decided { term, proposal, applied, .. } => {
                events(applied).iter().try_for_each(|event| self.decided(event, term, &proposal.command, now))
            }
            Fact::Claims { claim, .. } => {
                self.claims.insert((claim.group.clone(), claim.machine), claim.clone());
                if self.released.contains(&(claim.group.clone(), claim.epoch)) && claim.until > now {
                    return Err(format!(
                        "node {} acts for {} under epoch {}, which was released",
                        claim.machine, claim.group, claim.epoch
                    ));
                }
                Ok(())
            }
            Fact::Yields { machine, group } => {
                self.claims.remove(&(group.clone(), machine));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl NoEarlyPromotion {
    fn decided(&mut self, event: &Event, term: u64, command: &Command, now: Moment) -> Result<(), String> {
        let (group, ended) = match event {
            Event::PrimaryReleased { group, epoch, .. } | Event::PrimaryStartFailed { group, epoch, .. } => {
                return self.was_released(group, *epoch, now);
            }
            Event::PrimarySwitched { group, epoch, .. } => (group, Epoch(epoch.0 - 1)),
            Event::GroupDeleted { group, epoch } => (group, *epoch),
            _ => return Ok(()),
        };
        if let Some(claim) = self.acting_under(group, ended, now) {
            return Err(format!(
                "{group} was promoted past epoch {ended} while node {} acts under it until {}",
                claim.machine, claim.until
            ));
        }
        if self.released.contains(&(group.clone(), ended)) {
            return Ok(());
        }
        let (Command::Promote { fencing, .. } | Command::FinishDeletion { fencing, .. }) = command else {
            return Err(format!("{group} was promoted by {}", command.name()));
        };
        if *fencing == Fencing::Released {
            return Err(format!("{group} counts as released under epoch {ended}, which nobody released"));
        }
        self.waited(group, ended, term, now)
    }

    /// The leader of the term must have waited by itself.
    fn waited(&self, group: &GroupId, ended: Epoch, term: u64, now: Moment) -> Result<(), String> {
        let Some((leader, won)) = self.leaders.get(&term).copied() else {
            return Err(format!("{group} was promoted in term {term}, which nobody won"));
        };
        let Some(applied) = self.revoked.get(&(leader, group.clone(), ended)).copied() else {
            return Err(format!("c{} promoted {group} before it had applied the revoke", leader + 1));
        };
        let waited_us = now.since_us(won.max(applied));
        if waited_us >= self.least_us {
            return Ok(());
        }
        Err(format!(
            "c{} promoted {group} past epoch {ended} after {waited_us} us of its leadership; D is at least {} us",
            leader + 1,
            self.least_us
        ))
    }

    fn was_released(&mut self, group: &GroupId, epoch: Epoch, now: Moment) -> Result<(), String> {
        self.released.insert((group.clone(), epoch));
        match self.acting_under(group, epoch, now) {
            Some(claim) => Err(format!(
                "epoch {epoch} of {group} counts as released, and node {} acts under it until {}",
                claim.machine, claim.until
            )),
            None => Ok(()),
        }
    }

    fn acting_under(&self, group: &GroupId, epoch: Epoch, now: Moment) -> Option<&Claim> {
        self.claims
            .range((group.clone(), 0)..=(group.clone(), usize::MAX))
            .map(|(_, claim)| claim)
            .find(|claim| claim.epoch == epoch && claim.until > now)
    }
}
