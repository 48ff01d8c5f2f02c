//! What there is room for few more of.

use super::{
    Code, Severity, Sight, Subject,
    list::{Drafts, Words},
};
use quorate_domain::{disk::DISKS_MAX, group::GROUPS_MAX, host::HOSTS_MAX, request::REQUESTS_MAX};

/// The part of a limit from which on it is worth a word.
const NEAR_PERCENT: usize = 80;

pub(super) fn add(found: &mut Drafts<'_>, sight: Sight<'_>) {
    let state = sight.state;
    let all = [
        ("hosts", state.hosts.len(), HOSTS_MAX),
        ("disks", state.disks.len(), DISKS_MAX),
        ("groups", state.groups.len(), GROUPS_MAX),
    ];
    for (what, count, limit) in all {
        if count * 100 < limit * NEAR_PERCENT {
            continue;
        }
        found.add((Severity::Warning, Code::LimitNear), Subject::Cluster, None, move || {
            Words::new(
                format!("there are {count} {what}, and the limit is {limit}: beyond it new ones are refused"),
                format!("remove {what} that are not needed, or form another cluster for more"),
            )
        });
    }
    let requests = state.requests.at_most();
    if requests * 100 >= REQUESTS_MAX * NEAR_PERCENT {
        found.add((Severity::Note, Code::LimitNear), Subject::Cluster, None, move || {
            Words::new(
                format!("about {requests} requests are remembered, and at most {REQUESTS_MAX}: then the oldest are forgotten"),
                "none while clients repeat a request within minutes: a request that was forgotten would be done again",
            )
        });
    }
}
