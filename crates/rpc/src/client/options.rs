//! How patient a client is.

use crate::transport::DEFAULT_MAX_MESSAGE_BYTES;
use std::time::Duration;

/// How patient a client is, and how large its messages may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long one call may take, all its tries together.
    pub deadline: Duration,
    /// How long one try may take before another coordinator is asked.
    pub per_try_timeout: Duration,
    /// The largest message that is sent or taken.
    pub max_message_bytes: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(10),
            per_try_timeout: Duration::from_secs(3),
            max_message_bytes: DEFAULT_MAX_MESSAGE_BYTES,
        }
    }
}
