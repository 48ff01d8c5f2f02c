//! Failover groups.

use super::{Api, page};
use quorate_consensus::View;
use quorate_domain::{Group, GroupId};
use quorate_rpc::{
    ApiError,
    convert::{Mutation, group_id, page_size},
    pb::{
        control::{
            AcceptGroupMemberRequest, AcceptGroupMemberResponse, AddGroupMemberRequest,
            AddGroupMemberResponse, CreateGroupRequest, CreateGroupResponse, DeleteGroupRequest,
            DeleteGroupResponse, GetGroupHistoryRequest, GetGroupHistoryResponse, GetGroupRequest,
            GetGroupResponse, ListGroupsRequest, ListGroupsResponse, RemoveGroupMemberRequest,
            RemoveGroupMemberResponse, ReorderGroupMembersRequest, ReorderGroupMembersResponse,
            RequestFailoverRequest, RequestFailoverResponse, SetGroupLabelsRequest, SetGroupLabelsResponse,
            groups_server::Groups,
        },
        types,
    },
};
use std::sync::Arc;
use tonic::{Request, Response, Status};

impl Api {
    async fn group(&self, name: &str, consistency: i32) -> Result<(Arc<Group>, types::View), Status> {
        let id: GroupId = group_id(name).map_err(ApiError::Invalid)?;
        let (view, described) = self.view(consistency).await?;
        let View { state, .. } = view;
        let group = state.groups.get(&id).cloned();
        let group = group.ok_or_else(|| ApiError::NotFound { what: "group", id: id.to_string() })?;
        Ok((group, described))
    }
}

#[tonic::async_trait]
impl Groups for Api {
    async fn create_group(
        &self,
        request: Request<CreateGroupRequest>,
    ) -> Result<Response<CreateGroupResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(CreateGroupResponse { revision: accepted.revision.0 }))
    }

    async fn get_group(
        &self,
        request: Request<GetGroupRequest>,
    ) -> Result<Response<GetGroupResponse>, Status> {
        let request = request.into_inner();
        let (group, view) = self.group(&request.group, request.consistency).await?;
        Ok(Response::new(GetGroupResponse { group: Some(group.as_ref().into()), view: Some(view) }))
    }

    async fn list_groups(
        &self,
        request: Request<ListGroupsRequest>,
    ) -> Result<Response<ListGroupsResponse>, Status> {
        let request = request.into_inner();
        let (view, described) = self.view(request.consistency).await?;
        let (found, next_page_token) =
            page(view.state.groups.values(), &request.page_token, page_size(request.page_size), |group| {
                group.id.to_string()
            });
        let groups = found.into_iter().map(|group| group.as_ref().into()).collect();
        Ok(Response::new(ListGroupsResponse { groups, next_page_token, view: Some(described) }))
    }

    async fn set_group_labels(
        &self,
        request: Request<SetGroupLabelsRequest>,
    ) -> Result<Response<SetGroupLabelsResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(SetGroupLabelsResponse { revision: accepted.revision.0 }))
    }

    async fn accept_group_member(
        &self,
        request: Request<AcceptGroupMemberRequest>,
    ) -> Result<Response<AcceptGroupMemberResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(AcceptGroupMemberResponse { revision: accepted.revision.0 }))
    }

    async fn delete_group(
        &self,
        request: Request<DeleteGroupRequest>,
    ) -> Result<Response<DeleteGroupResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(DeleteGroupResponse { revision: accepted.revision.0 }))
    }

    async fn request_failover(
        &self,
        request: Request<RequestFailoverRequest>,
    ) -> Result<Response<RequestFailoverResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(RequestFailoverResponse {
            revision: accepted.revision.0,
            operation: accepted.operation.map_or_else(String::new, |operation| operation.to_string()),
        }))
    }

    async fn get_group_history(
        &self,
        request: Request<GetGroupHistoryRequest>,
    ) -> Result<Response<GetGroupHistoryResponse>, Status> {
        let request = request.into_inner();
        let (group, view) = self.group(&request.group, request.consistency).await?;
        let switches = group.history.iter().map(Into::into).collect();
        Ok(Response::new(GetGroupHistoryResponse { switches, view: Some(view) }))
    }

    async fn add_group_member(
        &self,
        request: Request<AddGroupMemberRequest>,
    ) -> Result<Response<AddGroupMemberResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(AddGroupMemberResponse { revision: accepted.revision.0 }))
    }

    async fn remove_group_member(
        &self,
        request: Request<RemoveGroupMemberRequest>,
    ) -> Result<Response<RemoveGroupMemberResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(RemoveGroupMemberResponse { revision: accepted.revision.0 }))
    }

    async fn reorder_group_members(
        &self,
        request: Request<ReorderGroupMembersRequest>,
    ) -> Result<Response<ReorderGroupMembersResponse>, Status> {
        let mutation = Mutation::try_from(request.into_inner()).map_err(ApiError::Invalid)?;
        let accepted = self.mutate(mutation).await?;
        Ok(Response::new(ReorderGroupMembersResponse { revision: accepted.revision.0 }))
    }
}
