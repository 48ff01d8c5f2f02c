//! Errors become statuses and are read back by codes and details.

use quorate_domain::{
    ClusterId, CoordinatorId, DiskId, DiskName, Epoch, FormationId, GroupId, HostId, Incarnation,
    OperationId, Rejection, RequestId, Revision, Term, eligibility::Ineligible,
};
use quorate_rpc::{
    ApiError, Failure, InvalidField, classify,
    status::{LeaderAddress, Reason},
};
use std::collections::BTreeSet;
use tonic::{Code, Status};
use tonic_types::StatusExt;

fn host() -> HostId {
    HostId::new("h1").unwrap()
}
fn group() -> GroupId {
    GroupId::new("g1").unwrap()
}
fn disk() -> DiskId {
    DiskId { host: host(), name: DiskName::new("d1").unwrap() }
}

fn voters() -> BTreeSet<CoordinatorId> {
    [CoordinatorId(1), CoordinatorId(2)].into()
}

/// Every refusal with the gRPC code that it must have.
fn rejections() -> Vec<(Rejection, Code)> {
    use Code::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted};
    use Rejection as R;

    vec![
        (R::ClusterExists(ClusterId::new("c").unwrap()), AlreadyExists),
        (R::ClusterMissing, FailedPrecondition),
        (R::UnsafeSettings(vec!["lease.wait_ms".into()]), InvalidArgument),
        (R::HostNotFound(host()), NotFound),
        (R::DiskNotFound(disk()), NotFound),
        (R::DiskAmbiguous { host: host(), count: 2 }, InvalidArgument),
        (R::HostIdInUse { host: host(), instance: "i".into() }, FailedPrecondition),
        (
            R::StaleIncarnation { host: host(), recorded: Incarnation(2), offered: Incarnation(1) },
            FailedPrecondition,
        ),
        (
            R::StartNumberTooHigh { host: host(), offered: Incarnation(u64::MAX), most: Incarnation(9) },
            InvalidArgument,
        ),
        (R::HostNotOffline { host: host(), status: "online".into() }, FailedPrecondition),
        (R::HostIsMember { host: host(), groups: vec![group()], count: 9 }, FailedPrecondition),
        (R::DiskIsMember { disk: disk(), groups: vec![group()], count: 1 }, FailedPrecondition),
        (R::MemberIsPrimary { group: group(), host: host() }, FailedPrecondition),
        (R::MemberNotStopped { group: group(), host: host(), epoch: Epoch(4) }, FailedPrecondition),
        (R::InvalidOrder { group: group(), problem: "h2 is not named".into() }, InvalidArgument),
        (R::InvalidReason { problem: "none is given".into() }, InvalidArgument),
        (R::DiskNotLatched { disk: disk(), verdict: "failed".into() }, FailedPrecondition),
        (R::DiskStillFailing { disk: disk(), findings: vec![] }, FailedPrecondition),
        (R::GroupNotFound(group()), NotFound),
        (R::GroupExists(group()), AlreadyExists),
        (R::DuplicateMember { group: group(), host: host() }, InvalidArgument),
        (R::TooManyMembers { group: group(), count: 17, limit: 16 }, InvalidArgument),
        (R::InvalidLabels { group: group(), problem: "p".into() }, InvalidArgument),
        (R::GroupDeleting(group()), FailedPrecondition),
        (R::FailoverInProgress { group: group(), operation: OperationId(4) }, FailedPrecondition),
        (R::AlreadyPrimary { group: group(), host: host() }, FailedPrecondition),
        (R::NotAMember { group: group(), host: host() }, FailedPrecondition),
        (
            R::NotEligible { group: group(), host: host(), reason: Box::new(Ineligible::HostUnknown) },
            FailedPrecondition,
        ),
        (R::NoEligibleBackup { group: group(), reasons: vec![] }, FailedPrecondition),
        (R::StaleEpoch { group: group(), current: Epoch(2), given: Epoch(1) }, FailedPrecondition),
        (
            R::WrongPhase { group: group(), phase: "active".into(), needed: "revoked".into() },
            FailedPrecondition,
        ),
        (R::NotNeeded { group: group(), why: "w".into() }, FailedPrecondition),
        (R::WaitNotOver { group: group(), waited_ms: 1, wait_ms: 2 }, FailedPrecondition),
        (R::WaitOfAnotherTerm { group: group(), waited_in: Term(1), term: Term(2) }, FailedPrecondition),
        (R::NotReleased(group()), FailedPrecondition),
        (R::RequestIdReused(RequestId::new("r1").unwrap()), InvalidArgument),
        (
            R::NotTheHolder { group: group(), host: host(), incarnation: Incarnation(1), epoch: Epoch(1) },
            FailedPrecondition,
        ),
        (R::LimitReached { what: "groups".into(), limit: 1 }, ResourceExhausted),
        (R::CoordinatorsNotRecorded, FailedPrecondition),
        (R::CoordinatorNotFound(CoordinatorId(4)), NotFound),
        // Also where no higher one is left.
        (R::CoordinatorIdUsed { id: CoordinatorId(3), highest: CoordinatorId(u64::MAX) }, AlreadyExists),
        (R::CoordinatorIdTooHigh { id: CoordinatorId(9_000), highest: CoordinatorId(4) }, FailedPrecondition),
        (R::AddressInUse { address: "c:7400".into(), coordinator: CoordinatorId(3) }, AlreadyExists),
        (
            R::CoordinatorNotReady { id: CoordinatorId(4), address: "d:7400".into(), problem: "p".into() },
            FailedPrecondition,
        ),
        (R::AlreadyVoter(CoordinatorId(1)), FailedPrecondition),
        (R::NotAVoter(CoordinatorId(4)), FailedPrecondition),
        (R::LastVoter(CoordinatorId(1)), FailedPrecondition),
        (
            R::WouldLoseQuorum {
                voters: voters(),
                heard: [CoordinatorId(1)].into(),
                lagging: [(CoordinatorId(2), 70)].into(),
            },
            FailedPrecondition,
        ),
        (R::SeenInAnotherTerm { seen_in: Term(1), term: Term(2) }, FailedPrecondition),
        (R::ChangeInProgress { operation: OperationId(4) }, FailedPrecondition),
        (R::ChangeNotOpen(OperationId(4)), FailedPrecondition),
        (R::ChangeOnRecord { operation: OperationId(4), voters: voters() }, FailedPrecondition),
        (R::ChangeNotReady { operation: OperationId(4), problem: "p".into() }, FailedPrecondition),
    ]
}

