//! Long-running work.

use super::{Api, page};
use quorate_domain::{Operation, OperationId, OperationStatus};
use quorate_rpc::{
    ApiError,
    convert::{operation_id, page_size, wait_ms},
    pb::control::{
        GetOperationRequest, GetOperationResponse, ListOperationsRequest, ListOperationsResponse,
        WaitOperationRequest, WaitOperationResponse, operations_server::Operations,
    },
};
use std::{sync::Arc, time::Duration};
use tonic::{Request, Response, Status};

fn not_found(id: OperationId) -> Status {
    ApiError::NotFound { what: "operation", id: id.to_string() }.into()
}

fn has_ended(operation: &Operation) -> bool {
    operation.status != OperationStatus::Running
}

#[tonic::async_trait]
impl Operations for Api {
    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<GetOperationResponse>, Status> {
        let request = request.into_inner();
        let id = operation_id(&request.operation).map_err(ApiError::Invalid)?;
        let (view, described) = self.view(request.consistency).await?;
        let operation = view.state.operations.get(&id).ok_or_else(|| not_found(id))?;
        let operation = Some(operation.as_ref().into());
        Ok(Response::new(GetOperationResponse { operation, view: Some(described) }))
    }

    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let request = request.into_inner();
        let (view, described) = self.view(request.consistency).await?;
        let wanted = view
            .state
            .operations
            .values()
            .rev()
            .filter(|operation| !request.running_only || !has_ended(operation));
        // Newest first: what sorts later has the smaller number.
        let key = |operation: &&Arc<Operation>| format!("{:020}", u64::MAX - operation.id.0);
        let (found, next_page_token) = page(wanted, &request.page_token, page_size(request.page_size), key);
        let operations = found.into_iter().map(|operation| operation.as_ref().into()).collect();
        Ok(Response::new(ListOperationsResponse { operations, next_page_token, view: Some(described) }))
    }

    async fn wait_operation(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Response<WaitOperationResponse>, Status> {
        let request = request.into_inner();
        let id = operation_id(&request.operation).map_err(ApiError::Invalid)?;
        let mut views = self.consensus.feed().watch();
        let (view, _) = self.view(0).await?;
        let mut latest = view.state.operations.get(&id).cloned().ok_or_else(|| not_found(id))?;
        let ended = async {
            while !has_ended(&latest) {
                if views.changed().await.is_err() {
                    return;
                }
                if let Some(now) = views.borrow_and_update().state.operations.get(&id) {
                    latest = Arc::clone(now);
                }
            }
        };
        let timeout = Duration::from_millis(wait_ms(request.timeout_ms));
        // The end of the timeout is an answer like the end of the operation: `finished` tells them apart.
        let _ = tokio::time::timeout(timeout, ended).await;
        let finished = has_ended(&latest);
        Ok(Response::new(WaitOperationResponse { operation: Some(latest.as_ref().into()), finished }))
    }
}
