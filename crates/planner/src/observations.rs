//! What the leader has seen with its own eyes: the one input of a planner that is not agreed by anybody.

use crate::{
    held_back::HeldBack,
    incidents::{RefusedAgents, SeenOutage},
};
use quorate_domain::{
    CoordinatorId, DiskIdentity, DiskName, Epoch, Group, GroupId, GroupState, Host, HostId, Incarnation,
    Phase, ServiceMode, StartId, State, Term, Timestamp, Verdict, VerdictReason, operation::FailoverReason,
};
use std::collections::BTreeMap;

/// The starts of an agent, and the changes of a host's status, that are remembered of each host.
pub const TURNS_MAX: usize = 16;

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
    /// Since when, in the state's time, nobody is known to have acted for a group that is not active.
    pub unserved_since: BTreeMap<GroupId, Timestamp>,
    /// The last start that failed for a group that is not active.
    pub failed_starts: BTreeMap<GroupId, FailedStart>,
    /// How the state's time goes with this leader's.
    pub state_clock: StateClock,
    /// The last time without a quorum that is not on record yet, before or in this leadership.
    pub outage: Option<SeenOutage>,
    /// Agents that were refused, until that is on record.
    pub refused: RefusedAgents,
    /// Agents that came too often.
    pub held_back: HeldBack,
}

/// A start of a group's service that failed, in this leadership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedStart {
    /// On which host.
    pub host: HostId,
    /// Under which epoch.
    pub epoch: Epoch,
    /// What its agent said of it.
    pub reason: String,
}

/// How the state's time goes with a leader's own clock: between two commands the state's time stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StateClock {
    /// The state's time when this leadership first looked.
    pub first: Timestamp,
    /// The state's time at the last look.
    pub last: Timestamp,
    /// When that was first seen.
    pub seen: Mono,
}

impl StateClock {
    /// How long ago something was that happened at a time of the state. What passed between the last command of the
    /// leader before and the first look of this one is not known, and left out.
    pub fn age_ms(&self, at: Timestamp, now: Mono) -> u64 {
        self.last.since_ms(at).saturating_add(now.since_ms(self.seen))
    }
}

