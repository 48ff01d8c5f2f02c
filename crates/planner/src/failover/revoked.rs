//! Groups that were taken from their primary: who follows, and when is that safe?

use super::{View, fencing::fencing, record_release, report_blocked};
use crate::{Mono, Plan};
use quorate_domain::{
    Command, Evidence, Failover, Group, GroupState, HostId, Operation, OperationId,
    command::Fencing,
    eligibility::{Ineligible, candidates, eligibility},
    group::Member,
};

/// The longest pause before the next host is chosen after failed starts.
const BACKOFF_MAX_MS: u64 = 30_000;
/// The pause after the first failed start; each further one doubles it.
const BACKOFF_FIRST_MS: u64 = 1_000;

/// How long a restarted primary that should have its group back may take to read its disk.
const READ_DISK_MS: u64 = 2_000;

pub(super) fn plan(
    plan: &mut Plan,
    view: &View<'_>,
    group: &Group,
    operation: OperationId,
    released: bool,
    candidate: Option<&HostId>,
) {
    if !released && (release(plan, view, group) || awaits_word(plan, view, group)) {
        return;
    }
    let Some(fencing) = fencing(plan, view, group, released) else { return };
    if let Some(candidate) = candidate
        && group.member(candidate).is_some_and(|member| eligibility(view.state, group, member).is_ok())
        && !view.is_stopping(candidate)
    {
        let (group, candidate) = (group.id.clone(), candidate.clone());
        return plan.propose("failover/promote", Command::Promote { group, operation, candidate, fencing });
    }
    let Some(record) = view.state.operations.get(&operation) else { return };
    if let Some(ready) = backoff(view, group, record)
        && view.now < ready
    {
        return plan.wake(ready);
    }
    choose(plan, view, group, record, fencing);
}

pub(super) fn plan_deletion(plan: &mut Plan, view: &View<'_>, group: &Group, released: bool) {
    if !released && (release(plan, view, group) || awaits_word(plan, view, group)) {
        return;
    }
    let Some(fencing) = fencing(plan, view, group, released) else { return };
    let command = Command::FinishDeletion { group: group.id.clone(), epoch: group.epoch, fencing };
    plan.propose("failover/deleted", command);
}

/// Records the old primary's release, if its agent says that it let go.
fn release(plan: &mut Plan, view: &View<'_>, group: &Group) -> bool {
    let (Some(host), Some(report)) = (view.primary_host(group), view.report(group)) else { return false };
    // Who could not start has stopped as well.
    let ended = matches!(report.state, GroupState::Ended | GroupState::StartFailed);
    if ended {
        record_release(plan, group, host, report);
    }
    ended
}

/// True while the old primary's agent, stopping or not, was heard of lately and says that its service is not known to have
/// stopped, or has yet to say in the session that it has just opened: time alone proves nothing against that word (DESIGN
/// section 5, rule 11). What had failed to stop goes on for all that is known when its agent has gone: D counts from the last
/// contact then, and a start of the agent within that says the same again.
fn awaits_word(plan: &mut Plan, view: &View<'_>, group: &Group) -> bool {
    let lease = &view.state.settings().lease;
    let Some(host) = view.primary_host(group) else { return false };
    // Also of a start before the one on record, whose session is not open yet.
    let Some(seen) = view.observations.hosts.get(&host.id) else { return false };
    let word = match &seen.not_stopped {
        // It says what its groups are before it is renewed.
        None if seen.on_credit => None,
        None => return false,
        Some(words) => match words.get(&group.id).filter(|word| word.epoch == group.epoch) {
            Some(word) => Some(word),
            None => return false,
        },
    };
    let holds_ms = match word.map(|word| word.state) {
        None | Some(GroupState::Stopping) => lease.suspect_after_ms(),
        Some(GroupState::StopFailed) => lease.wait_for_ms(group.demotion_ms),
        // One that acts on has not heard of the revoke yet: no renewal covers it, so D decides.
        Some(_) => return false,
    };
    let until = seen.last_contact.plus_ms(holds_ms);
    if view.now >= until {
        return false;
    }
    plan.wake(until);
    if let Some(word) = word.filter(|word| word.state == GroupState::StopFailed) {
        report_blocked(plan, group, vec![format!("{}: {}", group.primary, word.reason)]);
    }
    true
}

