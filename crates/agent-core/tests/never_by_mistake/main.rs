//! Any order of events: a host acts as primary only when every rule of DESIGN section 5 lets it.

#![allow(clippy::unwrap_used, reason = "also in the functions that the tests share")]

mod guards;

use guards::{Guarding, guarding};
use proptest::prelude::*;
use quorate_agent_core::{
    BootMs, Core, DurableEpochs, HookKind, HookOutcome, LocalRole, QuorumWord, Seat, Start, Step,
    guard::Proof,
};
use quorate_domain::{
    Assignment, AssignmentEntry, DiskName, Epoch, GroupId, GroupState, HostId, Incarnation, LeaseSettings,
    Revision, Role, ServiceMode,
};
use std::collections::{BTreeMap, BTreeSet};

const GROUPS: [&str; 2] = ["a", "b"];

#[derive(Debug, Clone)]
enum Input {
    Pass(u64),
    /// Time passes, and the process sees nothing of it.
    Freeze(u64),
    Heartbeat,
    /// Of the n-th heartbeat from the end, naming the installed revision plus this.
    Acknowledge(usize, u64),
    /// Time between a sending and its acknowledgement shows in `Pass`; the revision goes up by this.
    Snapshot(u64, Vec<Named>),
    Delta(u64, u64, Vec<Named>, Vec<usize>),
    Stored,
    Hook(usize, u8),
    SessionLost,
    /// One of the coordinators says something of its quorum.
    Said(usize, u8),
    Ask(usize),
    /// The warden knows the deadline that it was told of.
    Told,
    WardenLost,
    /// The warden has ended the service of a group.
    ServiceEnded(usize),
    /// Something happens to a guard.
    Guarding(usize, Guarding),
    Stop,
    Restart,
}

#[derive(Debug, Clone)]
struct Named {
    group: usize,
    /// Relative to the highest ever named, so that grants are mostly new and sometimes stale.
    epoch_back: u64,
    primary: bool,
    own_start: bool,
}

fn named() -> impl Strategy<Value = Named> {
    (
        0..GROUPS.len(),
        prop_oneof![3 => Just(0_u64), 2 => Just(1), 1 => 2..4_u64],
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.85),
    )
        .prop_map(|(group, epoch_back, primary, own_start)| Named {
            group,
            epoch_back,
            primary,
            own_start,
        })
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => (1..900_u64).prop_map(Input::Pass),
        1 => (1..9_000_u64).prop_map(Input::Freeze),
        6 => Just(Input::Heartbeat),
        8 => (0..3_usize, prop_oneof![5 => Just(0_u64), 1 => 1..3_u64]).prop_map(|(back, ahead)| Input::Acknowledge(back, ahead)),
        3 => (0..3_u64, prop::collection::vec(named(), 0..3)).prop_map(|(up, entries)| Input::Snapshot(up, entries)),
        2 => (0..2_u64, 0..3_u64, prop::collection::vec(named(), 0..2), prop::collection::vec(0..GROUPS.len(), 0..2))
            .prop_map(|(off, up, changed, removed)| Input::Delta(off, up, changed, removed)),
        8 => Just(Input::Stored),
        8 => (0..3_usize, 0..8_u8).prop_map(|(which, outcome)| Input::Hook(which, outcome)),
        1 => Just(Input::SessionLost),
        3 => (0..3_usize, 0..5_u8).prop_map(|(coordinator, word)| Input::Said(coordinator, word)),
        2 => (0..GROUPS.len()).prop_map(Input::Ask),
        16 => Just(Input::Told),
        1 => prop_oneof![1 => Just(Input::WardenLost), 3 => (0..GROUPS.len()).prop_map(Input::ServiceEnded)],
        7 => guarding().prop_map(|(group, what)| Input::Guarding(group, what)),
        1 => prop_oneof![1 => Just(Input::Stop), 3 => Just(Input::Restart)],
    ]
}

