//! A snapshot of another node takes the place of everything, while Raft goes on.

use super::{
    history::{HISTORY, Op, RECEIVED, entry, log_id, snapshot_at},
    node::{Node, chain, disk_before},
    node_disk::{NodeDisk, Store},
};
use crate::{
    disk::memory::{Fault, Keep},
    types::Entry,
};
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftStateMachine};
use std::io::Cursor;

/// A node that is about to be sent a snapshot.
fn before_install() -> (NodeDisk, Node) {
    let disk = disk_before(Op::Install).next_process();
    let node = Node::open(&disk).unwrap();
    (disk, node)
}

fn next_entries() -> Vec<Entry> {
    vec![entry(RECEIVED + 1), entry(RECEIVED + 2)]
}

#[test]
fn the_log_keeps_its_entries_on_disk_until_the_snapshot_in_their_place_is_there() {
    let (disk, mut node) = before_install();
    let held = node.model();
    let (runtime, opened) = node.parts();
    // Raft's loop forgets the entries at once; the snapshot is still on its way through the state machine.
    runtime.block_on(opened.log.purge(log_id(RECEIVED))).unwrap();
    node.settle();
    let found = Node::open(&disk.after_crash(Keep::Units(usize::MAX), Store::Written)).unwrap();
    assert!(held.is_found(&found.model()), "{:?}", found.model());
}

#[test]
fn no_entry_behind_a_snapshot_is_acknowledged_before_the_snapshot_is_on_disk() {
    let (disk, mut node) = before_install();
    let (runtime, opened) = node.parts();
    let mut log = opened.log.clone();
    runtime.block_on(log.purge(log_id(RECEIVED))).unwrap();
    let append = runtime.spawn(async move { log.blocking_append(next_entries()).await });
    node.settle();
    assert!(!append.is_finished(), "it waits");
    let held = Node::open(&disk.after_crash(Keep::Units(usize::MAX), Store::Written)).unwrap().model();
    assert!(!held.entries.contains_key(&(RECEIVED + 1)), "{held:?}");

    let (runtime, opened) = node.parts();
    let (meta, bytes) = snapshot_at(RECEIVED);
    runtime.block_on(opened.machine.install_snapshot(&meta, Box::new(Cursor::new(bytes)))).unwrap();
    runtime.block_on(append).unwrap().unwrap();
    let mut found = Node::open(&disk.after_crash(Keep::Units(0), Store::Synced)).unwrap();
    assert_eq!(found.model().purged, Some(log_id(RECEIVED)));
    assert_eq!(found.model().last(), Some(RECEIVED + 2));
    assert_eq!(found.checked_applied(), Some(RECEIVED));
}

#[test]
fn whoever_waits_behind_a_snapshot_hears_that_it_cannot_be_installed() {
    let (disk, mut node) = before_install();
    let (runtime, opened) = node.parts();
    let mut log = opened.log.clone();
    runtime.block_on(log.purge(log_id(RECEIVED))).unwrap();
    let append = runtime.spawn(async move { log.blocking_append(next_entries()).await });
    node.settle();
    disk.break_at(Fault::FailAt(2), &[]);
    let (runtime, opened) = node.parts();
    let (meta, bytes) = snapshot_at(RECEIVED);
    let installed = runtime.block_on(opened.machine.install_snapshot(&meta, Box::new(Cursor::new(bytes))));
    let (installed, append) = (installed.unwrap_err(), runtime.block_on(append).unwrap().unwrap_err());
    for error in [chain(&installed), chain(&append)] {
        let file = disk.root().join("snapshots").display().to_string();
        assert!(error.contains(&file) && error.contains("os error 5"), "{error}");
    }
}

#[test]
fn a_snapshot_that_is_damaged_on_its_way_or_is_another_one_changes_nothing() {
    let (disk, mut node) = before_install();
    let held = node.model();
    let (meta, mut flipped) = snapshot_at(RECEIVED);
    flipped[1000] ^= 4;
    for bytes in [flipped, snapshot_at(RECEIVED - 1).1, vec![]] {
        let (runtime, opened) = node.parts();
        let installed =
            runtime.block_on(opened.machine.install_snapshot(&meta, Box::new(Cursor::new(bytes))));
        assert!(chain(&installed.unwrap_err()).contains("from another node"));
    }
    let found = Node::open(&disk.next_process()).unwrap();
    assert!(held.is_found(&found.model()));
    assert_eq!(disk.files(".snap").len(), HISTORY.iter().filter(|op| **op == Op::Snapshot).count() - 1);
}
