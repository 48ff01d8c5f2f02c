use crate::{
    disk::{Disk, RealDisk},
    log_store::LogStore,
    snapshot,
    snapshot_folder::SnapshotFolder,
    state_machine::StateMachine,
    state_store::StateStore,
    types::{Batch, Entry, StorageError, TypeConfig},
    wal,
};
use openraft::{
    CommittedLeaderId, EntryPayload, LogId, RaftSnapshotBuilder,
    storage::RaftStateMachine,
    testing::{StoreBuilder, Suite},
};
use quorate_domain::{Cause, ClusterId, Command, Proposal, Revision, Settings, StartId, Timestamp};
use std::sync::Arc;
use tempfile::TempDir;

struct Builder;

fn small_log() -> wal::Options {
    wal::Options { segment_bytes: 64 << 10, ..wal::Options::default() }
}

impl StoreBuilder<TypeConfig, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError> {
        let folder = TempDir::new().unwrap();
        let log = open_log(&folder);
        let machine = machine_on(&folder, log.clone());
        Ok((folder, log, machine))
    }
}

fn disk() -> Arc<dyn Disk> {
    Arc::new(RealDisk)
}

fn open_log(folder: &TempDir) -> LogStore {
    LogStore::open(disk().folder(&folder.path().join("log")).unwrap(), &small_log()).unwrap()
}

fn snapshots_of(folder: &TempDir) -> SnapshotFolder {
    SnapshotFolder::new(disk().folder(&folder.path().join("snapshots")).unwrap())
}

fn open_machine(folder: &TempDir) -> StateMachine {
    machine_on(folder, open_log(folder))
}

fn machine_on(folder: &TempDir, log: LogStore) -> StateMachine {
    let (store, loaded) = StateStore::open(&disk(), &folder.path().join("state")).unwrap();
    StateMachine::new(loaded, store, snapshots_of(folder), log)
}

#[test]
fn openraft_accepts_the_log_and_the_state_machine() {
    Suite::test_all(Builder).unwrap();
}

fn entry(index: u64, command: Command) -> Entry {
    let proposal = Proposal::new(Timestamp(index), Cause::Cluster, command);
    Entry {
        log_id: LogId::new(CommittedLeaderId::new(1, 1), index),
        payload: EntryPayload::Normal(Batch::new(vec![proposal])),
    }
}

fn create_cluster() -> Command {
    Command::CreateCluster {
        cluster: ClusterId::new("c1").unwrap(),
        formation: None,
        settings: Settings::default(),
    }
}

fn register(host: &str) -> Command {
    use quorate_domain::{HookTimes, HostId, Incarnation, InstanceId, Zone};
    Command::RegisterHost {
        host: HostId::new(host).unwrap(),
        zone: Zone::new("z1").unwrap(),
        address: "127.0.0.1:1".into(),
        instance: InstanceId::new("i").unwrap(),
        incarnation: Incarnation(1),
        start: StartId(1),
        hook_times: HookTimes::default(),
    }
}

