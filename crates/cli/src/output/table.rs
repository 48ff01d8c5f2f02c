//! Answers as text for people: columns without borders, and sheets of `name value` lines.

mod sheet;

use super::{
    time::{age, instant, instant_and_age, span},
    word::{Word, word},
};
use comfy_table::{ColumnConstraint, ContentArrangement, Table, presets};
use quorate_domain::text::one_line;
use quorate_rpc::pb::{
    control::{Member as Coordinator, MemberState},
    types::{
        Disk, Group, GroupPhase, Host, HostStatus, Member, Operation, OperationStatus, Revision, ServiceMode,
        StepStatus, Switch, Verdict,
    },
};
pub(crate) use sheet::{
    disk_sheet, group_sheet, host_sheet, member_list, operation_sheet, roles_sheet, status_sheet, unserved,
};
use std::io::{self, IsTerminal};

/// What stands in a cell without a value.
const NOTHING: &str = "-";
/// What the last column keeps of a narrow terminal, in characters.
const LAST_COLUMN_MIN: u16 = 16;

/// How wide a table may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// As wide as its content, for pipes and tests.
    Content,
    /// As wide as the terminal; the last column wraps.
    Terminal,
}

impl Width {
    /// What suits stdout.
    pub(crate) fn of_stdout() -> Self {
        if io::stdout().is_terminal() { Self::Terminal } else { Self::Content }
    }
}

fn text_or_nothing(text: &str) -> String {
    if text.is_empty() { NOTHING.to_owned() } else { text.to_owned() }
}

fn shown<E: Word>(number: i32) -> String {
    word::<E>(number).unwrap_or_else(|| NOTHING.to_owned())
}

/// Rows under a header, or a word when there are none. A row is a line, whatever its cells hold.
fn columns<const N: usize>(width: Width, header: [&str; N], rows: Vec<[String; N]>) -> String {
    if rows.is_empty() {
        return "none\n".to_owned();
    }
    let rows = rows.into_iter().map(|row| row.map(|cell| one_line(&cell).into_owned()));
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    match width {
        Width::Content => {
            table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
        }
        Width::Terminal => {
            table.set_content_arrangement(ContentArrangement::Dynamic);
        }
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if width == Width::Terminal {
            // Only the last column wraps, and not into a sliver; a word cut in two is worse than a long line.
            let narrow = ColumnConstraint::LowerBoundary(comfy_table::Width::Fixed(LAST_COLUMN_MIN));
            column.set_constraint(if index + 1 < N { ColumnConstraint::ContentWidth } else { narrow });
        }
    }
    format!("{}\n", table.trim_fmt())
}

/// A size in binary units, such as `1.5 GiB`.
fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let exponent = bytes.ilog2() / 10;
    let unit = UNITS.get(exponent as usize - 1).unwrap_or(&"EiB");
    // In tenths, so that no number is too large for its type.
    let tenths = (u128::from(bytes) * 10) >> (10 * exponent);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

fn space(disk: &Disk) -> String {
    let free = disk.free_bytes.map_or_else(|| NOTHING.to_owned(), size);
    format!("{free} of {}", size(disk.capacity_bytes))
}

fn member(member: &Member) -> String {
    if member.disk.is_empty() { member.host.clone() } else { format!("{}/{}", member.host, member.disk) }
}

fn members(all: &[Member]) -> String {
    text_or_nothing(&all.iter().map(member).collect::<Vec<_>>().join(" "))
}

/// Hosts, one per line.
pub(crate) fn hosts(all: &[Host], now_ms: u64, width: Width) -> String {
    let row = |host: &Host| {
        let contact =
            host.last_contact_ms.map_or_else(|| NOTHING.to_owned(), |ms| format!("{} ago", span(ms)));
        [
            host.id.clone(),
            host.zone.clone(),
            format!(
                "{}{}",
                shown::<HostStatus>(host.status),
                if host.cordoned.is_some() { ", cordoned" } else { "" }
            ),
            shown::<ServiceMode>(host.service_mode),
            contact,
            age(host.last_transition_at_ms, now_ms),
            host.primary_of.len().to_string(),
            host.backup_of.len().to_string(),
            host.address.clone(),
        ]
    };
    let header = ["HOST", "ZONE", "STATUS", "MODE", "LAST CONTACT", "SINCE", "PRIMARY", "BACKUP", "ADDRESS"];
    columns(width, header, all.iter().map(row).collect())
}

/// Disks, one per line.
pub(crate) fn disks(all: &[Disk], now_ms: u64, width: Width) -> String {
    let row = |disk: &Disk| {
        let checked =
            disk.checked_at_ms.map_or_else(|| NOTHING.to_owned(), |at| format!("{} ago", age(at, now_ms)));
        [
            format!("{}/{}", disk.host, disk.name),
            format!(
                "{}{}",
                shown::<Verdict>(disk.verdict),
                if disk.latched.is_some() { ", latched" } else { "" }
            ),
            space(disk),
            disk.error_count.to_string(),
            checked,
            disk.reasons.first().map_or_else(|| NOTHING.to_owned(), |reason| reason.code.clone()),
            disk.path.clone(),
        ]
    };
    let header = ["DISK", "VERDICT", "FREE", "ERRORS", "CHECKED", "REASON", "PATH"];
    columns(width, header, all.iter().map(row).collect())
}

