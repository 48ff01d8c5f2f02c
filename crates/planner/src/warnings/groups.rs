//! Is every group served, and could somebody follow?

use super::{
    Code, Severity, Sight, Since, Subject,
    list::{Drafts, Words, seconds},
};
use crate::{FailedStart, GroupObservation, HostObservation, liveness, observations};
use quorate_domain::{
    Failover, Group, GroupId, GroupState, Host, HostId, OperationId, Phase, StepName,
    eligibility::{Ineligible, eligibility, eligible_backups},
};
use std::collections::BTreeMap;

/// A deletion that takes longer than so many times D needs somebody's eye.
const DELETION_WAITS: u64 = 2;

pub(super) fn add<'a>(found: &mut Drafts<'a>, sight: Sight<'a>) {
    for group in sight.state.groups.values() {
        let group: &Group = group;
        match &group.phase {
            Phase::Starting { operation } => starting(found, sight, group, *operation),
            Phase::Active => active(found, sight, group),
            Phase::Revoked { operation, .. } => revoked(found, sight, group, *operation),
            Phase::Deleting { .. } => deleting(found, sight, group),
        }
        if group.phase.grants() {
            succession(found, sight, group);
        }
        unstopped(found, sight, group);
    }
    demotions(found, sight);
}

/// Hosts that were primary and of which nobody knows whether they have stopped; those that say it themselves are told by
/// what they say.
fn unstopped<'a>(found: &mut Drafts<'a>, sight: Sight<'a>, group: &'a Group) {
    for (host, epoch) in &group.unstopped {
        let observed = sight.state.hosts.get(host).and_then(|host| heard(sight, host));
        let says = observed.and_then(|observed| observed.not_stopped.as_ref());
        if says.is_some_and(|words| words.contains_key(&group.id)) {
            continue;
        }
        let severity = (Severity::Warning, Code::DemotionNotDone);
        found.add(severity, Subject::Group(group.id.clone()), None, move || {
            Words::new(
                format!("the service of epoch {epoch} on {host} is not known to have stopped, so {host} is not promoted"),
                format!("bring {host} back, or make sure that it does not run: its agent stops the service and says so"),
            )
        });
    }
}

/// Services that hosts in contact, also such whose agents stop, are stopping, or fail to stop.
fn demotions<'a>(found: &mut Drafts<'a>, sight: Sight<'a>) {
    let Some(seen) = sight.seen else { return };
    for id in seen.hosts.keys() {
        let Some(host) = sight.state.hosts.get(id) else { continue };
        let Some(observed) = heard(sight, host) else { continue };
        for (group, word) in observed.not_stopped.iter().flat_map(BTreeMap::iter) {
            let code = match word.state {
                GroupState::Stopping => Code::WaitingForDemotion,
                GroupState::StopFailed => Code::DemotionNotDone,
                GroupState::Installed | GroupState::Acting | GroupState::Ended | GroupState::StartFailed => {
                    continue;
                }
            };
            let severity = if code == Code::DemotionNotDone { Severity::Warning } else { Severity::Note };
            let since = seen.revoked_since.get(&(group.clone(), word.epoch)).map(|at| sight.since_seen(*at));
            found.add((severity, code), Subject::Group(group.clone()), since, move || {
                let words = demotion(host, group, word, since);
                if observed.stopping && word.state == GroupState::StopFailed {
                    stopping(host, words)
                } else {
                    words
                }
            });
        }
    }
}

/// What was heard of a host that is in contact with this leader, or would be if its agent did not stop.
fn heard<'a>(sight: Sight<'a>, host: &Host) -> Option<&'a HostObservation> {
    let lease = &sight.state.settings().lease;
    sight.seen?.current(host).filter(|observed| liveness::is_heard(lease, observed, sight.now))
}

/// The agent that says so is on its way out, and nobody waits for its word for ever.
fn stopping(host: &Host, mut words: Words) -> Words {
    let id = &host.id;
    words.text.push_str("; its agent is stopping");
    words.remedy = format!(
        "{}; once the agent of {id} has gone another host is promoted after D, whatever runs on {id}: start it again before, or make \
         sure that the service does not run",
        words.remedy
    );
    words
}

