//! Refuses clients that mean another cluster, before anything of theirs is looked at.

use quorate_domain::ClusterId;
use quorate_rpc::{ApiError, client::meant_cluster};
use tonic::{Request, Status, service::Interceptor};

/// Compares the cluster that a request names, if it names one, with this coordinator's.
#[derive(Debug, Clone)]
pub(crate) struct ClusterGuard(pub(crate) ClusterId);

impl Interceptor for ClusterGuard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        match meant_cluster(request.metadata()).map_err(ApiError::Invalid)? {
            Some(theirs) if theirs != self.0 => {
                Err(ApiError::OtherCluster { who: "coordinator", ours: self.0.clone(), theirs }.into())
            }
            _ => Ok(request),
        }
    }
}
