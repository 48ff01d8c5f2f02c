use super::{changes::Changes, inbox::Inbox, seal::Sealed, worker::Worker, *};
use crate::{
    codec::entry_id,
    disk::RealDisk,
    types::{MemberNode, StoredMembership},
};
use openraft::Membership;
use quorate_domain::{
    Cause, ClusterId, Command, HostId, Incarnation, InstanceId, Outcome, Proposal, Settings, StartId, Term,
    Timestamp, Zone, apply,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A state that grows by commands, with everything that one group of them leads to.
#[derive(Default)]
struct History {
    state: State,
    applied: u64,
}

impl History {
    fn write(&mut self, commands: Vec<Command>, membership: Option<StoredMembership>) -> Write {
        let mut revisions = Vec::new();
        for command in commands {
            self.applied += 1;
            let proposal = Proposal::new(Timestamp(self.applied), Cause::Cluster, command);
            let applied = apply(&mut self.state, Term(1), &proposal);
            assert!(matches!(applied.outcome, Outcome::Accepted { .. }), "{:?}", applied.outcome);
            revisions.extend(applied.committed);
        }
        Write { state: self.state.clone(), revisions, applied: entry_id(1, self.applied), membership }
    }
}

fn create_cluster() -> Command {
    Command::CreateCluster {
        cluster: ClusterId::new("c1").unwrap(),
        formation: None,
        settings: Settings::default(),
    }
}

fn register(host: &str, incarnation: u64) -> Command {
    Command::RegisterHost {
        host: HostId::new(host).unwrap(),
        zone: Zone::new("z1").unwrap(),
        address: "127.0.0.1:1".into(),
        instance: InstanceId::new("i").unwrap(),
        incarnation: Incarnation(incarnation),
        start: StartId(incarnation),
        hook_times: quorate_domain::HookTimes::default(),
    }
}

fn members(ids: &[u64]) -> StoredMembership {
    let voters: BTreeSet<u64> = ids.iter().copied().collect();
    let node = |id: &u64| (*id, MemberNode { peer_address: format!("p{id}"), api_address: format!("a{id}") });
    let nodes: BTreeMap<u64, MemberNode> = ids.iter().map(node).collect();
    StoredMembership::new(Some(entry_id(1, 1)), Membership::new(vec![voters], nodes))
}

/// Opens a store whose last handle was just dropped: sled's threads let go of its lock a moment later.
fn reopen<T>(mut open: impl FnMut() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match open() {
            Err(error) if !error.is_damage() && Instant::now() < deadline => thread::yield_now(),
            opened => return opened,
        }
    }
}

/// sled itself, without a look at what is in it.
fn raw(folder: &Path) -> sled::Db {
    reopen(|| Ok(sled::Config::new().path(folder).open()?)).unwrap()
}

fn worker_on(folder: &Path) -> Worker {
    let (db, sealed, loaded) = reopen(|| open_sled(folder)).unwrap();
    let file = File::open(folder.join(FILE)).unwrap();
    Worker::new(Arc::new(RealDisk), folder.join(FILE), db, file, sealed, &loaded, Arc::new(Inbox::default()))
}

/// A store with a cluster, three hosts and their archive, and what is applied next: a changed row, a new one, other
/// members and more of the archive.
fn store_and_next(folder: &Path) -> (Worker, Write) {
    let mut history = History::default();
    let mut worker = worker_on(folder);
    let first = vec![create_cluster(), register("h1", 1), register("h2", 1), register("h3", 1)];
    worker.write(history.write(first, Some(members(&[1, 2, 3])))).unwrap();
    let next = history.write(vec![register("h1", 2), register("h4", 1)], Some(members(&[1, 2, 3, 4])));
    (worker, next)
}

/// Opens a store to which these changes came in part: without one of them.
fn without(
    item: usize,
    changes: &Changes,
    fill: impl Fn(&Path),
) -> (Vec<u8>, Result<(Sealed, Loaded), StoreError>) {
    let folder = TempDir::new().unwrap();
    fill(folder.path());
    let db = raw(folder.path());
    let mut left_out = Vec::new();
    for (number, (key, value)) in changes.iter().enumerate() {
        match value {
            _ if number == item => key.clone_into(&mut left_out),
            Some(value) => drop(db.insert(key, value).unwrap()),
            None => drop(db.remove(key).unwrap()),
        }
    }
    drop(db);
    (left_out, reopen(|| open_sled(folder.path())).map(|(_, sealed, loaded)| (sealed, loaded)))
}

