//! One value of everything that operators and replaced disks brought, spelled out: never change these, add new ones.

use crate::{
    samples::{stored_disks, stored_groups, stored_hosts},
    stage::{disk_id, finding, g, h, member},
};
use quorate_domain::{
    Cause, Command, Committed, Cordon, Disk, DiskIdentity, Event, FaultClass, Group, Host, Latch, Proposal,
    RequestId, Revision, Timestamp, Verdict, VerdictReason, command::MemberSpec,
};

fn why() -> String {
    "why".to_owned()
}

fn medium(name: &str) -> DiskIdentity {
    DiskIdentity(name.to_owned())
}

pub(crate) fn stored_host() -> Host {
    let cordoned = Some(Cordon { since: Timestamp(8_000), reason: why() });
    Host { cordoned, unbound: true, ..stored_hosts().remove(0) }
}

pub(crate) fn stored_disk() -> Disk {
    let latched = Some(Latch {
        since: Timestamp(8_000),
        codes: vec!["slow".into()],
        well_since: Some(Timestamp(8_500)),
    });
    let reasons = vec![VerdictReason { class: FaultClass::Environment, ..finding("slow", 7) }];
    Disk { verdict: Verdict::Failed, reasons, latched, awaits_report: true, ..stored_disks().remove(0) }
}

pub(crate) fn stored_group() -> Group {
    Group { before_primary: 1, unaccepted: [(h("h2"), medium("medium"))].into(), ..stored_groups().remove(2) }
}

pub(crate) fn proposals() -> Vec<Proposal> {
    let (host, group, disk, reason) = (h("h1"), g("g1"), disk_id("h1", "d1"), why());
    let member = MemberSpec { host: h("h2"), disk: None };
    let commands = vec![
        Command::ForgetHost { host: host.clone(), reason: reason.clone() },
        Command::ResetHost { host: host.clone(), reason: reason.clone() },
        Command::CordonHost { host: host.clone(), reason: reason.clone() },
        Command::UncordonHost { host: host.clone() },
        Command::ForgetDisk { disk: disk.clone(), reason: reason.clone() },
        Command::ClearDisk { disk, reason: reason.clone() },
        Command::AcceptMember { group: group.clone(), host: host.clone(), reason: reason.clone() },
        Command::AddMember { group: group.clone(), member, accepted: true, reason: reason.clone() },
        Command::RemoveMember { group: group.clone(), host: host.clone(), reason },
        Command::ReorderMembers { group, order: vec![h("h2"), host] },
    ];
    let request_id = RequestId::new("r1").expect("a valid request id");
    let cause = Cause::Operator { request_id };
    commands.into_iter().map(|command| Proposal::new(Timestamp(8_000), cause.clone(), command)).collect()
}

pub(crate) fn committed() -> Committed {
    let (host, group, disk) = (h("h1"), g("g1"), disk_id("h1", "d1"));
    let events = vec![
        Event::HostForgotten { host: host.clone(), reason: why() },
        Event::HostReset { host: host.clone(), reason: why() },
        Event::HostCordoned { host: host.clone(), reason: why() },
        Event::HostUncordoned { host: host.clone() },
        Event::DiskReplaced { disk: disk.clone(), from: medium("old"), to: medium("new") },
        Event::DiskConfirmed { disk: disk.clone() },
        Event::DiskLatched { disk: disk.clone(), codes: vec!["slow".into()] },
        Event::LatchedDiskChecked { disk: disk.clone(), well: true },
        Event::DiskForgotten { disk: disk.clone(), reason: why() },
        Event::DiskCleared { disk, reason: why() },
        Event::MemberAccepted {
            group: group.clone(),
            host: host.clone(),
            identity: medium("new"),
            reason: why(),
        },
        Event::MemberAdded { group: group.clone(), member: member("h2"), accepted: false, reason: why() },
        Event::MemberRemoved { group: group.clone(), host: host.clone(), reason: why() },
        Event::MembersReordered { group, order: vec![h("h2"), host] },
    ];
    Committed {
        revision: Revision(70_001),
        at: Timestamp(9_000),
        cause: Cause::Cluster,
        command: "RecordDisk".into(),
        events,
    }
}
