//! A small cluster for the tables: three hosts with a disk each, and a group on them.

use quorate_domain::{
    Applied, Cause, ClusterId, Command, DiskId, DiskIdentity, DiskName, Epoch, Event, FormationId, Group,
    GroupId, HookTimes, Host, HostId, HostStatus, Incarnation, InstanceId, Member, OperationId, Outcome,
    Proposal, Settings, StartId, State, Term, Timestamp, Verdict, VerdictReason, Zone, apply,
    command::{Fencing, MemberSpec},
    operation::FailoverReason,
};
use std::collections::BTreeMap;

/// D of the default settings.
pub(crate) const D: u64 = 7_500;
/// The term in which everything is applied unless a test says otherwise.
pub(crate) const TERM: Term = Term(5);

#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) state: State,
    pub(crate) term: Term,
}

pub(crate) fn h(id: &str) -> HostId {
    HostId::new(id).expect("a valid name")
}

pub(crate) fn g(id: &str) -> GroupId {
    GroupId::new(id).expect("a valid name")
}

pub(crate) fn d(id: &str) -> DiskName {
    DiskName::new(id).expect("a valid name")
}

pub(crate) fn cluster(id: &str) -> ClusterId {
    ClusterId::new(id).expect("a valid name")
}

pub(crate) fn disk_id(host: &str, disk: &str) -> DiskId {
    DiskId { host: h(host), name: d(disk) }
}

pub(crate) fn member(host: &str) -> Member {
    Member { host: h(host), disk: d("d1") }
}

pub(crate) fn spec(host: &str) -> MemberSpec {
    MemberSpec { host: h(host), disk: None }
}

pub(crate) fn waited(waited_ms: u64, term: u64) -> Fencing {
    Fencing::Waited { waited_ms, term: Term(term) }
}

pub(crate) fn create_cluster() -> Command {
    Command::CreateCluster {
        cluster: cluster("c1"),
        formation: Some(FormationId::of(1)),
        settings: Settings::default(),
    }
}

pub(crate) fn register(host: &str, instance: &str, incarnation: u64) -> Command {
    Command::RegisterHost {
        host: h(host),
        zone: Zone::new("z1").expect("a valid name"),
        address: "10.0.0.1:7000".into(),
        instance: InstanceId::new(instance).expect("a valid name"),
        incarnation: Incarnation(incarnation),
        start: StartId(1),
        hook_times: HookTimes::default(),
    }
}

/// A start of a host whose demotions may take this long after its lease.
pub(crate) fn register_with_hooks(host: &str, incarnation: u64, demotion_ms: u64) -> Command {
    let mut command = register(host, &format!("i-{host}"), incarnation);
    if let Command::RegisterHost { hook_times, .. } = &mut command {
        *hook_times = HookTimes { promotion_ms: 10_000, demotion_ms };
    }
    command
}

pub(crate) fn mark(host: &str, incarnation: u64, status: HostStatus) -> Command {
    Command::MarkHost {
        host: h(host),
        incarnation: Incarnation(incarnation),
        status,
        reason: "test".into(),
        evidence: vec![],
    }
}

pub(crate) fn finding(code: &str, at: u64) -> VerdictReason {
    VerdictReason {
        code: code.into(),
        attribute: "attribute".into(),
        observed: at.to_string(),
        threshold: "0".into(),
        source: "probe".into(),
        at: Timestamp(at),
    }
}

pub(crate) fn report(host: &str, disk: &str, identity: &str, verdict: Verdict) -> Command {
    Command::RecordDisk {
        disk: disk_id(host, disk),
        incarnation: Incarnation(1),
        identity: DiskIdentity(identity.into()),
        path: "/data".into(),
        capacity_bytes: 1_000,
        verdict,
        reasons: vec![],
    }
}

pub(crate) fn create_group(group: &str, primary: &str, backups: &[&str]) -> Command {
    Command::CreateGroup {
        group: g(group),
        primary: spec(primary),
        backups: backups.iter().map(|host| spec(host)).collect(),
        labels: BTreeMap::new(),
    }
}

pub(crate) fn begin(reason: FailoverReason) -> Command {
    Command::BeginFailover { group: g("g1"), epoch: None, reason, target: None, evidence: vec![] }
}

pub(crate) fn request(target: Option<&str>) -> Command {
    Command::BeginFailover {
        group: g("g1"),
        epoch: None,
        reason: FailoverReason::Requested,
        target: target.map(h),
        evidence: vec![],
    }
}

impl Stage {
    /// Three hosts, each with disk d1, and nothing else.
    pub(crate) fn hosts() -> Self {
        let mut stage = Self { state: State::default(), term: TERM };
        stage.ok(create_cluster());
        for host in ["h1", "h2", "h3"] {
            stage.ok(register(host, &format!("i-{host}"), 1));
            stage.ok(report(host, "d1", &format!("medium-{host}"), Verdict::Healthy));
        }
        stage
    }

