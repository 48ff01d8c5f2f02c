//! What a host as a whole may do: DESIGN section 5, service modes.

#![allow(clippy::unwrap_used, reason = "also in the functions that the tests share")]

use quorate_agent_core::{
    BootMs, Core, DurableEpochs, HookKind, HookOutcome, LocalRole,
    QuorumWord::{self, Has, Lacks, Nothing},
    Start, Step,
};
use quorate_domain::{
    Assignment, AssignmentEntry, DiskName, Epoch, GroupId, HostId, Incarnation, LeaseSettings, Revision,
    Role,
    ServiceMode::{self, Normal, ReadOnly, Safe},
};

/// Writes stop five seconds after the renewal was sent.
const STOP: u64 = 5_000;

struct Host {
    core: Core,
    now: u64,
}

impl Host {
    fn new() -> Self {
        let (core, steps) = Core::new(Start {
            incarnation: Incarnation(1),
            on_disk: DurableEpochs::default(),
            settings: LeaseSettings::default(),
            at: BootMs(1_000),
            guarded: false,
            demotion_ms: 0,
        });
        let mut host = Self { core, now: 1_000 };
        host.perform(steps);
        host
    }

    fn now(&self) -> BootMs {
        BootMs(self.now)
    }

    /// Does at once what the core asks for.
    fn perform(&mut self, steps: Vec<Step>) {
        for step in steps {
            let now = self.now();
            let more = match step {
                Step::StoreEpochs { request, .. } => self.core.epochs_stored(request, now),
                Step::RunHook { group, epoch, kind, .. } => {
                    self.core.hook_finished(&group, epoch, kind, HookOutcome::Succeeded, now)
                }
                Step::KillHook { group, epoch } => {
                    let killed = HookOutcome::Failed("killed".into());
                    self.core.hook_finished(&group, epoch, HookKind::Promote, killed, now)
                }
                Step::TellWarden { request, .. } => self.core.warden_told(request, now),
                Step::Report | Step::Resync | Step::Stopped => vec![],
            };
            self.perform(more);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now += ms;
        let steps = self.core.tick(self.now());
        self.perform(steps);
    }

    fn said(&mut self, coordinator: &str, word: QuorumWord) {
        let steps = self.core.coordinator_said(coordinator, word, self.now());
        self.perform(steps);
    }

    fn welcomed(&mut self) {
        let steps = self.core.welcomed(LeaseSettings::default(), self.now());
        self.perform(steps);
    }

    fn assigned(&mut self, revision: u64, epoch: u64, roles: [(&str, Role); 2]) {
        let entry = |(group, role): (&str, Role)| AssignmentEntry {
            group: GroupId::new(group).unwrap(),
            epoch: Epoch(epoch),
            role,
            granted_to: Incarnation(1),
            disk: DiskName::new("d1").unwrap(),
            primary: HostId::new("h1").unwrap(),
        };
        let entries = roles.map(entry).to_vec();
        let assignment = Assignment { revision: Revision(revision), entries };
        let steps = self.core.assignment_snapshot(assignment, self.now());
        self.perform(steps);
    }

    /// A heartbeat that is acknowledged at once, if this assignment is installed.
    fn renewed(&mut self, needs: u64) {
        let seq = self.core.heartbeat_sent(self.now());
        let steps = self.core.heartbeat_acknowledged(seq, Revision(needs), self.now());
        self.perform(steps);
    }

    fn mode(&self) -> ServiceMode {
        self.core.service_mode(self.now())
    }

    fn role(&self, group: &str) -> LocalRole {
        self.core.role(&GroupId::new(group).unwrap(), self.now()).unwrap().role
    }

    /// Primary of `a`, backup of `b`, just renewed.
    fn serving() -> Self {
        let mut host = Self::new();
        host.welcomed();
        host.assigned(1, 1, [("a", Role::Primary), ("b", Role::Backup)]);
        host.renewed(1);
        assert_eq!(
            (host.mode(), host.role("a"), host.role("b")),
            (Normal, LocalRole::Primary, LocalRole::Backup)
        );
        host
    }
}

/// What coordinators say, one after the other.
type Words = &'static [(&'static str, QuorumWord)];