/// Retries until the store's lock is free: its thread lets go of it a moment after the last handle is gone.
fn reopen(folder: &TempDir) -> StateMachine {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        match StateStore::open(&disk(), &folder.path().join("state")) {
            Ok((store, loaded)) => {
                return StateMachine::new(loaded, store, snapshots_of(folder), open_log(folder));
            }
            Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
        }
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn a_reopened_state_store_shows_the_state_that_was_applied() {
    let folder = TempDir::new().unwrap();
    let mut machine = open_machine(&folder);
    machine.apply(vec![entry(1, create_cluster()), entry(2, register("h1"))]).await.unwrap();
    machine.apply((3..40).map(|i| entry(i, register(&format!("h{i}"))))).await.unwrap();
    let digest = machine.feed().view().state.digest();
    drop(machine);
    let mut machine = reopen(&folder);
    assert_eq!(machine.feed().view().state.digest(), digest);
    assert_eq!(machine.applied_state().await.unwrap().0.unwrap().index, 39);
    let kept = machine.feed().since(Revision(1), 1_000).await.unwrap();
    let crate::Archived::Revisions(kept) = kept else { panic!("the archive begins at the first revision") };
    assert_eq!(
        kept.iter().map(|committed| committed.revision.0).collect::<Vec<_>>(),
        (1..=39).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_snapshot_carries_the_whole_state_to_another_node() {
    let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut source = open_machine(&from);
    source.apply(vec![entry(1, create_cluster()), entry(2, register("h1"))]).await.unwrap();
    let snapshot = source.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let mut target = open_machine(&to);
    target.apply(vec![entry(1, create_cluster())]).await.unwrap();
    target.install_snapshot(&snapshot.meta, snapshot.snapshot).await.unwrap();
    assert_eq!(target.feed().view().state.digest(), source.feed().view().state.digest());
    assert!(target.feed().view().state.hosts.len() == 1);
    let compacted = target.feed().since(Revision(1), 10).await.unwrap();
    assert_eq!(compacted, crate::Archived::Compacted(Revision(3)), "nothing is kept from before a snapshot");
    drop(target);
    assert_eq!(reopen(&to).feed().view().state.digest(), source.feed().view().state.digest());
}

#[tokio::test]
async fn every_flipped_bit_of_a_snapshot_is_noticed() {
    let folder = TempDir::new().unwrap();
    let mut machine = open_machine(&folder);
    machine.apply(vec![entry(1, create_cluster()), entry(2, register("h1"))]).await.unwrap();
    machine.get_snapshot_builder().await.build_snapshot().await.unwrap();
    let (name, found) = snapshots_of(&folder).newest().unwrap().whole.unwrap();
    assert_eq!(found.state.digest(), machine.feed().view().state.digest());
    let path = snapshots_of(&folder).path(&name);
    let bytes = std::fs::read(&path).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(snapshot::parse(&path, flipped).is_err(), "bit {bit} flipped and nobody noticed");
    }
    for length in 0..bytes.len() {
        assert!(
            snapshot::parse(&path, bytes[..length].to_vec()).is_err(),
            "cut at {length} and nobody noticed"
        );
    }
}

#[tokio::test]
async fn the_archive_hands_out_any_part_of_itself_without_gap_or_repeat() {
    let folder = TempDir::new().unwrap();
    let mut machine = open_machine(&folder);
    machine.apply(vec![entry(1, create_cluster())]).await.unwrap();
    machine.apply((2..900).map(|i| entry(i, register(&format!("h{i}"))))).await.unwrap();
    drop(machine);
    let machine = reopen(&folder);
    for (start, limit) in [(1, 1_000), (1, 10), (255, 3), (256, 1), (257, 300), (700, 1_000), (899, 5)] {
        let found = machine.feed().since(Revision(start), limit).await.unwrap();
        let crate::Archived::Revisions(found) = found else { panic!("{start} is kept") };
        let wanted: Vec<u64> = (start..=899).take(limit).collect();
        assert_eq!(found.iter().map(|committed| committed.revision.0).collect::<Vec<_>>(), wanted);
    }
    assert_eq!(machine.feed().first_kept().await.unwrap(), Revision(1));
}

/// sled moves pages that are too large out to files of their own, and never syncs those.
#[tokio::test]
async fn a_busy_state_store_has_no_page_that_sled_moves_out_to_files_that_it_never_syncs() {
    use quorate_domain::{Command, GroupId, RequestId};
    const ENTRIES: u64 = 400;
    const COMMANDS: u64 = 64;
    let folder = TempDir::new().unwrap();
    let mut machine = open_machine(&folder);
    machine.apply(vec![entry(1, create_cluster())]).await.unwrap();
    for index in 2..ENTRIES {
        // Refused, and remembered all the same; every other one makes a revision as well.
        let proposals = (0..COMMANDS).map(|number| {
            let request_id = RequestId::new(format!("{:032x}", index * COMMANDS + number)).unwrap();
            let command = if number % 2 == 0 {
                register(&format!("h{}", number % 16))
            } else {
                Command::DeleteGroup { group: GroupId::new("unknown").unwrap() }
            };
            Proposal::new(Timestamp(index), Cause::Operator { request_id }, command)
        });
        let payload = EntryPayload::Normal(Batch::new(proposals.collect()));
        let log_id = LogId::new(CommittedLeaderId::new(1, 1), index);
        machine.apply(vec![Entry { log_id, payload }]).await.unwrap();
    }
    drop(machine);
    let machine = reopen(&folder);
    assert_eq!(machine.feed().view().applied_index, ENTRIES - 1);
    let moved_out: Vec<_> = std::fs::read_dir(folder.path().join("state").join("blobs"))
        .unwrap()
        .map(|file| {
            let file = file.unwrap();
            (file.file_name(), file.metadata().unwrap().len())
        })
        .collect();
    assert_eq!(moved_out, []);
}
