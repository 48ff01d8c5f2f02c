//! A watch brings every revision once, across disconnects.

use crate::fake::{FakeCoordinator, nobody, revisions, soon};
use quorate_domain::Revision;
use quorate_rpc::{
    ApiError, Client, ClientError, ClientOptions, client::EventWatch, pb::control::WatchEventsResponse,
};
use std::time::Duration;

fn options() -> ClientOptions {
    ClientOptions { deadline: Duration::from_secs(10), ..ClientOptions::default() }
}

async fn take(watch: &mut EventWatch, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        numbers.push(soon(watch.next()).await.unwrap().unwrap().revision);
    }
    numbers
}

#[tokio::test]
async fn resumes_from_the_next_revision_after_the_stream_breaks() {
    // What the first answer says of the end must not hide what lies before it.
    let ahead = WatchEventsResponse { revisions: vec![], through_revision: 100 };
    let server = FakeCoordinator::watched([
        vec![Ok(ahead), Ok(revisions([5, 6])), Ok(revisions([7]))],
        vec![Ok(revisions([8])), Err(ApiError::NoQuorum)],
        vec![],
        // Repeats what the watcher has already.
        vec![Ok(revisions([7, 8, 9, 10]))],
    ])
    .await;
    let client = Client::connect([&server.address], options()).unwrap();
    let mut watch = client.watch_events(5);
    assert_eq!(take(&mut watch, 6).await, [5, 6, 7, 8, 9, 10]);
    server.seen(|seen| {
        assert_eq!(seen.watch_starts, [5, 8, 9, 9]);
        assert!(seen.with_deadline.iter().all(|with| !with), "a stream has no deadline");
    });
}

#[tokio::test]
async fn goes_on_with_another_coordinator() {
    let second = FakeCoordinator::watched([vec![Ok(revisions([3, 4]))]]).await;
    let first = FakeCoordinator::watched([vec![Ok(revisions([1, 2]))]]).await;
    let client = Client::connect([nobody().await, first.address.clone(), second.address.clone()], options());
    let mut watch = client.unwrap().watch_events(1);
    let taken = tokio::spawn(async move { take(&mut watch, 4).await }).await.unwrap();
    assert_eq!(taken, [1, 2, 3, 4]);
    assert_eq!(second.seen(|seen| seen.watch_starts.clone()), [3]);
}

#[tokio::test]
async fn a_watch_from_now_on_resumes_where_it_began() {
    let begins = WatchEventsResponse { revisions: vec![], through_revision: 41 };
    let server = FakeCoordinator::watched([vec![Ok(begins)], vec![Ok(revisions([42]))]]).await;
    let client = Client::connect([&server.address], options()).unwrap();
    assert_eq!(take(&mut client.watch_events(0), 1).await, [42]);
    assert_eq!(server.seen(|seen| seen.watch_starts.clone()), [0, 42]);
}

#[tokio::test]
async fn compaction_is_the_last_item_and_names_the_first_revision_kept() {
    let compacted = ApiError::Compacted { first_kept: Revision(30) };
    let server = FakeCoordinator::watched([vec![Ok(revisions([3])), Err(compacted)]]).await;
    let client = Client::connect([&server.address], options()).unwrap();
    let mut watch = client.watch_events(3);
    assert_eq!(take(&mut watch, 1).await, [3]);
    let error = soon(watch.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Compacted { first_kept: Revision(30), .. }), "{error:?}");
    assert!(soon(watch.next()).await.is_none());
}

#[tokio::test]
async fn a_skipped_revision_is_an_error_and_never_silence() {
    let server = FakeCoordinator::watched([vec![Ok(revisions([1, 2, 4]))], vec![Ok(revisions([4]))]]).await;
    let client = Client::connect([&server.address], options()).unwrap();
    let mut watch = client.watch_events(1);
    assert_eq!(take(&mut watch, 2).await, [1, 2]);
    let error = soon(watch.next()).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Other { code: tonic::Code::DataLoss, .. }), "{error:?}");
    assert!(soon(watch.next()).await.is_none());
    assert_eq!(server.seen(|seen| seen.watch_starts.clone()), [1, 3]);
}

#[tokio::test]
async fn an_outage_is_reported_and_the_watch_can_go_on() {
    let options = ClientOptions { deadline: Duration::from_millis(300), ..options() };
    let client = Client::connect([nobody().await], options).unwrap();
    let mut watch = client.watch_events(1);
    for _ in 0..2 {
        let error = soon(watch.next()).await.unwrap().unwrap_err();
        assert!(error.is_unavailable(), "{error:?}");
    }
}
