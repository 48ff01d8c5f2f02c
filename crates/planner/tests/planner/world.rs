//! A small cluster for the planners' tests: three hosts with a disk each, one group, a leader that hears them all.

use quorate_domain::{
    Applied, Cause, ClusterId, Command, CoordinatorId, DiskId, DiskIdentity, DiskName, Event, Group, GroupId,
    GroupState, HookTimes, HostId, HostStatus, Incarnation, InstanceId, Outcome, Proposal, Settings, StartId,
    State, Term, Timestamp, Verdict, Zone, apply,
    command::{Fencing, MemberSpec},
    operation::FailoverReason,
};
use quorate_planner::{
    DiskObservation, GroupObservation, HostObservation, Mono, Observations, Plan, plan_all,
};
use std::collections::BTreeMap;

/// When the tests begin.
pub(crate) const START: Mono = Mono(100_000);
/// D of the default settings.
pub(crate) const D: u64 = 7_500;

#[derive(Clone)]
pub(crate) struct World {
    pub(crate) state: State,
    pub(crate) seen: Observations,
    pub(crate) now: Mono,
}

pub(crate) fn host(id: &str) -> HostId {
    HostId::new(id).expect("a valid name")
}

pub(crate) fn g1() -> GroupId {
    GroupId::new("g1").expect("a valid name")
}

pub(crate) fn d1() -> DiskName {
    DiskName::new("d1").expect("a valid name")
}

impl World {
    /// Group g1 is active on h1, with h2 and h3 behind it; everybody was heard of just now.
    pub(crate) fn new() -> Self {
        let mut world = Self { state: State::default(), seen: Observations::default(), now: START };
        world.seen = Observations {
            leader: CoordinatorId(1),
            term: Term(1),
            led_since: Mono(50_000),
            observe_until: Mono(50_000 + D),
            ..Observations::default()
        };
        let cluster = ClusterId::new("c1").expect("a valid name");
        world.apply(Command::CreateCluster { cluster, formation: None, settings: Settings::default() });
        for id in ["h1", "h2", "h3"] {
            world.register(id, 1);
            world.heard(id);
            let disk = &mut world.observed(id).disks;
            disk.insert(d1(), disk_report(id, Verdict::Healthy));
        }
        world.settle();
        world.apply(Command::CreateGroup {
            group: g1(),
            primary: MemberSpec { host: host("h1"), disk: None },
            backups: ["h2", "h3"].map(|id| MemberSpec { host: host(id), disk: None }).to_vec(),
            labels: BTreeMap::new(),
        });
        world.says("h1", GroupState::Acting);
        world.settle();
        world
    }

    pub(crate) fn register(&mut self, id: &str, incarnation: u64) {
        self.register_with_hooks(id, incarnation, HookTimes::default());
    }

    pub(crate) fn register_with_hooks(&mut self, id: &str, incarnation: u64, hook_times: HookTimes) {
        self.apply(Command::RegisterHost {
            host: host(id),
            zone: Zone::new("z1").expect("a valid name"),
            address: "127.0.0.1:7000".into(),
            instance: InstanceId::new(format!("i-{id}")).expect("a valid name"),
            incarnation: Incarnation(incarnation),
            start: StartId(incarnation),
            hook_times,
        });
    }

    /// Applies a command that must be accepted.
    pub(crate) fn apply(&mut self, command: Command) -> Applied {
        let asked = format!("{command:?}");
        let applied = self.propose(command);
        assert!(matches!(applied.outcome, Outcome::Accepted { .. }), "{asked}: {:?}", applied.outcome);
        applied
    }

    pub(crate) fn propose(&mut self, command: Command) -> Applied {
        let proposal = Proposal::new(Timestamp(1_000_000 + self.now.0), Cause::Cluster, command);
        let applied = apply(&mut self.state, self.seen.term, &proposal);
        self.seen.note_applied(&self.state, self.now);
        applied
    }

    pub(crate) fn observed(&mut self, id: &str) -> &mut HostObservation {
        let incarnation = self.state.hosts.get(&host(id)).map(|host| host.incarnation).unwrap_or_default();
        self.seen
            .hosts
            .entry(host(id))
            .or_insert_with(|| HostObservation { incarnation, ..HostObservation::default() })
    }

    /// A heartbeat of the host's recorded start arrives.
    pub(crate) fn heard(&mut self, id: &str) {
        let now = self.now;
        let seen = self.observed(id);
        (seen.last_contact, seen.connected) = (now, true);
    }

    /// The host's agent reports on g1 under its present epoch.
    pub(crate) fn says(&mut self, id: &str, state: GroupState) {
        let epoch = self.group().epoch;
        let report = GroupObservation { epoch, state, reason: "test".into() };
        let seen = self.observed(id);
        let not_stopped = seen.not_stopped.insert(BTreeMap::new());
        if !matches!(state, GroupState::Ended | GroupState::StartFailed) {
            not_stopped.insert(g1(), report.clone());
        }
        seen.groups.insert(g1(), report);
    }

    pub(crate) fn disconnect(&mut self, id: &str) {
        self.observed(id).connected = false;
    }

    /// Time passes in which only these hosts are heard of.
    pub(crate) fn pass(&mut self, ms: u64, heard: &[&str]) {
        self.now = self.now.plus_ms(ms);
        for id in heard {
            self.heard(id);
        }
    }

    /// Another coordinator leads: it has seen nothing.
    pub(crate) fn new_leader(&mut self) {
        self.seen = Observations {
            leader: CoordinatorId(self.seen.leader.0 + 1),
            term: self.seen.term.next(),
            led_since: self.now,
            observe_until: self.now.plus_ms(D),
            ..Observations::default()
        };
        self.seen.note_applied(&self.state, self.now);
    }

