//! What a leader may carry over, expire and acknowledge: DESIGN section 5, rules 2, 3, 5 and 6.

#![allow(clippy::unwrap_used, reason = "also in the functions that the tests share")]

use quorate_domain::{
    Cause, ClusterId, Command, CoordinatorId, DiskIdentity, DiskName, Epoch, GroupId, GroupState, HookTimes,
    HostId, HostStatus, Incarnation, InstanceId, Outcome, Proposal, Rejection, Revision, ServiceMode,
    Settings, StartId, State, Term, Timestamp, Verdict, Zone, apply, command::MemberSpec,
};
use quorate_leader_core::{
    Acknowledgement, Assignments, Hello, Leader, Leading, Look, Next, RENEWALS_MAX, Report, STALL_MS,
    SessionId,
};
use quorate_planner::{DiskObservation, GroupObservation, Mono, Planned};
use std::collections::BTreeMap;

/// D of the default settings.
const D: u64 = 7_500;

fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

fn hello(name: &str, incarnation: u64) -> Hello {
    Hello {
        host: host(name),
        zone: Zone::new("z1").unwrap(),
        address: "127.0.0.1:7500".into(),
        instance: InstanceId::new(format!("i-{name}")).unwrap(),
        incarnation: Incarnation(incarnation),
        start: StartId(1),
        hook_times: HookTimes::default(),
    }
}

fn leading(term: u64) -> Leading {
    Leading { coordinator: CoordinatorId(1), term: Term(term), decides: true }
}

/// A leader and the state that it would have agreed on.
struct Desk {
    leader: Leader,
    state: State,
    term: u64,
}

impl Desk {
    fn new() -> Self {
        let mut desk = Self { leader: Leader::default(), state: State::default(), term: 1 };
        let cluster = ClusterId::new("c1").unwrap();
        desk.apply(Command::CreateCluster { cluster, formation: None, settings: Settings::default() });
        desk
    }

    fn apply(&mut self, command: Command) {
        let asked = format!("{command:?}");
        let proposal = Proposal::new(Timestamp(1), Cause::Cluster, command);
        let applied = apply(&mut self.state, Term(self.term), &proposal);
        assert!(matches!(applied.outcome, Outcome::Accepted { .. }), "{asked}: {:?}", applied.outcome);
    }

    fn look(&mut self, now: u64) -> Look {
        self.leader.look(Some(leading(self.term)), &self.state, Term(self.term), Mono(now))
    }

    /// The host registers and opens a session.
    fn session(&mut self, name: &str, incarnation: u64, now: u64) -> SessionId {
        let hello = hello(name, incarnation);
        if let Some(command) = hello.registration(&self.state) {
            self.apply(command);
        }
        self.leader
            .open_session(&hello.host, hello.incarnation, hello.start, Term(self.term), Mono(now))
            .unwrap()
    }

    fn heartbeat(&mut self, id: &SessionId, seq: u64, now: u64) -> bool {
        self.leader.heartbeat(id, seq, Revision(0), ServiceMode::Normal, Mono(now))
    }

    /// What a look plans, by its rules; who leads is put on record at once.
    fn planned(&mut self, look: Look) -> Vec<String> {
        let Next::Propose(plan) = look.next else { panic!("no plan but {:?}", look.next) };
        let mut rules = Vec::new();
        for Planned { command, rule } in plan.commands {
            match command {
                Command::RecordLeadership { .. } => self.apply(command),
                _ => rules.push(rule.to_owned()),
            }
        }
        rules
    }

    fn plans(&mut self, now: u64) -> Vec<String> {
        let look = self.look(now);
        self.planned(look)
    }

    fn acknowledged(&mut self, round: quorate_leader_core::Round) -> Vec<u64> {
        self.leader.acknowledge(round, &self.state).into_iter().map(|ack| ack.seq).collect()
    }
}

#[test]
fn a_round_serves_only_the_heartbeats_that_came_before_it_began() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    assert_eq!(desk.leader.begin_round(), None, "nobody waits");
    assert!(desk.heartbeat(&id, 1, 10) && desk.heartbeat(&id, 2, 11));
    let first = desk.leader.begin_round().unwrap();
    assert!(desk.heartbeat(&id, 3, 12), "it comes while the round is under way");
    assert_eq!(desk.acknowledged(first), [1, 2]);
    let second = desk.leader.begin_round().unwrap();
    assert_eq!(desk.acknowledged(second), [3]);
}