fn demotion(host: &Host, group: &GroupId, word: &GroupObservation, since: Option<Since>) -> Words {
    let (id, epoch) = (&host.id, word.epoch);
    if host.hook_times.demotion_ms == 0 {
        return without_hooks(id, group, word);
    }
    let at_most = seconds(host.hook_times.demotion_ms);
    if word.state == GroupState::Stopping {
        let lasts = since.map(|since| format!("{} of ", seconds(since.ms))).unwrap_or_default();
        return Words::new(
            format!("waiting for the demote hook of {id}, epoch {epoch}: {lasts}at most {at_most}"),
            "none yet: nobody else is promoted before it has ended",
        );
    }
    Words::new(
        format!("{id} could not stop the service of epoch {epoch}, and tries again: {}", word.reason),
        format!("mend what the demote hook trips over on {id}; nobody else is promoted while it says so"),
    )
}

/// The service of a host without hooks ends by itself, or a guard ends it, which says so; or the host had hooks before.
fn without_hooks(id: &HostId, group: &GroupId, word: &GroupObservation) -> Words {
    let epoch = word.epoch;
    if word.state == GroupState::Stopping {
        return Words::new(
            format!("waiting for the service of epoch {epoch} on {id} to end with what it was told"),
            "none yet: nobody else is promoted before it has ended",
        );
    }
    Words::new(
        format!("the service of epoch {epoch} on {id} is not known to have stopped: {}", word.reason),
        format!(
            "on {id}, let the guard and its keeper go on if they stand still, or start `quorate guard {group}` again, which ends \
             what is left and says so; if hooks started it, give the agent its hooks back; nobody else is promoted before"
        ),
    )
}

fn not_served<'a>(
    found: &mut Drafts<'a>,
    severity: Severity,
    group: &Group,
    since: Option<Since>,
    words: impl Fn() -> Words + 'a,
) {
    found.add((severity, Code::GroupNotServed), Subject::Group(group.id.clone()), since, words);
}

/// Since when nobody acts for a group that is not active.
fn unserved(sight: Sight<'_>, group: &Group) -> Since {
    let noted = sight.seen.and_then(|seen| seen.unserved_since.get(&group.id).copied());
    sight.since(noted.unwrap_or_else(|| observations::unserved_since(sight.state, group)))
}

fn starting<'a>(found: &mut Drafts<'a>, sight: Sight<'a>, group: &'a Group, operation: Option<OperationId>) {
    not_served(found, Severity::Critical, group, Some(unserved(sight, group)), move || {
        let (primary, epoch) = (&group.primary, group.epoch);
        let named =
            format!("nobody acts: {primary} was named primary under epoch {epoch} and does not act yet");
        let parts = [Some(named), how_far(sight, group), failures(sight, group, operation)];
        let text = joined(parts);
        let host = &primary.host;
        let what = if has_promote_hook(sight, host) {
            "promote hook".to_owned()
        } else {
            format!("log of `quorate guard {}`", group.id)
        };
        Words::new(
            text,
            format!(
                "look at the {what} and the log of the agent on {host} (`quorate agent status` there); \
                 `quorate group failover {} --to HOST` takes another host",
                group.id
            ),
        )
    });
}

/// Without one a guard starts the service, or it starts by itself.
fn has_promote_hook(sight: Sight<'_>, host: &HostId) -> bool {
    sight.state.hosts.get(host).is_some_and(|host| host.hook_times.promotion_ms > 0)
}

/// What to do about hosts that could not start the service.
fn mend_starts<'a>(sight: Sight<'_>, group: &GroupId, tried: impl Iterator<Item = &'a HostId>) -> String {
    let (hooked, bare): (Vec<_>, Vec<_>) = tried.partition(|host| has_promote_hook(sight, host));
    let list = |hosts: &[&HostId]| hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let hooks =
        (!hooked.is_empty()).then(|| format!("mend what the promote hook trips over on {}", list(&hooked)));
    let guards = (!bare.is_empty()).then(|| {
        format!(
            "look why the service does not run on {}, by the log of `quorate guard {group}` there, and start that where it is not",
            list(&bare)
        )
    });
    joined([hooks, guards, Some("starts are tried again by themselves, every 30 s at last".to_owned())])
}

