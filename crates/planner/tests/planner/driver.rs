//! A driver that plans and applies tick by tick, with agents that do as they are told: what comes of it.

use crate::{
    orders::orders,
    world::{D, START, World, d1, disk_report, host},
};
use quorate_domain::{Epoch, Event, GroupState, HostStatus, Phase, Verdict};
use quorate_planner::Mono;

const TICK_MS: u64 = 100;

/// The world, running.
struct Driver {
    world: World,
    /// Hosts whose agents run and reach the leader.
    alive: Vec<&'static str>,
    revoked_at: Option<Mono>,
    released: bool,
    switches: Vec<(Mono, String, Epoch)>,
    trace: Vec<String>,
}

impl Driver {
    fn new() -> Self {
        Self {
            world: World::new(),
            alive: vec!["h1", "h2", "h3"],
            revoked_at: None,
            released: false,
            switches: vec![],
            trace: vec![],
        }
    }

    fn kill(&mut self, id: &str) {
        self.alive.retain(|alive| *alive != id);
        self.world.disconnect(id);
    }

    fn new_leader(&mut self) {
        self.world.new_leader();
        self.revoked_at = self.revoked_at.map(|_| self.world.now);
    }

    /// One tick: heartbeats, then plans until nothing is left to do.
    fn tick(&mut self) {
        self.world.pass(TICK_MS, &self.alive.clone());
        for id in self.alive.clone() {
            self.report(id);
        }
        let now = self.world.now;
        let (lines, events) = self.world.settle();
        for line in lines {
            self.trace.push(format!("{} {line}", now.since_ms(START)));
        }
        for event in events {
            self.witness(&event);
        }
    }

    /// What the agent says of g1: it acts when it is told to, and lets go when it is told to.
    fn report(&mut self, id: &str) {
        let group = self.world.group();
        if group.primary.host != host(id) {
            return;
        }
        let state = if !group.phase.grants() {
            GroupState::Ended
        } else if self.world.observed(id).groups.is_empty() {
            GroupState::Installed
        } else {
            GroupState::Acting
        };
        self.world.says(id, state);
    }

    fn witness(&mut self, event: &Event) {
        let now = self.world.now;
        match event {
            Event::FailoverBegun { .. } => (self.revoked_at, self.released) = (Some(now), false),
            Event::PrimaryReleased { .. } => self.released = true,
            Event::PrimarySwitched { to, epoch, .. } => {
                let since = self.revoked_at.take().expect("nobody is promoted without a revoke");
                let waited_ms = now.since_ms(since);
                assert!(self.released || waited_ms >= D, "promoted after {waited_ms} ms: {:#?}", self.trace);
                self.switches.push((now, to.to_string(), *epoch));
            }
            _ => {}
        }
    }

    fn run_until(&mut self, limit_ms: u64, done: impl Fn(&World) -> bool) -> Mono {
        let end = self.world.now.plus_ms(limit_ms);
        while !done(&self.world) {
            assert!(self.world.now < end, "not there after {limit_ms} ms: {:#?}", self.trace);
            self.tick();
        }
        self.world.now
    }
}

fn acts(id: &'static str) -> impl Fn(&World) -> bool {
    move |world| world.group().primary.host == host(id) && world.group().phase == Phase::Active
}

#[test]
fn a_dead_primary_is_replaced_by_the_first_backup_d_after_the_revoke() {
    let mut driver = Driver::new();
    let first = driver.world.group().epoch;
    driver.kill("h1");
    driver.run_until(12_000, acts("h2"));
    assert_eq!(
        driver.trace,
        [
            "3000 mark h1 suspect",
            "3000 begin g1 host-lost",
            "7500 mark h1 offline",
            "10500 choose g1 h2 waited 7500 in 1",
            "10500 promote g1 h2 waited 7500 in 1",
            "10600 installed g1 h2",
            "10700 acting g1 h2",
        ]
    );
    assert_eq!(driver.world.group().epoch, first.next());
}

