//! Decisions about groups as such.

use super::{Context, find_group, find_host};
use crate::{
    command::{Command, MemberSpec},
    eligibility::{Ineligible, fitness},
    event::Event,
    group::{GROUPS_MAX, LABEL_VALUE_MAX_BYTES, LABELS_MAX, MEMBERS_MAX, Member, Phase},
    ids::{Epoch, GroupId, NAME_MAX_BYTES},
    rejection::Rejection,
    state::State,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) fn create(
    state: &State,
    context: &Context<'_>,
    command: &Command,
) -> Result<Vec<Event>, Rejection> {
    let Command::CreateGroup { group, primary, backups, labels } = command else { return Ok(vec![]) };
    if state.groups.contains_key(group) {
        return Err(Rejection::GroupExists(group.clone()));
    }
    if state.groups.len() >= GROUPS_MAX {
        return Err(Rejection::LimitReached { what: "groups".into(), limit: GROUPS_MAX });
    }
    if backups.len() >= MEMBERS_MAX {
        return Err(Rejection::TooManyMembers {
            group: group.clone(),
            count: backups.len() + 1,
            limit: MEMBERS_MAX,
        });
    }
    check_labels(group, labels)?;
    check_label_count(group, labels.len())?;
    let mut seen = BTreeSet::new();
    for spec in std::iter::once(primary).chain(backups) {
        if !seen.insert(&spec.host) {
            return Err(Rejection::DuplicateMember { group: group.clone(), host: spec.host.clone() });
        }
    }
    let primary = resolve(state, primary)?;
    let backups = backups.iter().map(|spec| resolve(state, spec)).collect::<Result<Vec<_>, _>>()?;
    fitness(state, &primary).map_err(|reason| Rejection::NotEligible {
        group: group.clone(),
        host: primary.host.clone(),
        reason: Box::new(reason),
    })?;
    let host = find_host(state, &primary.host)?;
    if let Some(cordon) = &host.cordoned {
        let (group, reason) = (group.clone(), Ineligible::cordoned(&host.id, cordon));
        return Err(Rejection::NotEligible { group, host: host.id.clone(), reason: Box::new(reason) });
    }
    let granted_to = host.incarnation;
    Ok(vec![Event::GroupCreated {
        group: group.clone(),
        primary,
        granted_to,
        backups,
        // Epochs rise by one with a switch and revisions by at least one, so a group that is created again under an
        // old name begins above every epoch that the name ever had.
        epoch: Epoch(context.revision.0),
        labels: labels
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
    }])
}

pub(super) fn set_labels(
    state: &State,
    id: &GroupId,
    labels: &Arc<BTreeMap<String, String>>,
) -> Result<Vec<Event>, Rejection> {
    let group = find_group(state, id)?;
    if matches!(group.phase, Phase::Deleting { .. }) {
        return Err(Rejection::GroupDeleting(id.clone()));
    }
    check_labels(id, labels)?;
    let (mut added, mut removed, mut changed) = (0, 0, false);
    for (key, value) in labels.as_ref() {
        match group.labels.get(key) {
            None if !value.is_empty() => added += 1,
            Some(_) if value.is_empty() => removed += 1,
            known => changed |= known.is_some_and(|known| known != value),
        }
    }
    check_label_count(id, group.labels.len() + added - removed)?;
    if !changed && added + removed == 0 {
        return Ok(vec![]);
    }
    Ok(vec![Event::GroupLabelsChanged { group: id.clone(), labels: Arc::clone(labels) }])
}

/// Sets labels; an empty value removes one.
pub(crate) fn merge_labels(into: &mut BTreeMap<String, String>, labels: &BTreeMap<String, String>) {
    for (key, value) in labels {
        if value.is_empty() {
            into.remove(key);
        } else {
            into.insert(key.clone(), value.clone());
        }
    }
}

fn check_label_count(group: &GroupId, count: usize) -> Result<(), Rejection> {
    if count > LABELS_MAX {
        let problem = format!("{count} labels, the most are {LABELS_MAX}");
        return Err(Rejection::InvalidLabels { group: group.clone(), problem });
    }
    Ok(())
}

/// Checks keys and values.
fn check_labels(group: &GroupId, labels: &BTreeMap<String, String>) -> Result<(), Rejection> {
    let refuse = |problem: String| Err(Rejection::InvalidLabels { group: group.clone(), problem });
    for (key, value) in labels {
        if key.is_empty() || key.len() > NAME_MAX_BYTES {
            return refuse(format!("key {key:?} must have 1 to {NAME_MAX_BYTES} bytes"));
        }
        if value.len() > LABEL_VALUE_MAX_BYTES {
            return refuse(format!(
                "the value of {key:?} has {} bytes, the most are {LABEL_VALUE_MAX_BYTES}",
                value.len()
            ));
        }
    }
    Ok(())
}

/// The member that is meant: a host without a named disk means its only one.
pub(super) fn resolve(state: &State, spec: &MemberSpec) -> Result<Member, Rejection> {
    find_host(state, &spec.host)?;
    if let Some(disk) = &spec.disk {
        let member = Member { host: spec.host.clone(), disk: disk.clone() };
        if !state.disks.contains_key(&member.disk_id()) {
            return Err(Rejection::DiskNotFound(member.disk_id()));
        }
        return Ok(member);
    }
    let disks: Vec<_> = state.disks_of(&spec.host).collect();
    match disks.as_slice() {
        [only] => Ok(Member { host: spec.host.clone(), disk: only.id.name.clone() }),
        _ => Err(Rejection::DiskAmbiguous { host: spec.host.clone(), count: disks.len() }),
    }
}
