//! What operators do to hosts and disks as such.

use super::{check_reason, find_host};
use crate::{
    event::Event,
    group::Group,
    host::HostStatus,
    ids::{DiskId, GroupId, HostId},
    rejection::Rejection,
    state::State,
};
use std::sync::Arc;

/// The most groups that a refusal names.
const NAMED_GROUPS_MAX: usize = 8;

pub(super) fn forget_host(state: &State, id: &HostId, reason: &str) -> Result<Vec<Event>, Rejection> {
    check_reason(reason)?;
    let host = find_host(state, id)?;
    if host.status != HostStatus::Offline {
        return Err(Rejection::HostNotOffline { host: id.clone(), status: host.status.to_string() });
    }
    // Who is primary of a group, or was last, is a member of it: whoever is none holds no epoch.
    let groups = state.groups_of(id);
    if let Some((groups, count)) = named(groups) {
        return Err(Rejection::HostIsMember { host: id.clone(), groups, count });
    }
    Ok(vec![Event::HostForgotten { host: id.clone(), reason: reason.to_owned() }])
}

/// What was granted to the agent before stays granted to that start alone: the next one is another, and fenced.
pub(super) fn reset_host(state: &State, id: &HostId, reason: &str) -> Result<Vec<Event>, Rejection> {
    check_reason(reason)?;
    let host = find_host(state, id)?;
    if host.status == HostStatus::Online {
        return Err(Rejection::HostNotOffline { host: id.clone(), status: host.status.to_string() });
    }
    if host.unbound {
        return Ok(vec![]);
    }
    Ok(vec![Event::HostReset { host: id.clone(), reason: reason.to_owned() }])
}

pub(super) fn cordon(state: &State, id: &HostId, reason: &str) -> Result<Vec<Event>, Rejection> {
    check_reason(reason)?;
    if find_host(state, id)?.cordoned.is_some() {
        return Ok(vec![]);
    }
    Ok(vec![Event::HostCordoned { host: id.clone(), reason: reason.to_owned() }])
}

pub(super) fn uncordon(state: &State, id: &HostId) -> Result<Vec<Event>, Rejection> {
    if find_host(state, id)?.cordoned.is_none() {
        return Ok(vec![]);
    }
    Ok(vec![Event::HostUncordoned { host: id.clone() }])
}

pub(super) fn forget_disk(state: &State, id: &DiskId, reason: &str) -> Result<Vec<Event>, Rejection> {
    check_reason(reason)?;
    if !state.disks.contains_key(id) {
        return Err(Rejection::DiskNotFound(id.clone()));
    }
    let on_disk = |group: &&Arc<Group>| group.members().any(|member| member.disk_id() == *id);
    if let Some((groups, count)) = named(state.groups_of(&id.host).filter(on_disk)) {
        return Err(Rejection::DiskIsMember { disk: id.clone(), groups, count });
    }
    Ok(vec![Event::DiskForgotten { disk: id.clone(), reason: reason.to_owned() }])
}

/// The first of these groups, and how many there are; none when there are none.
fn named<'a>(groups: impl Iterator<Item = &'a Arc<Group>>) -> Option<(Vec<GroupId>, usize)> {
    let (mut first, mut count) = (Vec::new(), 0);
    for group in groups {
        if count < NAMED_GROUPS_MAX {
            first.push(group.id.clone());
        }
        count += 1;
    }
    (count > 0).then_some((first, count))
}
