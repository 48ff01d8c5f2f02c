//! The machine dies at every step of a node's history, with any part of what was not synced.

use super::{
    history::{LAST, models},
    node::{Node, Ran, run_history},
    node_disk::{NodeDisk, Store},
};
use crate::disk::memory::{Fault, Keep};

/// An undisturbed run: its number of steps, those in which the state store syncs, and those that take room on the disk.
pub(super) struct Undisturbed {
    pub(super) steps: u64,
    pub(super) syncs: Vec<u64>,
    pub(super) takes_room: Vec<u64>,
}

pub(super) fn undisturbed() -> Undisturbed {
    let disk = NodeDisk::new();
    let ran = run_history(&disk);
    assert_eq!(ran.error, None);
    let mut node = ran.node.unwrap();
    assert_eq!(node.model(), models()[models().len() - 1]);
    assert_eq!(node.checked_applied(), Some(LAST));
    Undisturbed {
        steps: disk.memory().steps(),
        syncs: disk.store_syncs(),
        takes_room: disk.memory().room_steps(),
    }
}

/// Opens what a fault left: it has what was acknowledged, of what was under way all or nothing, fits together, and goes on
/// from there.
pub(super) fn check(disk: &NodeDisk, ran: &Ran, what: &str) {
    let mut node = Node::open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    check_open(&mut node, ran, what);
}

pub(super) fn check_open(node: &mut Node, ran: &Ran, what: &str) {
    let found = node.model();
    let models = models();
    let under_way = (ran.done + 1).min(models.len() - 1);
    let fits = models[ran.durable..=under_way].iter().any(|model| model.is_found(&found));
    assert!(fits, "{what}: after {} steps of the history it holds {found:?}", ran.done);
    assert!(models[ran.done].met.is_subset(&found.met), "{what}: it forgot whom it met");
    assert!(found.met.is_subset(&models[under_way].met), "{what}: it met {:?}", found.met);

    let (applied, snapshot) = (node.checked_applied(), node.checked_snapshot());
    let purged = found.purged.map(|id| id.index);
    assert!(purged <= snapshot, "{what}: the log begins behind {purged:?}, the snapshot is at {snapshot:?}");
    assert!(snapshot <= applied, "{what}: the snapshot is at {snapshot:?}, the state at {applied:?}");
    assert!(applied <= found.last(), "{what}: the state is at {applied:?}, the log at {:?}", found.last());

    node.catch_up().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(node.checked_applied(), Some(LAST), "{what}");
}

#[test]
fn a_node_has_what_it_acknowledged_after_a_crash_at_any_step() {
    let Undisturbed { steps, syncs, .. } = undisturbed();
    let mut images = 0;
    for step in 1..=steps {
        let disk = NodeDisk::new();
        disk.break_at(Fault::CrashAt(step), &syncs);
        let ran = run_history(&disk);
        assert!(disk.memory().is_dead(), "step {step}");
        let units = disk.memory().pending_units();
        let mut keeps = vec![Keep::Units(0), Keep::Scattered(step)];
        if units > 0 {
            keeps.extend([Keep::Units(units), Keep::Units(units / 2), Keep::Scattered(step + 1000)]);
        }
        // What the state store lost goes round, so that each loss meets each other one.
        let stores =
            [Store::Synced, Store::Written, Store::Cut(3 + step % 4), Store::Missing, Store::Garbage];
        for (number, keep) in (step..).zip(keeps) {
            let store = stores[usize::try_from(number).unwrap() % stores.len()];
            images += 1;
            check(&disk.after_crash(keep, store), &ran, &format!("step {step}, {keep:?}, {store:?}"));
        }
    }
    println!("{steps} steps, {images} images");
    assert!(steps > 200 && images > 500, "{steps} steps, {images} images");
}
