//! Folds events into the state. Never fails, never decides: an event about something unknown changes nothing.

mod coordinator;
mod flapping;
mod incidents;
mod member;

use crate::{
    apply::Committed,
    decide::merge_labels,
    disk::{Disk, DiskIdentity, Latch, Verdict},
    event::Event,
    group::{Blocked, Group, HISTORY_MAX, Phase, Switch},
    host::{Cordon, Host, HostStatus, Transition},
    ids::{DiskId, GroupId, HostId, OperationId, Timestamp},
    operation::{FINISHED_MAX, Failover, Operation, OperationStatus, Step, StepName, StepStatus, Work},
    state::State,
};
use std::{collections::BTreeMap, sync::Arc};

/// Folds one event of a revision into the state.
pub fn evolve(state: &mut State, committed: &Committed, event: &Event) {
    match event {
        Event::ClusterCreated { cluster, formation, settings } => {
            let record = Arc::make_mut(&mut state.cluster);
            record.id = Some(cluster.clone());
            record.formation.clone_from(formation);
            record.settings = settings.clone();
            record.created_at = committed.at;
        }
        Event::HostRegistered { .. }
        | Event::HostUpdated { .. }
        | Event::HostRestarted { .. }
        | Event::HostForgotten { .. }
        | Event::HostReset { .. }
        | Event::HostCordoned { .. }
        | Event::HostUncordoned { .. }
        | Event::HostStatusChanged { .. } => host(state, committed, event),
        Event::DiskAdded { .. }
        | Event::DiskChanged { .. }
        | Event::DiskReplaced { .. }
        | Event::DiskConfirmed { .. }
        | Event::DiskForgotten { .. }
        | Event::DiskLatched { .. }
        | Event::LatchedDiskChecked { .. }
        | Event::DiskCleared { .. } => disk(state, committed, event),
        Event::GroupCreated { .. }
        | Event::GroupLabelsChanged { .. }
        | Event::GroupDeletionBegun { .. }
        | Event::GroupDeleted { .. } => group(state, committed, event),
        Event::MemberAccepted { .. }
        | Event::MemberAdded { .. }
        | Event::MemberRemoved { .. }
        | Event::MembersReordered { .. } => member::member(state, committed, event),
        Event::FailoverBegun { .. }
        | Event::OperationFailed { .. }
        | Event::PrimaryReleased { .. }
        | Event::OldPrimaryStopped { .. }
        | Event::FailoverBlocked { .. }
        | Event::FailoverUnblocked { .. }
        | Event::CandidateChosen { .. } => revoke(state, committed, event),
        Event::PrimarySwitched { .. }
        | Event::AssignmentInstalled { .. }
        | Event::PrimaryStarted { .. }
        | Event::PrimaryStartFailed { .. } => promote(state, committed, event),
        Event::CoordinatorsRecorded { .. }
        | Event::CoordinatorChangeBegun { .. }
        | Event::CoordinatorCaughtUp { .. }
        | Event::VotersSwitched { .. }
        | Event::CoordinatorChangeCancelled { .. }
        | Event::CoordinatorChangeFinished { .. } => coordinator::coordinator(state, committed, event),
        Event::LeaderChanged { .. }
        | Event::QuorumLost { .. }
        | Event::QuorumRegained { .. }
        | Event::AgentRefused { .. } => incidents::incident(state, committed, event),
    }
}

