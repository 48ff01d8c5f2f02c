//! `quorate agent`.

use super::until_stopped;
use crate::{
    Machine,
    args::AgentArgs,
    config::{self, AgentConfig, LONGEST_MS},
};
use quorate_agent::{AgentOptions, CgroupUse, DiskOptions, HookOptions, ProbeOptions, WardenOptions};
use quorate_runtime::{shutdown::Shutdown, telemetry};
use std::time::Duration;

/// The longest lease that coordinators can be configured with: the agent knows theirs, and ends by it; this process only
/// must not end before.
const LONGEST_LEASE: Duration = Duration::from_millis(LONGEST_MS);

/// Runs the agent of a host until it is told to stop.
///
/// # Errors
/// A configuration with problems, or what ended it.
pub(crate) async fn run(args: AgentArgs, machine: Machine) -> anyhow::Result<u8> {
    let config = config::agent(&args.into())?;
    telemetry::init(&config.log.level, config.log.format)?;
    let shutdown = Shutdown::new();
    let options = options(config);
    let deadline = options.stops_within(LONGEST_LEASE);
    let role = quorate_agent::run(options, machine.clock, shutdown.clone());
    until_stopped("agent", role, &shutdown, deadline).await
}

/// What the configuration means to the agent.
pub(crate) fn options(config: AgentConfig) -> AgentOptions {
    let disks = config.disks.into_iter().map(|disk| DiskOptions { name: disk.name, path: disk.path });
    AgentOptions {
        host: config.host_id,
        zone: config.zone,
        state_dir: config.state_dir,
        coordinators: config.coordinators.iter().map(ToString::to_string).collect(),
        listen: config.listen.to_string(),
        advertise: config.advertise.to_string(),
        disks: disks.collect(),
        probe: ProbeOptions {
            interval: Duration::from_millis(config.probe.interval_ms),
            time_limit: Duration::from_millis(config.probe.timeout_ms),
            size_bytes: usize::try_from(config.probe.size_bytes).unwrap_or(usize::MAX),
            ..ProbeOptions::default()
        },
        hooks: HookOptions {
            on_promote: config.hooks.on_promote,
            on_demote: config.hooks.on_demote,
            promote_limit: Duration::from_millis(config.hooks.promote_timeout_ms),
            demote_limit: Duration::from_millis(config.hooks.demote_timeout_ms),
            service: config.hooks.service,
            service_cgroup: config.hooks.service_cgroup,
            parallel: usize::try_from(config.hooks.parallel).unwrap_or(usize::MAX),
        },
        warden: WardenOptions {
            fence_command: config.warden.fence_command,
            fence_limit: Duration::from_millis(config.warden.fence_timeout_ms),
            watchdog: config.warden.watchdog,
            cgroups: if config.warden.cgroups { CgroupUse::Best } else { CgroupUse::Off },
            program: None,
        },
    }
}
