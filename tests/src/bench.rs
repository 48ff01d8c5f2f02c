//! Benches on clusters of real processes. Each prints a table for people and, when asked, one JSON object as its last
//! line.

pub mod decisions;
pub mod etcd;
pub mod failover_time;
mod load;

pub use load::{Measured, Servers, Target};

use anyhow::{Context, Result};
use tonic::transport::{Channel, Endpoint};

/// A connection as both sides of a comparison have it.
async fn connect(address: &str) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(address.to_owned())?.tcp_nodelay(true);
    endpoint.connect().await.with_context(|| format!("{address} takes no connection"))
}
