//! What a status means to a client.

use super::{
    api_error::read_hint,
    reason::{DOMAIN, Reason, key},
};
use quorate_domain::{CoordinatorId, Incarnation, Revision};
use std::{error::Error, time::Duration};
use tonic::{Code, ConnectError, Status};
use tonic_types::{ErrorInfo, StatusExt};

/// The code of a refusal that an agent acts on.
const STALE_INCARNATION: &str = "STALE_INCARNATION";

/// Where the leader is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaderAddress {
    /// Its number.
    pub id: CoordinatorId,
    /// Where it serves clients and agents, as `host:port`.
    pub api_address: String,
}

/// Why a request failed, as far as a client must tell failures apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The one asked does not lead; it did nothing.
    #[error("{message}")]
    NotLeader {
        /// Who may lead.
        hint: Option<LeaderAddress>,
        /// For people.
        message: String,
    },
    /// No answer, because of the network or the process at the other end.
    #[error("{message}")]
    Unreachable {
        /// False when the request certainly never left; otherwise it may have taken effect.
        sent: bool,
        /// For people.
        message: String,
    },
    /// The coordinators have no quorum; nothing was done.
    #[error("{message}")]
    NoQuorum {
        /// For people.
        message: String,
    },
    /// Too much waits; nothing was done.
    #[error("{message}")]
    Overloaded {
        /// When to try again.
        retry_after: Option<Duration>,
        /// For people.
        message: String,
    },
    /// The leader proposed it and had no answer in time: it may have taken effect or not.
    #[error("{message}")]
    OutcomeUnknown {
        /// For people.
        message: String,
    },
    /// It was refused; nothing changed.
    #[error("{message}")]
    Refused {
        /// The stable code of the refusal.
        code: String,
        /// For people.
        message: String,
    },
    /// Agents: a later start of the host is on record, or another one that counts alike.
    #[error("{message}")]
    StaleStart {
        /// The number of that start.
        recorded: Incarnation,
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
    /// The revision asked for is no longer kept.
    #[error("{message}")]
    Compacted {
        /// The first that is.
        first_kept: Revision,
        /// For people.
        message: String,
    },
    /// A field was refused.
    #[error("{message}")]
    Invalid {
        /// Its path; empty when the other end did not say.
        field: String,
        /// For people.
        message: String,
    },
    /// Anything else, such as a method that the other end does not know.
    #[error("{message}")]
    Other {
        /// The gRPC code.
        code: Code,
        /// For people.
        message: String,
    },
}

/// Reads a status by its code and details, never by its text.
pub fn classify(status: &Status) -> Failure {
    let details = status.get_error_details();
    match details.error_info() {
        Some(info) if info.domain == DOMAIN => {
            let retry_after = details.retry_info().and_then(|retry| retry.retry_delay);
            by_reason(status, info, retry_after)
        }
        _ => by_code(status),
    }
}

fn by_reason(status: &Status, info: &ErrorInfo, retry_after: Option<Duration>) -> Failure {
    let message = status.message().to_owned();
    let word = |key: &str| info.metadata.get(key).cloned().unwrap_or_default();
    match Reason::parse(&info.reason) {
        Some(Reason::NotLeader) => Failure::NotLeader { hint: leader(status, info), message },
        Some(Reason::NoLeader) => Failure::NotLeader { hint: None, message },
        Some(Reason::Stopping) => Failure::Unreachable { sent: false, message },
        Some(Reason::TooLate) => Failure::Unreachable { sent: true, message },
        Some(Reason::NoQuorum) => Failure::NoQuorum { message },
        Some(Reason::OutcomeUnknown) => Failure::OutcomeUnknown { message },
        Some(Reason::Overloaded | Reason::HeldBack | Reason::TooManyWatches) => {
            Failure::Overloaded { retry_after, message }
        }
        Some(Reason::InvalidField | Reason::RevisionAhead) => {
            Failure::Invalid { field: word(key::FIELD), message }
        }
        Some(Reason::Internal | Reason::SessionReplaced | Reason::SlowReader) => {
            Failure::Other { code: status.code(), message }
        }
        Some(Reason::Compacted) => match word(key::FIRST_KEPT_REVISION).parse() {
            Ok(first) => Failure::Compacted { first_kept: Revision(first), message },
            Err(_) => Failure::Other { code: status.code(), message },
        },
        None if info.reason == STALE_INCARNATION => match word(key::INCARNATION).parse() {
            Ok(recorded) => Failure::StaleStart { recorded: Incarnation(recorded), message },
            Err(_) => Failure::Refused { code: info.reason.clone(), message },
        },
        None if status.code() == Code::NotFound => {
            Failure::NotFound { code: info.reason.clone(), what: word(key::WHAT), id: word(key::ID), message }
        }
        Some(
            Reason::OtherCluster
            | Reason::OtherFormation
            | Reason::Guarded
            | Reason::GuardBesideHooks
            | Reason::GuardElsewhere
            | Reason::NoKeeper,
        )
        | None => Failure::Refused { code: info.reason.clone(), message },
    }
}

/// The typed hint, or else the same in the metadata for those who cannot read our types.
fn leader(status: &Status, info: &ErrorInfo) -> Option<LeaderAddress> {
    let (id, api_address) = match read_hint(status) {
        Some(hint) => (hint.coordinator_id, hint.api_address),
        None => (
            info.metadata.get(key::LEADER_ID)?.parse().ok()?,
            info.metadata.get(key::LEADER_API_ADDRESS)?.clone(),
        ),
    };
    (id != 0 && !api_address.is_empty()).then_some(LeaderAddress { id: CoordinatorId(id), api_address })
}

/// A status that no service of ours made: the transport's, a proxy's or the server library's.
fn by_code(status: &Status) -> Failure {
    let message = status.message().to_owned();
    if status.source().is_some() {
        return Failure::Unreachable { sent: !never_connected(status), message };
    }
    match status.code() {
        // The libraries at either end give up like this when the deadline of the request is over.
        Code::Unavailable | Code::Cancelled | Code::DeadlineExceeded => {
            Failure::Unreachable { sent: true, message }
        }
        Code::InvalidArgument => Failure::Invalid { field: String::new(), message },
        code => Failure::Other { code, message },
    }
}

/// True when no connection could be made, so that nothing can have been sent.
fn never_connected(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
