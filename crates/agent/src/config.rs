//! What an agent is told by its operator.

use crate::error::AgentError;
use quorate_domain::{ClusterId, DiskName, HookTimes, HostId, Zone};
use quorate_runtime::address::Address;
use quorate_warden::{CgroupUse, Service, Settings};
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// What the end of every role may take beyond hooks and lease.
const ROLES_EXTRA: Duration = Duration::from_secs(5);
/// What may come after that: the last report, the answers to local processes, and what the state folder still takes.
pub(crate) const CLOSING_MAX: Duration = Duration::from_secs(8);

/// The most disks of one agent.
pub(crate) const DISKS_MAX: usize = 1_000;

/// Everything that an agent is told by its operator.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The host that it speaks for.
    pub host: HostId,
    /// The host's failure domain.
    pub zone: Zone,
    /// Where it keeps what must outlive it.
    pub state_dir: PathBuf,
    /// The cluster that it belongs to; coordinators of another one are refused, and refuse. None: the first that takes it
    /// in.
    pub cluster: Option<ClusterId>,
    /// Some coordinators' API addresses, as `host:port`; the others are learnt from them.
    pub coordinators: Vec<String>,
    /// Where it answers local processes, as `host:port`.
    pub listen: String,
    /// Where others reach it, as `host:port`.
    pub advertise: String,
    /// The disks to watch.
    pub disks: Vec<DiskOptions>,
    /// How disks are probed.
    pub probe: ProbeOptions,
    /// What is run when a role begins or ends.
    pub hooks: HookOptions,
    /// What ends a service when its lease is over, whatever became of the agent.
    pub warden: WardenOptions,
}

/// One disk to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskOptions {
    /// Its name on this host.
    pub name: DiskName,
    /// The directory that it is mounted on.
    pub path: PathBuf,
}

/// How disks are probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOptions {
    /// From the end of one probe to the next.
    pub interval: Duration,
    /// A probe that takes longer makes the disk's verdict unknown.
    pub time_limit: Duration,
    /// A probe that takes this long makes the disk failed.
    pub unresponsive_after: Duration,
    /// How much a probe writes and reads back, in bytes.
    pub size_bytes: usize,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            time_limit: Duration::from_secs(5),
            unresponsive_after: Duration::from_mins(5),
            size_bytes: 4_096,
        }
    }
}

/// What is run when a role begins or ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookOptions {
    /// Starts the service of a group on this host.
    pub on_promote: Option<PathBuf>,
    /// Stops it.
    pub on_demote: Option<PathBuf>,
    /// A promote hook that takes longer is killed, and has failed.
    pub promote_limit: Duration,
    /// The same of a demote hook.
    pub demote_limit: Duration,
    /// Where the service runs that they start and stop.
    pub service: Option<Service>,
    /// The directory of the service's own cgroup, with `{group}` in it.
    pub service_cgroup: Option<String>,
    /// The most hooks that run at once.
    pub parallel: usize,
}

impl Default for HookOptions {
    fn default() -> Self {
        let Settings { promote_limit_ms, demote_limit_ms, service, service_cgroup, parallel, .. } =
            Settings::default();
        Self {
            on_promote: None,
            on_demote: None,
            promote_limit: Duration::from_millis(promote_limit_ms),
            demote_limit: Duration::from_millis(demote_limit_ms),
            service,
            service_cgroup,
            parallel,
        }
    }
}

/// What ends a service when its lease is over, whatever became of the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WardenOptions {
    /// Makes certain that a service has stopped when nothing else did.
    pub fence_command: Option<PathBuf>,
    /// A fence command that takes longer is killed, and has failed.
    pub fence_limit: Duration,
    /// A watchdog device, which is fed only while every deadline is kept.
    pub watchdog: Option<PathBuf>,
    /// Which cgroups hooks are put into.
    pub cgroups: CgroupUse,
    /// The program that has the verbs `warden` and `warden-exec`; this one if none is named.
    pub program: Option<PathBuf>,
}

impl Default for WardenOptions {
    fn default() -> Self {
        let Settings { fence_limit_ms, cgroups, .. } = Settings::default();
        let fence_limit = Duration::from_millis(fence_limit_ms);
        Self { fence_command: None, fence_limit, watchdog: None, cgroups, program: None }
    }
}

impl AgentOptions {
    /// How long this agent allows its hooks, as the coordinators must know it.
    pub(crate) fn hook_times(&self) -> HookTimes {
        let settings = self.warden_settings();
        let promotion_ms = if settings.on_promote.is_some() { settings.promote_limit_ms } else { 0 };
        HookTimes { promotion_ms, demotion_ms: settings.ends_within_ms() }
    }

    /// How long every role may take to end once the agent is told to stop: a promote hook that runs is killed, a demote
    /// hook takes its time, and what was told is kept to the end of the lease.
    pub(crate) fn roles_end_within(&self, lease: Duration) -> Duration {
        let hooks = self.hooks.promote_limit.saturating_add(self.hooks.demote_limit);
        hooks.saturating_add(lease).saturating_add(ROLES_EXTRA)
    }

    /// How long the agent may take to stop, all in all; it ends by itself no later. Whoever would end it sooner lets a
    /// service that has stopped halfway go on without its agent.
    pub fn stops_within(&self, lease: Duration) -> Duration {
        self.roles_end_within(lease).saturating_add(CLOSING_MAX)
    }

