//! The client that follows the leader.
//!
//! It keeps one connection per coordinator, finds the leader by hints or by asking one after the other, and tries again
//! until its deadline. Reads are repeated freely. A mutation is repeated only under the same request id, so that it has
//! at most one effect; if the deadline comes before an answer, its outcome is reported as unknown.

mod call;
mod error;
mod members;
mod options;
mod pool;
mod requests;
mod session;
mod survey;
mod watch;

pub use crate::pb::agent::local_agent_client::LocalAgentClient;
pub use error::ClientError;
pub use options::{CLUSTER_METADATA, ClientOptions, mean_cluster, meant_cluster};
pub use requests::new_request_id;
pub use session::{SESSION_QUEUE_MAX, Session, open_session};
pub use survey::Survey;
pub use watch::EventWatch;

use crate::field::InvalidField;
use pool::Pool;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A client of the coordinators. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    options: ClientOptions,
    pool: Arc<Mutex<Pool>>,
}

impl Client {
    /// Makes a client of these coordinators, each as `host:port`. Connections are made when they are needed. Call it
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] when there is no endpoint or one is not an address.
    pub fn connect<E: AsRef<str>>(
        endpoints: impl IntoIterator<Item = E>,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let pool = Pool::new(endpoints)?;
        Ok(Self { options, pool: Arc::new(Mutex::new(pool)) })
    }

    /// The same client with another deadline for each call.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { options: ClientOptions { deadline, ..self.options.clone() }, pool: Arc::clone(&self.pool) }
    }

    /// A client that asks this coordinator only, over the same settings.
    ///
    /// # Errors
    /// [`ClientError::Invalid`] when it is not an address.
    pub fn only(&self, endpoint: &str) -> Result<Self, ClientError> {
        let client = Self::connect([endpoint], self.options.clone())?;
        client.pool().learn_nothing();
        Ok(client)
    }

    /// The addresses that it was given or has learned.
    pub fn endpoints(&self) -> Vec<String> {
        self.pool().addresses()
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        // Nothing is left half-done in the pool by a panic elsewhere.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<InvalidField> for ClientError {
    fn from(bad: InvalidField) -> Self {
        Self::Invalid { field: bad.field.clone(), message: bad.to_string() }
    }
}
