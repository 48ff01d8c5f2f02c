//! One thing on one screen.

use super::{
    NOTHING, Width, columns, coordinators, current_step, disks, duration, instant, instant_and_age, member,
    members, shown, size, span, text_or_nothing,
};
use quorate_domain::text::one_line;
use quorate_rpc::pb::{
    agent::{GroupRole, ListRolesResponse},
    control::{GetStatusResponse, Member as Coordinator, ServiceModes},
    types::{
        Disk, DiskLatch, FaultClass, Group, GroupMember, GroupPhase, Host, HostStatus, Operation,
        OperationStatus, Role, ServiceMode, Severity, StepStatus, Unstopped, Verdict, Warning,
    },
};

/// How far the values stand from the left.
const NAME_WIDTH: usize = 14;

/// Lines of a name and a value.
fn lines<const N: usize>(rows: [(&str, String); N]) -> String {
    rows.map(|(name, value)| format!("{name:<NAME_WIDTH$}{}\n", one_line(&value))).concat()
}

/// A part under a title, after an empty line.
fn part(title: &str, body: &str) -> String {
    format!("\n{title}\n{body}")
}

fn bullet(item: &str) -> String {
    format!("  - {}\n", one_line(item))
}

/// What to do about the bullet before it.
fn to_do(remedy: &str) -> String {
    format!("    do: {}\n", one_line(remedy))
}

fn bullets(items: &[String]) -> String {
    let lines: Vec<_> = items.iter().map(|item| bullet(item)).collect();
    lines.concat()
}

/// The cluster on one screen.
pub(crate) fn status_sheet(status: &GetStatusResponse, verdict: &str, now_ms: u64, width: Width) -> String {
    let mut sheet = format!("{verdict}\n\n");
    sheet.push_str(&lines([
        ("cluster", text_or_nothing(&status.cluster_id)),
        ("answered by", format!("coordinator {}, version {}", status.coordinator_id, status.version)),
        ("leader", leader(status)),
        ("decisions", decisions(status)),
        ("state", state(status)),
        (
            "hosts",
            format!(
                "{} online, {} suspect, {} offline",
                status.hosts_online, status.hosts_suspect, status.hosts_offline
            ),
        ),
        ("modes", modes(status)),
        (
            "disks",
            format!(
                "{} healthy, {} degraded, {} failed, {} unknown",
                status.disks_healthy, status.disks_degraded, status.disks_failed, status.disks_unknown
            ),
        ),
        (
            "groups",
            format!(
                "{} active, {} starting, {} revoked, {} blocked",
                status.groups_active, status.groups_starting, status.groups_revoked, status.groups_blocked
            ),
        ),
    ]));
    if !status.members.is_empty() {
        sheet.push('\n');
        sheet.push_str(&coordinators(&status.members, width));
    }
    if !status.running.is_empty() {
        sheet.push_str(&part("Running operations", &running(&status.running, now_ms, width)));
    }
    if !status.warnings.is_empty() {
        let mut lines: Vec<_> = status.warnings.iter().map(warning).collect();
        if status.warnings_unlisted > 0 {
            lines.push(bullet(&format!("and {} more", status.warnings_unlisted)));
        }
        sheet.push_str(&part("Warnings, worst first", &lines.concat()));
    }
    sheet
}

/// What is wrong on one line, and under it what to do.
fn warning(warning: &Warning) -> String {
    let Warning { code, subject_kind, subject_id, since_ms, since_at_least, text, remedy, .. } = warning;
    let subject = format!("{subject_kind} {subject_id}");
    // Some texts begin with what they are about.
    let subject = if text.contains(subject.trim_end()) { "" } else { subject.trim_end() };
    let at_least = if *since_at_least { "at least " } else { "" };
    let lasts = since_ms.map(|ms| format!("for {at_least}{}", span(ms))).unwrap_or_default();
    let about: Vec<_> = [subject, &lasts].into_iter().filter(|part| !part.is_empty()).collect();
    let about = if about.is_empty() { String::new() } else { format!("{}: ", about.join(" ")) };
    let severity = shown::<Severity>(warning.severity);
    let remedy = if remedy.is_empty() { String::new() } else { to_do(remedy) };
    format!("{}{remedy}", bullet(&format!("{severity}: {about}{text} [{code}]")))
}

fn state(status: &GetStatusResponse) -> String {
    let GetStatusResponse { revision, applied_index, last_log_index, state_digest, .. } = status;
    let digest = if state_digest.is_empty() { String::new() } else { format!(", digest {state_digest}") };
    format!("revision {revision}, applied {applied_index} of {last_log_index} log entries{digest}")
}

