//! Disks of the storage hosts.

use super::{Api, page};
use quorate_domain::Disk;
use quorate_leader_core::Leader;
use quorate_rpc::{
    ApiError,
    convert::{Mutation, disk_id, host_id, page_size},
    pb::{
        control::{
            ClearDiskRequest, ClearDiskResponse, ForgetDiskRequest, ForgetDiskResponse, GetDiskRequest,
            GetDiskResponse, ListDisksRequest, ListDisksResponse, disks_server::Disks,
        },
        types,
    },
};
use tonic::{Request, Response, Status};

/// A disk with what the leader remembers of it.
pub(super) fn describe(leader: &Leader, disk: &Disk) -> types::Disk {
    let mut described = types::Disk::from(disk);
    let seen = leader.seen(&disk.id.host).and_then(|host| host.disks.get(&disk.id.name));
    if let Some(seen) = seen {
        described.free_bytes = Some(seen.free_bytes);
        described.checked_at_ms = Some(seen.checked_at.0);
    }
    described
}

#[tonic::async_trait]
impl Disks for Api {
    async fn list_disks(
        &self,
        request: Request<ListDisksRequest>,
    ) -> Result<Response<ListDisksResponse>, Status> {
        let request = request.into_inner();
        let host = if request.host.is_empty() {
            None
        } else {
            Some(host_id(&request.host).map_err(ApiError::Invalid)?)
        };
        let (view, described) = self.view(request.consistency).await?;
        if let Some(host) = &host
            && !view.state.hosts.contains_key(host)
        {
            return Err(ApiError::NotFound { what: "host", id: host.to_string() }.into());
        }
        let wanted =
            view.state.disks.values().filter(|disk| host.as_ref().is_none_or(|host| disk.id.host == *host));
        // Sorted by host and then by name; '\u{0}' sorts before every character of a name, '/' would not.
        let key = |disk: &&std::sync::Arc<Disk>| format!("{}\u{0}{}", disk.id.host, disk.id.name);
        let (found, next_page_token) = page(wanted, &request.page_token, page_size(request.page_size), key);
        let disks = self.memory.ask(|leader| found.into_iter().map(|disk| describe(leader, disk)).collect());
        Ok(Response::new(ListDisksResponse { disks, next_page_token, view: Some(described) }))
    }

    async fn get_disk(&self, request: Request<GetDiskRequest>) -> Result<Response<GetDiskResponse>, Status> {
        let request = request.into_inner();
        let id = disk_id(&request.host, &request.name).map_err(ApiError::Invalid)?;
        let (view, described) = self.view(request.consistency).await?;
        let disk = view.state.disks.get(&id);
        let disk = disk.ok_or_else(|| ApiError::NotFound { what: "disk", id: id.to_string() })?;
        let disk = self.memory.ask(|leader| describe(leader, disk));
        Ok(Response::new(GetDiskResponse { disk: Some(disk), view: Some(described) }))
    }

    async fn clear_disk(
        &self,
        request: Request<ClearDiskRequest>,
    ) -> Result<Response<ClearDiskResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(ClearDiskResponse { revision: accepted.revision.0 }))
    }

    async fn forget_disk(
        &self,
        request: Request<ForgetDiskRequest>,
    ) -> Result<Response<ForgetDiskResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(ForgetDiskResponse { revision: accepted.revision.0 }))
    }
}
