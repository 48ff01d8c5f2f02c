//! Commands on their way into the log: many in one entry, one entry in flight, an honest answer for each.

use crate::{
    leadership::Leadership,
    types::{Batch, Raft},
};
use openraft::error::{ClientWriteError, RaftError};
use quorate_domain::{CoordinatorId, Outcome, Proposal};
use quorate_runtime::shutdown::Shutdown;
use std::time::{Duration, Instant};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

/// The most commands in one entry.
pub(crate) const BATCH_MAX: usize = 512;
/// The most bytes of commands in one entry; a command larger than this is refused.
pub(crate) const BATCH_MAX_BYTES: usize = 1 << 20;
/// The most commands that wait to be proposed.
pub(crate) const QUEUE_MAX: usize = 8_192;

/// Why there is no answer to a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another coordinator leads, or none does; the command had no effect.
    #[error("this coordinator does not lead")]
    NotLeader {
        /// Who does, and where it is reached by clients.
        leader: Option<(CoordinatorId, String)>,
    },
    /// No quorum acknowledges this leader; the command had no effect.
    #[error("no quorum of coordinators is reachable")]
    NoQuorum,
    /// The command may have had its effect, or may have it yet. Its request id tells.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The command had no effect.
    #[error("a command of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Too many wait, or it waited too long; the command had no effect.
    #[error("more commands wait than can be decided in time; try again later")]
    Overloaded,
    /// The node is stopping; the command had no effect.
    #[error("this coordinator is stopping")]
    Stopped,
}

type Answer = oneshot::Sender<Result<Outcome, ProposeError>>;

struct Waiting {
    proposal: Proposal,
    encoded: Vec<u8>,
    since: Instant,
    answer: Answer,
}

/// The commands of the next entry.
struct NextEntry {
    proposals: Vec<Proposal>,
    encoded: Vec<Vec<u8>>,
    answers: Vec<Answer>,
    bytes: usize,
}

impl NextEntry {
    /// Commands are large: better not to move them while their number grows.
    fn with_room(commands: usize) -> Self {
        Self {
            proposals: Vec::with_capacity(commands),
            encoded: Vec::with_capacity(commands),
            answers: Vec::with_capacity(commands),
            bytes: 0,
        }
    }

    fn has_room_for(&self, waiting: &Waiting) -> bool {
        self.proposals.is_empty()
            || (self.proposals.len() < BATCH_MAX && self.bytes + waiting.encoded.len() <= BATCH_MAX_BYTES)
    }

    fn add(&mut self, waiting: Waiting) {
        self.bytes += waiting.encoded.len();
        self.proposals.push(waiting.proposal);
        self.encoded.push(waiting.encoded);
        self.answers.push(waiting.answer);
    }
}

/// The way into the log. Clones share it.
#[derive(Clone)]
pub(crate) struct Proposer {
    queue: mpsc::Sender<Waiting>,
}

impl Proposer {
    pub(crate) fn start(
        raft: Raft,
        leadership: watch::Receiver<Leadership>,
        deadline: Duration,
        shutdown: &Shutdown,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let token = shutdown.token();
        shutdown.spawn("proposer", async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = run(raft, leadership, waiting, deadline) => {}
            }
        });
        Self { queue }
    }

    pub(crate) async fn propose(&self, proposal: Proposal) -> Result<Outcome, ProposeError> {
        let encoded = Batch::encode(&proposal);
        let bytes = encoded.len();
        if bytes > BATCH_MAX_BYTES {
            return Err(ProposeError::TooLarge { bytes, limit: BATCH_MAX_BYTES });
        }
        let (answer, wait) = oneshot::channel();
        let since = Instant::now();
        self.queue.try_send(Waiting { proposal, encoded, since, answer }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ProposeError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ProposeError::Stopped,
        })?;
        // What waits longer than the deadline is refused, and what is written is given up after another one.
        wait.await.unwrap_or_else(|_| {
            Err(ProposeError::Unknown("the coordinator stopped before it answered".into()))
        })
    }
}

async fn run(
    raft: Raft,
    leadership: watch::Receiver<Leadership>,
    mut queue: mpsc::Receiver<Waiting>,
    deadline: Duration,
) {
    let mut carried: Option<Waiting> = None;
    loop {
        let mut next = match carried.take() {
            Some(first) => Some(first),
            None => queue.recv().await,
        };
        if next.is_none() {
            return;
        }
        let now = Instant::now();
        let mut entry = NextEntry::with_room(queue.len().min(BATCH_MAX) + 1);
        while let Some(waiting) = next.take() {
            if now.saturating_duration_since(waiting.since) > deadline {
                // A caller that has gone away needs no answer.
                let _ = waiting.answer.send(Err(ProposeError::Overloaded));
            } else if entry.has_room_for(&waiting) {
                entry.add(waiting);
            } else {
                carried = Some(waiting);
                break;
            }
            next = queue.try_recv().ok();
        }
        let refusal = gate(&leadership.borrow());
        if let Some(error) = refusal {
            answer_all(entry.answers, &error);
        } else if !entry.proposals.is_empty() {
            let batch = Batch::of_encoded(entry.proposals, &entry.encoded);
            write(&raft, batch, entry.answers, deadline).await;
        }
    }
}

/// Whether a command would be taken now; when not, it certainly has no effect.
fn gate(leadership: &Leadership) -> Option<ProposeError> {
    if !leadership.leads {
        let leader = leadership.leader.clone().map(|(id, node)| (id, node.api_address));
        return Some(ProposeError::NotLeader { leader });
    }
    (!leadership.can_decide()).then_some(ProposeError::NoQuorum)
}

async fn write(raft: &Raft, batch: Batch, answers: Vec<Answer>, deadline: Duration) {
    match timeout(deadline, raft.client_write(batch)).await {
        Ok(Ok(response)) => {
            for (answer, outcome) in answers.into_iter().zip(response.data.0) {
                // A caller that has gone away needs no answer.
                let _ = answer.send(Ok(outcome));
            }
        }
        Ok(Err(error)) => answer_all(answers, &write_error(&error)),
        Err(_) => {
            let waited = format!("no quorum confirmed it within {} ms", deadline.as_millis());
            answer_all(answers, &ProposeError::Unknown(waited));
        }
    }
}

/// A leader that is deposed forwards what it had already put into its log, so even this is no certain refusal.
fn write_error(error: &RaftError<u64, ClientWriteError<u64, crate::types::MemberNode>>) -> ProposeError {
    ProposeError::Unknown(match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {
            "leadership changed meanwhile".to_owned()
        }
        other => other.to_string(),
    })
}

fn answer_all(answers: Vec<Answer>, error: &ProposeError) {
    for answer in answers {
        // A caller that has gone away needs no answer.
        let _ = answer.send(Err(error.clone()));
    }
}