fn modes(status: &GetStatusResponse) -> String {
    let Some(modes) = &status.service_modes else { return "known to the leader only".to_owned() };
    let ServiceModes { normal, read_only, safe, unknown } = modes;
    format!("{normal} normal, {read_only} read-only, {safe} safe, {unknown} unknown")
}

/// What an agent says of its host.
pub(crate) fn roles_sheet(said: &ListRolesResponse, width: Width) -> String {
    let mut sheet = lines([
        ("host", said.host.clone()),
        ("incarnation", said.incarnation.to_string()),
        ("mode", shown::<ServiceMode>(said.service_mode)),
        ("because", text_or_nothing(&said.service_mode_reason)),
    ]);
    // Without deadlines: they are only told to those who act on them.
    let row = |role: &GroupRole| {
        let (role_shown, reason) = (shown::<Role>(role.role), text_or_nothing(&role.reason));
        [role.group.clone(), role_shown, role.epoch.to_string(), reason]
    };
    let header = ["GROUP", "ROLE", "EPOCH", "REASON"];
    sheet.push_str(&part("Groups", &columns(width, header, said.roles.iter().map(row).collect())));
    let remedy = |role: &GroupRole| {
        let GroupRole { group, reason, .. } = role;
        let remedy = format!(
            "start `quorate guard {group}` here, or let it and its keeper go on, where a guard runs it; else mend what its hooks \
             trip over, by the log of this agent; `quorate group show {group}` says what else there is"
        );
        format!("{}{}", bullet(&format!("group {group}: {reason}")), to_do(&remedy))
    };
    let unserved: Vec<_> = unserved(said).map(remedy).collect();
    if !unserved.is_empty() {
        sheet.push_str(&part("This host's to serve or to stop, and not done", &unserved.concat()));
    }
    sheet
}

/// The groups that a host with a lease is to serve, or has still to stop serving. Without a lease its mode says it all.
pub(crate) fn unserved(said: &ListRolesResponse) -> impl Iterator<Item = &GroupRole> {
    let is_normal = said.service_mode() == ServiceMode::Normal;
    said.roles.iter().filter(move |role| is_normal && role.role() == Role::Fenced)
}

fn leader(status: &GetStatusResponse) -> String {
    if status.leader_id == 0 {
        return format!("none known, term {}", status.term);
    }
    format!("coordinator {} at {}, term {}", status.leader_id, status.leader_api_address, status.term)
}

fn decisions(status: &GetStatusResponse) -> String {
    if status.leader_id != status.coordinator_id {
        let quorum = if status.reaches_quorum { "" } else { ", and no quorum is reached from here" };
        return format!("not this coordinator's to take{quorum}");
    }
    let possible = if status.can_decide { "possible" } else { "not possible" };
    let acknowledged = status.quorum_ack_ms.map_or_else(
        || "no quorum has acknowledged this leader yet".to_owned(),
        |ms| format!("a quorum acknowledged this leader {} ago", span(ms)),
    );
    let grace = status
        .grace_left_ms
        .map_or_else(String::new, |ms| format!("; it only observes hosts for another {}", span(ms)));
    format!("{possible}, {acknowledged}{grace}")
}

fn running(all: &[Operation], now_ms: u64, width: Width) -> String {
    let row = |operation: &Operation| {
        [
            operation.id.clone(),
            operation.kind.clone(),
            text_or_nothing(&operation.group),
            text_or_nothing(&operation.from),
            text_or_nothing(&operation.to),
            current_step(operation, now_ms),
            duration(operation, now_ms),
        ]
    };
    let header = ["OPERATION", "KIND", "GROUP", "FROM", "TO", "STEP", "AGE"];
    columns(width, header, all.iter().map(row).collect())
}

/// A host with its disks.
pub(crate) fn host_sheet(host: &Host, its_disks: &[Disk], now_ms: u64, width: Width) -> String {
    let contact = host
        .last_contact_ms
        .map_or_else(|| "not by this coordinator".to_owned(), |ms| format!("{} ago", span(ms)));
    let mut sheet = lines([
        ("host", host.id.clone()),
        ("zone", host.zone.clone()),
        ("address", text_or_nothing(&host.address)),
        ("status", shown::<HostStatus>(host.status)),
        ("since", instant_and_age(host.last_transition_at_ms, now_ms)),
        ("because", text_or_nothing(&host.last_transition_reason)),
        ("mode", shown::<ServiceMode>(host.service_mode)),
        ("heard of", contact),
        ("incarnation", host.incarnation.to_string()),
        (
            "assignment",
            format!("revision {}, installed {}", host.assignment_revision, host.installed_revision),
        ),
        ("primary of", text_or_nothing(&host.primary_of.join(" "))),
        ("backup of", text_or_nothing(&host.backup_of.join(" "))),
        ("errors", host.error_count.to_string()),
        ("hooks take", hooks(host)),
    ]);
    if let Some(cordon) = &host.cordoned {
        let since = instant_and_age(cordon.since_ms, now_ms);
        sheet.push_str(&lines([("cordoned", format!("since {since}: {}", cordon.reason))]));
    }
    sheet.push('\n');
    sheet.push_str(&disks(its_disks, now_ms, width));
    sheet
}