    /// And group g1, starting on h1 with h2 and h3 behind it.
    pub(crate) fn starting() -> Self {
        let mut stage = Self::hosts();
        stage.ok(create_group("g1", "h1", &["h2", "h3"]));
        stage
    }

    /// And it acts.
    pub(crate) fn active() -> Self {
        let mut stage = Self::starting();
        stage.ok(stage.acknowledge("h1"));
        stage
    }

    /// And it was revoked by an operator.
    pub(crate) fn revoked() -> Self {
        let mut stage = Self::active();
        stage.ok(request(None));
        stage
    }

    /// And h2 was chosen after the wait.
    pub(crate) fn chosen() -> Self {
        let mut stage = Self::revoked();
        stage.ok(stage.choose("h2", waited(D, TERM.0)));
        stage
    }

    /// And h2 was promoted, and has not said anything yet.
    pub(crate) fn switched() -> Self {
        let mut stage = Self::chosen();
        stage.ok(stage.promote("h2", waited(D, TERM.0)));
        stage
    }

    pub(crate) fn apply(&mut self, command: Command) -> Applied {
        let at = Timestamp(1_000 + self.state.revision().0);
        let proposal = Proposal::new(at, Cause::Cluster, command);
        apply(&mut self.state, self.term, &proposal)
    }

    /// The events of a command that must be accepted.
    pub(crate) fn ok(&mut self, command: Command) -> Vec<Event> {
        let asked = format!("{command:?}");
        let applied = self.apply(command);
        assert!(matches!(applied.outcome, Outcome::Accepted { .. }), "{asked}: {:?}", applied.outcome);
        applied.committed.map_or(vec![], |committed| committed.events.clone())
    }

    /// The code of a command that must be refused; nothing changes.
    pub(crate) fn refused(&mut self, command: Command) -> &'static str {
        let before = self.state.digest();
        let asked = format!("{command:?}");
        let applied = self.apply(command);
        assert_eq!(self.state.digest(), before, "{asked}");
        match applied.outcome {
            Outcome::Refused(rejection) => rejection.code(),
            Outcome::Accepted { .. } => panic!("accepted: {asked}"),
        }
    }

    pub(crate) fn group(&self) -> &Group {
        self.state.groups.get(&g("g1")).expect("the group of this stage")
    }

    pub(crate) fn host(&self, id: &str) -> &Host {
        self.state.hosts.get(&h(id)).expect("a host of this stage")
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.group().epoch
    }

    pub(crate) fn operation(&self) -> OperationId {
        self.group().phase.operation().expect("an operation runs")
    }

    pub(crate) fn next_operation(&self) -> OperationId {
        OperationId(self.state.revision().0 + 1)
    }

    pub(crate) fn acknowledge(&self, host: &str) -> Command {
        let (group, epoch, incarnation) = (g("g1"), self.epoch(), self.host(host).incarnation);
        Command::AcknowledgePromotion { group, epoch, host: h(host), incarnation }
    }

    pub(crate) fn installed(&self, host: &str) -> Command {
        let (group, epoch, incarnation) = (g("g1"), self.epoch(), self.host(host).incarnation);
        Command::RecordInstalled { group, epoch, host: h(host), incarnation }
    }

    pub(crate) fn start_failed(&self, host: &str) -> Command {
        Command::ReportStartFailed {
            group: g("g1"),
            epoch: self.epoch(),
            host: h(host),
            incarnation: self.host(host).incarnation,
            reason: "hook exit 1".into(),
        }
    }

    pub(crate) fn release(&self, host: &str) -> Command {
        Command::RecordRelease {
            group: g("g1"),
            epoch: self.epoch(),
            host: h(host),
            incarnation: self.host(host).incarnation,
            reason: "let go".into(),
        }
    }

    pub(crate) fn stopped(&self, host: &str, epoch: Epoch) -> Command {
        let incarnation = self.host(host).incarnation;
        Command::RecordStopped { group: g("g1"), epoch, host: h(host), incarnation }
    }

    pub(crate) fn choose(&self, candidate: &str, fencing: Fencing) -> Command {
        let (group, operation, candidate) = (g("g1"), self.operation(), h(candidate));
        Command::ChooseCandidate { group, operation, candidate, fencing, evidence: vec![] }
    }

    pub(crate) fn promote(&self, candidate: &str, fencing: Fencing) -> Command {
        Command::Promote { group: g("g1"), operation: self.operation(), candidate: h(candidate), fencing }
    }

    pub(crate) fn finish_deletion(&self, fencing: Fencing) -> Command {
        Command::FinishDeletion { group: g("g1"), epoch: self.epoch(), fencing }
    }
}
