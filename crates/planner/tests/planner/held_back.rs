//! Agents that come more often than they are let in, and agents that have lost their state folder.

use crate::{
    warnings::short,
    world::{World, host},
};
use quorate_planner::{HELD_BACK_TOLD_MS, Haste, Mono, warnings::Code};

impl World {
    fn held_back(&self) -> Vec<String> {
        let found = self.warned_by(&crate::warnings::well()).listed;
        found.iter().filter(|warning| warning.code != Code::HostSuspect).map(short).collect()
    }
}

#[test]
fn those_who_come_too_often_are_named_for_a_minute_with_how_often_they_were_put_off() {
    let mut world = World::new();
    let now = world.now;
    for _ in 0..3 {
        world.seen.held_back.note(Haste::Starts, Some(host("h1")), now);
    }
    world.seen.held_back.note(Haste::Refusals, Some(host("h2")), now);
    world.seen.held_back.note(Haste::NewHosts, None, now);
    let expected = [
        "warning HOST_HELD_BACK host h1",
        "warning HOST_HELD_BACK host h2",
        "warning NEW_HOSTS_HELD_BACK cluster",
    ];
    assert_eq!(world.held_back(), expected);
    let starts = world.one(Code::HostHeldBack).text;
    assert_eq!(starts, "starts of this host come faster than they are taken: 3 were put off");
    world.pass(HELD_BACK_TOLD_MS + 1, &["h1", "h2", "h3"]);
    assert_eq!(world.held_back(), [] as [&str; 0]);
    world.seen.held_back.note(Haste::Starts, Some(host("h1")), world.now);
    let again = world.one(Code::HostHeldBack);
    assert!(again.text.ends_with("1 were put off"), "it counts anew: {again:?}");
}

#[test]
fn what_is_remembered_of_them_is_bounded() {
    let mut world = World::new();
    for number in 0..50_000 {
        world.seen.held_back.note(Haste::Starts, Some(host(&format!("n{number}"))), Mono(number));
    }
    let listed = world.warned_by(&crate::warnings::well());
    assert!(listed.listed.len() + listed.unlisted <= 20_001, "{}", listed.unlisted);
}

#[test]
fn an_agent_without_its_state_folder_is_told_of_while_it_says_so() {
    let mut world = World::new();
    world.observed("h2").connected = true;
    assert_eq!(world.held_back(), [] as [&str; 0]);
    world.observed("h2").state_folder_problem = "/state: lock: No such file or directory".into();
    assert_eq!(world.held_back(), ["warning HOST_STATE_FOLDER host h2"]);
    assert!(world.one(Code::HostStateFolder).text.contains("/state: lock"));
    world.observed("h2").connected = false;
    assert_eq!(world.held_back(), [] as [&str; 0], "it may be another agent by now");
}
