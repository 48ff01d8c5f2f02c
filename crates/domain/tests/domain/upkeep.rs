//! What operators do to hosts, disks and members: exact events, or the refusal's code.

use crate::stage::{
    D, Stage, TERM, begin, create_group, d, disk_id, g, h, mark, member, register, report, request, spec,
    waited,
};
use quorate_domain::{
    Command, Event, HostStatus, Incarnation, Member, Role, Verdict,
    assignment::assignment,
    command::{Fencing, MemberSpec},
    eligibility::candidates,
    group::MEMBERS_MAX,
    operation::FailoverReason,
};
use std::sync::Arc;

fn forget(host: &str) -> Command {
    Command::ForgetHost { host: h(host), reason: "sold".into() }
}

fn reset(host: &str) -> Command {
    Command::ResetHost { host: h(host), reason: "its folder was lost".into() }
}

fn cordon(host: &str) -> Command {
    Command::CordonHost { host: h(host), reason: "new kernel".into() }
}

fn forget_disk(host: &str, disk: &str) -> Command {
    Command::ForgetDisk { disk: disk_id(host, disk), reason: "pulled".into() }
}

fn add(host: &str, accepted: bool) -> Command {
    let reason = if accepted { "copied by hand".into() } else { String::new() };
    Command::AddMember { group: g("g1"), member: spec(host), accepted, reason }
}

fn remove(host: &str) -> Command {
    Command::RemoveMember { group: g("g1"), host: h(host), reason: "moved".into() }
}

fn reorder(hosts: &[&str]) -> Command {
    Command::ReorderMembers { group: g("g1"), order: hosts.iter().map(|host| h(host)).collect() }
}

impl Stage {
    /// A fourth host, h4, with disk d1, beside an acting group on the first three.
    fn with_a_fourth() -> Self {
        let mut stage = Self::active();
        stage.ok(register("h4", "i-h4", 1));
        stage.ok(report("h4", "d1", "medium-h4", Verdict::Healthy));
        stage
    }

    fn order(&self) -> Vec<&str> {
        self.group().in_order().map(|member| member.host.as_str()).collect()
    }

    /// Moves the group there, and it acts.
    fn fail_over(&mut self, to: &str) {
        let from = self.group().primary.host.to_string();
        self.ok(request(Some(to)));
        self.ok(self.release(&from));
        self.ok(self.clone().choose(to, Fencing::Released));
        self.ok(self.clone().promote(to, Fencing::Released));
        self.ok(self.acknowledge(to));
    }
}

#[test]
fn every_verb_that_changes_safety_wants_a_reason() {
    let mut stage = Stage::with_a_fourth();
    for command in [
        Command::ForgetHost { host: h("h4"), reason: String::new() },
        Command::ResetHost { host: h("h4"), reason: " ".into() },
        Command::CordonHost { host: h("h4"), reason: "x".repeat(257) },
        Command::ForgetDisk { disk: disk_id("h4", "d1"), reason: String::new() },
        Command::RemoveMember { group: g("g1"), host: h("h2"), reason: String::new() },
        Command::AddMember { group: g("g1"), member: spec("h4"), accepted: true, reason: String::new() },
    ] {
        assert_eq!(stage.refused(command), "INVALID_REASON");
    }
}

#[test]
fn a_host_is_forgotten_with_its_disks_when_it_is_offline_and_a_member_of_nothing() {
    let mut stage = Stage::with_a_fourth();
    assert_eq!(stage.refused(forget("h9")), "HOST_NOT_FOUND");
    for status in [HostStatus::Online, HostStatus::Suspect] {
        stage.ok(mark("h4", 1, status));
        assert_eq!(stage.refused(forget("h4")), "HOST_NOT_OFFLINE", "{status}");
    }
    stage.ok(mark("h3", 1, HostStatus::Offline));
    assert_eq!(stage.refused(forget("h3")), "HOST_IS_MEMBER");
    stage.ok(mark("h4", 1, HostStatus::Offline));
    assert_eq!(stage.ok(forget("h4")), [Event::HostForgotten { host: h("h4"), reason: "sold".into() }]);
    assert!(!stage.state.hosts.contains_key(&h("h4")));
    assert!(stage.state.disks_of(&h("h4")).next().is_none());
    let anew = stage.ok(register("h4", "another", 1));
    assert!(matches!(anew[..], [Event::HostRegistered { .. }]), "its name is free: {anew:?}");
}

