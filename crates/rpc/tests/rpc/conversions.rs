//! Session messages, there and back.

use proptest::prelude::*;
use quorate_domain::{
    Assignment, AssignmentDelta, AssignmentEntry, CoordinatorId, Epoch, FormationId, Incarnation,
    LeaseSettings, Revision, Role, ServiceMode, Term, text::one_line,
};
use quorate_rpc::{
    InvalidField, TEXT_MAX_BYTES,
    pb::{agent as wire, types},
    session::{
        DISKS_MAX, GROUPS_MAX, ParsedAgentMessage, ParsedCoordinatorMessage, ParsedHeartbeat, ParsedHello,
        ParsedRenewalAck, ParsedReport, ParsedWelcome,
    },
};

/// Makes one field of a message bad.
type Spoil<T> = fn(&mut T);

fn hello() -> wire::Hello {
    wire::Hello {
        cluster_id: String::new(),
        host: "h1".into(),
        zone: "z1".into(),
        address: "10.0.0.9:7500".into(),
        instance: "i1".into(),
        incarnation: 3,
        start: 77,
        protocol: 1,
        formation_id: String::new(),
        promotion_ms: 10_000,
        demotion_ms: 86_400_000,
    }
}

fn group_report() -> wire::GroupReport {
    wire::GroupReport { group: "g1".into(), epoch: 2, state: 2, reason: String::new() }
}

fn disk_report() -> wire::DiskReport {
    let reason = types::VerdictReason {
        code: "probe_slow".into(),
        attribute: "latency_ms".into(),
        observed: "900".into(),
        threshold: "500".into(),
        source: "probe".into(),
        at_ms: 5,
        class: types::FaultClass::Environment.into(),
    };
    wire::DiskReport {
        name: "d1".into(),
        path: "/srv/d1".into(),
        identity: "serial-1".into(),
        capacity_bytes: 10,
        free_bytes: 4,
        verdict: 2,
        reasons: vec![reason],
        checked_at_ms: 6,
    }
}

fn report() -> wire::Report {
    wire::Report {
        groups: vec![group_report()],
        disks: vec![disk_report()],
        installed_revision: 7,
        stopping: true,
        disks_complete: true,
        state_folder_problem: "it is gone".into(),
    }
}

fn entry(group: &str) -> AssignmentEntry {
    AssignmentEntry {
        group: group.parse().unwrap(),
        epoch: Epoch(4),
        role: Role::Primary,
        granted_to: Incarnation(3),
        disk: "d1".parse().unwrap(),
        primary: "h1".parse().unwrap(),
    }
}

#[test]
fn agent_messages_survive_the_round_trip() {
    let formation_id = "0123456789abcdef0123456789abcdef".to_owned();
    let cluster = wire::Hello { cluster_id: "c1".into(), formation_id, ..hello() };
    let messages = [
        ParsedAgentMessage::Hello(ParsedHello::try_from(hello()).unwrap()),
        ParsedAgentMessage::Hello(ParsedHello::try_from(cluster).unwrap()),
        ParsedAgentMessage::Heartbeat(ParsedHeartbeat {
            seq: 9,
            installed: Revision(8),
            service_mode: ServiceMode::Safe,
        }),
        ParsedAgentMessage::Report(ParsedReport::try_from(report()).unwrap()),
    ];
    for message in messages {
        assert_eq!(ParsedAgentMessage::try_from(wire::AgentMessage::from(&message)), Ok(message));
    }
    assert_eq!(wire::Report::from(&ParsedReport::try_from(report()).unwrap()), report());
    assert_eq!(wire::Hello::from(&ParsedHello::try_from(hello()).unwrap()), hello());
}

/// Every free text of a report.
fn texts(report: &ParsedReport) -> Vec<&str> {
    let mut all = vec![report.state_folder_problem.as_str()];
    all.extend(report.groups.iter().map(|group| group.reason.as_str()));
    for disk in &report.disks {
        all.extend([&disk.path, &disk.identity.0].map(String::as_str));
        for why in &disk.reasons {
            all.extend(
                [&why.code, &why.attribute, &why.observed, &why.threshold, &why.source].map(String::as_str),
            );
        }
    }
    all
}

