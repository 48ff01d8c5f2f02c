//! What can be asked of the state. Commands are imperative; whether they hold is decided when they are applied.

use crate::{
    cause::Evidence,
    coordinator::{Coordinator, CoordinatorChange, Heard, RaftMembers},
    disk::{DiskIdentity, Verdict, VerdictReason},
    host::{HookTimes, HostStatus},
    ids::{
        ClusterId, CoordinatorId, DiskId, DiskName, Epoch, FormationId, GroupId, HostId, Incarnation,
        InstanceId, OperationId, StartId, Term, Zone,
    },
    incidents::{Outage, RefusalReason},
    operation::FailoverReason,
    settings::Settings,
};
use serde::{Deserialize, Serialize};
use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

/// The longest reason that an operator gives, in bytes.
pub const REASON_MAX_BYTES: usize = 256;

/// A member as it is asked for: without a disk, the host's only disk is meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSpec {
    /// The host.
    pub host: HostId,
    /// The disk on it.
    pub disk: Option<DiskName>,
}

/// Why nobody can still act under the old epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fencing {
    /// The leader of this term has waited since it applied the revoke.
    Waited {
        /// For how long, on its own clock.
        waited_ms: u64,
        /// In which term: a wait is never carried to another leadership.
        term: Term,
    },
    /// The old primary's release is in the state.
    Released,
}

