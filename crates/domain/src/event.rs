//! What happened. Events are past tense and carry all that is needed to fold them into the state.

use crate::{
    cause::Evidence,
    coordinator::{Coordinator, CoordinatorChange, listed},
    disk::{DiskIdentity, Verdict, VerdictReason},
    group::Member,
    host::{HookTimes, HostStatus},
    ids::{
        ClusterId, CoordinatorId, DiskId, Epoch, FormationId, GroupId, HostId, Incarnation, InstanceId,
        OperationId, StartId, Term, Zone,
    },
    incidents::RefusalReason,
    operation::FailoverReason,
    settings::Settings,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // the fields are those of the commands, documented there
pub enum Event {
    /// The cluster was formed.
    ClusterCreated {
        cluster: ClusterId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        formation: Option<FormationId>,
        settings: Settings,
    },
    /// A host registered for the first time.
    HostRegistered {
        host: HostId,
        zone: Zone,
        address: String,
        instance: InstanceId,
        incarnation: Incarnation,
        #[serde(default, skip_serializing_if = "StartId::is_unknown")]
        start: StartId,
        #[serde(default, skip_serializing_if = "HookTimes::is_none")]
        hook_times: HookTimes,
    },
    /// A host's zone or address changed.
    HostUpdated { host: HostId, zone: Zone, address: String },
    /// A host's agent started anew: what was granted to its earlier start is void.
    HostRestarted {
        host: HostId,
        instance: InstanceId,
        incarnation: Incarnation,
        #[serde(default, skip_serializing_if = "StartId::is_unknown")]
        start: StartId,
        #[serde(default, skip_serializing_if = "HookTimes::is_none")]
        hook_times: HookTimes,
    },
    /// A host is gone for good, and its disks with it.
    HostForgotten { host: HostId, reason: String },
    /// A host's name is free for an agent on another state folder.
    HostReset { host: HostId, reason: String },
    /// A host becomes primary of nothing more.
    HostCordoned { host: HostId, reason: String },
    /// A host may become primary again.
    HostUncordoned { host: HostId },
    /// A host's status changed.
    HostStatusChanged {
        host: HostId,
        from: HostStatus,
        to: HostStatus,
        reason: String,
        evidence: Vec<Evidence>,
    },
    /// A disk was reported for the first time.
    DiskAdded {
        disk: DiskId,
        identity: DiskIdentity,
        path: String,
        capacity_bytes: u64,
        verdict: Verdict,
        reasons: Vec<VerdictReason>,
    },
    /// A disk's verdict, its reasons, its place or the medium changed.
    DiskChanged {
        disk: DiskId,
        identity: DiskIdentity,
        path: String,
        capacity_bytes: u64,
        from: Verdict,
        verdict: Verdict,
        reasons: Vec<VerdictReason>,
    },
    /// Another medium sits in a disk's place: it holds no copy of what the disk's members had.
    DiskReplaced { disk: DiskId, from: DiskIdentity, to: DiskIdentity },
    /// The present start of its agent has read a disk's medium.
    DiskConfirmed { disk: DiskId },
    /// A fault of its medium latched a disk: it stays failed whatever its checks say.
    DiskLatched { disk: DiskId, codes: Vec<String> },
    /// The checks of a latched disk pass again, or fail again.
    LatchedDiskChecked { disk: DiskId, well: bool },
    /// A disk is gone for good.
    DiskForgotten { disk: DiskId, reason: String },
    /// An operator said that a latched disk is good again.
    DiskCleared { disk: DiskId, reason: String },
    /// A group was created and granted to its first primary.
    GroupCreated {
        group: GroupId,
        primary: Member,
        granted_to: Incarnation,
        backups: Vec<Member>,
        epoch: Epoch,
        labels: BTreeMap<String, String>,
    },
    /// Labels of a group changed; an empty value removed one.
    GroupLabelsChanged { group: GroupId, labels: Arc<BTreeMap<String, String>> },
    /// An operator said that a member holds a copy; the medium that is there, if it is known.
    MemberAccepted { group: GroupId, host: HostId, identity: DiskIdentity, reason: String },
    /// A group has another member, at the end of its order.
    MemberAdded { group: GroupId, member: Member, accepted: bool, reason: String },
    /// A member is one no more.
    MemberRemoved { group: GroupId, host: HostId, reason: String },
    /// The members of a group stand in another order of preference.
    MembersReordered { group: GroupId, order: Vec<HostId> },
    /// A group is going away: its primary was revoked.
    GroupDeletionBegun { group: GroupId, epoch: Epoch },
    /// A group is gone.
    GroupDeleted { group: GroupId, epoch: Epoch },
    /// A primary was revoked: from here on no renewal covers it.
    FailoverBegun {
        operation: OperationId,
        group: GroupId,
        from: HostId,
        epoch: Epoch,
        reason: FailoverReason,
        target: Option<HostId>,
        evidence: Vec<Evidence>,
    },
    /// An operation ended before it reached its aim.
    OperationFailed { operation: OperationId, group: GroupId, outcome: String },
    /// The old primary has stopped and will never act under this epoch again.
    PrimaryReleased { group: GroupId, epoch: Epoch, host: HostId, reason: String },
    /// A host that was primary, and whose release was not waited for, has stopped its service: it may be promoted again.
    OldPrimaryStopped { group: GroupId, epoch: Epoch, host: HostId },
    /// A wanted failover cannot go on.
    FailoverBlocked { group: GroupId, reasons: Vec<String> },
    /// It can again.
    FailoverUnblocked { group: GroupId },
    /// It is certain that nobody acts under the old epoch, and it is chosen who follows.
    CandidateChosen {
        operation: OperationId,
        group: GroupId,
        candidate: HostId,
        fenced_by: String,
        evidence: Vec<Evidence>,
    },
    /// Another primary was named, or the same one anew, under the next epoch.
    PrimarySwitched {
        operation: OperationId,
        group: GroupId,
        from: HostId,
        to: HostId,
        granted_to: Incarnation,
        epoch: Epoch,
        reason: FailoverReason,
    },
    /// The new primary's host has installed its assignment.
    AssignmentInstalled { operation: OperationId, group: GroupId, host: HostId, epoch: Epoch },
    /// The primary acts.
    PrimaryStarted { operation: Option<OperationId>, group: GroupId, host: HostId, epoch: Epoch },
    /// The new primary could not start; its epoch has ended.
    PrimaryStartFailed { operation: OperationId, group: GroupId, host: HostId, epoch: Epoch, reason: String },
    /// The coordinators that formed the cluster are on record.
    CoordinatorsRecorded { coordinators: Vec<Coordinator> },
    /// The coordinators are going to change.
    CoordinatorChangeBegun { operation: OperationId, change: CoordinatorChange, evidence: Vec<Evidence> },
    /// Whoever comes or gets a vote holds the log.
    CoordinatorCaughtUp {
        operation: OperationId,
        coordinator: CoordinatorId,
        through_index: u64,
        evidence: Vec<Evidence>,
    },
    /// Other coordinators vote: nothing of the change can be taken back any more.
    VotersSwitched { operation: OperationId, voters: BTreeSet<CoordinatorId> },
    /// A change was given up; what was done of it is taken back.
    CoordinatorChangeCancelled { operation: OperationId, change: CoordinatorChange },
    /// A change is done, or taken back if it was cancelled; whoever went is no coordinator any more.
    CoordinatorChangeFinished {
        operation: OperationId,
        change: CoordinatorChange,
        cancelled: bool,
        gone: Option<CoordinatorId>,
        voters: BTreeSet<CoordinatorId>,
    },
    /// Another coordinator leads, or the same one in another term; before it, as far as that is on record, another one did.
    LeaderChanged { coordinator: CoordinatorId, term: Term, before: Option<CoordinatorId> },
    /// There was no quorum, as the coordinator saw it that leads now: from so long before this revision on, until it.
    QuorumLost { coordinator: CoordinatorId, lasted_ms: u64 },
    /// There is one again.
    QuorumRegained { coordinator: CoordinatorId, outage: u64, lasted_ms: u64 },
    /// An agent was refused, so often until now.
    AgentRefused { host: HostId, reason: RefusalReason, address: String, times: u64 },
}

impl Event {
    /// The event's name, as watchers filter by it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::ClusterCreated { .. } => "ClusterCreated",
            Self::HostRegistered { .. } => "HostRegistered",
            Self::HostUpdated { .. } => "HostUpdated",
            Self::HostRestarted { .. } => "HostRestarted",
            Self::HostForgotten { .. } => "HostForgotten",
            Self::HostReset { .. } => "HostReset",
            Self::HostCordoned { .. } => "HostCordoned",
            Self::HostUncordoned { .. } => "HostUncordoned",
            Self::HostStatusChanged { .. } => "HostStatusChanged",
            Self::DiskAdded { .. } => "DiskAdded",
            Self::DiskChanged { .. } => "DiskChanged",
            Self::DiskReplaced { .. } => "DiskReplaced",
            Self::DiskConfirmed { .. } => "DiskConfirmed",
            Self::DiskLatched { .. } => "DiskLatched",
            Self::LatchedDiskChecked { .. } => "LatchedDiskChecked",
            Self::DiskForgotten { .. } => "DiskForgotten",
            Self::DiskCleared { .. } => "DiskCleared",
            Self::GroupCreated { .. } => "GroupCreated",
            Self::GroupLabelsChanged { .. } => "GroupLabelsChanged",
            Self::MemberAccepted { .. } => "MemberAccepted",
            Self::MemberAdded { .. } => "MemberAdded",
            Self::MemberRemoved { .. } => "MemberRemoved",
            Self::MembersReordered { .. } => "MembersReordered",
            Self::GroupDeletionBegun { .. } => "GroupDeletionBegun",
            Self::GroupDeleted { .. } => "GroupDeleted",
            Self::FailoverBegun { .. } => "FailoverBegun",
            Self::OperationFailed { .. } => "OperationFailed",
            Self::PrimaryReleased { .. } => "PrimaryReleased",
            Self::OldPrimaryStopped { .. } => "OldPrimaryStopped",
            Self::FailoverBlocked { .. } => "FailoverBlocked",
            Self::FailoverUnblocked { .. } => "FailoverUnblocked",
            Self::CandidateChosen { .. } => "CandidateChosen",
            Self::PrimarySwitched { .. } => "PrimarySwitched",
            Self::AssignmentInstalled { .. } => "AssignmentInstalled",
            Self::PrimaryStarted { .. } => "PrimaryStarted",
            Self::PrimaryStartFailed { .. } => "PrimaryStartFailed",
            Self::CoordinatorsRecorded { .. } => "CoordinatorsRecorded",
            Self::CoordinatorChangeBegun { .. } => "CoordinatorChangeBegun",
            Self::CoordinatorCaughtUp { .. } => "CoordinatorCaughtUp",
            Self::VotersSwitched { .. } => "VotersSwitched",
            Self::CoordinatorChangeCancelled { .. } => "CoordinatorChangeCancelled",
            Self::CoordinatorChangeFinished { .. } => "CoordinatorChangeFinished",
            Self::LeaderChanged { .. } => "LeaderChanged",
            Self::QuorumLost { .. } => "QuorumLost",
            Self::QuorumRegained { .. } => "QuorumRegained",
            Self::AgentRefused { .. } => "AgentRefused",
        }
    }

    /// The host that it is about, if it is about one.
    pub fn host(&self) -> Option<&HostId> {
        match self {
            Self::HostRegistered { host, .. }
            | Self::HostUpdated { host, .. }
            | Self::HostRestarted { host, .. }
            | Self::HostForgotten { host, .. }
            | Self::HostReset { host, .. }
            | Self::HostCordoned { host, .. }
            | Self::HostUncordoned { host }
            | Self::MemberRemoved { host, .. }
            | Self::HostStatusChanged { host, .. }
            | Self::MemberAccepted { host, .. }
            | Self::PrimaryReleased { host, .. }
            | Self::OldPrimaryStopped { host, .. }
            | Self::AssignmentInstalled { host, .. }
            | Self::PrimaryStarted { host, .. }
            | Self::PrimaryStartFailed { host, .. }
            | Self::AgentRefused { host, .. } => Some(host),
            Self::DiskAdded { disk, .. }
            | Self::DiskChanged { disk, .. }
            | Self::DiskReplaced { disk, .. }
            | Self::DiskConfirmed { disk }
            | Self::DiskLatched { disk, .. }
            | Self::LatchedDiskChecked { disk, .. }
            | Self::DiskForgotten { disk, .. }
            | Self::DiskCleared { disk, .. } => Some(&disk.host),
            Self::MemberAdded { member, .. } => Some(&member.host),
            Self::FailoverBegun { from, .. } => Some(from),
            Self::CandidateChosen { candidate, .. } => Some(candidate),
            Self::PrimarySwitched { to, .. } => Some(to),
            _ => None,
        }
    }

    /// The group that it is about, if it is about one.
    pub fn group(&self) -> Option<&GroupId> {
        match self {
            Self::GroupCreated { group, .. }
            | Self::GroupLabelsChanged { group, .. }
            | Self::MemberAccepted { group, .. }
            | Self::MemberAdded { group, .. }
            | Self::MemberRemoved { group, .. }
            | Self::MembersReordered { group, .. }
            | Self::GroupDeletionBegun { group, .. }
            | Self::GroupDeleted { group, .. }
            | Self::FailoverBegun { group, .. }
            | Self::OperationFailed { group, .. }
            | Self::PrimaryReleased { group, .. }
            | Self::OldPrimaryStopped { group, .. }
            | Self::FailoverBlocked { group, .. }
            | Self::FailoverUnblocked { group }
            | Self::CandidateChosen { group, .. }
            | Self::PrimarySwitched { group, .. }
            | Self::AssignmentInstalled { group, .. }
            | Self::PrimaryStarted { group, .. }
            | Self::PrimaryStartFailed { group, .. } => Some(group),
            _ => None,
        }
    }

    /// The operation that it belongs to, if any.
    pub fn operation(&self) -> Option<OperationId> {
        match self {
            Self::FailoverBegun { operation, .. }
            | Self::OperationFailed { operation, .. }
            | Self::CandidateChosen { operation, .. }
            | Self::PrimarySwitched { operation, .. }
            | Self::AssignmentInstalled { operation, .. }
            | Self::PrimaryStartFailed { operation, .. }
            | Self::CoordinatorChangeBegun { operation, .. }
            | Self::CoordinatorCaughtUp { operation, .. }
            | Self::VotersSwitched { operation, .. }
            | Self::CoordinatorChangeCancelled { operation, .. }
            | Self::CoordinatorChangeFinished { operation, .. } => Some(*operation),
            Self::PrimaryStarted { operation, .. } => *operation,
            _ => None,
        }
    }

    /// The event in one line for people.
    #[allow(clippy::too_many_lines, reason = "a table: one line for each event")]
    pub fn describe(&self) -> String {
        match self {
            Self::ClusterCreated { cluster, .. } => format!("cluster {cluster} formed"),
            Self::HostRegistered { host, zone, .. } => format!("host {host} registered in zone {zone}"),
            Self::HostUpdated { host, zone, address } => {
                format!("host {host} now in zone {zone} at {address}")
            }
            Self::HostRestarted { host, incarnation, .. } => {
                format!("host {host} restarted, incarnation {incarnation}")
            }
            Self::HostForgotten { host, reason } => {
                format!("host {host} forgotten, with its disks: {reason}")
            }
            Self::HostReset { host, reason } => {
                format!("host {host} is free for an agent on another state folder: {reason}")
            }
            Self::HostCordoned { host, reason } => format!("host {host} cordoned: {reason}"),
            Self::HostUncordoned { host } => format!("host {host} may become primary again"),
            Self::HostStatusChanged { host, from, to, reason, .. } => {
                format!("host {host} {from} -> {to}: {reason}")
            }
            Self::DiskAdded { disk, verdict, .. } => format!("disk {disk} added, {verdict}"),
            Self::DiskChanged { disk, from, verdict, reasons, .. } => {
                let why: Vec<_> = reasons.iter().map(ToString::to_string).collect();
                format!(
                    "disk {disk} {from} -> {verdict}{}{}",
                    if why.is_empty() { "" } else { ": " },
                    why.join("; ")
                )
            }
            Self::DiskReplaced { disk, from, to } => format!(
                "disk {disk} replaced, {from} -> {to}: what was on it is no copy until `quorate group member accept`"
            ),
            Self::DiskConfirmed { disk } => format!("disk {disk} read by the present start of its agent"),
            Self::DiskLatched { disk, codes } => {
                let why = if codes.is_empty() {
                    "its agent says that it failed".to_owned()
                } else {
                    codes.join(", ")
                };
                format!(
                    "disk {disk} latched as failed: {why}; `quorate disk clear {disk}` once it is known to be good"
                )
            }
            Self::LatchedDiskChecked { disk, well: true } => {
                format!("disk {disk} passes its checks again and stays latched; `quorate disk clear {disk}`")
            }
            Self::LatchedDiskChecked { disk, well: false } => {
                format!("disk {disk} does not pass its checks any more")
            }
            Self::DiskForgotten { disk, reason } => format!("disk {disk} forgotten: {reason}"),
            Self::DiskCleared { disk, reason } => format!("disk {disk} cleared by an operator: {reason}"),
            Self::GroupCreated { group, primary, epoch, .. } => {
                format!("group {group} created, primary {primary} under epoch {epoch}")
            }
            Self::GroupLabelsChanged { group, .. } => format!("labels of group {group} changed"),
            Self::MemberAdded { group, member, accepted: true, reason } => {
                format!("group {group}: {member} added as a copy: {reason}")
            }
            Self::MemberAdded { group, member, accepted: false, .. } => {
                format!("group {group}: {member} added, no copy until `quorate group member accept`")
            }
            Self::MemberRemoved { group, host, reason } => format!("group {group}: {host} removed: {reason}"),
            Self::MembersReordered { group, order } => {
                let order: Vec<_> = order.iter().map(HostId::as_str).collect();
                format!("group {group}: order of preference {}", order.join(", "))
            }
            Self::MemberAccepted { group, host, reason, .. } => {
                format!("group {group}: {host} accepted as a copy by an operator: {reason}")
            }
            Self::GroupDeletionBegun { group, epoch } => {
                format!("group {group} revoked at epoch {epoch} to be deleted")
            }
            Self::GroupDeleted { group, .. } => format!("group {group} deleted"),
            Self::FailoverBegun { operation, group, from, epoch, reason, .. } => {
                format!("group {group}: primary {from} revoked at epoch {epoch} ({reason}), {operation}")
            }
            Self::OperationFailed { operation, group, outcome } => {
                format!("group {group}: {operation} failed: {outcome}")
            }
            Self::PrimaryReleased { group, epoch, host, reason } => {
                format!("group {group}: {host} released epoch {epoch}: {reason}")
            }
            Self::OldPrimaryStopped { group, epoch, host } => {
                format!("group {group}: the service of epoch {epoch} has stopped on {host}")
            }
            Self::FailoverBlocked { group, reasons } => {
                format!("group {group}: nobody can be promoted: {}", reasons.join("; "))
            }
            Self::FailoverUnblocked { group } => format!("group {group}: no longer blocked"),
            Self::CandidateChosen { group, candidate, fenced_by, .. } => {
                format!("group {group}: {candidate} chosen; old epoch is over: {fenced_by}")
            }
            Self::PrimarySwitched { group, from, to, epoch, .. } => {
                format!("group {group}: primary {from} -> {to} under epoch {epoch}")
            }
            Self::AssignmentInstalled { group, host, epoch, .. } => {
                format!("group {group}: {host} installed epoch {epoch}")
            }
            Self::PrimaryStarted { group, host, epoch, .. } => {
                format!("group {group}: {host} acts under epoch {epoch}")
            }
            Self::PrimaryStartFailed { group, host, epoch, reason, .. } => {
                format!("group {group}: {host} could not start under epoch {epoch}: {reason}")
            }
            Self::CoordinatorsRecorded { coordinators } => {
                format!("coordinators on record: {}", listed(coordinators.iter().map(|known| &known.id)))
            }
            Self::CoordinatorChangeBegun { operation, change, .. } => format!("{change}: begun, {operation}"),
            Self::CoordinatorCaughtUp { operation, coordinator, through_index, .. } => {
                format!("{operation}: coordinator {coordinator} holds the log up to entry {through_index}")
            }
            Self::VotersSwitched { operation, voters } => {
                format!("{operation}: coordinators that vote: {}", listed(voters))
            }
            Self::CoordinatorChangeCancelled { operation, change } => {
                format!("{change}: {operation} cancelled, to be taken back")
            }
            Self::CoordinatorChangeFinished { operation, change, cancelled, voters, .. } => {
                let end = if *cancelled { "taken back" } else { "done" };
                format!("{change}: {operation} {end}; coordinators that vote: {}", listed(voters))
            }
            Self::LeaderChanged { coordinator, term, before } => {
                let before = before.map_or_else(String::new, |before| format!("; before it: {before}"));
                format!("coordinator {coordinator} leads in term {term}{before}")
            }
            Self::QuorumLost { coordinator, lasted_ms } => {
                format!("no quorum from {lasted_ms} ms ago on, as coordinator {coordinator} saw it")
            }
            Self::QuorumRegained { coordinator, lasted_ms, .. } => {
                format!("there is a quorum again after {lasted_ms} ms; coordinator {coordinator} leads")
            }
            Self::AgentRefused { host, reason, address, times } => {
                format!("an agent of host {host} at {address} was refused {times} times: {reason}")
            }
        }
    }
}
