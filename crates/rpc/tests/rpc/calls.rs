//! The client finds the leader, repeats only what it may, and keeps its deadline.

use crate::fake::{FakeCoordinator, Reply, nobody, soon};
use quorate_domain::{CoordinatorId, GroupId, Rejection};
use quorate_rpc::{
    ApiError, Client, ClientError, ClientOptions,
    pb::control::{CreateGroupRequest, GetGroupRequest, GetGroupResponse, RequestFailoverRequest},
};
use std::time::{Duration, Instant};

fn patient() -> ClientOptions {
    ClientOptions { deadline: Duration::from_secs(15), per_try_timeout: Duration::from_secs(5), ..hasty() }
}

fn hasty() -> ClientOptions {
    ClientOptions {
        deadline: Duration::from_millis(800),
        per_try_timeout: Duration::from_millis(150),
        ..ClientOptions::default()
    }
}

fn not_leader(leader: Option<&FakeCoordinator>) -> Reply {
    Reply::Fail(ApiError::NotLeader {
        leader: leader.map(|leader| (CoordinatorId(2), leader.address.clone())),
    })
}

fn refusal() -> ApiError {
    Rejection::GroupExists(GroupId::new("g1").unwrap()).into()
}

#[tokio::test]
async fn follows_the_hint_to_a_leader_it_was_not_told_of_and_stays_there() {
    let leader = FakeCoordinator::start([Reply::Accept(7)]).await;
    let follower = FakeCoordinator::start([not_leader(Some(&leader))]).await;
    let client = Client::connect([&follower.address], patient()).unwrap();
    for _ in 0..3 {
        let answer = soon(client.create_group(CreateGroupRequest::default())).await.unwrap();
        assert_eq!(answer.revision, 7);
    }
    assert_eq!(follower.seen(|seen| seen.request_ids.len()), 1);
    assert_eq!(leader.seen(|seen| seen.request_ids.len()), 3);
    assert!(client.endpoints().contains(&leader.address));
}

#[tokio::test]
async fn asks_the_next_when_the_first_is_unreachable() {
    let leader = FakeCoordinator::start([Reply::Accept(3)]).await;
    let client = Client::connect([nobody().await, leader.address.clone()], patient()).unwrap();
    let answer = soon(client.request_failover(RequestFailoverRequest::default())).await.unwrap();
    assert_eq!((answer.revision, answer.operation.as_str()), (3, "op-3"));
}

#[tokio::test]
async fn a_hint_to_somebody_who_is_gone_does_not_lead_in_circles() {
    let gone = nobody().await;
    let hint = Reply::Fail(ApiError::NotLeader { leader: Some((CoordinatorId(9), gone)) });
    // Elected meanwhile.
    let elected = FakeCoordinator::start([hint.clone(), hint.clone(), Reply::Accept(4)]).await;
    let other = FakeCoordinator::start([hint]).await;
    let client = Client::connect([&other.address, &elected.address], patient()).unwrap();
    assert_eq!(soon(client.create_group(CreateGroupRequest::default())).await.unwrap().revision, 4);
}

#[tokio::test]
async fn a_retried_mutation_carries_the_same_request_id() {
    let hung = FakeCoordinator::start([Reply::Hang]).await;
    let unknown = Reply::Fail(ApiError::Unknown { request_id: None, timeout_ms: 1 });
    let leader = FakeCoordinator::start([unknown, Reply::Accept(5)]).await;
    let options = ClientOptions { per_try_timeout: Duration::from_millis(200), ..patient() };
    let client = Client::connect([&hung.address, &leader.address], options).unwrap();
    let answer = soon(client.create_group(CreateGroupRequest::default())).await.unwrap();
    assert_eq!(answer.revision, 5);
    let mut ids = hung.seen(|seen| seen.request_ids.clone());
    ids.extend(leader.seen(|seen| seen.request_ids.clone()));
    assert!(ids.len() >= 3, "{ids:?}");
    assert!(ids.iter().all(|id| *id == ids[0] && id.len() == 32), "{ids:?}");

    let own = CreateGroupRequest { request_id: "mine".into(), ..CreateGroupRequest::default() };
    soon(client.create_group(own)).await.unwrap();
    assert_eq!(leader.seen(|seen| seen.request_ids.last().cloned()).as_deref(), Some("mine"));
}

