//! Every request of the control services.

use super::{Client, ClientError, call::Call};
use crate::pb::control::{
    AcceptGroupMemberRequest, AcceptGroupMemberResponse, AddGroupMemberRequest, AddGroupMemberResponse,
    AddMemberRequest, AddMemberResponse, CancelMemberChangeRequest, CancelMemberChangeResponse,
    ClearDiskRequest, ClearDiskResponse, CordonHostRequest, CordonHostResponse, CreateGroupRequest,
    CreateGroupResponse, DeleteGroupRequest, DeleteGroupResponse, ForgetDiskRequest, ForgetDiskResponse,
    ForgetHostRequest, ForgetHostResponse, GetDiskRequest, GetDiskResponse, GetGroupHistoryRequest,
    GetGroupHistoryResponse, GetGroupRequest, GetGroupResponse, GetHostRequest, GetHostResponse,
    GetOperationRequest, GetOperationResponse, GetStatusRequest, GetStatusResponse, ListDisksRequest,
    ListDisksResponse, ListEventsRequest, ListEventsResponse, ListGroupsRequest, ListGroupsResponse,
    ListHostsRequest, ListHostsResponse, ListMembersRequest, ListMembersResponse, ListOperationsRequest,
    ListOperationsResponse, PromoteMemberRequest, PromoteMemberResponse, RemoveGroupMemberRequest,
    RemoveGroupMemberResponse, RemoveMemberRequest, RemoveMemberResponse, ReorderGroupMembersRequest,
    ReorderGroupMembersResponse, ReplaceMemberRequest, ReplaceMemberResponse, RequestFailoverRequest,
    RequestFailoverResponse, ResetHostRequest, ResetHostResponse, SetGroupLabelsRequest,
    SetGroupLabelsResponse, UncordonHostRequest, UncordonHostResponse, WaitOperationRequest,
    WaitOperationResponse, cluster_client::ClusterClient, disks_client::DisksClient,
    events_client::EventsClient, groups_client::GroupsClient, hosts_client::HostsClient,
    operations_client::OperationsClient,
};
use std::time::Duration;
use tokio::time::Instant;

/// How long one request of a longer wait asks to be held.
const WAIT_PART: Duration = Duration::from_secs(20);

/// A request id that nobody else has: 128 random bits.
pub fn new_request_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