#[test]
fn every_refusal_has_its_code_and_is_read_back_as_itself() {
    let table = rejections();
    let codes: BTreeSet<_> = table.iter().map(|(rejection, _)| rejection.code()).collect();
    assert_eq!(codes.len(), 53, "a refusal is missing from this table, or two share a code");
    for (rejection, expected) in table {
        let (code, message) = (rejection.code(), rejection.to_string());
        let status = Status::from(ApiError::from(rejection));
        assert_eq!(status.code(), expected, "{code}");
        assert_eq!(status.message(), message);
        let details = status.get_error_details();
        let violations = details.precondition_failure().map_or(0, |failure| failure.violations.len());
        assert_eq!(violations, usize::from(expected == Code::FailedPrecondition), "{code}");
        match (expected, classify(&status)) {
            (Code::NotFound, Failure::NotFound { code: got, what, id, .. }) => {
                assert_eq!(got, code);
                assert_eq!(code, format!("{}_NOT_FOUND", what.to_uppercase()));
                assert!(message.contains(&id), "{message} names {id}");
            }
            (_, Failure::Refused { code: got, message: text }) => {
                assert_eq!((got, text), (code.into(), message));
            }
            (_, Failure::StaleStart { message: text, .. }) => {
                assert_eq!(("STALE_INCARNATION", text), (code, message));
            }
            (_, other) => panic!("{code} was read as {other:?}"),
        }
    }
}

/// What the standard details of a refusal say beside its code.
#[test]
fn every_refusal_says_by_its_details_what_is_in_the_way_and_where() {
    for (rejection, code) in rejections() {
        let (reason, message) = (rejection.code(), rejection.to_string());
        let status = Status::from(ApiError::from(rejection));
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "quorate"));
        assert!(details.retry_info().is_none(), "{reason}: the same request would hear the same again");
        let bare = ["CLUSTER_MISSING", "COORDINATORS_NOT_RECORDED"];
        assert_eq!(info.metadata.is_empty(), bare.contains(&reason), "{reason}: {:?}", info.metadata);
        let fields = details.bad_request().map_or(0, |bad| bad.field_violations.len());
        assert_eq!(fields, usize::from(code == Code::InvalidArgument), "{reason}");
        if let Some(bad) = details.bad_request() {
            assert_eq!(bad.field_violations[0].description, message);
            assert_eq!(info.metadata["field"], bad.field_violations[0].field);
        }
        if let Some(failure) = details.precondition_failure() {
            let violation = &failure.violations[0];
            assert_eq!(
                (violation.r#type.as_str(), violation.description.as_str()),
                (reason, message.as_str())
            );
            assert!(!violation.subject.is_empty(), "{reason}");
        }
        let named = matches!(code, Code::NotFound | Code::AlreadyExists);
        assert_eq!(details.resource_info().is_some(), named, "{reason}");
        if let Some(resource) = details.resource_info() {
            assert_eq!(resource.resource_name, info.metadata["id"], "{reason}");
        }
        assert_eq!(details.quota_failure().is_some(), code == Code::ResourceExhausted, "{reason}");
    }
}

