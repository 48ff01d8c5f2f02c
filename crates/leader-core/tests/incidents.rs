//! What a leader tells operators: once, behind everything else, and bounded.

#![allow(clippy::unwrap_used, reason = "also in the functions that the tests share")]

use quorate_domain::{
    Cause, ClusterId, Command, Coordinator, CoordinatorId, CoordinatorRole, HostId, Outage, Proposal,
    RefusalReason, Settings, State, Term, Timestamp, apply, incidents::REFUSED_MAX,
};
use quorate_leader_core::{Leader, Leading, Next, QuorumSeen};
use quorate_planner::Mono;

/// A coordinator that looks at what it has agreed on itself.
struct Desk {
    leader: Leader,
    state: State,
}

impl Desk {
    fn new() -> Self {
        let mut desk = Self { leader: Leader::default(), state: State::default() };
        let (cluster, settings) = (ClusterId::new("c1").unwrap(), Settings::default());
        desk.apply(1, Command::CreateCluster { cluster, formation: None, settings });
        desk
    }

    fn apply(&mut self, term: u64, command: Command) {
        apply(&mut self.state, Term(term), &Proposal::new(Timestamp(1), Cause::Cluster, command));
    }

    /// Three coordinators, of which another one has led.
    fn of_three(led: u64) -> Self {
        let mut desk = Self::new();
        let voter = |id: u64| Coordinator {
            id: CoordinatorId(id),
            api_address: format!("10.0.0.{id}:7401"),
            peer_address: format!("10.0.0.{id}:7400"),
            role: CoordinatorRole::Voter,
            since: Timestamp(1),
        };
        desk.apply(1, Command::RecordCoordinators { coordinators: [1, 2, 3].map(voter).into() });
        let coordinator = CoordinatorId(led);
        desk.apply(1, Command::RecordLeadership { coordinator, term: Term(1), outage: None });
        desk
    }

    /// Another coordinator answers what it was asked at this moment.
    fn hears(&mut self, by: u64, seen: QuorumSeen, now: u64) {
        self.leader.peer_saw(CoordinatorId(by), seen, Mono(now), Mono(now));
    }

    /// It does not lead, and hears a leader or none.
    fn follows(&mut self, hears: bool, now: u64) {
        self.leader.hears_leader(hears);
        self.leader.look(None, &self.state, Term(1), Mono(now));
    }

    /// It leads: what it plans, which is agreed on.
    fn leads(&mut self, term: u64, decides: bool, now: u64) -> Vec<Command> {
        let leading = Leading { coordinator: CoordinatorId(1), term: Term(term), decides };
        let look = self.leader.look(Some(leading), &self.state, Term(term), Mono(now));
        let Next::Propose(plan) = look.next else { panic!("no plan but {:?}", look.next) };
        let commands: Vec<Command> = plan.commands.into_iter().map(|planned| planned.command).collect();
        for command in &commands {
            self.apply(term, command.clone());
        }
        commands
    }
}

fn leadership(term: u64, outage: Option<(u64, u64)>) -> Command {
    let outage = outage.map(|(number, lasted_ms)| Outage { number, lasted_ms });
    Command::RecordLeadership { coordinator: CoordinatorId(1), term: Term(term), outage }
}

#[test]
fn who_leads_is_told_once_for_each_leadership() {
    let mut desk = Desk::new();
    assert_eq!(desk.leads(1, true, 0), [leadership(1, None)]);
    assert_eq!(desk.leads(1, true, 250), []);
    assert_eq!(desk.leads(2, true, 500), [leadership(2, None)]);
    assert_eq!(desk.leads(2, true, 750), []);
}

#[test]
fn a_leader_that_had_no_quorum_for_long_tells_of_it_once_it_has_one() {
    let mut desk = Desk::new();
    desk.leads(1, true, 0);
    for now in (1_000..=60_000).step_by(1_000) {
        assert_eq!(desk.leads(1, false, now), [], "at {now}");
    }
    assert_eq!(desk.leads(1, true, 61_000), [leadership(1, Some((1, 61_000)))]);
    assert_eq!(desk.leads(1, true, 61_250), []);
    desk.leads(1, false, 62_000);
    assert_eq!(desk.leads(1, true, 63_000), [], "for so short a time no lease ends");
}

/// What another coordinator has seen by a moment: a quorum since one, and none since another one before that.
fn saw(now: u64, until: Option<u64>, since: u64) -> QuorumSeen {
    QuorumSeen { for_ms: until.map(|until| now - until), before_ms: now - since }
}

#[test]
fn the_next_leader_tells_of_the_time_without_one_as_the_leader_before_saw_it() {
    let mut desk = Desk::of_three(2);
    desk.follows(true, 0);
    for now in (1_000..=30_000).step_by(1_000) {
        desk.follows(false, now);
    }
    assert_eq!(desk.leads(7, true, 31_000), [leadership(7, None)], "others may have seen a quorum");
    desk.hears(3, saw(31_500, Some(31_100), 0), 31_500);
    assert_eq!(desk.leads(7, true, 31_750), [], "it is heard what the leader before saw");
    // It led beside this one until then.
    desk.hears(2, saw(32_000, Some(31_200), 12_000), 32_000);
    assert_eq!(desk.leads(7, true, 32_250), [leadership(7, Some((1, 19_000)))]);
    assert_eq!(desk.leads(7, true, 32_500), []);
}