#[test]
fn a_host_is_safe_only_once_its_lease_is_over_and_all_whom_it_reaches_lack_a_quorum() {
    let table: [(&str, Words, ServiceMode); 8] = [
        ("nobody is reached", &[], ReadOnly),
        ("all that is reached lacks a quorum", &[("c1", Lacks)], Safe),
        ("several do", &[("c1", Lacks), ("c2", Lacks), ("c3", Lacks)], Safe),
        ("one of them has one", &[("c1", Lacks), ("c2", Has), ("c3", Lacks)], ReadOnly),
        ("one that lacked it has it", &[("c1", Lacks), ("c1", Has)], ReadOnly),
        ("one that had it lacks it", &[("c1", Has), ("c1", Lacks)], Safe),
        ("the one that had it is gone", &[("c1", Lacks), ("c2", Has), ("c2", Nothing)], Safe),
        ("what one said before it was gone counts no more", &[("c1", Lacks), ("c1", Nothing)], ReadOnly),
    ];
    for (what, words, mode) in table {
        let mut host = Host::serving();
        for (coordinator, word) in words {
            host.said(coordinator, *word);
        }
        assert_eq!(host.mode(), Normal, "{what}: the lease is still valid");
        assert_eq!(host.role("a"), LocalRole::Primary, "{what}");
        host.pass(STOP);
        assert_eq!(host.mode(), mode, "{what}");
        let backup = if mode == Safe { LocalRole::Fenced } else { LocalRole::Backup };
        assert_eq!((host.role("a"), host.role("b")), (LocalRole::Fenced, backup), "{what}");
        assert!(!host.core.service_mode_reason(host.now()).is_empty());
    }
}

#[test]
fn the_reason_names_who_lacks_a_quorum() {
    let mut host = Host::serving();
    host.said("10.0.0.1:7401", Lacks);
    host.pass(STOP);
    let reason = host.core.service_mode_reason(host.now());
    assert!(reason.contains("10.0.0.1:7401") && reason.contains("no quorum"), "{reason}");
    let answer = host.core.role(&GroupId::new("b").unwrap(), host.now()).unwrap();
    assert_eq!(answer.reason, reason);
}

#[test]
fn silence_does_not_end_safe_mode_and_a_word_of_a_quorum_does() {
    let mut host = Host::serving();
    host.said("c1", Lacks);
    host.pass(STOP);
    host.said("c1", Nothing);
    host.pass(60_000);
    assert_eq!(host.mode(), Safe, "nobody has said otherwise");
    host.said("c2", Has);
    assert_eq!(host.mode(), ReadOnly);
    host.said("c2", Nothing);
    assert_eq!(host.mode(), ReadOnly, "and nobody lacks one");
}

#[test]
fn nothing_but_a_renewal_with_the_assignment_that_it_names_makes_a_host_normal_again() {
    let mut host = Host::serving();
    host.said("c1", Lacks);
    host.pass(STOP);
    assert_eq!(host.mode(), Safe);
    host.welcomed();
    assert_eq!(host.mode(), ReadOnly, "a quorum has confirmed a leader, and renewed nothing yet");
    host.renewed(2);
    assert_eq!(host.mode(), ReadOnly, "the renewal names an assignment that is not here");
    host.assigned(2, 1, [("a", Role::Primary), ("b", Role::Backup)]);
    assert_eq!(host.mode(), Normal);
    assert_eq!(host.role("a"), LocalRole::Fenced, "an epoch that has ended does not come back");
    host.assigned(3, 2, [("a", Role::Primary), ("b", Role::Backup)]);
    assert_eq!(host.role("a"), LocalRole::Primary, "a later one is acted under");
}

#[test]
fn a_start_that_never_had_a_lease_is_read_only_and_safe_as_any_other() {
    let mut host = Host::new();
    assert_eq!(host.mode(), ReadOnly);
    host.said("c1", Lacks);
    assert_eq!(host.mode(), Safe);
    host.welcomed();
    host.assigned(1, 1, [("a", Role::Primary), ("b", Role::Backup)]);
    assert_eq!((host.mode(), host.role("a")), (ReadOnly, LocalRole::Fenced));
    host.renewed(1);
    assert_eq!((host.mode(), host.role("a")), (Normal, LocalRole::Primary));
}

#[test]
fn the_words_that_are_kept_are_bounded() {
    let mut host = Host::serving();
    for number in 0..1_000 {
        host.said(&format!("c{number:04}"), Lacks);
    }
    host.pass(STOP);
    let reason = host.core.service_mode_reason(host.now());
    assert_eq!(reason.matches("c0").count(), quorate_agent_core::COORDINATORS_MAX, "{reason}");
}