#[test]
fn what_a_failed_round_was_for_is_never_acknowledged() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    desk.heartbeat(&id, 1, 10);
    drop(desk.leader.begin_round().unwrap());
    assert_eq!(desk.leader.begin_round(), None);
    desk.heartbeat(&id, 2, 20);
    let round = desk.leader.begin_round().unwrap();
    assert_eq!(desk.acknowledged(round), [2]);
}

#[test]
fn a_host_that_is_offline_is_renewed_only_once_the_state_has_it_online_again() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    let mark = |status| Command::MarkHost {
        host: host("h1"),
        incarnation: Incarnation(1),
        status,
        reason: "r".into(),
        evidence: vec![],
    };
    let mut acknowledged_while = |status, seq| {
        desk.apply(mark(status));
        desk.heartbeat(&id, seq, 10 * seq);
        let round = desk.leader.begin_round().unwrap();
        desk.acknowledged(round)
    };
    assert_eq!(acknowledged_while(HostStatus::Suspect, 1), [1], "its lease may still be valid");
    assert_eq!(acknowledged_while(HostStatus::Offline, 2), []);
    assert_eq!(acknowledged_while(HostStatus::Online, 3), [3]);
}

#[test]
fn a_host_that_is_offline_because_it_stops_is_still_answered_so_that_its_releases_come_through() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    assert!(desk.leader.report(&id, Report { stopping: true, ..Report::default() }));
    desk.apply(Command::MarkHost {
        host: host("h1"),
        incarnation: Incarnation(1),
        status: HostStatus::Offline,
        reason: "its agent stops".into(),
        evidence: vec![],
    });
    desk.heartbeat(&id, 1, 10);
    let round = desk.leader.begin_round().unwrap();
    assert_eq!(desk.acknowledged(round), [1]);
}

#[test]
fn a_leader_without_its_quorum_ends_the_sessions_that_wait_for_it_and_no_others() {
    let mut desk = Desk::new();
    desk.look(0);
    let waiting = desk.session("h1", 1, 0);
    let quiet = desk.session("h2", 1, 0);
    desk.heartbeat(&waiting, 1, 10);
    let round = desk.leader.begin_round().unwrap();
    assert_eq!(desk.leader.give_up(round), [host("h1")]);
    assert!(!desk.leader.is_open(&waiting) && desk.leader.is_open(&quiet));
    assert!(!desk.leader.seen(&host("h1")).unwrap().connected);

    let before = desk.session("h1", 1, 20);
    desk.heartbeat(&before, 2, 30);
    let late = desk.leader.begin_round().unwrap();
    let after = desk.session("h1", 1, 40);
    assert_eq!(desk.leader.give_up(late), [] as [HostId; 0], "another session took its place");
    assert!(desk.leader.is_open(&after));
}

#[test]
fn the_mode_of_a_host_is_what_it_says_or_what_being_offline_means() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    let mode = |desk: &Desk| desk.leader.service_mode(&desk.state.hosts[&host("h1")]);
    assert_eq!(mode(&desk), None, "it has not said yet");
    desk.leader.heartbeat(&id, 1, Revision(0), ServiceMode::ReadOnly, Mono(10));
    assert_eq!(mode(&desk), Some(ServiceMode::ReadOnly));
    desk.heartbeat(&id, 2, 20);
    assert_eq!(mode(&desk), Some(ServiceMode::Normal));
    desk.leader.close_session(&id);
    assert_eq!(mode(&desk), None, "its lease may still be valid");
    desk.apply(Command::MarkHost {
        host: host("h1"),
        incarnation: Incarnation(1),
        status: HostStatus::Offline,
        reason: "r".into(),
        evidence: vec![],
    });
    assert_eq!(mode(&desk), Some(ServiceMode::ReadOnly));
    assert_eq!(Leader::default().service_mode(&desk.state.hosts[&host("h1")]), None, "it does not lead");
}

#[test]
fn an_acknowledgement_names_the_assignment_of_the_state_that_the_round_confirmed() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    desk.heartbeat(&id, 7, 10);
    let round = desk.leader.begin_round().unwrap();
    let before = desk.state.hosts[&host("h1")].assignment_revision;
    make_group(&mut desk);
    let expected = desk.state.hosts[&host("h1")].assignment_revision;
    assert!(expected > before);
    let acks = desk.leader.acknowledge(round, &desk.state);
    assert_eq!(acks, [Acknowledgement { session: id, seq: 7, assignment: expected }]);
}

