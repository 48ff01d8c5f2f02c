//! Decisions about the members of a group.

use super::{check_reason, find_group, group::resolve};
use crate::{
    command::MemberSpec,
    event::Event,
    group::{Group, MEMBERS_MAX, Phase},
    host::HostStatus,
    ids::{GroupId, HostId},
    rejection::Rejection,
    state::State,
};
use std::collections::BTreeSet;

pub(super) fn accept(
    state: &State,
    id: &GroupId,
    host: &HostId,
    reason: &str,
) -> Result<Vec<Event>, Rejection> {
    check_reason(reason)?;
    let group = changeable(state, id)?;
    let member =
        group.member(host).ok_or_else(|| Rejection::NotAMember { group: id.clone(), host: host.clone() })?;
    if !group.unaccepted.contains_key(host) {
        return Ok(vec![]);
    }
    let disk = state.disks.get(&member.disk_id()).ok_or_else(|| Rejection::DiskNotFound(member.disk_id()))?;
    let (identity, reason) = (disk.identity.clone(), reason.to_owned());
    Ok(vec![Event::MemberAccepted { group: id.clone(), host: host.clone(), identity, reason }])
}

pub(super) fn add(
    state: &State,
    id: &GroupId,
    spec: &MemberSpec,
    accepted: bool,
    reason: &str,
) -> Result<Vec<Event>, Rejection> {
    if accepted {
        check_reason(reason)?;
    }
    let group = changeable(state, id)?;
    if group.member(&spec.host).is_some() {
        return Err(Rejection::DuplicateMember { group: id.clone(), host: spec.host.clone() });
    }
    let count = group.backups.len() + 2;
    if count > MEMBERS_MAX {
        return Err(Rejection::TooManyMembers { group: id.clone(), count, limit: MEMBERS_MAX });
    }
    let member = resolve(state, spec)?;
    let reason = if accepted { reason.to_owned() } else { String::new() };
    Ok(vec![Event::MemberAdded { group: id.clone(), member, accepted, reason }])
}

pub(super) fn remove(
    state: &State,
    id: &GroupId,
    host: &HostId,
    reason: &str,
) -> Result<Vec<Event>, Rejection> {
    check_reason(reason)?;
    let group = changeable(state, id)?;
    if group.member(host).is_none() {
        return Err(Rejection::NotAMember { group: id.clone(), host: host.clone() });
    }
    // Also one that was revoked: it may still act, and is asked for its release.
    if group.primary.host == *host {
        return Err(Rejection::MemberIsPrimary { group: id.clone(), host: host.clone() });
    }
    // Of one that is gone for good nobody will ever hear that it stopped: that is the operator's word.
    let is_offline = state.hosts.get(host).is_none_or(|known| known.status == HostStatus::Offline);
    if let Some(epoch) = group.unstopped.get(host).filter(|_| !is_offline) {
        return Err(Rejection::MemberNotStopped { group: id.clone(), host: host.clone(), epoch: *epoch });
    }
    if let Phase::Revoked { operation, candidate: Some(candidate), .. } = &group.phase
        && candidate == host
    {
        return Err(Rejection::FailoverInProgress { group: id.clone(), operation: *operation });
    }
    let (group, host) = (id.clone(), host.clone());
    Ok(vec![Event::MemberRemoved { group, host, reason: reason.to_owned() }])
}

pub(super) fn reorder(state: &State, id: &GroupId, order: &[HostId]) -> Result<Vec<Event>, Rejection> {
    let group = changeable(state, id)?;
    let refuse = |problem: String| Err(Rejection::InvalidOrder { group: id.clone(), problem });
    let mut seen = BTreeSet::new();
    for host in order {
        if group.member(host).is_none() {
            return refuse(format!("{host} is not a member"));
        }
        if !seen.insert(host) {
            return refuse(format!("{host} is named twice"));
        }
    }
    if let Some(missing) = group.in_order().find(|member| !seen.contains(&member.host)) {
        return refuse(format!("{} is not named", missing.host));
    }
    if group.in_order().map(|member| &member.host).eq(order) {
        return Ok(vec![]);
    }
    Ok(vec![Event::MembersReordered { group: id.clone(), order: order.to_vec() }])
}

/// The group, unless it is going away.
fn changeable<'a>(state: &'a State, id: &GroupId) -> Result<&'a Group, Rejection> {
    let group = find_group(state, id)?;
    if matches!(group.phase, Phase::Deleting { .. }) {
        return Err(Rejection::GroupDeleting(id.clone()));
    }
    Ok(group)
}
