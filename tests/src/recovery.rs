//! I20: what a cluster must be once nothing is in the way any more, and how soon.

use crate::{probe::Probe, timing::Timing};
use anyhow::{Context, Result, ensure};
use quorate_rpc::pb::types::{Group, GroupPhase};
use std::time::Duration;

/// How long until a leader can decide.
pub const LEADER: Duration = Duration::from_secs(5);
/// How long until every group has a primary at work and every host is online, where no hooks are waited for: see [`primaries`].
pub const PRIMARIES: Duration = Duration::from_secs(15);
/// How long until every coordinator has applied the same as the others.
pub const EQUAL: Duration = Duration::from_secs(30);

/// The same where hosts allow themselves a demotion of this length, which D covers.
pub fn primaries(timing: &Timing, demotion_ms: u64) -> Duration {
    PRIMARIES + Duration::from_millis(timing.lease.longest_ms(demotion_ms))
}

/// The group is active, and its primary has said since then that it acts.
///
/// # Errors
/// What is not so.
pub fn served(group: &Group, probe: &Probe, since_boot_ms: u64) -> Result<()> {
    ensure!(group.phase() == GroupPhase::Active, "{group:?}");
    let host = &group.primary.as_ref().context("a group without a primary")?.host;
    let last = probe.last(host, &group.id).context("its primary said nothing")?;
    let acts = last.is_primary() && last.epoch == group.epoch;
    ensure!(acts && last.at_boot_ms >= since_boot_ms, "{last:?}");
    Ok(())
}
