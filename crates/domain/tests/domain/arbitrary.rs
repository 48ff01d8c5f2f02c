//! Arbitrary commands that have a chance to be accepted: a [`Move`] is a handful of small numbers that become a command
//! by looking at the state, right in most of its parts and off by a little in some. Sequences of moves shrink well.

#[path = "arbitrary/coordinators.rs"]
mod coordinators;

use proptest::prelude::*;
use quorate_domain::{
    Cause, ClusterId, Command, CoordinatorId, Disk, DiskId, DiskIdentity, DiskName, Epoch, Evidence,
    FaultClass, FormationId, GroupId, HookTimes, HostId, HostStatus, Incarnation, InstanceId, OperationId,
    Outage, Proposal, RefusalReason, RequestId, Settings, StartId, State, Term, Timestamp, Verdict,
    VerdictReason, Zone,
    command::{Fencing, MemberSpec},
    operation::FailoverReason,
};
use std::collections::BTreeMap;

/// How many different moves there are.
const KINDS: u8 = 35;

/// A command in the making.
#[derive(Debug, Clone)]
pub(crate) struct Move {
    kind: u8,
    host: u8,
    other: u8,
    disk: u8,
    group: u8,
    /// Below 4: one of the numbers that must match the state is off by one.
    luck: u8,
    choice: u8,
    flag: bool,
    request: Option<u8>,
    clock_step: i64,
    pub(crate) term: u64,
}

/// One move of any kind.
pub(crate) fn any_move() -> impl Strategy<Value = Move> {
    let request = prop_oneof![4 => Just(None), 1 => (0_u8..40).prop_map(Some)];
    (
        0..KINDS,
        0_u8..4,
        0_u8..4,
        0_u8..2,
        0_u8..2,
        0_u8..40,
        0_u8..24,
        any::<bool>(),
        request,
        -2_000_i64..5_000,
        1_u64..3,
    )
        .prop_map(|(kind, host, other, disk, group, luck, choice, flag, request, clock_step, term)| {
            Move { kind, host, other, disk, group, luck, choice, flag, request, clock_step, term }
        })
}

/// A cluster with four hosts, a disk in each and two groups: where most sequences begin.
pub(crate) fn opening() -> Vec<(Term, Proposal)> {
    let mut commands = vec![Command::CreateCluster {
        cluster: cluster(),
        formation: Some(FormationId::of(7)),
        settings: Settings::default(),
    }];
    commands.push(coordinators::recorded());
    for number in 0..4 {
        commands.push(Command::RegisterHost {
            host: host(number),
            zone: Zone::new(format!("z{number}")).expect("a valid name"),
            address: format!("10.0.0.{number}:7000"),
            instance: instance(number),
            incarnation: Incarnation(1),
            start: StartId(1),
            hook_times: HookTimes::default(),
        });
        commands.push(Command::RecordDisk {
            disk: DiskId { host: host(number), name: disk(0) },
            incarnation: Incarnation(1),
            identity: DiskIdentity(format!("medium-{number}")),
            path: "/data".into(),
            capacity_bytes: 1_000,
            verdict: Verdict::Healthy,
            reasons: vec![],
        });
    }
    for number in 0..2 {
        commands.push(Command::CreateGroup {
            group: group(number),
            primary: member(number),
            backups: vec![member(number + 1), member(number + 2)],
            labels: BTreeMap::new(),
        });
    }
    commands
        .into_iter()
        .map(|command| (Term(1), Proposal::new(Timestamp(10_000), Cause::Cluster, command)))
        .collect()
}

fn cluster() -> ClusterId {
    ClusterId::new("c1").expect("a valid name")
}

pub(crate) fn host(number: u8) -> HostId {
    HostId::new(format!("h{number}")).expect("a valid name")
}

pub(crate) fn disk(number: u8) -> DiskName {
    DiskName::new(format!("d{number}")).expect("a valid name")
}

pub(crate) fn group(number: u8) -> GroupId {
    GroupId::new(format!("g{number}")).expect("a valid name")
}

fn instance(number: u8) -> InstanceId {
    InstanceId::new(format!("i{number}")).expect("a valid name")
}

fn member(number: u8) -> MemberSpec {
    MemberSpec { host: host(number % 4), disk: Some(disk(0)) }
}

/// A number that should match `right`: now and then it is the next or the one before.
fn near(right: u64, luck: u8, bad: u8) -> u64 {
    match luck {
        luck if luck == bad => right + 1,
        luck if luck == bad + 1 => right.saturating_sub(1),
        _ => right,
    }
}