#[test]
fn a_refusal_names_the_thing_that_it_is_about() {
    let status = Status::from(ApiError::from(Rejection::FailoverInProgress {
        group: group(),
        operation: OperationId(4),
    }));
    let details = status.get_error_details();
    let metadata = &details.error_info().unwrap().metadata;
    assert_eq!((metadata["group"].as_str(), metadata["operation"].as_str()), ("g1", "op-4"));
}

/// Every error that is no refusal, with what its reason must be.
fn others() -> Vec<(ApiError, &'static str)> {
    let leader = Some((CoordinatorId(2), "10.0.0.2:7400".into()));
    vec![
        (ApiError::NotLeader { leader }, "NOT_LEADER"),
        (ApiError::NotLeader { leader: None }, "NO_LEADER"),
        (ApiError::NoQuorum, "NO_QUORUM"),
        (ApiError::Unknown { request_id: None, timeout_ms: 5 }, "OUTCOME_UNKNOWN"),
        (ApiError::Compacted { first_kept: Revision(77) }, "COMPACTED"),
        (ApiError::RevisionAhead { asked: Revision(99), last: Revision(77) }, "REVISION_AHEAD"),
        (ApiError::TooManyWatches { limit: 256 }, "TOO_MANY_WATCHES"),
        (ApiError::HeldBack { what: "starts of this host".into(), retry_after_ms: 700 }, "HELD_BACK"),
        (ApiError::Overloaded, "OVERLOADED"),
        (ApiError::Invalid(InvalidField::required("request_id", "make one")), "INVALID_FIELD"),
        (ApiError::Stopping { who: "this coordinator", remedy: "ask another" }, "STOPPING"),
        (ApiError::SessionReplaced, "SESSION_REPLACED"),
        (
            ApiError::OtherCluster {
                who: "coordinator",
                ours: ClusterId::new("c").unwrap(),
                theirs: ClusterId::new("d").unwrap(),
            },
            "OTHER_CLUSTER",
        ),
        (
            ApiError::OtherFormation {
                cluster: ClusterId::new("c").unwrap(),
                ours: Some(FormationId::of(1)),
                theirs: FormationId::of(2),
            },
            "OTHER_FORMATION",
        ),
        (ApiError::Guarded { group: group(), guard: "process 7".to_owned() }, "GUARDED"),
        (ApiError::GuardBesideHooks { group: group() }, "GUARD_BESIDE_HOOKS"),
        (ApiError::NoKeeper { group: group(), epoch: Epoch(5) }, "NO_KEEPER"),
        (ApiError::GuardElsewhere { from: "10.0.0.7".to_owned() }, "GUARD_ELSEWHERE"),
        (ApiError::SlowReader, "SLOW_READER"),
        (ApiError::TooLate { what: "the hello", remedy: "open another session" }, "TOO_LATE"),
        (ApiError::Internal("disk on fire".into()), "INTERNAL"),
    ]
}

#[test]
fn every_error_carries_its_reason_in_our_domain() {
    let found: BTreeSet<&str> = others().iter().map(|(_, reason)| *reason).collect();
    let all: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(found, all, "a reason is missing from this table");
    for (error, reason) in others() {
        assert_eq!(error.reason(), reason);
        let details = Status::from(error).get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "quorate"));
    }
}

/// The page for those who write clients.
const CLIENT_PAGE: &str = include_str!("../../../../docs/client.md");

