//! Why an agent did not start, or ended.

use crate::state_folder::StateError;
use std::io;

/// Why an agent did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// An option that could not work.
    #[error("{option}: {problem}")]
    Option {
        /// Which one.
        option: String,
        /// What is wrong with it, with the remedy.
        problem: String,
    },
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The address for local processes cannot be used.
    #[error("listen: cannot listen on {address}; stop what uses it or choose another port")]
    Listen {
        /// The address.
        address: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// What must be on disk before anything is done under it could not be written: every role was ended.
    #[error("the agent ended every role and stopped, because its state could not be kept: {0}")]
    StateLost(String),
    /// A thread of the agent could not be started or ended early.
    #[error("the agent cannot go on without its {part}")]
    Part {
        /// Which one.
        part: &'static str,
        /// What the operating system said, if it was asked.
        #[source]
        source: Option<io::Error>,
    },
    /// The reflection service.
    #[error("reflection: {0}")]
    Reflection(#[from] quorate_rpc::reflection::ReflectionError),
    /// There is no warden to run hooks and to keep deadlines.
    #[error("the agent cannot start without its warden: {problem}")]
    Warden {
        /// What is wrong, and what to do.
        problem: String,
    },
    /// Roles could not be ended for certain in time.
    #[error(
        "some roles had not ended for certain when the time to stop was over; their leases end by themselves"
    )]
    StopTimedOut,
}
