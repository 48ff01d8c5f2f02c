//! What an agent can be told, and which combinations are refused.

use std::fs;
use std::path::PathBuf;

use quorate_domain::ids::{ClusterId, HostId, Zone};
use quorate_runtime::address::Address;
use quorate_warden::{Service, Settings, SettingsError};
use rustix::fs::{Access, access};

use super::disk_folder::DiskFolder;
use super::key::{Fallback, Key};
use super::kind::Kind;
use super::problem::Problem;
use super::resolved::{LogConfig, Resolved};

const CHILD: &str = "child";
const ELSEWHERE: &str = "elsewhere";
const SERVICES: &[&str] = &[CHILD, ELSEWHERE];

/// Every key of an agent.
#[rustfmt::skip]
pub(super) const KEYS: &[Key] = &[
    Key { name: "cluster.id", kind: Kind::Name, fallback: Fallback::Unset,
        doc: "The cluster that this host belongs to; coordinators of another one are refused. Left out, it is the first that takes the host in." },
    Key { name: "host.id", kind: Kind::Name, fallback: Fallback::Required,
        doc: "Names this storage host for good." },
    Key { name: "host.zone", kind: Kind::Name, fallback: Fallback::Required,
        doc: "The failure domain this host is in: a rack, a room." },
    Key { name: "state_dir", kind: Kind::Path, fallback: Fallback::Required,
        doc: "Folder of the agent's own durable state: its highest epochs." },
    Key { name: "coordinators", kind: Kind::Addresses, fallback: Fallback::Required,
        doc: "API addresses of the coordinators; the agent finds the leader among them, keeps whom it names as coordinators, and asks those first from then on." },
    Key { name: "listen", kind: Kind::Address, fallback: Fallback::Literal("127.0.0.1:7402"),
        doc: "Where processes of the storage platform on this host ask for their role." },
    Key { name: "advertise", kind: Kind::Address, fallback: Fallback::SameAs("listen"),
        doc: "The address at which others reach this host." },
    Key { name: "disks", kind: Kind::Disks, fallback: Fallback::Required,
        doc: "The disks of this host: [[disks]] tables with name and path, or `NAME=PATH`." },
    Key { name: "probe.interval_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("10000"),
        doc: "Each disk is tried by a write, an fsync and a read this often." },
    Key { name: "probe.timeout_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("5000"),
        doc: "A probe that takes longer means that the disk hangs." },
    Key { name: "probe.bytes", kind: Kind::Integer { unit: "bytes", min: 512, max: 16_777_216 }, fallback: Fallback::Literal("65536"),
        doc: "How much a probe writes and reads back." },
    Key { name: "hooks.on_promote", kind: Kind::Program, fallback: Fallback::Unset,
        doc: "Program that is run when this host becomes primary of a group." },
    Key { name: "hooks.on_demote", kind: Kind::Program, fallback: Fallback::Unset,
        doc: "Program that is run when this host stops being primary of a group." },
    Key { name: "hooks.promote_timeout_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("10000"),
        doc: "A promote hook that takes longer is killed and counts as failed. An agent that is told to stop takes at most this, hooks.demote_timeout_ms, the lease and 13 s more: let the service manager wait longer than that (`TimeoutStopSec`, `stop_grace_period`)." },
    Key { name: "hooks.demote_timeout_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("10000"),
        doc: "A demote hook that takes longer is killed and counts as failed. When the lease has been over for this long and the service is not known to have stopped, the warden kills everything that the group's hooks started." },
    Key { name: "hooks.service", kind: Kind::OneOf(SERVICES), fallback: Fallback::Unset,
        doc: "Where the service of a group runs: below its promote hook, so that killing what hooks started ends it (`child`, also when left out), or elsewhere, such as under systemd. Must be said where there is neither hooks.on_demote nor warden.fence_command." },
    Key { name: "hooks.service_cgroup", kind: Kind::Path, fallback: Fallback::Unset,
        doc: "Directory of the own cgroup of a service that runs elsewhere, with `{group}` in it: killed with what hooks started, and a proof that the service has stopped once nothing is in it any more." },
    Key { name: "hooks.parallel", kind: Kind::Integer { unit: "hooks", min: 1, max: 1_000 }, fallback: Fallback::Literal("32"),
        doc: "At most so many hooks run at once; the others wait, promotions behind demotions." },
    Key { name: "warden.fence_command", kind: Kind::Program, fallback: Fallback::Unset,
        doc: "Program that the warden runs, with the environment of a demote hook, when a lease is over and nothing else proves that the service has stopped; exit code 0 says that it has." },
    Key { name: "warden.fence_timeout_ms", kind: Kind::MILLISECONDS, fallback: Fallback::Literal("10000"),
        doc: "A fence command that takes longer is killed and counts as failed." },
    Key { name: "warden.watchdog", kind: Kind::Path, fallback: Fallback::Unset,
        doc: "Watchdog device, such as /dev/watchdog: it is fed until a service is not known to have stopped although its lease is over, and then reboots the machine." },
    Key { name: "warden.cgroups", kind: Kind::Switch, fallback: Fallback::Literal("true"),
        doc: "Whether hooks of a group, and what they start, are put into a cgroup where one can be made." },
    Key { name: "log.level", kind: Kind::LogLevel, fallback: Fallback::Literal("info,openraft=warn"),
        doc: "Which log lines are written." },
    Key { name: "log.format", kind: Kind::LogFormat, fallback: Fallback::Literal("human"),
        doc: "How log lines look." },
];