#[test]
fn a_host_whose_last_group_is_being_deleted_is_not_forgotten_before_it_is_gone() {
    let mut stage = Stage::active();
    stage.ok(mark("h1", 1, HostStatus::Offline));
    stage.ok(Command::DeleteGroup { group: g("g1") });
    assert_eq!(stage.refused(forget("h1")), "HOST_IS_MEMBER", "it may act yet");
    stage.ok(stage.clone().finish_deletion(waited(D, TERM.0)));
    stage.ok(forget("h1"));
}

#[test]
fn a_reset_frees_the_name_of_a_host_that_is_not_online() {
    let mut stage = Stage::active();
    assert_eq!(stage.refused(reset("h2")), "HOST_NOT_OFFLINE");
    stage.ok(mark("h2", 1, HostStatus::Suspect));
    assert_eq!(stage.refused(register("h2", "another", 2)), "HOST_ID_IN_USE");
    assert_eq!(stage.ok(reset("h2")).len(), 1);
    assert_eq!(stage.ok(reset("h2")), [], "it is free already");
    assert_eq!(stage.refused(register("h2", "another", 1)), "STALE_INCARNATION", "a start counts once");
    stage.ok(register("h2", "another", 2));
    assert!(!stage.host("h2").unbound, "it is bound to the new folder");
    assert_eq!(stage.refused(register("h2", "i-h2", 3)), "HOST_ID_IN_USE");
}

/// A host whose start on record has the last number of all, as builds without a bound took it.
fn with_the_last_number(mut stage: Stage, host: &str) -> Stage {
    let mut record = stage.host(host).clone();
    record.incarnation = Incarnation(u64::MAX);
    stage.state.hosts.insert(h(host), Arc::new(record));
    stage
}

#[test]
fn a_reset_frees_a_host_of_a_number_that_no_start_can_exceed() {
    let mut stage = with_the_last_number(Stage::active(), "h2");
    stage.ok(mark("h2", u64::MAX, HostStatus::Offline));
    assert_eq!(stage.refused(register("h2", "i-h2", 2)), "STALE_INCARNATION");
    stage.ok(reset("h2"));
    assert_eq!(stage.refused(register("h2", "i-h2", u64::MAX - 1)), "STALE_INCARNATION");
    stage.ok(register("h2", "i-h2", 2));
    assert_eq!(stage.host("h2").incarnation, Incarnation(2));
    assert!(!stage.host("h2").unbound);
    assert_eq!(stage.refused(register("h2", "i-h2", 1)), "STALE_INCARNATION", "and it counts on from there");
}

#[test]
fn a_count_that_begins_anew_gives_nobody_what_was_granted_to_a_start_of_the_same_number() {
    let mut stage = with_the_last_number(Stage::active(), "h1");
    assert_eq!(stage.group().granted_to, Incarnation(1));
    stage.ok(mark("h1", u64::MAX, HostStatus::Offline));
    stage.ok(reset("h1"));
    assert_eq!(stage.refused(register("h1", "i-h1", 1)), "STALE_INCARNATION");
    stage.ok(register("h1", "i-h1", 2));
}