fn host(state: &mut State, committed: &Committed, event: &Event) {
    match event {
        Event::HostRegistered { host, zone, address, instance, incarnation, start, hook_times } => {
            let record = Host {
                id: host.clone(),
                address: address.clone(),
                zone: zone.clone(),
                instance: instance.clone(),
                incarnation: *incarnation,
                start: *start,
                hook_times: *hook_times,
                status: HostStatus::Online,
                error_count: 0,
                last_transition: Transition { at: committed.at, from: None, reason: "registered".into() },
                assignment_revision: committed.revision,
                registered_at: committed.at,
                cordoned: None,
                unbound: false,
            };
            state.hosts.insert(host.clone(), Arc::new(record));
        }
        Event::HostUpdated { host, zone, address } => change_host(state, host, |record| {
            record.zone = zone.clone();
            record.address.clone_from(address);
        }),
        Event::HostRestarted { host, instance, incarnation, start, hook_times } => {
            change_host(state, host, |record| {
                record.instance = instance.clone();
                (record.incarnation, record.start) = (*incarnation, *start);
                record.hook_times = *hook_times;
                record.unbound = false;
                record.assignment_revision = committed.revision;
            });
            await_reports(state, host);
        }
        Event::HostForgotten { host, .. } => {
            let disks: Vec<DiskId> = state.disks_of(host).map(|disk| disk.id.clone()).collect();
            for disk in disks {
                state.disks.remove(&disk);
            }
            state.hosts.remove(host);
        }
        Event::HostReset { host, .. } => change_host(state, host, |record| record.unbound = true),
        Event::HostCordoned { host, reason } => change_host(state, host, |record| {
            record.cordoned = Some(Cordon { since: committed.at, reason: reason.clone() });
        }),
        Event::HostUncordoned { host } => change_host(state, host, |record| record.cordoned = None),
        Event::HostStatusChanged { host, to, reason, .. } => change_host(state, host, |record| {
            record.last_transition =
                Transition { at: committed.at, from: Some(record.status), reason: reason.clone() };
            record.status = *to;
            record.error_count += u64::from(*to == HostStatus::Offline);
        }),
        _ => {}
    }
}

fn disk(state: &mut State, committed: &Committed, event: &Event) {
    match event {
        Event::DiskAdded { disk, identity, path, capacity_bytes, verdict, reasons } => {
            let record = Disk {
                id: disk.clone(),
                identity: identity.clone(),
                path: path.clone(),
                capacity_bytes: *capacity_bytes,
                verdict: *verdict,
                reasons: reasons.clone(),
                error_count: u64::from(is_error(*verdict)),
                changed_at: committed.at,
                latched: None,
                awaits_report: false,
            };
            state.disks.insert(disk.clone(), Arc::new(record));
        }
        Event::DiskChanged { disk, identity, path, capacity_bytes, from, verdict, reasons } => {
            let Some(record) = state.disks.get_mut(disk).map(Arc::make_mut) else { return };
            record.identity = identity.clone();
            record.path.clone_from(path);
            record.capacity_bytes = *capacity_bytes;
            record.reasons.clone_from(reasons);
            if from != verdict {
                record.verdict = *verdict;
                record.error_count += u64::from(is_error(*verdict));
                record.changed_at = committed.at;
            }
        }
        Event::DiskReplaced { disk, from, to } => {
            change_disk(state, disk, |record| {
                record.identity = to.clone();
                record.latched = None;
            });
            miss_copies(state, committed, disk, from, to);
        }
        Event::DiskForgotten { disk, .. } => {
            state.disks.remove(disk);
        }
        Event::DiskConfirmed { disk } => change_disk(state, disk, |record| record.awaits_report = false),
        Event::DiskLatched { disk, codes } => change_disk(state, disk, |record| {
            record.latched = Some(Latch { since: committed.at, codes: codes.clone(), well_since: None });
        }),
        Event::LatchedDiskChecked { disk, well } => change_disk(state, disk, |record| {
            if let Some(latch) = &mut record.latched {
                latch.well_since = well.then_some(committed.at);
            }
        }),
        // What its agent says of it follows at once; until then nobody knows.
        Event::DiskCleared { disk, .. } => change_disk(state, disk, |record| {
            record.latched = None;
            record.verdict = Verdict::Unknown;
            record.reasons = vec![];
            record.changed_at = committed.at;
        }),
        _ => {}
    }
}

/// What is on a host's disks is known anew once its agent's present start has read them.
fn await_reports(state: &mut State, host: &HostId) {
    let disks: Vec<DiskId> = state.disks_of(host).map(|disk| disk.id.clone()).collect();
    for disk in disks {
        change_disk(state, &disk, |record| record.awaits_report = true);
    }
}