#[test]
fn one_that_has_just_started_tells_what_the_leader_before_saw() {
    let mut desk = Desk::of_three(2);
    desk.leads(7, true, 31_000);
    desk.hears(2, saw(32_000, Some(31_200), 12_000), 32_000);
    assert_eq!(desk.leads(7, true, 32_250), [leadership(7, Some((1, 19_000)))]);
}

#[test]
fn one_that_decides_only_a_moment_after_it_began_to_lead_asks_as_well() {
    let mut desk = Desk::of_three(2);
    desk.follows(false, 30_500);
    desk.leads(7, false, 31_000);
    desk.leads(7, true, 31_250);
    desk.hears(2, saw(32_000, Some(31_300), 12_000), 32_000);
    assert_eq!(desk.leads(7, true, 32_250), [leadership(7, Some((1, 19_250)))]);
}

#[test]
fn what_the_leader_before_saw_long_before_is_not_told_again() {
    let mut desk = Desk::of_three(2);
    desk.leads(7, true, 90_000);
    desk.hears(2, saw(91_000, Some(60_000), 20_000), 91_000);
    for now in (91_250..=100_000).step_by(250) {
        assert_eq!(desk.leads(7, true, now), [], "at {now}");
    }
}

#[test]
fn one_whose_outage_was_none_passes_it_on_to_nobody() {
    let mut desk = Desk::of_three(2);
    desk.follows(true, 0);
    for now in (1_000..=30_000).step_by(1_000) {
        desk.follows(false, now);
    }
    desk.leads(7, true, 31_000);
    let before_ms = |desk: &Desk| desk.leader.quorum_seen(Mono(32_000)).map(|seen| seen.before_ms);
    assert_eq!(before_ms(&desk), Some(32_000));
    desk.hears(2, saw(31_500, Some(31_100), 30_900), 31_500);
    assert_eq!(desk.leads(7, true, 31_750), []);
    assert_eq!(before_ms(&desk), Some(1_100));
}

#[test]
fn two_short_times_without_a_quorum_are_not_one_long_one() {
    let mut desk = Desk::new();
    desk.leads(1, true, 0);
    for (lost, back) in [(1_000, 3_000), (60_000, 63_000)] {
        desk.leads(1, true, lost - 250);
        desk.leads(1, false, lost);
        assert_eq!(desk.leads(1, true, back), []);
    }
}

#[test]
fn one_that_was_cut_off_from_a_quorum_tells_of_no_outage() {
    for before in [2, 3] {
        let mut desk = Desk::of_three(before);
        desk.follows(true, 0);
        for now in (1_000..=30_000).step_by(1_000) {
            desk.follows(false, now);
        }
        desk.leads(7, true, 31_000);
        // The leader before and its follower; one of them answers.
        desk.hears(2, saw(31_500, Some(31_100), 30_500), 31_500);
        for now in (31_750..=50_000).step_by(250) {
            assert_eq!(desk.leads(7, true, now), [], "at {now}, after {before}");
        }
    }
}

#[test]
fn where_the_leader_before_is_gone_a_quorum_says_what_was_seen() {
    let mut desk = Desk::of_three(3);
    desk.follows(true, 0);
    for now in (1_000..=30_000).step_by(1_000) {
        desk.follows(false, now);
    }
    desk.leads(7, true, 31_000);
    desk.hears(2, saw(31_500, Some(31_100), 5_000), 31_500);
    assert_eq!(desk.leads(7, true, 34_750), [], "the leader before may answer yet");
    assert_eq!(desk.leads(7, true, 35_000), [leadership(7, Some((1, 26_000)))]);
    // Alone it knows nothing.
    let mut desk = Desk::of_three(3);
    desk.follows(true, 0);
    desk.follows(false, 30_000);
    desk.leads(7, true, 31_000);
    assert_eq!(desk.leads(7, true, 60_000), []);
    // What was asked before the quorum was back says nothing of when that was.
    let mut desk = Desk::of_three(2);
    desk.follows(true, 0);
    desk.follows(false, 30_000);
    desk.hears(2, saw(30_500, None, 0), 30_500);
    desk.leads(7, true, 31_000);
    assert_eq!(desk.leads(7, true, 60_000), []);
}

#[test]
fn refused_agents_are_told_of_once_in_any_number_and_only_by_the_leader_that_refused_them() {
    let mut desk = Desk::new();
    let refuse = |desk: &mut Desk, host: &str, term: u64| {
        let (host, reason) = (HostId::new(host).unwrap(), RefusalReason::OtherCluster);
        desk.leader.refused(&desk.state.clone(), &host, reason, "10.0.0.9:7000", Term(term));
    };
    desk.leads(1, true, 0);
    for _ in 0..3 {
        refuse(&mut desk, "h1", 1);
    }
    let (host, reason) = (HostId::new("h1").unwrap(), RefusalReason::OtherCluster);
    let told = Command::RecordRefusedAgent { host, reason, address: "10.0.0.9:7000".into(), times: 3 };
    assert_eq!(desk.leads(1, true, 250), [told]);
    refuse(&mut desk, "h1", 1);
    assert_eq!(desk.leads(1, true, 500), [], "it is on record");
    refuse(&mut desk, "h2", 2);
    assert_eq!(desk.leads(1, true, 750), [], "another leadership");
    for number in 0..10 * REFUSED_MAX {
        refuse(&mut desk, &format!("x{number}"), 1);
    }
    assert_eq!(desk.leads(1, true, 1_000).len(), REFUSED_MAX);
    assert_eq!(desk.state.cluster.refused.len(), REFUSED_MAX);
    assert_eq!(desk.leads(1, true, 1_250), []);
}
