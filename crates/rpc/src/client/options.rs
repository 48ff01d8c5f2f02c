//! How patient a client is.

use crate::field::{InvalidField, name};
use crate::transport::DEFAULT_MAX_MESSAGE_BYTES;
use quorate_domain::ClusterId;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};

/// The metadata of a request that names the cluster that is meant.
pub const CLUSTER_METADATA: &str = "quorate-cluster";

/// The cluster that a request means, as it says it; none when it says nothing.
///
/// # Errors
/// A name that is none.
pub fn meant_cluster(metadata: &MetadataMap) -> Result<Option<ClusterId>, InvalidField> {
    let Some(value) = metadata.get(CLUSTER_METADATA) else { return Ok(None) };
    name(CLUSTER_METADATA, value.to_str().unwrap_or("not ASCII")).map(Some)
}

/// Says in a request which cluster is meant, if one is.
pub fn mean_cluster(metadata: &mut MetadataMap, cluster: Option<&ClusterId>) {
    if let Some(value) = cluster.and_then(|cluster| cluster.as_str().parse::<MetadataValue<Ascii>>().ok()) {
        metadata.insert(CLUSTER_METADATA, value);
    }
}

/// How patient a client is, and how large its messages may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long one call may take, all its tries together.
    pub deadline: Duration,
    /// How long one try may take before another coordinator is asked.
    pub per_try_timeout: Duration,
    /// The largest message that is sent or taken.
    pub max_message_bytes: usize,
    /// The cluster that is meant; a coordinator of another one refuses. None asks whoever answers.
    pub cluster: Option<ClusterId>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            per_try_timeout: Duration::from_secs(3),
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
            cluster: None,
        }
    }
}