/// True while the group's last primary keeps everybody else back: its service is not known to have stopped.
fn withheld(sight: Sight<'_>, group: &Group) -> bool {
    let told =
        primary_host(sight, group).and_then(|host| heard(sight, host)?.not_stopped.as_ref()?.get(&group.id));
    told.is_some_and(|told| told.epoch == group.epoch && told.state == GroupState::StopFailed)
}

/// What the agent of the named primary says of its start; none where only the leader would know.
fn how_far(sight: Sight<'_>, group: &Group) -> Option<String> {
    let (seen, host) = (sight.seen?, primary_host(sight, group)?);
    let id = &host.id;
    let Some(observed) = seen.current(host) else {
        return Some(format!("{id} is not in session with this leader"));
    };
    if !liveness::is_heard(&sight.state.settings().lease, observed, sight.now) {
        return Some(silence(sight, host, observed));
    }
    Some(match observed.groups.get(&group.id).filter(|told| told.epoch == group.epoch) {
        Some(told) if told.state == GroupState::Installed => {
            let what = if host.hook_times.promotion_ms == 0 {
                "its service was not started"
            } else {
                "its promote hook has not ended"
            };
            format!("{id} has its assignment, and {what}")
        }
        Some(told) if told.state == GroupState::Acting => format!("{id} says that it acts"),
        Some(told) => format!("{id} says: {}", told.reason),
        None => {
            format!("{id} has not begun: its agent may wait for its disk, or for the end of an earlier epoch")
        }
    })
}

fn silence(sight: Sight<'_>, host: &Host, observed: &HostObservation) -> String {
    let silent = seconds(sight.now.since_ms(observed.last_contact));
    format!("no renewal of {} has counted for {silent}", host.id)
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn primary_host<'a>(sight: Sight<'a>, group: &Group) -> Option<&'a Host> {
    sight.state.hosts.get(&group.primary.host).map(AsRef::as_ref)
}

fn failover(sight: Sight<'_>, operation: Option<OperationId>) -> Option<&Failover> {
    sight.state.operations.get(&operation?)?.failover()
}

/// The starts that failed so far, with the last words of the last one as far as they are known here.
fn failures(sight: Sight<'_>, group: &Group, operation: Option<OperationId>) -> Option<String> {
    let attempts = failover(sight, operation).map_or(0, Failover::failed_attempts);
    let noted = sight.seen.and_then(|seen| seen.failed_starts.get(&group.id));
    let last =
        noted.map(|FailedStart { host, epoch, reason }| format!("{host} under epoch {epoch}: {reason}"));
    // What is on record stands there until the next candidate is chosen.
    let on_record = || {
        let steps = &sight.state.operations.get(&operation?)?.steps;
        let note = &steps.iter().find(|step| step.name == StepName::EnsureConsistency)?.note;
        note.contains("could not start").then(|| note.clone())
    };
    Some(match (attempts, last.or_else(on_record)) {
        (0, None) => return None,
        (0, Some(last)) => format!("the last start failed: {last}"),
        (1, Some(last)) => format!("1 start has failed: {last}"),
        (count, Some(last)) => format!("{count} starts have failed, the last: {last}"),
        (count, None) => format!("{count} starts have failed"),
    })
}