/// Group g on h1, which gets a disk for it.
fn make_group(desk: &mut Desk) {
    let place = quorate_domain::DiskId { host: host("h1"), name: DiskName::new("d1").unwrap() };
    desk.apply(Command::RecordDisk {
        disk: place,
        incarnation: Incarnation(1),
        identity: DiskIdentity("medium".into()),
        path: "/data".into(),
        capacity_bytes: 1,
        verdict: Verdict::Healthy,
        reasons: vec![],
    });
    desk.apply(Command::CreateGroup {
        group: GroupId::new("g").unwrap(),
        primary: MemberSpec { host: host("h1"), disk: None },
        backups: vec![],
        labels: BTreeMap::new(),
    });
}

#[test]
fn a_start_of_the_agent_that_is_no_longer_recorded_is_not_renewed() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    desk.heartbeat(&id, 1, 10);
    let round = desk.leader.begin_round().unwrap();
    desk.apply(hello("h1", 2).registration(&desk.state).unwrap());
    assert_eq!(desk.acknowledged(round), [] as [u64; 0]);
}

#[test]
fn a_session_that_is_over_is_neither_heard_nor_renewed() {
    let mut desk = Desk::new();
    desk.look(0);
    let old = desk.session("h1", 1, 0);
    desk.heartbeat(&old, 1, 10);
    let round = desk.leader.begin_round().unwrap();
    let new = desk.session("h1", 1, 20);
    assert!(new.number > old.number);
    assert_eq!(desk.acknowledged(round), [] as [u64; 0]);
    assert!(!desk.heartbeat(&old, 2, 30));
    assert_eq!(desk.leader.begin_round(), None);
    desk.leader.close_session(&old);
    assert!(desk.leader.is_open(&new) && desk.leader.seen(&host("h1")).unwrap().connected);
    desk.leader.close_session(&new);
    assert!(!desk.leader.is_open(&new) && !desk.leader.seen(&host("h1")).unwrap().connected);
}

#[test]
fn the_heartbeats_of_a_session_that_wait_are_bounded() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    for seq in 0..20 {
        desk.heartbeat(&id, seq, 1);
    }
    let round = desk.leader.begin_round().unwrap();
    assert_eq!(desk.acknowledged(round).len(), RENEWALS_MAX);
}

#[test]
fn nothing_is_carried_from_one_leadership_to_the_next() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    desk.heartbeat(&id, 1, 10);
    desk.term = 2;
    let look = desk.look(500);
    assert_eq!(look.ended, [host("h1")]);
    assert_eq!(desk.leader.begin_round(), None, "what waited is forgotten");
    assert_eq!(desk.leader.seen(&host("h1")), None);
    assert!(!desk.heartbeat(&id, 2, 510));
    assert_eq!(desk.leader.observations().led_since, Mono(500));
    let next = desk.session("h1", 1, 520);
    assert!(next.number > id.number, "no number is used twice");
}

#[test]
fn a_coordinator_that_no_longer_leads_forgets_everything_and_plans_nothing() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    let look = desk.leader.look(None, &desk.state, Term(1), Mono(100));
    assert_eq!(look, Look { ended: vec![host("h1")], stalled_ms: None, next: Next::Wait });
    assert!(!desk.leader.is_open(&id));
    let late = desk.leader.open_session(&host("h1"), Incarnation(1), StartId(1), Term(1), Mono(110));
    assert_eq!(late, None, "that leadership is over");
}

#[test]
fn no_wait_counts_before_the_leadership_has_applied_an_entry_of_its_own() {
    let mut desk = Desk::new();
    desk.session_known("h1");
    let early = desk.leader.look(Some(leading(2)), &desk.state, Term(1), Mono(1_000));
    assert_eq!(early.next, Next::Wait);
    assert_eq!(desk.leader.grace_left_ms(Mono(1_000)), None);
    desk.term = 2;
    assert_eq!(desk.plans(1_500), [] as [&str; 0]);
    assert_eq!(desk.leader.grace_left_ms(Mono(1_500)), Some(D));
    let mut now = 1_500;
    while now + 1_000 < 1_500 + D {
        now += 1_000;
        assert_eq!(desk.plans(now), [] as [&str; 0], "at {now}");
    }
    assert_eq!(desk.plans(1_500 + D), ["liveness/offline"]);
}