    pub(crate) fn mark(&mut self, id: &str, status: HostStatus) {
        let incarnation = self.state.hosts.get(&host(id)).expect("a host of this world").incarnation;
        let (reason, evidence) = ("test".to_owned(), vec![]);
        self.apply(Command::MarkHost { host: host(id), incarnation, status, reason, evidence });
    }

    /// A host that stopped in good order: offline, and no longer judged.
    pub(crate) fn stop(&mut self, id: &str) {
        self.mark(id, HostStatus::Offline);
        let seen = self.observed(id);
        (seen.stopping, seen.connected) = (true, false);
    }

    pub(crate) fn fail_disk(&mut self, id: &str) {
        self.observed(id).disks.insert(d1(), disk_report(id, Verdict::Failed));
        let incarnation = self.observed(id).incarnation;
        let DiskObservation { identity, path, capacity_bytes, verdict, reasons, .. } =
            disk_report(id, Verdict::Failed);
        let disk = DiskId { host: host(id), name: d1() };
        self.apply(Command::RecordDisk {
            disk,
            incarnation,
            identity,
            path,
            capacity_bytes,
            verdict,
            reasons,
        });
    }

    /// The present start of a host's agent has read its disk, which is the one that it had.
    pub(crate) fn read_disk(&mut self, id: &str) {
        let incarnation = self.state.hosts.get(&host(id)).expect("a host of this world").incarnation;
        let DiskObservation { identity, path, capacity_bytes, verdict, reasons, .. } =
            disk_report(id, Verdict::Healthy);
        let disk = DiskId { host: host(id), name: d1() };
        self.apply(Command::RecordDisk {
            disk,
            incarnation,
            identity,
            path,
            capacity_bytes,
            verdict,
            reasons,
        });
    }

    pub(crate) fn request_failover(&mut self, target: Option<&str>) {
        self.apply(Command::BeginFailover {
            group: g1(),
            epoch: None,
            reason: FailoverReason::Requested,
            target: target.map(host),
            evidence: vec![],
        });
    }

    pub(crate) fn group(&self) -> &Group {
        self.state.groups.get(&g1()).expect("the group of this world")
    }

    pub(crate) fn plan(&self) -> Plan {
        plan_all(&self.state, &self.seen, self.now)
    }

    /// The plan in short lines.
    pub(crate) fn planned(&self) -> Vec<String> {
        self.plan().commands.iter().map(|planned| line(&planned.command)).collect()
    }

    /// Plans and applies until nothing is left to do; what was applied, in order, with the events.
    pub(crate) fn settle(&mut self) -> (Vec<String>, Vec<Event>) {
        let (mut lines, mut events) = (Vec::new(), Vec::new());
        for _ in 0..20 {
            let plan = self.plan();
            if plan.commands.is_empty() {
                return (lines, events);
            }
            for planned in plan.commands {
                // Commands of one plan hold against the state that was planned on; an earlier one may overtake a later.
                let line = line(&planned.command);
                let applied = self.propose(planned.command);
                match &applied.outcome {
                    Outcome::Accepted { .. } => lines.push(line),
                    Outcome::Refused(rejection) => lines.push(format!("{line}: {}", rejection.code())),
                }
                events.extend(applied.committed.iter().flat_map(|committed| committed.events.clone()));
            }
        }
        panic!("plans never end: {lines:?}");
    }
}

/// Every host has a medium of its own.
pub(crate) fn disk_report(id: &str, verdict: Verdict) -> DiskObservation {
    let identity = if id == "h1" { "medium".to_owned() } else { format!("medium-{id}") };
    DiskObservation {
        identity: DiskIdentity(identity),
        path: "/data".into(),
        capacity_bytes: 1_000,
        free_bytes: 500,
        verdict,
        reasons: vec![],
        checked_at: Timestamp(0),
    }
}

fn fenced(fencing: &Fencing) -> String {
    match fencing {
        Fencing::Released => "released".into(),
        Fencing::Waited { waited_ms, term } => format!("waited {waited_ms} in {term}"),
    }
}

/// A command in one line.
pub(crate) fn line(command: &Command) -> String {
    match command {
        Command::MarkHost { host, status, .. } => format!("mark {host} {status}"),
        Command::RecordDisk { disk, verdict, .. } => format!("disk {disk} {verdict}"),
        Command::BeginFailover { group, reason, .. } => format!("begin {group} {reason}"),
        Command::RecordRelease { group, host, .. } => format!("release {group} {host}"),
        Command::RecordStopped { group, host, .. } => format!("stopped {group} {host}"),
        Command::ReportBlocked { group, reasons, .. } if reasons.is_empty() => format!("unblock {group}"),
        Command::ReportBlocked { group, reasons, .. } => format!("block {group} {}", reasons.len()),
        Command::ChooseCandidate { group, candidate, fencing, .. } => {
            format!("choose {group} {candidate} {}", fenced(fencing))
        }
        Command::Promote { group, candidate, fencing, .. } => {
            format!("promote {group} {candidate} {}", fenced(fencing))
        }
        Command::RecordInstalled { group, host, .. } => format!("installed {group} {host}"),
        Command::AcknowledgePromotion { group, host, .. } => format!("acting {group} {host}"),
        Command::ReportStartFailed { group, host, .. } => format!("start-failed {group} {host}"),
        Command::FinishDeletion { group, fencing, .. } => format!("deleted {group} {}", fenced(fencing)),
        other => other.name().to_owned(),
    }
}
