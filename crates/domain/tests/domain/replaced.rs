//! A disk in whose place another one sits, or may sit: what was on it is no copy until somebody says so.

use crate::stage::{D, Stage, TERM, begin, disk_id, g, h, register, report, request, waited};
use quorate_domain::{
    Command, DiskIdentity, Event, Group, HostStatus, Outcome, Rejection, Verdict, eligibility::Ineligible,
    operation::FailoverReason,
};

fn blank(host: &str) -> Command {
    report(host, "d1", "blank", Verdict::Healthy)
}

fn original(host: &str) -> Command {
    report(host, "d1", &format!("medium-{host}"), Verdict::Healthy)
}

fn accept(host: &str) -> Command {
    Command::AcceptMember { group: g("g1"), host: h(host), reason: "rebuilt by hand".into() }
}

fn missed(group: &Group) -> Vec<(&str, &str)> {
    group.unaccepted.iter().map(|(host, medium)| (host.as_str(), medium.0.as_str())).collect()
}

#[test]
fn another_medium_in_a_disks_place_is_an_event_and_its_members_are_no_copies() {
    let mut stage = Stage::active();
    let events = stage.ok(blank("h2"));
    let replaced = Event::DiskReplaced {
        disk: disk_id("h2", "d1"),
        from: DiskIdentity("medium-h2".into()),
        to: DiskIdentity("blank".into()),
    };
    assert!(matches!(&events[..], [first, Event::DiskChanged { .. }] if *first == replaced), "{events:?}");
    assert_eq!(missed(stage.group()), [("h2", "medium-h2")]);
    let refused = stage.apply(request(Some("h2"))).outcome;
    let Outcome::Refused(Rejection::NotEligible { reason, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(matches!(*reason, Ineligible::NotAccepted { .. }), "{reason}");
    for wanted in ["medium-h2", "blank", "quorate group member accept g1 h2"] {
        assert!(reason.to_string().contains(wanted), "no {wanted:?} in {reason}");
    }
}

#[test]
fn refuses_promotion_of_a_blank_disk_at_every_step() {
    let mut stage = Stage::revoked();
    stage.ok(blank("h2"));
    assert_eq!(stage.refused(stage.clone().choose("h2", waited(D, TERM.0))), "NOT_ELIGIBLE");
    let mut stage = Stage::chosen();
    stage.ok(blank("h2"));
    assert_eq!(stage.refused(stage.clone().promote("h2", waited(D, TERM.0))), "NOT_ELIGIBLE");
    let mut stage = Stage::active();
    stage.ok(blank("h2"));
    stage.ok(blank("h3"));
    assert_eq!(stage.refused(request(None)), "NO_ELIGIBLE_BACKUP");
}

#[test]
fn the_medium_that_held_the_copy_is_accepted_by_itself_when_it_is_back() {
    let mut stage = Stage::active();
    for identity in ["blank", "another-blank"] {
        stage.ok(report("h2", "d1", identity, Verdict::Healthy));
        assert_eq!(missed(stage.group()), [("h2", "medium-h2")], "{identity}");
    }
    stage.ok(original("h2"));
    assert_eq!(missed(stage.group()), []);
    stage.ok(request(Some("h2")));
}

#[test]
fn an_operator_accepts_what_is_there_and_another_replacement_is_another_question() {
    let mut stage = Stage::active();
    stage.ok(blank("h2"));
    let without = Command::AcceptMember { group: g("g1"), host: h("h2"), reason: String::new() };
    assert_eq!(stage.refused(without), "INVALID_REASON");
    assert_eq!(
        stage.ok(accept("h2")),
        [Event::MemberAccepted {
            group: g("g1"),
            host: h("h2"),
            identity: DiskIdentity("blank".into()),
            reason: "rebuilt by hand".into(),
        }]
    );
    assert_eq!(stage.ok(accept("h2")), [], "nothing is left to accept");
    stage.clone().ok(request(Some("h2")));
    stage.ok(original("h2"));
    assert_eq!(missed(stage.group()), [("h2", "blank")], "what was rebuilt is on the other one");
    assert_eq!(stage.refused(accept("h9")), "NOT_A_MEMBER");
}

#[test]
fn a_primary_on_a_replaced_disk_is_taken_away_when_somebody_else_holds_a_copy() {
    let mut stage = Stage::active();
    assert_eq!(stage.refused(begin(FailoverReason::DiskReplaced)), "NOT_NEEDED");
    stage.ok(blank("h1"));
    assert_eq!(stage.clone().ok(begin(FailoverReason::DiskReplaced)).len(), 1);
    stage.ok(blank("h2"));
    stage.ok(blank("h3"));
    assert_eq!(stage.refused(begin(FailoverReason::DiskReplaced)), "NO_ELIGIBLE_BACKUP");
    stage.ok(accept("h1"));
    assert_eq!(stage.refused(begin(FailoverReason::DiskReplaced)), "NOT_NEEDED");
}

#[test]
fn a_disk_is_known_anew_once_the_present_start_of_its_agent_has_read_it() {
    let mut stage = Stage::active();
    stage.ok(register("h2", "i-h2", 2));
    assert_eq!(stage.refused(request(Some("h2"))), "NOT_ELIGIBLE", "another disk may sit there by now");
    let read = |identity: &str, verdict| {
        let mut command = report("h2", "d1", identity, verdict);
        if let Command::RecordDisk { incarnation, .. } = &mut command {
            incarnation.0 = 2;
        }
        command
    };
    stage.ok(read("", Verdict::Unknown));
    stage.ok(read("", Verdict::Healthy));
    assert_eq!(stage.refused(request(Some("h2"))), "NOT_ELIGIBLE", "nobody has read who it is");
    let events = stage.ok(read("medium-h2", Verdict::Healthy));
    assert_eq!(events, [Event::DiskConfirmed { disk: disk_id("h2", "d1") }]);
    stage.clone().ok(request(Some("h2")));
    assert_eq!(stage.ok(read("medium-h2", Verdict::Healthy)), [], "said once");
}

#[test]
fn a_host_that_comes_back_with_empty_state_and_an_empty_disk_is_not_promoted() {
    let mut stage = Stage::active();
    stage.ok(crate::stage::mark("h2", 1, HostStatus::Offline));
    stage.ok(register("h2", "another-folder", 9));
    stage.ok(crate::stage::mark("h2", 9, HostStatus::Online));
    assert_eq!(stage.refused(request(Some("h2"))), "NOT_ELIGIBLE", "before its first report");
    let mut first = blank("h2");
    if let Command::RecordDisk { incarnation, .. } = &mut first {
        incarnation.0 = 9;
    }
    stage.ok(first);
    assert_eq!(stage.refused(request(Some("h2"))), "NOT_ELIGIBLE", "and after it");
    stage.ok(accept("h2"));
    stage.ok(request(Some("h2")));
}

#[test]
fn a_group_that_is_created_on_a_new_disk_begins_with_it() {
    let mut stage = Stage::hosts();
    stage.ok(blank("h1"));
    stage.ok(crate::stage::create_group("g1", "h1", &["h2"]));
    assert_eq!(missed(stage.group()), []);
}
