//! Disks that are not healthy.

use super::{
    Code, Severity, Sight, Subject,
    list::{Drafts, Words},
};
use quorate_domain::{Disk, Verdict};

pub(super) fn add<'a>(found: &mut Drafts<'a>, sight: Sight<'a>) {
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
            Verdict::Degraded => (Code::DiskDegraded, "replace it soon"),
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
