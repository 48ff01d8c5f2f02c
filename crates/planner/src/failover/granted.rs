//! Groups whose primary may act: does it, and should it go on?

use super::{View, record_release, report_blocked};
use crate::{GroupObservation, Plan, liveness};
use quorate_domain::{
    Command, Disk, Evidence, Group, GroupState, Host, HostStatus, OperationId, Phase, StepName, StepStatus,
    Verdict,
    eligibility::{eligibility, eligible_backups},
    operation::FailoverReason,
};

pub(super) fn plan(plan: &mut Plan, view: &View<'_>, group: &Group) {
    let Some(host) = view.primary_host(group) else { return };
    let report = view.report(group);
    if let Some(report) = report
        && matches!(report.state, GroupState::Ended | GroupState::StartFailed)
    {
        return give_up(plan, group, host, report);
    }
    if host.incarnation != group.granted_to {
        return begin(plan, group, FailoverReason::HostRestarted, restarted(view, group, host));
    }
    if let Some(evidence) = host_lost(plan, view, group, host) {
        return begin(plan, group, FailoverReason::HostLost, evidence);
    }
    if let Some(unusable) = unusable_disk(view, group) {
        let (fit, unfit) = eligible_backups(view.state, group);
        if !fit.is_empty() {
            return begin(plan, group, unusable.reason, unusable.evidence);
        }
        let mut reasons = vec![unusable.line];
        reasons.extend(unfit);
        report_blocked(plan, group, reasons);
    } else if group.blocked.is_some() {
        let command = Command::ReportBlocked { group: group.id.clone(), epoch: group.epoch, reasons: vec![] };
        plan.propose("failover/unblocked", command);
    }
    if start_timed_out(plan, view, group, host) {
        return begin(plan, group, FailoverReason::StartTimedOut, start_evidence(view, group, host));
    }
    if let Some(report) = report {
        follow_start(plan, view, group, host, report);
    }
}

/// True when the named primary has had its time to start, has not said that it acts, and another host could follow it.
fn start_timed_out(plan: &mut Plan, view: &View<'_>, group: &Group, host: &Host) -> bool {
    let key = (group.id.clone(), group.epoch);
    let Some(since) = view.observations.starting_since.get(&key) else { return false };
    if view.report(group).is_some_and(|report| report.state == GroupState::Acting) {
        return false;
    }
    if eligible_backups(view.state, group).0.is_empty() {
        return false;
    }
    let lease = &view.state.settings().lease;
    if !view.observations.current(host).is_some_and(|seen| liveness::in_contact(lease, seen, view.now)) {
        return false;
    }
    let due = since
        .plus_ms(lease.start_limit_ms(host.hook_times.promotion_ms))
        .max(view.observations.observe_until);
    if view.now < due {
        plan.wake(due);
    }
    view.now >= due
}

fn start_evidence(view: &View<'_>, group: &Group, host: &Host) -> Vec<Evidence> {
    let key = (group.id.clone(), group.epoch);
    let since = view.observations.starting_since.get(&key).copied().unwrap_or(view.now);
    let limit_ms = view.state.settings().lease.start_limit_ms(host.hook_times.promotion_ms);
    let waited = Evidence::new("starting_ms", view.now.since_ms(since), limit_ms, view.observations.source());
    let said = view.report(group).map(|report| format!("{:?}", report.state)).unwrap_or_default();
    vec![waited, Evidence::new("reported_state", said, "", format!("agent of {}", host.id))]
}

/// The epoch ended by the word of its own host. Only the start that holds it can say that it could not start; a later
/// start can still say that nothing acts.
fn give_up(plan: &mut Plan, group: &Group, host: &Host, report: &GroupObservation) {
    if report.state == GroupState::Ended || host.incarnation != group.granted_to {
        return record_release(plan, group, host, report);
    }
    let command = Command::ReportStartFailed {
        group: group.id.clone(),
        epoch: group.epoch,
        host: host.id.clone(),
        incarnation: host.incarnation,
        reason: report.reason.clone(),
    };
    plan.propose("failover/start-failed", command);
}

