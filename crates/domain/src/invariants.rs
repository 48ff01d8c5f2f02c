//! What must hold of every state, and of every step from one to the next. Tests and the simulation call these after
//! each command; production code never needs to.

use crate::{
    coordinator::{COORDINATORS_MAX, CoordinatorChange},
    disk::Verdict,
    group::{Group, HISTORY_MAX, MEMBERS_MAX, Phase},
    incidents::REFUSED_MAX,
    operation::{FINISHED_MAX, OperationStatus},
    request::REQUESTS_MAX,
    state::State,
};
use std::collections::BTreeSet;

/// Everything that is wrong with a state; empty when all is well.
pub fn violations(state: &State) -> Vec<String> {
    let mut found = Vec::new();
    for group in state.groups.values() {
        check_group(state, group, &mut found);
    }
    for operation in state.operations.values() {
        let running = operation.status == OperationStatus::Running;
        if let Some(failover) = operation.failover() {
            let owner = state.groups.get(&failover.group).and_then(|group| group.phase.operation());
            if running && owner != Some(operation.id) {
                found.push(format!(
                    "{} runs, and its group {} does not know it",
                    operation.id, failover.group
                ));
            }
        }
        if running == operation.finished_at.is_some() {
            found.push(format!(
                "{} is {} with finished_at {:?}",
                operation.id, operation.status, operation.finished_at
            ));
        }
        if operation.id.0 > state.revision().0 {
            found.push(format!("{} is newer than the state", operation.id));
        }
    }
    for host in state.hosts.values() {
        if host.assignment_revision > state.revision() {
            found.push(format!("host {} has an assignment of the future", host.id));
        }
    }
    for disk in state.disks.values() {
        if !state.hosts.contains_key(&disk.id.host) {
            found.push(format!("disk {} has no host", disk.id));
        }
        if disk.latched.is_some() && disk.verdict != Verdict::Failed {
            found.push(format!("disk {} is latched and {}", disk.id, disk.verdict));
        }
    }
    check_coordinators(state, &mut found);
    check_bounds(state, &mut found);
    let mut rebuilt = state.clone();
    rebuilt.reindex();
    if rebuilt != *state {
        found.push("an index does not match what it is derived from".into());
    }
    found
}

/// One change at a time; somebody votes; nobody shares an address but with the one whose place it takes; nobody has a
/// number above the highest.
fn check_coordinators(state: &State, found: &mut Vec<String>) {
    let changes = state.operations.values().filter(|operation| {
        operation.status == OperationStatus::Running && operation.coordinator_change().is_some()
    });
    let open = changes.count();
    if open > 1 {
        found.push(format!("{open} changes of coordinators are open at once"));
    }
    if !state.coordinators.is_empty() && state.recorded_voters().is_empty() {
        found.push("no coordinator votes".into());
    }
    // One that comes in the place of another may be reached where that one was until it goes.
    let replaced = state
        .open_change()
        .filter(|(_, progress)| progress.change.joins().is_some())
        .and_then(|(_, progress)| progress.change.leaves());
    let mut addresses = BTreeSet::new();
    for known in state.coordinators.values() {
        if known.id > state.cluster.highest_coordinator {
            found.push(format!("coordinator {} is above the highest number that was used", known.id));
        }
        if Some(known.id) == replaced {
            continue;
        }
        if !addresses.insert(&known.api_address) || !addresses.insert(&known.peer_address) {
            found.push(format!("coordinator {} shares an address", known.id));
        }
    }
    let Some((operation, progress)) = state.open_change() else { return };
    let expected = if progress.on_record { &progress.voters_after } else { &progress.voters_before };
    if state.recorded_voters() != *expected {
        found.push(format!("{}: others vote by the record than the change says", operation.id));
    }
    if progress.on_record && progress.cancelled {
        found.push(format!("{} was cancelled when it was on record who votes", operation.id));
    }
    if let Some(id) = progress.let_go()
        && state.recorded_voters().contains(&id)
    {
        found.push(format!("{}: coordinator {id} may be let go and votes by the record", operation.id));
    }
}