macro_rules! reads {
    ($($client:ident: $(#[$doc:meta])* $method:ident($request:ty) -> $response:ty;)+) => { impl Client { $(
        $(#[$doc])*
        ///
        /// # Errors
        /// See [`ClientError`].
        pub async fn $method(&self, request: $request) -> Result<$response, ClientError> {
            let call = Call {
                request: &request,
                request_id: None,
                per_try: self.options.per_try_timeout,
                held: Duration::ZERO,
                deadline: self.options.deadline,
            };
            let answer = self
                .call(call, |channel, max_bytes, request| async move {
                    $client::new(channel)
                        .max_decoding_message_size(max_bytes)
                        .max_encoding_message_size(max_bytes)
                        .$method(request)
                        .await
                })
                .await?;
            Ok(answer.body)
        }
    )+ } };
}

macro_rules! mutations {
    ($($client:ident: $(#[$doc:meta])* $method:ident($request:ty) -> $response:ty;)+) => { impl Client { $(
        $(#[$doc])*
        /// An empty request id is filled with a new one.
        ///
        /// # Errors
        /// See [`ClientError`]; [`ClientError::OutcomeUnknown`] names the request id to try again under.
        pub async fn $method(&self, mut request: $request) -> Result<$response, ClientError> {
            if request.request_id.is_empty() {
                request.request_id = new_request_id();
            }
            let call = Call {
                request: &request,
                request_id: Some(&request.request_id),
                per_try: self.options.per_try_timeout,
                held: Duration::ZERO,
                deadline: self.options.deadline,
            };
            let answer = self
                .call(call, |channel, max_bytes, request| async move {
                    $client::new(channel)
                        .max_decoding_message_size(max_bytes)
                        .max_encoding_message_size(max_bytes)
                        .$method(request)
                        .await
                })
                .await?;
            Ok(answer.body)
        }
    )+ } };
}

reads! {
    ClusterClient: /// Health, leader, lag and counts, from whichever coordinator answers first.
        get_status(GetStatusRequest) -> GetStatusResponse;
    ClusterClient: /// The coordinators.
        list_members(ListMembersRequest) -> ListMembersResponse;
    HostsClient: /// One page of hosts.
        list_hosts(ListHostsRequest) -> ListHostsResponse;
    HostsClient: /// A host and its disks.
        get_host(GetHostRequest) -> GetHostResponse;
    DisksClient: /// One page of disks.
        list_disks(ListDisksRequest) -> ListDisksResponse;
    DisksClient: /// A disk.
        get_disk(GetDiskRequest) -> GetDiskResponse;
    GroupsClient: /// A group.
        get_group(GetGroupRequest) -> GetGroupResponse;
    GroupsClient: /// One page of groups.
        list_groups(ListGroupsRequest) -> ListGroupsResponse;
    GroupsClient: /// The last switches of a group, oldest first.
        get_group_history(GetGroupHistoryRequest) -> GetGroupHistoryResponse;
    OperationsClient: /// An operation.
        get_operation(GetOperationRequest) -> GetOperationResponse;
    OperationsClient: /// One page of operations, newest first.
        list_operations(ListOperationsRequest) -> ListOperationsResponse;
    EventsClient: /// One page of revisions.
        list_events(ListEventsRequest) -> ListEventsResponse;
}

mutations! {
    ClusterClient: /// Takes in a new coordinator, as a learner.
        add_member(AddMemberRequest) -> AddMemberResponse;
    ClusterClient: /// Gives a learner a vote.
        promote_member(PromoteMemberRequest) -> PromoteMemberResponse;
    ClusterClient: /// Lets a coordinator go.
        remove_member(RemoveMemberRequest) -> RemoveMemberResponse;
    ClusterClient: /// Puts a new coordinator in the place of another.
        replace_member(ReplaceMemberRequest) -> ReplaceMemberResponse;
    ClusterClient: /// Takes a change of the coordinators back.
        cancel_member_change(CancelMemberChangeRequest) -> CancelMemberChangeResponse;
    GroupsClient: /// Creates a group.
        create_group(CreateGroupRequest) -> CreateGroupResponse;
    GroupsClient: /// Sets or removes labels of a group.
        set_group_labels(SetGroupLabelsRequest) -> SetGroupLabelsResponse;
    GroupsClient: /// Deletes a group.
        delete_group(DeleteGroupRequest) -> DeleteGroupResponse;
    GroupsClient: /// Moves a group to another host.
        request_failover(RequestFailoverRequest) -> RequestFailoverResponse;
    HostsClient: /// Forgets a host that is gone for good.
        forget_host(ForgetHostRequest) -> ForgetHostResponse;
    HostsClient: /// Frees a host's name for an agent on another state folder.
        reset_host(ResetHostRequest) -> ResetHostResponse;
    HostsClient: /// Keeps a host from becoming primary of anything more.
        cordon_host(CordonHostRequest) -> CordonHostResponse;
    HostsClient: /// Lets a host become primary again.
        uncordon_host(UncordonHostRequest) -> UncordonHostResponse;
    DisksClient: /// Forgets a disk that is gone for good.
        forget_disk(ForgetDiskRequest) -> ForgetDiskResponse;
    GroupsClient: /// Adds a member to a group.
        add_group_member(AddGroupMemberRequest) -> AddGroupMemberResponse;
    GroupsClient: /// Takes a member out of a group.
        remove_group_member(RemoveGroupMemberRequest) -> RemoveGroupMemberResponse;
    GroupsClient: /// Puts the members of a group into another order of preference.
        reorder_group_members(ReorderGroupMembersRequest) -> ReorderGroupMembersResponse;
    GroupsClient: /// Says that a member of a group holds a copy.
        accept_group_member(AcceptGroupMemberRequest) -> AcceptGroupMemberResponse;
    DisksClient: /// Says that a latched disk is good again.
        clear_disk(ClearDiskRequest) -> ClearDiskResponse;
}

impl Client {
    /// Waits until an operation has ended or the timeout is over, whichever is first; the answer says which.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn wait_operation(
        &self,
        operation: &str,
        timeout: Duration,
    ) -> Result<WaitOperationResponse, ClientError> {
        let end = Instant::now() + timeout;
        loop {
            let part = end.saturating_duration_since(Instant::now()).min(WAIT_PART);
            let answer = self.wait_part(operation, part).await?;
            if answer.finished || Instant::now() >= end {
                return Ok(answer);
            }
        }
    }

    async fn wait_part(&self, operation: &str, part: Duration) -> Result<WaitOperationResponse, ClientError> {
        // Zero would mean the server's default.
        let timeout_ms = u64::try_from(part.as_millis()).unwrap_or(u64::MAX).max(1);
        let request = WaitOperationRequest { operation: operation.to_owned(), timeout_ms };
        let call = Call {
            request: &request,
            request_id: None,
            per_try: part + self.options.per_try_timeout,
            held: part,
            deadline: part + self.options.deadline,
        };
        let answer = self
            .call(call, |channel, max_bytes, request| async move {
                OperationsClient::new(channel)
                    .max_decoding_message_size(max_bytes)
                    .wait_operation(request)
                    .await
            })
            .await?;
        Ok(answer.body)
    }
}