pub(crate) fn verdict(choice: u8) -> Verdict {
    [Verdict::Healthy, Verdict::Degraded, Verdict::Failed, Verdict::Unknown][usize::from(choice % 4)]
}

pub(crate) fn reasons(choice: u8) -> Vec<VerdictReason> {
    (0..choice % 3)
        .map(|number| VerdictReason {
            code: format!("code-{number}"),
            attribute: String::new(),
            observed: choice.to_string(),
            threshold: "0".into(),
            source: "probe".into(),
            at: Timestamp(u64::from(choice)),
            class: if choice % 4 < 3 { FaultClass::Environment } else { FaultClass::Medium },
        })
        .collect()
}

impl Move {
    /// The proposal that this move is in this state.
    pub(crate) fn proposal(&self, state: &State) -> Proposal {
        let cause = match self.request {
            Some(number) => Cause::Operator {
                request_id: RequestId::new(format!("r{number}")).expect("a valid request id"),
            },
            None => Cause::Planner { rule: "test".into() },
        };
        let at = Timestamp(state.now().0.saturating_add_signed(self.clock_step));
        Proposal::new(at, cause, self.command(state))
    }

    fn command(&self, state: &State) -> Command {
        match self.kind {
            0..=4 => self.about_hosts(state),
            5..=9 => self.about_groups(state),
            10..=16 => self.about_failovers(self.kind, state),
            17..=20 => self.about_failovers(self.next_step(state), state),
            27..33 => self.upkeep(state),
            33..KINDS => self.incident(),
            _ => self.about_coordinators(state),
        }
    }

    fn incarnation(&self, state: &State, id: &HostId) -> Incarnation {
        Incarnation(near(state.hosts.get(id).map_or(1, |host| host.incarnation.0), self.luck, 0))
    }

    fn epoch(&self, state: &State) -> Epoch {
        Epoch(near(state.groups.get(&group(self.group)).map_or(1, |group| group.epoch.0), self.luck, 2))
    }

    fn operation(&self, state: &State) -> OperationId {
        let running = state.groups.get(&group(self.group)).and_then(|group| group.phase.operation());
        OperationId(near(running.map_or(1, |operation| operation.0), self.luck, 4))
    }

    /// The group's primary in most cases, or any host.
    fn holder(&self, state: &State) -> HostId {
        let primary = state.groups.get(&group(self.group)).map(|group| group.primary.host.clone());
        primary.filter(|_| self.luck != 6).unwrap_or_else(|| host(self.host))
    }

    fn candidate(&self, state: &State) -> HostId {
        let members: Vec<_> = state
            .groups
            .get(&group(self.group))
            .into_iter()
            .flat_map(|group| group.members().map(|member| member.host.clone()))
            .collect();
        match members.get(usize::from(self.other)) {
            Some(member) if self.luck != 7 => member.clone(),
            _ => host(self.host),
        }
    }

    fn fencing(&self, state: &State) -> Fencing {
        use quorate_domain::Phase::{Active, Deleting, Revoked, Starting};
        let released = state.groups.get(&group(self.group)).is_some_and(|group| match &group.phase {
            Revoked { released, .. } | Deleting { released } => *released,
            Starting { .. } | Active => false,
        });
        let demotion_ms = state.groups.get(&group(self.group)).map_or(0, |group| group.demotion_ms);
        if released != (self.luck == 12) {
            return Fencing::Released;
        }
        Fencing::Waited {
            waited_ms: near(state.settings().lease.wait_for_ms(demotion_ms), self.luck, 8),
            term: Term(near(self.term, self.luck, 10)),
        }
    }

    fn incident(&self) -> Command {
        if self.kind == 33 {
            let number = u64::from(self.choice);
            let outage = self.flag.then_some(Outage { number, lasted_ms: 200 * u64::from(self.luck) });
            let term = Term(near(self.term, self.luck, 10));
            return Command::RecordLeadership { coordinator: CoordinatorId(1 + number % 3), term, outage };
        }
        // More names than there is room for.
        let host = host(self.host + 4 * self.choice);
        let reason = if self.flag { RefusalReason::Superseded } else { RefusalReason::OtherCluster };
        Command::RecordRefusedAgent { host, reason, address: "10.0.0.9:7000".into(), times: 1 }
    }

