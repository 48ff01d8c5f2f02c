//! Decisions about who is primary: the rules of DESIGN section 5.

use super::{Context, current_host, find_group, find_host};
use crate::{
    command::{Command, Fencing},
    disk::Verdict,
    eligibility::{eligibility, eligible_backups},
    event::Event,
    group::{Group, Member, Phase},
    host::HostStatus,
    ids::{Epoch, GroupId, HostId, Incarnation, OperationId},
    operation::{FailoverReason, StepName, StepStatus},
    rejection::Rejection,
    state::State,
};

pub(super) fn begin(
    state: &State,
    context: &Context<'_>,
    command: &Command,
) -> Result<Vec<Event>, Rejection> {
    let Command::BeginFailover { group: id, epoch, reason, target, evidence } = command else {
        return Ok(vec![]);
    };
    let group = find_group(state, id)?;
    match group.phase {
        Phase::Deleting { .. } => return Err(Rejection::GroupDeleting(id.clone())),
        Phase::Revoked { operation, .. } => {
            return Err(Rejection::FailoverInProgress { group: id.clone(), operation });
        }
        Phase::Starting { .. } | Phase::Active => {}
    }
    if let Some(epoch) = epoch {
        check_epoch(group, *epoch)?;
    }
    check_needed(state, group, *reason, target.as_ref())?;
    let mut events = Vec::new();
    fail_running(&mut events, group, "its new primary was taken away before it acknowledged");
    events.push(Event::FailoverBegun {
        operation: OperationId(context.revision.0),
        group: id.clone(),
        from: group.primary.host.clone(),
        epoch: group.epoch,
        reason: *reason,
        target: target.clone(),
        evidence: evidence.clone(),
    });
    Ok(events)
}

/// Whether the reason still holds, and whether it would lead anywhere.
fn check_needed(
    state: &State,
    group: &Group,
    reason: FailoverReason,
    target: Option<&HostId>,
) -> Result<(), Rejection> {
    let not_needed = |why: String| Err(Rejection::NotNeeded { group: group.id.clone(), why });
    match reason {
        FailoverReason::Requested => check_request(state, group, target),
        FailoverReason::HostLost => {
            let host = find_host(state, &group.primary.host)?;
            match host.status {
                HostStatus::Online => not_needed(format!("host {} is online", host.id)),
                // Its lease may be good yet: take it away only if somebody else can have it.
                HostStatus::Suspect => need_backup(state, group),
                HostStatus::Offline => Ok(()),
            }
        }
        FailoverReason::HostRestarted => {
            let host = find_host(state, &group.primary.host)?;
            if host.incarnation == group.granted_to {
                return not_needed(format!(
                    "host {} still has the start that the epoch was granted to",
                    host.id
                ));
            }
            Ok(())
        }
        FailoverReason::DiskFailed => {
            let disk = group.primary.disk_id();
            let verdict = state.disks.get(&disk).map(|disk| disk.verdict);
            if verdict != Some(Verdict::Failed) {
                return not_needed(format!("disk {disk} has not failed"));
            }
            need_backup(state, group)
        }
        FailoverReason::DiskReplaced => {
            if !group.unaccepted.contains_key(&group.primary.host) {
                let disk = group.primary.disk_id();
                return not_needed(format!("disk {disk} is the one that holds the copy, or was accepted"));
            }
            need_backup(state, group)
        }
        FailoverReason::StartTimedOut => {
            if !matches!(group.phase, Phase::Starting { .. }) {
                return not_needed("its primary acts".to_owned());
            }
            need_backup(state, group)
        }
        FailoverReason::Released | FailoverReason::StartFailed => {
            not_needed(format!("{reason} is reported by the primary's own agent"))
        }
    }
}

fn check_request(state: &State, group: &Group, target: Option<&HostId>) -> Result<(), Rejection> {
    let Some(target) = target else { return need_backup(state, group) };
    if *target == group.primary.host {
        return Err(Rejection::AlreadyPrimary { group: group.id.clone(), host: target.clone() });
    }
    eligible_member(state, group, target).map(|_| ())
}

fn need_backup(state: &State, group: &Group) -> Result<(), Rejection> {
    let (fit, reasons) = eligible_backups(state, group);
    if fit.is_empty() {
        return Err(Rejection::NoEligibleBackup { group: group.id.clone(), reasons });
    }
    Ok(())
}

fn eligible_member<'a>(state: &State, group: &'a Group, host: &HostId) -> Result<&'a Member, Rejection> {
    let member = group
        .member(host)
        .ok_or_else(|| Rejection::NotAMember { group: group.id.clone(), host: host.clone() })?;
    eligibility(state, group, member).map_err(|reason| Rejection::NotEligible {
        group: group.id.clone(),
        host: host.clone(),
        reason: Box::new(reason),
    })?;
    Ok(member)
}

