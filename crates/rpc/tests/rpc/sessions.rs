//! The agent's end of a session.

use crate::fake::{FakeCoordinator, Reply, nobody, soon};
use quorate_domain::CoordinatorId;
use quorate_rpc::{
    ApiError, DEFAULT_MAX_MESSAGE_BYTES, Failure,
    client::{Session, open_session},
    pb::agent::{AgentMessage, CoordinatorMessage, Heartbeat, Hello, agent_message::Message},
};
use std::time::Duration;

fn hello() -> AgentMessage {
    AgentMessage { message: Some(Message::Hello(Hello { host: "h1".into(), ..Hello::default() })) }
}

async fn open(address: &str, open_timeout: Duration) -> Result<Session, Failure> {
    soon(open_session(address, hello(), open_timeout, DEFAULT_MAX_MESSAGE_BYTES)).await
}

#[tokio::test]
async fn a_session_opens_with_its_hello_and_carries_messages_both_ways() {
    let leader = FakeCoordinator::start([Reply::Accept(1)]).await;
    let Session { to_coordinator, mut from_coordinator } =
        open(&leader.address, Duration::from_secs(10)).await.unwrap();
    assert_eq!(leader.seen(|seen| seen.hellos.clone()), [hello()]);
    let heartbeat = AgentMessage { message: Some(Message::Heartbeat(Heartbeat::default())) };
    to_coordinator.send(heartbeat).await.unwrap();
    assert_eq!(soon(from_coordinator.message()).await.unwrap(), Some(CoordinatorMessage::default()));
    drop(to_coordinator);
    assert_eq!(soon(from_coordinator.message()).await.unwrap(), None);
}

#[tokio::test]
async fn a_follower_tells_the_agent_where_the_leader_is() {
    let hint = ApiError::NotLeader { leader: Some((CoordinatorId(3), "10.0.0.3:7400".into())) };
    let follower = FakeCoordinator::start([Reply::Fail(hint)]).await;
    let failure = open(&follower.address, Duration::from_secs(10)).await.unwrap_err();
    let Failure::NotLeader { hint: Some(leader), .. } = failure else { panic!("{failure:?}") };
    assert_eq!(leader.api_address, "10.0.0.3:7400");
}

#[tokio::test]
async fn a_session_that_does_not_open_ends_in_time() {
    let hung = FakeCoordinator::start([Reply::Hang]).await;
    let failure = open(&hung.address, Duration::from_millis(200)).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable { sent: true, .. }), "{failure:?}");
    let failure = open(&nobody().await, Duration::from_secs(10)).await.unwrap_err();
    assert!(matches!(failure, Failure::Unreachable { sent: false, .. }), "{failure:?}");
    let failure = open("nowhere", Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(failure, Failure::Invalid { .. }), "{failure:?}");
}
