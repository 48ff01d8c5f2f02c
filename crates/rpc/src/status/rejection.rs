//! How refusals are mapped to gRPC codes.

use quorate_domain::Rejection;
use tonic::Code;

/// What a refusal means to a client.
pub(super) enum Kind {
    /// There is no such thing: what kind of thing, and its id.
    NotFound { what: &'static str, id: String },
    /// The name is taken.
    AlreadyExists,
    /// The request as such is wrong, whatever the state.
    Malformed,
    /// The state is in the way: what of it.
    State { subject: String },
    /// A table is full.
    Exhausted,
}

impl Kind {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists => Code::AlreadyExists,
            Self::Malformed => Code::InvalidArgument,
            Self::State { .. } => Code::FailedPrecondition,
            Self::Exhausted => Code::ResourceExhausted,
        }
    }
}

/// Every refusal stands here by name, so that a new one cannot be forgotten.
///
/// A reused request id counts as malformed: no state makes it right, and only a new id helps.
pub(super) fn kind(rejection: &Rejection) -> Kind {
    use Rejection as R;
    let host = |id: &dyn std::fmt::Display| Kind::State { subject: format!("host/{id}") };
    match rejection {
        R::HostNotFound(id) => Kind::NotFound { what: "host", id: id.to_string() },
        R::DiskNotFound(id) => Kind::NotFound { what: "disk", id: id.to_string() },
        R::GroupNotFound(id) => Kind::NotFound { what: "group", id: id.to_string() },
        R::CoordinatorNotFound(id) => Kind::NotFound { what: "coordinator", id: id.to_string() },
        R::ClusterExists(_) | R::GroupExists(_) | R::CoordinatorIdUsed { .. } | R::AddressInUse { .. } => {
            Kind::AlreadyExists
        }
        R::UnsafeSettings(_)
        | R::DiskAmbiguous { .. }
        | R::DuplicateMember { .. }
        | R::TooManyMembers { .. }
        | R::InvalidLabels { .. }
        | R::RequestIdReused(_) => Kind::Malformed,
        R::LimitReached { .. } => Kind::Exhausted,
        R::ClusterMissing
        | R::CoordinatorsNotRecorded
        | R::WouldLoseQuorum { .. }
        | R::SeenInAnotherTerm { .. } => Kind::State { subject: "cluster".to_owned() },
        R::AlreadyVoter(id) | R::NotAVoter(id) | R::LastVoter(id) | R::CoordinatorNotReady { id, .. } => {
            Kind::State { subject: format!("coordinator/{id}") }
        }
        R::ChangeInProgress { operation }
        | R::ChangeNotOpen(operation)
        | R::ChangeOnRecord { operation, .. }
        | R::ChangeNotReady { operation, .. } => Kind::State { subject: format!("operation/{operation}") },
        R::HostIdInUse { host: id, .. } | R::StaleIncarnation { host: id, .. } => host(id),
        R::DiskFailureLatched(disk) => Kind::State { subject: format!("disk/{disk}") },
        R::GroupDeleting(group)
        | R::FailoverInProgress { group, .. }
        | R::GroupStarting(group)
        | R::AlreadyPrimary { group, .. }
        | R::NotAMember { group, .. }
        | R::NotEligible { group, .. }
        | R::NoEligibleBackup { group, .. }
        | R::StaleEpoch { group, .. }
        | R::WrongPhase { group, .. }
        | R::NotNeeded { group, .. }
        | R::WaitNotOver { group, .. }
        | R::WaitOfAnotherTerm { group, .. }
        | R::NotReleased(group)
        | R::NotTheHolder { group, .. } => Kind::State { subject: format!("group/{group}") },
    }
}
