//! What a coordinator can be told, and which combinations are refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use quorate_domain::coordinator::COORDINATOR_ID_MAX;
use quorate_domain::ids::{ClusterId, CoordinatorId};
use quorate_domain::settings::LeaseSettings;
use quorate_runtime::address::Address;

use super::key::{Fallback, Key};
use super::kind::Kind;
use super::member::Member;
use super::problem::Problem;
use super::resolved::{LogConfig, Resolved};

const ENTRIES: Kind = Kind::Integer { unit: "log entries", min: 1, max: 1_000_000_000 };

/// Every key of a coordinator.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key { name: "cluster.id", kind: Kind::Name, fallback: Fallback::Required,
        doc: "Names the cluster; a node or data folder of another cluster is refused." },
    Key { name: "node.id", kind: Kind::Integer { unit: "", min: 1, max: COORDINATOR_ID_MAX }, fallback: Fallback::Required,
        doc: "Number of this coordinator; never reuse one whose data was lost." },
    Key { name: "data_dir", kind: Kind::Path, fallback: Fallback::Required,
        doc: "Folder of the log, the state store and the snapshots." },
    Key { name: "listen.peer", kind: Kind::Address, fallback: Fallback::Literal("127.0.0.1:7400"),
        doc: "Where other coordinators connect to." },
    Key { name: "listen.api", kind: Kind::Address, fallback: Fallback::Literal("127.0.0.1:7401"),
        doc: "Where clients and agents connect to." },
    Key { name: "members", kind: Kind::Members, fallback: Fallback::Required,
        doc: "The coordinators that form the cluster, such as `1=10.0.0.1:7400/10.0.0.1:7401`. One whose node.id is not among them waits to be added with `quorate member add`; it names some that are members by then." },
    Key { name: "peer_override", kind: Kind::PeerRoutes, fallback: Fallback::Literal(""),
        doc: "How this node reaches a member's peer port when that differs from its entry in members." },
    Key { name: "raft.heartbeat_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("100"),
        doc: "The Raft leader's heartbeat interval." },
    Key { name: "raft.election_min_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("500"),
        doc: "Shortest wait without a leader before an election." },
    Key { name: "raft.election_max_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("800"),
        doc: "Longest wait without a leader before an election; also the length of the Raft leader's lease." },
    Key { name: "raft.snapshot_every", kind: ENTRIES, fallback: Fallback::Literal("50000"),
        doc: "A snapshot is taken after this many log entries." },
    Key { name: "raft.keep_entries", kind: ENTRIES, fallback: Fallback::Literal("10000"),
        doc: "Log entries kept behind a snapshot, for members that lag a little." },
    Key { name: "lease.heartbeat_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("1000"),
        doc: "H: an agent renews its lease this often. Counts when the cluster is formed." },
    Key { name: "lease.lease_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("6000"),
        doc: "T: how long a renewal is good for, on the agent's clock. Counts when the cluster is formed." },
    Key { name: "lease.write_stop_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("5000"),
        doc: "A primary takes no new writes from this age of its lease on. Counts when the cluster is formed." },
    Key { name: "lease.wait_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("7500"),
        doc: "D: how long the coordinators wait after a revoke before they promote another host. Counts when the cluster is formed." },
    Key { name: "lease.clock_error_percent", kind: Kind::Percent, fallback: Fallback::Literal("1.0"),
        doc: "Rho: the largest error of a clock's rate. Counts when the cluster is formed." },
    Key { name: "lease.margin_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("500"),
        doc: "What D must exceed the longest lease by: D >= T * (1 + rho) / (1 - rho) + margin. Counts when the cluster is formed." },
    Key { name: "lease.suspect_after_heartbeats", kind: Kind::Integer { unit: "heartbeats", min: 2, max: 1_000 }, fallback: Fallback::Literal("3"),
        doc: "A host is suspect after this many heartbeats did not come. Counts when the cluster is formed." },
    Key { name: "limits.max_message_bytes", kind: Kind::Integer { unit: "bytes", min: 65_536, max: 1_073_741_824 }, fallback: Fallback::Literal("4194304"),
        doc: "Larger gRPC messages are refused." },
    Key { name: "limits.proposal_deadline_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("5000"),
        doc: "After this time the outcome of a proposal is reported as unknown." },
    Key { name: "log.level", kind: Kind::LogLevel, fallback: Fallback::Literal("info,openraft=warn"),
        doc: "Which log lines are written." },
    Key { name: "log.format", kind: Kind::LogFormat, fallback: Fallback::Literal("human"),
        doc: "How log lines look." },
];

/// The configuration of a coordinator, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoordinatorConfig {
    pub(crate) cluster_id: ClusterId,
    pub(crate) node_id: CoordinatorId,
    pub(crate) data_dir: PathBuf,
    pub(crate) listen_peer: Address,
    pub(crate) listen_api: Address,
    pub(crate) members: Vec<Member>,
    pub(crate) peer_override: BTreeMap<CoordinatorId, Address>,
    pub(crate) raft: RaftConfig,
    pub(crate) lease: LeaseSettings,
    pub(crate) limits: LimitConfig,
    pub(crate) log: LogConfig,
}

/// Times and sizes of Raft.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RaftConfig {
    pub(crate) heartbeat_ms: u64,
    pub(crate) election_min_ms: u64,
    pub(crate) election_max_ms: u64,
    pub(crate) snapshot_every: u64,
    pub(crate) keep_entries: u64,
}

/// What a coordinator bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitConfig {
    pub(crate) max_message_bytes: u64,
    pub(crate) proposal_deadline_ms: u64,
}