/// Another medium sits in the place of a disk: what its members had is not on it.
fn miss_copies(
    state: &mut State,
    committed: &Committed,
    disk: &DiskId,
    from: &DiskIdentity,
    to: &DiskIdentity,
) {
    let on_disk = |group: &&Arc<Group>| group.members().any(|member| member.disk_id() == *disk);
    let groups: Vec<GroupId> =
        state.groups_of(&disk.host).filter(on_disk).map(|group| group.id.clone()).collect();
    for group in groups {
        change_group(state, committed, &group, |record| record.medium_replaced(&disk.host, from, to));
    }
}

fn is_error(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Degraded | Verdict::Failed)
}

fn group(state: &mut State, committed: &Committed, event: &Event) {
    match event {
        Event::GroupCreated { group, primary, granted_to, backups, epoch, labels } => {
            let record = Group {
                id: group.clone(),
                primary: primary.clone(),
                granted_to: *granted_to,
                demotion_ms: demotion_ms(state, &primary.host),
                backups: backups.clone(),
                before_primary: 0,
                unstopped: BTreeMap::new(),
                epoch: *epoch,
                phase: Phase::Starting { operation: None },
                blocked: None,
                history: vec![],
                labels: labels.clone(),
                unaccepted: BTreeMap::new(),
                created_at: committed.at,
                modified: committed.revision,
            };
            state.index_group(&record);
            state.index_phase(group, Some(&record.phase));
            touch_members(state, committed, &record);
            state.groups.insert(group.clone(), Arc::new(record));
        }
        Event::GroupLabelsChanged { group, labels } => {
            change_group(state, committed, group, |record| merge_labels(&mut record.labels, labels));
        }
        Event::GroupDeletionBegun { group, .. } => {
            let released = matches!(
                state.groups.get(group).map(|record| &record.phase),
                Some(Phase::Revoked { released: true, .. })
            );
            reassign(state, committed, group, |record| {
                record.phase = Phase::Deleting { released };
                record.blocked = None;
            });
        }
        Event::GroupDeleted { group, .. } => {
            let Some(record) = state.groups.remove(group) else { return };
            touch_members(state, committed, &record);
            state.unindex_group(&record);
            state.index_phase(group, None);
        }
        _ => {}
    }
}

fn revoke(state: &mut State, committed: &Committed, event: &Event) {
    match event {
        Event::FailoverBegun { operation, group, from, epoch, reason, target, evidence } => {
            let known = state.groups.get(group);
            let attempts = known.map(|known| flapping::attempts(state, known, *reason, committed.at));
            let record = Operation {
                id: *operation,
                work: Work::Failover(Failover {
                    group: group.clone(),
                    reason: *reason,
                    from: from.clone(),
                    from_epoch: *epoch,
                    target: target.clone(),
                    to: None,
                    attempts: attempts.unwrap_or_default(),
                }),
                status: OperationStatus::Running,
                steps: steps(&StepName::FAILOVER, committed.at),
                cause: committed.cause.clone(),
                evidence: evidence.clone(),
                created_at: committed.at,
                finished_at: None,
                outcome: String::new(),
            };
            state.operations.insert(*operation, Arc::new(record));
            reassign(state, committed, group, |record| {
                record.phase = Phase::Revoked { operation: *operation, released: false, candidate: None };
            });
        }
        Event::OperationFailed { operation, outcome, .. } => {
            finish(state, *operation, committed.at, OperationStatus::Failed, outcome.clone());
        }
        Event::PrimaryReleased { group, .. } => {
            change_group(state, committed, group, |record| match &mut record.phase {
                Phase::Revoked { released, .. } | Phase::Deleting { released } => *released = true,
                Phase::Starting { .. } | Phase::Active => {}
            });
        }
        Event::OldPrimaryStopped { group, host, .. } => {
            change_group(state, committed, group, |record| {
                record.unstopped.remove(host);
            });
        }
        Event::FailoverBlocked { group, reasons } => change_group(state, committed, group, |record| {
            let since = record.blocked.as_ref().map_or(committed.at, |blocked| blocked.since);
            record.blocked = Some(Blocked { since, reasons: reasons.clone() });
        }),
        Event::FailoverUnblocked { group } => {
            change_group(state, committed, group, |record| record.blocked = None);
        }
        Event::CandidateChosen { operation, group, candidate, fenced_by, .. } => {
            change_group(state, committed, group, |record| {
                if let Phase::Revoked { candidate: chosen, .. } = &mut record.phase {
                    *chosen = Some(candidate.clone());
                }
            });
            change_operation(state, *operation, |record| {
                end_step(record, StepName::StopOldPrimary, committed.at, StepStatus::Done, fenced_by);
                end_step(record, StepName::EnsureConsistency, committed.at, StepStatus::Done, "");
                // Another one may be chosen when the first is no longer fit; the step is done either way.
                if let Some(step) = record.step_mut(StepName::EnsureConsistency) {
                    step.note = format!("chose {candidate}");
                }
                start_step(record, StepName::SwitchPrimary, committed.at);
            });
        }
        _ => {}
    }
}

