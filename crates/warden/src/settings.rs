//! What the operator configured, as the warden needs it.

use quorate_agent_core::guard::KILL_PATIENCE_MS;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Stands for the group in [`Settings::service_cgroup`].
pub const GROUP_MARK: &str = "{group}";
/// The most hooks that may run at once.
const PARALLEL_MAX: usize = 1_000;

/// What killing takes where nothing hangs in the kernel, on a machine that is busy.
const KILL_ALLOWANCE_MS: u64 = 1_000;

/// What to run, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Starts the service of a group.
    pub on_promote: Option<PathBuf>,
    /// Stops it.
    pub on_demote: Option<PathBuf>,
    /// A promote hook that takes longer is killed, and has failed.
    pub promote_limit_ms: u64,
    /// The same of a demote hook.
    pub demote_limit_ms: u64,
    /// Where the service runs.
    pub service: Option<Service>,
    /// The directory of the service's own cgroup, with [`GROUP_MARK`] in it.
    pub service_cgroup: Option<String>,
    /// The most hooks that run at once; the others wait.
    pub parallel: usize,
    /// Makes certain that a service has stopped.
    pub fence_command: Option<PathBuf>,
    /// A fence command that takes longer is killed, and has failed.
    pub fence_limit_ms: u64,
    /// A watchdog device, which is fed only while every deadline is kept.
    pub watchdog: Option<PathBuf>,
    /// Which cgroups hooks are put into.
    pub cgroups: CgroupUse,
}

/// Where a group's service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// As a descendant of its promote hook.
    Child,
    /// Somewhere else, such as under systemd: killing what hooks started does not end it.
    Elsewhere,
}

/// Which cgroups hooks are put into.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CgroupUse {
    /// Those of version 2 where they can be made, else of version 1, else none.
    #[default]
    Best,
    /// Those of version 1 where they can be made, else none.
    Version1,
    /// None.
    Off,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            on_promote: None,
            on_demote: None,
            promote_limit_ms: 10_000,
            demote_limit_ms: 10_000,
            service: None,
            service_cgroup: None,
            parallel: 32,
            fence_command: None,
            fence_limit_ms: 10_000,
            watchdog: None,
            cgroups: CgroupUse::default(),
        }
    }
}

/// A setting that could not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {found}; expected {expected}; {remedy}")]
pub struct SettingsError {
    /// Which one, as it is configured.
    pub field: &'static str,
    /// What is wrong with it.
    pub found: String,
    /// What would have been accepted.
    pub expected: &'static str,
    /// What to do.
    pub remedy: String,
}

fn refuse(
    field: &'static str,
    found: impl Into<String>,
    expected: &'static str,
    remedy: impl Into<String>,
) -> Result<(), SettingsError> {
    Err(SettingsError { field, found: found.into(), expected, remedy: remedy.into() })
}

impl Settings {
    /// True when there is anything for a warden to do.
    pub fn need_a_warden(&self) -> bool {
        self.on_promote.is_some()
            || self.on_demote.is_some()
            || self.fence_command.is_some()
            || self.watchdog.is_some()
    }

    /// How long a demotion may take in all from the deadline on before everything is killed.
    pub fn demotion_ms(&self) -> u64 {
        if self.on_demote.is_some() { self.demote_limit_ms } else { 0 }
    }

    /// From the end of the lease to the moment at which the service is known to have stopped, or never will be.
    pub fn ends_within_ms(&self) -> u64 {
        if !self.need_a_warden() {
            return 0;
        }
        let fence =
            self.fence_command.as_ref().map_or(0, |_| KILL_PATIENCE_MS.saturating_add(self.fence_limit_ms));
        self.demotion_ms().saturating_add(KILL_ALLOWANCE_MS).saturating_add(fence)
    }

    /// True when killing what hooks started does not end the service.
    pub fn is_elsewhere(&self) -> bool {
        self.service == Some(Service::Elsewhere)
    }

    /// The directory of a group's own cgroup, when the operator named one.
    pub fn service_cgroup_of(&self, group: &str) -> Option<PathBuf> {
        Some(PathBuf::from(self.service_cgroup.as_ref()?.replace(GROUP_MARK, group)))
    }

