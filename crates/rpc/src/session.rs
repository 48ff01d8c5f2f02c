//! What agents and coordinators say to each other in a session, checked and in domain values.

use quorate_domain::{
    Assignment, AssignmentDelta, ClusterId, CoordinatorId, DiskIdentity, DiskName, Epoch, FormationId,
    GroupId, GroupState, HookTimes, HostId, Incarnation, InstanceId, LeaseSettings, Revision, ServiceMode,
    StartId, Term, Timestamp, Verdict, VerdictReason, Zone,
};

/// The version of the session's messages that this build speaks.
pub const SESSION_PROTOCOL: u32 = 1;
/// The most groups in one report or assignment.
pub const GROUPS_MAX: usize = 10_000;
/// The most disks in one report.
pub const DISKS_MAX: usize = 1_000;
/// The longest that a host may allow a hook of either kind, in milliseconds: a day.
pub const HOOK_TIME_MAX_MS: u64 = 86_400_000;
/// The most API addresses in a welcome.
pub const ADDRESSES_MAX: usize = 64;

/// Anything that an agent says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedAgentMessage {
    /// Who it is.
    Hello(ParsedHello),
    /// It asks for a renewal.
    Heartbeat(ParsedHeartbeat),
    /// What the host is.
    Report(ParsedReport),
}

/// The first message of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedHello {
    /// The cluster that the agent belongs to; none before it has ever been welcomed.
    pub cluster: Option<ClusterId>,
    /// Which forming of a cluster of that name; none before it has been told one.
    pub formation: Option<FormationId>,
    /// The host.
    pub host: HostId,
    /// Its failure domain.
    pub zone: Zone,
    /// Where its agent answers, as `host:port`.
    pub address: String,
    /// The agent's state folder.
    pub instance: InstanceId,
    /// Which start of the agent.
    pub incarnation: Incarnation,
    /// Drawn at random by that start.
    pub start: StartId,
    /// The version of the messages that the agent speaks.
    pub protocol: u32,
    /// How long it allows its hooks.
    pub hook_times: HookTimes,
}

/// Asks for a renewal of the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedHeartbeat {
    /// Numbers the heartbeats of a session.
    pub seq: u64,
    /// The assignment that is installed.
    pub installed: Revision,
    /// What the host does at present.
    pub service_mode: ServiceMode,
}

/// What a host is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ParsedReport {
    /// Its groups.
    pub groups: Vec<ParsedGroupReport>,
    /// Its disks.
    pub disks: Vec<ParsedDisk>,
    /// The assignment that is installed.
    pub installed: Revision,
    /// The agent is shutting down and its roles have ended.
    pub stopping: bool,
    /// `disks` is the full list.
    pub disks_complete: bool,
    /// What is wrong with the agent's state folder; empty when nothing is.
    pub state_folder_problem: String,
}

/// What a host says of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedGroupReport {
    /// The group.
    pub group: GroupId,
    /// The epoch that this is about.
    pub epoch: Epoch,
    /// How far it is.
    pub state: GroupState,
    /// In words.
    pub reason: String,
}

/// What a host says of one disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedDisk {
    /// Its name on the host.
    pub name: DiskName,
    /// Where it is mounted.
    pub path: String,
    /// The medium.
    pub identity: DiskIdentity,
    /// Its size.
    pub capacity_bytes: u64,
    /// What is free of it.
    pub free_bytes: u64,
    /// What its checks say.
    pub verdict: Verdict,
    /// Why.
    pub reasons: Vec<VerdictReason>,
    /// When it was last checked, by the host's clock.
    pub checked_at: Timestamp,
}

/// Anything that a coordinator says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParsedCoordinatorMessage {
    /// The session is open.
    Welcome(ParsedWelcome),
    /// A renewal counts.
    RenewalAck(ParsedRenewalAck),
    /// The host's whole assignment.
    Snapshot(Assignment),
    /// A change of it.
    Delta(AssignmentDelta),
    /// Every coordinator's API address, when they have changed since the welcome.
    Coordinators(Vec<String>),
    /// Something about this host that its operator should know.
    Notice(String),
}

/// The answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedWelcome {
    /// The cluster.
    pub cluster: ClusterId,
    /// Which forming of a cluster of this name it is.
    pub formation: Option<FormationId>,
    /// The leader.
    pub coordinator: CoordinatorId,
    /// Its term.
    pub term: Term,
    /// How the lease is sized.
    pub lease: LeaseSettings,
    /// Every coordinator's API address.
    pub api_addresses: Vec<String>,
}

/// Says that a renewal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedRenewalAck {
    /// The heartbeat's number.
    pub seq: u64,
    /// It counts only with this assignment installed.
    pub assignment: Revision,
}
