//! The cluster, groups, deletion and request ids: exact events, or the refusal's code.

use crate::stage::{
    D, Stage, TERM, cluster, create_cluster, create_group, d, g, h, member, register, report, request, spec,
    waited,
};
use quorate_domain::{
    Cause, Command, DiskName, Event, FormationId, Incarnation, LeaseSettings, Outcome, Phase, Proposal,
    Rejection, RequestId, Settings, State, Term, Timestamp, Verdict, apply,
    command::{Fencing, MemberSpec},
    group::{LABEL_VALUE_MAX_BYTES, LABELS_MAX, MEMBERS_MAX},
    ids::Epoch,
    request::REQUEST_AGE_MS,
};
use std::collections::BTreeMap;

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_cluster_is_formed_once_and_with_safe_settings_only() {
    let mut stage = Stage { state: State::default(), term: TERM };
    assert_eq!(stage.refused(register("h1", "i", 1)), "CLUSTER_MISSING");
    let unsafe_lease = LeaseSettings { wait_ms: 6_000, ..LeaseSettings::default() };
    let settings = Settings { lease: unsafe_lease };
    let create = |formation, settings| Command::CreateCluster { cluster: cluster("c1"), formation, settings };
    assert_eq!(stage.refused(create(Some(FormationId::of(1)), settings)), "UNSAFE_SETTINGS");
    assert_eq!(stage.state.cluster.formation, None, "what was refused leaves no trace");
    assert_eq!(
        stage.ok(create_cluster()),
        [Event::ClusterCreated {
            cluster: cluster("c1"),
            formation: Some(FormationId::of(1)),
            settings: Settings::default()
        }]
    );
    assert_eq!(stage.refused(create_cluster()), "CLUSTER_EXISTS");
}

#[test]
fn the_formation_that_is_applied_first_stands_for_good() {
    let mut stage = Stage { state: State::default(), term: TERM };
    let create = |formation| Command::CreateCluster {
        cluster: cluster("c1"),
        formation,
        settings: Settings::default(),
    };
    stage.ok(create(Some(FormationId::of(1))));
    // Another leader, which drew another one and did not know that the first had gone through.
    for later in [Some(FormationId::of(2)), None] {
        assert_eq!(stage.refused(create(later)), "CLUSTER_EXISTS");
        assert_eq!(stage.state.cluster.formation, Some(FormationId::of(1)));
    }
    let again = State::from_rows(stage.state.rows()).unwrap();
    assert_eq!(again.cluster.formation, Some(FormationId::of(1)), "it is kept on disk and in snapshots");

    let mut older = Stage { state: State::default(), term: TERM };
    older.ok(create(None));
    assert_eq!(older.state.cluster.formation, None, "a log from before there were any");
}

#[test]
fn a_group_begins_starting_on_its_primary_under_an_epoch_of_its_own() {
    let mut stage = Stage::hosts();
    let epoch = Epoch(stage.state.revision().0 + 1);
    assert_eq!(
        stage.ok(create_group("g1", "h1", &["h2", "h3"])),
        [Event::GroupCreated {
            group: g("g1"),
            primary: member("h1"),
            granted_to: Incarnation(1),
            backups: vec![member("h2"), member("h3")],
            epoch,
            labels: BTreeMap::new(),
        }]
    );
    assert_eq!(stage.group().phase, Phase::Starting { operation: None });
}

