//! The network as a leader has it: none, once it has lost its quorum.
//!
//! Whatever a leader sends keeps its followers from electing another one, also when none of their answers arrives:
//! heartbeats, which [`crate::leadership`] stops, but just as well entries that are sent again and again, and the
//! rounds that a client's reads ask for. So nothing of it is sent any more. A leader that has lost its quorum gains
//! nothing by speaking: it decides nothing, and hears of its successor when the links heal.

use crate::{
    leadership::Leadership,
    types::{MemberNode, TypeConfig},
};
use openraft::{
    RaftNetwork, RaftNetworkFactory,
    error::{InstallSnapshotError, RPCError, RaftError, Unreachable},
    network::{Backoff, RPCOption},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse,
        VoteRequest, VoteResponse,
    },
};
use std::{
    io,
    sync::{Arc, OnceLock},
};
use tokio::sync::watch;

type Answer<T, E = openraft::error::Infallible> = Result<T, RPCError<u64, MemberNode, RaftError<u64, E>>>;

/// The way to what this node knows of its leadership, which there is only once Raft runs.
pub(crate) type KnownLater = Arc<OnceLock<watch::Receiver<Leadership>>>;

/// A network, or a client of it.
pub(crate) struct Quiet<N> {
    inner: N,
    leadership: KnownLater,
}

impl<N> Quiet<N> {
    pub(crate) fn new(inner: N, leadership: KnownLater) -> Self {
        Self { inner, leadership }
    }

    fn may_speak<E: std::error::Error>(&self) -> Answer<(), E> {
        if self.leadership.get().is_some_and(|leadership| leadership.borrow().has_lost_quorum()) {
            let why = io::Error::other("this leader has lost its quorum and says nothing");
            return Err(RPCError::Unreachable(Unreachable::new(&why)));
        }
        Ok(())
    }
}

impl<N: RaftNetworkFactory<TypeConfig>> RaftNetworkFactory<TypeConfig> for Quiet<N> {
    type Network = Quiet<N::Network>;

    async fn new_client(&mut self, target: u64, node: &MemberNode) -> Self::Network {
        Quiet::new(self.inner.new_client(target, node).await, Arc::clone(&self.leadership))
    }
}

impl<N: RaftNetwork<TypeConfig>> RaftNetwork<TypeConfig> for Quiet<N> {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Answer<AppendEntriesResponse<u64>> {
        self.may_speak()?;
        self.inner.append_entries(rpc, option).await
    }

    async fn vote(&mut self, rpc: VoteRequest<u64>, option: RPCOption) -> Answer<VoteResponse<u64>> {
        self.inner.vote(rpc, option).await
    }

    async fn install_snapshot(
        &mut self,
        rpc: InstallSnapshotRequest<TypeConfig>,
        option: RPCOption,
    ) -> Answer<InstallSnapshotResponse<u64>, InstallSnapshotError> {
        self.may_speak()?;
        self.inner.install_snapshot(rpc, option).await
    }

    fn backoff(&self) -> Backoff {
        self.inner.backoff()
    }
}