#[test]
fn a_leader_that_stood_still_expires_nobody_for_a_grace_period() {
    let mut desk = Desk::new();
    desk.session_known("h1");
    let mut now = 0;
    desk.look(now);
    while now < D - 500 {
        now += 1_000;
        desk.look(now);
    }
    let late = now + STALL_MS + 1;
    let look = desk.look(late);
    assert_eq!(look.stalled_ms, Some(STALL_MS + 1));
    assert_eq!(desk.planned(look), [] as [&str; 0]);
    assert_eq!(desk.leader.grace_left_ms(Mono(late)), Some(D));
}

#[test]
fn the_first_look_of_a_leader_of_an_empty_log_forms_the_cluster() {
    let mut leader = Leader::default();
    let look = leader.look(Some(leading(1)), &State::default(), Term(1), Mono(0));
    assert_eq!(look.next, Next::FormCluster);
}

impl Desk {
    /// A host that the state knows and this leader has not heard of.
    fn session_known(&mut self, name: &str) {
        let command = hello(name, 1).registration(&self.state).unwrap();
        self.apply(command);
    }
}

#[test]
fn a_host_that_registers_for_the_first_time_does_not_count_as_silent() {
    let mut desk = Desk::new();
    desk.look(0);
    for now in (1_000..20_000).step_by(1_000) {
        desk.look(now);
    }
    desk.leader.expect_host(&host("h1"), Incarnation(1), Term(1), Mono(20_000));
    desk.session_known("h1");
    assert_eq!(desk.plans(20_100), [] as [&str; 0]);
    desk.leader.expect_host(&host("h2"), Incarnation(1), Term(9), Mono(20_200));
    assert_eq!(desk.leader.seen(&host("h2")), None, "that is another leadership");
}

#[test]
fn a_hello_is_registered_only_when_it_says_something_new() {
    let mut desk = Desk::new();
    desk.look(0);
    desk.session("h1", 3, 0);
    assert_eq!(hello("h1", 3).registration(&desk.state), None);
    let moved = Hello { address: "127.0.0.1:7501".into(), ..hello("h1", 3) };
    let copied = Hello { start: StartId(2), ..hello("h1", 3) };
    for changed in [hello("h1", 4), moved, copied, hello("h2", 3)] {
        let command = changed.registration(&desk.state);
        assert!(matches!(command, Some(Command::RegisterHost { .. })), "{changed:?}");
    }
}

#[test]
fn a_hello_that_the_state_refuses_is_known_without_an_entry() {
    let mut desk = Desk::new();
    desk.look(0);
    desk.session("h1", 3, 0);
    assert_eq!(hello("h1", 3).refusal(&desk.state), None, "it is on record");
    assert_eq!(hello("h1", 4).refusal(&desk.state), None, "a later start");
    assert_eq!(hello("h2", 1).refusal(&desk.state), None, "nobody has that name");
    let stranger = Hello { instance: InstanceId::new("another").unwrap(), ..hello("h1", 9) };
    assert!(matches!(stranger.refusal(&desk.state), Some(Rejection::HostIdInUse { .. })));
    assert!(matches!(hello("h1", 2).refusal(&desk.state), Some(Rejection::StaleIncarnation { .. })));
    let forged = hello("h9", u64::MAX).refusal(&desk.state);
    assert!(matches!(forged, Some(Rejection::StartNumberTooHigh { .. })), "{forged:?}");
    // What is refused for anything else has to be decided.
    let nowhere = Desk { state: State::default(), ..Desk::new() };
    assert_eq!(hello("h1", 3).refusal(&nowhere.state), None);
}

impl Desk {
    /// How many of so many hellos are let in at this moment; those that are registered are applied.
    fn let_in(&mut self, hellos: impl IntoIterator<Item = Hello>, now: u64) -> usize {
        let mut count = 0;
        for hello in hellos {
            if self.leader.admit(&hello, None, &self.state, Term(self.term), Mono(now)).is_err() {
                continue;
            }
            count += 1;
            if hello.refusal(&self.state).is_none()
                && let Some(command) = hello.registration(&self.state)
            {
                self.apply(command);
            }
        }
        count
    }
}