#[test]
fn a_group_is_refused_when_its_members_or_labels_do_not_stand_up() {
    type Change = fn(&mut Stage) -> Command;
    let with_labels =
        |labels| Command::CreateGroup { group: g("g2"), primary: spec("h1"), backups: vec![], labels };
    let many: BTreeMap<String, String> =
        (0..=LABELS_MAX).map(|key| (format!("k{key}"), "v".into())).collect();
    for (labels, what) in [
        (many, "too many"),
        (labels(&[("", "v")]), "an empty key"),
        (labels(&[(&"k".repeat(64), "v")]), "a long key"),
        (labels(&[("k", &"v".repeat(LABEL_VALUE_MAX_BYTES + 1))]), "a long value"),
    ] {
        assert_eq!(Stage::hosts().refused(with_labels(labels)), "INVALID_LABELS", "{what}");
    }
    let table: Vec<(&str, Change)> = vec![
        ("GROUP_EXISTS", |stage| {
            stage.ok(create_group("g2", "h2", &[]));
            create_group("g2", "h1", &[])
        }),
        ("DUPLICATE_MEMBER", |_| create_group("g2", "h1", &["h2", "h1"])),
        ("DUPLICATE_MEMBER", |_| create_group("g2", "h1", &["h2", "h2"])),
        ("HOST_NOT_FOUND", |_| create_group("g2", "h9", &[])),
        ("HOST_NOT_FOUND", |_| create_group("g2", "h1", &["h9"])),
        ("DISK_AMBIGUOUS", |stage| {
            stage.ok(register("h4", "i", 1));
            create_group("g2", "h1", &["h4"])
        }),
        ("DISK_AMBIGUOUS", |stage| {
            stage.ok(report("h1", "d2", "m", Verdict::Healthy));
            create_group("g2", "h1", &[])
        }),
        ("DISK_NOT_FOUND", |_| Command::CreateGroup {
            group: g("g2"),
            primary: MemberSpec { host: h("h1"), disk: Some(d("d9")) },
            backups: vec![],
            labels: BTreeMap::new(),
        }),
        ("TOO_MANY_MEMBERS", |_| {
            let hosts: Vec<String> = (0..MEMBERS_MAX).map(|number| format!("x{number}")).collect();
            create_group("g2", "h1", &hosts.iter().map(String::as_str).collect::<Vec<_>>())
        }),
        ("NOT_ELIGIBLE", |stage| {
            stage.ok(crate::stage::mark("h1", 1, quorate_domain::HostStatus::Suspect));
            create_group("g2", "h1", &["h2"])
        }),
        ("NOT_ELIGIBLE", |stage| {
            stage.ok(report("h1", "d1", "medium-h1", Verdict::Failed));
            create_group("g2", "h1", &["h2"])
        }),
    ];
    for (expected, change) in table {
        let mut stage = Stage::hosts();
        let command = change(&mut stage);
        assert_eq!(stage.refused(command.clone()), expected, "{command:?}");
    }
}

#[test]
fn a_disk_may_be_named_or_found_when_it_is_the_only_one() {
    let mut stage = Stage::hosts();
    stage.ok(report("h1", "d2", "m", Verdict::Healthy));
    stage.ok(Command::CreateGroup {
        group: g("g1"),
        primary: MemberSpec { host: h("h1"), disk: Some(DiskName::new("d2").unwrap()) },
        backups: vec![spec("h2")],
        labels: labels(&[("keep", "1"), ("drop", "")]),
    });
    assert_eq!((&stage.group().primary.disk, &stage.group().backups[0].disk), (&d("d2"), &d("d1")));
    assert_eq!(stage.group().labels, labels(&[("keep", "1")]));
}

#[test]
fn the_number_of_labels_is_judged_by_what_a_change_leaves() {
    let mut stage = Stage::active();
    let named = |keys: std::ops::Range<usize>, value: &str| -> BTreeMap<String, String> {
        keys.map(|key| (format!("k{key}"), value.to_owned())).collect()
    };
    let set =
        |labels: BTreeMap<String, String>| Command::SetGroupLabels { group: g("g1"), labels: labels.into() };
    stage.ok(set(named(0..LABELS_MAX, "1")));
    assert_eq!(stage.refused(set(labels(&[("one-more", "1")]))), "INVALID_LABELS");
    let mut swap = labels(&[("one-more", "1")]);
    swap.extend(named(0..1, ""));
    stage.ok(set(swap));
    assert_eq!(stage.group().labels.len(), LABELS_MAX);
    assert!(stage.ok(set(named(1..LABELS_MAX, "1"))).is_empty(), "nothing changes");
    assert!(stage.ok(set(labels(&[("unknown", "")]))).is_empty(), "there is nothing to remove");
    stage.ok(set(named(1..LABELS_MAX, "")));
    assert_eq!(stage.group().labels, labels(&[("one-more", "1")]));
}