pub(super) fn record_release(
    state: &State,
    context: &Context<'_>,
    command: &Command,
) -> Result<Vec<Event>, Rejection> {
    let Command::RecordRelease { group: id, epoch, host, incarnation, reason } = command else {
        return Ok(vec![]);
    };
    let group = find_group(state, id)?;
    let known = current_host(state, host, *incarnation)?;
    check_epoch(group, *epoch)?;
    if group.primary.host != *host {
        return Err(Rejection::NotTheHolder {
            group: id.clone(),
            host: host.clone(),
            incarnation: *incarnation,
            epoch: *epoch,
        });
    }
    let released = Event::PrimaryReleased {
        group: id.clone(),
        epoch: *epoch,
        host: host.clone(),
        reason: reason.clone(),
    };
    match &group.phase {
        Phase::Revoked { released: true, .. } | Phase::Deleting { released: true } => Ok(vec![]),
        Phase::Revoked { .. } | Phase::Deleting { .. } => Ok(vec![released]),
        Phase::Starting { .. } | Phase::Active => {
            let restarted = known.incarnation != group.granted_to;
            let cause = if restarted { FailoverReason::HostRestarted } else { FailoverReason::Released };
            let mut events = Vec::new();
            fail_running(&mut events, group, "its new primary gave up before it acknowledged");
            events.push(begun_by_holder(context, group, cause));
            events.push(released);
            Ok(events)
        }
    }
}

pub(super) fn record_stopped(
    state: &State,
    id: &GroupId,
    epoch: Epoch,
    host: &HostId,
    incarnation: Incarnation,
) -> Result<Vec<Event>, Rejection> {
    let group = find_group(state, id)?;
    current_host(state, host, incarnation)?;
    match group.unstopped.get(host) {
        Some(taken) if *taken == epoch => {
            Ok(vec![Event::OldPrimaryStopped { group: id.clone(), epoch, host: host.clone() }])
        }
        // What it speaks of is not what was taken from it last.
        Some(taken) => Err(Rejection::StaleEpoch { group: id.clone(), current: *taken, given: epoch }),
        None => Ok(vec![]),
    }
}

/// A failover that the holder of the epoch brings about by its own word.
fn begun_by_holder(context: &Context<'_>, group: &Group, reason: FailoverReason) -> Event {
    Event::FailoverBegun {
        operation: OperationId(context.revision.0),
        group: group.id.clone(),
        from: group.primary.host.clone(),
        epoch: group.epoch,
        reason,
        target: None,
        evidence: vec![],
    }
}

pub(super) fn report_blocked(
    state: &State,
    id: &GroupId,
    epoch: Epoch,
    reasons: &[String],
) -> Result<Vec<Event>, Rejection> {
    let group = find_group(state, id)?;
    check_epoch(group, epoch)?;
    let known = group.blocked.as_ref().map_or(&[][..], |blocked| &blocked.reasons[..]);
    if known == reasons {
        return Ok(vec![]);
    }
    Ok(vec![if reasons.is_empty() {
        Event::FailoverUnblocked { group: id.clone() }
    } else {
        Event::FailoverBlocked { group: id.clone(), reasons: reasons.to_vec() }
    }])
}

pub(super) fn choose(
    state: &State,
    context: &Context<'_>,
    command: &Command,
) -> Result<Vec<Event>, Rejection> {
    let Command::ChooseCandidate { group: id, operation, candidate, fencing, evidence } = command else {
        return Ok(vec![]);
    };
    let group = find_group(state, id)?;
    let (released, known) = revoked_by(group, *operation)?;
    check_fencing(state, context, group, fencing, released)?;
    eligible_member(state, group, candidate)?;
    if known == Some(candidate) {
        return Ok(vec![]);
    }
    let fenced_by = match fencing {
        Fencing::Released => "released by its holder".to_owned(),
        Fencing::Waited { waited_ms, term } => {
            let wait_ms = state.settings().lease.wait_for_ms(group.demotion_ms);
            format!("waited {waited_ms} ms, D = {wait_ms} ms, in term {term}")
        }
    };
    Ok(vec![Event::CandidateChosen {
        operation: *operation,
        group: id.clone(),
        candidate: candidate.clone(),
        fenced_by,
        evidence: evidence.clone(),
    }])
}

pub(super) fn promote(
    state: &State,
    context: &Context<'_>,
    id: &GroupId,
    operation: OperationId,
    candidate: &HostId,
    fencing: &Fencing,
) -> Result<Vec<Event>, Rejection> {
    let group = find_group(state, id)?;
    let (released, chosen) = revoked_by(group, operation)?;
    if chosen != Some(candidate) {
        return Err(Rejection::WrongPhase {
            group: id.clone(),
            phase: group.phase.to_string(),
            needed: format!("{candidate} must be chosen before it is promoted"),
        });
    }
    check_fencing(state, context, group, fencing, released)?;
    eligible_member(state, group, candidate)?;
    let failover = state.operations.get(&operation).and_then(|operation| operation.failover());
    let reason = failover.map_or(FailoverReason::Requested, |failover| failover.reason);
    Ok(vec![Event::PrimarySwitched {
        operation,
        group: id.clone(),
        from: group.primary.host.clone(),
        to: candidate.clone(),
        granted_to: find_host(state, candidate)?.incarnation,
        epoch: group.epoch.next(),
        reason,
    }])
}

