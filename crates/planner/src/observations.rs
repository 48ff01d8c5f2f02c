//! What the leader has seen with its own eyes: the one input of a planner that is not agreed by anybody.

use quorate_domain::{
    CoordinatorId, DiskIdentity, DiskName, Epoch, GroupId, GroupState, Host, HostId, Incarnation, Phase,
    State, Term, Timestamp, Verdict, VerdictReason,
};
use std::collections::BTreeMap;

/// Milliseconds on the leader's `CLOCK_BOOTTIME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// Milliseconds from `earlier` to this, zero when it is not earlier.
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This many milliseconds later.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

/// What the leader has seen since it leads; never replicated, never carried to another leadership.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observations {
    /// Who leads.
    pub leader: CoordinatorId,
    /// In which term.
    pub term: Term,
    /// When this leadership began: its own first applied entry.
    pub led_since: Mono,
    /// Until then nothing may be expired: the leader is new or was stalled.
    pub observe_until: Mono,
    /// The hosts heard of in this leadership.
    pub hosts: BTreeMap<HostId, HostObservation>,
    /// When this leadership first saw a (group, epoch) revoked in the applied state.
    pub revoked_since: BTreeMap<(GroupId, Epoch), Mono>,
    /// When this leadership first saw that the primary of a (group, epoch) has not acknowledged yet.
    pub starting_since: BTreeMap<(GroupId, Epoch), Mono>,
}

/// What was heard of one host in this leadership.
///
/// It belongs to one start of the host's agent. While the state records another start (a registration is on its way
/// through the log, or was overtaken by the next), the observation proves only that the host was there: it delays an
/// expiry and does nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostObservation {
    /// The start of its agent that this is about.
    pub incarnation: Incarnation,
    /// When it was last heard of.
    pub last_contact: Mono,
    /// True while a session is open. Closing it is not yet a loss.
    pub connected: bool,
    /// It said that it stops for good; what it still holds it lets go of.
    pub stopping: bool,
    /// `disks` names all its disks; before that nothing is concluded from a disk's absence.
    pub disks_complete: bool,
    /// What it last said of its disks.
    pub disks: BTreeMap<DiskName, DiskObservation>,
    /// What it last said of the groups that it is, or was, primary of: of the newest epoch of each.
    pub groups: BTreeMap<GroupId, GroupObservation>,
    /// Epochs whose service is not known to have stopped there, the newest of each group. None before it has said what its
    /// groups are: nothing is concluded from a group's absence then.
    pub not_stopped: Option<BTreeMap<GroupId, GroupObservation>>,
}

/// What a host's agent last said of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskObservation {
    /// The medium; empty when it could not be read.
    pub identity: DiskIdentity,
    /// Where it is mounted.
    pub path: String,
    /// Its size; zero when it could not be read.
    pub capacity_bytes: u64,
    /// What is free of it. Changes all the time, so it is never agreed on.
    pub free_bytes: u64,
    /// What the checks say.
    pub verdict: Verdict,
    /// Why.
    pub reasons: Vec<VerdictReason>,
    /// When it was checked, by the host's clock.
    pub checked_at: Timestamp,
}

/// What a host's agent last said of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupObservation {
    /// The epoch that it speaks of.
    pub epoch: Epoch,
    /// How far it is under that epoch.
    pub state: GroupState,
    /// In words, when it ended or could not start.
    pub reason: String,
}

impl Observations {
    /// Call it after each applied change: notes the groups newly revoked or starting and forgets those that no longer are.
    ///
    /// The wait D and the time that a start is given count from here, so calling late only makes a failover later. The cost
    /// grows with the groups that are revoked or starting at this moment, not with all groups.
    pub fn note_applied(&mut self, state: &State, now: Mono) {
        self.revoked_since.retain(|(id, epoch), _| {
            state.groups.get(id).is_some_and(|group| group.epoch == *epoch && !group.phase.grants())
        });
        for group in state.revoked_groups() {
            self.revoked_since.entry((group.id.clone(), group.epoch)).or_insert(now);
        }
        self.starting_since.retain(|(id, epoch), _| {
            let group = state.groups.get(id);
            group.is_some_and(|group| group.epoch == *epoch && matches!(group.phase, Phase::Starting { .. }))
        });
        for group in state.starting_groups() {
            self.starting_since.entry((group.id.clone(), group.epoch)).or_insert(now);
        }
    }

    /// What was heard of the start of the host's agent that the state records.
    pub fn current(&self, host: &Host) -> Option<&HostObservation> {
        self.hosts.get(&host.id).filter(|seen| seen.incarnation == host.incarnation)
    }

    /// When the host was last heard of, whichever start of its agent it was. A host that this leadership never heard of
    /// counts as heard of when it began.
    pub fn last_contact(&self, host: &HostId) -> Mono {
        self.hosts.get(host).map_or(self.led_since, |seen| seen.last_contact.max(self.led_since))
    }

    /// How this leader signs its evidence.
    pub(crate) fn source(&self) -> String {
        format!("leader {} in term {}", self.leader, self.term)
    }
}
