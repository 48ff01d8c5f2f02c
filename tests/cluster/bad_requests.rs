//! Requests that cannot be served: refused with a stable code, and nothing changes.

use anyhow::Result;
use quorate_rpc::{
    ClientError, ClientOptions,
    pb::{
        control::{
            CreateGroupRequest, SetGroupLabelsRequest, WatchEventsRequest, events_client::EventsClient,
        },
        types::Member,
    },
};
use quorate_tests::{Cluster, Plan};
use tonic::Code;

fn member(host: &str) -> Member {
    Member { host: host.to_owned(), disk: String::new() }
}

fn create(group: &str, primary: &str, backups: &[&str]) -> CreateGroupRequest {
    CreateGroupRequest {
        group: group.to_owned(),
        primary: Some(member(primary)),
        backups: backups.iter().map(|host| member(host)).collect(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn impossible_groups_and_oversized_messages_are_refused_and_change_nothing() -> Result<()> {
    let cluster = Cluster::start(Plan { max_message_bytes: 65_536, ..Plan::with_agents(2) }).await?;
    cluster.create_group("g", &[1, 2]).await?;
    let client = cluster.client();
    let before = cluster.group("g").await?;

    let error = client.create_group(create("bad", "h1", &["h1"])).await.unwrap_err();
    assert!(error.to_string().contains("h1"), "{error}");
    assert!(
        matches!(error, ClientError::Refused { ref code, .. } if code == "DUPLICATE_MEMBER"),
        "{error:?}"
    );
    let error = client.create_group(create("bad", "nobody", &["h1"])).await.unwrap_err();
    assert!(matches!(error, ClientError::NotFound { ref id, .. } if id == "nobody"), "{error:?}");
    let error = client.create_group(create("g", "h1", &["h2"])).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { ref code, .. } if code == "GROUP_EXISTS"), "{error:?}");
    let error = client.create_group(create("no spaces please", "h1", &["h2"])).await.unwrap_err();
    assert!(matches!(error, ClientError::Invalid { ref field, .. } if field == "group"), "{error:?}");

    let large =
        cluster.new_client(ClientOptions { max_message_bytes: 64 << 20, ..ClientOptions::default() })?;
    let request = SetGroupLabelsRequest {
        group: "g".to_owned(),
        labels: [("key".to_owned(), "x".repeat(1 << 20))].into(),
        ..Default::default()
    };
    let error = large.set_group_labels(request).await.unwrap_err();
    assert!(matches!(error, ClientError::Invalid { ref field, .. } if field == "request"), "{error:?}");
    for word in ["limits.max_message_bytes", "65536", "raise"] {
        assert!(error.to_string().contains(word), "{error}");
    }
    assert!(!error.is_unavailable(), "it must not be sent again: {error:?}");

    assert_eq!(cluster.group("g").await?.labels, before.labels);
    assert!(cluster.group("bad").await.is_err());
    cluster.set_label("fine", "g", "key", "value").await?;
    cluster.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_begins_at_nothing_that_does_not_exist_and_the_watches_of_a_coordinator_are_limited()
-> Result<()> {
    let cluster = Cluster::start(Plan::with_agents(1)).await?;
    let leader = cluster.leader().await?;
    let mut events = EventsClient::connect(format!("http://{}", cluster.api_address(leader))).await?;
    let mut watch = async |start_revision| events.watch_events(WatchEventsRequest { start_revision }).await;

    let refused = watch(u64::MAX).await.expect_err("there is no such revision");
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    assert!(refused.message().contains("start_revision"), "{refused:?}");

    let mut open = Vec::new();
    let beyond = loop {
        match watch(0).await {
            Ok(answer) => open.push(answer.into_inner()),
            Err(status) => break status,
        }
    };
    assert_eq!((open.len(), beyond.code()), (256, Code::ResourceExhausted), "{beyond:?}");
    // Who closes one makes room, as soon as the coordinator has noticed it.
    open.pop();
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(10);
    while let Err(full) = watch(0).await {
        assert!(tokio::time::Instant::now() < deadline, "{full:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    cluster.finish().await
}
