//! Answers as JSON. The names are stable: fields in `snake_case` as in the protobuf messages, instants as RFC 3339 under
//! the name without `_ms`, enums as lower-case words, and null for what is not set.

use super::{time::instant, word};
use quorate_rpc::pb::{
    agent::ListRolesResponse,
    control::{GetStatusResponse, Health, Member as Coordinator, MemberRole, MemberState},
    types::{
        Disk, Event, Evidence, FaultClass, Group, GroupPhase, Host, HostStatus, Member, MemberChange,
        Operation, OperationStatus, Revision, Role, ServiceMode, Severity, Step, StepStatus, Switch, Verdict,
        VerdictReason, View, Warning,
    },
};
use serde_json::{Value, json};

/// One document, for a command that gives one answer.
pub(crate) fn document(value: &Value) -> String {
    format!("{value:#}\n")
}

/// One line, for a stream of answers.
pub(crate) fn line(value: &Value) -> String {
    format!("{value}\n")
}

/// Null for an empty text.
fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn each<T>(items: &[T], one: impl Fn(&T) -> Value) -> Value {
    items.iter().map(one).collect()
}

/// What a read was answered from.
pub(crate) fn view(view: Option<&View>) -> Value {
    view.map_or(Value::Null, |view| {
        json!({ "revision": view.revision, "stale": view.stale, "coordinator_id": view.coordinator_id })
    })
}

/// The whole status.
pub(crate) fn status(status: &GetStatusResponse) -> Value {
    json!({
        "cluster_id": status.cluster_id,
        "formation_id": text(&status.formation_id),
        "coordinator_id": status.coordinator_id,
        "leader_id": (status.leader_id != 0).then_some(status.leader_id),
        "leader_api_address": text(&status.leader_api_address),
        "term": status.term,
        "last_log_index": status.last_log_index,
        "applied_index": status.applied_index,
        "revision": status.revision,
        "state_digest": text(&status.state_digest),
        "quorum_ack_ms": status.quorum_ack_ms,
        "can_decide": status.can_decide,
        "grace_left_ms": status.grace_left_ms,
        "log_lines_lost": status.log_lines_lost,
        "stands_still": status.stands_still,
        "hosts": {
            "online": status.hosts_online,
            "suspect": status.hosts_suspect,
            "offline": status.hosts_offline,
        },
        "disks": {
            "healthy": status.disks_healthy,
            "degraded": status.disks_degraded,
            "failed": status.disks_failed,
            "unknown": status.disks_unknown,
        },
        "groups": {
            "active": status.groups_active,
            "starting": status.groups_starting,
            "revoked": status.groups_revoked,
            "blocked": status.groups_blocked,
        },
        "members": each(&status.members, coordinator),
        "member_change": status.member_change.as_ref().map(operation),
        "running": each(&status.running, operation),
        "health": word::<Health>(status.health),
        "warnings": each(&status.warnings, warning),
        "warnings_unlisted": status.warnings_unlisted,
        "reaches_quorum": status.reaches_quorum,
        "service_modes": status.service_modes.as_ref().map(|modes| json!({
            "normal": modes.normal,
            "read_only": modes.read_only,
            "safe": modes.safe,
            "unknown": modes.unknown,
        })),
        "version": status.version,
    })
}

/// Warnings.
pub(crate) fn warnings(all: &[Warning]) -> Value {
    each(all, warning)
}

fn warning(warning: &Warning) -> Value {
    json!({
        "code": warning.code,
        "severity": word::<Severity>(warning.severity),
        "subject": { "kind": warning.subject_kind, "id": text(&warning.subject_id) },
        "since_ms": warning.since_ms,
        "since_at_least": warning.since_at_least,
        "text": warning.text,
        "remedy": text(&warning.remedy),
    })
}

/// The coordinators.
pub(crate) fn members(all: &[Coordinator]) -> Value {
    each(all, coordinator)
}