#[test]
fn the_page_for_clients_has_every_code_with_its_status_and_what_it_names() {
    let refusals = rejections().into_iter().map(|(rejection, _)| ApiError::from(rejection));
    let mut unnamed = Vec::<(String, String)>::new();
    let lines: Vec<&str> = CLIENT_PAGE.lines().filter(|line| line.starts_with("| `")).collect();
    let missing =
        ["host", "disk", "group", "operation"].map(|what| ApiError::NotFound { what, id: "x".into() });
    for error in refusals.chain(others().into_iter().map(|(error, _)| error)).chain(missing) {
        let reason = error.reason();
        let status = Status::from(error);
        let code = format!("{:?}", status.code());
        let shouted = code.chars().fold(String::new(), |mut name, letter| {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('_');
            }
            name.push(letter.to_ascii_uppercase());
            name
        });
        let found = lines.iter().find(|line| line.starts_with(&format!("| `{reason}` |")));
        let line = found.unwrap_or_else(|| panic!("docs/client.md has no row for {reason}"));
        assert!(line.contains(&format!("| `{shouted}` |")), "{reason} is {shouted}: {line}");
        let details = status.get_error_details();
        let keys = details.error_info().unwrap().metadata.keys().cloned().collect::<BTreeSet<_>>();
        unnamed.extend(
            keys.into_iter()
                .filter(|key| !line.contains(&format!("`{key}`")))
                .map(|key| (reason.clone(), key)),
        );
    }
    assert_eq!(unnamed, [], "metadata that the page does not name");
}

#[test]
fn a_coordinator_that_hears_no_leader_is_told_from_one_that_names_it() {
    let none = Status::from(ApiError::NotLeader { leader: None });
    assert!(matches!(classify(&none), Failure::NotLeader { hint: None, .. }));
    assert!(none.message().contains("cut off"), "{none}");
    let stopping = Status::from(ApiError::Stopping { who: "this coordinator", remedy: "ask another" });
    assert_eq!(stopping.code(), Code::Unavailable);
    assert!(matches!(classify(&stopping), Failure::Unreachable { sent: false, .. }));
    let late = Status::from(ApiError::TooLate { what: "the hello", remedy: "open another session" });
    assert!(matches!(classify(&late), Failure::Unreachable { sent: true, .. }));
}

#[test]
fn a_refusal_of_another_formation_names_both_and_the_remedy_and_is_read_back_as_a_refusal() {
    let (ours, theirs) = (FormationId::of(1), FormationId::of(2));
    for ours in [Some(ours), None] {
        let cluster = ClusterId::new("c").unwrap();
        let error = ApiError::OtherFormation { cluster, ours: ours.clone(), theirs: theirs.clone() };
        let status = Status::from(error);
        let shown = ours.as_ref().map_or("no id", FormationId::as_str);
        assert_eq!(status.code(), Code::FailedPrecondition);
        for part in [shown, theirs.as_str(), "coordinators", "state_dir"] {
            assert!(status.message().contains(part), "{part}: {status}");
        }
        let metadata = status.get_error_details().error_info().unwrap().metadata.clone();
        assert_eq!(metadata.get("formation").map(String::as_str), ours.as_ref().map(FormationId::as_str));
        assert!(status.get_error_details().precondition_failure().is_some());
        assert!(matches!(classify(&status), Failure::Refused { code, .. } if code == "OTHER_FORMATION"));
    }
}

#[test]
fn every_other_error_has_its_code_and_is_read_back_as_itself() {
    let read = |error: ApiError| {
        let status = Status::from(error);
        (status.code(), classify(&status))
    };
    let (code, failure) =
        read(ApiError::NotLeader { leader: Some((CoordinatorId(2), "10.0.0.2:7400".into())) });
    assert_eq!(code, Code::Unavailable);
    let leader = LeaderAddress { id: CoordinatorId(2), api_address: "10.0.0.2:7400".into() };
    assert!(matches!(failure, Failure::NotLeader { hint: Some(hint), .. } if hint == leader));

    let (code, failure) = read(ApiError::NotLeader { leader: None });
    assert_eq!(code, Code::Unavailable);
    assert!(matches!(failure, Failure::NotLeader { hint: None, .. }));

    let (code, failure) = read(ApiError::NoQuorum);
    assert_eq!(code, Code::Unavailable);
    assert!(matches!(failure, Failure::NoQuorum { .. }));

    let request_id = Some(RequestId::new("r1").unwrap());
    let (code, failure) = read(ApiError::Unknown { request_id, timeout_ms: 5 });
    assert_eq!(code, Code::DeadlineExceeded);
    assert!(matches!(failure, Failure::OutcomeUnknown { message } if message.contains("r1")));

    let (code, failure) = read(ApiError::Compacted { first_kept: Revision(77) });
    assert_eq!(code, Code::OutOfRange);
    assert!(matches!(failure, Failure::Compacted { first_kept: Revision(77), .. }));

    let (code, failure) = read(ApiError::Overloaded);
    assert_eq!(code, Code::ResourceExhausted);
    assert!(matches!(failure, Failure::Overloaded { retry_after: Some(_), .. }));

    let (code, failure) = read(ApiError::Invalid(InvalidField::required("request_id", "make one")));
    assert_eq!(code, Code::InvalidArgument);
    assert!(matches!(failure, Failure::Invalid { field, .. } if field == "request_id"));

    let (code, failure) = read(ApiError::NotFound { what: "operation", id: "op-9".into() });
    assert_eq!(code, Code::NotFound);
    assert!(
        matches!(failure, Failure::NotFound { code, id, .. } if code == "OPERATION_NOT_FOUND" && id == "op-9")
    );

    let (code, failure) = read(ApiError::Internal("disk on fire".into()));
    assert_eq!(code, Code::Internal);
    assert!(matches!(failure, Failure::Other { code: Code::Internal, .. }));
}

