//! Counts what was decided and what was refused.

use super::{Fact, events};
use crate::{count::Counts, raft::Membership};
use quorate_domain::{Event, GroupId, Outcome, Rejection};
use std::collections::BTreeMap;

/// What has to be remembered for that.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    /// The term in which a group was revoked.
    revoked_in: BTreeMap<GroupId, u64>,
    /// The term in which the open change of coordinators was begun.
    change_begun: u64,
    /// The term of the leader that brought Raft between two sets of voters.
    joint_of: u64,
}

impl Decisions {
    pub(super) fn see(&mut self, fact: &Fact<'_>, counts: &mut Counts) {
        match fact {
            Fact::Won { .. } => counts.add("raft/elections-won"),
            Fact::Restored { at, .. } if at.index > 0 => counts.add("raft/snapshots-restored"),
            Fact::HeartbeatArrived { .. } => counts.add("renewals/asked"),
            Fact::Renewed { .. } => counts.add("renewals/acknowledged"),
            Fact::Returned { .. } => counts.add("clients/answered"),
            Fact::Reconfigured { term, from, to, .. } => self.reconfigured(*term, from, to, counts),
            Fact::Decided { term, applied, .. } => {
                if let Outcome::Refused(rejection) = &applied.outcome {
                    counts.add(format!("refused/{}", rejection.code()));
                    if matches!(rejection, Rejection::WouldLoseQuorum { lagging, .. } if !lagging.is_empty())
                    {
                        counts.add("members/refused-for-a-lag");
                    }
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
            Event::DiskReplaced { .. } => counts.add("decision/disk-replaced"),
            Event::MemberAccepted { .. } => counts.add("decision/member-accepted"),
            Event::GroupCreated { .. } => counts.add("decision/group-created"),
            Event::GroupDeleted { .. } => counts.add("decision/group-deleted"),
            Event::FailoverBegun { group, reason, .. } => {
                self.revoked_in.insert(group.clone(), term);
                counts.add(format!("decision/failover-begun-{reason}"));
            }
            Event::PrimaryReleased { .. } => counts.add("decision/primary-released"),
            Event::OldPrimaryStopped { .. } => counts.add("decision/old-primary-stopped"),
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
            Event::LeaderChanged { .. } => counts.add("decision/leader-changed"),
            Event::QuorumRegained { .. } => counts.add("decision/quorum-regained"),
            Event::AgentRefused { reason, .. } => counts.add(format!("decision/agent-refused-{reason:?}")),
            Event::PrimaryStartFailed { .. } => counts.add("decision/start-failed"),
            Event::OperationFailed { .. } => counts.add("decision/operation-failed"),
            _ => self.count_members(event, term, counts),
        }
    }

    fn count_members(&mut self, event: &Event, term: u64, counts: &mut Counts) {
        match event {
            Event::CoordinatorsRecorded { .. } => counts.add("members/recorded"),
            Event::CoordinatorChangeBegun { change, .. } => {
                self.change_begun = term;
                counts.add("members/begun");
                counts.add(format!("members/begun-{}", change.kind()));
            }
            Event::CoordinatorCaughtUp { .. } => counts.add("members/caught-up"),
            Event::VotersSwitched { .. } => counts.add("members/voters-switched"),
            Event::CoordinatorChangeCancelled { .. } => counts.add("members/cancelled"),
            Event::CoordinatorChangeFinished { cancelled, .. } => {
                counts.add(if *cancelled { "members/taken-back" } else { "members/finished" });
                if self.change_begun != term {
                    counts.add("members/ended-by-a-new-leader");
                }
            }
            _ => {}
        }
    }

    fn reconfigured(&mut self, term: u64, from: &Membership, to: &Membership, counts: &mut Counts) {
        if to.is_joint() {
            self.joint_of = term;
            counts.add("raft/joint-configurations");
        } else if from.is_joint() && self.joint_of != term {
            counts.add("raft/joint-configurations-left-by-a-new-leader");
        }
    }
}