/// Why a disk stays failed, and what ends that.
fn latched(disk: &Disk, latch: &DiskLatch, now_ms: u64) -> String {
    let codes = latch.codes.join(", ");
    let since = format!("since {} by {}", instant_and_age(latch.since_ms, now_ms), text_or_nothing(&codes));
    match latch.well_since_ms {
        Some(at) => format!(
            "{since}; passes its checks again since {}: `quorate disk clear {}/{} --reason TEXT` if it is known to be good",
            instant_and_age(at, now_ms),
            disk.host,
            disk.name
        ),
        None => format!("{since}; put another disk in its place"),
    }
}

/// How long a host allows its hooks.
fn hooks(host: &Host) -> String {
    match (host.promotion_ms, host.demotion_ms) {
        (0, 0) => "none".to_owned(),
        (promotion, demotion) => {
            format!("at most {} to promote, {} to demote", span(promotion), span(demotion))
        }
    }
}

/// A disk with the reasons of its verdict.
pub(crate) fn disk_sheet(disk: &Disk, now_ms: u64, width: Width) -> String {
    let checked = disk.checked_at_ms.map_or_else(|| NOTHING.to_owned(), |at| instant_and_age(at, now_ms));
    let mut sheet = lines([
        ("disk", format!("{}/{}", disk.host, disk.name)),
        ("path", disk.path.clone()),
        ("identity", text_or_nothing(&disk.identity)),
        ("verdict", shown::<Verdict>(disk.verdict)),
        ("since", instant_and_age(disk.changed_at_ms, now_ms)),
        ("capacity", size(disk.capacity_bytes)),
        ("free", disk.free_bytes.map_or_else(|| NOTHING.to_owned(), size)),
        ("checked", checked),
        ("errors", disk.error_count.to_string()),
    ]);
    if let Some(latch) = &disk.latched {
        sheet.push_str(&lines([("latched", latched(disk, latch, now_ms))]));
    }
    if !disk.reasons.is_empty() {
        let row = |reason: &quorate_rpc::pb::types::VerdictReason| {
            [
                reason.code.clone(),
                text_or_nothing(&reason.attribute),
                text_or_nothing(&reason.observed),
                text_or_nothing(&reason.threshold),
                text_or_nothing(&reason.source),
                shown::<FaultClass>(reason.class),
                instant_and_age(reason.at_ms, now_ms),
            ]
        };
        let header = ["CODE", "ATTRIBUTE", "OBSERVED", "THRESHOLD", "SOURCE", "CLASS", "AT"];
        sheet.push('\n');
        sheet.push_str(&columns(width, header, disk.reasons.iter().map(row).collect()));
    }
    sheet
}

/// The members in the operator's order, and what is in the way of one.
fn order(all: &[GroupMember]) -> String {
    let one = |member: &GroupMember| {
        let name = format!("{}/{}", member.host, member.disk);
        if member.accepted {
            return name;
        }
        format!("{name} (not accepted: {} held the copy)", text_or_nothing(&member.missed_identity))
    };
    text_or_nothing(&all.iter().map(one).collect::<Vec<_>>().join(" "))
}

/// A group.
pub(crate) fn group_sheet(group: &Group, warnings: &[Warning], now_ms: u64) -> String {
    let mut labels: Vec<_> = group.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    labels.sort();
    let primary = group.primary.as_ref().map_or_else(|| NOTHING.to_owned(), member);
    let mut sheet = lines([
        ("group", group.id.clone()),
        ("phase", shown::<GroupPhase>(group.phase)),
        ("primary", format!("{primary}, incarnation {}", group.granted_to_incarnation)),
        ("epoch", group.epoch.to_string()),
        ("backups", members(&group.backups)),
        ("order", order(&group.members)),
        ("operation", text_or_nothing(&group.operation)),
        ("labels", text_or_nothing(&labels.join(" "))),
        ("created", instant_and_age(group.created_at_ms, now_ms)),
        ("modified", format!("revision {}", group.modified_revision)),
    ]);
    if !group.unstopped.is_empty() {
        let row = |old: &Unstopped| format!("{}, epoch {}", old.host, old.epoch);
        let hosts: Vec<String> = group.unstopped.iter().map(row).collect();
        sheet.push_str(&part(
            "Not known to have stopped their service, and not promoted before",
            &bullets(&hosts),
        ));
    }
    if !group.blocked_reasons.is_empty() {
        let title = format!("Failover blocked since {}", instant_and_age(group.blocked_since_ms, now_ms));
        sheet.push_str(&part(&title, &bullets(&group.blocked_reasons)));
    }
    if !warnings.is_empty() {
        sheet.push_str(&part("Warnings", &warnings.iter().map(warning).collect::<String>()));
    }
    sheet
}

