//! Decisions about hosts and their disks.

use super::{current_host, find_host};
use crate::{
    command::Command,
    disk::{DISKS_MAX, REASONS_MAX, VerdictReason},
    event::Event,
    host::{HOSTS_MAX, Host, HostStatus},
    rejection::Rejection,
    state::State,
};

pub(super) fn register(state: &State, command: &Command) -> Result<Vec<Event>, Rejection> {
    let Command::RegisterHost { host, zone, address, instance, incarnation, start, hook_times } = command
    else {
        return Ok(vec![]);
    };
    let (host, zone, address) = (host.clone(), zone.clone(), address.clone());
    let (instance, incarnation, start, hook_times) = (instance.clone(), *incarnation, *start, *hook_times);
    let Some(known) = state.hosts.get(&host) else {
        if state.hosts.len() >= HOSTS_MAX {
            return Err(Rejection::LimitReached { what: "hosts".into(), limit: HOSTS_MAX });
        }
        let start = Event::HostRegistered { host, zone, address, instance, incarnation, start, hook_times };
        return Ok(vec![start]);
    };
    if known.instance != instance && known.status != HostStatus::Offline {
        return Err(Rejection::HostIdInUse { host, instance: known.instance.to_string() });
    }
    let same_start = (&known.instance, known.incarnation, known.start) == (&instance, incarnation, start);
    #[cfg(planted)]
    let same_start = same_start
        || (crate::planted::is(crate::planted::Bug::StartsShareNumber)
            && (&known.instance, known.incarnation) == (&instance, incarnation));
    // Also one that counts alike: what is granted to an incarnation is granted to one process.
    if !same_start && incarnation <= known.incarnation {
        return Err(Rejection::StaleIncarnation { host, recorded: known.incarnation, offered: incarnation });
    }
    let mut events = Vec::new();
    if !same_start {
        events.push(Event::HostRestarted { host: host.clone(), instance, incarnation, start, hook_times });
    }
    if (&known.zone, &known.address) != (&zone, &address) {
        events.push(Event::HostUpdated { host, zone, address });
    }
    Ok(events)
}

pub(super) fn mark(state: &State, command: &Command) -> Result<Vec<Event>, Rejection> {
    let Command::MarkHost { host, incarnation, status, reason, evidence } = command else {
        return Ok(vec![]);
    };
    let known: &Host = current_host(state, host, *incarnation)?;
    if known.status == *status {
        return Ok(vec![]);
    }
    Ok(vec![Event::HostStatusChanged {
        host: host.clone(),
        from: known.status,
        to: *status,
        reason: reason.clone(),
        evidence: evidence.clone(),
    }])
}

pub(super) fn record_disk(state: &State, command: &Command) -> Result<Vec<Event>, Rejection> {
    let Command::RecordDisk { disk, incarnation, identity, path, capacity_bytes, verdict, reasons } = command
    else {
        return Ok(vec![]);
    };
    find_host(state, &disk.host)?;
    current_host(state, &disk.host, *incarnation)?;
    let reasons: Vec<VerdictReason> = reasons.iter().take(REASONS_MAX).cloned().collect();
    let Some(known) = state.disks.get(disk) else {
        if state.disks.len() >= DISKS_MAX {
            return Err(Rejection::LimitReached { what: "disks".into(), limit: DISKS_MAX });
        }
        return Ok(vec![Event::DiskAdded {
            disk: disk.clone(),
            identity: identity.clone(),
            path: path.clone(),
            capacity_bytes: *capacity_bytes,
            verdict: *verdict,
            reasons,
        }]);
    };
    if known.is_latched_against(identity, *verdict) {
        return Err(Rejection::DiskFailureLatched(disk.clone()));
    }
    if known.is_as_reported(identity, path, *capacity_bytes, *verdict, &reasons) {
        return Ok(vec![]);
    }
    let (identity, capacity_bytes) = known.kept(identity, *capacity_bytes);
    Ok(vec![Event::DiskChanged {
        disk: disk.clone(),
        identity,
        path: path.clone(),
        capacity_bytes,
        from: known.verdict,
        verdict: *verdict,
        reasons,
    }])
}
