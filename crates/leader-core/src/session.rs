//! One session with an agent, and what the agent says in it.

use quorate_domain::{
    Cause, Command, DiskName, GroupId, GroupState, HookTimes, Host, HostId, Incarnation, InstanceId,
    RefusalReason, Rejection, Revision, StartId, State, Term, Zone,
    decide::{Context, decide},
};
use quorate_planner::{DiskObservation, FailedStart, GroupObservation, HostObservation, Mono};
use std::collections::{BTreeMap, VecDeque};

/// Renewals of one session that wait for an assignment to be installed; as many as may wait for the quorum.
const UNCOUNTED_MAX: usize = crate::renewals::RENEWALS_MAX;

/// Names one session: a host has one at a time, and no number is used twice by one coordinator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionId {
    /// The host.
    pub host: HostId,
    /// Tells it from earlier sessions of the same host.
    pub number: u64,
}

/// An open session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Tells it from earlier sessions of the same host.
    pub number: u64,
    /// The start of the agent that opened it.
    pub incarnation: Incarnation,
    /// Which assignment it last said it had installed.
    pub installed: Revision,
    /// Renewals that were confirmed by a quorum and count once a revision of the assignment is installed: the arrival of
    /// the heartbeat, and the revision; in the order of either.
    pub(crate) uncounted: VecDeque<(Mono, Revision)>,
}

impl Session {
    /// A round of the quorum confirmed a heartbeat. Beyond a bound it is not noted, which can only make the last contact
    /// older; were the oldest given up instead, a host that is far away would never get to count one.
    pub(crate) fn confirmed(&mut self, arrived: Mono, needs: Revision) {
        let room = self.uncounted.len() < UNCOUNTED_MAX;
        match self.uncounted.back_mut() {
            Some((last, needed)) if *needed == needs => *last = arrived,
            _ if room => self.uncounted.push_back((arrived, needs)),
            _ => {}
        }
    }

    /// The arrival of the last heartbeat whose renewal counts by now, if one does that did not before.
    pub(crate) fn counted(&mut self) -> Option<Mono> {
        let mut last = None;
        while let Some((arrived, _)) = self.uncounted.pop_front_if(|(_, needs)| *needs <= self.installed) {
            last = Some(arrived);
        }
        last
    }
}

/// An agent's first word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Who it is.
    pub host: HostId,
    /// Its failure domain.
    pub zone: Zone,
    /// Where it answers.
    pub address: String,
    /// Its state folder.
    pub instance: InstanceId,
    /// Its start, as it counts them.
    pub incarnation: Incarnation,
    /// Its start, by a number that no other has.
    pub start: StartId,
    /// How long it allows its hooks.
    pub hook_times: HookTimes,
}

impl Hello {
    /// Why an agent was refused, if its registration was refused for who it is.
    pub fn refused_as(refusal: &Rejection) -> Option<RefusalReason> {
        match refusal {
            Rejection::StaleIncarnation { .. } => Some(RefusalReason::Superseded),
            Rejection::HostIdInUse { .. } => Some(RefusalReason::HostIdInUse),
            Rejection::StartNumberTooHigh { .. } => Some(RefusalReason::StartNumberTooHigh),
            _ => None,
        }
    }

    /// The registration that must be committed before the session opens; none when the state has it already.
    pub fn registration(&self, state: &State) -> Option<Command> {
        let known = state.hosts.get(&self.host).is_some_and(|host| self.is_recorded_as(host));
        (!known).then(|| Command::RegisterHost {
            host: self.host.clone(),
            zone: self.zone.clone(),
            address: self.address.clone(),
            instance: self.instance.clone(),
            incarnation: self.incarnation,
            start: self.start,
            hook_times: self.hook_times,
        })
    }

    /// Why the registration would be refused by this state, where that is for who the agent is. No entry of the log is needed to
    /// say so, once a quorum has confirmed that the state is the newest.
    pub fn refusal(&self, state: &State) -> Option<Rejection> {
        let command = self.registration(state)?;
        let cause = Cause::Agent { host: self.host.clone() };
        let revision = state.revision();
        let context = Context { at: state.now(), term: Term::default(), revision, cause: &cause };
        decide(state, &context, &command).err().filter(|refusal| Self::refused_as(refusal).is_some())
    }

    fn is_recorded_as(&self, host: &Host) -> bool {
        (&host.instance, host.incarnation, host.start, &host.zone, &host.address)
            == (&self.instance, self.incarnation, self.start, &self.zone, &self.address)
    }
}

/// All that a host says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The assignment that is installed.
    pub installed: Revision,
    /// The agent stops for good.
    pub stopping: bool,
    /// `disks` is the full list.
    pub disks_complete: bool,
    /// Its disks.
    pub disks: BTreeMap<DiskName, DiskObservation>,
    /// Its groups; one may appear with several epochs.
    pub groups: Vec<(GroupId, GroupObservation)>,
    /// What is wrong with its state folder; empty when nothing is.
    pub state_folder_problem: String,
}

impl Report {
    /// The starts that failed, by what the host says.
    pub(crate) fn failed_starts(&self, host: &HostId) -> Vec<(GroupId, FailedStart)> {
        let failed = self.groups.iter().filter(|(_, told)| told.state == GroupState::StartFailed);
        let start = |(group, told): &(GroupId, GroupObservation)| {
            let (host, reason) = (host.clone(), told.reason.clone());
            (group.clone(), FailedStart { host, epoch: told.epoch, reason })
        };
        failed.map(start).collect()
    }

    /// Takes the place of what the host said before.
    pub(crate) fn note(self, seen: &mut HostObservation) {
        seen.stopping = self.stopping;
        seen.disks_complete = self.disks_complete;
        seen.disks = self.disks;
        seen.state_folder_problem = self.state_folder_problem;
        seen.groups.clear();
        let mut all_not_stopped = BTreeMap::new();
        for (group, told) in self.groups {
            let not_stopped = !matches!(told.state, GroupState::Ended | GroupState::StartFailed);
            let is_newer = |known: &GroupObservation| known.epoch < told.epoch;
            if not_stopped && all_not_stopped.get(&group).is_none_or(is_newer) {
                all_not_stopped.insert(group.clone(), told.clone());
            }
            // Of the others only the last matters: the earlier ones ended before it was granted.
            if seen.groups.get(&group).is_none_or(|known| known.epoch < told.epoch) {
                seen.groups.insert(group, told);
            }
        }
        seen.not_stopped = Some(all_not_stopped);
    }
}
