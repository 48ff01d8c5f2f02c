//! What a leader tells operators: once, behind everything else, and bounded.

#![allow(clippy::unwrap_used, reason = "also in the functions that the tests share")]

use quorate_domain::{
    Cause, ClusterId, Command, CoordinatorId, HostId, Outage, Proposal, RefusalReason, Settings, State, Term,
    Timestamp, apply, incidents::REFUSED_MAX,
};
use quorate_leader_core::{Leader, Leading, Next};
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

#[test]
fn the_next_leader_tells_of_the_time_without_one() {
    let mut desk = Desk::new();
    desk.follows(true, 0);
    for now in (1_000..=30_000).step_by(1_000) {
        desk.follows(false, now);
    }
    assert_eq!(desk.leads(7, true, 31_000), [leadership(7, Some((1, 31_000)))]);
    desk.follows(false, 32_000);
    desk.follows(true, 33_000);
    assert_eq!(desk.leads(8, true, 34_000), [leadership(8, None)]);
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
