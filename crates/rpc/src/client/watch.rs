//! Following what happens, across disconnects.

use super::{
    Client, ClientError,
    call::{Answer, Call, backoff},
    options::CLUSTER_METADATA,
};
use crate::{
    pb::{
        control::{WatchEventsRequest, WatchEventsResponse, events_client::EventsClient},
        types::Revision,
    },
    status::{Failure, classify},
};
use quorate_runtime::retry::Backoff;
use std::{collections::VecDeque, time::Duration};
use tokio::time::{Instant, sleep_until};
use tonic::{Code, Request, Response, Status, Streaming, transport::Channel};

/// Every revision from one on, in order, each once.
///
/// It holds at most one message of the stream; beyond that the connection's flow control holds the sender back.
#[derive(Debug)]
pub struct EventWatch {
    client: Client,
    /// The first revision that has not arrived; zero before the stream said where it begins.
    resume_from: u64,
    arrived: VecDeque<Revision>,
    stream: Option<(String, Streaming<WatchEventsResponse>)>,
    backoff: Backoff,
    /// No new stream is opened before.
    pause_until: Option<Instant>,
    ended: bool,
}

impl Client {
    /// Follows what happens from a revision on; zero means from now on. Nothing is sent before the first
    /// [`EventWatch::next`].
    pub fn watch_events(&self, start_revision: u64) -> EventWatch {
        EventWatch {
            client: self.clone(),
            resume_from: start_revision,
            arrived: VecDeque::new(),
            stream: None,
            backoff: backoff(),
            pause_until: None,
            ended: false,
        }
    }
}

impl EventWatch {
    /// The next revision. A broken stream is taken up again, from the next revision and with whichever coordinator
    /// answers. Dropping the future loses nothing.
    ///
    /// An error that [is unavailable](ClientError::is_unavailable) means that nobody answered within the client's
    /// deadline: call again to go on trying. Any other error is the last item.
    pub async fn next(&mut self) -> Option<Result<Revision, ClientError>> {
        loop {
            if let Some(revision) = self.arrived.pop_front() {
                return Some(Ok(revision));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.receive().await {
                self.ended = !error.is_unavailable();
                return Some(Err(error));
            }
        }
    }

    /// Waits for a message, or opens the stream that it will come from.
    async fn receive(&mut self) -> Result<(), ClientError> {
        let Some((address, stream)) = &mut self.stream else { return self.open().await };
        let failure = match stream.message().await {
            Ok(Some(message)) => {
                self.backoff.reset();
                return self.take(message);
            }
            Ok(None) => Failure::Unreachable { sent: true, message: "the stream ended".to_owned() },
            Err(status) => classify(&status),
        };
        tracing::debug!(endpoint = %address, error = %failure, resume_from = self.resume_from, "watch interrupted");
        self.client.note_stream_end(address, &failure);
        self.stream = None;
        self.pause_until = self.backoff.next_delay().map(|delay| Instant::now() + delay);
        ClientError::answer(failure).map_or(Ok(()), Err)
    }

    async fn open(&mut self) -> Result<(), ClientError> {
        if let Some(until) = self.pause_until {
            sleep_until(until).await;
            self.pause_until = None;
        }
        let options = &self.client.options;
        let call = Call {
            request: &WatchEventsRequest { start_revision: self.resume_from },
            request_id: None,
            per_try: options.per_try_timeout,
            held: Duration::ZERO,
            deadline: options.deadline,
        };
        let Answer { address, body } = self.client.call(call, open_stream).await?;
        self.stream = Some((address, body));
        Ok(())
    }

    /// Takes what is new of a message. A revision that was skipped would be an event that nobody ever hears of; what
    /// came before it is handed out first, and the stream is asked once more from there. Revisions have no gaps, so
    /// what arrived says where to resume; only a watch from now on must be told where it began.
    fn take(&mut self, message: WatchEventsResponse) -> Result<(), ClientError> {
        for revision in message.revisions {
            let number = revision.revision;
            if number < self.resume_from {
                continue;
            }
            if self.resume_from != 0 && number > self.resume_from {
                if !self.arrived.is_empty() {
                    self.stream = None;
                    return Ok(());
                }
                let message = format!("the watch skipped from revision {} to {number}", self.resume_from);
                return Err(ClientError::Other { code: Code::DataLoss, message });
            }
            self.resume_from = number.saturating_add(1);
            self.arrived.push_back(revision);
        }
        if self.resume_from == 0 {
            self.resume_from = message.through_revision.saturating_add(1);
        }
        Ok(())
    }
}

/// Opens the stream. The deadline is for its opening only: the stream itself stays open, and keepalive watches over it.
async fn open_stream(
    channel: Channel,
    max_bytes: usize,
    request: Request<WatchEventsRequest>,
) -> Result<Response<Streaming<WatchEventsResponse>>, Status> {
    let cluster = request.metadata().get(CLUSTER_METADATA).cloned();
    let mut request = Request::new(request.into_inner());
    if let Some(cluster) = cluster {
        request.metadata_mut().insert(CLUSTER_METADATA, cluster);
    }
    EventsClient::new(channel).max_decoding_message_size(max_bytes).watch_events(request).await
}
