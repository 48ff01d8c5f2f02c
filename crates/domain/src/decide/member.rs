//! Decisions about the members of a group.

use super::{check_reason, find_group};
use crate::{
    event::Event,
    group::{Group, Phase},
    ids::{GroupId, HostId},
    rejection::Rejection,
    state::State,
};

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

/// The group, unless it is going away.
fn changeable<'a>(state: &'a State, id: &GroupId) -> Result<&'a Group, Rejection> {
    let group = find_group(state, id)?;
    if matches!(group.phase, Phase::Deleting { .. }) {
        return Err(Rejection::GroupDeleting(id.clone()));
    }
    Ok(group)
}