fn revoked<'a>(found: &mut Drafts<'a>, sight: Sight<'a>, group: &'a Group, operation: OperationId) {
    not_served(found, Severity::Critical, group, Some(unserved(sight, group)), move || {
        let Phase::Revoked { released, candidate, .. } = &group.phase else { return Words::new("", "") };
        let failover = failover(sight, Some(operation));
        let why = failover.map_or_else(String::new, |failover| format!(" ({})", failover.reason));
        let taken = format!("nobody is primary: it was taken from {}{why}", group.primary);
        let failed = failures(sight, group, Some(operation));
        let id = &group.id;
        if let Some(blocked) = &group.blocked {
            let blocked = format!("nobody can be promoted: {}", blocked.reasons.join("; "));
            // One that has not said that it has stopped keeps all others back.
            let remedy = if *released || !withheld(sight, group) {
                "bring one of these hosts or disks back; it is promoted by itself then"
            } else {
                "do what DEMOTION_NOT_DONE says of this group; the next host is promoted by itself then"
            };
            return Words::new(joined([Some(taken), failed, Some(blocked)]), remedy);
        }
        let wait_ms = sight.state.settings().lease.wait_for_ms(group.demotion_ms);
        let waits = match (released, candidate) {
            (false, _) => {
                let host = &group.primary.host;
                Some(format!(
                    "waiting for {host} to release it, at most {} once it is not heard of",
                    seconds(wait_ms)
                ))
            }
            (true, Some(next)) => Some(format!("{next} is to follow")),
            (true, None) => None,
        };
        let text = joined([Some(taken), failed, waits]);
        let failed = failover.map_or(0, Failover::failed_attempts);
        let remedy = if failed > 0 {
            mend_starts(sight, id, failover.into_iter().flat_map(|failover| failover.attempts.keys()))
        } else {
            format!(
                "none yet: a failover is under way (`quorate op show {operation}`, `quorate group show {id}`)"
            )
        };
        Words::new(text, remedy)
    });
}

fn deleting<'a>(found: &mut Drafts<'a>, sight: Sight<'a>, group: &'a Group) {
    let Some(seen) = sight.seen else { return };
    let Some(revoked) = seen.revoked_since.get(&(group.id.clone(), group.epoch)) else { return };
    let since = sight.since_seen(*revoked);
    if since.ms > DELETION_WAITS * sight.state.settings().lease.wait_ms {
        let severity = (Severity::Warning, Code::GroupNotDeleted);
        found.add(severity, Subject::Group(group.id.clone()), Some(since), move || {
            Words::new(
                format!("its deletion does not end: {} may still act for it", group.primary),
                format!("look at the agent on {}", group.primary.host),
            )
        });
    }
}

/// How sure it is that an active group is served.
enum Served {
    Yes,
    /// Not by what is known at this moment.
    InDoubt(Doubt),
    No(Doubt),
}

enum Doubt {
    /// The agent was started anew, and may not act under the epoch.
    Restarted,
    /// This leader is new, or was stalled, and has not heard of the host yet.
    NotHeard,
    /// Its renewals stay away.
    Silent,
    /// It has not reported in its session yet.
    NoReport,
    /// It says something else.
    Otherwise,
}

fn served(sight: Sight<'_>, group: &Group) -> Option<Served> {
    let seen = sight.seen?;
    let Some(host) = primary_host(sight, group) else { return Some(Served::No(Doubt::NotHeard)) };
    if host.incarnation != group.granted_to {
        return Some(Served::No(Doubt::Restarted));
    }
    let lease = &sight.state.settings().lease;
    let Some(observed) = seen.current(host) else {
        let looks = sight.now < seen.observe_until;
        return Some(if looks { Served::InDoubt(Doubt::NotHeard) } else { Served::No(Doubt::NotHeard) });
    };
    if !liveness::is_heard(lease, observed, sight.now) {
        // As long as a lease may be good it may act.
        let over = sight.now.since_ms(seen.may_be_renewed(&host.id)) >= lease.wait_ms || observed.stopping;
        return Some(if over { Served::No(Doubt::Silent) } else { Served::InDoubt(Doubt::Silent) });
    }
    Some(match observed.groups.get(&group.id).filter(|told| told.epoch == group.epoch) {
        Some(told) if told.state == GroupState::Acting => Served::Yes,
        None if observed.not_stopped.is_none() => Served::InDoubt(Doubt::NoReport),
        Some(_) | None => Served::No(Doubt::Otherwise),
    })
}

