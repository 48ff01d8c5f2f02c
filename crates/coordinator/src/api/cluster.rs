//! The coordinators themselves. Answered from what this one knows, with or without a quorum.

use super::{
    Accepted, Api, page,
    warnings::{described, health},
};
use quorate_domain::{HostStatus, OperationStatus, Phase, ServiceMode, State, Verdict};
use quorate_rpc::{
    ApiError,
    convert::{CancelRequest, ChangeRequest, page_size},
    pb::control::{
        AddMemberRequest, AddMemberResponse, CancelMemberChangeRequest, CancelMemberChangeResponse,
        GetStatusRequest, GetStatusResponse, ListMembersRequest, ListMembersResponse, Member,
        PromoteMemberRequest, PromoteMemberResponse, RemoveMemberRequest, RemoveMemberResponse,
        ReplaceMemberRequest, ReplaceMemberResponse, ServiceModes, cluster_server::Cluster,
    },
};
use std::sync::Arc;
use tokio::task::spawn_blocking;
use tonic::{Request, Response, Status};

/// The most running operations that a status lists.
const LISTED_MAX: usize = 100;

fn count<T>(items: impl Iterator<Item = T>, wanted: impl Fn(&T) -> bool) -> u64 {
    items.filter(wanted).count() as u64
}

impl Api {
    /// Of everything there is: not on the thread that everybody is served on, and one at a time.
    async fn digest(&self, state: &Arc<State>) -> Result<String, Status> {
        let _turn = self.digesting.lock().await;
        let state = Arc::clone(state);
        spawn_blocking(move || state.digest())
            .await
            .map_err(|error| ApiError::Internal(format!("the digest of the state: {error}")).into())
    }

    /// In which modes the hosts are; only a leader knows.
    fn service_modes(&self, state: &State) -> ServiceModes {
        let mut modes = ServiceModes::default();
        self.memory.ask(|leader| {
            for host in state.hosts.values() {
                let count = match leader.service_mode(host) {
                    Some(ServiceMode::Normal) => &mut modes.normal,
                    Some(ServiceMode::ReadOnly) => &mut modes.read_only,
                    Some(ServiceMode::Safe) => &mut modes.safe,
                    None => &mut modes.unknown,
                };
                *count += 1;
            }
        });
        modes
    }

    fn grace_left_ms(&self) -> Option<u64> {
        let now = self.memory.now();
        self.memory.ask(|leader| leader.grace_left_ms(now))
    }
}

