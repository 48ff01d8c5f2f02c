//! Is a host heard of? Online, suspect, offline: DESIGN section 5 rules 5 and 6, section 7 "Hosts".
//!
//! Contact is what a renewal proves that counts: it was acknowledged after a round of the quorum, and the host has installed
//! what it needs. A session that is open, reports, and heartbeats that never count are no contact. Without contact a host
//! becomes suspect and, once the last lease that was acknowledged to it must have ended on both clocks, offline. Only
//! contact makes it online again. A closed session alone says nothing: the agent may be looking for the leader. And a
//! heartbeat that waits for the quorum proves nothing, but nobody is expired over it.

use crate::{HostObservation, Mono, Observations, Plan};
use quorate_domain::{Command, Evidence, GroupState, Host, HostStatus, LeaseSettings, State};
use std::collections::BTreeMap;

/// Says which hosts changed status.
pub fn plan(state: &State, observations: &Observations, now: Mono) -> Plan {
    let mut plan = Plan::default();
    let lease = &state.settings().lease;
    for host in state.hosts.values() {
        match observations.current(host) {
            // What it has not stopped it may stop yet, and who follows waits for that as for anybody's in contact.
            Some(seen)
                if seen.stopping && host.status == HostStatus::Online && withholds(lease, seen, now) =>
            {
                plan.wake(seen.last_contact.plus_ms(lease.suspect_after_ms()));
            }
            Some(seen) if seen.stopping => mark_stopped(&mut plan, host, observations),
            Some(seen) if in_contact(lease, seen, now) => {
                mark_online(&mut plan, host, seen, lease, observations, now);
            }
            _ => expire(&mut plan, host, lease, observations, now),
        }
    }
    plan
}

/// True while this start of the agent is in session and its renewals count.
pub(crate) fn in_contact(lease: &LeaseSettings, seen: &HostObservation, now: Mono) -> bool {
    #[cfg(planted)]
    if quorate_domain::planted::is(quorate_domain::planted::Bug::ContactWithoutRenewal) {
        return seen.connected && !seen.stopping;
    }
    !seen.stopping && is_heard(lease, seen, now)
}

/// The same of an agent that stops as well: it is given nothing more, and what it says still counts.
pub(crate) fn is_heard(lease: &LeaseSettings, seen: &HostObservation, now: Mono) -> bool {
    seen.connected && now.since_ms(seen.last_contact) < lease.suspect_after_ms()
}

/// True while a start of an agent is heard and says of a service that it is not known to have stopped.
fn withholds(lease: &LeaseSettings, seen: &HostObservation, now: Mono) -> bool {
    let mut words = seen.not_stopped.iter().flat_map(BTreeMap::values);
    is_heard(lease, seen, now) && words.any(|word| word.state == GroupState::StopFailed)
}

fn mark_stopped(plan: &mut Plan, host: &Host, observations: &Observations) {
    if host.status == HostStatus::Offline {
        return;
    }
    let evidence = vec![Evidence::new("agent_stopped", true, "", observations.source())];
    mark(plan, "liveness/stopped", host, HostStatus::Offline, "agent stopped".into(), evidence);
}

fn mark_online(
    plan: &mut Plan,
    host: &Host,
    seen: &HostObservation,
    lease: &LeaseSettings,
    observations: &Observations,
    now: Mono,
) {
    let suspect_after_ms = lease.suspect_after_ms();
    let fades_at = seen.last_contact.plus_ms(suspect_after_ms);
    if host.status == HostStatus::Online {
        return plan.wake(fades_at.max(observations.observe_until));
    }
    plan.wake(fades_at);
    let silent_ms = now.since_ms(seen.last_contact);
    let evidence = vec![silence(silent_ms, suspect_after_ms, observations)];
    mark(plan, "liveness/online", host, HostStatus::Online, "its heartbeats arrive".into(), evidence);
}

/// True while a heartbeat of a session waits that may yet turn out to be contact.
pub(crate) fn may_be_in_contact(lease: &LeaseSettings, seen: &HostObservation, now: Mono) -> bool {
    let waits = seen.waiting.is_some_and(|at| now.since_ms(at) < lease.suspect_after_ms());
    in_contact(lease, seen, now) || (seen.connected && !seen.stopping && waits)
}

/// Judges a host that is not in contact: it can only get worse, and never while the leader has to look first.
fn expire(plan: &mut Plan, host: &Host, lease: &LeaseSettings, observations: &Observations, now: Mono) {
    let silent_ms = now.since_ms(observations.last_contact(&host.id));
    let (heard, renewed) = (observations.may_be_heard(&host.id), observations.may_be_renewed(&host.id));
    let levels = [
        (HostStatus::Suspect, heard, lease.suspect_after_ms(), "liveness/suspect"),
        (HostStatus::Offline, renewed, lease.wait_ms, "liveness/offline"),
    ];
    let mut reached = None;
    for (status, since, after_ms, rule) in levels.into_iter().filter(|(status, ..)| *status > host.status) {
        let due = since.plus_ms(after_ms).max(observations.observe_until);
        if now < due {
            plan.wake(due);
        } else {
            reached = Some((status, after_ms, rule));
        }
    }
    if let Some((status, after_ms, rule)) = reached {
        let heard = observations.hosts.contains_key(&host.id);
        let reason = match (status, heard) {
            (_, false) => "not heard of since this leader leads",
            (HostStatus::Offline, _) => "no heartbeat for so long that its lease is over",
            _ if observations
                .hosts
                .get(&host.id)
                .is_some_and(|seen| seen.acknowledged > seen.last_contact) =>
            {
                "its heartbeats arrive and its renewals do not count: it has not installed its assignment"
            }
            _ => "its heartbeats do not arrive",
        };
        let evidence = vec![silence(silent_ms, after_ms, observations)];
        mark(plan, rule, host, status, reason.into(), evidence);
    }
}

/// How long ago a host was last heard of, held against a threshold.
pub(crate) fn silence(silent_ms: u64, threshold_ms: u64, observations: &Observations) -> Evidence {
    Evidence::new("last_contact_ms", silent_ms, threshold_ms, observations.source())
}

fn mark(
    plan: &mut Plan,
    rule: &'static str,
    host: &Host,
    status: HostStatus,
    reason: String,
    evidence: Vec<Evidence>,
) {
    let command =
        Command::MarkHost { host: host.id.clone(), incarnation: host.incarnation, status, reason, evidence };
    plan.propose(rule, command);
}