fn coordinator(member: &Coordinator) -> Value {
    json!({
        "role": word::<MemberRole>(member.role),
        "since": instant(member.since_ms),
        "id": member.id,
        "peer_address": member.peer_address,
        "api_address": member.api_address,
        "voter": member.voter,
        "leader": member.leader,
        "lag_entries": member.lag_entries,
        "last_answer_ms": member.last_answer_ms,
        "state": word::<MemberState>(member.state),
        "state_for_ms": member.state_for_ms,
        "state_reason": text(&member.state_reason),
    })
}

/// What an agent says of its host.
pub(crate) fn roles(said: &ListRolesResponse) -> Value {
    json!({
        "host": said.host,
        "incarnation": said.incarnation,
        "service_mode": word::<ServiceMode>(said.service_mode),
        "service_mode_reason": text(&said.service_mode_reason),
        "at_boot_ms": said.at_boot_ms,
        "roles": each(&said.roles, |role| json!({
            "group": role.group,
            "role": word::<Role>(role.role),
            "epoch": role.epoch,
            "reason": text(&role.reason),
        })),
    })
}

/// A host.
pub(crate) fn host(host: &Host) -> Value {
    json!({
        "id": host.id,
        "zone": host.zone,
        "address": host.address,
        "status": word::<HostStatus>(host.status),
        "service_mode": word::<ServiceMode>(host.service_mode),
        "incarnation": host.incarnation,
        "error_count": host.error_count,
        "last_transition_at": instant(host.last_transition_at_ms),
        "last_transition_reason": text(&host.last_transition_reason),
        "last_contact_ms": host.last_contact_ms,
        "assignment_revision": host.assignment_revision,
        "installed_revision": host.installed_revision,
        "primary_of": host.primary_of,
        "backup_of": host.backup_of,
        "cordoned": host.cordoned.as_ref().map(|cordon| json!({
            "since": instant(cordon.since_ms),
            "reason": text(&cordon.reason),
        })),
        "promotion_ms": host.promotion_ms,
        "demotion_ms": host.demotion_ms,
    })
}

/// Hosts.
pub(crate) fn hosts(all: &[Host]) -> Value {
    each(all, host)
}

/// A disk.
pub(crate) fn disk(disk: &Disk) -> Value {
    json!({
        "host": disk.host,
        "name": disk.name,
        "path": disk.path,
        "identity": text(&disk.identity),
        "capacity_bytes": disk.capacity_bytes,
        "free_bytes": disk.free_bytes,
        "verdict": word::<Verdict>(disk.verdict),
        "reasons": each(&disk.reasons, verdict_reason),
        "error_count": disk.error_count,
        "changed_at": instant(disk.changed_at_ms),
        "checked_at": disk.checked_at_ms.and_then(instant),
        "latched": disk.latched.as_ref().map(|latch| json!({
            "since": instant(latch.since_ms),
            "codes": latch.codes,
            "well_since": latch.well_since_ms.and_then(instant),
        })),
    })
}

/// Disks.
pub(crate) fn disks(all: &[Disk]) -> Value {
    each(all, disk)
}

fn verdict_reason(reason: &VerdictReason) -> Value {
    json!({
        "code": reason.code,
        "attribute": text(&reason.attribute),
        "observed": text(&reason.observed),
        "threshold": text(&reason.threshold),
        "source": text(&reason.source),
        "at": instant(reason.at_ms),
        "class": word::<FaultClass>(reason.class),
    })
}

fn member(member: &Member) -> Value {
    json!({ "host": member.host, "disk": member.disk })
}