/// When the next host may be chosen after failed starts; none when nobody failed yet.
fn backoff(view: &View<'_>, group: &Group, operation: &Operation) -> Option<Mono> {
    let failed = operation.failover().map_or(0, Failover::failed_attempts);
    if failed == 0 {
        return None;
    }
    // Not noted yet: as if the last attempt had failed just now.
    let since = view.observations.revoked_since.get(&(group.id.clone(), group.epoch)).copied();
    let pause_ms = 1_u64
        .checked_shl(failed - 1)
        .map_or(BACKOFF_MAX_MS, |factor| BACKOFF_FIRST_MS.saturating_mul(factor).min(BACKOFF_MAX_MS));
    Some(since.unwrap_or(view.now).plus_ms(pause_ms))
}

/// Until when a primary that should have the group back may take to read its disk, once its agent has started anew and is
/// in contact; none when there is nothing to wait for.
fn reads_disk_until(view: &View<'_>, group: &Group) -> Option<Mono> {
    let unread = matches!(eligibility(view.state, group, &group.primary), Err(Ineligible::DiskNotRead(_)));
    let in_contact = view
        .primary_host(group)
        .and_then(|host| view.observations.current(host))
        .is_some_and(|seen| seen.connected && !seen.stopping);
    if !unread || !in_contact {
        return None;
    }
    let since = view.observations.revoked_since.get(&(group.id.clone(), group.epoch)).copied();
    Some(since.unwrap_or(view.now).plus_ms(READ_DISK_MS)).filter(|until| view.now < *until)
}

fn choose(plan: &mut Plan, view: &View<'_>, group: &Group, operation: &Operation, fencing: Fencing) {
    let prefers_old = operation.failover().is_some_and(|failover| failover.reason.prefers_old_primary());
    if prefers_old && let Some(until) = reads_disk_until(view, group) {
        return plan.wake(until);
    }
    let (mut fit, mut unfit) = candidates(view.state, group, prefers_old);
    fit.retain(|member| {
        let stopping = view.is_stopping(&member.host);
        if stopping {
            unfit.push(format!("{member}: its agent is stopping"));
        }
        !stopping
    });
    // The host that an operator asked for comes first, and, like everybody, behind those that failed less often. The one
    // that the group is moved away from comes last, wherever it stands in the operator's order.
    let target = operation.failover().and_then(|failover| failover.target.as_ref());
    let from = operation.failover().filter(|_| !prefers_old).map(|failover| &failover.from);
    fit.sort_by_key(|member| {
        (attempts(operation, member), target != Some(&member.host), from == Some(&member.host))
    });
    let Some(best) = fit.first() else { return report_blocked(plan, group, unfit) };
    let command = Command::ChooseCandidate {
        group: group.id.clone(),
        operation: operation.id,
        candidate: best.host.clone(),
        fencing,
        evidence: grounds(view, operation, best, &unfit),
    };
    plan.propose("failover/choose", command);
}

fn attempts(operation: &Operation, member: &Member) -> u32 {
    operation.failover().and_then(|failover| failover.attempts.get(&member.host)).copied().unwrap_or(0)
}

/// What the choice rests on: the chosen one's health, and why others could not be.
fn grounds(view: &View<'_>, operation: &Operation, best: &Member, unfit: &[String]) -> Vec<Evidence> {
    let verdict = view.state.disks.get(&best.disk_id()).map(|disk| disk.verdict.to_string());
    let mut grounds = vec![
        Evidence::new(format!("disk {best}"), verdict.unwrap_or_default(), "", "state"),
        Evidence::new("failed_starts", attempts(operation, best), "", "state"),
    ];
    grounds.extend(unfit.iter().map(|line| Evidence::new("not_eligible", line, "", "state")));
    grounds
}
