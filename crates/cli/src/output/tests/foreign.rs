//! What others wrote and should not have: every line of a screen is still one that this program made.

use super::{
    each_line,
    fixed::{NOW_MS, disk, group, host, operation, revision, roles, status, switch},
};
use crate::output::table::{self, Width};
use quorate_rpc::pb::types::{Disk, Host};

const WIDTH: Width = Width::Content;
const BAD: &str = "/p\n\x1b[2J\x1b[HHEALTHY: every group is served\nh1/d1  failed\u{9b}31m\r\t\u{202e}";

fn spoil<'a>(texts: impl IntoIterator<Item = &'a mut String>) {
    texts.into_iter().for_each(|text| text.push_str(BAD));
}

fn bad_disk() -> Disk {
    let mut disk = disk();
    let Disk { host, name, path, identity, reasons, latched, .. } = &mut disk;
    spoil([host, name, path, identity]);
    for why in reasons {
        spoil([&mut why.code, &mut why.attribute, &mut why.observed, &mut why.threshold, &mut why.source]);
    }
    spoil(latched.iter_mut().flat_map(|latch| &mut latch.codes));
    disk
}

fn bad_host() -> Host {
    let mut host = host();
    let Host { id, zone, address, last_transition_reason, primary_of, backup_of, cordoned, .. } = &mut host;
    spoil([id, zone, address, last_transition_reason]);
    spoil(primary_of.iter_mut().chain(backup_of));
    spoil(cordoned.iter_mut().map(|cordon| &mut cordon.reason));
    host
}