#[test]
fn a_failed_disk_moves_the_group_by_release_and_without_the_wait() {
    let mut driver = Driver::new();
    driver.world.fail_disk("h1");
    driver.run_until(1_000, acts("h2"));
    assert_eq!(
        driver.trace,
        [
            "100 begin g1 disk-failed",
            "200 release g1 h1",
            "200 choose g1 h2 released",
            "200 promote g1 h2 released",
            "300 installed g1 h2",
            "400 acting g1 h2",
        ]
    );
}

#[test]
fn a_restarted_primary_gets_the_group_back_under_a_new_epoch() {
    let mut driver = Driver::new();
    let first = driver.world.group().epoch;
    driver.world.register("h1", 2);
    driver.world.seen.hosts.remove(&host("h1"));
    driver.world.heard("h1");
    driver.tick();
    driver.tick();
    assert!(!driver.world.group().phase.grants(), "it has not read its disk yet: {:#?}", driver.trace);
    let read = disk_report("h1", Verdict::Healthy);
    driver.world.observed("h1").disks.insert(d1(), read);
    driver.run_until(1_000, |world| world.group().epoch > first && acts("h1")(world));
    assert_eq!(driver.world.group().epoch, first.next());
    assert_eq!(driver.world.state.operations.len(), 1);
}

#[test]
fn a_new_leader_starts_the_wait_again() {
    let mut driver = Driver::new();
    driver.kill("h1");
    driver.run_until(4_000, |world| !world.group().phase.grants());
    let revoked = driver.world.now;
    driver.world.pass(5_000, &["h2", "h3"]);
    driver.new_leader();
    let done = driver.run_until(20_000, acts("h2"));
    assert!(done.since_ms(revoked) >= 5_000 + D, "{:#?}", driver.trace);
}

#[test]
fn with_nobody_left_the_group_says_so_and_goes_on_when_somebody_is_back() {
    let mut driver = Driver::new();
    for id in ["h1", "h2", "h3"] {
        driver.kill(id);
    }
    driver.run_until(30_000, |world| world.group().blocked.is_some());
    assert!(!driver.world.group().phase.grants());
    driver.alive.push("h3");
    driver.run_until(1_000, acts("h3"));
    assert_eq!(driver.world.group().blocked, None);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    PrimaryDies,
    BackupDies,
    LeaderDies,
    DiskFails,
}

#[test]
fn under_every_order_and_spacing_of_faults_the_survivor_acts_and_nobody_was_promoted_early() {
    let faults = [Fault::PrimaryDies, Fault::BackupDies, Fault::LeaderDies, Fault::DiskFails];
    for order in orders(&faults) {
        for spacing_ms in [0, 1_000, 3_000, 4_000, 8_000, 11_000] {
            let mut driver = Driver::new();
            let first = driver.world.group().epoch;
            for fault in &order {
                match fault {
                    Fault::PrimaryDies => driver.kill("h1"),
                    Fault::BackupDies => driver.kill("h2"),
                    Fault::LeaderDies => driver.new_leader(),
                    Fault::DiskFails => driver.world.fail_disk("h1"),
                }
                let pause = driver.world.now.plus_ms(spacing_ms);
                driver.run_until(spacing_ms + TICK_MS, |world| world.now >= pause);
            }
            driver.run_until(40_000, acts("h3"));
            let switches = driver.switches.len() as u64;
            assert_eq!(driver.world.group().epoch.0, first.0 + switches, "{order:?} {spacing_ms}");
            assert!((1..=2).contains(&switches), "{order:?} {spacing_ms}: {:#?}", driver.trace);
        }
    }
}

#[test]
fn a_host_that_is_back_in_time_keeps_its_group_once_its_silence_is_over() {
    let mut driver = Driver::new();
    driver.world.stop("h2");
    driver.world.stop("h3");
    driver.alive = vec![];
    driver.world.disconnect("h1");
    driver.run_until(4_000, |world| {
        world.state.hosts.get(&host("h1")).is_some_and(|host| host.status == HostStatus::Suspect)
    });
    driver.alive.push("h1");
    driver.run_until(1_000, acts("h1"));
    let pause = driver.world.now.plus_ms(2 * D);
    driver.run_until(3 * D, |world| world.now >= pause);
    assert_eq!(driver.trace, ["3000 mark h1 suspect", "3100 mark h1 online"]);
}