/// The coordinators, and a change of them under way.
pub(crate) fn member_list(
    members: &[Coordinator],
    change: Option<&Operation>,
    warnings: &[String],
    now_ms: u64,
    width: Width,
) -> String {
    let mut sheet = coordinators(members, width);
    let reason = |member: &Coordinator| format!("coordinator {}: {}", member.id, member.state_reason);
    let why: Vec<_> = members.iter().filter(|member| !member.state_reason.is_empty()).map(reason).collect();
    if !why.is_empty() {
        sheet.push_str(&part("Why", &bullets(&why)));
    }
    if let Some(change) = change {
        sheet.push_str(&part("Change under way", &running(std::slice::from_ref(change), now_ms, width)));
    }
    if !warnings.is_empty() {
        sheet.push_str(&part("Warnings", &bullets(warnings)));
    }
    sheet
}

/// What is particular to the kind of an operation.
fn particulars(operation: &Operation) -> String {
    let Some(change) = &operation.member_change else {
        return lines([
            ("group", text_or_nothing(&operation.group)),
            ("from", format!("{}, epoch {}", text_or_nothing(&operation.from), operation.from_epoch)),
            ("to", text_or_nothing(&operation.to)),
            ("wanted", text_or_nothing(&operation.target)),
            ("attempts", format!("{} failed", operation.failed_attempts)),
        ]);
    };
    let ids = |ids: &[u64]| ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let id = |id: u64| if id == 0 { NOTHING.to_owned() } else { format!("coordinator {id}") };
    let cancel = match (change.cancelled, change.on_record) {
        (true, _) => "was cancelled",
        (false, _) if operation.finished_at_ms.is_some() => "too late: it is over",
        (false, true) => "too late: it is on record who votes",
        (false, false) => "possible until it is on record who votes",
    };
    lines([
        ("comes", id(change.joins.max(change.promoted))),
        ("goes", id(change.leaves)),
        ("voters", format!("{} -> {}", ids(&change.voters_before), ids(&change.voters_after))),
        ("cancel", cancel.to_owned()),
    ])
}

/// An operation with its steps and evidence.
pub(crate) fn operation_sheet(operation: &Operation, now_ms: u64, width: Width) -> String {
    let finished = operation.finished_at_ms.and_then(instant).unwrap_or_else(|| NOTHING.to_owned());
    let mut sheet = lines([
        ("operation", operation.id.clone()),
        ("kind", operation.kind.clone()),
        ("status", shown::<OperationStatus>(operation.status)),
        ("reason", text_or_nothing(&operation.reason)),
        ("cause", text_or_nothing(&operation.cause)),
    ]);
    sheet.push_str(&particulars(operation));
    sheet.push_str(&lines([
        ("begun", instant_and_age(operation.created_at_ms, now_ms)),
        ("finished", finished),
        ("took", duration(operation, now_ms)),
        ("outcome", text_or_nothing(&operation.outcome)),
    ]));
    let step = |step: &quorate_rpc::pb::types::Step| {
        let took = match (step.started_at_ms, step.finished_at_ms) {
            (Some(from), to) => span(to.unwrap_or(now_ms).saturating_sub(from)),
            (None, _) => NOTHING.to_owned(),
        };
        let begun = step.started_at_ms.and_then(instant).unwrap_or_else(|| NOTHING.to_owned());
        [step.name.clone(), shown::<StepStatus>(step.status), begun, took, text_or_nothing(&step.note)]
    };
    sheet.push('\n');
    let header = ["STEP", "STATUS", "BEGUN", "TOOK", "NOTE"];
    sheet.push_str(&columns(width, header, operation.steps.iter().map(step).collect()));
    if !operation.evidence.is_empty() {
        let row = |evidence: &quorate_rpc::pb::types::Evidence| {
            [
                evidence.what.clone(),
                text_or_nothing(&evidence.observed),
                text_or_nothing(&evidence.threshold),
                text_or_nothing(&evidence.source),
            ]
        };
        sheet.push('\n');
        let header = ["EVIDENCE", "OBSERVED", "THRESHOLD", "SOURCE"];
        sheet.push_str(&columns(width, header, operation.evidence.iter().map(row).collect()));
    }
    sheet
}