#[test]
fn labels_are_set_and_removed() {
    let mut stage = Stage::active();
    let set =
        |pairs: &[(&str, &str)]| Command::SetGroupLabels { group: g("g1"), labels: labels(pairs).into() };
    assert_eq!(
        stage.ok(set(&[("a", "1"), ("b", "2")])),
        [Event::GroupLabelsChanged { group: g("g1"), labels: labels(&[("a", "1"), ("b", "2")]).into() }]
    );
    assert_eq!(stage.ok(set(&[("a", "1")])), []);
    assert_eq!(stage.ok(set(&[("a", ""), ("c", "3")])).len(), 1);
    assert_eq!(stage.group().labels, labels(&[("b", "2"), ("c", "3")]));
    assert_eq!(stage.refused(set(&[("", "x")])), "INVALID_LABELS");
    stage.ok(Command::DeleteGroup { group: g("g1") });
    assert_eq!(stage.refused(set(&[("z", "1")])), "GROUP_DELETING");
}

#[test]
fn a_deletion_revokes_first_and_forgets_after_the_release_or_the_wait() {
    let mut stage = Stage::active();
    let epoch = stage.epoch();
    assert_eq!(stage.refused(stage.clone().finish_deletion(Fencing::Released)), "WRONG_PHASE");
    assert_eq!(
        stage.ok(Command::DeleteGroup { group: g("g1") }),
        [Event::GroupDeletionBegun { group: g("g1"), epoch }]
    );
    assert_eq!(stage.refused(Command::DeleteGroup { group: g("g1") }), "GROUP_DELETING");
    assert_eq!(stage.refused(request(None)), "GROUP_DELETING");
    for (fencing, expected) in [
        (waited(D - 1, TERM.0), "WAIT_NOT_OVER"),
        (waited(D, TERM.0 - 1), "WAIT_OF_ANOTHER_TERM"),
        (Fencing::Released, "NOT_RELEASED"),
    ] {
        assert_eq!(stage.refused(stage.clone().finish_deletion(fencing)), expected);
    }
    let other_epoch =
        Command::FinishDeletion { group: g("g1"), epoch: Epoch(epoch.0 - 1), fencing: waited(D, TERM.0) };
    assert_eq!(stage.refused(other_epoch), "STALE_EPOCH");

    let mut after_wait = stage.clone();
    let finish = after_wait.finish_deletion(waited(D, TERM.0));
    assert_eq!(after_wait.ok(finish.clone()), [Event::GroupDeleted { group: g("g1"), epoch }]);
    assert_eq!(after_wait.refused(finish), "GROUP_NOT_FOUND");

    let release = stage.release("h1");
    stage.ok(release.clone());
    assert_eq!(stage.ok(release), []);
    assert_eq!(stage.ok(stage.clone().finish_deletion(Fencing::Released)).len(), 1);
}

#[test]
fn a_deletion_ends_the_failover_that_runs_and_keeps_its_release() {
    let mut stage = Stage::revoked();
    let (operation, epoch) = (stage.operation(), stage.epoch());
    stage.ok(stage.clone().release("h1"));
    assert_eq!(
        stage.ok(Command::DeleteGroup { group: g("g1") }),
        [
            Event::OperationFailed {
                operation,
                group: g("g1"),
                outcome: "the group is being deleted".into(),
            },
            Event::GroupDeletionBegun { group: g("g1"), epoch },
        ]
    );
    assert_eq!(stage.group().phase, Phase::Deleting { released: true });
    stage.ok(stage.clone().finish_deletion(Fencing::Released));
}