fn check_group(state: &State, group: &Group, found: &mut Vec<String>) {
    let id = &group.id;
    let hosts: BTreeSet<_> = group.members().map(|member| &member.host).collect();
    if hosts.len() != 1 + group.backups.len() {
        found.push(format!("group {id} names a host twice"));
    }
    if group.before_primary > group.backups.len() {
        found.push(format!("group {id} has a primary behind all of its members"));
    }
    if group.backups.len() >= MEMBERS_MAX {
        found.push(format!("group {id} has too many members"));
    }
    for member in group.members() {
        if !state.hosts.contains_key(&member.host) {
            found.push(format!("group {id} has a member on unknown host {}", member.host));
        }
    }
    if let Some(host) = group.unaccepted.keys().find(|host| group.member(host).is_none()) {
        found.push(format!("group {id} awaits acceptance of {host}, which is no member"));
    }
    for (host, epoch) in &group.unstopped {
        if *host == group.primary.host || group.member(host).is_none() || *epoch >= group.epoch {
            found.push(format!("group {id} waits for the end of epoch {epoch} on {host}, which cannot be"));
        }
    }
    if group.epoch.0 > state.revision().0 {
        found.push(format!(
            "group {id} has epoch {} above the revision: a group made anew could repeat it",
            group.epoch
        ));
    }
    if let Some(operation) = group.phase.operation()
        && state.operations.get(&operation).map(|operation| operation.status)
            != Some(OperationStatus::Running)
    {
        found.push(format!("group {id} waits for {operation}, which does not run"));
    }
    if let Phase::Revoked { candidate: Some(candidate), .. } = &group.phase
        && group.member(candidate).is_none()
    {
        found.push(format!("group {id} chose {candidate}, which is no member"));
    }
    if !group.history.windows(2).all(|pair| pair[0].epoch < pair[1].epoch) {
        found.push(format!("group {id} has a history in which epochs do not rise"));
    }
    if group.history.last().is_some_and(|last| last.epoch != group.epoch || last.to != group.primary.host) {
        found.push(format!("group {id} is not as its last switch left it"));
    }
}

/// I21: every table has a bound.
fn check_bounds(state: &State, found: &mut Vec<String>) {
    let finished = state.operations.values().filter(|op| op.status != OperationStatus::Running).count();
    let longest = state.groups.values().map(|group| group.history.len()).max().unwrap_or(0);
    // One that is replaced stays until the new one votes.
    let replaced = state
        .open_change()
        .is_some_and(|(_, progress)| matches!(progress.change, CoordinatorChange::Replace { .. }));
    for (what, count, limit) in [
        ("coordinators", state.coordinators.len(), COORDINATORS_MAX + usize::from(replaced)),
        ("finished operations", finished, FINISHED_MAX),
        ("requests", state.requests.len(), REQUESTS_MAX),
        ("refused agents", state.cluster.refused.len(), REFUSED_MAX),
        ("switches of a group", longest, HISTORY_MAX),
    ] {
        if count > limit {
            found.push(format!("{count} {what}, the most are {limit}"));
        }
    }
}

/// Everything that is wrong with the step between two states; empty when all is well.
pub fn transition_violations(before: &State, after: &State) -> Vec<String> {
    let mut found = Vec::new();
    if after.now() < before.now() {
        found.push("time went back".into());
    }
    let step = after.revision().0.wrapping_sub(before.revision().0);
    if step > 1 {
        found.push(format!("the revision went from {} to {}", before.revision(), after.revision()));
    }
    check_coordinator_step(before, after, &mut found);
    for (id, new) in &after.groups {
        let Some(old) = before.groups.get(id) else { continue };
        check_succession(old, new, &mut found);
    }
    for (id, old) in &before.groups {
        if !after.groups.contains_key(id) && !matches!(old.phase, Phase::Deleting { .. }) {
            found.push(format!("group {id} vanished without being revoked"));
        }
    }
    found
}

/// A coordinator's number is never used again, and voters change one at a time: old and new ones share a quorum.
fn check_coordinator_step(before: &State, after: &State, found: &mut Vec<String>) {
    let (old, new) = (before.recorded_voters(), after.recorded_voters());
    if !old.is_empty() && (old.difference(&new).count() > 1 || new.difference(&old).count() > 1) {
        found.push("more than one voter came or went in one step".into());
    }
    if after.cluster.highest_coordinator < before.cluster.highest_coordinator {
        found.push("the highest number of a coordinator went back".into());
    }
    for id in after.coordinators.keys().filter(|id| !before.coordinators.contains_key(*id)) {
        if *id <= before.cluster.highest_coordinator {
            found.push(format!("coordinator id {id} was used again"));
        }
    }
    for id in before.coordinators.keys().filter(|id| !after.coordinators.contains_key(*id)) {
        if old.contains(id) {
            found.push(format!("coordinator {id} went and voted until then"));
        }
    }
}

/// I10 and I12: an epoch has one holder, the next comes only by way of a revoke.
fn check_succession(old: &Group, new: &Group, found: &mut Vec<String>) {
    let id = &new.id;
    let holder = |group: &Group| (group.primary.host.clone(), group.granted_to);
    if new.epoch < old.epoch {
        found.push(format!("group {id} went back from epoch {} to {}", old.epoch, new.epoch));
    }
    if new.epoch == old.epoch && holder(new) != holder(old) {
        found.push(format!("group {id} changed hands within epoch {}", new.epoch));
    }
    if new.epoch > old.epoch {
        if new.epoch != old.epoch.next() {
            found.push(format!("group {id} skipped from epoch {} to {}", old.epoch, new.epoch));
        }
        if !matches!(old.phase, Phase::Revoked { candidate: Some(_), .. }) {
            found.push(format!("group {id} was promoted out of phase {}", old.phase));
        }
    }
    if new.epoch == old.epoch && !old.phase.grants() && new.phase.grants() {
        found.push(format!("group {id} was granted again under the revoked epoch {}", new.epoch));
    }
}