fn report_saying(said: &[String; 9]) -> wire::Report {
    let mut report = report();
    let group = &mut report.groups[0];
    let disk = &mut report.disks[0];
    let why = &mut disk.reasons[0];
    let fields = [
        &mut report.state_folder_problem,
        &mut group.reason,
        &mut disk.path,
        &mut disk.identity,
        &mut why.attribute,
        &mut why.observed,
        &mut why.threshold,
        &mut why.source,
        &mut why.code,
    ];
    for (field, text) in fields.into_iter().zip(said) {
        field.clone_from(text);
    }
    report
}

/// Any letters, many of them such as a terminal obeys.
fn anything() -> impl Strategy<Value = String> {
    let letter =
        prop_oneof![any::<char>(), prop::char::range('\0', '\u{1f}'), prop::char::range('\u{7f}', '\u{9f}')];
    prop::collection::vec(letter, 1..300).prop_map(|letters| letters.into_iter().collect())
}

proptest! {
    #[test]
    fn no_text_of_a_report_holds_what_a_terminal_obeys(said in prop::array::uniform9(anything())) {
        let parsed = ParsedReport::try_from(report_saying(&said)).unwrap();
        let kept = texts(&parsed);
        prop_assert_eq!(kept.len(), said.len());
        for text in kept {
            prop_assert!(text.len() <= TEXT_MAX_BYTES && !text.is_empty(), "{} bytes", text.len());
            prop_assert!(!text.contains(char::is_control), "{text:?}");
        }
        prop_assert_eq!(ParsedReport::try_from(wire::Report::from(&parsed)), Ok(parsed));
    }
}

#[test]
fn a_text_is_bounded_after_it_was_escaped_and_not_refused_for_what_it_holds() {
    let said = std::array::from_fn(|_| "\x1b".repeat(TEXT_MAX_BYTES));
    let parsed = ParsedReport::try_from(report_saying(&said)).unwrap();
    for text in texts(&parsed) {
        assert_eq!(text.len(), TEXT_MAX_BYTES);
        assert!(text.starts_with("\\u{1b}\\u{1b}") && !text.contains('\x1b'));
    }
    let path = "/srv/old\nh1/d1  healthy".to_owned();
    let odd = wire::DiskReport { path, ..disk_report() };
    let parsed = ParsedReport::try_from(wire::Report { disks: vec![odd], ..report() }).unwrap();
    assert_eq!(parsed.disks[0].path, "/srv/old\\nh1/d1  healthy");
}

#[test]
fn coordinator_messages_survive_the_round_trip() {
    use ParsedCoordinatorMessage as Parsed;
    let backup = AssignmentEntry { role: Role::Backup, ..entry("g2") };
    let messages = [
        Parsed::Welcome(ParsedWelcome {
            cluster: "c1".parse().unwrap(),
            formation: Some(FormationId::of(77)),
            coordinator: CoordinatorId(2),
            term: Term(5),
            lease: LeaseSettings { heartbeat_ms: 900, ..LeaseSettings::default() },
            api_addresses: vec!["coordinator-1:7400".into(), "[::1]:7400".into()],
        }),
        Parsed::RenewalAck(ParsedRenewalAck { seq: 4, assignment: Revision(9) }),
        Parsed::Snapshot(Assignment { revision: Revision(9), entries: vec![entry("g1"), backup.clone()] }),
        Parsed::Snapshot(Assignment { revision: Revision(1), entries: vec![] }),
        Parsed::Delta(AssignmentDelta {
            from: Revision(8),
            to: Revision(9),
            changed: vec![backup],
            removed: vec!["g7".parse().unwrap()],
        }),
    ];
    for message in messages {
        assert_eq!(Parsed::try_from(wire::CoordinatorMessage::from(&message)), Ok(message));
    }
}

#[test]
fn lease_settings_keep_every_field() {
    let lease = LeaseSettings {
        heartbeat_ms: 1_001,
        lease_ms: 6_002,
        write_stop_ms: 5_003,
        wait_ms: 7_504,
        clock_error_ppm: 10_005,
        margin_ms: 506,
        suspect_after_heartbeats: 4,
    };
    assert_eq!(LeaseSettings::try_from(wire::LeaseSettings::from(&lease)), Ok(lease));
}