/// What was heard of one host in this leadership.
///
/// It belongs to one start of the host's agent. While the state records another start (a registration is on its way
/// through the log, or was overtaken by the next), the observation proves only that the host was there: it delays an
/// expiry and does nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and any of them may hold")]
pub struct HostObservation {
    /// The start of its agent that this is about.
    pub incarnation: Incarnation,
    /// The last contact that is proven: when the last heartbeat arrived whose renewal counts, because a round of the
    /// quorum that began after it confirmed the leader, and the host has installed the assignment that it needed. An open
    /// session, a report or a heartbeat alone prove nothing. A session that has just opened counts as well, for the
    /// first renewal cannot come before it, unless the one before it never got as far as a renewal that counts.
    pub last_contact: Mono,
    /// When the last heartbeat arrived that was acknowledged, whether it counts on the host or not: until that lease is over
    /// it may.
    pub acknowledged: Mono,
    /// When the last heartbeat arrived that no round of the quorum has judged yet. It proves nothing, and nobody is expired
    /// while it waits (DESIGN section 5, rule 6).
    pub waiting: Option<Mono>,
    /// True while an opened session counts as contact and no renewal does yet.
    pub on_credit: bool,
    /// True while a session is open. Closing it is not yet a loss.
    pub connected: bool,
    /// What it last said of its service mode in its present session, and since when it says so.
    pub mode: Option<(ServiceMode, Mono)>,
    /// The starts of its agent that opened sessions, the last ones, each with the moment when it came after another.
    pub starts: Vec<(StartId, Mono)>,
    /// When its status last changed, the last times.
    pub changes: Vec<Mono>,
    /// The last of those changes in the state's time.
    pub changed_at: Timestamp,
    /// It said that it stops for good; what it still holds it lets go of.
    pub stopping: bool,
    /// What it last said is wrong with the folder that its agent keeps its state in; empty when nothing is.
    pub state_folder_problem: String,
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
        self.note_time(state, now);
        self.note_unserved(state);
        self.note_changes(state, now);
        self.refused.note_applied(state);
    }

    /// There is a quorum again. Of two outages that are not on record the longer one is told: that there was a quorum
    /// between them was too short for a decision, or the one is too short to be told.
    pub fn note_outage(&mut self, state: &State, since: Mono, until: Mono) {
        let led = state.cluster.led.as_ref();
        let told = led.filter(|led| led.term == self.term).map_or(0, |led| led.outages);
        let seen = SeenOutage { number: told + 1, since, until };
        let open = self.outage.filter(|open| open.number > told);
        self.outage = open.filter(|open| open.lasted_ms() > seen.lasted_ms()).or(Some(seen));
    }

    fn note_time(&mut self, state: &State, now: Mono) {
        let clock = &mut self.state_clock;
        if clock.first == Timestamp(0) {
            clock.first = state.now();
        }
        if clock.last != state.now() {
            (clock.last, clock.seen) = (state.now(), now);
        }
    }

    /// Notes since when nobody acts, over all operations and starts that end in vain.
    fn note_unserved(&mut self, state: &State) {
        let waits = |group: &Group| !matches!(group.phase, Phase::Active | Phase::Deleting { .. });
        let still = |id: &GroupId| state.groups.get(id).is_some_and(|group| waits(group));
        self.unserved_since.retain(|id, _| still(id));
        self.failed_starts.retain(|id, _| still(id));
        let all = state.revoked_groups().chain(state.starting_groups());
        for group in all.filter(|group| waits(group)) {
            if !self.unserved_since.contains_key(&group.id) {
                self.unserved_since.insert(group.id.clone(), unserved_since(state, group));
            }
        }
    }

    fn note_changes(&mut self, state: &State, now: Mono) {
        for (id, seen) in &mut self.hosts {
            let Some(host) = state.hosts.get(id) else { continue };
            let changed_at = std::mem::replace(&mut seen.changed_at, host.last_transition.at);
            if changed_at != Timestamp(0) && changed_at != seen.changed_at {
                remember(&mut seen.changes, now);
            }
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

    /// When the host was last heard of as far as it may count yet: a heartbeat that waits for the quorum speaks against an
    /// expiry.
    pub(crate) fn may_be_heard(&self, host: &HostId) -> Mono {
        let waiting = self.hosts.get(host).and_then(|seen| seen.waiting);
        self.last_contact(host).max(waiting.unwrap_or_default())
    }

    /// When the last heartbeat arrived by which the host may hold a lease.
    pub(crate) fn may_be_renewed(&self, host: &HostId) -> Mono {
        let acknowledged = self.hosts.get(host).map_or(Mono(0), |seen| seen.acknowledged);
        self.may_be_heard(host).max(acknowledged)
    }

    /// How this leader signs its evidence.
    pub(crate) fn source(&self) -> String {
        format!("leader {} in term {}", self.leader, self.term)
    }
}

/// Keeps the last few.
pub fn remember<T>(turns: &mut Vec<T>, turn: T) {
    if turns.len() >= TURNS_MAX {
        turns.remove(0);
    }
    turns.push(turn);
}

/// Since when nobody acts for a group that is not active, in the state's time, as far as the state tells.
pub(crate) fn unserved_since(state: &State, group: &Group) -> Timestamp {
    let operation = group.phase.operation().and_then(|operation| state.operations.get(&operation));
    let Some(operation) = operation else { return group.created_at };
    let never_started = group.history.is_empty()
        && operation.failover().is_some_and(|failover| {
            matches!(failover.reason, FailoverReason::StartFailed | FailoverReason::StartTimedOut)
        });
    if never_started { group.created_at } else { operation.created_at }
}