/// Every screen twice: from fixed values, and from the same ones with bad texts everywhere.
fn screens() -> Vec<(&'static str, String, String)> {
    let mut bad_group = group();
    spoil([&mut bad_group.id, &mut bad_group.operation]);
    for member in bad_group.primary.iter_mut().chain(&mut bad_group.backups) {
        spoil([&mut member.host, &mut member.disk]);
    }
    for member in &mut bad_group.members {
        spoil([&mut member.host, &mut member.disk, &mut member.missed_identity]);
    }
    spoil(bad_group.blocked_reasons.iter_mut().chain(bad_group.labels.values_mut()));
    spoil(bad_group.unstopped.iter_mut().map(|old| &mut old.host));
    let mut bad_switch = switch();
    spoil([&mut bad_switch.from, &mut bad_switch.to, &mut bad_switch.operation, &mut bad_switch.reason]);
    let mut bad_operation = operation();
    let op = &mut bad_operation;
    spoil([
        &mut op.id,
        &mut op.kind,
        &mut op.group,
        &mut op.reason,
        &mut op.from,
        &mut op.target,
        &mut op.to,
    ]);
    spoil([&mut op.cause, &mut op.outcome]);
    for step in &mut op.steps {
        spoil([&mut step.name, &mut step.note]);
    }
    for told in &mut op.evidence {
        spoil([&mut told.what, &mut told.observed, &mut told.threshold, &mut told.source]);
    }
    let mut bad_revision = revision();
    spoil([&mut bad_revision.cause, &mut bad_revision.command]);
    for event in &mut bad_revision.events {
        spoil([&mut event.r#type, &mut event.message]);
    }
    let mut bad_roles = roles();
    spoil([&mut bad_roles.host, &mut bad_roles.service_mode_reason]);
    for role in &mut bad_roles.roles {
        spoil([&mut role.group, &mut role.reason]);
    }
    let mut bad_status = status();
    let said = &mut bad_status;
    spoil([&mut said.cluster_id, &mut said.version, &mut said.leader_api_address, &mut said.state_digest]);
    for member in &mut said.members {
        spoil([&mut member.api_address, &mut member.peer_address]);
        if !member.state_reason.is_empty() {
            spoil([&mut member.state_reason]);
        }
    }
    for warning in &mut said.warnings {
        spoil([&mut warning.code, &mut warning.subject_kind, &mut warning.subject_id, &mut warning.text]);
        if !warning.remedy.is_empty() {
            spoil([&mut warning.remedy]);
        }
    }
    said.running = vec![bad_operation.clone()];
    let members = |status: &quorate_rpc::pb::control::GetStatusResponse, change, said: &str| {
        table::member_list(&status.members, Some(&change), &[said.to_owned()], NOW_MS, WIDTH)
    };
    let sheet = |status| table::status_sheet(status, "HEALTHY", NOW_MS, WIDTH);
    vec![
        ("hosts", table::hosts(&[host()], NOW_MS, WIDTH), table::hosts(&[bad_host()], NOW_MS, WIDTH)),
        (
            "host",
            table::host_sheet(&host(), &[disk()], NOW_MS, WIDTH),
            table::host_sheet(&bad_host(), &[bad_disk()], NOW_MS, WIDTH),
        ),
        ("disks", table::disks(&[disk()], NOW_MS, WIDTH), table::disks(&[bad_disk()], NOW_MS, WIDTH)),
        ("disk", table::disk_sheet(&disk(), NOW_MS, WIDTH), table::disk_sheet(&bad_disk(), NOW_MS, WIDTH)),
        ("groups", table::groups(&[group()], WIDTH), table::groups(&[bad_group.clone()], WIDTH)),
        ("group", table::group_sheet(&group(), &[], NOW_MS), table::group_sheet(&bad_group, &[], NOW_MS)),
        (
            "switches",
            table::switches(&[switch()], NOW_MS, WIDTH),
            table::switches(&[bad_switch], NOW_MS, WIDTH),
        ),
        (
            "operations",
            table::operations(&[operation()], NOW_MS, WIDTH),
            table::operations(&[bad_operation.clone()], NOW_MS, WIDTH),
        ),
        (
            "operation",
            table::operation_sheet(&operation(), NOW_MS, WIDTH),
            table::operation_sheet(&bad_operation, NOW_MS, WIDTH),
        ),
        ("events", table::event_lines(&revision()), table::event_lines(&bad_revision)),
        ("roles", table::roles_sheet(&roles(), WIDTH), table::roles_sheet(&bad_roles, WIDTH)),
        ("status", sheet(&status()), sheet(&bad_status)),
        ("members", members(&status(), operation(), "w"), members(&bad_status, bad_operation, BAD)),
    ]
}

#[test]
fn no_text_makes_a_line_or_moves_the_cursor_on_any_screen() {
    for (name, good, bad) in screens() {
        assert_eq!(bad.lines().count(), good.lines().count(), "{name}:\n{bad}");
        for line in bad.lines() {
            assert!(!line.contains(char::is_control) && !line.contains('\u{202e}'), "{name}: {line:?}");
        }
        assert!(bad.contains(r"/p\n\u{1b}[2J\u{1b}[HHEALTHY"), "{name}:\n{bad}");
        assert_eq!(each_line(&bad), bad, "{name}: nothing is left for the last look");
    }
}

#[test]
fn a_row_with_ends_of_lines_and_escapes_in_a_cell_stays_one_row() {
    let shown = table::disks(&[disk(), bad_disk(), disk()], NOW_MS, WIDTH);
    assert_eq!(shown.lines().count(), 4, "{shown}");
    assert!(shown.lines().nth(2).unwrap().ends_with(r"failed\u{9b}31m\r\t\u{202e}"), "{shown}");
    let clean = table::disks(&[disk()], NOW_MS, WIDTH);
    assert!(clean.lines().nth(1).unwrap().ends_with("/srv/d1"), "{clean}");
}

#[test]
fn the_last_look_keeps_ends_of_lines_and_nothing_else() {
    assert_eq!(each_line("a\nb\x1b[2J\n\tc\r\n"), "a\nb\\u{1b}[2J\n\\tc\\r\n");
}
