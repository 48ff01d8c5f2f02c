//! Log, snapshots and state store that do not belong together, or of which one is damaged.

use super::{
    history::{HISTORY, LAST, Op},
    node::{Node, chain, disk_after, disk_before},
    node_disk::NodeDisk,
};
use crate::{
    disk::{Disk, memory::MemoryDisk},
    log_store::{LogOpenError, LogStore},
    wal::{self, Record, Wal},
};
use quorate_domain::Revision;

/// Flips a bit in the middle of the newest snapshot, and tells its name.
fn damage_newest_snapshot(disk: &NodeDisk) -> String {
    let name = disk.files(".snap").pop().unwrap();
    disk.memory().tamper(&name, |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    name
}

fn refusal(disk: &NodeDisk) -> String {
    Node::open(disk).map(drop).map_err(|error| chain(&error)).expect_err("it must be refused")
}

fn assert_says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "no {wanted:?} in: {text}");
    }
}

#[test]
fn the_older_snapshot_serves_when_the_log_reaches_back_to_it() {
    let disk = disk_before(Op::Purge(10));
    assert_eq!(disk.files(".snap").len(), 2);
    damage_newest_snapshot(&disk);
    disk.lose_store();
    let mut node = Node::open(&disk).unwrap();
    assert_eq!(node.checked_snapshot(), Some(6));
    node.catch_up().unwrap();
    assert_eq!(node.checked_applied(), Some(LAST));
}

#[test]
fn the_older_snapshot_is_refused_when_the_log_does_not_reach_back_to_it() {
    let disk = disk_after(HISTORY);
    assert_eq!(disk.files(".snap").len(), 2);
    let damaged = damage_newest_snapshot(&disk);
    disk.lose_store();
    let said = refusal(&disk);
    assert_says(&said, &["begins behind entry 21", &damaged, "damaged at offset", "restore", "new node id"]);
    disk.wait_for_free_store();
    assert_eq!(refusal(&disk), said, "and it stays refused");
}

#[test]
fn a_log_that_forgot_entries_is_refused_without_snapshots_and_state() {
    let disk = disk_after(HISTORY);
    for name in disk.files(".snap") {
        let folder = Disk::folder(disk.memory(), &disk.root().join("snapshots")).unwrap();
        folder.remove(name.strip_prefix("snapshots/").unwrap()).unwrap();
    }
    disk.lose_store();
    assert_says(&refusal(&disk), &["begins behind entry 21", "there is none", "new node id"]);
}

#[test]
fn a_damaged_snapshot_is_replaced_when_the_state_store_makes_up_for_it() {
    let disk = disk_after(HISTORY);
    let damaged = damage_newest_snapshot(&disk);
    let mut node = Node::open(&disk).unwrap();
    assert_eq!(node.checked_snapshot(), Some(LAST), "a new one, since the older one does not reach the log");
    assert_eq!(disk.files(".damaged"), [damaged.replace(".snap", ".damaged")]);
    node.run(Op::Snapshot).unwrap();
    assert_eq!(disk.files(".damaged").len(), 0, "it goes when a whole one was written");
    assert_eq!(disk.files(".snap").len(), 2);
}

#[test]
fn a_log_that_begins_at_the_beginning_needs_no_snapshot() {
    let disk = disk_before(Op::Purge(4));
    damage_newest_snapshot(&disk);
    disk.lose_store();
    let mut node = Node::open(&disk).unwrap();
    assert_eq!(node.checked_snapshot(), None);
    node.catch_up().unwrap();
    assert_eq!(node.checked_applied(), Some(LAST));
}

#[test]
fn a_state_store_that_lags_behind_the_snapshot_catches_up_from_the_log_and_keeps_its_archive() {
    let disk = disk_before(Op::Purge(4));
    disk.take_store_of(&disk_before(Op::AppendInVain(8, 9)));
    let mut node = Node::open(&disk).unwrap();
    assert!(node.checked_applied() >= Some(6), "all that the snapshot has is committed");
    let (runtime, opened) = node.parts();
    let kept = runtime.block_on(opened.machine.feed().since(Revision(1), 100)).unwrap();
    assert!(
        matches!(kept, crate::Archived::Revisions(kept) if kept[0].revision == Revision(1)),
        "the archive"
    );
    assert!(!disk.root().join("state.damaged").exists());
}

#[test]
fn a_state_store_ahead_of_the_log_is_refused_and_left_where_it_is() {
    let disk = disk_before(Op::Purge(4));
    disk.take_store_of(&disk_after(HISTORY));
    let said = refusal(&disk);
    assert_says(&said, &["log ends at entry 10", "state is at 23", "new node id"]);
    disk.wait_for_free_store();
    assert_eq!(refusal(&disk), said, "and it stays refused");
    assert!(!disk.root().join("state.damaged").exists());
}

#[test]
fn a_state_store_in_use_is_refused_and_left_where_it_is() {
    let disk = disk_before(Op::Purge(4));
    let user = sled::open(disk.root().join("state")).unwrap();
    assert_says(&refusal(&disk), &["state: sled", "could not acquire lock"]);
    assert!(!disk.root().join("state.damaged").exists());
    drop(user);
    disk.wait_for_free_store();
    assert_eq!(Node::open(&disk).unwrap().checked_applied(), Some(9));
}

#[test]
fn a_snapshot_ahead_of_the_log_is_refused_and_the_state_store_is_left_where_it_is() {
    let (disk, newer) = (disk_before(Op::Purge(4)), disk_after(HISTORY));
    let name = newer.files(".snap").pop().unwrap();
    let bytes = newer.memory().contents().remove(&name).unwrap();
    let folder = Disk::folder(disk.memory(), &disk.root().join("snapshots")).unwrap();
    folder.create(name.strip_prefix("snapshots/").unwrap()).unwrap().write_at(&bytes, 0).unwrap();
    assert_says(&refusal(&disk), &["log ends at entry 10", &name, "is at 21", "new node id"]);
    assert!(!disk.root().join("state.damaged").exists());
}

#[test]
fn a_log_with_a_gap_is_refused() {
    let disk = MemoryDisk::new();
    let options = wal::Options { spare_segments: 0, ..wal::Options::default() };
    let (wal, _) = Wal::open(disk.folder(), &options).unwrap();
    let entry = |index| {
        let entry = super::history::entry(index);
        Record::Entry { index, data: crate::codec::encode_entry(&entry) }
    };
    wal.append_and_wait(vec![entry(0), entry(1), entry(3)]).unwrap();
    wal.close().unwrap();
    let opened = LogStore::open(disk.folder(), &options).map(drop);
    let error = opened.expect_err("a log that begins in the air");
    assert!(matches!(error, LogOpenError::Gap { expected: 2, found: 3, .. }), "{error}");
    assert_says(&error.to_string(), &["/memory: entry 3", "new node id"]);
}

#[test]
fn a_data_folder_that_lost_its_identity_is_refused_whatever_else_is_left() {
    for kept in ["log", "snapshots"] {
        let memory = MemoryDisk::new();
        let root = memory.folder().path("");
        Disk::folder(&memory, &root.join(kept)).unwrap();
        let opened = crate::DataFolder::open(
            std::sync::Arc::new(memory),
            &root,
            &super::history::cluster(),
            quorate_domain::CoordinatorId(1),
            false,
        );
        let said = opened.map(drop).unwrap_err().to_string();
        assert_says(&said, &["/memory/identity.json is damaged", kept, "new node id"]);
    }
}