/// Groups, one per line.
pub(crate) fn groups(all: &[Group], width: Width) -> String {
    let row = |group: &Group| {
        let blocked = if group.blocked_reasons.is_empty() { "no" } else { "yes" };
        [
            group.id.clone(),
            shown::<GroupPhase>(group.phase),
            group.primary.as_ref().map_or_else(|| NOTHING.to_owned(), member),
            group.epoch.to_string(),
            text_or_nothing(&group.operation),
            blocked.to_owned(),
            members(&group.backups),
        ]
    };
    let header = ["GROUP", "PHASE", "PRIMARY", "EPOCH", "OPERATION", "BLOCKED", "BACKUPS"];
    columns(width, header, all.iter().map(row).collect())
}

/// Switches of primary, one per line.
pub(crate) fn switches(all: &[Switch], now_ms: u64, width: Width) -> String {
    let row = |switch: &Switch| {
        [
            switch.revision.to_string(),
            instant_and_age(switch.at_ms, now_ms),
            switch.epoch.to_string(),
            text_or_nothing(&switch.from),
            text_or_nothing(&switch.to),
            text_or_nothing(&switch.operation),
            text_or_nothing(&switch.reason),
        ]
    };
    let header = ["REVISION", "AT", "EPOCH", "FROM", "TO", "OPERATION", "REASON"];
    columns(width, header, all.iter().map(row).collect())
}

/// The step that an operation is at, with how long it is there.
fn current_step(operation: &Operation, now_ms: u64) -> String {
    let running = StepStatus::Running as i32;
    let pending = StepStatus::Pending as i32;
    let steps = &operation.steps;
    let at = steps.iter().find(|step| step.status == running);
    match at.or_else(|| steps.iter().find(|step| step.status == pending)) {
        None => NOTHING.to_owned(),
        Some(step) => match step.started_at_ms {
            Some(since) => format!("{} ({})", step.name, age(since, now_ms)),
            None => step.name.clone(),
        },
    }
}

/// How long an operation took, or has taken so far.
fn duration(operation: &Operation, now_ms: u64) -> String {
    age(operation.created_at_ms, operation.finished_at_ms.unwrap_or(now_ms))
}

/// Operations, one per line.
pub(crate) fn operations(all: &[Operation], now_ms: u64, width: Width) -> String {
    let row = |operation: &Operation| {
        let step = if operation.finished_at_ms.is_some() {
            NOTHING.to_owned()
        } else {
            current_step(operation, now_ms)
        };
        [
            operation.id.clone(),
            operation.kind.clone(),
            text_or_nothing(&operation.group),
            shown::<OperationStatus>(operation.status),
            text_or_nothing(&operation.from),
            text_or_nothing(&operation.to),
            step,
            instant(operation.created_at_ms).unwrap_or_else(|| NOTHING.to_owned()),
            duration(operation, now_ms),
            text_or_nothing(&operation.reason),
        ]
    };
    let header = ["OPERATION", "KIND", "GROUP", "STATUS", "FROM", "TO", "STEP", "BEGUN", "TOOK", "REASON"];
    columns(width, header, all.iter().map(row).collect())
}

/// How a coordinator stands, with for how long.
fn state(member: &Coordinator) -> String {
    let lasts = member.state_for_ms.map_or_else(String::new, |ms| format!(" for {}", span(ms)));
    match MemberState::try_from(member.state) {
        Ok(MemberState::Behind) => {
            format!("behind by {} entries", member.lag_entries.unwrap_or(0))
        }
        Ok(MemberState::NotReached) => format!("not reached{lasts}"),
        Ok(MemberState::NotCounted) => format!("not counted{lasts}"),
        _ => format!("{}{lasts}", shown::<MemberState>(member.state)),
    }
}

/// The coordinators, one per line.
fn coordinators(all: &[Coordinator], width: Width) -> String {
    let row = |member: &Coordinator| {
        let role = match (member.leader, member.voter) {
            (true, _) => "leader",
            (false, true) => "follower",
            (false, false) => "learner",
        };
        let lag =
            member.lag_entries.map_or_else(|| NOTHING.to_owned(), |entries| format!("{entries} entries"));
        [
            member.id.to_string(),
            role.to_owned(),
            lag,
            state(member),
            member.api_address.clone(),
            member.peer_address.clone(),
        ]
    };
    columns(width, ["COORDINATOR", "ROLE", "LAG", "STATE", "API", "PEER"], all.iter().map(row).collect())
}

/// Every event of a revision, one per line. The widths are fixed, since what follows is not known yet.
pub(crate) fn event_lines(revision: &Revision) -> String {
    let at = instant(revision.at_ms).unwrap_or_else(|| NOTHING.to_owned());
    let line = |(kind, message): (&str, &str)| {
        let [kind, message, cause] = [kind, message, &revision.cause].map(one_line);
        format!("{:>8}  {at}  {kind:<22}  {message}  [{cause}]\n", revision.revision)
    };
    if revision.events.is_empty() {
        return line((&revision.command, "nothing changed that is told"));
    }
    revision.events.iter().map(|event| line((&event.r#type, &event.message))).collect()
}
