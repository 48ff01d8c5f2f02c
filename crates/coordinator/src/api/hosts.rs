//! Storage hosts.

use super::{Api, page};
use quorate_domain::{Host, State};
use quorate_leader_core::Leader;
use quorate_planner::Mono;
use quorate_rpc::{
    ApiError,
    convert::{Mutation, host_id, page_size},
    pb::{
        control::{
            CordonHostRequest, CordonHostResponse, ForgetHostRequest, ForgetHostResponse, GetHostRequest,
            GetHostResponse, ListHostsRequest, ListHostsResponse, ResetHostRequest, ResetHostResponse,
            UncordonHostRequest, UncordonHostResponse, hosts_server::Hosts,
        },
        types,
    },
};
use tonic::{Request, Response, Status};

/// A host with what the leader remembers of it.
fn describe(state: &State, leader: &Leader, now: Mono, host: &Host) -> types::Host {
    let mut described = types::Host::from(host);
    if let Some(seen) = leader.seen(&host.id) {
        described.last_contact_ms = Some(now.since_ms(seen.last_contact));
    }
    if let Some(session) = leader.session(&host.id) {
        described.installed_revision = session.installed.0;
    }
    let mode = leader.service_mode(host);
    described.service_mode = mode.map_or(types::ServiceMode::Unspecified, Into::into).into();
    for group in state.groups_of(&host.id) {
        let primary = group.primary.host == host.id && group.phase.grants();
        let list = if primary { &mut described.primary_of } else { &mut described.backup_of };
        list.push(group.id.to_string());
    }
    described
}

#[tonic::async_trait]
impl Hosts for Api {
    async fn list_hosts(
        &self,
        request: Request<ListHostsRequest>,
    ) -> Result<Response<ListHostsResponse>, Status> {
        let request = request.into_inner();
        let (view, described) = self.view(request.consistency).await?;
        let (found, next_page_token) =
            page(view.state.hosts.values(), &request.page_token, page_size(request.page_size), |host| {
                host.id.to_string()
            });
        let now = self.memory.now();
        let hosts = self
            .memory
            .ask(|leader| found.into_iter().map(|host| describe(&view.state, leader, now, host)).collect());
        Ok(Response::new(ListHostsResponse { hosts, next_page_token, view: Some(described) }))
    }

    async fn get_host(&self, request: Request<GetHostRequest>) -> Result<Response<GetHostResponse>, Status> {
        let request = request.into_inner();
        let id = host_id(&request.host).map_err(ApiError::Invalid)?;
        let (view, described) = self.view(request.consistency).await?;
        let host = view.state.hosts.get(&id);
        let host = host.ok_or_else(|| ApiError::NotFound { what: "host", id: id.to_string() })?;
        let now = self.memory.now();
        let (host, disks) = self.memory.ask(|leader| {
            let disks = view.state.disks_of(&id).map(|disk| super::disks::describe(leader, disk)).collect();
            (describe(&view.state, leader, now, host), disks)
        });
        Ok(Response::new(GetHostResponse { host: Some(host), disks, view: Some(described) }))
    }

    async fn forget_host(
        &self,
        request: Request<ForgetHostRequest>,
    ) -> Result<Response<ForgetHostResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(ForgetHostResponse { revision: accepted.revision.0 }))
    }

    async fn reset_host(
        &self,
        request: Request<ResetHostRequest>,
    ) -> Result<Response<ResetHostResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(ResetHostResponse { revision: accepted.revision.0 }))
    }

    async fn cordon_host(
        &self,
        request: Request<CordonHostRequest>,
    ) -> Result<Response<CordonHostResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(CordonHostResponse { revision: accepted.revision.0 }))
    }

    async fn uncordon_host(
        &self,
        request: Request<UncordonHostRequest>,
    ) -> Result<Response<UncordonHostResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(UncordonHostResponse { revision: accepted.revision.0 }))
    }
}