/// The host around the core, and an independent record of what it may do.
struct World {
    core: Core,
    now: u64,
    incarnation: u64,
    disk: DurableEpochs,
    writing: Option<(u64, DurableEpochs)>,
    hooks: Vec<(GroupId, Epoch, HookKind)>,
    sent: Vec<(u64, u64)>,
    acknowledged: Vec<(u64, u64)>,
    /// Renewals count only once the warden knows.
    guarded: bool,
    /// When what the warden is being told of was sent.
    telling: Option<(u64, u64)>,
    /// When the newest renewal that a quorum has confirmed was sent.
    confirmed_from: Option<u64>,
    installed: Option<u64>,
    entries: BTreeMap<GroupId, AssignmentEntry>,
    top_epoch: u64,
    counted_from: Option<u64>,
    promoted: BTreeSet<(GroupId, Epoch)>,
    ended: BTreeSet<(GroupId, Epoch)>,
    told: BTreeMap<(GroupId, Epoch), u64>,
    demoted: BTreeSet<(GroupId, Epoch)>,
    /// Their demotion failed, and nothing has proved since that their service has stopped.
    not_stopped: BTreeSet<(GroupId, Epoch)>,
    /// The warden has told this start that nothing is left of their service: a demotion that fails afterwards says nothing.
    proven: BTreeSet<(GroupId, Epoch)>,
    /// The same, of all starts.
    was_proven: BTreeSet<(GroupId, Epoch)>,
    /// Until when guards were told that they may run a service, of those that have not said that they ended it.
    guarded_until: BTreeMap<(GroupId, Epoch), u64>,
    /// Where guards sit that were told of an epoch, and nobody has said since that nothing is left.
    awaited: BTreeMap<(GroupId, Epoch), Seat>,
    /// The guards that are attached, and where they sit.
    attached: BTreeMap<GroupId, u32>,
    /// The last word of each coordinator: true for "no quorum".
    words: BTreeMap<usize, bool>,
    /// Everybody who was reached lacked a quorum at some time since somebody had one.
    all_lacked: bool,
    started_at: u64,
    stopped: bool,
    acted: usize,
    safe: usize,
    stop_failed: usize,
    guards_told: usize,
    guards_settled: usize,
}

impl World {
    fn new(guarded: bool) -> Self {
        let disk = DurableEpochs::default();
        let (core, _) = start(1, disk.clone(), 10, guarded);
        Self {
            core,
            now: 10,
            incarnation: 1,
            disk,
            writing: None,
            hooks: vec![],
            sent: vec![],
            acknowledged: vec![],
            guarded,
            telling: None,
            confirmed_from: None,
            installed: None,
            entries: BTreeMap::new(),
            top_epoch: 1,
            counted_from: None,
            promoted: BTreeSet::new(),
            ended: BTreeSet::new(),
            told: BTreeMap::new(),
            demoted: BTreeSet::new(),
            not_stopped: BTreeSet::new(),
            proven: BTreeSet::new(),
            was_proven: BTreeSet::new(),
            guarded_until: BTreeMap::new(),
            awaited: BTreeMap::new(),
            attached: BTreeMap::new(),
            words: BTreeMap::new(),
            all_lacked: false,
            started_at: 10,
            stopped: false,
            acted: 0,
            safe: 0,
            stop_failed: 0,
            guards_told: 0,
            guards_settled: 0,
        }
    }

    fn now(&self) -> BootMs {
        BootMs(self.now)
    }

    /// The lease by the rules, reckoned apart from the core: whatever was acknowledged for an installed revision.
    fn reckon(&mut self) {
        let installed = self.installed;
        let counted =
            self.acknowledged.iter().filter(|(_, needs)| installed.is_some_and(|have| *needs <= have));
        self.confirmed_from = self.confirmed_from.max(counted.map(|(at, _)| *at).max());
        if !self.guarded {
            self.counted_from = self.confirmed_from;
        }
    }

    fn lease_covers(&self) -> bool {
        self.counted_from.is_some_and(|at| self.now < at + 5_000)
    }