#[test]
fn a_cordoned_host_becomes_primary_of_nothing_more_and_keeps_what_it_has() {
    let mut stage = Stage::active();
    assert_eq!(stage.ok(cordon("h2")), [Event::HostCordoned { host: h("h2"), reason: "new kernel".into() }]);
    assert_eq!(stage.ok(cordon("h2")), []);
    let refused = stage.apply(request(Some("h2"))).outcome;
    assert!(format!("{refused:?}").contains("Cordoned"), "{refused:?}");
    assert_eq!(stage.refused(create_group("g2", "h2", &["h3"])), "NOT_ELIGIBLE");
    stage.ok(cordon("h3"));
    assert_eq!(stage.refused(request(None)), "NO_ELIGIBLE_BACKUP");
    // Where it is primary it stays so, through a restart too.
    stage.ok(cordon("h1"));
    stage.ok(stage.release("h1"));
    stage.ok(stage.clone().choose("h1", Fencing::Released));
    assert_eq!(stage.refused(Command::UncordonHost { host: h("h9") }), "HOST_NOT_FOUND");
    assert_eq!(stage.ok(Command::UncordonHost { host: h("h2") }).len(), 1);
    assert_eq!(stage.ok(Command::UncordonHost { host: h("h2") }), []);
    // A restart would have it go on there; a host that is to be free is not the first choice for what can be elsewhere.
    let (fit, _) = candidates(&stage.state, stage.group(), true);
    assert_eq!(fit.iter().map(|member| member.host.as_str()).collect::<Vec<_>>(), ["h2", "h1"]);
    stage.ok(Command::UncordonHost { host: h("h1") });
    let (fit, _) = candidates(&stage.state, stage.group(), true);
    assert_eq!(fit[0].host, h("h1"));
    stage.ok(stage.clone().choose("h2", Fencing::Released));
}

#[test]
fn a_disk_is_forgotten_when_no_group_has_a_member_on_it() {
    let mut stage = Stage::active();
    stage.ok(report("h2", "d2", "medium-2", Verdict::Healthy));
    assert_eq!(stage.refused(forget_disk("h2", "d1")), "DISK_IS_MEMBER");
    assert_eq!(stage.refused(forget_disk("h2", "d9")), "DISK_NOT_FOUND");
    assert_eq!(
        stage.ok(forget_disk("h2", "d2")),
        [Event::DiskForgotten { disk: disk_id("h2", "d2"), reason: "pulled".into() }]
    );
    assert!(!stage.state.disks.contains_key(&disk_id("h2", "d2")));
}

#[test]
fn a_member_is_added_behind_the_others_and_is_no_copy_until_somebody_says_so() {
    for accepted in [false, true] {
        let mut stage = Stage::with_a_fourth();
        let reason = if accepted { "copied by hand".to_owned() } else { String::new() };
        assert_eq!(
            stage.ok(add("h4", accepted)),
            [Event::MemberAdded { group: g("g1"), member: member("h4"), accepted, reason }]
        );
        assert_eq!(stage.order(), ["h1", "h2", "h3", "h4"]);
        assert_eq!(stage.host("h4").assignment_revision, stage.state.revision(), "it hears of it");
        let entries = assignment(&stage.state, &h("h4")).unwrap().entries;
        assert_eq!(entries.iter().map(|entry| entry.role).collect::<Vec<_>>(), [Role::Backup]);
        if !accepted {
            assert_eq!(stage.refused(request(Some("h4"))), "NOT_ELIGIBLE");
            stage.ok(Command::AcceptMember { group: g("g1"), host: h("h4"), reason: "rebuilt".into() });
        }
        stage.ok(request(Some("h4")));
    }
}

#[test]
fn what_cannot_be_a_member_is_not_added() {
    let mut stage = Stage::with_a_fourth();
    let on = |disk| Command::AddMember {
        group: g("g1"),
        member: MemberSpec { host: h("h4"), disk: Some(d(disk)) },
        accepted: false,
        reason: String::new(),
    };
    assert_eq!(stage.refused(add("h2", false)), "DUPLICATE_MEMBER");
    assert_eq!(stage.refused(add("h9", false)), "HOST_NOT_FOUND");
    assert_eq!(stage.refused(on("d9")), "DISK_NOT_FOUND");
    for number in 4..=MEMBERS_MAX {
        let host = format!("h{number}");
        if number > 4 {
            stage.ok(register(&host, "i", 1));
            stage.ok(report(&host, "d1", "m", Verdict::Healthy));
        }
        stage.ok(add(&host, false));
    }
    stage.ok(register("last", "i", 1));
    stage.ok(report("last", "d1", "m", Verdict::Healthy));
    assert_eq!(stage.refused(add("last", false)), "TOO_MANY_MEMBERS");
    stage.ok(Command::DeleteGroup { group: g("g1") });
    for command in [add("h4", false), remove("h2"), reorder(&["h1"])] {
        assert_eq!(stage.refused(command), "GROUP_DELETING");
    }
}

