use crate::world::{D, START, World, host, line};
use quorate_domain::{Command, Evidence, HostStatus, Incarnation};
use quorate_planner::{Mono, Plan, liveness};

const SUSPECT: u64 = 3_000;

impl World {
    fn liveness(&self) -> Plan {
        liveness::plan(&self.state, &self.seen, self.now)
    }

    fn judged(&self) -> Vec<String> {
        self.liveness().commands.iter().map(|planned| line(&planned.command)).collect()
    }

    fn status(&self, id: &str) -> HostStatus {
        self.state.hosts.get(&host(id)).expect("a host of this world").status
    }
}

#[test]
fn silence_makes_a_host_suspect_and_then_offline_at_the_exact_millisecond() {
    for (silent_ms, before, expected) in [
        (0, HostStatus::Online, None),
        (SUSPECT - 1, HostStatus::Online, None),
        (SUSPECT, HostStatus::Online, Some("mark h1 suspect")),
        (D - 1, HostStatus::Online, Some("mark h1 suspect")),
        (D - 1, HostStatus::Suspect, None),
        (D, HostStatus::Online, Some("mark h1 offline")),
        (D, HostStatus::Suspect, Some("mark h1 offline")),
        (D, HostStatus::Offline, None),
        (SUSPECT, HostStatus::Offline, None),
    ] {
        let mut world = World::new();
        if before != HostStatus::Online {
            world.mark("h1", before);
        }
        world.disconnect("h1");
        world.pass(silent_ms, &["h2", "h3"]);
        assert_eq!(world.judged(), Vec::from_iter(expected), "{before} silent for {silent_ms}");
    }
}

#[test]
fn an_open_session_without_heartbeats_expires_like_a_closed_one() {
    let mut world = World::new();
    world.pass(SUSPECT, &["h2", "h3"]);
    assert_eq!(world.judged(), ["mark h1 suspect"]);
}

#[test]
fn a_closed_session_alone_is_no_loss() {
    let mut world = World::new();
    world.disconnect("h1");
    world.pass(SUSPECT - 1, &["h2", "h3"]);
    assert_eq!(world.judged(), Vec::<String>::new());
}

#[test]
fn only_contact_brings_a_host_back() {
    for before in [HostStatus::Suspect, HostStatus::Offline] {
        let mut world = World::new();
        world.mark("h1", before);
        world.disconnect("h1");
        assert_eq!(world.judged(), Vec::<String>::new(), "heard of, but not in session");
        world.heard("h1");
        assert_eq!(world.judged(), ["mark h1 online"]);
        world.observed("h1").incarnation = Incarnation(9);
        assert_eq!(world.judged(), Vec::<String>::new(), "another start of the agent");
    }
}

#[test]
fn a_stopped_agent_is_offline_at_once_and_stays_so() {
    let mut world = World::new();
    world.seen.observe_until = Mono(u64::MAX);
    world.observed("h1").stopping = true;
    assert_eq!(world.judged(), ["mark h1 offline"]);
    let plan = world.liveness();
    assert!(
        matches!(&plan.commands[0].command, Command::MarkHost { reason, .. } if reason == "agent stopped"),
        "{plan:?}"
    );
    world.mark("h1", HostStatus::Offline);
    world.heard("h1");
    assert_eq!(world.judged(), Vec::<String>::new());
}

#[test]
fn the_mark_carries_what_was_seen_by_whom() {
    let mut world = World::new();
    world.pass(SUSPECT + 5, &["h2", "h3"]);
    let plan = world.liveness();
    assert_eq!(plan.commands[0].rule, "liveness/suspect");
    assert_eq!(
        plan.commands[0].command,
        Command::MarkHost {
            host: host("h1"),
            incarnation: Incarnation(1),
            status: HostStatus::Suspect,
            reason: "its heartbeats do not arrive".into(),
            evidence: vec![Evidence::new("last_contact_ms", 3_005, 3_000, "leader 1 in term 1")],
        }
    );
}

