//! Counts what was decided and what was refused.

use super::{Fact, events};
use crate::count::Counts;
use quorate_domain::{Event, GroupId, Outcome};
use std::collections::BTreeMap;

/// What has to be remembered for that.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    /// The term in which a group was revoked.
    revoked_in: BTreeMap<GroupId, u64>,
}

impl Decisions {
    pub(super) fn see(&mut self, fact: &Fact<'_>, counts: &mut Counts) {
        match fact {
            Fact::Won { .. } => counts.add("raft/elections-won"),
            Fact::Restored { at, .. } if at.index > 0 => counts.add("raft/snapshots-restored"),
            Fact::HeartbeatArrived { .. } => counts.add("renewals/asked"),
            Fact::Renewed { .. } => counts.add("renewals/acknowledged"),
            Fact::Returned { .. } => counts.add("clients/answered"),
            Fact::Decided { term, applied, .. } => {
                if let Outcome::Refused(rejection) = &applied.outcome {
                    counts.add(format!("refused/{}", rejection.code()));
                }
                for event in events(applied) {
                    self.count(event, *term, counts);
                }
            }
            _ => {}
        }
    }

    fn count(&mut self, event: &Event, term: u64, counts: &mut Counts) {
        match event {
            Event::HostRegistered { .. } => counts.add("decision/host-registered"),
            Event::HostRestarted { .. } => counts.add("decision/host-restarted"),
            Event::HostStatusChanged { to, .. } => counts.add(format!("decision/host-{to}")),
            Event::DiskChanged { verdict, .. } => counts.add(format!("decision/disk-{verdict}")),
            Event::GroupCreated { .. } => counts.add("decision/group-created"),
            Event::GroupDeleted { .. } => counts.add("decision/group-deleted"),
            Event::FailoverBegun { group, reason, .. } => {
                self.revoked_in.insert(group.clone(), term);
                counts.add(format!("decision/failover-begun-{reason}"));
            }
            Event::PrimaryReleased { .. } => counts.add("decision/primary-released"),
            Event::FailoverBlocked { .. } => counts.add("decision/failover-blocked"),
            Event::PrimarySwitched { group, .. } => {
                counts.add("decision/primary-switched");
                if self.revoked_in.get(group).is_some_and(|revoked| *revoked != term) {
                    counts.add("decision/failover-resumed-by-a-new-leader");
                }
            }
            Event::PrimaryStarted { operation, .. } => counts.add(if operation.is_some() {
                "decision/failover-completed"
            } else {
                "decision/first-primary-started"
            }),
            Event::PrimaryStartFailed { .. } => counts.add("decision/start-failed"),
            Event::OperationFailed { .. } => counts.add("decision/operation-failed"),
            _ => {}
        }
    }
}
