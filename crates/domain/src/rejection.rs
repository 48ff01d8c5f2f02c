//! Why a command was refused, with a code that clients branch on.

use crate::{
    command::REASON_MAX_BYTES,
    coordinator::{COORDINATOR_ID_STEP_MAX, lags, listed, quorum_of},
    eligibility::Ineligible,
    ids::{
        ClusterId, CoordinatorId, DiskId, Epoch, GroupId, HostId, Incarnation, OperationId, RequestId, Term,
    },
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Why a command was refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// The cluster was formed before.
    #[error("the cluster {0} exists already")]
    ClusterExists(ClusterId),
    /// Nothing works before the cluster is formed.
    #[error("the cluster is not formed yet; wait until a coordinator leads")]
    ClusterMissing,
    /// Settings that are not safe.
    #[error("settings refused: {}", .0.join("; "))]
    UnsafeSettings(Vec<String>),
    /// No such host.
    #[error("host {0} is not known; `quorate host list` shows those that are")]
    HostNotFound(HostId),
    /// No such disk.
    #[error("disk {0} is not known; `quorate disk list` shows those that are")]
    DiskNotFound(DiskId),
    /// No disk was named and the host has none or several.
    #[error("host {host} has {count} disks: name one as {host}/DISK")]
    DiskAmbiguous {
        /// The host.
        host: HostId,
        /// How many disks it has.
        count: usize,
    },
    /// Another agent speaks for the host.
    #[error(
        "host id {host} is in use by an agent on another state folder; stop that one, or give this host another id; it is free once the host is offline; `quorate host reset {host}` frees it once it is suspect, and is refused while it is online"
    )]
    HostIdInUse {
        /// The host.
        host: HostId,
        /// The other agent's state folder. Not told to whoever was refused, who could speak for it.
        instance: String,
    },
    /// An earlier start of the agent.
    #[error("host {host} is at incarnation {recorded}; {offered} is not newer")]
    StaleIncarnation {
        /// The host.
        host: HostId,
        /// What the state has.
        recorded: Incarnation,
        /// What was offered.
        offered: Incarnation,
    },
    /// The number of a start leaves too little room above it.
    #[error(
        "incarnation {offered} of host {host} is too high, the highest that counts now is {most}: an agent numbers its starts by its clock in milliseconds; set the clock of the host, stop the agent, and once `quorate host show {host}` says offline, or after `quorate host reset {host}`, which is refused while it says online, start it on an empty state_dir"
    )]
    StartNumberTooHigh {
        /// The host.
        host: HostId,
        /// What was offered.
        offered: Incarnation,
        /// The highest that would have been taken.
        most: Incarnation,
    },
    /// An agent may speak for the host yet.
    #[error("host {host} is {status}; stop its agent and wait until `quorate host show {host}` says offline")]
    HostNotOffline {
        /// The host.
        host: HostId,
        /// Its status.
        status: String,
    },
    /// Groups count on the host.
    #[error(
        "host {host} is a member of {}; move and remove it there first: `quorate group member remove GROUP {host}`",
        listed_groups(groups, *count)
    )]
    HostIsMember {
        /// The host.
        host: HostId,
        /// Some of the groups.
        groups: Vec<GroupId>,
        /// How many there are.
        count: usize,
    },
    /// Groups count on the disk.
    #[error(
        "disk {disk} is that of a member of {}; remove it there first: `quorate group member remove GROUP {}`",
        listed_groups(groups, *count), disk.host
    )]
    DiskIsMember {
        /// The disk.
        disk: DiskId,
        /// Some of the groups.
        groups: Vec<GroupId>,
        /// How many there are.
        count: usize,
    },
    /// A primary is moved before it is removed.
    #[error(
        "host {host} is the primary of group {group}, or was last; `quorate group failover {group}` first"
    )]
    MemberIsPrimary {
        /// The group.
        group: GroupId,
        /// The host.
        host: HostId,
    },
    /// What a member ran may still run.
    #[error(
        "host {host} was primary of group {group}, and its service of epoch {epoch} is not known to have stopped; wait for its agent, or until the host is offline"
    )]
    MemberNotStopped {
        /// The group.
        group: GroupId,
        /// The host.
        host: HostId,
        /// The epoch that was taken from it.
        epoch: Epoch,
    },
    /// Not an order of the group's members.
    #[error("order of group {group}: {problem}; name every member once, most preferred first")]
    InvalidOrder {
        /// The group.
        group: GroupId,
        /// What is wrong with it.
        problem: String,
    },
    /// An operator's reason that is missing or too long.
    #[error("reason: {problem}; say in 1 to {REASON_MAX_BYTES} bytes why, for those who read the history")]
    InvalidReason {
        /// What is wrong with it.
        problem: String,
    },
    /// There is nothing to clear.
    #[error(
        "disk {disk} is not latched, it is {verdict}: that passes by itself once what `quorate disk show {disk}` names is put right"
    )]
    DiskNotLatched {
        /// The disk.
        disk: DiskId,
        /// What its checks say.
        verdict: String,
    },
    /// A disk that is latched does not pass its checks.
    #[error(
        "disk {disk} does not pass its checks{}; put another disk in its place, or clear it once `quorate disk show {disk}` says that they pass again",
        if findings.is_empty() { String::new() } else { format!(" ({})", findings.join("; ")) }
    )]
    DiskStillFailing {
        /// The disk.
        disk: DiskId,
        /// What they found.
        findings: Vec<String>,
    },
    /// No such group.
    #[error("group {0} is not known; `quorate group list` shows those that are")]
    GroupNotFound(GroupId),
    /// The name is taken.
    #[error("group {0} exists already; choose another id")]
    GroupExists(GroupId),
    /// A host appears twice.
    #[error(
        "host {host} is named more than once in group {group}: primary and backups must be different hosts"
    )]
    DuplicateMember {
        /// The group.
        group: GroupId,
        /// The host.
        host: HostId,
    },
    /// Too many members.
    #[error("group {group} would have {count} members; the most is {limit}")]
    TooManyMembers {
        /// The group.
        group: GroupId,
        /// How many were asked for.
        count: usize,
        /// The limit.
        limit: usize,
    },
    /// Labels over their limits.
    #[error("labels of group {group}: {problem}")]
    InvalidLabels {
        /// The group.
        group: GroupId,
        /// What is wrong.
        problem: String,
    },
    /// The group is going away.
    #[error("group {0} is being deleted")]
    GroupDeleting(GroupId),
    /// A failover of the group runs.
    #[error("group {group} has a failover under way: {operation}; `quorate op wait {operation}` follows it")]
    FailoverInProgress {
        /// The group.
        group: GroupId,
        /// The failover.
        operation: OperationId,
    },
    /// The target is the primary already.
    #[error("host {host} is the primary of group {group} already")]
    AlreadyPrimary {
        /// The group.
        group: GroupId,
        /// The host.
        host: HostId,
    },
    /// The host is no member of the group.
    #[error("host {host} is not a member of group {group}")]
    NotAMember {
        /// The group.
        group: GroupId,
        /// The host.
        host: HostId,
    },
    /// The host may not be promoted now.
    #[error("host {host} cannot be primary of group {group}: {reason}")]
    NotEligible {
        /// The group.
        group: GroupId,
        /// The host.
        host: HostId,
        /// Why not.
        reason: Box<Ineligible>,
    },
    /// Nobody may be promoted now.
    #[error("no backup of group {group} can take over: {}", if reasons.is_empty() { "it has none".to_owned() } else { reasons.join("; ") })]
    NoEligibleBackup {
        /// The group.
        group: GroupId,
        /// One line for each backup.
        reasons: Vec<String>,
    },
    /// The plan saw another epoch.
    #[error("group {group} is at epoch {current}, not {given}")]
    StaleEpoch {
        /// The group.
        group: GroupId,
        /// What the state has.
        current: Epoch,
        /// What was given.
        given: Epoch,
    },
    /// The plan belongs to another operation, or the group is in another phase.
    #[error("group {group} is {phase}: {needed}")]
    WrongPhase {
        /// The group.
        group: GroupId,
        /// The phase it is in.
        phase: String,
        /// What would have been needed.
        needed: String,
    },
    /// What the plan rests on does not hold (any more).
    #[error("group {group}: no failover is needed: {why}")]
    NotNeeded {
        /// The group.
        group: GroupId,
        /// Why not.
        why: String,
    },
    /// The old primary could still act.
    #[error("group {group}: {waited_ms} ms after the revoke is too early, D is {wait_ms} ms")]
    WaitNotOver {
        /// The group.
        group: GroupId,
        /// How long was waited.
        waited_ms: u64,
        /// How long it takes.
        wait_ms: u64,
    },
    /// A wait of another leadership.
    #[error(
        "group {group}: the wait was counted in term {waited_in}, this is term {term}; waits are not carried over"
    )]
    WaitOfAnotherTerm {
        /// The group.
        group: GroupId,
        /// The term of the wait.
        waited_in: Term,
        /// The term of this command.
        term: Term,
    },
    /// The release that the plan relies on is not there.
    #[error("group {0} has not been released by its old primary")]
    NotReleased(GroupId),
    /// The request id was used for something else.
    #[error("request id {0} was used for another request; make a new id for a new request")]
    RequestIdReused(RequestId),
    /// The acting primary is meant, and this is not it.
    #[error("host {host} (incarnation {incarnation}) does not hold group {group} under epoch {epoch}")]
    NotTheHolder {
        /// The group.
        group: GroupId,
        /// The host.
        host: HostId,
        /// The start of its agent.
        incarnation: Incarnation,
        /// The epoch.
        epoch: Epoch,
    },
    /// A table is full.
    #[error("there are {limit} {what} already, the most that are kept; remove some first")]
    LimitReached {
        /// Which table.
        what: String,
        /// Its limit.
        limit: usize,
    },
    /// The coordinators are not on record.
    #[error("the coordinators are not on record yet; the leader puts them there at once: try again")]
    CoordinatorsNotRecorded,
    /// No such coordinator.
    #[error("coordinator {0} is not a member; `quorate member list` shows those that are")]
    CoordinatorNotFound(CoordinatorId),
    /// The number was used.
    #[error("coordinator id {id} was used before, and ids are never used again; use {} or higher", highest.0.saturating_add(1))]
    CoordinatorIdUsed {
        /// The number.
        id: CoordinatorId,
        /// The highest that was used.
        highest: CoordinatorId,
    },
    /// The number would leave out too many.
    #[error(
        "coordinator id {id} is too far above {highest}, the highest that was used: ids in between are lost; use one from {} to {}",
        highest.0.saturating_add(1), highest.0.saturating_add(COORDINATOR_ID_STEP_MAX)
    )]
    CoordinatorIdTooHigh {
        /// The number.
        id: CoordinatorId,
        /// The highest that was used.
        highest: CoordinatorId,
    },
    /// Another coordinator is reached there.
    #[error("address {address} is that of coordinator {coordinator}; give the new one an address of its own")]
    AddressInUse {
        /// The address.
        address: String,
        /// Who has it.
        coordinator: CoordinatorId,
    },
    /// The new coordinator is not as one must be that is taken in.
    #[error(
        "coordinator {id} cannot be taken in, at {address}: {problem}; start it there with this cluster.id, node.id {id} and an empty data_dir, then try again"
    )]
    CoordinatorNotReady {
        /// The new coordinator.
        id: CoordinatorId,
        /// Where it was asked.
        address: String,
        /// What is wrong.
        problem: String,
    },
    /// It votes already.
    #[error("coordinator {0} votes already")]
    AlreadyVoter(CoordinatorId),
    /// Only a voter can be replaced.
    #[error("coordinator {0} has no vote; remove it and add another one")]
    NotAVoter(CoordinatorId),
    /// Nobody would vote.
    #[error("coordinator {0} is the last that votes; add another one and promote it first")]
    LastVoter(CoordinatorId),
    /// The new voters could decide nothing.
    #[error(
        "with {} as voters, {} of them must answer and hold the log, and only these do: {}{}; bring others back first and let them catch up, or name one that is lost to be replaced",
        listed(voters), quorum_of(voters.len()), listed(heard), lags(lagging)
    )]
    WouldLoseQuorum {
        /// Who would vote.
        voters: BTreeSet<CoordinatorId>,
        /// Who of them was heard lately and holds the log.
        heard: BTreeSet<CoordinatorId>,
        /// Who of them was heard lately and lacks entries, and how many.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        lagging: BTreeMap<CoordinatorId, u64>,
    },
    /// What was heard or seen in another leadership.
    #[error(
        "what the leader of term {seen_in} saw of the coordinators does not count in term {term}: try again"
    )]
    SeenInAnotherTerm {
        /// The term of what was seen.
        seen_in: Term,
        /// The term of this command.
        term: Term,
    },
    /// One change at a time.
    #[error(
        "the coordinators are changing: {operation}; `quorate op wait {operation}` follows it, `quorate member cancel` gives it up"
    )]
    ChangeInProgress {
        /// The change.
        operation: OperationId,
    },
    /// The change is not open.
    #[error("{0} is not a change of coordinators that is under way; `quorate member list` shows one that is")]
    ChangeNotOpen(OperationId),
    /// It is too late to cancel.
    #[error(
        "{operation} can no longer be cancelled: it is on record that {} vote; wait until it is done",
        listed(voters)
    )]
    ChangeOnRecord {
        /// The change.
        operation: OperationId,
        /// Who votes.
        voters: BTreeSet<CoordinatorId>,
    },
    /// The change is not as far as that.
    #[error("{operation}: {problem}")]
    ChangeNotReady {
        /// The change.
        operation: OperationId,
        /// What is in the way.
        problem: String,
    },
}