/// Leaves out every item of a batch in turn; `fill` makes the store as it was before.
fn every_item_is_missed(changes: &Changes, fill: impl Fn(&Path)) {
    for item in 0..changes.iter().count() {
        let (key, opened) = without(item, changes, &fill);
        let key = String::from_utf8_lossy(&key).into_owned();
        match opened {
            Err(StoreError::Unsealed(_)) => {}
            Err(error) => panic!("without {key:?}: {error}"),
            Ok((_, loaded)) => panic!("without {key:?} it opened at {:?}", loaded.applied),
        }
    }
    let (_, whole) = without(usize::MAX, changes, fill);
    whole.expect("with every item it opens");
}

#[test]
fn notices_every_item_of_a_write_that_is_missing() {
    let folder = TempDir::new().unwrap();
    let (worker, next) = store_and_next(folder.path());
    let mut changes = worker.changes_of(&next).unwrap();
    worker.seal(&mut changes).unwrap();
    let keys: Vec<u8> = changes.iter().map(|(key, _)| key[0]).collect();
    assert!(keys.contains(&STATE_PREFIX) && keys.contains(&EVENT_PREFIX) && keys.contains(&b'm'));
    every_item_is_missed(&changes, |folder| drop(store_and_next(folder)));
}

#[test]
fn notices_every_item_of_a_replacement_that_is_missing() {
    let folder = TempDir::new().unwrap();
    let (worker, next) = store_and_next(folder.path());
    let mut other = History::default();
    let other = other.write(vec![create_cluster(), register("other", 1)], None);
    let mut changes = worker.replacement(&other.state, Some(entry_id(7, 70)), &members(&[1, 2, 5])).unwrap();
    worker.seal(&mut changes).unwrap();
    assert!(changes.iter().any(|(key, value)| key[0] == EVENT_PREFIX && value.is_none()));
    assert_ne!(other.state, next.state);
    every_item_is_missed(&changes, |folder| drop(store_and_next(folder)));
}

#[test]
fn a_first_batch_that_landed_in_part_is_noticed_or_made_again() {
    let fresh = |items: &[(&[u8], &[u8])]| {
        let folder = TempDir::new().unwrap();
        let db = raw(folder.path());
        for (key, value) in items {
            db.insert(key, *value).unwrap();
        }
        drop(db);
        reopen(|| open_sled(folder.path())).map(|(_, _, loaded)| loaded.applied)
    };
    assert_eq!(fresh(&[]).unwrap(), None);
    assert_eq!(fresh(&[(KEY_SEAL, b"any")]).unwrap(), None);
    assert!(matches!(fresh(&[(KEY_FORMAT, FORMAT)]), Err(StoreError::Unsealed(_))));
    let stray: (&[u8], &[u8]) = (b"s?", b"row");
    assert!(matches!(fresh(&[(KEY_SEAL, b"any"), stray]), Err(StoreError::Unsealed(_))));
}

#[test]
fn a_store_of_the_layout_without_a_seal_is_read_and_sealed() {
    let folder = TempDir::new().unwrap();
    let (mut worker, next) = store_and_next(folder.path());
    let state = next.state.clone();
    worker.write(next).unwrap();
    drop(worker);
    let db = raw(folder.path());
    db.insert(KEY_FORMAT, UNSEALED_FORMAT).unwrap();
    db.remove(KEY_SEAL).unwrap();
    drop(db);
    for layout in ["as it was", "sealed by then"] {
        let (db, _, loaded) = reopen(|| open_sled(folder.path())).unwrap();
        assert_eq!(loaded.state, state, "{layout}");
        assert_eq!(loaded.applied, Some(entry_id(1, 6)));
        assert_eq!(*db.get(KEY_FORMAT).unwrap().unwrap(), *FORMAT);
    }
}

#[test]
fn a_seal_follows_a_store_through_many_writes() {
    let folder = TempDir::new().unwrap();
    let mut history = History::default();
    let mut worker = worker_on(folder.path());
    worker.write(history.write(vec![create_cluster()], None)).unwrap();
    for round in 1..40 {
        let commands = (0..5).map(|host| register(&format!("h{host}"), round)).collect();
        worker.write(history.write(commands, (round % 7 == 0).then(|| members(&[1, 2, round])))).unwrap();
        if round % 10 == 0 {
            drop(worker);
            worker = worker_on(folder.path());
        }
    }
    drop(worker);
    let (_, _, loaded) = reopen(|| open_sled(folder.path())).unwrap();
    assert_eq!(loaded.state, history.state);
}
