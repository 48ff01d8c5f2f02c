//! What a service answers when it does not do what was asked.

use super::{
    reason::{DOMAIN, Reason, key},
    rejection::{Kind, facts, kind},
};
use crate::{field::InvalidField, pb::types::LeaderHint};
use prost::Message;
use quorate_domain::{ClusterId, CoordinatorId, Epoch, FormationId, GroupId, Rejection, RequestId, Revision};
use std::{collections::HashMap, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, PreconditionViolation, QuotaViolation, StatusExt};

/// The longest text of a status, in bytes. It travels in HTTP headers, several times over, and those are bounded.
const MESSAGE_MAX_BYTES: usize = 1_024;
const LEADER_HINT_TYPE_URL: &str = "type.googleapis.com/quorate.types.v1.LeaderHint";

const NOT_LEADER_RETRY: Duration = Duration::from_millis(100);
const NO_QUORUM_RETRY: Duration = Duration::from_millis(500);
const OVERLOADED_RETRY: Duration = Duration::from_millis(200);
const WATCHES_RETRY: Duration = Duration::from_secs(1);
/// The field of a watch that says where it begins.
const START_REVISION: &str = "start_revision";

/// What a service answers when it does not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// The command was refused; nothing changed.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// This coordinator does not lead, and has proposed nothing.
    #[error("this coordinator does not lead; {}", leader_text(.leader.as_ref()))]
    NotLeader {
        /// Who does, and its API address, if this coordinator hears it.
        leader: Option<(CoordinatorId, String)>,
    },
    /// This coordinator leads and reaches no quorum, and has proposed nothing.
    #[error(
        "the coordinators have no quorum; nothing was changed, try again once a majority of them is up and connected"
    )]
    NoQuorum,
    /// The command was proposed and no answer came in time: it may yet take effect.
    #[error("no answer within {timeout_ms} ms, the outcome of the request is unknown; send it again under the same request id{}", .request_id.as_ref().map(|id| format!(" {id}")).unwrap_or_default())]
    Unknown {
        /// The request, when it is a client's.
        request_id: Option<RequestId>,
        /// How long was waited.
        timeout_ms: u64,
    },
    /// The revision asked for is no longer kept.
    #[error("older revisions are no longer kept; begin at revision {first_kept}")]
    Compacted {
        /// The first that is.
        first_kept: Revision,
    },
    /// The revision asked for does not exist: whoever asks has seen it in another cluster, or has made it up.
    #[error("start_revision {asked} does not exist, the last one is {last}; begin at {} at most, or at 0 for what is new", .last.next())]
    RevisionAhead {
        /// The one asked for.
        asked: Revision,
        /// The last one.
        last: Revision,
    },
    /// There are as many watches as one coordinator serves.
    #[error(
        "{limit} watches are open here already, the most that are served; close some, or watch at another coordinator"
    )]
    TooManyWatches {
        /// How many.
        limit: usize,
    },
    /// Too much waits already; nothing was proposed.
    #[error("too many requests wait already; nothing was changed, try again later")]
    Overloaded,
    /// An agent came too often: its hello cost nothing.
    #[error("{what} come faster than they are taken; nothing was changed, try again in {retry_after_ms} ms")]
    HeldBack {
        /// What comes too often, in words.
        what: String,
        /// When it may fare better.
        retry_after_ms: u64,
    },
    /// A field was refused.
    #[error(transparent)]
    Invalid(#[from] InvalidField),
    /// A read named something that does not exist.
    #[error("{what} {id} is not known")]
    NotFound {
        /// What kind of thing, in lower case.
        what: &'static str,
        /// What was asked for.
        id: String,
    },
    /// The process that was asked is stopping, and has proposed nothing.
    #[error("{who} is stopping; nothing was changed, {remedy}")]
    Stopping {
        /// Which one.
        who: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// Another session of the same host has begun, and this one is over.
    #[error("another session of this host has begun; does a second agent run under its name?")]
    SessionReplaced,
    /// Whoever asks means another cluster.
    #[error(
        "this {who} is of cluster {ours}, and {theirs} is meant; correct the addresses of the {who}s, or the name of the cluster"
    )]
    OtherCluster {
        /// What answers: a coordinator or an agent.
        who: &'static str,
        /// That one's.
        ours: ClusterId,
        /// Which one is meant.
        theirs: ClusterId,
    },
    /// The agent belongs to another forming of a cluster of this name: one of the two has no business here.
    #[error(
        "this coordinator is of cluster {cluster} as formed under {}, and this agent belongs to the one formed under {theirs}; \
         if `quorate status -o json` of the coordinators in service shows {theirs}, stop this coordinator and correct the \
         agent's coordinators; otherwise stop the agent and give it an empty state_dir",
        .ours.as_ref().map_or("no id", FormationId::as_str)
    )]
    OtherFormation {
        /// The cluster's name.
        cluster: ClusterId,
        /// As this coordinator has it on record.
        ours: Option<FormationId>,
        /// As the agent was told it.
        theirs: FormationId,
    },
    /// The group has a guard on this host already.
    #[error("group {group} has a guard on this host already: {guard}; stop that one first")]
    Guarded {
        /// The group.
        group: GroupId,
        /// The one that it has, in words.
        guard: String,
    },
    /// What the host's agent is configured with starts and ends the services of all groups.
    #[error(
        "the agent of this host starts and ends services by hooks, so that group {group} can have no guard; take hooks.*, warden.fence_command and warden.watchdog out of the agent's configuration, or use no guard"
    )]
    GuardBesideHooks {
        /// The group.
        group: GroupId,
    },
    /// Whoever asks runs on another machine.
    #[error("a guard is attached from {from}, which is not this host; run it on the host of the agent")]
    GuardElsewhere {
        /// Where it runs.
        from: String,
    },
    /// Whoever says that a guard's service has stopped does not know that guard's secret.
    #[error(
        "only the keeper of the guard of group {group} can say that its service under epoch {epoch} has stopped; where no keeper is left, start the guard again"
    )]
    NoKeeper {
        /// The group.
        group: GroupId,
        /// The epoch that it speaks of.
        epoch: Epoch,
    },
    /// Whoever opened the stream does not read it.
    #[error("what was sent is not read; the stream ends, open another one")]
    SlowReader,
    /// Something that was waited for did not come in time.
    #[error("{what} did not come in time; {remedy}")]
    TooLate {
        /// What.
        what: &'static str,
        /// What to do now.
        remedy: &'static str,
    },
    /// A fault of this coordinator, before anything was proposed; afterwards it is [`Self::Unknown`].
    #[error("internal error: {0}; the coordinator's log says more")]
    Internal(String),
}

