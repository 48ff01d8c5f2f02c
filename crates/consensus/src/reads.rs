//! Linearizable reads and confirmed leadership: one round of the quorum serves all that wait for it.

use crate::{
    feed::{Feed, View},
    leadership::Leadership,
    types::Raft,
};
use openraft::error::{CheckIsLeaderError, RaftError};
use quorate_domain::CoordinatorId;
use quorate_runtime::shutdown::Shutdown;
use std::time::Duration;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

/// The most reads that wait for a round.
pub(crate) const QUEUE_MAX: usize = 65_536;

/// Why a read has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Another coordinator leads, or none does.
    #[error("this coordinator does not lead")]
    NotLeader {
        /// Who does, and where it is reached by clients.
        leader: Option<(CoordinatorId, String)>,
    },
    /// No quorum confirmed this leader in time.
    #[error("no quorum of coordinators confirmed this leader")]
    NoQuorum,
    /// Too many wait.
    #[error("{QUEUE_MAX} reads wait already; try again later")]
    Overloaded,
    /// The node is stopping.
    #[error("this coordinator is stopping")]
    Stopped,
}

type Answer = oneshot::Sender<Result<View, ReadError>>;

/// The way to a confirmed view. Clones share it.
#[derive(Clone)]
pub(crate) struct Reads {
    queue: mpsc::Sender<Answer>,
}

impl Reads {
    pub(crate) fn start(
        raft: Raft,
        feed: Feed,
        leadership: watch::Receiver<Leadership>,
        deadline: Duration,
        shutdown: &Shutdown,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let token = shutdown.token();
        shutdown.spawn("reads", async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = run(raft, feed, leadership, waiting, deadline) => {}
            }
        });
        Self { queue }
    }

    /// A view in which nothing is missing that was committed before this call, confirmed by a round of the quorum that
    /// started after it.
    pub(crate) async fn confirmed_view(&self) -> Result<View, ReadError> {
        let (answer, wait) = oneshot::channel();
        self.queue.try_send(answer).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ReadError::Overloaded,
            mpsc::error::TrySendError::Closed(_) => ReadError::Stopped,
        })?;
        wait.await.unwrap_or(Err(ReadError::Stopped))
    }
}

async fn run(
    raft: Raft,
    feed: Feed,
    leadership: watch::Receiver<Leadership>,
    mut queue: mpsc::Receiver<Answer>,
    deadline: Duration,
) {
    while let Some(first) = queue.recv().await {
        // Everything that is here now came before the round below; what comes during it waits for the next.
        let mut answers = vec![first];
        while let Ok(next) = queue.try_recv() {
            answers.push(next);
        }
        let result = confirm(&raft, &feed, &leadership, deadline).await;
        for answer in answers {
            // A caller that has gone away needs no answer.
            let _ = answer.send(result.clone());
        }
    }
}

async fn confirm(
    raft: &Raft,
    feed: &Feed,
    leadership: &watch::Receiver<Leadership>,
    deadline: Duration,
) -> Result<View, ReadError> {
    let not_leader = || ReadError::NotLeader { leader: leadership.borrow().leader_hint() };
    if !leadership.borrow().leads {
        return Err(not_leader());
    }
    // A round would be in vain, and whoever waits for it would wait for the whole deadline.
    if leadership.borrow().has_lost_quorum() {
        return Err(ReadError::NoQuorum);
    }
    match timeout(deadline, raft.ensure_linearizable()).await {
        Ok(Ok(_)) => Ok(feed.view()),
        Ok(Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(_)))) => Err(not_leader()),
        Ok(Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_)))) | Err(_) => {
            Err(ReadError::NoQuorum)
        }
        Ok(Err(RaftError::Fatal(_))) => Err(ReadError::Stopped),
    }
}