#[test]
fn what_the_starts_of_one_host_cost_is_bounded_and_no_other_host_pays_for_it() {
    let mut desk = Desk::new();
    desk.look(0);
    desk.session("h1", 1, 0);
    desk.session("h2", 1, 0);
    let starts = |from: u64| (from..from + 6_000).map(|number| hello("h1", number));
    assert_eq!(desk.let_in(starts(2), 10_000), 30);
    assert_eq!(desk.let_in(starts(7_000), 20_000), 5, "one in two seconds");
    assert_eq!(desk.let_in([hello("h2", 2)], 20_000), 1);
    let known = desk.state.hosts[&host("h1")].incarnation.0;
    assert_eq!(desk.let_in((0..100).map(|_| hello("h1", known)), 20_000), 100, "nothing new costs no entry");
}

#[test]
fn a_stranger_who_is_refused_again_and_again_keeps_no_agent_out() {
    let mut desk = Desk::new();
    desk.look(0);
    desk.session("h1", 3, 0);
    let stranger = |number| Hello { instance: InstanceId::new("another").unwrap(), ..hello("h1", number) };
    assert_eq!(desk.let_in((0..6_000).map(stranger), 10_000), 60);
    assert_eq!(desk.let_in([hello("h1", 4)], 10_000), 1, "its own agent starts anew");
}

#[test]
fn hosts_that_are_new_are_bounded_all_together_and_racks_that_start_anew_are_not() {
    let mut desk = Desk::new();
    desk.look(0);
    let names = |count: u64| (0..count).map(|number| format!("n{number}"));
    assert_eq!(desk.let_in(names(6_000).map(|name| hello(&name, 1)), 10_000), 512);
    assert_eq!(desk.let_in(names(512).map(|name| hello(&name, 2)), 10_000), 512, "all of them at once");
    assert_eq!(desk.let_in(names(6_000).skip(512).map(|name| hello(&name, 1)), 20_000), 100);
}

#[test]
fn another_leadership_counts_nothing() {
    let mut desk = Desk::new();
    desk.look(0);
    let many = (0..1_000).map(|number| hello(&format!("n{number}"), 1));
    let admitted = many.filter(|hello| desk.leader.admit(hello, None, &desk.state, Term(9), Mono(0)).is_ok());
    assert_eq!(admitted.count(), 1_000);
}

fn told(epoch: u64, state: GroupState) -> (GroupId, GroupObservation) {
    (GroupId::new("g").unwrap(), GroupObservation { epoch: Epoch(epoch), state, reason: String::new() })
}

#[test]
fn a_report_takes_the_place_of_the_one_before_and_the_last_epoch_counts() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    let medium = DiskObservation {
        identity: DiskIdentity("medium".into()),
        path: "/data".into(),
        capacity_bytes: 1,
        free_bytes: 1,
        verdict: Verdict::Healthy,
        reasons: vec![],
        checked_at: Timestamp(0),
    };
    let first = Report {
        installed: Revision(4),
        stopping: true,
        disks_complete: true,
        disks: [(DiskName::new("d1").unwrap(), medium)].into(),
        groups: vec![told(5, GroupState::Acting), told(4, GroupState::Ended)],
        state_folder_problem: String::new(),
    };
    assert!(desk.leader.report(&id, first));
    let seen = desk.leader.seen(&host("h1")).unwrap();
    assert_eq!(seen.groups.values().map(|told| told.epoch.0).collect::<Vec<_>>(), [5]);
    assert_eq!(
        (seen.last_contact, seen.stopping, seen.disks.len()),
        (Mono(0), true, 1),
        "no report is contact"
    );
    assert_eq!(desk.leader.session(&host("h1")).unwrap().installed, Revision(4));
    assert!(desk.leader.report(&id, Report::default()));
    let seen = desk.leader.seen(&host("h1")).unwrap();
    assert!(seen.groups.is_empty() && seen.disks.is_empty() && !seen.stopping && !seen.disks_complete);
}

#[test]
fn an_agent_is_sent_its_whole_assignment_and_then_each_change_once() {
    let mut desk = Desk::new();
    desk.look(0);
    desk.session("h1", 1, 0);
    let mut assignments = Assignments::begin(&desk.state, host("h1"));
    assert!(assignments.sent().entries.is_empty());
    assert_eq!(assignments.follow(&desk.state), None);
    let from = assignments.sent().revision;
    make_group(&mut desk);
    let delta = assignments.follow(&desk.state).unwrap();
    let to = desk.state.hosts[&host("h1")].assignment_revision;
    assert_eq!((delta.from, delta.to, delta.changed.len(), delta.removed.len()), (from, to, 1, 0));
    assert_eq!(assignments.follow(&desk.state), None);
    let gone = Assignments::begin(&State::default(), host("h1")).follow(&State::default());
    assert_eq!(gone, None, "a host that is not known has nothing to follow");
}