fn promote(state: &mut State, committed: &Committed, event: &Event) {
    let at = committed.at;
    match event {
        Event::PrimarySwitched { operation, group, from, to, granted_to, epoch, reason } => {
            let demotion_ms = demotion_ms(state, to);
            reassign(state, committed, group, |record| {
                let released = matches!(record.phase, Phase::Revoked { released: true, .. });
                if !released && from != to {
                    // Time has passed, and nobody has said that what ran there has stopped.
                    record.unstopped.insert(from.clone(), record.epoch);
                }
                record.name_primary(to);
                record.demotion_ms = demotion_ms;
                record.granted_to = *granted_to;
                record.epoch = *epoch;
                record.phase = Phase::Starting { operation: Some(*operation) };
                record.blocked = None;
                record.history.push(Switch {
                    operation: *operation,
                    revision: committed.revision,
                    at,
                    from: from.clone(),
                    to: to.clone(),
                    epoch: *epoch,
                    reason: reason.to_string(),
                });
                let surplus = record.history.len().saturating_sub(HISTORY_MAX);
                record.history.drain(..surplus);
                #[cfg(planted)]
                if crate::planted::is(crate::planted::Bug::MapOrder) {
                    crate::planted::shuffle(&mut record.backups);
                }
            });
            change_operation(state, *operation, |record| {
                if let Work::Failover(failover) = &mut record.work {
                    failover.to = Some(to.clone());
                }
                end_step(
                    record,
                    StepName::SwitchPrimary,
                    at,
                    StepStatus::Done,
                    &format!("{from} -> {to}, epoch {epoch}"),
                );
                start_step(record, StepName::UpdateConfiguration, at);
            });
        }
        Event::AssignmentInstalled { operation, host, .. } => change_operation(state, *operation, |record| {
            end_step(
                record,
                StepName::UpdateConfiguration,
                at,
                StepStatus::Done,
                &format!("installed on {host}"),
            );
            start_step(record, StepName::StartNewPrimary, at);
        }),
        Event::PrimaryStarted { operation, group, host, epoch } => {
            change_group(state, committed, group, |record| record.phase = Phase::Active);
            if let Some(operation) = operation {
                change_operation(state, *operation, |record| {
                    let installed = format!("installed on {host}");
                    end_step(record, StepName::UpdateConfiguration, at, StepStatus::Done, &installed);
                    end_step(
                        record,
                        StepName::StartNewPrimary,
                        at,
                        StepStatus::Done,
                        &format!("{host} acts"),
                    );
                });
                let outcome = format!("{host} is primary under epoch {epoch}");
                finish(state, *operation, at, OperationStatus::Succeeded, outcome);
            }
        }
        Event::PrimaryStartFailed { operation, group, host, reason, .. } => {
            reassign(state, committed, group, |record| {
                record.phase = Phase::Revoked { operation: *operation, released: true, candidate: None };
            });
            change_operation(state, *operation, |record| {
                if let Work::Failover(failover) = &mut record.work {
                    let failed = failover.attempts.entry(host.clone()).or_default();
                    *failed = failed.saturating_add(1);
                }
                restart_after_failed_start(record, at, &format!("{host} could not start: {reason}"));
            });
        }
        _ => {}
    }
}