/// Records how far the named primary is with its start.
fn follow_start(plan: &mut Plan, view: &View<'_>, group: &Group, host: &Host, report: &GroupObservation) {
    let Phase::Starting { operation } = group.phase else { return };
    let (group_id, epoch) = (group.id.clone(), group.epoch);
    let (host, incarnation) = (host.id.clone(), host.incarnation);
    if operation.is_some_and(|operation| awaits_installation(view, operation)) {
        let command =
            Command::RecordInstalled { group: group_id.clone(), epoch, host: host.clone(), incarnation };
        plan.propose("failover/installed", command);
    }
    if report.state == GroupState::Acting {
        let command = Command::AcknowledgePromotion { group: group_id, epoch, host, incarnation };
        plan.propose("failover/acting", command);
    }
}

fn awaits_installation(view: &View<'_>, operation: OperationId) -> bool {
    !view.state.operations.get(&operation).is_some_and(|operation| {
        operation
            .steps
            .iter()
            .any(|step| step.name == StepName::UpdateConfiguration && step.status == StepStatus::Done)
    })
}

/// What speaks for taking the group away from a host that is not heard of; none when it should keep it.
fn host_lost(plan: &mut Plan, view: &View<'_>, group: &Group, host: &Host) -> Option<Vec<Evidence>> {
    let lease = &view.state.settings().lease;
    let seen = view.observations.current(host);
    if seen.is_some_and(|seen| liveness::may_be_in_contact(lease, seen, view.now)) {
        return None;
    }
    let threshold_ms = match host.status {
        HostStatus::Online => return None,
        HostStatus::Offline => lease.wait_ms,
        HostStatus::Suspect => {
            if eligible_backups(view.state, group).0.is_empty() {
                return None;
            }
            // Its lease may be good yet, and the suspicion may come from a leader that was itself cut off or asleep.
            if view.now < view.observations.observe_until {
                plan.wake(view.observations.observe_until);
                return None;
            }
            lease.suspect_after_ms()
        }
    };
    let silent_ms = view.now.since_ms(view.observations.last_contact(&host.id));
    Some(vec![
        Evidence::new("host_status", host.status, "", "state"),
        liveness::silence(silent_ms, threshold_ms, view.observations),
    ])
}

/// Why a primary cannot go on with the disk that it has.
struct Unusable {
    reason: FailoverReason,
    evidence: Vec<Evidence>,
    /// For people.
    line: String,
}

/// What speaks against the primary's disk: it failed, or it is not the one that holds the copy.
fn unusable_disk(view: &View<'_>, group: &Group) -> Option<Unusable> {
    let disk = view.state.disks.get(&group.primary.disk_id())?;
    if disk.verdict == Verdict::Failed {
        let line = format!("{}: its disk {} has failed", group.primary, disk.id);
        return Some(Unusable { reason: FailoverReason::DiskFailed, evidence: disk_findings(disk), line });
    }
    let missed = group.unaccepted.get(&group.primary.host)?;
    let why = eligibility(view.state, group, &group.primary).err()?;
    let evidence = vec![Evidence::new(format!("disk {}", disk.id), &disk.identity, missed, "state")];
    let line = format!("{}: {why}", group.primary);
    Some(Unusable { reason: FailoverReason::DiskReplaced, evidence, line })
}

fn disk_findings(disk: &Disk) -> Vec<Evidence> {
    let verdict = Evidence::new(format!("disk {}", disk.id), disk.verdict, "", "state");
    let findings = disk.reasons.iter().map(|reason| {
        Evidence::new(reason.code.clone(), &reason.observed, &reason.threshold, reason.source.clone())
    });
    std::iter::once(verdict).chain(findings).collect()
}

fn restarted(view: &View<'_>, group: &Group, host: &Host) -> Vec<Evidence> {
    vec![Evidence::new("incarnation", host.incarnation, group.granted_to, view.observations.source())]
}

fn begin(plan: &mut Plan, group: &Group, reason: FailoverReason, evidence: Vec<Evidence>) {
    let rule = match reason {
        FailoverReason::HostRestarted => "failover/host-restarted",
        FailoverReason::DiskFailed => "failover/disk-failed",
        FailoverReason::DiskReplaced => "failover/disk-replaced",
        FailoverReason::StartTimedOut => "failover/start-timed-out",
        _ => "failover/host-lost",
    };
    let command = Command::BeginFailover {
        group: group.id.clone(),
        epoch: Some(group.epoch),
        reason,
        target: None,
        evidence,
    };
    plan.propose(rule, command);
}
