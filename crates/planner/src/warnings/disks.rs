//! Disks that are not healthy, and disks that are not what they say.

use super::{
    Code, Severity, Sight, Subject, groups,
    list::{Drafts, Words},
};
use quorate_domain::{Disk, FaultClass, Verdict, VerdictReason};
use std::collections::{BTreeMap, BTreeSet};

/// The most disks of one identity that are named.
const NAMED_MAX: usize = 8;

pub(super) fn add<'a>(found: &mut Drafts<'a>, sight: Sight<'a>) {
    shared(found, sight);
    for disk in sight.state.disks.values() {
        let disk: &Disk = disk;
        let (code, remedy) = match disk.verdict {
            Verdict::Healthy => continue,
            Verdict::Failed if disk.latched.is_some() => (
                Code::DiskFailed,
                "replace it, or `quorate disk clear` it once it is known to be well; its groups go on elsewhere where a \
                 backup is fit",
            ),
            Verdict::Failed => (
                Code::DiskFailed,
                "put right what its checks name, such as a mount, an owner or a path: it is used again by itself then; its \
                 groups go on elsewhere where a backup is fit",
            ),
            Verdict::Degraded => (Code::DiskDegraded, of_degraded(disk)),
            Verdict::Unknown => (
                Code::DiskUnknown,
                "look at the disk and at the log of its host's agent; nothing starts by this alone",
            ),
        };
        let used = move || {
            let members =
                sight.state.groups_of(&disk.id.host).filter_map(|group| group.member(&disk.id.host));
            members.filter(|member| member.disk == disk.id.name).count()
        };
        // Nobody's copy is on it.
        let severity = if used() == 0 { Severity::Note } else { Severity::Warning };
        let since = Some(sight.since(disk.changed_at));
        found.add((severity, code), Subject::Disk(disk.id.clone()), since, move || {
            let why: Vec<_> = disk.reasons.iter().map(ToString::to_string).collect();
            let why = if why.is_empty() { String::new() } else { format!(": {}", why.join("; ")) };
            let copies = match used() {
                0 => "no group has a copy on it".to_owned(),
                count => format!("{count} groups have a copy on it"),
            };
            Words::new(format!("it is {}{why}; {copies}", disk.verdict), remedy)
        });
    }
}

/// What is to be done about a disk that goes on working.
fn of_degraded(disk: &Disk) -> &'static str {
    let is_full = |reason: &VerdictReason| reason.code == "disk_full";
    let full = disk.reasons.iter().any(is_full);
    let against = |class| disk.reasons.iter().any(|reason| !is_full(reason) && reason.class == class);
    match (full, against(FaultClass::Medium), against(FaultClass::Environment)) {
        (true, false, false) => "make room on it; it is healthy again with the next check that can write",
        (true, true, _) => {
            "make room on it, and replace it soon: not all that its checks name is for want of room"
        }
        (true, false, true) => "make room on it, and put right what else its checks name",
        (false, false, true) => {
            "put right what its checks name, such as a mount, an owner or a path: it is healthy again by itself then"
        }
        (false, _, _) => "replace it soon",
    }
}

/// Disks of several hosts under one identity: one was copied from another, or was moved. Whoever puts a copy in the place of
/// a group's disk is believed to have put the disk itself back.
fn shared<'a>(found: &mut Drafts<'a>, sight: Sight<'a>) {
    let known = || sight.state.disks.values().filter(|disk| !disk.identity.0.is_empty());
    // All of them are looked at each time, so numbers are compared first, and names only where two are alike.
    let mut numbers: Vec<u64> = known().map(|disk| number_of(&disk.identity.0)).collect();
    numbers.sort_unstable();
    let alike: BTreeSet<u64> = numbers.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
    if alike.is_empty() {
        return;
    }
    let mut by_identity: BTreeMap<&str, Vec<&Disk>> = BTreeMap::new();
    for disk in known().filter(|disk| alike.contains(&number_of(&disk.identity.0))) {
        by_identity.entry(&disk.identity.0).or_default().push(disk);
    }
    for (identity, disks) in by_identity {
        let first = disks[0];
        if disks.iter().all(|disk| disk.id.host == first.id.host) {
            continue;
        }
        let mut members = disks.iter().flat_map(|disk| {
            let groups = sight.state.groups_of(&disk.id.host);
            groups
                .filter(|group| group.member(&disk.id.host).is_some_and(|member| member.disk == disk.id.name))
        });
        let severity = if members.all(|group| groups::is_served(sight, group)) {
            Severity::Note
        } else {
            Severity::Warning
        };
        found.add((severity, Code::DiskIdentityShared), Subject::Disk(first.id.clone()), None, move || {
            let named: Vec<_> = disks.iter().take(NAMED_MAX).map(|disk| disk.id.to_string()).collect();
            let rest = disks.len().saturating_sub(NAMED_MAX);
            let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
            Words::new(
                format!("{}{more} say that they are one medium, {identity}: one is a copy of another, or was moved", named.join(", ")),
                "where one was moved, `quorate disk forget` its old place; where one is a copy, take it away: in the place of a group's \
                 disk it is taken for the disk itself, and `quorate disk prepare` makes a new disk of an empty directory",
            )
        });
    }
}

/// FNV-1a: equal texts have equal numbers, and two different ones hardly ever.
fn number_of(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