#[test]
fn a_group_made_again_under_an_old_name_begins_above_every_epoch_it_had() {
    let mut stage = Stage::switched();
    let last = stage.epoch();
    stage.ok(Command::DeleteGroup { group: g("g1") });
    stage.ok(stage.clone().finish_deletion(waited(D, TERM.0)));
    stage.ok(create_group("g1", "h1", &["h2"]));
    assert!(stage.epoch() > last, "{} after {last}", stage.epoch());
}

#[test]
fn a_group_that_is_not_there_is_said_to_be_missing() {
    let mut stage = Stage::hosts();
    for command in [
        request(None),
        Command::DeleteGroup { group: g("g1") },
        Command::SetGroupLabels { group: g("g1"), labels: BTreeMap::new().into() },
    ] {
        assert_eq!(stage.refused(command), "GROUP_NOT_FOUND");
    }
}

fn ask(stage: &mut Stage, id: &str, at: u64, command: Command) -> Outcome {
    let request_id = RequestId::new(id).expect("a valid request id");
    let proposal = Proposal::new(Timestamp(at), Cause::Operator { request_id }, command);
    apply(&mut stage.state, stage.term, &proposal).outcome
}

#[test]
fn a_request_id_gets_its_first_answer_for_ever_and_no_other_command() {
    let mut stage = Stage::active();
    let first = ask(&mut stage, "r1", 2_000, request(None));
    let operation = stage.operation();
    assert!(
        matches!(first, Outcome::Accepted { changed: true, operation: Some(known), .. } if known == operation),
        "{first:?}"
    );
    let refused = ask(&mut stage, "r2", 2_001, request(None));
    assert_eq!(
        refused,
        Outcome::Refused(Rejection::FailoverInProgress { group: g("g1"), operation }),
        "another id is another request"
    );
    stage.ok(stage.clone().release("h1"));
    stage.ok(stage.clone().choose("h2", Fencing::Released));
    stage.ok(stage.clone().promote("h2", Fencing::Released));
    stage.ok(stage.clone().acknowledge("h2"));
    stage.term = Term(9);
    let before = stage.state.clone();
    assert_eq!(ask(&mut stage, "r1", 9_000, request(None)), first);
    assert_eq!(ask(&mut stage, "r2", 9_000, request(None)), refused, "though it would be accepted now");
    let misused = ask(&mut stage, "r1", 9_000, request(Some("h3")));
    assert_eq!(misused, Outcome::Refused(Rejection::RequestIdReused(RequestId::new("r1").unwrap())));
    assert_eq!(stage.state, before);
}

#[test]
fn the_clock_takes_the_latest_time_and_never_an_earlier_one() {
    let mut stage = Stage::active();
    ask(&mut stage, "r1", 50_000, request(None));
    assert_eq!(stage.state.now(), Timestamp(50_000));
    ask(&mut stage, "r2", 10, Command::DeleteGroup { group: g("g1") });
    assert_eq!(stage.state.now(), Timestamp(50_000));
    ask(&mut stage, "r3", 60_000, Command::DeleteGroup { group: g("g1") });
    assert_eq!(stage.state.now(), Timestamp(60_000), "a refusal that is remembered has its time");
}

#[test]
fn a_state_that_has_forgotten_requests_is_the_same_again_from_its_rows() {
    let mut stage = Stage::active();
    for number in 0..130 {
        ask(&mut stage, &format!("r{number}"), 2_000, request(None));
    }
    ask(&mut stage, "late", 2_000 + REQUEST_AGE_MS + 1, request(None));
    assert_eq!(stage.state.requests.len(), 3, "the first page is too old");
    let again = State::from_rows(stage.state.rows()).unwrap();
    assert_eq!(again, stage.state);
    let mut again = Stage { state: again, term: stage.term };
    for stage in [&mut stage, &mut again] {
        ask(stage, "r4", 9_000, Command::DeleteGroup { group: g("g1") });
    }
    assert_eq!(again.state.digest(), stage.state.digest());
}
