//! Hosts that are not heard of, that do not serve, or that come and go.

use super::{
    Code, Severity, Sight, Since, Subject,
    list::{Drafts, Words},
};
use crate::{Haste, HostObservation, Mono, liveness};
use quorate_domain::{Host, HostStatus, ServiceMode};

/// Two processes that take a host from each other come back within this time.
const TAKING_WINDOW_MS: u64 = 60_000;
/// So many times within it one comes back after another one.
const TAKEN_BACK: usize = 2;
/// Five changes of a host within ten minutes are flapping (DESIGN section 7).
const FLAPPING_WINDOW_MS: u64 = 600_000;
const FLAPPING: usize = 5;

pub(super) fn add<'a>(found: &mut Drafts<'a>, sight: Sight<'a>) {
    for host in sight.state.hosts.values() {
        let host: &Host = host;
        let observed = sight.seen.and_then(|seen| seen.hosts.get(&host.id));
        match host.status {
            HostStatus::Online => mode(found, sight, host),
            HostStatus::Suspect => {
                silent(
                    found,
                    sight,
                    host,
                    Code::HostSuspect,
                    "its renewals stay away, and its lease may be good yet",
                );
            }
            HostStatus::Offline => {
                silent(found, sight, host, Code::HostOffline, "its lease is over");
            }
        }
        if let Some(observed) = observed {
            flapping(found, sight, host, observed);
        }
        if let Some(observed) = sight.seen.and_then(|seen| seen.current(host)).filter(|seen| seen.connected) {
            state_folder(found, host, observed);
        }
    }
    held_back(found, sight);
}

/// An agent that has lost what it must know after a restart.
fn state_folder<'a>(found: &mut Drafts<'a>, host: &'a Host, observed: &'a HostObservation) {
    if observed.state_folder_problem.is_empty() {
        return;
    }
    let id = &host.id;
    let subject = Subject::Host(id.clone());
    found.add((Severity::Warning, Code::HostStateFolder), subject, None, move || {
        Words::new(
            format!("its agent's state folder is not as it was left: {}", observed.state_folder_problem),
            format!(
                "put the folder back as it was; or move its groups away (`quorate host cordon {id}`, `quorate group failover`), \
                 stop its agent, and start it on an empty state_dir once it is offline"
            ),
        )
    });
}

/// Agents that came more often than they were let in.
fn held_back<'a>(found: &mut Drafts<'a>, sight: Sight<'a>) {
    let Some(seen) = sight.seen else { return };
    for (haste, host, held) in seen.held_back.told(sight.now) {
        let (code, subject) = match host {
            Some(host) => (Code::HostHeldBack, Subject::Host(host.clone())),
            None => (Code::NewHostsHeldBack, Subject::Cluster),
        };
        let (times, since) = (held.times, sight.since_seen(held.since));
        found.add((Severity::Warning, code), subject, Some(since), move || {
            let remedy = match haste {
                Haste::Starts => "look why its agent is started again and again (its log, its unit), or who else says that it is this host",
                Haste::Refusals => "another agent asks for its name again and again: `quorate events` and the log of its own agent say where it is; stop that one",
                Haste::NewHosts => "none where many hosts are new: they are let in one after the other; otherwise look who may reach the coordinators' API",
            };
            Words::new(format!("{haste} come faster than they are taken: {times} were put off"), remedy)
        });
    }
}

fn silent<'a>(found: &mut Drafts<'a>, sight: Sight<'a>, host: &'a Host, code: Code, meaning: &'static str) {
    let since = Some(sight.since(host.last_transition.at));
    found.add((Severity::Warning, code), Subject::Host(host.id.clone()), since, move || {
        let groups = sight.state.groups_of(&host.id).filter(|group| group.primary.host == host.id && group.phase.grants());
        let holds = match groups.count() {
            0 => String::new(),
            count => format!("; it is still named primary of {count} groups"),
        };
        Words::new(
            format!("it is {} ({}): {meaning}{holds}", host.status, host.last_transition.reason),
            format!("start its agent, or look at its machine and its network to the coordinators; `quorate host show {}`", host.id),
        )
    });
}

/// A host in session whose lease is not good.
fn mode<'a>(found: &mut Drafts<'a>, sight: Sight<'a>, host: &'a Host) {
    let lease = &sight.state.settings().lease;
    let Some(observed) = sight.seen.and_then(|seen| seen.current(host)) else { return };
    let Some((mode, since)) = observed.mode.filter(|_| liveness::in_contact(lease, observed, sight.now))
    else {
        return;
    };
    let code = match mode {
        ServiceMode::Normal => return,
        ServiceMode::ReadOnly => Code::HostReadOnly,
        ServiceMode::Safe => Code::HostSafe,
    };
    let since = sight.since_seen(since);
    // Every session begins like that.
    if since.ms < lease.suspect_after_ms() {
        return;
    }
    found.add((Severity::Warning, code), Subject::Host(host.id.clone()), Some(since), move || {
        Words::new(
            format!("its agent says that it is {mode} although its renewals are acknowledged"),
            format!("`quorate agent status` on {} says why; look at its log and its state folder", host.id),
        )
    });
}

fn flapping<'a>(found: &mut Drafts<'a>, sight: Sight<'a>, host: &'a Host, observed: &'a HostObservation) {
    let within = |at: Mono, window_ms: u64| sight.now.since_ms(at) <= window_ms;
    let starts: Vec<_> = observed.starts.iter().filter(|(_, at)| within(*at, TAKING_WINDOW_MS)).collect();
    let came_back = |place: usize| starts.iter().take(place).any(|(start, _)| *start == starts[place].0);
    let taken_back = (0..starts.len()).filter(|place| came_back(*place)).count();
    let subject = || Subject::Host(host.id.clone());
    if taken_back >= TAKEN_BACK {
        let since = starts.first().map(|(_, at)| Since { at_least: true, ..sight.since_seen(*at) });
        return found.add((Severity::Critical, Code::HostIdentityFlapping), subject(), since, move || {
            Words::new(
                format!(
                    "two agents call themselves {} and take it from each other: {taken_back} times in the last minute",
                    host.id
                ),
                "stop one of them, and give it a host.id and an empty state_dir of its own",
            )
        });
    }
    // The first start that this leader met did not come after another.
    let restarts = observed.starts.iter().skip(1).map(|(_, at)| *at);
    let turns: Vec<_> = restarts
        .chain(observed.changes.iter().copied())
        .filter(|at| within(*at, FLAPPING_WINDOW_MS))
        .collect();
    if turns.len() >= FLAPPING {
        let since = turns.iter().min().map(|at| Since { at_least: true, ..sight.since_seen(*at) });
        let count = turns.len();
        found.add((Severity::Warning, Code::HostFlapping), subject(), since, move || {
            Words::new(
                format!("it comes and goes: {count} restarts and changes of status in the last ten minutes"),
                format!("look at its machine, its network and the log of its agent; `quorate events` tells when, {}", host.id),
            )
        });
    }
}