/// `groups a, b and 3 more`
fn listed_groups(groups: &[GroupId], count: usize) -> String {
    let names: Vec<_> = groups.iter().map(GroupId::as_str).collect();
    let more = count.saturating_sub(groups.len());
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("{} {}{rest}", if count == 1 { "group" } else { "groups" }, names.join(", "))
}

impl Rejection {
    /// The stable code that clients branch on.
    pub fn code(&self) -> &'static str {
        match self {
            Self::ClusterExists(_) => "CLUSTER_EXISTS",
            Self::ClusterMissing => "CLUSTER_MISSING",
            Self::UnsafeSettings(_) => "UNSAFE_SETTINGS",
            Self::HostNotFound(_) => "HOST_NOT_FOUND",
            Self::DiskNotFound(_) => "DISK_NOT_FOUND",
            Self::DiskAmbiguous { .. } => "DISK_AMBIGUOUS",
            Self::HostIdInUse { .. } => "HOST_ID_IN_USE",
            Self::StaleIncarnation { .. } => "STALE_INCARNATION",
            Self::StartNumberTooHigh { .. } => "START_NUMBER_TOO_HIGH",
            Self::HostNotOffline { .. } => "HOST_NOT_OFFLINE",
            Self::HostIsMember { .. } => "HOST_IS_MEMBER",
            Self::DiskIsMember { .. } => "DISK_IS_MEMBER",
            Self::MemberIsPrimary { .. } => "MEMBER_IS_PRIMARY",
            Self::MemberNotStopped { .. } => "MEMBER_NOT_STOPPED",
            Self::InvalidOrder { .. } => "INVALID_ORDER",
            Self::InvalidReason { .. } => "INVALID_REASON",
            Self::DiskNotLatched { .. } => "DISK_NOT_LATCHED",
            Self::DiskStillFailing { .. } => "DISK_STILL_FAILING",
            Self::GroupNotFound(_) => "GROUP_NOT_FOUND",
            Self::GroupExists(_) => "GROUP_EXISTS",
            Self::DuplicateMember { .. } => "DUPLICATE_MEMBER",
            Self::TooManyMembers { .. } => "TOO_MANY_MEMBERS",
            Self::InvalidLabels { .. } => "INVALID_LABELS",
            Self::GroupDeleting(_) => "GROUP_DELETING",
            Self::FailoverInProgress { .. } => "FAILOVER_IN_PROGRESS",
            Self::AlreadyPrimary { .. } => "ALREADY_PRIMARY",
            Self::NotAMember { .. } => "NOT_A_MEMBER",
            Self::NotEligible { .. } => "NOT_ELIGIBLE",
            Self::NoEligibleBackup { .. } => "NO_ELIGIBLE_BACKUP",
            Self::StaleEpoch { .. } => "STALE_EPOCH",
            Self::WrongPhase { .. } => "WRONG_PHASE",
            Self::NotNeeded { .. } => "NOT_NEEDED",
            Self::WaitNotOver { .. } => "WAIT_NOT_OVER",
            Self::WaitOfAnotherTerm { .. } => "WAIT_OF_ANOTHER_TERM",
            Self::NotReleased(_) => "NOT_RELEASED",
            Self::RequestIdReused(_) => "REQUEST_ID_REUSED",
            Self::NotTheHolder { .. } => "NOT_THE_HOLDER",
            Self::LimitReached { .. } => "LIMIT_REACHED",
            Self::CoordinatorsNotRecorded => "COORDINATORS_NOT_RECORDED",
            Self::CoordinatorNotFound(_) => "COORDINATOR_NOT_FOUND",
            Self::CoordinatorIdUsed { .. } => "COORDINATOR_ID_USED",
            Self::CoordinatorIdTooHigh { .. } => "COORDINATOR_ID_TOO_HIGH",
            Self::AddressInUse { .. } => "ADDRESS_IN_USE",
            Self::CoordinatorNotReady { .. } => "COORDINATOR_NOT_READY",
            Self::AlreadyVoter(_) => "ALREADY_VOTER",
            Self::NotAVoter(_) => "NOT_A_VOTER",
            Self::LastVoter(_) => "LAST_VOTER",
            Self::WouldLoseQuorum { .. } => "WOULD_LOSE_QUORUM",
            Self::SeenInAnotherTerm { .. } => "SEEN_IN_ANOTHER_TERM",
            Self::ChangeInProgress { .. } => "CHANGE_IN_PROGRESS",
            Self::ChangeNotOpen(_) => "CHANGE_NOT_OPEN",
            Self::ChangeOnRecord { .. } => "CHANGE_ON_RECORD",
            Self::ChangeNotReady { .. } => "CHANGE_NOT_READY",
        }
    }
}