    fn about_hosts(&self, state: &State) -> Command {
        let id = host(self.host);
        let known = state.hosts.get(&id);
        match self.kind {
            0 => {
                let restart = u64::from(self.flag);
                let next = known.map_or(0, |host| host.incarnation.0) + restart;
                // Now and then it is forged, or of a clock that is far ahead.
                let incarnation = Incarnation(match (self.luck % 32, self.choice % 3) {
                    (31, 0) => u64::MAX,
                    (31, 1) => next.saturating_add(u64::from(self.luck) << 32),
                    _ => next,
                });
                Command::RegisterHost {
                    host: id,
                    zone: Zone::new(format!("z{}", self.choice % 2)).expect("a valid name"),
                    address: format!("10.0.0.{}:7000", self.choice % 3),
                    instance: instance(if self.luck < 4 { self.other } else { self.host }),
                    incarnation,
                    start: StartId(u64::from(self.luck) % 2),
                    hook_times: HookTimes {
                        promotion_ms: 0,
                        demotion_ms: u64::from(self.choice % 3) * 1_000,
                    },
                }
            }
            1 | 2 => Command::MarkHost {
                incarnation: self.incarnation(state, &id),
                host: id,
                status: [HostStatus::Online, HostStatus::Suspect, HostStatus::Offline, HostStatus::Online]
                    [usize::from(self.choice % 4)],
                reason: "test".into(),
                evidence: vec![Evidence::new("last_contact_ms", self.choice, 3, "leader 1")],
            },
            _ => Command::RecordDisk {
                incarnation: self.incarnation(state, &id),
                disk: DiskId { host: id, name: disk(self.disk) },
                identity: self.identity(state),
                path: "/data".into(),
                capacity_bytes: u64::from(self.choice % 2) * 1_000,
                verdict: verdict(self.choice / 3),
                reasons: reasons(self.choice),
            },
        }
    }

    fn about_groups(&self, state: &State) -> Command {
        let group = group(self.group);
        match self.kind {
            5 | 6 => Command::CreateGroup {
                group,
                primary: member(self.host),
                backups: (1..=self.other).map(|next| member(self.host + next)).collect(),
                labels: self.labels(),
            },
            7 if self.choice < 12 => Command::SetGroupLabels { group, labels: self.labels().into() },
            7 => Command::AcceptMember { group, host: self.unaccepted(state), reason: "test".into() },
            8 if self.choice < 6 => Command::DeleteGroup { group },
            _ => Command::FinishDeletion { group, epoch: self.epoch(state), fencing: self.fencing(state) },
        }
    }

    /// What operators do to hosts, disks and members.
    fn upkeep(&self, state: &State) -> Command {
        let (id, group) = (host(self.host), group(self.group));
        let reason = if self.luck == 0 { String::new() } else { "test".to_owned() };
        let known = DiskId { host: id.clone(), name: disk(self.disk) };
        match (self.kind, self.choice % 3) {
            (27, 0) => Command::CordonHost { host: id, reason },
            (27, _) => Command::UncordonHost { host: id },
            (28, 0) => Command::ResetHost { host: id, reason },
            (28, _) => Command::ForgetHost { host: Self::unneeded(state).unwrap_or(id), reason },
            (29, 0) => Command::ForgetDisk { disk: known, reason },
            (29, _) => Command::ClearDisk { disk: clearable(state).unwrap_or(known), reason },
            (30, _) => Command::AddMember { group, member: member(self.host), accepted: self.flag, reason },
            (31, _) => Command::RemoveMember { group, host: self.candidate(state), reason },
            _ => {
                let members = state.groups.get(&group).into_iter().flat_map(|group| group.in_order());
                let mut order: Vec<_> = members.map(|member| member.host.clone()).collect();
                let places = order.len().max(1);
                order.rotate_left(usize::from(self.choice) % places);
                if self.luck == 1 {
                    order.pop();
                }
                Command::ReorderMembers { group, order }
            }
        }
    }

    /// A host that is offline and no member, if there is one.
    fn unneeded(state: &State) -> Option<HostId> {
        let offline = state.hosts.values().filter(|host| host.status == HostStatus::Offline);
        let mut free = offline.filter(|host| state.groups_of(&host.id).next().is_none());
        free.next().map(|host| host.id.clone())
    }