    /// What the warden is told.
    pub fn warden_settings(&self) -> Settings {
        let (hooks, warden) = (self.hooks.clone(), self.warden.clone());
        Settings {
            on_promote: hooks.on_promote,
            on_demote: hooks.on_demote,
            promote_limit_ms: millis(hooks.promote_limit),
            demote_limit_ms: millis(hooks.demote_limit),
            service: hooks.service,
            service_cgroup: hooks.service_cgroup,
            parallel: hooks.parallel,
            fence_command: warden.fence_command,
            fence_limit_ms: millis(warden.fence_limit),
            watchdog: warden.watchdog,
            cgroups: warden.cgroups,
        }
    }

    /// Refuses what could not work, naming the option and the remedy.
    ///
    /// # Errors
    /// [`AgentError::Option`] for the first option at fault.
    pub fn check(&self) -> Result<(), AgentError> {
        let refuse =
            |option: &str, problem: String| Err(AgentError::Option { option: option.to_owned(), problem });
        if self.coordinators.is_empty() {
            return refuse(
                "coordinators",
                "is empty; name the API address of at least one coordinator".into(),
            );
        }
        for (index, text) in self.coordinators.iter().enumerate() {
            if let Err(error) = text.parse::<Address>() {
                return refuse(&format!("coordinators[{index}]"), error.to_string());
            }
        }
        match self.advertise.parse::<Address>() {
            Err(error) => return refuse("advertise", error.to_string()),
            Ok(address) if address.is_unspecified() => {
                return refuse(
                    "advertise",
                    format!("{address} cannot be reached by others; name this host's own address"),
                );
            }
            Ok(_) => {}
        }
        self.check_disks()?;
        let limits =
            [("probe.interval_ms", self.probe.interval), ("probe.timeout_ms", self.probe.time_limit)];
        if let Some((option, _)) = limits.iter().find(|(_, limit)| limit.is_zero()) {
            return refuse(option, "is 0; set it to at least 1".into());
        }
        if self.probe.size_bytes == 0 {
            return refuse("probe.bytes", "is 0; set it to at least 1".into());
        }
        if let Err(error) = self.warden_settings().check() {
            let problem = format!("{}; expected {}; {}", error.found, error.expected, error.remedy);
            return refuse(error.field, problem);
        }
        Ok(())
    }

    fn check_disks(&self) -> Result<(), AgentError> {
        let refuse = |option: String, problem: String| Err(AgentError::Option { option, problem });
        if self.disks.len() > DISKS_MAX {
            let problem = format!("has {} disks; at most {DISKS_MAX} are watched", self.disks.len());
            return refuse("disks".into(), problem);
        }
        let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
        for disk in &self.disks {
            if !names.insert(&disk.name) {
                return refuse(format!("disks.{}", disk.name), "is named twice; rename one".into());
            }
            if !paths.insert(&disk.path) {
                let problem = format!("{} is the path of another disk too", disk.path.display());
                return refuse(format!("disks.{}.path", disk.name), problem);
            }
        }
        Ok(())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> AgentOptions {
        AgentOptions {
            host: HostId::new("h1").unwrap(),
            zone: Zone::new("z1").unwrap(),
            state_dir: "state".into(),
            cluster: None,
            coordinators: vec!["10.0.0.1:7400".into()],
            listen: "127.0.0.1:7500".into(),
            advertise: "10.0.0.9:7500".into(),
            disks: vec![disk("d1", "a"), disk("d2", "b")],
            probe: ProbeOptions::default(),
            hooks: HookOptions::default(),
            warden: WardenOptions::default(),
        }
    }

    fn disk(name: &str, path: &str) -> DiskOptions {
        DiskOptions { name: DiskName::new(name).unwrap(), path: path.into() }
    }

    #[test]
    fn a_stop_leaves_time_for_both_hooks_the_lease_and_what_is_said_last() {
        let (promote_limit, demote_limit) = (Duration::from_secs(15), Duration::from_secs(25));
        let hooks = HookOptions { promote_limit, demote_limit, ..HookOptions::default() };
        let options = AgentOptions { hooks, ..good() };
        let lease = Duration::from_secs(6);
        assert_eq!(options.roles_end_within(lease), Duration::from_secs(51));
        assert_eq!(options.stops_within(lease), Duration::from_secs(59));
        assert_eq!(options.stops_within(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn each_option_that_could_not_work_is_refused_by_name() {
        good().check().unwrap();
        let no_time = ProbeOptions { time_limit: Duration::ZERO, ..ProbeOptions::default() };
        let no_bytes = ProbeOptions { size_bytes: 0, ..ProbeOptions::default() };
        let no_hooks_at_once = HookOptions { parallel: 0, ..HookOptions::default() };
        let table = [
            (AgentOptions { hooks: no_hooks_at_once, ..good() }, "hooks.parallel: it is 0"),
            (AgentOptions { coordinators: vec![], ..good() }, "coordinators: is empty"),
            (AgentOptions { coordinators: vec!["a:1".into(), "b".into()], ..good() }, "coordinators[1]: "),
            (AgentOptions { advertise: "h1".into(), ..good() }, "advertise: "),
            (AgentOptions { advertise: "0.0.0.0:7500".into(), ..good() }, "advertise: 0.0.0.0:7500 cannot"),
            (AgentOptions { disks: vec![disk("d1", "a"), disk("d1", "b")], ..good() }, "disks.d1: is named"),
            (AgentOptions { disks: vec![disk("d1", "a"), disk("d2", "a")], ..good() }, "disks.d2.path: a is"),
            (AgentOptions { probe: no_time, ..good() }, "probe.timeout_ms: is 0"),
            (AgentOptions { probe: no_bytes, ..good() }, "probe.bytes: is 0"),
        ];
        for (options, start) in table {
            let error = options.check().unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