#[test]
fn a_member_is_removed_unless_it_is_primary_or_about_to_be() {
    let mut stage = Stage::active();
    assert_eq!(stage.refused(remove("h1")), "MEMBER_IS_PRIMARY");
    assert_eq!(stage.refused(remove("h9")), "NOT_A_MEMBER");
    assert_eq!(Stage::chosen().refused(remove("h2")), "FAILOVER_IN_PROGRESS");
    assert_eq!(Stage::chosen().refused(remove("h1")), "MEMBER_IS_PRIMARY", "it may act yet");
    stage.ok(report("h2", "d1", "blank", Verdict::Healthy));
    assert_eq!(
        stage.ok(remove("h2")),
        [Event::MemberRemoved { group: g("g1"), host: h("h2"), reason: "moved".into() }]
    );
    assert_eq!(stage.order(), ["h1", "h3"]);
    assert_eq!(stage.group().unaccepted.len(), 0);
    assert_eq!(assignment(&stage.state, &h("h2")).unwrap().entries, []);
    assert_eq!(stage.host("h2").assignment_revision, stage.state.revision(), "it hears of it");
}

#[test]
fn a_member_whose_service_may_still_run_is_removed_only_once_its_host_is_offline() {
    let mut stage = Stage::switched();
    stage.ok(stage.clone().acknowledge("h2"));
    assert_eq!(stage.refused(remove("h1")), "MEMBER_NOT_STOPPED");
    stage.ok(mark("h1", 1, HostStatus::Offline));
    stage.ok(remove("h1"));
    assert!(stage.group().unstopped.is_empty());
}

#[test]
fn the_operators_order_stays_whoever_leads() {
    let mut stage = Stage::active();
    for (to, backups) in [("h2", ["h1", "h3"]), ("h3", ["h1", "h2"]), ("h1", ["h2", "h3"])] {
        stage.fail_over(to);
        assert_eq!(stage.order(), ["h1", "h2", "h3"], "primary {to}");
        let listed: Vec<_> = stage.group().backups.iter().map(|member| member.host.as_str()).collect();
        assert_eq!(listed, backups, "primary {to}");
    }
    stage.fail_over("h3");
    stage.ok(remove("h1"));
    assert_eq!((stage.order(), stage.group().before_primary), (vec!["h2", "h3"], 1));
    stage.ok(mark("h3", 1, HostStatus::Offline));
    stage.ok(begin(FailoverReason::HostLost));
    stage.ok(stage.clone().choose("h2", waited(D, TERM.0)));
    stage.ok(stage.clone().promote("h2", waited(D, TERM.0)));
    assert_eq!((stage.order(), stage.group().before_primary), (vec!["h2", "h3"], 0));
}

#[test]
fn members_are_put_into_another_order_which_names_each_once() {
    let mut stage = Stage::active();
    for bad in [&["h1", "h2"][..], &["h1", "h2", "h2"], &["h1", "h2", "h9"], &["h1", "h2", "h3", "h3"], &[]] {
        assert_eq!(stage.refused(reorder(bad)), "INVALID_ORDER", "{bad:?}");
    }
    assert_eq!(stage.ok(reorder(&["h1", "h2", "h3"])), []);
    let order = ["h3", "h1", "h2"].map(h).to_vec();
    assert_eq!(stage.ok(reorder(&["h3", "h1", "h2"])), [Event::MembersReordered { group: g("g1"), order }]);
    assert_eq!(stage.order(), ["h3", "h1", "h2"]);
    let group = stage.group();
    let Member { host, .. } = &group.primary;
    assert_eq!((host, group.before_primary), (&h("h1"), 1), "who leads does not change");
    let (fit, _) = quorate_domain::eligibility::eligible_backups(&stage.state, group);
    assert_eq!(fit[0].host, h("h3"), "and h3 is preferred from now on");
}