/// A change that is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Forms the cluster: the first command of its log.
    CreateCluster {
        /// Its name.
        cluster: ClusterId,
        /// Drawn by whoever proposes it: only the one that is applied counts. None in logs from before there were any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        formation: Option<FormationId>,
        /// Its settings.
        settings: Settings,
    },
    /// An agent's first word in a session.
    RegisterHost {
        /// Who it is.
        host: HostId,
        /// Its failure domain.
        zone: Zone,
        /// Where it answers.
        address: String,
        /// Its state folder.
        instance: InstanceId,
        /// Its start, as it counts them.
        incarnation: Incarnation,
        /// Its start, by a number that no other has.
        #[serde(default, skip_serializing_if = "StartId::is_unknown")]
        start: StartId,
        /// How long it allows its hooks.
        #[serde(default, skip_serializing_if = "HookTimes::is_none")]
        hook_times: HookTimes,
    },
    /// Forgets a host that is gone for good, with its disks.
    ForgetHost {
        /// The host.
        host: HostId,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Frees a host's name for an agent on another state folder.
    ResetHost {
        /// The host.
        host: HostId,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Keeps a host from becoming primary of anything more.
    CordonHost {
        /// The host.
        host: HostId,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Takes that back.
    UncordonHost {
        /// The host.
        host: HostId,
    },
    /// A host's status changed.
    MarkHost {
        /// The host.
        host: HostId,
        /// The start of its agent that was observed.
        incarnation: Incarnation,
        /// The new status.
        status: HostStatus,
        /// In words.
        reason: String,
        /// What it rests on.
        evidence: Vec<Evidence>,
    },
    /// What the checks of a disk say.
    RecordDisk {
        /// The disk.
        disk: DiskId,
        /// The start of the agent that reports it.
        incarnation: Incarnation,
        /// The medium.
        identity: DiskIdentity,
        /// Where it is mounted.
        path: String,
        /// Its size.
        capacity_bytes: u64,
        /// What the checks say.
        verdict: Verdict,
        /// Why.
        reasons: Vec<VerdictReason>,
    },
    /// Forgets a disk that is gone for good.
    ForgetDisk {
        /// The disk.
        disk: DiskId,
        /// Why, in the operator's words.
        reason: String,
    },
    /// An operator says that a latched disk is good again.
    ClearDisk {
        /// The disk.
        disk: DiskId,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Creates a group and grants it to its first primary.
    CreateGroup {
        /// Its name.
        group: GroupId,
        /// Who begins.
        primary: MemberSpec,
        /// Who may follow, in order.
        backups: Vec<MemberSpec>,
        /// Free words of its owner.
        labels: BTreeMap<String, String>,
    },
    /// Sets some labels of a group; an empty value removes one.
    SetGroupLabels {
        /// The group.
        group: GroupId,
        /// The labels to set; shared with the event that says so.
        labels: Arc<BTreeMap<String, String>>,
    },
    /// An operator says that a member holds a copy, although its disk was replaced.
    AcceptMember {
        /// The group.
        group: GroupId,
        /// The member's host.
        host: HostId,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Adds a member at the end of a group's order.
    AddMember {
        /// The group.
        group: GroupId,
        /// Who.
        member: MemberSpec,
        /// The operator says that it holds a copy; otherwise it is not promoted before somebody says so.
        accepted: bool,
        /// Why it holds one, in the operator's words.
        reason: String,
    },
    /// Takes a member that is not primary out of a group.
    RemoveMember {
        /// The group.
        group: GroupId,
        /// The member's host.
        host: HostId,
        /// Why, in the operator's words.
        reason: String,
    },
    /// Puts the members of a group into another order of preference.
    ReorderMembers {
        /// The group.
        group: GroupId,
        /// The hosts of all members, most preferred first.
        order: Vec<HostId>,
    },
    /// Revokes the primary for good and forgets the group once nobody can act for it.
    DeleteGroup {
        /// The group.
        group: GroupId,
    },
    /// The second half of a deletion.
    FinishDeletion {
        /// The group.
        group: GroupId,
        /// The epoch that was revoked.
        epoch: Epoch,
        /// Why nobody can still act.
        fencing: Fencing,
    },
    /// Takes a group away from its primary.
    BeginFailover {
        /// The group.
        group: GroupId,
        /// The epoch that the plan saw; none from an operator.
        epoch: Option<Epoch>,
        /// Why.
        reason: FailoverReason,
        /// Who shall follow, if an operator says so.
        target: Option<HostId>,
        /// What it rests on.
        evidence: Vec<Evidence>,
    },
    /// A host has stopped acting for a group and will never act under this epoch again.
    RecordRelease {
        /// The group.
        group: GroupId,
        /// The epoch that ended on that host.
        epoch: Epoch,
        /// The host.
        host: HostId,
        /// The start of its agent.
        incarnation: Incarnation,
        /// In words.
        reason: String,
    },
    /// A host that was primary, and whose release was not waited for, says that its service has stopped.
    RecordStopped {
        /// The group.
        group: GroupId,
        /// The epoch that was taken from it.
        epoch: Epoch,
        /// The host.
        host: HostId,
        /// The start of its agent.
        incarnation: Incarnation,
    },
    /// Says why a wanted failover cannot go on; no reasons: it can again.
    ReportBlocked {
        /// The group.
        group: GroupId,
        /// The epoch that the plan saw.
        epoch: Epoch,
        /// One line for each host that was looked at.
        reasons: Vec<String>,
    },
    /// Chooses who follows.
    ChooseCandidate {
        /// The group.
        group: GroupId,
        /// The failover.
        operation: OperationId,
        /// Who.
        candidate: HostId,
        /// Why nobody can still act under the old epoch.
        fencing: Fencing,
        /// What the choice rests on.
        evidence: Vec<Evidence>,
    },
    /// Names the candidate primary under the next epoch.
    Promote {
        /// The group.
        group: GroupId,
        /// The failover.
        operation: OperationId,
        /// Who.
        candidate: HostId,
        /// Why nobody can still act under the old epoch.
        fencing: Fencing,
    },
    /// The new primary's host has installed the assignment that names it.
    RecordInstalled {
        /// The group.
        group: GroupId,
        /// The epoch.
        epoch: Epoch,
        /// The host.
        host: HostId,
        /// The start of its agent.
        incarnation: Incarnation,
    },
    /// The new primary acts: its promote hook ended well.
    AcknowledgePromotion {
        /// The group.
        group: GroupId,
        /// The epoch.
        epoch: Epoch,
        /// The host.
        host: HostId,
        /// The start of its agent.
        incarnation: Incarnation,
    },
    /// The new primary could not start, has stopped, and will never act under this epoch.
    ReportStartFailed {
        /// The group.
        group: GroupId,
        /// The epoch.
        epoch: Epoch,
        /// The host.
        host: HostId,
        /// The start of its agent.
        incarnation: Incarnation,
        /// Why.
        reason: String,
    },
    /// Puts the coordinators that formed the cluster on record, once.
    RecordCoordinators {
        /// Those that Raft has.
        coordinators: Vec<Coordinator>,
    },
    /// Changes the coordinators; one change at a time.
    BeginCoordinatorChange {
        /// What shall change.
        change: CoordinatorChange,
        /// Whom the leader has heard from lately: the new voters must have a quorum among them.
        heard: Heard,
    },
    /// Whoever comes or gets a vote holds the log.
    RecordCaughtUp {
        /// The change.
        operation: OperationId,
        /// Up to which entry of the log.
        through_index: u64,
        /// Whom the leader has heard from lately.
        heard: Heard,
    },
    /// Raft has the voters that the change wants: from here on it is finished and never cancelled.
    RecordVoters {
        /// The change.
        operation: OperationId,
        /// What Raft has.
        members: RaftMembers,
    },
    /// Gives a change up and takes back what was done of it.
    CancelCoordinatorChange {
        /// The change.
        operation: OperationId,
        /// Whom the leader has heard from lately: those who voted before must have a quorum among them.
        heard: Heard,
    },
    /// Raft has the members that the change wants, or those from before one that was cancelled.
    FinishCoordinatorChange {
        /// The change.
        operation: OperationId,
        /// What Raft has.
        members: RaftMembers,
    },
    /// Puts on record who leads, and that there was no quorum for a while, if there was none.
    RecordLeadership {
        /// Who leads.
        coordinator: CoordinatorId,
        /// In which term; it counts in this one only.
        term: Term,
        /// The last time without a quorum that the leader has seen.
        outage: Option<Outage>,
    },
    /// An agent was refused.
    RecordRefusedAgent {
        /// The host that it named.
        host: HostId,
        /// Why.
        reason: RefusalReason,
        /// Where it says that it answers.
        address: String,
        /// How often, until now.
        times: u64,
    },
}

impl Command {
    /// The command's name, for logs and events.
    pub fn name(&self) -> &'static str {
        match self {
            Self::CreateCluster { .. } => "CreateCluster",
            Self::RegisterHost { .. } => "RegisterHost",
            Self::ForgetHost { .. } => "ForgetHost",
            Self::ResetHost { .. } => "ResetHost",
            Self::CordonHost { .. } => "CordonHost",
            Self::UncordonHost { .. } => "UncordonHost",
            Self::MarkHost { .. } => "MarkHost",
            Self::RecordDisk { .. } => "RecordDisk",
            Self::ForgetDisk { .. } => "ForgetDisk",
            Self::ClearDisk { .. } => "ClearDisk",
            Self::CreateGroup { .. } => "CreateGroup",
            Self::SetGroupLabels { .. } => "SetGroupLabels",
            Self::AcceptMember { .. } => "AcceptMember",
            Self::AddMember { .. } => "AddMember",
            Self::RemoveMember { .. } => "RemoveMember",
            Self::ReorderMembers { .. } => "ReorderMembers",
            Self::DeleteGroup { .. } => "DeleteGroup",
            Self::FinishDeletion { .. } => "FinishDeletion",
            Self::BeginFailover { .. } => "BeginFailover",
            Self::RecordRelease { .. } => "RecordRelease",
            Self::RecordStopped { .. } => "RecordStopped",
            Self::ReportBlocked { .. } => "ReportBlocked",
            Self::ChooseCandidate { .. } => "ChooseCandidate",
            Self::Promote { .. } => "Promote",
            Self::RecordInstalled { .. } => "RecordInstalled",
            Self::AcknowledgePromotion { .. } => "AcknowledgePromotion",
            Self::ReportStartFailed { .. } => "ReportStartFailed",
            Self::RecordCoordinators { .. } => "RecordCoordinators",
            Self::BeginCoordinatorChange { .. } => "BeginCoordinatorChange",
            Self::RecordCaughtUp { .. } => "RecordCaughtUp",
            Self::RecordVoters { .. } => "RecordVoters",
            Self::CancelCoordinatorChange { .. } => "CancelCoordinatorChange",
            Self::FinishCoordinatorChange { .. } => "FinishCoordinatorChange",
            Self::RecordLeadership { .. } => "RecordLeadership",
            Self::RecordRefusedAgent { .. } => "RecordRefusedAgent",
        }
    }

    /// What a client asked for, without what the leader saw when it proposed it: a retry asks for the same, and the
    /// leader has seen something else by then.
    pub(crate) fn asked(&self) -> Cow<'_, Self> {
        let heard = Heard::default;
        match self {
            Self::BeginCoordinatorChange { change, .. } => {
                Cow::Owned(Self::BeginCoordinatorChange { change: change.clone(), heard: heard() })
            }
            Self::CancelCoordinatorChange { operation, .. } => {
                Cow::Owned(Self::CancelCoordinatorChange { operation: *operation, heard: heard() })
            }
            _ => Cow::Borrowed(self),
        }
    }
}