#[test]
fn an_agent_refuses_a_welcome_whose_lease_could_let_two_act() {
    let good = ParsedWelcome {
        cluster: "c1".parse().unwrap(),
        formation: None,
        coordinator: CoordinatorId(1),
        term: Term(1),
        lease: LeaseSettings::default(),
        api_addresses: vec![],
    };
    let table: Vec<(&str, Spoil<wire::Welcome>)> = vec![
        ("lease", |welcome| welcome.lease = None),
        ("lease.wait_ms", |welcome| welcome.lease.as_mut().unwrap().wait_ms = 6_000),
        ("lease.write_stop_ms", |welcome| welcome.lease.as_mut().unwrap().write_stop_ms = 6_000),
        ("cluster_id", |welcome| welcome.cluster_id.clear()),
        ("formation_id", |welcome| welcome.formation_id = "c1".into()),
        ("coordinator_id", |welcome| welcome.coordinator_id = 0),
        ("term", |welcome| welcome.term = 0),
        ("api_addresses[0]", |welcome| welcome.api_addresses = vec!["nowhere".into()]),
        ("api_addresses", |welcome| welcome.api_addresses = vec!["a:1".into(); 65]),
    ];
    for (field, spoil) in table {
        let mut welcome = wire::Welcome::from(&good);
        spoil(&mut welcome);
        let refused = ParsedWelcome::try_from(welcome).unwrap_err();
        assert_eq!(refused.field, field, "{refused}");
    }
}

#[test]
fn each_bad_field_of_a_hello_names_itself() {
    let table: Vec<(&str, Spoil<wire::Hello>)> = vec![
        ("hello.cluster_id", |hello| hello.cluster_id = "a b".into()),
        ("hello.formation_id", |hello| hello.formation_id = "c1".into()),
        ("hello.host", |hello| hello.host.clear()),
        ("hello.host", |hello| hello.host = "../etc".into()),
        ("hello.zone", |hello| hello.zone = "x".repeat(64)),
        ("hello.address", |hello| hello.address.clear()),
        ("hello.address", |hello| hello.address = "x".repeat(1 << 20)),
        ("hello.instance", |hello| hello.instance = "\n".into()),
        ("hello.incarnation", |hello| hello.incarnation = 0),
        ("hello.start", |hello| hello.start = 0),
        ("hello.protocol", |hello| hello.protocol = 0),
    ];
    for (field, spoil) in table {
        let mut hello = hello();
        spoil(&mut hello);
        let message = wire::AgentMessage { message: Some(wire::agent_message::Message::Hello(hello)) };
        let refused = ParsedAgentMessage::try_from(message).unwrap_err();
        assert_eq!(refused.field, field, "{refused}");
        assert!(refused.to_string().len() < 1_000, "an echo must be short");
    }
}

#[test]
fn each_bad_field_of_a_report_names_itself() {
    let table: Vec<(&str, Spoil<wire::Report>)> = vec![
        ("groups[0].group", |report| report.groups[0].group.clear()),
        ("groups[0].epoch", |report| report.groups[0].epoch = 0),
        ("groups[0].state", |report| report.groups[0].state = 0),
        ("groups[0].state", |report| report.groups[0].state = 17),
        ("groups[0].reason", |report| report.groups[0].reason = "x".repeat(4_097)),
        ("groups[1]", |report| report.groups.push(group_report())),
        ("groups", |report| report.groups = vec![group_report(); GROUPS_MAX + 1]),
        ("disks[0].name", |report| report.disks[0].name.clear()),
        ("disks[0].path", |report| report.disks[0].path = "x".repeat(4_097)),
        ("disks[0].identity", |report| report.disks[0].identity = "x".repeat(4_097)),
        ("disks[0].verdict", |report| report.disks[0].verdict = 0),
        ("disks[0].reasons", |report| {
            let reason = report.disks[0].reasons[0].clone();
            report.disks[0].reasons = vec![reason; 17];
        }),
        ("disks[0].reasons[0].code", |report| report.disks[0].reasons[0].code.clear()),
        ("disks[0].reasons[0].observed", |report| report.disks[0].reasons[0].observed = "x".repeat(4_097)),
        ("disks[1]", |report| report.disks.push(disk_report())),
        ("disks", |report| report.disks = vec![disk_report(); DISKS_MAX + 1]),
    ];
    for (field, spoil) in table {
        let mut report = report();
        spoil(&mut report);
        let refused = ParsedReport::try_from(report).unwrap_err();
        assert_eq!(refused.field, field, "{refused}");
        assert!(!refused.problem.is_empty() && !refused.remedy.is_empty());
    }
}

