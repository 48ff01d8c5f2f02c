//! I16: failover never picks a stale, failed or rebuilding copy.
//!
//! Every member of a group counts as in sync until the data itself joins; what can be unfit is the host or the disk.

use super::{Fact, Invariant, events};
use crate::time::Moment;
use quorate_domain::{Event, GroupId, HostId, HostStatus, State, Verdict};

#[derive(Debug)]
pub(super) struct FitCandidates;

impl Invariant for FitCandidates {
    fn name(&self) -> &'static str {
        "I16 failover never picks an unfit copy"
    }

    fn see(&mut self, fact: &Fact<'_>, _now: Moment) -> Result<(), String> {
        let Fact::Decided { before, applied, .. } = fact else { return Ok(()) };
        events(applied).iter().try_for_each(|event| match event {
            Event::CandidateChosen { group, candidate, .. } => check(before, group, candidate),
            Event::PrimarySwitched { group, to, .. } => check(before, group, to),
            _ => Ok(()),
        })
    }
}

fn check(state: &State, group: &GroupId, host: &HostId) -> Result<(), String> {
    let unfit = |why: String| Err(format!("{host} was picked for {group}: {why}"));
    let Some(member) = state.groups.get(group).and_then(|group| group.member(host)) else {
        return unfit("it is no member".into());
    };
    match state.hosts.get(host).map(|host| host.status) {
        Some(HostStatus::Online) => {}
        status => return unfit(format!("its host is {status:?}")),
    }
    match state.disks.get(&member.disk_id()).map(|disk| disk.verdict) {
        Some(Verdict::Failed) | None => return unfit("its disk has failed or is not known".into()),
        Some(_) => {}
    }
    if state.disks.get(&member.disk_id()).is_some_and(|disk| disk.awaits_report) {
        return unfit("its disk was not read since its agent started".into());
    }
    match state.groups.get(group).and_then(|group| group.unaccepted.get(host)) {
        Some(missed) => unfit(format!("its disk was replaced: {missed} held the copy")),
        None => Ok(()),
    }
}
