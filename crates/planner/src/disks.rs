//! What do the agents say of their disks? Only what differs from the agreed state becomes a command.

use crate::{DiskObservation, HostObservation, Mono, Observations, Plan};
use quorate_domain::{
    Command, Disk, DiskId, DiskIdentity, DiskReport, FaultClass, Host, State, Verdict, VerdictReason,
    disk::DISKS_MAX,
};

/// The finding about a disk that its agent no longer names.
const NOT_REPORTED: &str = "not_reported";

/// Says which disks changed.
pub fn plan(state: &State, observations: &Observations, _now: Mono) -> Plan {
    let mut plan = Plan::default();
    let mut room = DISKS_MAX.saturating_sub(state.disks.len());
    for host in state.hosts.values() {
        let Some(seen) = observations.current(host) else { continue };
        for (name, report) in &seen.disks {
            let id = DiskId { host: host.id.clone(), name: name.clone() };
            let known = state.disks.get(&id);
            if known.is_none() && room == 0 {
                continue;
            }
            if known.is_none_or(|known| says_more(known, report)) {
                room -= usize::from(known.is_none());
                plan.propose("disks/reported", record(host, id, report));
            }
        }
        if seen.disks_complete {
            miss(&mut plan, state, host, seen);
        }
    }
    plan
}

/// True when a report would change what is agreed.
fn says_more(known: &Disk, report: &DiskObservation) -> bool {
    let DiskObservation { identity, path, capacity_bytes, verdict, reasons, .. } = report;
    let report = DiskReport { identity, path, capacity_bytes: *capacity_bytes, verdict: *verdict, reasons };
    known.judge(&report).is_news()
}

fn record(host: &Host, disk: DiskId, report: &DiskObservation) -> Command {
    Command::RecordDisk {
        disk,
        incarnation: host.incarnation,
        identity: report.identity.clone(),
        path: report.path.clone(),
        capacity_bytes: report.capacity_bytes,
        verdict: report.verdict,
        reasons: report.reasons.clone(),
    }
}

/// A disk that a complete report leaves out is not known to be bad: nobody can say what it is.
fn miss(plan: &mut Plan, state: &State, host: &Host, seen: &HostObservation) {
    for disk in state.disks_of(&host.id).filter(|disk| !seen.disks.contains_key(&disk.id.name)) {
        let reasons = vec![VerdictReason {
            code: NOT_REPORTED.into(),
            attribute: String::new(),
            observed: "its agent does not name it any more".into(),
            threshold: String::new(),
            source: "report".into(),
            // The host's clock said nothing of it; the state's time is near enough.
            at: state.now(),
            class: FaultClass::Environment,
        }];
        let lost = DiskObservation {
            identity: DiskIdentity(String::new()),
            path: disk.path.clone(),
            capacity_bytes: 0,
            free_bytes: 0,
            verdict: Verdict::Unknown,
            reasons,
            checked_at: state.now(),
        };
        if says_more(disk, &lost) {
            plan.propose("disks/not-reported", record(host, disk.id.clone(), &lost));
        }
    }
}