    /// The medium that is on record, or another one.
    fn identity(&self, state: &State) -> DiskIdentity {
        let known = state.disks.get(&DiskId { host: host(self.host), name: disk(self.disk) });
        match known.filter(|_| self.flag) {
            Some(disk) => disk.identity.clone(),
            None => DiskIdentity(["", "medium-a", "medium-b"][usize::from(self.choice % 3)].into()),
        }
    }

    /// A member that awaits acceptance, if there is one, or any.
    fn unaccepted(&self, state: &State) -> HostId {
        let group = state.groups.get(&group(self.group));
        let waits = group.and_then(|group| group.unaccepted.keys().next());
        waits.cloned().unwrap_or_else(|| self.candidate(state))
    }

    fn labels(&self) -> BTreeMap<String, String> {
        let value = if self.flag { String::new() } else { self.choice.to_string() };
        BTreeMap::from([(format!("k{}", self.choice % 3), value)])
    }

    /// The kind of move that takes the group on where it stands, so that sequences come to the end of a failover.
    fn next_step(&self, state: &State) -> u8 {
        use quorate_domain::Phase::{Active, Deleting, Revoked, Starting};
        match state.groups.get(&group(self.group)).map(|group| &group.phase) {
            Some(Revoked { candidate: None, .. }) => 13,
            Some(Revoked { .. }) => 14,
            Some(Starting { .. }) if self.flag => 15,
            Some(Starting { .. }) => 16,
            Some(Active | Deleting { .. }) | None => 10,
        }
    }

    fn about_failovers(&self, kind: u8, state: &State) -> Command {
        let (group, epoch, operation) = (group(self.group), self.epoch(state), self.operation(state));
        let host = self.holder(state);
        let incarnation = self.incarnation(state, &host);
        let reason = "test".to_owned();
        match kind {
            10 => self.begin(state),
            11 if self.flag => self.stopped(state),
            11 => Command::RecordRelease { group, epoch, host, incarnation, reason },
            12 => Command::ReportBlocked {
                group,
                epoch,
                reasons: if self.flag { vec![] } else { vec![format!("line {}", self.choice % 2)] },
            },
            13 => Command::ChooseCandidate {
                group,
                operation,
                candidate: self.candidate(state),
                fencing: self.fencing(state),
                evidence: vec![],
            },
            14 => {
                let chosen = state.groups.get(&group).and_then(|group| match &group.phase {
                    quorate_domain::Phase::Revoked { candidate, .. } => candidate.clone(),
                    _ => None,
                });
                let candidate = chosen.unwrap_or_else(|| self.candidate(state));
                Command::Promote { group, operation, candidate, fencing: self.fencing(state) }
            }
            15 => {
                if self.choice < 18 {
                    Command::RecordInstalled { group, epoch, host, incarnation }
                } else {
                    Command::ReportStartFailed { group, epoch, host, incarnation, reason }
                }
            }
            _ => Command::AcknowledgePromotion { group, epoch, host, incarnation },
        }
    }

    /// Somebody who was primary says that its service has stopped, of the right epoch more often than not.
    fn stopped(&self, state: &State) -> Command {
        let id = group(self.group);
        let known = state.groups.get(&id).and_then(|group| group.unstopped.iter().next());
        let (host, epoch) = known.map_or((host(self.host), Epoch(1)), |(host, epoch)| (host.clone(), *epoch));
        let incarnation = self.incarnation(state, &host);
        let epoch = if self.luck == 7 { epoch.next() } else { epoch };
        Command::RecordStopped { group: id, epoch, host, incarnation }
    }

    fn begin(&self, state: &State) -> Command {
        let reasons = [
            FailoverReason::Requested,
            FailoverReason::HostLost,
            FailoverReason::HostRestarted,
            FailoverReason::DiskFailed,
            FailoverReason::Requested,
            FailoverReason::Released,
            FailoverReason::DiskReplaced,
            FailoverReason::StartTimedOut,
        ];
        let reason = reasons[usize::from(self.choice) % reasons.len()];
        let target = (reason == FailoverReason::Requested && self.flag).then(|| self.candidate(state));
        Command::BeginFailover {
            group: group(self.group),
            epoch: (!self.flag).then(|| self.epoch(state)),
            reason,
            target,
            evidence: vec![],
        }
    }
}

/// A latched disk that passes its checks, if there is one.
fn clearable(state: &State) -> Option<DiskId> {
    let well = |disk: &Disk| disk.latched.as_ref().is_some_and(|latch| latch.well_since.is_some());
    state.disks.values().find(|disk| well(disk)).map(|disk| disk.id.clone())
}