impl Desk {
    /// A heartbeat of a host that has installed a revision, served by a round of the quorum.
    fn renewed(&mut self, id: &SessionId, installed: Revision, now: u64) -> Vec<u64> {
        assert!(self.leader.heartbeat(id, now, installed, ServiceMode::Normal, Mono(now)));
        let round = self.leader.begin_round().unwrap();
        self.acknowledged(round)
    }

    fn last_contact(&self) -> u64 {
        self.leader.seen(&host("h1")).unwrap().last_contact.0
    }

    fn assigned(&self) -> Revision {
        self.state.hosts[&host("h1")].assignment_revision
    }

    /// What is planned in each second, from one on, while something happens in it.
    fn plans_of(
        &mut self,
        seconds: std::ops::Range<u64>,
        mut each: impl FnMut(&mut Self, u64),
    ) -> Vec<String> {
        let mut rules = Vec::new();
        for second in seconds {
            each(self, second * 1_000);
            let look = self.look(second * 1_000 + 500);
            if let Next::Propose(plan) = look.next {
                for planned in plan.commands {
                    // Who leads is put on record with the first plan, whatever it is.
                    if !matches!(planned.command, Command::RecordLeadership { .. }) {
                        rules.push(planned.rule.to_owned());
                    }
                    self.apply(planned.command);
                }
            }
        }
        rules
    }
}

#[test]
fn contact_is_when_a_heartbeat_arrived_whose_renewal_counts() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 100);
    assert_eq!(desk.last_contact(), 100, "the first renewal cannot come before the session");
    let assigned = desk.assigned();
    desk.leader.heartbeat(&id, 1, assigned, ServiceMode::Normal, Mono(200));
    assert_eq!(desk.last_contact(), 100, "no quorum has confirmed it");
    let round = desk.leader.begin_round().unwrap();
    assert_eq!(desk.acknowledged(round), [1]);
    assert_eq!(desk.last_contact(), 200);

    make_group(&mut desk);
    let needed = desk.assigned();
    assert_eq!(desk.renewed(&id, assigned, 1_000), [1_000], "it is acknowledged, and does not count yet");
    assert_eq!(desk.last_contact(), 200);
    assert!(desk.leader.report(&id, Report { installed: needed, ..Report::default() }));
    assert_eq!(desk.last_contact(), 1_000, "it counts now, from when it arrived");
    desk.leader.close_session(&id);
    assert_eq!(desk.last_contact(), 1_000);
}

#[test]
fn heartbeats_of_another_start_prove_no_contact_of_the_one_on_record() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    desk.leader.heartbeat(&id, 1, Revision(99), ServiceMode::Normal, Mono(500));
    let round = desk.leader.begin_round().unwrap();
    desk.apply(hello("h1", 2).registration(&desk.state).unwrap());
    assert_eq!(desk.acknowledged(round), [] as [u64; 0]);
    assert_eq!(desk.last_contact(), 0);
}

#[test]
fn a_host_that_never_installs_its_assignment_becomes_suspect_although_it_is_acknowledged() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    let rules = desk.plans_of(1..12, |desk, now| {
        assert_eq!(desk.renewed(&id, Revision(0), now), [now]);
    });
    assert_eq!(rules, ["liveness/suspect"], "its lease may be good: it is not offline");
    let assigned = desk.assigned();
    let back = desk.plans_of(12..14, |desk, now| {
        desk.renewed(&id, assigned, now);
    });
    assert_eq!(back, ["liveness/online"]);
}

#[test]
fn a_session_that_only_reports_is_no_contact_and_nor_is_one_that_is_opened_again_and_again() {
    let judging = || {
        let mut desk = Desk::new();
        // Past the grace period in which nobody is expired.
        assert_eq!(desk.plans_of(0..9, |_, _| {}), [] as [&str; 0]);
        desk
    };
    let mut desk = judging();
    let id = desk.session("h1", 1, 9_000);
    let rules = desk.plans_of(9..20, |desk, _| {
        assert!(desk.leader.report(&id, Report::default()));
    });
    assert_eq!(rules, ["liveness/suspect", "liveness/offline"]);

    let mut desk = judging();
    let rules = desk.plans_of(9..20, |desk, now| {
        desk.session("h1", 1, now);
    });
    assert_eq!(rules, ["liveness/suspect", "liveness/offline"]);
}

