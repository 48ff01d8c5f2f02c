//! Folds what happens to the members of groups into the state.

use super::{change_group, change_host, reassign};
use crate::{apply::Committed, disk::DiskIdentity, event::Event, ids::GroupId, state::State};

pub(super) fn member(state: &mut State, committed: &Committed, event: &Event) {
    match event {
        Event::MemberAccepted { group, host, .. } => change_group(state, committed, group, |record| {
            record.unaccepted.remove(host);
        }),
        Event::MemberAdded { group, member, accepted, .. } => {
            unindex(state, group);
            reassign(state, committed, group, |record| {
                record.backups.push(member.clone());
                if !accepted {
                    // No medium ever held its copy.
                    record.unaccepted.insert(member.host.clone(), DiskIdentity(String::new()));
                }
            });
            index(state, group);
        }
        Event::MemberRemoved { group, host, .. } => {
            unindex(state, group);
            reassign(state, committed, group, |record| record.remove_backup(host));
            index(state, group);
            change_host(state, host, |record| record.assignment_revision = committed.revision);
        }
        Event::MembersReordered { group, order } => {
            change_group(state, committed, group, |record| record.reorder(order));
        }
        _ => {}
    }
}

fn unindex(state: &mut State, group: &GroupId) {
    if let Some(record) = state.groups.get(group).cloned() {
        state.unindex_group(&record);
    }
}

fn index(state: &mut State, group: &GroupId) {
    if let Some(record) = state.groups.get(group).cloned() {
        state.index_group(&record);
    }
}
