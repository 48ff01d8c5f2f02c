//! Who should be primary of each group? DESIGN section 5 rules 4, 5 and 8, and the five steps of a failover.
//!
//! Every group is looked at in each plan, at about a microsecond each: plan on a signal or a tick, not per command. A group whose primary may
//! act is in [`granted`]; one that was taken from its primary is in [`revoked`].

mod fencing;
mod granted;
mod revoked;
mod stopped;

use crate::{GroupObservation, Mono, Observations, Plan};
use quorate_domain::{Command, Group, Host, HostId, Phase, State};

/// Says what each group needs next.
pub fn plan(state: &State, observations: &Observations, now: Mono) -> Plan {
    let view = View { state, observations, now };
    let mut plan = Plan::default();
    for group in state.groups.values() {
        stopped::plan(&mut plan, &view, group);
        match &group.phase {
            Phase::Starting { .. } | Phase::Active => granted::plan(&mut plan, &view, group),
            Phase::Revoked { operation, released, candidate } => {
                revoked::plan(&mut plan, &view, group, *operation, *released, candidate.as_ref());
            }
            Phase::Deleting { released } => revoked::plan_deletion(&mut plan, &view, group, *released),
        }
    }
    plan
}

/// What a plan is made from.
struct View<'a> {
    state: &'a State,
    observations: &'a Observations,
    now: Mono,
}

impl<'a> View<'a> {
    /// The host of the group's primary, present or last.
    fn primary_host(&self, group: &Group) -> Option<&'a Host> {
        self.state.hosts.get(&group.primary.host).map(AsRef::as_ref)
    }

    /// True when the host's agent has said that it stops: the state will call it offline in a moment.
    fn is_stopping(&self, host: &HostId) -> bool {
        self.observations.hosts.get(host).is_some_and(|seen| seen.stopping)
    }

    /// What the agent of the primary's host, in its recorded start, says of the group's present epoch.
    fn report(&self, group: &Group) -> Option<&'a GroupObservation> {
        let seen = self.observations.current(self.primary_host(group)?)?;
        #[cfg(planted)]
        if quorate_domain::planted::is(quorate_domain::planted::Bug::NoEpochCheck) {
            return seen.groups.get(&group.id);
        }
        seen.groups.get(&group.id).filter(|report| report.epoch == group.epoch)
    }
}

/// Says that the primary's host has let go of the group's epoch for good.
fn record_release(plan: &mut Plan, group: &Group, host: &Host, report: &GroupObservation) {
    let command = Command::RecordRelease {
        group: group.id.clone(),
        epoch: group.epoch,
        host: host.id.clone(),
        incarnation: host.incarnation,
        reason: report.reason.clone(),
    };
    plan.propose("failover/released", command);
}

/// Says why nobody can be promoted, unless it has been said.
fn report_blocked(plan: &mut Plan, group: &Group, reasons: Vec<String>) {
    if group.blocked.as_ref().is_some_and(|blocked| blocked.reasons == reasons) {
        return;
    }
    let command = Command::ReportBlocked { group: group.id.clone(), epoch: group.epoch, reasons };
    plan.propose("failover/blocked", command);
}
