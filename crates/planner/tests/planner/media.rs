//! Media that are not what they were, or not what they say.

use crate::{
    warnings::{short, well},
    world::{World, d1, disk_report, host},
};
use quorate_domain::{Command, DiskId, DiskIdentity, Verdict};
use quorate_planner::{DiskObservation, warnings::Code};

impl World {
    /// The host's disk says that it is this medium.
    fn medium(&mut self, id: &str, identity: &str) {
        let incarnation = self.observed(id).incarnation;
        let report =
            DiskObservation { identity: DiskIdentity(identity.into()), ..disk_report(id, Verdict::Healthy) };
        self.observed(id).disks.insert(d1(), report.clone());
        self.apply(Command::RecordDisk {
            disk: DiskId { host: host(id), name: d1() },
            incarnation,
            identity: report.identity,
            path: report.path,
            capacity_bytes: report.capacity_bytes,
            verdict: report.verdict,
            reasons: report.reasons,
        });
    }

    fn of_code(&self, code: Code) -> Vec<String> {
        let found = self.warned_by(&well()).listed;
        found.iter().filter(|warning| warning.code == code).map(short).collect()
    }
}

#[test]
fn a_backup_whose_disk_was_replaced_waits_for_an_operator_and_says_so_while_another_one_is_fit() {
    let mut world = World::new();
    world.medium("h2", "blank");
    assert_eq!(world.of_code(Code::MemberNotAccepted), ["note MEMBER_NOT_ACCEPTED group g1"]);
    let told = world.one(Code::MemberNotAccepted);
    assert!(told.text.starts_with("h2/d1 is not promoted"), "{told:?}");
    assert!(told.remedy.contains("quorate group member accept g1 h2"), "{told:?}");
    let mut in_trouble = world.clone();
    in_trouble.pass(3_000, &["h2", "h3"]);
    assert_eq!(in_trouble.of_code(Code::MemberNotAccepted), ["warning MEMBER_NOT_ACCEPTED group g1"]);
    // Where no other one is fit either, that is what is told.
    world.fail_disk("h3");
    assert_eq!(world.of_code(Code::MemberNotAccepted), [] as [&str; 0]);
    assert!(world.one(Code::NoEligibleBackup).text.contains("quorate group member accept g1 h2"));
    world.medium("h2", "medium-h2");
    assert_eq!(world.of_code(Code::NoEligibleBackup), [] as [&str; 0], "the old one is back");
}

#[test]
fn disks_of_several_hosts_under_one_identity_are_told_of_once() {
    let mut world = World::new();
    assert_eq!(world.of_code(Code::DiskIdentityShared), [] as [&str; 0]);
    world.medium("h3", "medium-h2");
    let shared = world.one(Code::DiskIdentityShared);
    assert_eq!(short(&shared), "note DISK_IDENTITY_SHARED disk h2/d1");
    assert!(shared.text.starts_with("h2/d1, h3/d1 say that they are one medium, medium-h2"), "{shared:?}");
    world.pass(3_000, &["h2", "h3"]);
    let told = world.of_code(Code::DiskIdentityShared);
    assert_eq!(told, ["warning DISK_IDENTITY_SHARED disk h2/d1"], "its group may have to fail over");
    world.medium("h3", "medium-h3");
    assert_eq!(world.of_code(Code::DiskIdentityShared), [] as [&str; 0]);
}

#[test]
fn disks_without_an_identity_share_none() {
    let mut world = World::new();
    for id in ["h2", "h3"] {
        let incarnation = world.observed(id).incarnation;
        world.apply(Command::RecordDisk {
            disk: DiskId { host: host(id), name: quorate_domain::DiskName::new("d2").unwrap() },
            incarnation,
            identity: DiskIdentity(String::new()),
            path: "/none".into(),
            capacity_bytes: 0,
            verdict: Verdict::Unknown,
            reasons: vec![],
        });
    }
    assert_eq!(world.of_code(Code::DiskIdentityShared), [] as [&str; 0]);
}