/// The longest demotion that the present start of the host's agent allows itself.
fn demotion_ms(state: &State, host: &HostId) -> u64 {
    state.hosts.get(host).map_or(0, |record| record.hook_times.demotion_ms)
}

/// The steps of an operation that begins with the first of them.
fn steps(names: &[StepName], at: Timestamp) -> Vec<Step> {
    let step = |(place, name): (usize, &StepName)| Step {
        name: *name,
        status: if place == 0 { StepStatus::Running } else { StepStatus::Pending },
        started_at: (place == 0).then_some(at),
        finished_at: None,
        note: String::new(),
    };
    names.iter().enumerate().map(step).collect()
}

fn start_step(operation: &mut Operation, name: StepName, at: Timestamp) {
    if let Some(step) = operation.step_mut(name) {
        step.status = StepStatus::Running;
        step.started_at = Some(at);
        step.finished_at = None;
    }
}

fn end_step(operation: &mut Operation, name: StepName, at: Timestamp, status: StepStatus, note: &str) {
    if let Some(step) = operation.step_mut(name)
        && step.status != StepStatus::Done
    {
        step.status = status;
        step.started_at.get_or_insert(at);
        step.finished_at = Some(at);
        if !note.is_empty() {
            note.clone_into(&mut step.note);
        }
    }
}

/// The holder is gone for good: the old epoch needs no wait, the choice begins anew.
fn restart_after_failed_start(operation: &mut Operation, at: Timestamp, note: &str) {
    end_step(operation, StepName::StopOldPrimary, at, StepStatus::Done, note);
    for step in &mut operation.steps {
        if step.name > StepName::StopOldPrimary {
            *step = Step {
                name: step.name,
                status: StepStatus::Pending,
                started_at: None,
                finished_at: None,
                note: String::new(),
            };
        }
    }
    start_step(operation, StepName::EnsureConsistency, at);
    if let Some(step) = operation.step_mut(StepName::EnsureConsistency) {
        note.clone_into(&mut step.note);
    }
}

fn finish(state: &mut State, id: OperationId, at: Timestamp, status: OperationStatus, outcome: String) {
    change_operation(state, id, |record| {
        record.status = status;
        record.finished_at = Some(at);
        record.outcome = outcome;
        if status == OperationStatus::Failed {
            for step in &mut record.steps {
                if step.status == StepStatus::Running {
                    step.status = StepStatus::Failed;
                    step.finished_at = Some(at);
                }
            }
        }
    });
    state.finished.insert(id);
    while state.finished.len() > FINISHED_MAX {
        let Some(oldest) = state.finished.get_min().copied() else { break };
        state.finished.remove(&oldest);
        state.operations.remove(&oldest);
    }
}

fn change_host(state: &mut State, id: &HostId, change: impl FnOnce(&mut Host)) {
    if let Some(record) = state.hosts.get_mut(id) {
        change(Arc::make_mut(record));
    }
}

fn change_disk(state: &mut State, id: &DiskId, change: impl FnOnce(&mut Disk)) {
    if let Some(record) = state.disks.get_mut(id) {
        change(Arc::make_mut(record));
    }
}

fn change_operation(state: &mut State, id: OperationId, change: impl FnOnce(&mut Operation)) {
    if let Some(record) = state.operations.get_mut(&id) {
        change(Arc::make_mut(record));
    }
}

fn change_group(state: &mut State, committed: &Committed, id: &GroupId, change: impl FnOnce(&mut Group)) {
    if let Some(record) = state.groups.get_mut(id).map(Arc::make_mut) {
        change(record);
        record.modified = committed.revision;
        let phase = record.phase.clone();
        state.index_phase(id, Some(&phase));
    }
}

/// Changes a group in a way that its members' hosts must hear of.
fn reassign(state: &mut State, committed: &Committed, id: &GroupId, change: impl FnOnce(&mut Group)) {
    change_group(state, committed, id, change);
    if let Some(record) = state.groups.get(id).cloned() {
        touch_members(state, committed, &record);
    }
}

fn touch_members(state: &mut State, committed: &Committed, group: &Group) {
    for member in group.members() {
        change_host(state, &member.host, |host| host.assignment_revision = committed.revision);
    }
}
