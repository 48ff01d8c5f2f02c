//! How refusals are mapped to gRPC codes and details.

use super::reason::key;
use quorate_domain::{CoordinatorId, Rejection};
use tonic::Code;

/// What a refusal means to a client.
pub(super) enum Kind {
    /// There is no such thing: what kind of thing, and its id.
    NotFound { what: &'static str, id: String },
    /// The name is taken: of what kind of thing, and which.
    AlreadyExists { what: &'static str, id: String },
    /// The request as such is wrong, whatever the state: where.
    Malformed { field: &'static str },
    /// The state is in the way: what of it.
    State { subject: String },
    /// A table is full: which.
    Exhausted { subject: String },
}

impl Kind {
    pub(super) fn code(&self) -> Code {
        match self {
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::Malformed { .. } => Code::InvalidArgument,
            Self::State { .. } => Code::FailedPrecondition,
            Self::Exhausted { .. } => Code::ResourceExhausted,
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
        R::ClusterExists(id) => Kind::AlreadyExists { what: "cluster", id: id.to_string() },
        R::GroupExists(id) => Kind::AlreadyExists { what: "group", id: id.to_string() },
        R::CoordinatorIdUsed { id, .. } => Kind::AlreadyExists { what: "coordinator", id: id.to_string() },
        R::AddressInUse { address, .. } => Kind::AlreadyExists { what: "address", id: address.clone() },
        R::UnsafeSettings(_) => Kind::Malformed { field: "settings" },
        R::StartNumberTooHigh { .. } => Kind::Malformed { field: "hello.incarnation" },
        R::DiskAmbiguous { .. } => Kind::Malformed { field: "disk" },
        R::DuplicateMember { .. } | R::TooManyMembers { .. } => Kind::Malformed { field: "backups" },
        R::InvalidLabels { .. } => Kind::Malformed { field: "labels" },
        R::RequestIdReused(_) => Kind::Malformed { field: "request_id" },
        R::LimitReached { what, .. } => Kind::Exhausted { subject: what.clone() },
        R::ClusterMissing
        | R::CoordinatorsNotRecorded
        | R::WouldLoseQuorum { .. }
        | R::SeenInAnotherTerm { .. } => Kind::State { subject: "cluster".to_owned() },
        R::AlreadyVoter(id)
        | R::NotAVoter(id)
        | R::LastVoter(id)
        | R::CoordinatorIdTooHigh { id, .. }
        | R::CoordinatorNotReady { id, .. } => Kind::State { subject: format!("coordinator/{id}") },
        R::ChangeInProgress { operation }
        | R::ChangeNotOpen(operation)
        | R::ChangeOnRecord { operation, .. }
        | R::ChangeNotReady { operation, .. } => Kind::State { subject: format!("operation/{operation}") },
        R::HostIdInUse { host: id, .. }
        | R::StaleIncarnation { host: id, .. }
        | R::HostNotOffline { host: id, .. }
        | R::HostIsMember { host: id, .. } => host(id),
        R::DiskIsMember { disk, .. } => Kind::State { subject: format!("disk/{disk}") },
        R::MemberIsPrimary { group, .. } | R::MemberNotStopped { group, .. } => {
            Kind::State { subject: format!("group/{group}") }
        }
        R::InvalidOrder { .. } => Kind::Malformed { field: "hosts" },
        R::InvalidReason { .. } => Kind::Malformed { field: "reason" },
        R::DiskNotLatched { disk, .. } | R::DiskStillFailing { disk, .. } => {
            Kind::State { subject: format!("disk/{disk}") }
        }
        R::GroupDeleting(group)
        | R::FailoverInProgress { group, .. }
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

/// What the refusal is about, for the metadata of `ErrorInfo`: ids and numbers, never sentences.
pub(super) fn facts(rejection: &Rejection) -> Vec<(&'static str, String)> {
    use Rejection as R;
    let text = |value: &dyn std::fmt::Display| value.to_string();
    match rejection {
        // An id or a field that the kind of refusal names is added by whoever asks.
        R::ClusterMissing
        | R::CoordinatorsNotRecorded
        | R::UnsafeSettings(_)
        | R::ClusterExists(_)
        | R::InvalidReason { .. } => vec![],
        R::CoordinatorNotFound(id) | R::AlreadyVoter(id) | R::NotAVoter(id) | R::LastVoter(id) => {
            vec![(key::COORDINATOR, text(id))]
        }
        R::CoordinatorIdUsed { id, highest } | R::CoordinatorIdTooHigh { id, highest } => {
            vec![(key::COORDINATOR, text(id)), (key::HIGHEST, text(highest))]
        }
        R::AddressInUse { address, coordinator } => {
            vec![(key::ADDRESS, address.clone()), (key::COORDINATOR, text(coordinator))]
        }
        R::CoordinatorNotReady { id, address, .. } => {
            vec![(key::COORDINATOR, text(id)), (key::ADDRESS, address.clone())]
        }
        R::WouldLoseQuorum { voters, heard, lagging } => vec![
            (key::VOTERS, numbers(voters)),
            (key::HEARD, numbers(heard)),
            (key::LAGGING, numbers(lagging.keys())),
        ],
        R::SeenInAnotherTerm { term, .. } => vec![(key::TERM, text(term))],
        R::ChangeInProgress { operation }
        | R::ChangeNotOpen(operation)
        | R::ChangeNotReady { operation, .. } => vec![(key::OPERATION, text(operation))],
        R::ChangeOnRecord { operation, voters } => {
            vec![(key::OPERATION, text(operation)), (key::VOTERS, numbers(voters))]
        }
        R::HostNotFound(host) | R::HostIdInUse { host, .. } | R::HostNotOffline { host, .. } => {
            vec![(key::HOST, text(host))]
        }
        R::DiskNotFound(disk) | R::DiskNotLatched { disk, .. } | R::DiskStillFailing { disk, .. } => {
            vec![(key::DISK, text(disk))]
        }
        R::HostIsMember { host, count, .. } | R::DiskAmbiguous { host, count } => {
            vec![(key::HOST, text(host)), (key::COUNT, text(count))]
        }
        R::DiskIsMember { disk, count, .. } => vec![(key::DISK, text(disk)), (key::COUNT, text(count))],
        R::MemberNotStopped { group, host, epoch } => {
            vec![(key::GROUP, text(group)), (key::HOST, text(host)), (key::EPOCH, text(epoch))]
        }
        R::StaleIncarnation { host, recorded, .. } => {
            vec![(key::HOST, text(host)), (key::INCARNATION, text(recorded))]
        }
        R::StartNumberTooHigh { host, most, .. } => {
            vec![(key::HOST, text(host)), (key::LIMIT, text(most))]
        }
        R::TooManyMembers { group, count, limit } => {
            vec![(key::GROUP, text(group)), (key::COUNT, text(count)), (key::LIMIT, text(limit))]
        }
        R::FailoverInProgress { group, operation } => {
            vec![(key::GROUP, text(group)), (key::OPERATION, text(operation))]
        }
        R::DuplicateMember { group, host }
        | R::AlreadyPrimary { group, host }
        | R::NotAMember { group, host }
        | R::MemberIsPrimary { group, host }
        | R::NotEligible { group, host, .. } => vec![(key::GROUP, text(group)), (key::HOST, text(host))],
        R::StaleEpoch { group, current, .. } => {
            vec![(key::GROUP, text(group)), (key::EPOCH, text(current))]
        }
        R::WaitNotOver { group, waited_ms, wait_ms } => {
            vec![(key::GROUP, text(group)), (key::WAITED_MS, text(waited_ms)), (key::WAIT_MS, text(wait_ms))]
        }
        R::NotTheHolder { group, host, incarnation, epoch } => vec![
            (key::GROUP, text(group)),
            (key::HOST, text(host)),
            (key::INCARNATION, text(incarnation)),
            (key::EPOCH, text(epoch)),
        ],
        R::GroupNotFound(group)
        | R::GroupExists(group)
        | R::InvalidLabels { group, .. }
        | R::InvalidOrder { group, .. }
        | R::GroupDeleting(group)
        | R::NoEligibleBackup { group, .. }
        | R::WrongPhase { group, .. }
        | R::NotNeeded { group, .. }
        | R::WaitOfAnotherTerm { group, .. }
        | R::NotReleased(group) => vec![(key::GROUP, text(group))],
        R::RequestIdReused(id) => vec![(key::REQUEST_ID, text(id))],
        R::LimitReached { what, limit } => vec![(key::WHAT, what.clone()), (key::LIMIT, text(limit))],
    }
}

/// `1,2,3`
fn numbers<'a>(ids: impl IntoIterator<Item = &'a CoordinatorId>) -> String {
    ids.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
