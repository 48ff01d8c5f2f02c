//! The services that clients speak to. Each checks its request, proposes or reads, and translates the answer.

mod cluster;
mod disks;
mod events;
mod groups;
mod hosts;
mod members;
mod operations;
mod warnings;

use crate::{
    lease_record::LeaseRecord, lost_lines::Lost, memory::Memory, peer::Peers, peer_watch::PeerWatch,
};
use quorate_consensus::{Consensus, ProposeError, ReadError, View};
use quorate_domain::{Cause, OperationId, RequestId, Revision};
use quorate_rpc::{
    ApiError,
    convert::{Consistency, Mutation, consistency},
    pb::types,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, Semaphore};
use tonic::Status;

/// The most watches of events that are served at a time; each reads the archive at its own pace.
pub(crate) const WATCHES_MAX: usize = 256;

/// All client services of one coordinator.
#[derive(Clone)]
pub(crate) struct Api {
    consensus: Consensus,
    memory: Memory,
    peers: Peers,
    watch: PeerWatch,
    lease: LeaseRecord,
    proposal_deadline: Duration,
    /// Whoever takes a digest of the whole state.
    digesting: Arc<Mutex<()>>,
    /// What was last found to be wrong.
    warned: Arc<warnings::Warned>,
    lost: Lost,
    /// Room for watches of events.
    watches: Arc<Semaphore>,
}

/// What an accepted mutation led to.
struct Accepted {
    revision: Revision,
    operation: Option<OperationId>,
}

impl Api {
    pub(crate) fn new(
        consensus: Consensus,
        memory: Memory,
        peers: Peers,
        watch: PeerWatch,
        lease: LeaseRecord,
        lost: Lost,
        proposal_deadline: Duration,
    ) -> Self {
        let (digesting, warned) = (Arc::default(), Arc::default());
        let watches = Arc::new(Semaphore::new(WATCHES_MAX));
        Self { consensus, memory, peers, watch, lease, proposal_deadline, digesting, warned, lost, watches }
    }

    /// A view as recent as the request wants it, and what the answer says of it.
    async fn view(&self, wanted: i32) -> Result<(View, types::View), Status> {
        let stale = consistency(wanted).map_err(ApiError::Invalid)? == Consistency::Stale;
        let view = if stale {
            self.consensus.feed().view()
        } else {
            self.consensus.confirmed_view().await.map_err(read_error)?
        };
        let described = types::View {
            revision: view.state.revision().0,
            stale,
            coordinator_id: self.consensus.folder().node().0,
        };
        Ok((view, described))
    }

    async fn mutate(&self, mutation: Mutation) -> Result<Accepted, Status> {
        let Mutation { request_id, command } = mutation;
        let cause = Cause::Operator { request_id: request_id.clone() };
        match self.consensus.propose(cause, command).await {
            Ok(quorate_domain::Outcome::Accepted { revision, operation, .. }) => {
                Ok(Accepted { revision, operation })
            }
            Ok(quorate_domain::Outcome::Refused(rejection)) => Err(ApiError::Rejected(rejection).into()),
            Err(error) => {
                let waited = u64::try_from(self.proposal_deadline.as_millis()).unwrap_or(u64::MAX);
                Err(propose_error(error, Some((request_id, waited))).into())
            }
        }
    }
}

/// What a coordinator answers once it is stopping.
pub(crate) const STOPPING: ApiError =
    ApiError::Stopping { who: "this coordinator", remedy: "ask another coordinator" };

/// A read that has no answer, on the wire.
pub(crate) fn read_error(error: ReadError) -> ApiError {
    match error {
        ReadError::NotLeader { leader } => ApiError::NotLeader { leader },
        ReadError::NoQuorum => ApiError::NoQuorum,
        ReadError::Overloaded => ApiError::Overloaded,
        ReadError::Stopped => STOPPING,
    }
}

/// A command that has no answer, on the wire.
pub(crate) fn propose_error(error: ProposeError, request: Option<(RequestId, u64)>) -> ApiError {
    match error {
        ProposeError::NotLeader { leader } => ApiError::NotLeader { leader },
        ProposeError::NoQuorum => ApiError::NoQuorum,
        ProposeError::Overloaded => ApiError::Overloaded,
        ProposeError::Stopped => STOPPING,
        ProposeError::TooLarge { .. } => {
            ApiError::Invalid(quorate_rpc::InvalidField::new("request", error.to_string(), "make it smaller"))
        }
        ProposeError::Unknown(_) => {
            let (request_id, timeout_ms) = request.map_or((None, 0), |(id, waited)| (Some(id), waited));
            ApiError::Unknown { request_id, timeout_ms }
        }
    }
}

/// One page of a sorted list: what is behind the token, at most `size`, and the token of the next page.
fn page<T>(
    items: impl Iterator<Item = T>,
    token: &str,
    size: usize,
    key: impl Fn(&T) -> String,
) -> (Vec<T>, String) {
    let mut found: Vec<T> =
        items.skip_while(|item| !token.is_empty() && key(item).as_str() <= token).take(size + 1).collect();
    let more = found.len() > size;
    found.truncate(size);
    let next = if more { found.last().map(&key).unwrap_or_default() } else { String::new() };
    (found, next)
}

#[cfg(test)]
mod tests {
    use super::page;

    #[test]
    fn pages_join_up_without_gap_or_repeat() {
        let names: Vec<String> = (0..10).map(|i| format!("n{i}")).collect();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let (found, next) = page(names.iter().cloned(), &token, 3, Clone::clone);
            assert!(found.len() <= 3);
            seen.extend(found);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, names);
    }
}