#[test]
fn a_host_that_comes_back_after_a_loss_is_online_with_its_session_as_before() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    let assigned = desk.assigned();
    desk.renewed(&id, assigned, 10);
    desk.leader.close_session(&id);
    assert_eq!(desk.plans_of(1..10, |_, _| {}), ["liveness/suspect", "liveness/offline"]);
    desk.session("h1", 1, 10_000);
    assert_eq!(desk.plans(10_001), ["liveness/online"]);
}

#[test]
fn heartbeats_that_wait_for_the_quorum_are_not_expired_and_prove_nothing() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    let assigned = desk.assigned();
    // Slow rounds: a heartbeat each second, and none is confirmed.
    let rules = desk.plans_of(1..12, |desk, now| {
        assert!(desk.leader.heartbeat(&id, now, assigned, ServiceMode::Normal, Mono(now)));
    });
    assert_eq!(rules, [] as [&str; 0]);
    assert_eq!(desk.last_contact(), 0);
    let round = desk.leader.begin_round().unwrap();
    assert_eq!(desk.acknowledged(round).len(), RENEWALS_MAX);
    assert_eq!(desk.last_contact(), 8_000, "the last that was queued");
}

#[test]
fn a_leader_that_no_quorum_acknowledged_expires_nobody_for_a_grace_period_afterwards() {
    let mut desk = Desk::new();
    desk.session_known("h1");
    for now in [0, 1_000] {
        desk.look(now);
    }
    for now in (2_000..20_000).step_by(1_000) {
        let alone = Leading { decides: false, ..leading(1) };
        let look = desk.leader.look(Some(alone), &desk.state, Term(1), Mono(now));
        assert_eq!(desk.planned(look), [] as [&str; 0], "at {now}");
    }
    assert_eq!(desk.leader.grace_left_ms(Mono(19_000)), Some(D));
    for now in (20_000..19_000 + D).step_by(1_000) {
        assert_eq!(desk.plans(now), [] as [&str; 0], "at {now}");
    }
    assert_eq!(desk.plans(19_000 + D), ["liveness/offline"]);
}

#[test]
fn a_host_that_is_far_away_counts_its_renewals_however_often_its_assignment_changes() {
    let mut desk = Desk::new();
    desk.look(0);
    let id = desk.session("h1", 1, 0);
    make_group(&mut desk);
    let mut installed = std::collections::VecDeque::from([Revision(0); 40]);
    for now in (0..2_000).step_by(10) {
        let group = GroupId::new(format!("g{now}")).unwrap();
        desk.apply(Command::CreateGroup {
            group,
            primary: MemberSpec { host: host("h1"), disk: None },
            backups: vec![],
            labels: BTreeMap::new(),
        });
        installed.push_back(desk.assigned());
        let known = installed.pop_front().unwrap();
        desk.renewed(&id, known, now);
    }
    assert!(desk.last_contact() >= 1_000, "what was needed 400 ms ago is installed: {}", desk.last_contact());
}

#[test]
fn the_starts_of_an_agent_and_the_changes_of_its_status_are_remembered_across_sessions_and_bounded() {
    let mut desk = Desk::new();
    desk.look(0);
    for start in 1..=40_u64 {
        // Two processes take the host from each other.
        let taking = Hello { start: StartId(start % 2), ..hello("h1", start) };
        desk.apply(taking.registration(&desk.state).unwrap());
        let now = Mono(start);
        desk.leader.open_session(&taking.host, taking.incarnation, taking.start, Term(1), now).unwrap();
        desk.leader.open_session(&taking.host, taking.incarnation, taking.start, Term(1), now).unwrap();
    }
    let starts = desk.leader.seen(&host("h1")).unwrap().starts.clone();
    assert_eq!(starts.len(), quorate_planner::TURNS_MAX);
    assert_eq!(starts.last(), Some(&(StartId(0), Mono(40))));
    assert!(
        starts.windows(2).all(|two| two[0].0 != two[1].0),
        "a second session of a start is none: {starts:?}"
    );
}