/// The configuration of an agent, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentConfig {
    pub(crate) cluster_id: Option<ClusterId>,
    pub(crate) host_id: HostId,
    pub(crate) zone: Zone,
    pub(crate) state_dir: PathBuf,
    pub(crate) coordinators: Vec<Address>,
    pub(crate) listen: Address,
    pub(crate) advertise: Address,
    pub(crate) disks: Vec<DiskFolder>,
    pub(crate) probe: ProbeConfig,
    pub(crate) hooks: HookConfig,
    pub(crate) warden: WardenConfig,
    pub(crate) log: LogConfig,
}

/// How disks are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProbeConfig {
    pub(crate) interval_ms: u64,
    pub(crate) timeout_ms: u64,
    pub(crate) size_bytes: u64,
}

/// What is run when the host's role changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HookConfig {
    pub(crate) on_promote: Option<PathBuf>,
    pub(crate) on_demote: Option<PathBuf>,
    pub(crate) promote_timeout_ms: u64,
    pub(crate) demote_timeout_ms: u64,
    pub(crate) service: Option<Service>,
    pub(crate) service_cgroup: Option<String>,
    pub(crate) parallel: u64,
}

/// What ends a service whose lease is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WardenConfig {
    pub(crate) fence_command: Option<PathBuf>,
    pub(crate) fence_timeout_ms: u64,
    pub(crate) watchdog: Option<PathBuf>,
    pub(crate) cgroups: bool,
}

impl HookConfig {
    fn from_resolved(from: &Resolved) -> Option<Self> {
        let service = from.text("hooks.service").map(|word| match word {
            ELSEWHERE => Service::Elsewhere,
            _ => Service::Child,
        });
        Some(Self {
            on_promote: from.path("hooks.on_promote").map(PathBuf::from),
            on_demote: from.path("hooks.on_demote").map(PathBuf::from),
            promote_timeout_ms: from.integer("hooks.promote_timeout_ms")?,
            demote_timeout_ms: from.integer("hooks.demote_timeout_ms")?,
            service,
            service_cgroup: from.path("hooks.service_cgroup").map(|path| path.display().to_string()),
            parallel: from.integer("hooks.parallel")?,
        })
    }
}

impl WardenConfig {
    fn from_resolved(from: &Resolved) -> Option<Self> {
        Some(Self {
            fence_command: from.path("warden.fence_command").map(PathBuf::from),
            fence_timeout_ms: from.integer("warden.fence_timeout_ms")?,
            watchdog: from.path("warden.watchdog").map(PathBuf::from),
            cgroups: from.switch("warden.cgroups")?,
        })
    }
}

impl AgentConfig {
    /// `None` only when a value is missing or unusable, which `load` has reported then.
    pub(super) fn from_resolved(from: &Resolved) -> Option<Self> {
        Some(Self {
            cluster_id: from.text("cluster.id").map(ClusterId::new).transpose().ok()?,
            host_id: HostId::new(from.text("host.id")?).ok()?,
            zone: Zone::new(from.text("host.zone")?).ok()?,
            state_dir: from.path("state_dir")?.to_owned(),
            coordinators: from.addresses("coordinators")?.to_vec(),
            listen: from.address("listen")?.clone(),
            advertise: from.address("advertise")?.clone(),
            disks: from.disks("disks")?.to_vec(),
            probe: ProbeConfig {
                interval_ms: from.integer("probe.interval_ms")?,
                timeout_ms: from.integer("probe.timeout_ms")?,
                size_bytes: from.integer("probe.bytes")?,
            },
            hooks: HookConfig::from_resolved(from)?,
            warden: WardenConfig::from_resolved(from)?,
            log: from.log()?,
        })
    }
}

/// Every value or combination that would not work on this host.
pub(super) fn check(resolved: &Resolved) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(resolved.unreachable_advertise("advertise"));
    problems.extend(broken_hook(resolved, "hooks.on_promote"));
    problems.extend(broken_hook(resolved, "hooks.on_demote"));
    problems.extend(broken_hook(resolved, "warden.fence_command"));
    problems.extend(unfit_hooks(resolved));
    problems
}

/// Settings of hooks that do not fit together, as the warden would refuse them.
fn unfit_hooks(resolved: &Resolved) -> Option<Problem> {
    let (hooks, warden) = (HookConfig::from_resolved(resolved)?, WardenConfig::from_resolved(resolved)?);
    let settings = Settings {
        on_promote: hooks.on_promote,
        on_demote: hooks.on_demote,
        service: hooks.service,
        service_cgroup: hooks.service_cgroup,
        fence_command: warden.fence_command,
        watchdog: warden.watchdog,
        ..Settings::default()
    };
    let SettingsError { field, found, expected, remedy } = settings.check().err()?;
    Some(resolved.problem(field, found, expected.to_owned(), remedy))
}

/// A hook that cannot run would be found out in the middle of a failover.
fn broken_hook(resolved: &Resolved, key: &str) -> Option<Problem> {
    let path = resolved.path(key)?;
    let found = match fs::metadata(path) {
        Err(error) => error.to_string(),
        Ok(data) if !data.is_file() => "this is not a file".to_owned(),
        Ok(_) => access(path, Access::EXEC_OK).err().map(|_| "this file is not executable".to_owned())?,
    };
    Some(resolved.problem(
        key,
        found,
        Kind::Program.to_string(),
        format!("create it, make it executable (chmod +x {}), or leave {key} out", path.display()),
    ))
}