/// A group.
pub(crate) fn group(group: &Group) -> Value {
    json!({
        "id": group.id,
        "primary": group.primary.as_ref().map(member),
        "backups": each(&group.backups, member),
        "members": each(&group.members, |member| json!({
            "host": member.host,
            "disk": member.disk,
            "primary": member.primary,
            "accepted": member.accepted,
            "missed_identity": text(&member.missed_identity),
        })),
        "epoch": group.epoch,
        "phase": word::<GroupPhase>(group.phase),
        "operation": text(&group.operation),
        "blocked_reasons": group.blocked_reasons,
        "blocked_since": instant(group.blocked_since_ms),
        "labels": group.labels,
        "created_at": instant(group.created_at_ms),
        "modified_revision": group.modified_revision,
        "granted_to_incarnation": group.granted_to_incarnation,
        "unstopped": each(&group.unstopped, |old| json!({ "host": old.host, "epoch": old.epoch })),
    })
}

/// Groups.
pub(crate) fn groups(all: &[Group]) -> Value {
    each(all, group)
}

/// Switches of primary.
pub(crate) fn switches(all: &[Switch]) -> Value {
    each(all, |switch| {
        json!({
            "operation": text(&switch.operation),
            "revision": switch.revision,
            "at": instant(switch.at_ms),
            "from": text(&switch.from),
            "to": text(&switch.to),
            "epoch": switch.epoch,
            "reason": text(&switch.reason),
        })
    })
}

/// An operation.
pub(crate) fn operation(operation: &Operation) -> Value {
    json!({
        "id": operation.id,
        "kind": operation.kind,
        "group": text(&operation.group),
        "reason": text(&operation.reason),
        "from": text(&operation.from),
        "from_epoch": operation.from_epoch,
        "target": text(&operation.target),
        "to": text(&operation.to),
        "status": word::<OperationStatus>(operation.status),
        "steps": each(&operation.steps, step),
        "cause": text(&operation.cause),
        "request_id": text(&operation.request_id),
        "evidence": each(&operation.evidence, evidence),
        "created_at": instant(operation.created_at_ms),
        "finished_at": operation.finished_at_ms.and_then(instant),
        "outcome": text(&operation.outcome),
        "failed_attempts": operation.failed_attempts,
        "member_change": operation.member_change.as_ref().map(member_change),
    })
}

fn member_change(change: &MemberChange) -> Value {
    let id = |id: u64| (id != 0).then_some(id);
    json!({
        "joins": id(change.joins),
        "promoted": id(change.promoted),
        "leaves": id(change.leaves),
        "voters_before": change.voters_before,
        "voters_after": change.voters_after,
        "caught_up": change.caught_up,
        "on_record": change.on_record,
        "cancelled": change.cancelled,
    })
}

/// Operations.
pub(crate) fn operations(all: &[Operation]) -> Value {
    each(all, operation)
}

fn step(step: &Step) -> Value {
    json!({
        "name": step.name,
        "status": word::<StepStatus>(step.status),
        "started_at": step.started_at_ms.and_then(instant),
        "finished_at": step.finished_at_ms.and_then(instant),
        "note": text(&step.note),
    })
}

fn evidence(evidence: &Evidence) -> Value {
    json!({
        "what": evidence.what,
        "observed": text(&evidence.observed),
        "threshold": text(&evidence.threshold),
        "source": text(&evidence.source),
    })
}

/// A revision with its events.
pub(crate) fn revision(revision: &Revision) -> Value {
    json!({
        "revision": revision.revision,
        "at": instant(revision.at_ms),
        "cause": text(&revision.cause),
        "request_id": text(&revision.request_id),
        "command": text(&revision.command),
        "events": each(&revision.events, event),
    })
}

/// Revisions.
pub(crate) fn revisions(all: &[Revision]) -> Value {
    each(all, revision)
}

fn event(event: &Event) -> Value {
    // What does not parse is shown as it came rather than hidden.
    let detail = text(&event.detail_json)
        .map(|raw| serde_json::from_str(raw).unwrap_or_else(|_| Value::String(raw.to_owned())));
    json!({
        "type": event.r#type,
        "message": event.message,
        "host": text(&event.host),
        "group": text(&event.group),
        "operation": text(&event.operation),
        "detail": detail,
    })
}