fn leader_text(leader: Option<&(CoordinatorId, String)>) -> String {
    match leader {
        Some((id, address)) => format!("coordinator {id} at {address} does"),
        None => "it hears no leader, so there is none at present or it is cut off from the majority; nothing was changed"
            .to_owned(),
    }
}

/// The parts of a status.
struct Parts {
    code: Code,
    reason: String,
    metadata: HashMap<String, String>,
    retry_after: Option<Duration>,
}

impl Parts {
    fn new(code: Code, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into(), metadata: HashMap::new(), retry_after: None }
    }

    fn with(mut self, key: &str, value: &dyn ToString) -> Self {
        self.metadata.insert(key.to_owned(), bounded(&value.to_string()).to_owned());
        self
    }

    fn retry(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl ApiError {
    /// The stable code that clients find in `ErrorInfo`.
    pub fn reason(&self) -> String {
        self.parts().reason
    }

    /// `RetryInfo` is given only where the very same request may fare better. Refusals are remembered under their
    /// request id, so a retry of one would hear the same again.
    fn parts(&self) -> Parts {
        match self {
            Self::Rejected(rejection) => {
                let kind = kind(rejection);
                let mut parts = Parts::new(kind.code(), rejection.code());
                for (key, value) in facts(rejection) {
                    parts = parts.with(key, &value);
                }
                match kind {
                    Kind::NotFound { what, id } | Kind::AlreadyExists { what, id } => {
                        parts.with(key::WHAT, &what).with(key::ID, &id)
                    }
                    Kind::Malformed { field } => parts.with(key::FIELD, &field),
                    Kind::State { .. } | Kind::Exhausted { .. } => parts,
                }
            }
            Self::NotLeader { leader: Some((id, address)) } => {
                Parts::new(Code::Unavailable, Reason::NotLeader.as_str())
                    .retry(NOT_LEADER_RETRY)
                    .with(key::LEADER_ID, id)
                    .with(key::LEADER_API_ADDRESS, address)
            }
            Self::NotLeader { leader: None } => {
                Parts::new(Code::Unavailable, Reason::NoLeader.as_str()).retry(NO_QUORUM_RETRY)
            }
            Self::NoQuorum => Parts::new(Code::Unavailable, Reason::NoQuorum.as_str()).retry(NO_QUORUM_RETRY),
            Self::Unknown { request_id, .. } => {
                let parts = Parts::new(Code::DeadlineExceeded, Reason::OutcomeUnknown.as_str())
                    .retry(NO_QUORUM_RETRY);
                match request_id {
                    Some(id) => parts.with(key::REQUEST_ID, id),
                    None => parts,
                }
            }
            Self::Compacted { first_kept } => Parts::new(Code::OutOfRange, Reason::Compacted.as_str())
                .with(key::FIRST_KEPT_REVISION, first_kept),
            Self::RevisionAhead { last, .. } => Parts::new(Code::OutOfRange, Reason::RevisionAhead.as_str())
                .with(key::FIELD, &START_REVISION)
                .with(key::LAST_REVISION, last),
            Self::TooManyWatches { limit } => {
                Parts::new(Code::ResourceExhausted, Reason::TooManyWatches.as_str())
                    .retry(WATCHES_RETRY)
                    .with(key::LIMIT, limit)
            }
            Self::Overloaded => {
                Parts::new(Code::ResourceExhausted, Reason::Overloaded.as_str()).retry(OVERLOADED_RETRY)
            }
            Self::HeldBack { retry_after_ms, .. } => {
                Parts::new(Code::ResourceExhausted, Reason::HeldBack.as_str())
                    .retry(Duration::from_millis(*retry_after_ms))
            }
            Self::Invalid(field) => Parts::new(Code::InvalidArgument, Reason::InvalidField.as_str())
                .with(key::FIELD, &field.field),
            Self::NotFound { what, id } => {
                let reason = format!("{}_NOT_FOUND", what.to_uppercase().replace(' ', "_"));
                Parts::new(Code::NotFound, reason).with(key::WHAT, what).with(key::ID, id).with(what, id)
            }
            Self::Stopping { .. } => {
                Parts::new(Code::Unavailable, Reason::Stopping.as_str()).retry(NOT_LEADER_RETRY)
            }
            Self::SessionReplaced => Parts::new(Code::Aborted, Reason::SessionReplaced.as_str()),
            Self::OtherCluster { ours, .. } => {
                Parts::new(Code::FailedPrecondition, Reason::OtherCluster.as_str()).with(key::CLUSTER, ours)
            }
            Self::OtherFormation { ours, .. } => {
                let parts = Parts::new(Code::FailedPrecondition, Reason::OtherFormation.as_str());
                match ours {
                    Some(ours) => parts.with(key::FORMATION, ours),
                    None => parts,
                }
            }
            Self::Guarded { group, .. } => {
                Parts::new(Code::AlreadyExists, Reason::Guarded.as_str()).with(key::GROUP, group)
            }
            Self::GuardBesideHooks { group } => {
                Parts::new(Code::FailedPrecondition, Reason::GuardBesideHooks.as_str())
                    .with(key::GROUP, group)
            }
            Self::NoKeeper { group, .. } => {
                Parts::new(Code::PermissionDenied, Reason::NoKeeper.as_str()).with(key::GROUP, group)
            }
            Self::GuardElsewhere { from } => {
                Parts::new(Code::PermissionDenied, Reason::GuardElsewhere.as_str()).with(key::ADDRESS, from)
            }
            Self::SlowReader => {
                Parts::new(Code::ResourceExhausted, Reason::SlowReader.as_str()).retry(OVERLOADED_RETRY)
            }
            Self::TooLate { .. } => {
                Parts::new(Code::DeadlineExceeded, Reason::TooLate.as_str()).retry(OVERLOADED_RETRY)
            }
            Self::Internal(_) => Parts::new(Code::Internal, Reason::Internal.as_str()),
        }
    }

    fn add_specifics(&self, details: &mut ErrorDetails, message: &str) {
        match self {
            Self::Invalid(field) => {
                let violation = field.violation();
                details.add_bad_request_violation(bounded(&violation.field), bounded(&violation.description));
            }
            Self::OtherCluster { .. } => {
                let code = Reason::OtherCluster.as_str();
                let violation = PreconditionViolation::new(code, "cluster", message);
                details.set_precondition_failure(vec![violation]);
            }
            Self::OtherFormation { .. } => {
                let code = Reason::OtherFormation.as_str();
                let violation = PreconditionViolation::new(code, "cluster", message);
                details.set_precondition_failure(vec![violation]);
            }
            Self::Rejected(rejection) => add_specifics_of(rejection, details, message),
            Self::RevisionAhead { .. } => {
                details.add_bad_request_violation(START_REVISION, message);
            }
            Self::TooManyWatches { .. } => {
                details.set_quota_failure(vec![QuotaViolation::new("watches", message)]);
            }
            Self::HeldBack { what, .. } => {
                details.set_quota_failure(vec![QuotaViolation::new(bounded(what), message)]);
            }
            Self::NotFound { what, id } => {
                details.set_resource_info(*what, bounded(id), "", message);
            }
            _ => {}
        }
    }
}

fn add_specifics_of(rejection: &Rejection, details: &mut ErrorDetails, message: &str) {
    match kind(rejection) {
        Kind::State { subject } => {
            let violation = PreconditionViolation::new(rejection.code(), bounded(&subject), message);
            details.set_precondition_failure(vec![violation]);
        }
        Kind::Malformed { field } => {
            details.add_bad_request_violation(field, message);
        }
        Kind::NotFound { what, id } | Kind::AlreadyExists { what, id } => {
            details.set_resource_info(what, bounded(&id), "", message);
        }
        Kind::Exhausted { subject } => {
            details.set_quota_failure(vec![QuotaViolation::new(bounded(&subject), message)]);
        }
    }
}

/// Cuts a text to [`MESSAGE_MAX_BYTES`].
fn bounded(text: &str) -> &str {
    &text[..text.floor_char_boundary(MESSAGE_MAX_BYTES)]
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        let text = error.to_string();
        let message = bounded(&text);
        let Parts { code, reason, metadata, retry_after } = error.parts();
        let mut details = ErrorDetails::new();
        details.set_error_info(reason, DOMAIN, metadata);
        if let Some(after) = retry_after {
            details.set_retry_info(Some(after));
        }
        error.add_specifics(&mut details, message);
        let status = Self::with_error_details(code, message, details);
        match error {
            ApiError::NotLeader { leader: Some((id, address)) } => {
                with_hint(&status, &LeaderHint { coordinator_id: id.0, api_address: address })
            }
            _ => status,
        }
    }
}

impl From<InvalidField> for Status {
    fn from(field: InvalidField) -> Self {
        ApiError::Invalid(field).into()
    }
}

/// Adds our own detail, which the helper for the standard ones cannot.
fn with_hint(status: &Status, hint: &LeaderHint) -> Status {
    let mut rich = tonic_types::Status::decode(status.details()).unwrap_or_default();
    // The type of a detail is not named by the crate that has it.
    rich.details.resize_with(rich.details.len() + 1, Default::default);
    if let Some(detail) = rich.details.last_mut() {
        LEADER_HINT_TYPE_URL.clone_into(&mut detail.type_url);
        detail.value = hint.encode_to_vec();
    }
    Status::with_details(status.code(), status.message(), rich.encode_to_vec().into())
}

/// Finds the leader in the details of a status.
pub(super) fn read_hint(status: &Status) -> Option<LeaderHint> {
    let rich = tonic_types::Status::decode(status.details()).ok()?;
    let detail = rich.details.iter().find(|detail| detail.type_url == LEADER_HINT_TYPE_URL)?;
    LeaderHint::decode(detail.value.as_slice()).ok()
}