#[tokio::test]
async fn two_calls_have_two_request_ids() {
    let leader = FakeCoordinator::start([Reply::Accept(1)]).await;
    let client = Client::connect([&leader.address], patient()).unwrap();
    for _ in 0..2 {
        let client = client.clone();
        let call = async move { soon(client.create_group(CreateGroupRequest::default())).await };
        tokio::spawn(call).await.unwrap().unwrap();
    }
    leader.seen(|seen| assert_ne!(seen.request_ids[0], seen.request_ids[1]));
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_is_not_repeated() {
    let leader = FakeCoordinator::start([Reply::Fail(refusal())]).await;
    let client = Client::connect([&leader.address], patient()).unwrap();
    let error = soon(client.create_group(CreateGroupRequest::default())).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused { code, .. } if code == "GROUP_EXISTS"), "{error:?}");
    assert_eq!(leader.seen(|seen| seen.request_ids.len()), 1);
}

#[tokio::test]
async fn a_refusal_with_the_longest_text_still_gets_through() {
    let reasons = vec!["ä%\n".repeat(3_000); 16];
    let group = GroupId::new("g1").unwrap();
    let error = ApiError::Rejected(Rejection::NoEligibleBackup { group, reasons });
    let leader = FakeCoordinator::start([Reply::Fail(error)]).await;
    let client = Client::connect([&leader.address], patient()).unwrap();
    let error = soon(client.request_failover(RequestFailoverRequest::default())).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused { code, .. } if code == "NO_ELIGIBLE_BACKUP"), "{error:?}");
}

#[tokio::test]
async fn what_does_not_exist_is_told_apart_from_what_is_refused() {
    let missing = ApiError::NotFound { what: "group", id: "g1".into() };
    let leader = FakeCoordinator::start([Reply::Fail(missing)]).await;
    let client = Client::connect([&leader.address], patient()).unwrap();
    let error = soon(client.get_group(GetGroupRequest::default())).await.unwrap_err();
    assert!(matches!(&error, ClientError::NotFound { id, .. } if id == "g1"), "{error:?}");
    assert!(!error.is_unavailable());
}

#[tokio::test]
async fn the_deadline_ends_a_mutation_without_an_answer_as_unknown() {
    let hung = FakeCoordinator::start([Reply::Hang]).await;
    let client = Client::connect([&hung.address], hasty()).unwrap();
    let started = Instant::now();
    let request = CreateGroupRequest { request_id: "r-9".into(), ..CreateGroupRequest::default() };
    let error = soon(client.create_group(request)).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::OutcomeUnknown { request_id, .. } if request_id == "r-9"),
        "{error:?}"
    );
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(800) && took < Duration::from_millis(1_800), "{took:?}");
    hung.seen(|seen| {
        assert!(seen.request_ids.len() > 1, "more than one try fits into the deadline");
        assert!(seen.with_deadline.iter().all(|with| *with), "the server is told each deadline");
    });
}

#[tokio::test]
async fn one_that_says_nothing_leaves_time_for_another_one_however_short_the_deadline_is() {
    let stopped = FakeCoordinator::start([Reply::Hang]).await;
    let leader = FakeCoordinator::start([Reply::Accept(7)]).await;
    let deadline = Duration::from_millis(900);
    let options = ClientOptions { deadline, per_try_timeout: deadline, ..ClientOptions::default() };
    let client = Client::connect([&stopped.address, &leader.address], options).unwrap();
    soon(client.get_group(GetGroupRequest::default())).await.unwrap();
    let request = CreateGroupRequest { request_id: "r-1".into(), ..CreateGroupRequest::default() };
    soon(client.create_group(request)).await.unwrap();
}

#[tokio::test]
async fn an_unknown_outcome_stays_unknown_when_nobody_leads_afterwards() {
    let unknown = Reply::Fail(ApiError::Unknown { request_id: None, timeout_ms: 1 });
    let lost = FakeCoordinator::start([unknown, not_leader(None)]).await;
    let client = Client::connect([&lost.address], hasty()).unwrap();
    let error = soon(client.create_group(CreateGroupRequest::default())).await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { .. }), "{error:?}");
}