fn active<'a>(found: &mut Drafts<'a>, sight: Sight<'a>, group: &'a Group) {
    let (severity, doubt) = match served(sight, group) {
        None | Some(Served::Yes) => return,
        Some(Served::InDoubt(doubt)) => (Severity::Warning, doubt),
        Some(Served::No(doubt)) => (Severity::Critical, doubt),
    };
    let host = &group.primary.host;
    let since = match doubt {
        Doubt::Silent => sight.seen.map(|seen| sight.since_seen(seen.last_contact(host))),
        Doubt::NotHeard => {
            sight.seen.map(|seen| Since { at_least: true, ..sight.since_seen(seen.led_since) })
        }
        Doubt::Restarted | Doubt::NoReport | Doubt::Otherwise => None,
    };
    not_served(found, severity, group, since, move || {
        let says = match doubt {
            Doubt::Restarted => {
                format!("the agent of {host} was started anew and may not act under epoch {}", group.epoch)
            }
            Doubt::NotHeard => format!("{host} has not come to this leader yet"),
            Doubt::Silent | Doubt::Otherwise => how_far(sight, group).unwrap_or_default(),
            Doubt::NoReport => format!("{host} has not reported to this leader yet"),
        };
        let remedy = match doubt {
            Doubt::Restarted | Doubt::NoReport => {
                "none yet: this passes by itself within a moment".to_owned()
            }
            Doubt::NotHeard | Doubt::Silent => format!(
                "look at {host}, its agent and its network to the coordinators; once its lease must be over another host \
                 is promoted, if one is fit"
            ),
            Doubt::Otherwise => {
                format!("look at the log of the agent on {host} (`quorate agent status` there)")
            }
        };
        let certain = if severity == Severity::Critical {
            "nobody is known to act"
        } else {
            "it is not certain that it is served"
        };
        Words::new(format!("{certain}: {says}"), remedy)
    });
}

/// Whether somebody could follow the present primary.
fn succession<'a>(found: &mut Drafts<'a>, sight: Sight<'a>, group: &'a Group) {
    let subject = || Subject::Group(group.id.clone());
    if let Some(blocked) = &group.blocked {
        let since = Some(sight.since(blocked.since));
        return found.add((Severity::Warning, Code::FailoverBlocked), subject(), since, move || {
            Words::new(
                format!("it should fail over and cannot: {}", blocked.reasons.join("; ")),
                "bring one of these hosts or disks back, or add another backup",
            )
        });
    }
    if group.backups.is_empty() {
        return found.add((Severity::Note, Code::NoEligibleBackup), subject(), None, move || {
            Words::new(
                format!("it has no backup: nobody follows {} when it fails", group.primary),
                "give it a backup on another host",
            )
        });
    }
    if group.backups.iter().all(|member| eligibility(sight.state, group, member).is_err()) {
        found.add((Severity::Warning, Code::NoEligibleBackup), subject(), None, move || {
            let (_, unfit) = eligible_backups(sight.state, group);
            Words::new(
                format!("nobody could follow {}: {}", group.primary, unfit.join("; ")),
                "bring one of these hosts or disks back",
            )
        });
    } else if !group.unaccepted.is_empty() {
        not_accepted(found, sight, group);
    }
}

/// Another medium sits in the place of a backup's disk, or it never had the copy: somebody else could follow, and it could
/// not.
fn not_accepted<'a>(found: &mut Drafts<'a>, sight: Sight<'a>, group: &'a Group) {
    for member in &group.backups {
        if !matches!(eligibility(sight.state, group, member), Err(Ineligible::NotAccepted { .. })) {
            continue;
        }
        let severity = if is_served(sight, group) { Severity::Note } else { Severity::Warning };
        let subject = Subject::Group(group.id.clone());
        found.add((severity, Code::MemberNotAccepted), subject, None, move || {
            Words::new(
                format!("{member} is not promoted: its medium is not known to hold a copy of the group"),
                format!(
                    "put the one back that held it, or, once a copy is on it, `quorate group member accept {} {} --reason TEXT`",
                    group.id, member.host
                ),
            )
        });
    }
}

/// True where nobody says otherwise: a coordinator that does not lead cannot know.
pub(super) fn is_served(sight: Sight<'_>, group: &Group) -> bool {
    group.phase == Phase::Active && matches!(served(sight, group), None | Some(Served::Yes))
}