#[tonic::async_trait]
impl Cluster for Api {
    async fn get_status(
        &self,
        request: Request<GetStatusRequest>,
    ) -> Result<Response<GetStatusResponse>, Status> {
        let leadership = self.consensus.leadership().borrow().clone();
        let view = self.consensus.feed().view();
        let state = &view.state;
        let wants_digest = request.get_ref().with_state_digest;
        let state_digest = if wants_digest { self.digest(state).await? } else { String::new() };
        let last_log_index = self.consensus.raft().metrics().borrow().last_log_index.unwrap_or(0);
        let grace_left_ms = self.grace_left_ms();
        let reaches_quorum = leadership.reaches_quorum();
        let host = |status| count(state.hosts.values(), move |host| host.status == status);
        let disk = |verdict| count(state.disks.values(), move |disk| disk.verdict == verdict);
        let running =
            state.operations.values().filter(|operation| operation.status == OperationStatus::Running);
        let seen = self.coordinators(state, &leadership);
        let members = self.describe_members(state, &seen);
        let can_decide = leadership.can_decide() && view.applied_term == leadership.term;
        let (found, knows) = self.warnings(state, &seen);
        let health = health(&found, knows && can_decide);
        let leader = if leadership.leads { leadership.leader.as_ref() } else { leadership.heard_leader() };
        let (leader_id, leader_api_address) =
            leader.map_or((0, String::new()), |(id, node)| (id.0, node.api_address.clone()));
        Ok(Response::new(GetStatusResponse {
            cluster_id: self.consensus.folder().cluster().to_string(),
            coordinator_id: leadership.node.0,
            leader_id,
            leader_api_address,
            term: leadership.term.0,
            last_log_index,
            applied_index: view.applied_index,
            revision: state.revision().0,
            state_digest,
            quorum_ack_ms: leadership
                .quorum_ack
                .map(|at| u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)),
            // Before an entry of its own is applied, a leader's state may lack what was committed before it.
            can_decide,
            hosts_online: host(HostStatus::Online),
            hosts_suspect: host(HostStatus::Suspect),
            hosts_offline: host(HostStatus::Offline),
            disks_healthy: disk(Verdict::Healthy),
            disks_degraded: disk(Verdict::Degraded),
            disks_failed: disk(Verdict::Failed),
            disks_unknown: disk(Verdict::Unknown),
            groups_active: count(state.groups.values(), |group| group.phase == Phase::Active),
            groups_starting: count(state.groups.values(), |group| {
                matches!(group.phase, Phase::Starting { .. })
            }),
            groups_revoked: count(state.groups.values(), |group| !group.phase.grants()),
            groups_blocked: count(state.groups.values(), |group| group.blocked.is_some()),
            running: running.take(LISTED_MAX).map(|operation| operation.as_ref().into()).collect(),
            warnings: found.listed.iter().map(described).collect(),
            warnings_unlisted: found.unlisted as u64,
            health: health.into(),
            log_lines_lost: seen.lost_lines.count,
            stands_still: seen.stands_still,
            members,
            grace_left_ms,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            member_change: state.open_change().map(|(operation, _)| operation.as_ref().into()),
            reaches_quorum,
            service_modes: leadership.leads.then(|| self.service_modes(state)),
            formation_id: state.cluster.formation.as_ref().map(ToString::to_string).unwrap_or_default(),
        }))
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let request = request.into_inner();
        let (view, described) = self.view(request.consistency).await?;
        let leadership = self.consensus.leadership().borrow().clone();
        let seen = self.coordinators(&view.state, &leadership);
        let all = self.describe_members(&view.state, &seen);
        let key = |member: &Member| format!("{:020}", member.id);
        let (members, next_page_token) =
            page(all.into_iter(), &request.page_token, page_size(request.page_size), key);
        Ok(Response::new(ListMembersResponse {
            members,
            next_page_token,
            view: Some(described),
            change: view.state.open_change().map(|(operation, _)| operation.as_ref().into()),
            warnings: self.member_warnings(),
        }))
    }

    async fn add_member(
        &self,
        request: Request<AddMemberRequest>,
    ) -> Result<Response<AddMemberResponse>, Status> {
        let request = ChangeRequest::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let (revision, operation, warnings) = begun(self.change_members(request).await?);
        Ok(Response::new(AddMemberResponse { revision, operation, warnings }))
    }

    async fn promote_member(
        &self,
        request: Request<PromoteMemberRequest>,
    ) -> Result<Response<PromoteMemberResponse>, Status> {
        let request = ChangeRequest::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let (revision, operation, warnings) = begun(self.change_members(request).await?);
        Ok(Response::new(PromoteMemberResponse { revision, operation, warnings }))
    }

    async fn remove_member(
        &self,
        request: Request<RemoveMemberRequest>,
    ) -> Result<Response<RemoveMemberResponse>, Status> {
        let request = ChangeRequest::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let (revision, operation, warnings) = begun(self.change_members(request).await?);
        Ok(Response::new(RemoveMemberResponse { revision, operation, warnings }))
    }

    async fn replace_member(
        &self,
        request: Request<ReplaceMemberRequest>,
    ) -> Result<Response<ReplaceMemberResponse>, Status> {
        let request = ChangeRequest::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let (revision, operation, warnings) = begun(self.change_members(request).await?);
        Ok(Response::new(ReplaceMemberResponse { revision, operation, warnings }))
    }

    async fn cancel_member_change(
        &self,
        request: Request<CancelMemberChangeRequest>,
    ) -> Result<Response<CancelMemberChangeResponse>, Status> {
        let request = CancelRequest::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let (revision, operation, warnings) = begun(self.cancel_change(request).await?);
        Ok(Response::new(CancelMemberChangeResponse { revision, operation, warnings }))
    }
}

fn begun((accepted, warnings): (Accepted, Vec<String>)) -> (u64, String, Vec<String>) {
    let operation = accepted.operation.map_or_else(String::new, |operation| operation.to_string());
    (accepted.revision.0, operation, warnings)
}