pub(super) fn record_installed(
    state: &State,
    id: &GroupId,
    epoch: Epoch,
    host: &HostId,
    incarnation: Incarnation,
) -> Result<Vec<Event>, Rejection> {
    let group = find_group(state, id)?;
    check_holder(state, group, epoch, host, incarnation)?;
    let Phase::Starting { operation: Some(operation) } = group.phase else { return Ok(vec![]) };
    let installed = state.operations.get(&operation).is_some_and(|operation| {
        operation
            .steps
            .iter()
            .any(|step| step.name == StepName::UpdateConfiguration && step.status == StepStatus::Done)
    });
    if installed {
        return Ok(vec![]);
    }
    Ok(vec![Event::AssignmentInstalled { operation, group: id.clone(), host: host.clone(), epoch }])
}

pub(super) fn acknowledge(
    state: &State,
    id: &GroupId,
    epoch: Epoch,
    host: &HostId,
    incarnation: Incarnation,
) -> Result<Vec<Event>, Rejection> {
    let group = find_group(state, id)?;
    check_holder(state, group, epoch, host, incarnation)?;
    let Phase::Starting { operation } = group.phase else { return Ok(vec![]) };
    Ok(vec![Event::PrimaryStarted { operation, group: id.clone(), host: host.clone(), epoch }])
}

pub(super) fn report_start_failed(
    state: &State,
    context: &Context<'_>,
    command: &Command,
) -> Result<Vec<Event>, Rejection> {
    let Command::ReportStartFailed { group: id, epoch, host, incarnation, reason } = command else {
        return Ok(vec![]);
    };
    let group = find_group(state, id)?;
    check_holder(state, group, *epoch, host, *incarnation)?;
    let mut events = Vec::new();
    let operation = group.phase.operation().unwrap_or_else(|| {
        events.push(begun_by_holder(context, group, FailoverReason::StartFailed));
        OperationId(context.revision.0)
    });
    events.push(Event::PrimaryStartFailed {
        operation,
        group: id.clone(),
        host: host.clone(),
        epoch: *epoch,
        reason: reason.clone(),
    });
    Ok(events)
}

/// Whether nobody can still act under the revoked epoch (I12).
pub(super) fn check_fencing(
    state: &State,
    context: &Context<'_>,
    group: &Group,
    fencing: &Fencing,
    released: bool,
) -> Result<(), Rejection> {
    let id = &group.id;
    match fencing {
        Fencing::Released if released => Ok(()),
        Fencing::Released => Err(Rejection::NotReleased(id.clone())),
        Fencing::Waited { term, .. } if *term != context.term => {
            Err(Rejection::WaitOfAnotherTerm { group: id.clone(), waited_in: *term, term: context.term })
        }
        Fencing::Waited { waited_ms, .. } => {
            let wait_ms = state.settings().lease.wait_for_ms(group.demotion_ms);
            if *waited_ms < wait_ms {
                return Err(Rejection::WaitNotOver { group: id.clone(), waited_ms: *waited_ms, wait_ms });
            }
            Ok(())
        }
    }
}

/// Whether the group is revoked by this operation: if so, whether it was released and who is chosen.
fn revoked_by(group: &Group, operation: OperationId) -> Result<(bool, Option<&HostId>), Rejection> {
    match &group.phase {
        Phase::Revoked { operation: running, released, candidate } if *running == operation => {
            Ok((*released, candidate.as_ref()))
        }
        phase => Err(Rejection::WrongPhase {
            group: group.id.clone(),
            phase: phase.to_string(),
            needed: format!("it must be revoked by {operation}"),
        }),
    }
}

/// Whether the host, in this start of its agent, is the one that the present epoch was granted to.
fn check_holder(
    state: &State,
    group: &Group,
    epoch: Epoch,
    host: &HostId,
    incarnation: Incarnation,
) -> Result<(), Rejection> {
    current_host(state, host, incarnation)?;
    check_epoch(group, epoch)?;
    let holds = group.primary.host == *host && group.granted_to == incarnation && group.phase.grants();
    if holds {
        return Ok(());
    }
    Err(Rejection::NotTheHolder { group: group.id.clone(), host: host.clone(), incarnation, epoch })
}

fn check_epoch(group: &Group, given: Epoch) -> Result<(), Rejection> {
    #[cfg(planted)]
    if crate::planted::is(crate::planted::Bug::NoEpochCheck) {
        return Ok(());
    }
    if group.epoch == given {
        return Ok(());
    }
    Err(Rejection::StaleEpoch { group: group.id.clone(), current: group.epoch, given })
}

/// Ends the operation that named the present primary, when that primary is taken away before it acknowledged.
fn fail_running(events: &mut Vec<Event>, group: &Group, outcome: &str) {
    if let Some(operation) = group.phase.operation() {
        events.push(Event::OperationFailed {
            operation,
            group: group.id.clone(),
            outcome: outcome.to_owned(),
        });
    }
}