    /// What an input finds lapsed stays lapsed.
    fn judge(&mut self) {
        if !self.lease_covers() {
            self.ended.extend(self.promoted.iter().cloned());
        }
    }

    fn entry(&self, named: &Named) -> AssignmentEntry {
        AssignmentEntry {
            group: GroupId::new(GROUPS[named.group]).unwrap(),
            epoch: Epoch(self.top_epoch.saturating_sub(named.epoch_back)),
            role: if named.primary { Role::Primary } else { Role::Backup },
            granted_to: Incarnation(if named.own_start { self.incarnation } else { self.incarnation - 1 }),
            disk: DiskName::new("d").unwrap(),
            primary: HostId::new("h").unwrap(),
        }
    }

    fn install(&mut self, revision: u64, entries: BTreeMap<GroupId, AssignmentEntry>) {
        let before = std::mem::replace(&mut self.entries, entries);
        self.installed = Some(revision);
        for (group, old) in before {
            let still = self.entries.get(&group).is_some_and(|new| {
                (new.role, new.epoch, new.granted_to)
                    == (Role::Primary, old.epoch, Incarnation(self.incarnation))
            });
            if !still && old.role == Role::Primary {
                self.ended.insert((group, old.epoch));
            }
        }
        self.reckon();
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Pass(ms) => {
                self.now += ms;
                self.judge();
                let steps = self.core.tick(self.now());
                self.perform(steps);
            }
            Input::Freeze(ms) => self.now += ms,
            Input::Heartbeat => {
                let seq = self.core.heartbeat_sent(self.now());
                self.sent.push((seq, self.now));
            }
            Input::Acknowledge(back, ahead) => self.acknowledge(back, ahead),
            Input::Snapshot(up, entries) => self.snapshot(up, &entries),
            Input::Delta(off, up, changed, removed) => self.delta(off, up, &changed, &removed),
            Input::Stored => self.stored(),
            Input::Hook(which, outcome) => self.hook(which, outcome),
            Input::SessionLost => {
                self.judge();
                self.sent.clear();
                self.acknowledged.clear();
                let steps = self.core.session_lost(self.now());
                self.perform(steps);
            }
            Input::Said(coordinator, word) => self.said(coordinator, word),
            Input::Ask(which) => {
                let group = GroupId::new(GROUPS[which]).unwrap();
                if let Some(answer) = self.core.tell_role(&group, self.now())
                    && answer.role == LocalRole::Primary
                {
                    self.told.insert((group, answer.epoch), answer.lease_deadline.0);
                }
            }
            Input::Told => self.told_warden(),
            Input::WardenLost => {
                self.judge();
                self.telling = None;
                // Whatever was confirmed before counts no more; what was not may count with the next warden.
                let installed = self.installed;
                self.acknowledged.retain(|(_, needs)| installed.is_none_or(|have| *needs > have));
                (self.counted_from, self.confirmed_from) = (None, None);
                self.judge();
                let steps = self.core.warden_lost(self.now());
                self.perform(steps);
            }
            Input::ServiceEnded(which) => self.service_ended(which),
            Input::Guarding(which, what) => self.guarding(which, what),
            Input::Stop => {
                self.judge();
                self.stopped = true;
                let steps = self.core.stop("stopping", self.now());
                self.perform(steps);
            }
            Input::Restart => self.restart(),
        }
    }

    fn told_warden(&mut self) {
        let Some((request, sent_at)) = self.telling.take() else { return };
        self.judge();
        self.counted_from = self.counted_from.max(Some(sent_at));
        let steps = self.core.warden_told(request, self.now());
        self.perform(steps);
    }

    /// The warden has ended the service of the newest epoch of a group.
    fn service_ended(&mut self, which: usize) {
        let group = GroupId::new(GROUPS[which]).unwrap();
        let Some(epoch) =
            self.core.report().iter().rev().find(|report| report.group == group).map(|r| r.epoch)
        else {
            return;
        };
        self.judge();
        let key = (group.clone(), epoch);
        // What it kills is none of a guard's service.
        if !self.awaited.contains_key(&key) {
            self.not_stopped.remove(&key);
            self.proven.insert(key.clone());
            self.was_proven.insert(key.clone());
        }
        self.ended.insert(key);
        let steps = self.core.service_ended(&group, epoch, &Proof::Killed, self.now());
        self.perform(steps);
    }

    fn said(&mut self, coordinator: usize, word: u8) {
        self.judge();
        let word = match word {
            0 => QuorumWord::Has,
            1 => QuorumWord::Nothing,
            _ => QuorumWord::Lacks,
        };
        match word {
            QuorumWord::Nothing => drop(self.words.remove(&coordinator)),
            said => drop(self.words.insert(coordinator, said == QuorumWord::Lacks)),
        }
        self.all_lacked &= word != QuorumWord::Has;
        let steps = self.core.coordinator_said(&format!("c{coordinator}"), word, self.now());
        self.perform(steps);
    }

    /// The mode of the host, by what it may rest on.
    fn check_mode(&mut self) {
        let mode = self.core.service_mode(self.now());
        let known_to_lack = !self.words.is_empty() && self.words.values().all(|lacks| *lacks);
        self.all_lacked |= known_to_lack;
        match mode {
            ServiceMode::Normal => assert!(self.lease_covers(), "normal without a lease"),
            ServiceMode::ReadOnly => assert!(!known_to_lack, "read-only although all lack a quorum"),
            ServiceMode::Safe => {
                self.safe += 1;
                assert!(self.words.values().all(|lacks| *lacks), "safe although one has a quorum");
                assert!(self.all_lacked, "safe and nobody said so");
                for group in self.core.groups() {
                    let role = self.core.role(&group, self.now()).map(|answer| answer.role);
                    let nothing = role.is_none_or(|role| role == LocalRole::Fenced);
                    assert!(nothing, "a host in safe mode is {role:?} to {group}");
                }
            }
        }
    }

    fn acknowledge(&mut self, back: usize, ahead: u64) {
        let Some((seq, at)) = self.sent.iter().rev().nth(back).copied() else { return };
        let needs = self.installed.unwrap_or(0) + ahead;
        self.judge();
        self.acknowledged.push((at, needs));
        self.reckon();
        let steps = self.core.heartbeat_acknowledged(seq, Revision(needs), self.now());
        self.perform(steps);
    }

    fn snapshot(&mut self, up: u64, named: &[Named]) {
        self.judge();
        self.top_epoch += u64::from(up > 0);
        let revision = (self.installed.unwrap_or(3) + up).saturating_sub(1);
        let entries: Vec<AssignmentEntry> = named.iter().map(|named| self.entry(named)).collect();
        if self.installed.is_none_or(|installed| revision >= installed) {
            self.install(
                revision,
                entries.iter().map(|entry| (entry.group.clone(), entry.clone())).collect(),
            );
        }
        let assignment = Assignment { revision: Revision(revision), entries };
        let steps = self.core.assignment_snapshot(assignment, self.now());
        self.perform(steps);
    }

    fn delta(&mut self, off: u64, up: u64, named: &[Named], removed: &[usize]) {
        self.judge();
        self.top_epoch += u64::from(up > 0);
        let Some(installed) = self.installed else { return };
        let from = installed + off;
        let changed: Vec<AssignmentEntry> = named.iter().map(|named| self.entry(named)).collect();
        let removed: Vec<GroupId> =
            removed.iter().map(|group| GroupId::new(GROUPS[*group]).unwrap()).collect();
        if off == 0 {
            let mut entries = self.entries.clone();
            for group in &removed {
                entries.remove(group);
            }
            entries.extend(changed.iter().map(|entry| (entry.group.clone(), entry.clone())));
            self.install(from + up, entries);
        }
        let steps =
            self.core.assignment_delta(Revision(from), Revision(from + up), changed, &removed, self.now());
        assert_eq!(steps.contains(&Step::Resync), off != 0);
        self.perform(steps);
    }

    fn stored(&mut self) {
        let Some((request, epochs)) = self.writing.take() else { return };
        self.judge();
        self.disk = epochs;
        let steps = self.core.epochs_stored(request, self.now());
        self.perform(steps);
    }

    fn hook(&mut self, which: usize, outcome: u8) {
        if which >= self.hooks.len() {
            return;
        }
        self.judge();
        let (group, epoch, kind) = self.hooks.remove(which);
        let outcome = match outcome {
            0 => HookOutcome::Failed("exit status 1".into()),
            1..=2 => HookOutcome::NotConfigured,
            3 => HookOutcome::ByForce,
            _ => HookOutcome::Succeeded,
        };
        let key = (group.clone(), epoch);
        match (kind, &outcome) {
            (HookKind::Promote, HookOutcome::Failed(_)) => drop(self.ended.insert(key)),
            (HookKind::Promote, _) => drop(self.promoted.insert(key)),
            (HookKind::Demote, HookOutcome::Succeeded) => {
                self.not_stopped.remove(&key);
                self.demoted.insert(key);
            }
            (HookKind::Demote, HookOutcome::NotConfigured | HookOutcome::ByForce) => {
                self.not_stopped.remove(&key);
            }
            (HookKind::Demote, HookOutcome::Failed(_)) if self.proven.contains(&key) => {}
            (HookKind::Demote, HookOutcome::Failed(_)) => drop(self.not_stopped.insert(key)),
        }
        let steps = self.core.hook_finished(&group, epoch, kind, outcome, self.now());
        self.perform(steps);
    }

    /// Time passes, in which whoever was told something has ended by himself, and no hook does anything.
    fn wait(&mut self) {
        for _ in 0..4 {
            self.take(Input::Pass(9_000));
            while !self.hooks.is_empty() {
                self.take(Input::Hook(0, 1));
            }
            self.take(Input::Stored);
            self.check();
        }
    }

    fn restart(&mut self) {
        self.incarnation += 1;
        self.ended.extend(self.promoted.iter().cloned());
        // What never reached the disk was never acted under, and is new to the next start.
        let disk = &self.disk;
        let is_known = |(group, epoch): &(GroupId, Epoch)| {
            disk.highest.get(group).is_some_and(|highest| epoch <= highest)
        };
        self.ended.retain(is_known);
        self.not_stopped.retain(is_known);
        self.proven.clear();
        self.hooks.clear();
        self.writing = None;
        self.sent.clear();
        self.acknowledged.clear();
        self.installed = None;
        self.entries.clear();
        (self.counted_from, self.confirmed_from, self.telling) = (None, None, None);
        self.words.clear();
        self.all_lacked = false;
        self.stopped = false;
        self.started_at = self.now;
        let (core, steps) = start(self.incarnation, self.disk.clone(), self.now, self.guarded);
        self.core = core;
        self.perform(steps);
    }

    fn perform(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::StoreEpochs { request, epochs } => {
                    assert!(self.writing.is_none(), "one write at a time");
                    self.writing = Some((request, epochs));
                }
                Step::RunHook { group, epoch, kind, .. } => {
                    assert!(
                        self.hooks.iter().all(|(other, ..)| *other != group),
                        "one hook of a group at a time"
                    );
                    if kind == HookKind::Promote {
                        self.may_begin(&group, epoch);
                    }
                    self.hooks.push((group, epoch, kind));
                }
                Step::TellWarden { request, deadline } => {
                    assert!(self.guarded && self.telling.is_none(), "one thing to tell at a time");
                    let sent_at = deadline.0 - 6_000;
                    assert!(
                        Some(sent_at) <= self.confirmed_from,
                        "the warden is told of more than was confirmed"
                    );
                    self.telling = Some((request, sent_at));
                }
                Step::Stopped => assert!(self.stopped && self.hooks.is_empty()),
                Step::KillHook { .. } | Step::Report | Step::Resync => {}
            }
        }
    }

    fn may_begin(&self, group: &GroupId, epoch: Epoch) {
        let key = (group.clone(), epoch);
        assert!(self.lease_covers(), "promotion without a lease");
        assert!(
            self.disk.highest.get(group) == Some(&epoch) && self.disk.primary_of.contains(&key),
            "not on disk"
        );
        assert!(!self.ended.contains(&key), "an ended epoch begins again");
        let entry = &self.entries[group];
        assert_eq!((entry.role, entry.epoch, entry.granted_to.0), (Role::Primary, epoch, self.incarnation));
        assert!(!self.stopped);
    }

    fn check(&mut self) {
        self.check_mode();
        for name in GROUPS {
            let group = GroupId::new(name).unwrap();
            let Some(answer) = self.core.role(&group, self.now()) else { continue };
            if answer.role != LocalRole::Primary {
                assert_eq!(answer.write_deadline, BootMs(0));
                continue;
            }
            self.acted += 1;
            let key = (group.clone(), answer.epoch);
            assert!(self.lease_covers(), "acts without a lease");
            assert!(Some(answer.write_deadline.0) <= self.counted_from.map(|at| at + 5_000));
            assert!(self.promoted.contains(&key), "acts before its promote hook ended well");
            self.may_begin(&group, answer.epoch);
        }
        for report in self.core.report() {
            let key = (report.group, report.epoch);
            let told = self.told.get(&key).copied().unwrap_or(0);
            self.stop_failed += usize::from(report.state == GroupState::StopFailed);
            if matches!(report.state, GroupState::Ended | GroupState::StartFailed) {
                assert!(!self.not_stopped.contains(&key), "ENDED of {key:?} whose demotion failed");
                let silent = self.demoted.contains(&key) || told <= self.now;
                assert!(silent, "ENDED of {key:?} at {} though somebody was told {told}", self.now);
                assert!(self.hooks.iter().all(|(group, epoch, _)| (group, epoch) != (&key.0, &key.1)));
                self.check_end_under_guard(&key);
            }
        }
    }
}