#[test]
fn bad_fields_travel_as_a_bad_request() {
    let status = Status::from(InvalidField::new("groups[3].epoch", "is 0", "use 1"));
    let details = status.get_error_details();
    let violations = &details.bad_request().unwrap().field_violations;
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].field, "groups[3].epoch");
    assert_eq!(violations[0].description, "is 0; use 1");
}

#[test]
fn only_what_a_retry_can_help_tells_when_to_retry() {
    let retried = |error: ApiError| Status::from(error).get_error_details().retry_info().is_some();
    assert!(retried(ApiError::NotLeader { leader: None }));
    assert!(retried(ApiError::NoQuorum));
    assert!(retried(ApiError::Overloaded));
    assert!(retried(ApiError::Unknown { request_id: None, timeout_ms: 1 }));
    assert!(!retried(ApiError::Rejected(Rejection::GroupDeleting(group()))));
    assert!(!retried(ApiError::Compacted { first_kept: Revision(1) }));
}

#[test]
fn statuses_of_strangers_are_read_by_their_code_alone() {
    assert!(matches!(classify(&Status::unavailable("NOT_LEADER")), Failure::Unreachable { sent: true, .. }));
    assert!(matches!(classify(&Status::deadline_exceeded("")), Failure::Unreachable { sent: true, .. }));
    assert!(matches!(classify(&Status::cancelled("")), Failure::Unreachable { sent: true, .. }));
    assert!(matches!(classify(&Status::invalid_argument("x")), Failure::Invalid { .. }));
    assert!(matches!(
        classify(&Status::unimplemented("x")),
        Failure::Other { code: Code::Unimplemented, .. }
    ));
    let garbage = Status::with_details(Code::Unavailable, "x", vec![0xff, 0x01, 0x02].into());
    assert!(matches!(classify(&garbage), Failure::Unreachable { .. }));
}

#[test]
fn the_text_of_a_status_is_bounded() {
    let reasons = vec!["ä".repeat(3_000); 16];
    let status = Status::from(ApiError::Rejected(Rejection::NoEligibleBackup { group: group(), reasons }));
    assert!(status.message().len() <= 1_024);
    assert!(status.details().len() <= 4_096);
}

#[test]
fn a_refusal_does_not_tell_a_stranger_how_to_speak_for_the_host() {
    let status =
        Status::from(ApiError::from(Rejection::HostIdInUse { host: host(), instance: "5ec2e700".into() }));
    let told = format!("{status:?} {}", String::from_utf8_lossy(status.details()));
    assert!(!told.contains("5ec2e700"), "{told}");
}

#[test]
fn a_number_that_is_too_high_names_the_field_and_the_remedy() {
    let refusal =
        Rejection::StartNumberTooHigh { host: host(), offered: Incarnation(u64::MAX), most: Incarnation(9) };
    let status = Status::from(ApiError::from(refusal));
    assert!(status.message().contains("quorate host reset"), "{status:?}");
    let violations = status.get_details_bad_request().unwrap().field_violations;
    assert_eq!(violations[0].field, "hello.incarnation");
}

#[test]
fn an_agent_reads_how_far_behind_its_start_is() {
    let refusal =
        Rejection::StaleIncarnation { host: host(), recorded: Incarnation(41), offered: Incarnation(7) };
    let failure = classify(&Status::from(ApiError::from(refusal)));
    assert!(matches!(failure, Failure::StaleStart { recorded: Incarnation(41), .. }), "{failure:?}");
}
