//! Decisions about hosts and their disks.

use super::{Context, check_reason, current_host};
use crate::{
    command::Command,
    disk::{DISKS_MAX, DiskReport, REASONS_MAX, VerdictReason, accuses_the_medium, medium_codes},
    event::Event,
    host::{HOSTS_MAX, Host, HostStatus, highest_start},
    ids::{DiskId, Incarnation},
    rejection::Rejection,
    state::State,
};

pub(super) fn register(
    state: &State,
    context: &Context<'_>,
    command: &Command,
) -> Result<Vec<Event>, Rejection> {
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
        check_number(command, highest_start(context.at, None))?;
        let start = Event::HostRegistered { host, zone, address, instance, incarnation, start, hook_times };
        return Ok(vec![start]);
    };
    let is_free = known.unbound || known.status == HostStatus::Offline;
    if known.instance != instance && !is_free {
        return Err(Rejection::HostIdInUse { host, instance: known.instance.to_string() });
    }
    let same_start = (&known.instance, known.incarnation, known.start) == (&instance, incarnation, start);
    #[cfg(planted)]
    let same_start = same_start
        || (crate::planted::is(crate::planted::Bug::StartsShareNumber)
            && (&known.instance, known.incarnation) == (&instance, incarnation));
    if !same_start && !begins_anew(state, known, context, incarnation) {
        // Also one that counts alike: what is granted to an incarnation is granted to one process.
        if incarnation <= known.incarnation {
            return Err(Rejection::StaleIncarnation {
                host,
                recorded: known.incarnation,
                offered: incarnation,
            });
        }
        check_number(command, highest_start(context.at, Some(known.incarnation)))?;
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

/// A start must leave room for those that follow it.
fn check_number(command: &Command, most: Incarnation) -> Result<(), Rejection> {
    match command {
        Command::RegisterHost { host, incarnation, .. } if *incarnation > most => {
            Err(Rejection::StartNumberTooHigh { host: host.clone(), offered: *incarnation, most })
        }
        _ => Ok(()),
    }
}

/// An operator has freed the name, and the number on record is none that an agent comes to by itself: builds without a
/// bound took any. What was granted to the start of that number must be told from what this one is granted.
fn begins_anew(state: &State, known: &Host, context: &Context<'_>, offered: Incarnation) -> bool {
    let most = highest_start(context.at, None);
    known.unbound
        && known.incarnation > most
        && offered <= most
        && state.groups_of(&known.id).all(|group| group.granted_to != offered)
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
    current_host(state, &disk.host, *incarnation)?;
    let Some(known) = state.disks.get(disk) else {
        return add_disk(state, command);
    };
    let capacity_bytes = *capacity_bytes;
    let report = DiskReport { identity, path, capacity_bytes, verdict: *verdict, reasons };
    let judged = known.judge(&report);
    let mut events = Vec::new();
    if let Some(from) = judged.replaces {
        events.push(Event::DiskReplaced { disk: disk.clone(), from, to: judged.identity.clone() });
    }
    if judged.changed {
        events.push(Event::DiskChanged {
            disk: disk.clone(),
            identity: judged.identity,
            path: path.clone(),
            capacity_bytes: judged.capacity_bytes,
            from: known.verdict,
            verdict: judged.verdict,
            reasons: judged.reasons,
        });
    }
    if judged.confirms {
        events.push(Event::DiskConfirmed { disk: disk.clone() });
    }
    if judged.latches {
        events.push(Event::DiskLatched { disk: disk.clone(), codes: medium_codes(reasons) });
    }
    if let Some(well) = judged.seen_well {
        events.push(Event::LatchedDiskChecked { disk: disk.clone(), well });
    }
    Ok(events)
}

fn add_disk(state: &State, command: &Command) -> Result<Vec<Event>, Rejection> {
    let Command::RecordDisk { disk, identity, path, capacity_bytes, verdict, reasons, .. } = command else {
        return Ok(vec![]);
    };
    if state.disks.len() >= DISKS_MAX {
        return Err(Rejection::LimitReached { what: "disks".into(), limit: DISKS_MAX });
    }
    let reasons: Vec<VerdictReason> = reasons.iter().take(REASONS_MAX).cloned().collect();
    let latched = accuses_the_medium(*verdict, &reasons)
        .then(|| Event::DiskLatched { disk: disk.clone(), codes: medium_codes(&reasons) });
    let added = Event::DiskAdded {
        disk: disk.clone(),
        identity: identity.clone(),
        path: path.clone(),
        capacity_bytes: *capacity_bytes,
        verdict: *verdict,
        reasons,
    };
    Ok(std::iter::once(added).chain(latched).collect())
}

/// An operator takes it upon himself that the medium is good; its checks must pass by then.
pub(super) fn clear_disk(state: &State, disk: &DiskId, reason: &str) -> Result<Vec<Event>, Rejection> {
    check_reason(reason)?;
    let known = state.disks.get(disk).ok_or_else(|| Rejection::DiskNotFound(disk.clone()))?;
    let Some(latch) = &known.latched else {
        return Err(Rejection::DiskNotLatched { disk: disk.clone(), verdict: known.verdict.to_string() });
    };
    if latch.well_since.is_none() {
        let findings = known.reasons.iter().map(ToString::to_string).collect();
        return Err(Rejection::DiskStillFailing { disk: disk.clone(), findings });
    }
    Ok(vec![Event::DiskCleared { disk: disk.clone(), reason: reason.to_owned() }])
}
