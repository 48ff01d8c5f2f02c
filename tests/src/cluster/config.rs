//! The configuration files of a test cluster.

use super::Plan;
use crate::loopback::{AGENT_PORT, API_PORT, Loopback, PEER_PORT};
use std::{fmt::Write, path::Path};

const ZONES: [&str; 3] = ["za", "zb", "zc"];

/// Of a coordinator, as TOML.
pub(super) fn coordinator(plan: &Plan, net: Loopback, id: u64, root: &Path) -> String {
    let own = net.coordinator(id);
    let (timing, lease) = (&plan.timing, &plan.timing.lease);
    let mut text = format!(
        "cluster.id = \"test\"
node.id = {id}
data_dir = '{data_dir}'
listen.peer = \"{own}:{PEER_PORT}\"
listen.api = \"{own}:{API_PORT}\"
raft.heartbeat_ms = {raft_heartbeat}
raft.election_min_ms = {election_min}
raft.election_max_ms = {election_max}
lease.heartbeat_ms = {heartbeat}
lease.lease_ms = {lease_ms}
lease.write_stop_ms = {write_stop}
lease.wait_ms = {wait}
lease.margin_ms = {margin}
lease.suspect_after_heartbeats = {suspect_after}
limits.max_message_bytes = {max_message}
log.level = \"{level}\"
{snapshots}members = [
",
        data_dir = root.join(format!("c{id}")).display(),
        raft_heartbeat = timing.raft_heartbeat_ms,
        election_min = timing.election_min_ms,
        election_max = timing.election_max_ms,
        heartbeat = lease.heartbeat_ms,
        lease_ms = lease.lease_ms,
        write_stop = lease.write_stop_ms,
        wait = lease.wait_ms,
        margin = lease.margin_ms,
        suspect_after = lease.suspect_after_heartbeats,
        max_message = plan.max_message_bytes,
        level = plan.log_level,
        snapshots =
            plan.snapshot_every.map_or_else(String::new, |every| format!("raft.snapshot_every = {every}\n")),
    );
    for member in 1..=plan.coordinators {
        let (peer, api) = (net.coordinator(member), api_address(plan, net, member));
        line(&mut text, &format!("    \"{member}={peer}:{PEER_PORT}/{api}\","));
    }
    line(&mut text, "]");
    if plan.linked {
        line(&mut text, "peer_override = [");
        for member in (1..=plan.coordinators).filter(|member| *member != id) {
            line(&mut text, &format!("    \"{member}={}\",", net.peer_link(id, member)));
        }
        line(&mut text, "]");
    }
    text
}

/// Of an agent, as TOML.
pub(super) fn agent(plan: &Plan, net: Loopback, number: u64, root: &Path) -> String {
    let zone = ZONES[usize::try_from(number - 1).unwrap_or(0) % ZONES.len()];
    let coordinators: Vec<String> = (1..=plan.coordinators).map(|id| api_address(plan, net, id)).collect();
    format!(
        "cluster.id = \"test\"
host.id = \"h{number}\"
host.zone = \"{zone}\"
state_dir = '{state_dir}'
coordinators = {coordinators:?}
listen = \"{own}:{AGENT_PORT}\"
probe.interval_ms = {interval}
probe.timeout_ms = {timeout}
log.level = \"{level}\"

[[disks]]
name = \"d1\"
path = '{disk}'
",
        state_dir = root.join(format!("h{number}-state")).display(),
        own = net.agent(number),
        interval = plan.timing.probe_interval_ms,
        timeout = plan.timing.probe_timeout_ms,
        level = plan.log_level,
        disk = root.join(format!("h{number}-d1")).display(),
    )
}

/// Where clients and agents are told that a coordinator is.
fn api_address(plan: &Plan, net: Loopback, id: u64) -> String {
    if plan.linked { net.api_link(id).to_string() } else { format!("{}:{API_PORT}", net.coordinator(id)) }
}

fn line(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}