    /// Refuses what could not work, naming the setting and the remedy.
    ///
    /// # Errors
    /// [`SettingsError`] for the first setting at fault.
    pub fn check(&self) -> Result<(), SettingsError> {
        let limits = [
            ("hooks.promote_timeout_ms", self.promote_limit_ms),
            ("hooks.demote_timeout_ms", self.demote_limit_ms),
            ("warden.fence_timeout_ms", self.fence_limit_ms),
        ];
        if let Some((field, _)) = limits.iter().find(|(_, limit)| *limit == 0) {
            return refuse(field, "it is 0", "a time in milliseconds", "set it to at least 1");
        }
        if self.parallel == 0 || self.parallel > PARALLEL_MAX {
            let found = format!("it is {}", self.parallel);
            return refuse(
                "hooks.parallel",
                found,
                "a number of hooks from 1 to 1000",
                "set it to such a number",
            );
        }
        let paths = [
            ("hooks.on_promote", &self.on_promote),
            ("hooks.on_demote", &self.on_demote),
            ("warden.fence_command", &self.fence_command),
            ("warden.watchdog", &self.watchdog),
        ];
        for (field, path) in paths {
            if let Some(path) = path.as_deref().filter(|path| !path.is_absolute()) {
                let found = format!("{} is not absolute", path.display());
                return refuse(field, found, "an absolute path", "write the whole path");
            }
        }
        self.check_service()
    }

    fn check_service(&self) -> Result<(), SettingsError> {
        if let Some(template) = &self.service_cgroup {
            let field = "hooks.service_cgroup";
            let expected = "the absolute path of a cgroup's directory with {group} in it";
            if !Path::new(template).is_absolute() || template.contains("/../") {
                let found = format!("{template} is not an absolute path");
                return refuse(field, found, expected, "write the whole path");
            }
            if !template.contains(GROUP_MARK) {
                let found = format!("{template} is the same for every group");
                return refuse(field, found, expected, "put {group} where groups differ");
            }
            if !self.is_elsewhere() {
                let found = "it is set although hooks.service is not elsewhere";
                let remedy = "set hooks.service to elsewhere, or leave this out";
                return refuse(field, found, "it only for a service that runs elsewhere", remedy);
            }
        }
        let proves =
            self.on_demote.is_some() || self.fence_command.is_some() || self.service_cgroup.is_some();
        if self.service.is_none() && self.on_promote.is_some() && !proves {
            let found = "it is left out, and hooks.service does not say where the service runs";
            let expected = "a program that stops what hooks.on_promote starts";
            let remedy = "name one, or set hooks.service to child if killing everything that hooks.on_promote \
                          started, and whatever descends from that, ends the service";
            return refuse("hooks.on_demote", found, expected, remedy);
        }
        if self.is_elsewhere() && self.on_promote.is_some() && !proves {
            let found = "nothing tells that such a service has stopped";
            let remedy = "set hooks.on_demote, warden.fence_command or hooks.service_cgroup";
            return refuse(
                "hooks.service",
                found,
                "a way to know when a service elsewhere has stopped",
                remedy,
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_do_not_fit_together_are_refused_by_name() {
        Settings::default().check().unwrap();
        let hook = || Some(PathBuf::from("/hook"));
        let elsewhere =
            Settings { service: Some(Service::Elsewhere), on_promote: hook(), ..Settings::default() };
        Settings { on_demote: hook(), ..elsewhere.clone() }.check().unwrap();
        let cgroup = |text: &str| Settings { service_cgroup: Some(text.into()), ..elsewhere.clone() };
        cgroup("/sys/fs/cgroup/system.slice/db@{group}.service").check().unwrap();
        let table = [
            (Settings { demote_limit_ms: 0, ..Settings::default() }, "hooks.demote_timeout_ms: it is 0"),
            (
                Settings { parallel: 0, ..Settings::default() },
                "hooks.parallel: it is 0; expected a number of hooks from 1",
            ),
            (
                Settings { on_demote: Some("hook".into()), ..Settings::default() },
                "hooks.on_demote: hook is not",
            ),
            (elsewhere.clone(), "hooks.service: nothing tells"),
            (
                Settings { on_promote: hook(), ..Settings::default() },
                "hooks.on_demote: it is left out, and hooks.service",
            ),
            (cgroup("db@{group}"), "hooks.service_cgroup: db@{group} is not an absolute"),
            (
                cgroup("/sys/fs/cgroup/db"),
                "hooks.service_cgroup: /sys/fs/cgroup/db is the same for every group",
            ),
            (
                Settings { service: Some(Service::Child), ..cgroup("/a/{group}") },
                "hooks.service_cgroup: it is set although hooks.service is not elsewhere",
            ),
        ];
        for (settings, start) in table {
            let error = settings.check().unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }
}
