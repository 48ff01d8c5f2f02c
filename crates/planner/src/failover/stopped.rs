//! Has the service stopped on hosts from which a group was taken without their word?

use super::View;
use crate::{Plan, liveness};
use quorate_domain::{Command, Group};

/// Records every old primary whose agent, in its recorded start, names neither the epoch nor an earlier one among those that
/// have not stopped. A start that knows nothing of the epoch has nothing to stop: what an earlier one left, its warden has ended.
pub(super) fn plan(plan: &mut Plan, view: &View<'_>, group: &Group) {
    let lease = &view.state.settings().lease;
    for (host, epoch) in &group.unstopped {
        let Some(host) = view.state.hosts.get(host) else { continue };
        let Some(seen) = view.observations.current(host) else { continue };
        let Some(not_stopped) = &seen.not_stopped else { continue };
        if !liveness::in_contact(lease, seen, view.now) {
            continue;
        }
        if not_stopped.get(&group.id).is_some_and(|word| word.epoch <= *epoch) {
            continue;
        }
        let (group, epoch) = (group.id.clone(), *epoch);
        let (host, incarnation) = (host.id.clone(), host.incarnation);
        plan.propose("failover/stopped", Command::RecordStopped { group, epoch, host, incarnation });
    }
}