fn start(incarnation: u64, on_disk: DurableEpochs, now: u64, guarded: bool) -> (Core, Vec<Step>) {
    let settings = LeaseSettings::default();
    Core::new(Start {
        incarnation: Incarnation(incarnation),
        on_disk,
        settings,
        at: BootMs(now),
        guarded,
        demotion_ms: 0,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(1_000), ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_events_makes_a_host_act_against_the_rules(
        guarded in any::<bool>(),
        inputs in prop::collection::vec(input(), 1..120),
    ) {
        let mut world = World::new(guarded);
        for input in inputs {
            world.take(input);
            world.tell_guards();
            world.check();
        }
        world.wait();
    }
}

/// The property above is worth something only if hosts do act in it, and are safe in it.
#[test]
fn random_orders_do_reach_acting_and_safe_mode() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let worlds: Vec<World> = (0..300)
        .map(|number| {
            let inputs = prop::collection::vec(input(), 240).new_tree(&mut runner).unwrap().current();
            let mut world = World::new(number % 2 == 0);
            for input in inputs {
                world.take(input);
                world.tell_guards();
                world.check();
            }
            world.wait();
            world
        })
        .collect();
    for guarded in [false, true] {
        let acted = worlds.iter().filter(|world| world.guarded == guarded && world.acted > 0).count();
        assert!(acted > 30, "only {acted} of 150 orders had a primary; guarded: {guarded}");
    }
    let stop_failed = worlds.iter().filter(|world| world.stop_failed > 0).count();
    assert!(stop_failed > 10, "only {stop_failed} of 300 orders had a demotion that failed");
    let told = worlds.iter().filter(|world| world.guards_told > 0).count();
    let settled = worlds.iter().filter(|world| world.guards_settled > 0).count();
    assert!(told > 12 && settled > 4, "only {told} of 300 orders told a guard, {settled} heard of its end");
    let safe = worlds.iter().filter(|world| world.safe > 0).count();
    assert!(safe > 60, "only {safe} of 300 orders had a host in safe mode");
}
