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
    time::{sleep, timeout},
};

/// The most commands in one entry.
pub(crate) const BATCH_MAX: usize = 512;
/// The most bytes of commands in one entry; a command larger than this is refused.
pub(crate) const BATCH_MAX_BYTES: usize = 1 << 20;
/// The most commands that wait to be proposed.
pub(crate) const QUEUE_MAX: usize = 8_192;

/// How often it is looked whether those that wait behind an entry in flight can still be decided.
const LOOK_EVERY: Duration = Duration::from_millis(50);

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
    leadership: watch::Receiver<Leadership>,
}

impl Proposer {
    pub(crate) fn start(
        raft: Raft,
        leadership: watch::Receiver<Leadership>,
        deadline: Duration,
        shutdown: &Shutdown,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (token, of_run) = (shutdown.token(), leadership.clone());
        shutdown.spawn("proposer", async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = run(raft, of_run, waiting, deadline) => {}
            }
        });
        Self { queue, leadership }
    }

    pub(crate) async fn propose(&self, proposal: Proposal) -> Result<Outcome, ProposeError> {
        let encoded = Batch::encode(&proposal);
        let bytes = encoded.len();
        if bytes > BATCH_MAX_BYTES {
            return Err(ProposeError::TooLarge { bytes, limit: BATCH_MAX_BYTES });
        }
        // Not only when its turn comes: an entry in flight without a quorum would hold it up.
        if let Some(error) = gate(&self.leadership.borrow()) {
            return Err(error);
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
        let first = match carried.take() {
            Some(first) => first,
            None => match queue.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let entry;
        (entry, carried) = gather(first, &mut queue, Instant::now(), deadline);
        let refusal = gate(&leadership.borrow());
        if let Some(error) = refusal {
            answer_all(entry.answers, &error);
        } else if !entry.proposals.is_empty() {
            let batch = Batch::of_encoded(entry.proposals, &entry.encoded);
            let written = write(&raft, batch, entry.answers, deadline);
            tokio::pin!(written);
            loop {
                tokio::select! {
                    () = &mut written => break,
                    () = sleep(LOOK_EVERY) => {
                        if let Some(error) = gate(&leadership.borrow()) {
                            refuse_waiting(&mut carried, &mut queue, &error);
                        }
                    }
                }
            }
        }
    }
}

/// Answers everything that waits behind an entry in flight.
fn refuse_waiting(carried: &mut Option<Waiting>, queue: &mut mpsc::Receiver<Waiting>, error: &ProposeError) {
    let waiting = carried.take().into_iter().chain(std::iter::from_fn(|| queue.try_recv().ok()));
    answer_all(waiting.map(|waiting| waiting.answer), error);
}

/// The next entry: what waits, as far as there is room, and the one for which there was none. What has waited longer than
/// the deadline is refused.
fn gather(
    first: Waiting,
    queue: &mut mpsc::Receiver<Waiting>,
    now: Instant,
    deadline: Duration,
) -> (NextEntry, Option<Waiting>) {
    let mut entry = NextEntry::with_room(queue.len().min(BATCH_MAX) + 1);
    let mut next = Some(first);
    while let Some(waiting) = next.take() {
        if now.saturating_duration_since(waiting.since) > deadline {
            // A caller that has gone away needs no answer.
            let _ = waiting.answer.send(Err(ProposeError::Overloaded));
        } else if entry.has_room_for(&waiting) {
            entry.add(waiting);
        } else {
            return (entry, Some(waiting));
        }
        next = queue.try_recv().ok();
    }
    (entry, None)
}

/// Whether a command would be taken now; when not, it certainly has no effect.
fn gate(leadership: &Leadership) -> Option<ProposeError> {
    if !leadership.leads {
        return Some(ProposeError::NotLeader { leader: leadership.leader_hint() });
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

fn answer_all(answers: impl IntoIterator<Item = Answer>, error: &ProposeError) {
    for answer in answers {
        // A caller that has gone away needs no answer.
        let _ = answer.send(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_domain::{Cause, Command, GroupId, Timestamp};

    const DEADLINE: Duration = Duration::from_secs(1);

    fn waiting(bytes: usize, since: Instant) -> (Waiting, oneshot::Receiver<Result<Outcome, ProposeError>>) {
        let (answer, wait) = oneshot::channel();
        let command = Command::DeleteGroup { group: GroupId::new("g1").unwrap() };
        let proposal = Proposal::new(Timestamp(1), Cause::Cluster, command);
        (Waiting { proposal, encoded: vec![0; bytes], since, answer }, wait)
    }

    /// Gathers commands of these sizes and ages; the sizes of those in the entry, and the size of the one left over.
    fn gathered(commands: &[(usize, Duration)]) -> (Vec<usize>, Option<usize>, usize) {
        let now = Instant::now() + 10 * DEADLINE;
        let (send, mut queue) = mpsc::channel(QUEUE_MAX);
        let mut waits = Vec::new();
        let mut first = None;
        for (bytes, age) in commands {
            let (waiting, wait) = waiting(*bytes, now.checked_sub(*age).unwrap());
            waits.push(wait);
            if first.is_none() {
                first = Some(waiting);
            } else {
                send.try_send(waiting).map_err(|_| "full").unwrap();
            }
        }
        let (entry, left) = gather(first.unwrap(), &mut queue, now, DEADLINE);
        let refused = waits
            .iter_mut()
            .filter_map(|wait| wait.try_recv().ok())
            .inspect(|answer| assert_eq!(*answer, Err(ProposeError::Overloaded)));
        let refused = refused.count();
        assert_eq!(entry.proposals.len(), entry.answers.len());
        let sizes = entry.encoded.iter().map(Vec::len).collect();
        (sizes, left.map(|left| left.encoded.len()), refused)
    }

    #[test]
    fn an_entry_holds_what_waits_as_far_as_bytes_and_number_allow() {
        let new = Duration::ZERO;
        assert_eq!(gathered(&[(1, new), (2, new), (3, new)]), (vec![1, 2, 3], None, 0));
        let half = BATCH_MAX_BYTES / 2;
        assert_eq!(gathered(&[(half, new), (half, new), (1, new)]), (vec![half, half], Some(1), 0));
        let huge = BATCH_MAX_BYTES + 1;
        assert_eq!(gathered(&[(huge, new), (1, new)]), (vec![huge], Some(1), 0), "alone, for it was let in");
        let many = vec![(1, new); BATCH_MAX + 2];
        assert_eq!(gathered(&many), (vec![1; BATCH_MAX], Some(1), 0));
    }

    #[test]
    fn what_waited_longer_than_the_deadline_is_refused_and_takes_no_room() {
        let (new, old) = (DEADLINE, DEADLINE + Duration::from_millis(1));
        assert_eq!(gathered(&[(1, old), (2, new), (3, old)]), (vec![2], None, 2));
        assert_eq!(gathered(&[(1, old)]), (vec![], None, 1));
    }

    #[test]
    fn all_that_wait_behind_an_entry_are_refused_once_nothing_can_be_decided() {
        let (send, mut queue) = mpsc::channel(QUEUE_MAX);
        let (carried, mut first) = waiting(1, Instant::now());
        let (queued, mut second) = waiting(1, Instant::now());
        send.try_send(queued).map_err(|_| "full").unwrap();
        let mut carried = Some(carried);
        refuse_waiting(&mut carried, &mut queue, &ProposeError::NoQuorum);
        for wait in [&mut first, &mut second] {
            assert_eq!(wait.try_recv().unwrap(), Err(ProposeError::NoQuorum));
        }
        assert!(carried.is_none() && queue.try_recv().is_err());
    }
}
