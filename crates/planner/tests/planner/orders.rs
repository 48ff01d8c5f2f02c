//! The same six events in every order: after each of them the plan is exactly what the rules say, and in the end the
//! group has the same one primary.

use crate::world::{D, World, host};
use quorate_domain::{GroupState, Phase};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Happens {
    HeartbeatsStop,
    RevokeApplied,
    WaitIsOver,
    ReleaseArrives,
    BackupGone,
    NewLeader,
}
use Happens::{BackupGone, HeartbeatsStop, NewLeader, ReleaseArrives, RevokeApplied, WaitIsOver};

const ALL: [Happens; 6] = [HeartbeatsStop, RevokeApplied, WaitIsOver, ReleaseArrives, BackupGone, NewLeader];

/// Every order of some things.
pub(crate) fn orders<T: Copy + PartialEq>(things: &[T]) -> Vec<Vec<T>> {
    if things.is_empty() {
        return vec![vec![]];
    }
    let mut found = Vec::new();
    for first in things {
        let rest: Vec<T> = things.iter().copied().filter(|thing| thing != first).collect();
        for mut order in orders(&rest) {
            order.insert(0, *first);
            found.push(order);
        }
    }
    found
}

/// What happened, in order.
struct Past<'a>(&'a [Happens]);

impl Past<'_> {
    fn place(&self, event: Happens) -> Option<usize> {
        self.0.iter().position(|past| *past == event)
    }

    fn happened(&self, event: Happens) -> bool {
        self.place(event).is_some()
    }

    /// True when `event` came after each of `others` that came at all.
    fn after_all_of(&self, event: Happens, others: &[Happens]) -> bool {
        self.place(event).is_some_and(|place| others.iter().all(|other| self.place(*other) < Some(place)))
    }

    /// What the rules want now, said without time or observations.
    fn expected(&self) -> Vec<String> {
        let mut expected = Vec::new();
        let contacts = [HeartbeatsStop, ReleaseArrives, NewLeader];
        if self.happened(HeartbeatsStop) && self.after_all_of(WaitIsOver, &contacts) {
            expected.push("mark h1 offline".to_owned());
        }
        // A new leader hears of the release again only from a host that still speaks.
        let lost = self.happened(NewLeader)
            && self.after_all_of(NewLeader, &[ReleaseArrives])
            && self.happened(HeartbeatsStop)
            && self.after_all_of(NewLeader, &[HeartbeatsStop]);
        if self.happened(ReleaseArrives) && !lost {
            expected.push("release g1 h1".to_owned());
        } else if self.happened(RevokeApplied) && self.after_all_of(WaitIsOver, &[RevokeApplied, NewLeader]) {
            let follows = if self.happened(BackupGone) { "h3" } else { "h2" };
            let term = if self.happened(NewLeader) { 2 } else { 1 };
            expected.push(format!("choose g1 {follows} waited {D} in {term}"));
        }
        expected
    }

    fn speaking(&self) -> Vec<&'static str> {
        let mut speaking = vec!["h3"];
        if !self.happened(HeartbeatsStop) {
            speaking.push("h1");
        }
        if !self.happened(BackupGone) {
            speaking.push("h2");
        }
        speaking
    }
}

fn happen(world: &mut World, past: &Past<'_>, event: Happens) {
    match event {
        HeartbeatsStop => world.disconnect("h1"),
        RevokeApplied => world.request_failover(None),
        WaitIsOver => world.pass(D, &past.speaking()),
        ReleaseArrives => {
            let now = world.now;
            world.observed("h1").last_contact = now;
            world.says("h1", GroupState::Ended);
        }
        BackupGone => world.stop("h2"),
        NewLeader => {
            world.new_leader();
            world.pass(0, &past.speaking());
            if past.happened(ReleaseArrives) && !past.happened(HeartbeatsStop) {
                world.says("h1", GroupState::Ended);
            }
        }
    }
}

#[test]
fn after_each_event_in_every_order_the_plan_is_exactly_what_the_rules_say() {
    let orders = orders(&ALL);
    assert_eq!(orders.len(), 720);
    for order in orders {
        let mut world = World::new();
        for (count, event) in order.iter().enumerate() {
            happen(&mut world, &Past(&order[..count]), *event);
            let past = Past(&order[..=count]);
            assert_eq!(world.planned(), past.expected(), "{:?}", past.0);
        }
    }
}

#[test]
fn in_every_order_the_last_backup_becomes_the_only_primary() {
    for order in orders(&ALL) {
        let mut world = World::new();
        let first = world.group().epoch;
        for (count, event) in order.iter().enumerate() {
            happen(&mut world, &Past(&order[..count]), *event);
        }
        world.settle();
        world.pass(D, &["h3"]);
        world.settle();
        world.says("h3", GroupState::Acting);
        world.settle();
        let group = world.group();
        assert_eq!((&group.primary.host, &group.phase), (&host("h3"), &Phase::Active), "{order:?}");
        assert_eq!((group.epoch, group.history.len()), (first.next(), 1), "{order:?}");
    }
}

#[test]
fn these_orders_are_worth_reading() {
    let table: [(&[Happens], &[&str]); 9] = [
        (&[HeartbeatsStop], &[]),
        (&[HeartbeatsStop, WaitIsOver], &["mark h1 offline"]),
        (&[HeartbeatsStop, WaitIsOver, NewLeader], &[]),
        (&[HeartbeatsStop, NewLeader, WaitIsOver], &["mark h1 offline"]),
        (&[RevokeApplied, WaitIsOver], &["choose g1 h2 waited 7500 in 1"]),
        (&[RevokeApplied, WaitIsOver, NewLeader], &[]),
        (&[RevokeApplied, NewLeader, WaitIsOver], &["choose g1 h2 waited 7500 in 2"]),
        (&[WaitIsOver, RevokeApplied], &[]),
        (
            &[HeartbeatsStop, RevokeApplied, BackupGone, WaitIsOver],
            &["mark h1 offline", "choose g1 h3 waited 7500 in 1"],
        ),
    ];
    for (order, expected) in table {
        let mut world = World::new();
        for (count, event) in order.iter().enumerate() {
            happen(&mut world, &Past(&order[..count]), *event);
        }
        assert_eq!(world.planned(), expected, "{order:?}");
    }
}
