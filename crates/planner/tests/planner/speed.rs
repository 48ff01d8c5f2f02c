//! What the warnings of a large cluster cost: `cargo xtask bench warnings`.

use crate::world::{D, World, d1, host};
use quorate_domain::{
    Cause, Command, GroupId, GroupState, HostId, Incarnation, Outcome, Proposal, Timestamp, apply,
    command::MemberSpec,
};
use quorate_planner::{
    GroupObservation, Mono,
    warnings::{Coordinators, Severity, warnings},
};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const HOSTS: usize = 1_000;
const GROUPS: usize = 100_000;
/// Whoever asks for them waits on the thread that hears heartbeats.
const LONGEST: Duration = Duration::from_millis(100);

fn nth(number: usize) -> HostId {
    host(&format!("n{number}"))
}

/// Applies a command without the observations, which are brought up to date once at the end.
fn accepted(world: &mut World, command: Command) {
    let proposal = Proposal::new(Timestamp(1_000_000), Cause::Cluster, command);
    let applied = apply(&mut world.state, world.seen.term, &proposal);
    assert!(matches!(applied.outcome, Outcome::Accepted { .. }), "{:?}", applied.outcome);
}

/// A thousand hosts in contact, and a hundred thousand groups that are served, each with two backups.
fn large() -> World {
    let mut world = World::new();
    for number in 0..HOSTS {
        let id = nth(number);
        world.register(id.as_str(), 1);
        world.heard(id.as_str());
        world.read_disk(id.as_str());
    }
    // One is there already.
    for number in 1..GROUPS {
        let group = GroupId::new(format!("group-{number}")).expect("a valid name");
        let member = |step: usize| MemberSpec { host: nth((number + step) % HOSTS), disk: Some(d1()) };
        let (primary, backups) = (member(0), vec![member(1), member(2)]);
        let labels = BTreeMap::new();
        let create = Command::CreateGroup { group: group.clone(), primary: primary.clone(), backups, labels };
        accepted(&mut world, create);
        let epoch = world.state.groups[&group].epoch;
        let (host, incarnation) = (primary.host.clone(), Incarnation(1));
        accepted(
            &mut world,
            Command::AcknowledgePromotion { group: group.clone(), epoch, host, incarnation },
        );
        let told = GroupObservation { epoch, state: GroupState::Acting, reason: String::new() };
        let seen = world.observed(primary.host.as_str());
        seen.not_stopped.get_or_insert_default().insert(group.clone(), told.clone());
        seen.groups.insert(group, told);
    }
    world.seen.note_applied(&world.state, world.now);
    world
}

#[allow(clippy::disallowed_methods, reason = "it measures")]
fn measured(what: &str, world: &World, now: Mono) -> Duration {
    let coordinators = Coordinators { leads: true, reaches_quorum: true, ..Coordinators::default() };
    let runs = (0..5).map(|_| {
        let began = Instant::now();
        let found = warnings(&world.state, Some(&world.seen), &coordinators, now);
        let took = began.elapsed();
        (took, found.listed.len() + found.unlisted, found.worst)
    });
    let (took, count, worst) = runs.min().expect("there were runs");
    let worst = worst.map_or_else(|| "none".to_owned(), |worst: Severity| worst.to_string());
    println!("{GROUPS} groups, {what}: {took:?} for {count} warnings, the worst: {worst}");
    took
}

#[test]
#[ignore = "a measurement of release builds: `cargo xtask bench warnings`"]
fn the_warnings_of_a_hundred_thousand_groups_cost_less_than_a_heartbeat_can_wait() {
    let world = large();
    let well = measured("all well", &world, world.now);
    let lost = measured("no host heard of for D", &world, world.now.plus_ms(2 * D));
    assert!(well < LONGEST && lost < LONGEST, "{well:?} and {lost:?}, at most {LONGEST:?}");
}
