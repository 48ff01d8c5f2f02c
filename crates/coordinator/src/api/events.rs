//! What happened, revision by revision.

use super::{Api, STOPPING, WATCHES_MAX};
use quorate_consensus::{Archived, Consensus, View};
use quorate_domain::{Committed, Revision};
use quorate_rpc::{
    ApiError, InvalidField,
    convert::page_size,
    pb::control::{
        ListEventsRequest, ListEventsResponse, WatchEventsRequest, WatchEventsResponse, events_server::Events,
    },
};
use std::{pin::Pin, sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status};

/// Answers to one watcher that may wait; beyond it the watcher is waited for, and reads from the archive later.
const OUTBOX_MAX: usize = 16;
/// Revisions in one answer of a watch.
const WATCH_PAGE: usize = 256;
/// How long a watch waits for a coordinator that may be behind.
const BEHIND_FOR: Duration = Duration::from_secs(5);

async fn since(consensus: &Consensus, start: Revision, limit: usize) -> Result<Vec<Arc<Committed>>, Status> {
    match consensus.feed().since(start, limit).await {
        Ok(Archived::Revisions(found)) => Ok(found),
        Ok(Archived::Compacted(first_kept)) => Err(ApiError::Compacted { first_kept }.into()),
        Err(problem) => Err(ApiError::Internal(problem).into()),
    }
}

fn token(text: &str) -> Result<Revision, Status> {
    text.parse().map(Revision).map_err(|_| {
        ApiError::Invalid(InvalidField::new(
            "page_token",
            "is not one of ours",
            "pass next_page_token of the last answer",
        ))
        .into()
    })
}

#[tonic::async_trait]
impl Events for Api {
    async fn list_events(
        &self,
        request: Request<ListEventsRequest>,
    ) -> Result<Response<ListEventsResponse>, Status> {
        let request = request.into_inner();
        let size = page_size(request.page_size);
        let last = self.consensus.feed().view().state.revision();
        let start = if !request.page_token.is_empty() {
            token(&request.page_token)?
        } else if request.latest {
            let wanted = last.0.saturating_sub(size as u64).saturating_add(1);
            let first = self.consensus.feed().first_kept().await.map_err(ApiError::Internal)?;
            Revision(wanted.max(first.0))
        } else {
            Revision(request.start_revision)
        };
        let found = since(&self.consensus, start, size).await?;
        let next = found.last().map(|committed| committed.revision.next()).filter(|next| *next <= last);
        let next_page_token =
            next.filter(|_| !request.latest).map_or_else(String::new, |next| next.to_string());
        let revisions = found.iter().map(|committed| committed.as_ref().into()).collect();
        Ok(Response::new(ListEventsResponse { revisions, next_page_token }))
    }

    type WatchEventsStream = Pin<Box<dyn Stream<Item = Result<WatchEventsResponse, Status>> + Send>>;

    async fn watch_events(
        &self,
        request: Request<WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let room = Arc::clone(&self.watches).try_acquire_owned();
        let room = room.map_err(|_| ApiError::TooManyWatches { limit: WATCHES_MAX })?;
        let asked = Revision(request.into_inner().start_revision);
        let consensus = self.consensus.clone();
        let start = if asked.0 == 0 {
            consensus.feed().view().state.revision().next()
        } else {
            follows_what_exists(&consensus, asked).await?;
            asked
        };
        let (outbox, answers) = mpsc::channel(OUTBOX_MAX);
        tokio::spawn(async move {
            if let Err(status) = watch(&consensus, start, &outbox).await {
                // A watcher that has gone needs no reason.
                let _ = outbox.send(Err(status)).await;
            }
            drop(room);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

/// Returns once the revision before this one exists here. The first answer of a watch says that all before its start were
/// seen, and that must not be said of what does not exist.
async fn follows_what_exists(consensus: &Consensus, start: Revision) -> Result<(), Status> {
    let exists = |view: &View| start <= view.state.revision().next();
    if exists(&consensus.feed().view()) {
        return Ok(());
    }
    if let Ok(newest) = consensus.confirmed_view().await {
        let last = newest.state.revision();
        return if exists(&newest) {
            Ok(())
        } else {
            Err(ApiError::RevisionAhead { asked: start, last }.into())
        };
    }
    // One that does not lead may only be behind.
    let mut views = consensus.feed().watch();
    match timeout(BEHIND_FOR, views.wait_for(exists)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(STOPPING.into()),
        Err(_) => Err(ApiError::TooLate {
            what: "the revision before start_revision",
            remedy: "this coordinator is behind, or there is none; ask the leader",
        }
        .into()),
    }
}

type Outbox = mpsc::Sender<Result<WatchEventsResponse, Status>>;

/// Sends revision after revision; ends without error when the watcher goes.
async fn watch(consensus: &Consensus, start: Revision, outbox: &Outbox) -> Result<(), Status> {
    let mut views = consensus.feed().watch();
    let begin = WatchEventsResponse { revisions: vec![], through_revision: start.0.saturating_sub(1) };
    if outbox.send(Ok(begin)).await.is_err() {
        return Ok(());
    }
    let mut next = start;
    loop {
        let found = since(consensus, next, WATCH_PAGE).await?;
        if let Some(last) = found.last() {
            next = last.revision.next();
            let answer = WatchEventsResponse {
                through_revision: last.revision.0,
                revisions: found.iter().map(|committed| committed.as_ref().into()).collect(),
            };
            if outbox.send(Ok(answer)).await.is_err() {
                return Ok(());
            }
            continue;
        }
        tokio::select! {
            () = outbox.closed() => return Ok(()),
            changed = views.changed() => if changed.is_err() {
                return Err(STOPPING.into());
            },
        }
    }
}
