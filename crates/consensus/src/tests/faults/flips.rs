//! Bits that flip in the files of a node: it opens with all that it had, or refuses and says where.

use super::{
    crash::check_open,
    history::{HISTORY, LAST, cluster, models},
    node::{Node, Ran, chain, disk_after},
    node_disk::NodeDisk,
};
use crate::{DataFolder, disk::memory::MemoryDisk};
use quorate_domain::{CoordinatorId, InstanceId};
use std::{fs, path::Path, sync::Arc};

/// Bits that are flipped in each kind of file.
const SAMPLE: usize = 150;

/// Bits all over some bytes; the step is prime, so that every bit of a byte has its turn.
fn sample(bytes: usize) -> impl Iterator<Item = usize> {
    let bits = bytes * 8;
    let step =
        [1, 7, 61, 241, 907, 3001, 10_007].into_iter().find(|step| bits / step <= SAMPLE).unwrap_or(40_009);
    (0..bits).step_by(step)
}

fn flip(bytes: &mut [u8], bit: usize) {
    bytes[bit / 8] ^= 1 << (bit % 8);
}

fn ran_all() -> Ran {
    let all = models().len() - 1;
    Ran { node: None, done: all, durable: all, error: None }
}

/// True when it opened, with everything.
fn opens_whole(disk: &NodeDisk, what: &str, wanted: &[&str]) -> bool {
    match Node::open(disk) {
        Ok(mut node) => {
            assert_eq!(node.model().last(), Some(LAST), "{what}");
            check_open(&mut node, &ran_all(), what);
            true
        }
        Err(error) => {
            let said = chain(&error);
            assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{what}: no {wanted:?} in: {said}");
            false
        }
    }
}

#[test]
fn a_flip_in_the_newest_snapshot_is_made_up_for_by_the_state_store_or_refused() {
    let base = disk_after(HISTORY);
    let name = base.files(".snap").pop().unwrap();
    let size = base.memory().contents()[&name].len();
    // The first bytes each have a meaning of their own.
    for bit in (0..64).chain(sample(size)) {
        for has_store in [true, false] {
            let disk = base.next_process();
            disk.memory().tamper(&name, |bytes| flip(bytes, bit));
            if !has_store {
                disk.lose_store();
            }
            let what = format!("bit {bit} of {name}, state store: {has_store}");
            let whole = opens_whole(&disk, &what, &[&name]);
            // A version that is not known is refused in any case.
            let is_version = (48..64).contains(&bit);
            assert!(is_version || whole == has_store, "{what}");
        }
    }
}

#[test]
fn a_flip_in_the_log_is_refused_or_loses_nothing() {
    let base = disk_after(HISTORY);
    let (mut refused, mut whole) = (0, 0);
    for name in base.files(".wal") {
        let size = base.memory().contents()[&name].len();
        for bit in sample(size) {
            let disk = base.next_process();
            disk.memory().tamper(&name, |bytes| flip(bytes, bit));
            // The last batch may be taken for a torn one; then the state is ahead of the log, and that is refused.
            if opens_whole(&disk, &format!("bit {bit} of {name}"), &["log"]) {
                whole += 1;
            } else {
                refused += 1;
            }
        }
    }
    assert!(refused > 20 && whole > 20, "{refused} refused, {whole} whole");
}

#[test]
fn a_flip_in_the_state_store_is_made_up_for_by_snapshot_and_log() {
    let base = disk_after(HISTORY);
    let store = fs::read(base.root().join("state/db")).unwrap();
    let used = store.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    for bit in sample(used) {
        let disk = base.next_process();
        let path = disk.root().join("state/db");
        let mut bytes = store.clone();
        flip(&mut bytes, bit);
        fs::write(path, bytes).unwrap();
        let what = format!("bit {bit} of {used} bytes of the state store");
        assert!(opens_whole(&disk, &what, &[]), "{what}");
    }
}

/// A folder with both files, and what its node is called.
fn identity_folder() -> (MemoryDisk, InstanceId) {
    let disk = MemoryDisk::new();
    let folder = open_folder(&disk).unwrap();
    let peer = InstanceId::new("peer2").unwrap();
    folder.meet_peer(CoordinatorId(2), &peer).unwrap();
    let instance = folder.instance().clone();
    (disk, instance)
}

fn open_folder(disk: &MemoryDisk) -> Result<DataFolder, String> {
    let opened =
        DataFolder::open(Arc::new(disk.clone()), Path::new("/memory"), &cluster(), CoordinatorId(1), false);
    opened.map_err(|error| error.to_string())
}

#[test]
fn every_flipped_bit_and_every_cut_of_the_identity_files_is_refused_by_name() {
    let (base, instance) = identity_folder();
    for (name, bytes) in base.contents() {
        let refused = |changed: Vec<u8>, what: &str| {
            let disk = base.copy();
            disk.tamper(&name, |bytes| *bytes = changed);
            let said = open_folder(&disk).map(drop).expect_err(what);
            assert!(said.contains(&format!("/memory/{name} is damaged")), "{what}: {said}");
            assert!(said.contains("new node id"), "{said}");
        };
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flip(&mut flipped, bit);
            refused(flipped, &format!("bit {bit} of {name}"));
        }
        for length in 0..bytes.len() {
            refused(bytes[..length].to_vec(), &format!("{name} cut at {length}"));
        }
        refused(vec![0xa5; bytes.len()], &format!("garbage in {name}"));
    }
    assert_eq!(*open_folder(&base.copy()).unwrap().instance(), instance);
}

#[test]
fn identity_files_of_layout_1_are_still_read() {
    let (disk, _) = identity_folder();
    let identity =
        r#"{ "format": 1, "cluster": "c1", "node": 1, "instance": "0123456789abcdef0123456789abcdef" }"#;
    disk.tamper("identity.json", |bytes| *bytes = identity.into());
    disk.tamper("peers.json", |bytes| *bytes = br#"{ "2": "peer2", "3": "peer3" }"#.to_vec());
    let folder = open_folder(&disk).unwrap();
    assert_eq!(folder.instance().to_string(), "0123456789abcdef0123456789abcdef");
    assert_eq!(folder.known_peer(CoordinatorId(3)), Some(InstanceId::new("peer3").unwrap()));
}
