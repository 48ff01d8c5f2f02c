//! Errors become statuses and are read back by codes and details.

use quorate_domain::{
    ClusterId, CoordinatorId, DiskId, DiskName, Epoch, GroupId, HostId, Incarnation, OperationId, Rejection,
    RequestId, Revision, Term, eligibility::Ineligible,
};
use quorate_rpc::{ApiError, Failure, InvalidField, classify, status::LeaderAddress};
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

/// Every refusal with the gRPC code that it must have.
fn rejections() -> Vec<(Rejection, Code)> {
    use Code::{AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted};
    use Rejection as R;
    let voters = BTreeSet::from([CoordinatorId(1), CoordinatorId(2)]);
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
        (R::DiskFailureLatched(disk()), FailedPrecondition),
        (R::GroupNotFound(group()), NotFound),
        (R::GroupExists(group()), AlreadyExists),
        (R::DuplicateMember { group: group(), host: host() }, InvalidArgument),
        (R::TooManyMembers { group: group(), count: 17, limit: 16 }, InvalidArgument),
        (R::InvalidLabels { group: group(), problem: "p".into() }, InvalidArgument),
        (R::GroupDeleting(group()), FailedPrecondition),
        (R::FailoverInProgress { group: group(), operation: OperationId(4) }, FailedPrecondition),
        (R::GroupStarting(group()), FailedPrecondition),
        (R::AlreadyPrimary { group: group(), host: host() }, FailedPrecondition),
        (R::NotAMember { group: group(), host: host() }, FailedPrecondition),
        (
            R::NotEligible { group: group(), host: host(), reason: Ineligible::HostUnknown },
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
        (R::CoordinatorNotFound(CoordinatorId(9)), NotFound),
        (R::CoordinatorIdUsed { id: CoordinatorId(3), highest: CoordinatorId(5) }, AlreadyExists),
        (R::AddressInUse { address: "a:1".into(), coordinator: CoordinatorId(3) }, AlreadyExists),
        (
            R::CoordinatorNotReady { id: CoordinatorId(4), address: "a:1".into(), problem: "p".into() },
            FailedPrecondition,
        ),
        (R::AlreadyVoter(CoordinatorId(3)), FailedPrecondition),
        (R::NotAVoter(CoordinatorId(3)), FailedPrecondition),
        (R::LastVoter(CoordinatorId(3)), FailedPrecondition),
        (R::WouldLoseQuorum { voters: voters.clone(), heard: [CoordinatorId(1)].into() }, FailedPrecondition),
        (R::SeenInAnotherTerm { seen_in: Term(1), term: Term(2) }, FailedPrecondition),
        (R::ChangeInProgress { operation: OperationId(4) }, FailedPrecondition),
        (R::ChangeNotOpen(OperationId(4)), FailedPrecondition),
        (R::ChangeOnRecord { operation: OperationId(4), voters }, FailedPrecondition),
        (R::ChangeNotReady { operation: OperationId(4), problem: "p".into() }, FailedPrecondition),
    ]
}

#[test]
fn every_refusal_has_its_code_and_is_read_back_as_itself() {
    let table = rejections();
    let codes: BTreeSet<_> = table.iter().map(|(rejection, _)| rejection.code()).collect();
    assert_eq!(codes.len(), 44, "a refusal is missing from this table, or two share a code");
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
            (_, other) => panic!("{code} was read as {other:?}"),
        }
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
    assert!(!retried(ApiError::Rejected(Rejection::GroupStarting(group()))));
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