impl CoordinatorConfig {
    /// `None` only when a value is missing or unusable, which `load` has reported then.
    pub(super) fn from_resolved(from: &Resolved) -> Option<Self> {
        let routes = from.peer_routes("peer_override")?;
        Some(Self {
            cluster_id: ClusterId::new(from.text("cluster.id")?).ok()?,
            node_id: CoordinatorId(from.integer("node.id")?),
            data_dir: from.path("data_dir")?.to_owned(),
            listen_peer: from.address("listen.peer")?.clone(),
            listen_api: from.address("listen.api")?.clone(),
            members: from.members("members")?.to_vec(),
            peer_override: routes.iter().map(|route| (route.id, route.peer.clone())).collect(),
            raft: raft(from)?,
            lease: lease(from)?,
            limits: LimitConfig {
                max_message_bytes: from.integer("limits.max_message_bytes")?,
                proposal_deadline_ms: from.integer("limits.proposal_deadline_ms")?,
            },
            log: from.log()?,
        })
    }
}

fn raft(from: &Resolved) -> Option<RaftConfig> {
    Some(RaftConfig {
        heartbeat_ms: from.integer("raft.heartbeat_ms")?,
        election_min_ms: from.integer("raft.election_min_ms")?,
        election_max_ms: from.integer("raft.election_max_ms")?,
        snapshot_every: from.integer("raft.snapshot_every")?,
        keep_entries: from.integer("raft.keep_entries")?,
    })
}

fn lease(from: &Resolved) -> Option<LeaseSettings> {
    Some(LeaseSettings {
        heartbeat_ms: from.integer("lease.heartbeat_ms")?,
        lease_ms: from.integer("lease.lease_ms")?,
        write_stop_ms: from.integer("lease.write_stop_ms")?,
        wait_ms: from.integer("lease.wait_ms")?,
        clock_error_ppm: from.ppm("lease.clock_error_percent")?,
        margin_ms: from.integer("lease.margin_ms")?,
        suspect_after_heartbeats: from.integer("lease.suspect_after_heartbeats")?,
    })
}

/// Every combination of values that would not work or not be safe.
pub(super) fn check(resolved: &Resolved) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(same_listener(resolved));
    problems.extend(not_a_member(resolved));
    problems.extend(route_to_nobody(resolved));
    problems.extend(short_election(resolved));
    problems.extend(election_range(resolved));
    problems.extend(unsafe_lease(resolved));
    problems
}

fn same_listener(resolved: &Resolved) -> Option<Problem> {
    let (peer, api) = (resolved.address("listen.peer")?, resolved.address("listen.api")?);
    (peer == api).then(|| {
        resolved.problem(
            "listen.api",
            format!("listen.peer is {peer} too"),
            "two different addresses".to_owned(),
            "give one of them another port".to_owned(),
        )
    })
}

/// One that comes later has a number above those that were there before: numbers are never used again.
fn not_a_member(resolved: &Resolved) -> Option<Problem> {
    let (id, members) = (resolved.integer("node.id")?, resolved.members("members")?);
    let is_later = members.iter().all(|member| member.id.0 < id);
    (!is_later && !members.iter().any(|member| member.id.0 == id)).then(|| {
        resolved.problem(
            "members",
            format!("node.id is {id}, no member has that id, and some have a higher one"),
            "a list with this coordinator, or with lower ids only when it is to be added later".to_owned(),
            format!("add `{id}=PEER_ADDRESS/API_ADDRESS` to members or correct node.id"),
        )
    })
}

fn route_to_nobody(resolved: &Resolved) -> Vec<Problem> {
    let (Some(routes), Some(members)) = (resolved.peer_routes("peer_override"), resolved.members("members"))
    else {
        return Vec::new();
    };
    let strays = routes.iter().filter(|route| !members.iter().any(|member| member.id == route.id));
    let refuse = |id: CoordinatorId| {
        resolved.problem(
            "peer_override",
            format!("no member has the id {id}"),
            "ids that stand in members".to_owned(),
            format!("correct or remove the entry of {id}"),
        )
    };
    strays.map(|route| refuse(route.id)).collect()
}

/// A single late heartbeat must not start an election.
fn short_election(resolved: &Resolved) -> Option<Problem> {
    let (heartbeat, min) =
        (resolved.integer("raft.heartbeat_ms")?, resolved.integer("raft.election_min_ms")?);
    let least = heartbeat.saturating_mul(3);
    (min < least).then(|| {
        resolved.problem(
            "raft.election_min_ms",
            format!("{min} ms is less than three times raft.heartbeat_ms ({heartbeat} ms)"),
            format!("at least {least}"),
            format!("raise it to {least} or lower raft.heartbeat_ms to {}", min / 3),
        )
    })
}

/// Without a range to draw from, two candidates would split every vote.
fn election_range(resolved: &Resolved) -> Option<Problem> {
    let (min, max) = (resolved.integer("raft.election_min_ms")?, resolved.integer("raft.election_max_ms")?);
    (min >= max).then(|| {
        resolved.problem(
            "raft.election_max_ms",
            format!("{max} ms is not above raft.election_min_ms ({min} ms)"),
            format!("more than {min}"),
            "raise it, best to at least 1.5 times raft.election_min_ms".to_owned(),
        )
    })
}

/// DESIGN section 5. Followers wait out the leader's lease (`election_max`) and then a random time up to the same.
fn unsafe_lease(resolved: &Resolved) -> Vec<Problem> {
    let (Some(lease), Some(election_max)) = (lease(resolved), resolved.integer("raft.election_max_ms"))
    else {
        return Vec::new();
    };
    let longest_election_ms = election_max.saturating_mul(2);
    let refuse = |found: quorate_domain::settings::UnsafeSetting| {
        let expected = "lease settings that are safe together".to_owned();
        resolved.problem(found.field, found.problem, expected, found.remedy)
    };
    lease.problems(longest_election_ms).into_iter().map(refuse).collect()
}
