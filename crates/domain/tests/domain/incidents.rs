//! What is only told: who leads, outages of the quorum, and agents that were refused.

use crate::stage::{Stage, TERM, create_cluster, h};
use quorate_domain::{
    Cause, Command, CoordinatorId, Event, Led, Outage, Outcome, Proposal, RefusalReason, Term, Timestamp,
    apply,
    incidents::{REFUSED_ADDRESS_MAX_BYTES, REFUSED_AGAIN_MS, REFUSED_MAX},
};

/// The longest time without a leader that ends no lease, by the default settings.
const THRESHOLD_MS: u64 = 4_000;

fn n(id: u64) -> CoordinatorId {
    CoordinatorId(id)
}

fn stage() -> Stage {
    let mut stage = Stage { state: quorate_domain::State::default(), term: TERM };
    stage.ok(create_cluster());
    stage
}

fn leads(coordinator: u64, term: Term, outage: Option<(u64, u64)>) -> Command {
    let outage = outage.map(|(number, lasted_ms)| Outage { number, lasted_ms });
    Command::RecordLeadership { coordinator: n(coordinator), term, outage }
}

#[test]
fn who_leads_is_told_once_for_each_leadership_with_who_led_before() {
    let mut stage = stage();
    let first = Event::LeaderChanged { coordinator: n(2), term: TERM, before: None };
    assert_eq!(stage.ok(leads(2, TERM, None)), [first]);
    let since = stage.state.now();
    let led = Led { coordinator: n(2), term: TERM, since, outages: 0 };
    assert_eq!(stage.state.cluster.led, Some(led));
    assert_eq!(stage.ok(leads(2, TERM, None)), []);
    stage.term = Term(6);
    let again = Event::LeaderChanged { coordinator: n(2), term: Term(6), before: Some(n(2)) };
    assert_eq!(stage.ok(leads(2, Term(6), None)), [again], "in another term it is another leadership");
    assert_eq!(stage.refused(leads(2, TERM, None)), "SEEN_IN_ANOTHER_TERM");
}

#[test]
fn an_outage_is_told_once_and_only_when_it_was_long_enough_to_end_leases() {
    let mut stage = stage();
    stage.ok(leads(1, TERM, Some((1, THRESHOLD_MS))));
    assert_eq!(stage.ok(leads(1, TERM, Some((1, THRESHOLD_MS)))), [], "elections take their time");
    let lost = |lasted_ms| Event::QuorumLost { coordinator: n(1), lasted_ms };
    let regained = |outage, lasted_ms| Event::QuorumRegained { coordinator: n(1), outage, lasted_ms };
    let long = THRESHOLD_MS + 1;
    assert_eq!(stage.ok(leads(1, TERM, Some((1, long)))), [lost(long), regained(1, long)]);
    assert_eq!(stage.ok(leads(1, TERM, Some((1, long)))), [], "a retry tells nothing twice");
    assert_eq!(stage.ok(leads(1, TERM, Some((2, 60_000)))), [lost(60_000), regained(2, 60_000)]);
}

#[test]
fn the_next_leader_tells_of_the_outage_before_it_in_the_order_of_what_happened() {
    let mut stage = stage();
    stage.ok(leads(1, TERM, Some((3, 5_000))));
    stage.term = Term(9);
    let told = stage.ok(leads(2, Term(9), Some((1, 30_000))));
    let expected = [
        Event::QuorumLost { coordinator: n(2), lasted_ms: 30_000 },
        Event::LeaderChanged { coordinator: n(2), term: Term(9), before: Some(n(1)) },
        Event::QuorumRegained { coordinator: n(2), outage: 1, lasted_ms: 30_000 },
    ];
    assert_eq!(told, expected);
    assert_eq!(stage.state.cluster.led.as_ref().map(|led| led.outages), Some(1));
}

fn refusal(host: &str, reason: RefusalReason) -> Command {
    Command::RecordRefusedAgent { host: h(host), reason, address: "10.0.0.9:7000".into(), times: 3 }
}

/// Applies a command at a time; how many events there were.
fn told_at(stage: &mut Stage, at: Timestamp, command: Command) -> usize {
    let applied = apply(&mut stage.state, TERM, &Proposal::new(at, Cause::Cluster, command));
    assert!(matches!(applied.outcome, Outcome::Accepted { .. }), "{:?}", applied.outcome);
    applied.committed.map_or(0, |committed| committed.events.len())
}

#[test]
fn a_refused_agent_is_told_of_once_for_each_host_and_reason_until_a_while_has_passed() {
    let mut stage = stage();
    let told = stage.ok(refusal("h1", RefusalReason::OtherCluster));
    let expected = Event::AgentRefused {
        host: h("h1"),
        reason: RefusalReason::OtherCluster,
        address: "10.0.0.9:7000".into(),
        times: 3,
    };
    assert_eq!(told, [expected]);
    let first = stage.state.now();
    assert_eq!(stage.ok(refusal("h1", RefusalReason::OtherCluster)), []);
    assert_eq!(stage.ok(refusal("h1", RefusalReason::Superseded)).len(), 1);
    assert_eq!(stage.ok(refusal("h2", RefusalReason::OtherCluster)).len(), 1);
    let at = |ms: u64| Timestamp(first.0 + ms);
    let again = || refusal("h1", RefusalReason::OtherCluster);
    assert_eq!(told_at(&mut stage, at(REFUSED_AGAIN_MS - 1), again()), 0);
    assert_eq!(told_at(&mut stage, at(REFUSED_AGAIN_MS), again()), 1);
}

#[test]
fn whoever_is_refused_under_any_number_of_names_fills_neither_the_state_nor_the_log() {
    let mut stage = stage();
    let start = stage.state.now();
    let flood = |stage: &mut Stage, at: Timestamp| -> usize {
        (0..10 * REFUSED_MAX)
            .map(|number| told_at(stage, at, refusal(&format!("x{number}"), RefusalReason::OtherFormation)))
            .sum()
    };
    assert_eq!(flood(&mut stage, start), REFUSED_MAX);
    assert_eq!(flood(&mut stage, Timestamp(start.0 + REFUSED_AGAIN_MS / 2)), 0);
    assert_eq!(flood(&mut stage, Timestamp(start.0 + REFUSED_AGAIN_MS)), REFUSED_MAX);
    assert_eq!(stage.state.cluster.refused.len(), REFUSED_MAX);
    let address = "a".repeat(REFUSED_ADDRESS_MAX_BYTES + 1);
    let (host, reason) = (h("h1"), RefusalReason::HostIdInUse);
    let long = Command::RecordRefusedAgent { host, reason, address, times: 1 };
    assert_eq!(stage.refused(long), "INVALID_REASON");
}

#[test]
fn what_is_told_reads_as_a_sentence() {
    let refused = Event::AgentRefused {
        host: h("h1"),
        reason: RefusalReason::Superseded,
        address: "10.0.0.9:7000".into(),
        times: 3,
    };
    assert_eq!(
        refused.describe(),
        "an agent of host h1 at 10.0.0.9:7000 was refused 3 times: a later start of this host's agent is on record"
    );
    assert_eq!(refused.host(), Some(&h("h1")), "watchers of a host hear of it");
    let changed = Event::LeaderChanged { coordinator: n(2), term: Term(9), before: Some(n(1)) };
    assert_eq!(changed.describe(), "coordinator 2 leads in term 9; before it: 1");
}