#[tokio::test]
async fn a_mutation_that_never_left_is_unreachable_and_not_unknown() {
    let client = Client::connect([nobody().await, nobody().await], hasty()).unwrap();
    let error = soon(client.create_group(CreateGroupRequest::default())).await.unwrap_err();
    assert!(matches!(&error, ClientError::Unreachable { asked, .. } if asked.len() == 2), "{error:?}");
    assert!(error.is_unavailable());
}

#[tokio::test]
async fn coordinators_without_a_leader_or_quorum_are_told_apart_from_silence() {
    for reply in [not_leader(None), Reply::Fail(ApiError::NoQuorum), Reply::Fail(ApiError::Overloaded)] {
        let follower = FakeCoordinator::start([reply]).await;
        let client = Client::connect([&follower.address], hasty()).unwrap();
        let error = soon(client.create_group(CreateGroupRequest::default())).await.unwrap_err();
        assert!(matches!(error, ClientError::NoLeader { .. }), "{error:?}");
        let tries = follower.seen(|seen| seen.request_ids.len());
        assert!((2..200).contains(&tries), "{tries} tries in 800 ms");
    }
}

#[tokio::test]
async fn an_overloaded_leader_is_asked_again() {
    let leader = FakeCoordinator::start([Reply::Fail(ApiError::Overloaded), Reply::Accept(2)]).await;
    let client = Client::connect([&leader.address], patient()).unwrap();
    assert_eq!(soon(client.create_group(CreateGroupRequest::default())).await.unwrap().revision, 2);
}

#[tokio::test]
async fn reads_are_repeated_freely() {
    let leader = FakeCoordinator::start([Reply::Hang, Reply::Hang, Reply::Accept(1)]).await;
    let options = ClientOptions { per_try_timeout: Duration::from_millis(100), ..patient() };
    let client = Client::connect([&leader.address], options).unwrap();
    soon(client.get_group(GetGroupRequest::default())).await.unwrap();
    assert_eq!(leader.seen(|seen| seen.reads), 3);
}

#[tokio::test]
async fn a_read_without_an_answer_is_unreachable_by_the_deadline() {
    let hung = FakeCoordinator::start([Reply::Hang]).await;
    let client = Client::connect([&hung.address], patient()).unwrap().with_deadline(hasty().deadline);
    let started = Instant::now();
    let error = soon(client.get_group(GetGroupRequest::default())).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { deadline_ms: 800, .. }), "{error:?}");
    assert!(started.elapsed() < Duration::from_millis(1_800));
}

#[tokio::test]
async fn waiting_for_an_operation_ends_with_it_or_with_the_timeout() {
    let leader = FakeCoordinator::start([Reply::Accept(0), Reply::Accept(0), Reply::Accept(1)]).await;
    let client = Client::connect([&leader.address], patient()).unwrap();
    assert!(soon(client.wait_operation("op-1", Duration::from_mins(1))).await.unwrap().finished);
    leader.seen(|seen| assert_eq!(seen.wait_timeouts_ms, [20_000; 3]));

    let leader = FakeCoordinator::start([Reply::Accept(0)]).await;
    let client = Client::connect([&leader.address], patient()).unwrap();
    assert!(!soon(client.wait_operation("op-1", Duration::ZERO)).await.unwrap().finished);
    leader.seen(|seen| assert_eq!(seen.wait_timeouts_ms, [1]));
}

#[tokio::test]
async fn refuses_endpoints_that_are_none() {
    let error = Client::connect(["nowhere"], patient()).unwrap_err();
    assert!(matches!(&error, ClientError::Invalid { field, .. } if field == "endpoint"), "{error:?}");
}

/// Bytes in the place of the first field: a service that has text there cannot read them.
#[tokio::test]
async fn a_message_that_cannot_be_read_is_a_bad_request_and_no_fault_of_the_coordinator() {
    let leader = FakeCoordinator::start([Reply::Accept(1)]).await;
    let channel = quorate_rpc::transport::endpoint(&leader.address).unwrap().connect_lazy();
    let mut raw = tonic::client::Grpc::new(channel);
    raw.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<Vec<u8>, GetGroupResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/quorate.control.v1.Groups/GetGroup");
    let status = raw.unary(tonic::Request::new(vec![0xff, 0xfe]), path, codec).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    let failure = quorate_rpc::classify(&status);
    assert!(
        matches!(&failure, quorate_rpc::Failure::Invalid { field, .. } if field == "message"),
        "{failure:?}"
    );
}