#[test]
fn a_group_may_be_reported_under_two_epochs() {
    let mut report = report();
    report.groups.push(wire::GroupReport { epoch: 3, state: 1, ..group_report() });
    assert_eq!(ParsedReport::try_from(report).unwrap().groups.len(), 2);
}

#[test]
fn assignments_that_are_not_clear_are_refused() {
    let wire_entry = || wire::AssignmentEntry::from(&entry("g1"));
    let snapshot = |entries| wire::AssignmentSnapshot { revision: 3, entries };
    let field = |result: Result<Assignment, InvalidField>| result.unwrap_err().field;
    assert_eq!(field(snapshot(vec![wire_entry(), wire_entry()]).try_into()), "entries[1].group");
    let fenced = wire::AssignmentEntry { role: types::Role::Fenced.into(), ..wire_entry() };
    assert_eq!(field(snapshot(vec![fenced]).try_into()), "entries[0].role");
    assert_eq!(field(wire::AssignmentSnapshot { revision: 0, entries: vec![] }.try_into()), "revision");

    let delta = wire::AssignmentDelta { from_revision: 3, revision: 3, changed: vec![], removed: vec![] };
    assert_eq!(AssignmentDelta::try_from(delta.clone()).unwrap_err().field, "revision");
    let removed = wire::AssignmentDelta { revision: 4, removed: vec!["g".into(), String::new()], ..delta };
    assert_eq!(AssignmentDelta::try_from(removed).unwrap_err().field, "removed[1]");
}

#[test]
fn empty_messages_and_unset_heartbeats_are_refused() {
    let empty = wire::AgentMessage { message: None };
    assert_eq!(ParsedAgentMessage::try_from(empty).unwrap_err().field, "message");
    let empty = wire::CoordinatorMessage { message: None };
    assert_eq!(ParsedCoordinatorMessage::try_from(empty).unwrap_err().field, "message");
    let heartbeat = wire::AgentMessage {
        message: Some(wire::agent_message::Message::Heartbeat(wire::Heartbeat::default())),
    };
    assert_eq!(ParsedAgentMessage::try_from(heartbeat).unwrap_err().field, "heartbeat.service_mode");
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z0-9._-]{0,8}", ".{0,8}", Just("x".repeat(4_097))]
}

prop_compose! {
    fn any_group()(group in any_text(), epoch in 0..4_u64, state in -1..7_i32, reason in any_text())
        -> wire::GroupReport { wire::GroupReport { group, epoch, state, reason } }
}

prop_compose! {
    fn any_disk()(name in any_text(), path in any_text(), verdict in -1..7_i32, capacity_bytes: u64)
        -> wire::DiskReport { wire::DiskReport { name, path, verdict, capacity_bytes, ..disk_report() } }
}

proptest! {
    #[test]
    fn any_report_is_taken_whole_or_refused_by_field(
        groups in prop::collection::vec(any_group(), 0..3),
        disks in prop::collection::vec(any_disk(), 0..3),
        stopping: bool,
    ) {
        let given = wire::Report {
            groups,
            disks,
            installed_revision: 1,
            stopping,
            disks_complete: !stopping,
            state_folder_problem: String::new(),
        };
        let mut kept = given.clone();
        kept.groups.iter_mut().for_each(|group| group.reason = one_line(&group.reason).into_owned());
        kept.disks.iter_mut().for_each(|disk| disk.path = one_line(&disk.path).into_owned());
        match ParsedReport::try_from(given) {
            Ok(parsed) => prop_assert_eq!(wire::Report::from(&parsed), kept),
            Err(refused) => prop_assert!(
                refused.field.starts_with("groups[") || refused.field.starts_with("disks["), "{}", refused
            ),
        }
    }
}
