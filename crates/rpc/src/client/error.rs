//! Why a call failed in the end.

use crate::status::Failure;
use quorate_domain::Revision;
use tonic::Code;

/// Why a call failed in the end, after all its tries.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// Nobody answered.
    #[error(
        "no coordinator answered within {deadline_ms} ms (asked {}): {last}; check the endpoints and that the coordinators run",
        .asked.join(", ")
    )]
    Unreachable {
        /// The deadline.
        deadline_ms: u64,
        /// Whom it asked.
        asked: Vec<String>,
        /// What went wrong last.
        last: String,
    },
    /// Somebody answered, but nobody led with a quorum.
    #[error(
        "no coordinator could serve the request within {deadline_ms} ms (asked {}): {last}",
        .asked.join(", ")
    )]
    NoLeader {
        /// The deadline.
        deadline_ms: u64,
        /// Whom it asked.
        asked: Vec<String>,
        /// The last answer.
        last: String,
    },
    /// It was refused; nothing changed.
    #[error("{message}")]
    Refused {
        /// The stable code of the refusal.
        code: String,
        /// For people.
        message: String,
    },
    /// It names something that does not exist.
    #[error("{message}")]
    NotFound {
        /// The stable code, such as `GROUP_NOT_FOUND`.
        code: String,
        /// What kind of thing.
        what: String,
        /// What was asked for.
        id: String,
        /// For people.
        message: String,
    },
    /// The request is not well-formed.
    #[error("{message}")]
    Invalid {
        /// The field at fault; empty when it is not known.
        field: String,
        /// For people.
        message: String,
    },
    /// A mutation may have taken effect or not.
    #[error(
        "the outcome of request {request_id} is unknown after {deadline_ms} ms: {last}; send it again under the same request id to learn it"
    )]
    OutcomeUnknown {
        /// The request's id.
        request_id: String,
        /// The deadline.
        deadline_ms: u64,
        /// What went wrong last.
        last: String,
    },
    /// The revision asked for is no longer kept.
    #[error("{message}")]
    Compacted {
        /// The first that is.
        first_kept: Revision,
        /// For people.
        message: String,
    },
    /// Anything else, such as a method that the coordinator does not know.
    #[error("{message} (gRPC code {code:?})")]
    Other {
        /// The gRPC code.
        code: Code,
        /// For people.
        message: String,
    },
}

impl ClientError {
    /// True when no coordinator could serve the request, and it makes sense to try the same again later.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NoLeader { .. })
    }

    /// The answer that a failure is, unless another try could fare better.
    pub(super) fn answer(failure: Failure) -> Result<Self, Failure> {
        match failure {
            Failure::Refused { code, message } => Ok(Self::Refused { code, message }),
            // Only agents offer starts.
            Failure::StaleStart { message, .. } => {
                Ok(Self::Refused { code: "STALE_INCARNATION".to_owned(), message })
            }
            Failure::NotFound { code, what, id, message } => Ok(Self::NotFound { code, what, id, message }),
            Failure::Invalid { field, message } => Ok(Self::Invalid { field, message }),
            Failure::Compacted { first_kept, message } => Ok(Self::Compacted { first_kept, message }),
            Failure::Other { code, message } => Ok(Self::Other { code, message }),
            Failure::NotLeader { .. }
            | Failure::Unreachable { .. }
            | Failure::NoQuorum { .. }
            | Failure::Overloaded { .. }
            | Failure::OutcomeUnknown { .. } => Err(failure),
        }
    }
}
