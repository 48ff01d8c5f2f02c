//! What must have happened somewhere in a set of runs, lest it proves nothing.

use crate::fault::Kind;

/// Counts of decisions and refusals that a few hundred runs always reach.
const DECISIONS: &[&str] = &[
    "agents/incarnation-raised",
    "agents/normal-again",
    "agents/safe",
    "agents/safe-no-more",
    "clients/answered",
    "decision/disk-failed",
    "decision/disk-healthy",
    "decision/failover-begun-disk-failed",
    "decision/failover-begun-host-lost",
    "decision/failover-begun-host-restarted",
    "decision/failover-begun-released",
    "decision/failover-begun-requested",
    "decision/failover-blocked",
    "decision/failover-completed",
    "decision/failover-resumed-by-a-new-leader",
    "decision/group-created",
    "decision/group-deleted",
    "decision/host-offline",
    "decision/host-online",
    "decision/host-restarted",
    "decision/host-suspect",
    "decision/operation-failed",
    "decision/primary-released",
    "decision/primary-switched",
    "decision/start-failed",
    "leader/stood-still-and-only-observes",
    "members/begun-add-member",
    "members/begun-promote-member",
    "members/begun-remove-member",
    "members/begun-replace-member",
    "members/cancelled",
    "members/caught-up",
    "members/ended-by-a-new-leader",
    "members/finished",
    "members/leader-handed-over",
    "members/refused-by-a-peer",
    "members/removed-and-away",
    "members/taken-back",
    "members/voters-switched",
    "members/waited",
    "raft/elections-won",
    "raft/joint-configurations",
    "raft/joint-configurations-left-by-a-new-leader",
    "raft/snapshots-restored",
    "raft/unsynced-writes-lost",
    "recovered/led-before-the-last-follower-was-back",
    "recovered/led-by-another-before-the-leader-was-back",
    "refused/CHANGE_IN_PROGRESS",
    "refused/CHANGE_ON_RECORD",
    "refused/COORDINATOR_ID_USED",
    "refused/NO_ELIGIBLE_BACKUP",
    "refused/STALE_INCARNATION",
    "refused/WOULD_LOSE_QUORUM",
    "refused/WRONG_PHASE",
    "renewals/acknowledged",
    "renewals/rounds-without-a-quorum",
];

/// The names of all counts that must not be zero: every kind of fault, and what is decided because of them.
pub fn expected() -> impl Iterator<Item = String> {
    let faults = Kind::ALL.iter().map(|kind| format!("fault/{kind}"));
    faults.chain(DECISIONS.iter().map(|name| (*name).to_owned()))
}
