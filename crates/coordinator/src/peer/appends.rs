//! The stream of appends to one peer: opened by the first message that finds none, shared by all that follow, and closed
//! by the first that gets no answer in time.

use super::transport::Peers;
use quorate_domain::InstanceId;
use quorate_rpc::pb::raft::{self as pb, raft_client::RaftClient};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{Status, Streaming, transport::Channel};

/// Messages that wait for their answers at most. openraft has one of entries under way and a few heartbeats.
const UNANSWERED_MAX: usize = 64;

type Answer = Result<pb::AppendEntriesResponse, Status>;

/// The way to one peer. Clones share the stream.
#[derive(Clone)]
pub(super) struct Appends {
    client: RaftClient<Channel>,
    open: Arc<tokio::sync::Mutex<Option<Arc<Open>>>>,
}

/// An open stream.
struct Open {
    /// The start of the peer that answers on it.
    start: InstanceId,
    inner: Mutex<Inner>,
}

/// What was sent and not answered, oldest first. Without a sender the stream is closed.
struct Inner {
    outgoing: Option<mpsc::Sender<pb::AppendEntriesRequest>>,
    unanswered: VecDeque<oneshot::Sender<Answer>>,
    reader: Option<AbortHandle>,
}

impl Appends {
    pub(super) fn new(client: RaftClient<Channel>) -> Self {
        Self { client, open: Arc::default() }
    }

    /// Sends a message and waits for its answer. When this is dropped before, the stream is given up: a peer that does
    /// not answer would only be sent more and more.
    pub(super) async fn send(&self, peers: &Peers, to: u64, request: pb::AppendEntriesRequest) -> Answer {
        let (open, answer) = self.hand_over(peers, to, request).await?;
        let mut unanswered = Unanswered(Some(Arc::clone(&open)));
        let answer = answer.await;
        if !peers.is_current(to, &open.start) {
            return Err(Status::failed_precondition(format!(
                "member {to} goes on by another start than {}, which answers here",
                open.start
            )));
        }
        unanswered.0 = None;
        let answer =
            answer.unwrap_or_else(|_| Err(Status::unavailable("the stream of appends was closed")))?;
        peers.note_answer(to);
        Ok(answer)
    }

    async fn hand_over(
        &self,
        peers: &Peers,
        to: u64,
        mut request: pb::AppendEntriesRequest,
    ) -> Result<(Arc<Open>, oneshot::Receiver<Answer>), Status> {
        let mut current = self.open.lock().await;
        if let Some(open) = current.as_ref() {
            match open.push(request) {
                Ok(answer) => return Ok((Arc::clone(open), answer)),
                Err(returned) => request = *returned,
            }
        }
        let (open, answer) = self.open_with(peers, to, request).await?;
        *current = Some(Arc::clone(&open));
        Ok((open, answer))
    }

    /// Opens a stream with its first message, which the peer may want to see before it accepts.
    async fn open_with(
        &self,
        peers: &Peers,
        to: u64,
        first: pb::AppendEntriesRequest,
    ) -> Result<(Arc<Open>, oneshot::Receiver<Answer>), Status> {
        let first = pb::AppendEntriesRequest { sender: Some(peers.sender(to)), ..first };
        let (outgoing, following) = mpsc::channel(UNANSWERED_MAX);
        let stream = tokio_stream::once(first).chain(ReceiverStream::new(following));
        let response = self.client.clone().append_entries(stream).await?;
        let (incoming, start) = peers.accept(to, response)?;
        let (answer, wait) = oneshot::channel();
        let inner = Inner { outgoing: Some(outgoing), unanswered: VecDeque::from([answer]), reader: None };
        let open = Arc::new(Open { start, inner: Mutex::new(inner) });
        let reader = tokio::spawn(read_answers(Arc::clone(&open), incoming));
        open.lock().reader = Some(reader.abort_handle());
        Ok((open, wait))
    }
}

/// Hands out answers in the order of the messages until the stream ends.
async fn read_answers(open: Arc<Open>, mut incoming: Streaming<pb::AppendEntriesResponse>) {
    let end = loop {
        match incoming.message().await {
            Ok(Some(answer)) => {
                let Some(waiting) = open.lock().unanswered.pop_front() else {
                    break Status::internal("an answer that nobody asked for");
                };
                // Whoever waited may have gone away.
                let _ = waiting.send(Ok(answer));
            }
            Ok(None) => break Status::unavailable("the peer ended the stream of appends"),
            Err(status) => break status,
        }
    };
    open.close(&end);
}

impl Open {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message on its way; gives it back when the stream is closed or nothing moves on it any more.
    fn push(
        &self,
        request: pb::AppendEntriesRequest,
    ) -> Result<oneshot::Receiver<Answer>, Box<pb::AppendEntriesRequest>> {
        let mut inner = self.lock();
        let Some(outgoing) = &inner.outgoing else { return Err(Box::new(request)) };
        outgoing.try_send(request).map_err(|error| Box::new(error.into_inner()))?;
        let (answer, wait) = oneshot::channel();
        inner.unanswered.push_back(answer);
        Ok(wait)
    }

    /// Ends the stream; whoever waits on it hears why.
    fn close(&self, why: &Status) {
        let mut inner = self.lock();
        inner.outgoing = None;
        if let Some(reader) = inner.reader.take() {
            reader.abort();
        }
        for waiting in inner.unanswered.drain(..) {
            // Whoever waited may have gone away.
            let _ = waiting.send(Err(why.clone()));
        }
    }
}

/// Closes the stream when it is dropped with the stream still in it.
struct Unanswered(Option<Arc<Open>>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            open.close(&Status::deadline_exceeded("an earlier message was not answered in time"));
        }
    }
}