#[test]
fn a_new_leader_calls_nobody_lost_before_it_has_looked_for_d() {
    for passed_ms in [0, SUSPECT, D - 1] {
        let mut world = World::new();
        world.pass(60_000, &[]);
        world.new_leader();
        world.pass(passed_ms, &[]);
        let plan = world.liveness();
        assert_eq!(plan, Plan { commands: vec![], wake_at: Some(Mono(START.0 + 60_000 + D)) }, "{passed_ms}");
    }
    let mut world = World::new();
    world.new_leader();
    world.pass(D, &["h2", "h3"]);
    assert_eq!(world.judged(), ["mark h1 offline"], "never seen: silent since this leadership began");
}

#[test]
fn a_new_leader_counts_silence_from_its_own_first_contact() {
    let mut world = World::new();
    world.new_leader();
    world.pass(5_000, &["h1", "h2", "h3"]);
    world.pass(D - 5_000, &["h2", "h3"]);
    assert_eq!(world.judged(), Vec::<String>::new());
    world.pass(500, &["h2", "h3"]);
    assert_eq!(world.judged(), ["mark h1 suspect"]);
}

#[test]
fn a_leader_that_was_stalled_expires_nobody_until_it_has_looked_again() {
    let mut world = World::new();
    world.pass(10_000, &[]);
    world.seen.observe_until = world.now.plus_ms(D);
    assert_eq!(world.judged(), Vec::<String>::new());
    assert_eq!(world.liveness().wake_at, Some(world.now.plus_ms(D)));
    world.pass(1_000, &["h1", "h2"]);
    world.pass(D - 1_001, &["h1", "h2"]);
    assert_eq!(world.judged(), Vec::<String>::new());
    world.pass(1, &["h1", "h2"]);
    assert_eq!(world.judged(), ["mark h3 offline"]);
}

#[test]
fn contact_is_believed_at_once_even_while_nothing_may_expire() {
    let mut world = World::new();
    world.mark("h1", HostStatus::Offline);
    world.new_leader();
    world.heard("h1");
    assert_eq!(world.judged(), ["mark h1 online"]);
}

#[test]
fn another_start_of_the_agent_delays_the_loss_of_its_host_and_proves_nothing_else() {
    let mut world = World::new();
    world.pass(60_000, &["h2", "h3"]);
    let now = world.now;
    let seen = world.observed("h1");
    (seen.incarnation, seen.last_contact, seen.stopping) = (Incarnation(2), now, true);
    assert_eq!(world.judged(), Vec::<String>::new(), "its registration is on the way");
    world.register("h1", 2);
    world.observed("h1").stopping = false;
    assert_eq!(world.judged(), Vec::<String>::new());
    assert_eq!(world.status("h1"), HostStatus::Online);
}

#[test]
fn wakes_at_the_next_threshold_of_any_host() {
    let mut world = World::new();
    world.pass(1_000, &["h2", "h3"]);
    assert_eq!(world.liveness().wake_at, Some(START.plus_ms(SUSPECT)));
    world.pass(SUSPECT - 1_000, &["h2", "h3"]);
    world.mark("h1", HostStatus::Suspect);
    assert_eq!(world.liveness().wake_at, Some(START.plus_ms(2 * SUSPECT)), "h2 and h3 come before h1");
    world.pass(SUSPECT, &["h2", "h3"]);
    assert_eq!(world.liveness().wake_at, Some(START.plus_ms(D)));
}

#[test]
fn one_heartbeat_late_by_less_than_the_limit_changes_nothing_under_any_order() {
    let beats = [0_u64, 999, 1_998, 2_999];
    for first in beats {
        for second in beats {
            let mut world = World::new();
            world.pass(first, &["h1", "h2", "h3"]);
            world.pass(second, &["h2", "h3"]);
            assert_eq!(world.judged(), Vec::<String>::new(), "{first} then {second}");
        }
    }
}
