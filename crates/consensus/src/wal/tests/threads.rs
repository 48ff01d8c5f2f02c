//! The log as a whole, with its threads and on a real disk.

use std::{
    sync::{Arc, Mutex, mpsc::channel},
    thread,
    time::Duration,
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    super::{MAX_META_BYTES, OpenError, Options, Record, Wal, WalError},
    entry,
    model::Model,
    on_disk, purge, vote,
};

const DEADLINE: Duration = Duration::from_secs(30);

fn tiny() -> Options {
    Options { segment_bytes: 4096, max_batch_bytes: 2000, ..Options::default() }
}

#[test]
fn keeps_the_order_of_each_caller_and_calls_back_in_the_order_of_the_log() {
    const CALLERS: u64 = 4;
    const APPENDS: u64 = 500;
    let folder = TempDir::new().unwrap();
    let (wal, _) = Wal::open(on_disk(folder.path()), &tiny()).unwrap();
    let answered: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (wal, answered) = (&wal, &answered);
            scope.spawn(move || {
                for number in 0..APPENDS {
                    let data = Bytes::from(format!("{caller}/{number}"));
                    let answered = Arc::clone(answered);
                    // The same key from all: the last in the log wins.
                    let records = vec![
                        Record::Entry { index: 1 + caller * APPENDS + number, data: data.clone() },
                        Record::Meta { key: 9, data },
                    ];
                    wal.append(records, move |result| {
                        result.unwrap();
                        answered.lock().unwrap().push((caller, number));
                    });
                }
            });
        }
    });
    wal.close().unwrap();
    let answered = answered.lock().unwrap();
    assert_eq!(answered.len() as u64, CALLERS * APPENDS);
    for caller in 0..CALLERS {
        let numbers: Vec<u64> =
            answered.iter().filter(|(by, _)| *by == caller).map(|(_, number)| *number).collect();
        assert_eq!(numbers, (0..APPENDS).collect::<Vec<_>>());
    }
    let (_, recovered) = Wal::open(on_disk(folder.path()), &tiny()).unwrap();
    assert_eq!(recovered.entries.len() as u64, CALLERS * APPENDS);
    assert_eq!(recovered.entries[&1501], Bytes::from("3/0"));
    let (caller, number) = answered.last().unwrap();
    assert_eq!(recovered.metas[&9], Bytes::from(format!("{caller}/{number}")));
    assert_eq!(recovered.torn, None);
}

#[test]
fn takes_records_larger_than_a_segment() {
    let folder = TempDir::new().unwrap();
    let mut batches = Vec::new();
    for round in 0..5 {
        let (wal, recovered) = Wal::open(on_disk(folder.path()), &tiny()).unwrap();
        assert!(Model::after(&batches).is(&recovered), "round {round}");
        for index in round * 10..round * 10 + 10 {
            let batch = vec![entry(index, if index % 3 == 0 { 50_000 } else { 300 }), vote(index)];
            wal.append_and_wait(batch.clone()).unwrap();
            batches.push(batch);
        }
        if round == 3 {
            let batch = vec![purge(35)];
            wal.append_and_wait(batch.clone()).unwrap();
            batches.push(batch);
        }
        wal.close().unwrap();
    }
    let (_, recovered) = Wal::open(on_disk(folder.path()), &tiny()).unwrap();
    assert!(Model::after(&batches).is(&recovered));
}

#[test]
fn drops_purged_segments_from_a_real_folder() {
    let folder = TempDir::new().unwrap();
    let (wal, _) = Wal::open(on_disk(folder.path()), &tiny()).unwrap();
    for index in 1..=500 {
        wal.append_and_wait(vec![entry(index, 200)]).unwrap();
        if index % 20 == 0 {
            wal.append_and_wait(vec![purge(index - 10)]).unwrap();
        }
    }
    wal.close().unwrap();
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert!(files <= 12, "{files} files for 500 entries in segments of 20");
    let (_, recovered) = Wal::open(on_disk(folder.path()), &tiny()).unwrap();
    assert_eq!(recovered.entries.keys().copied().collect::<Vec<_>>(), (491..=500).collect::<Vec<_>>());
    assert_eq!(recovered.purged.unwrap().0, 490);
}

#[test]
fn refuses_a_folder_that_is_open_already() {
    let folder = TempDir::new().unwrap();
    let (wal, _) = Wal::open(on_disk(folder.path()), &tiny()).unwrap();
    let error = Wal::open(on_disk(folder.path()), &tiny()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    drop(wal);
    Wal::open(on_disk(folder.path()), &tiny()).unwrap();
}

#[test]
fn refuses_options_that_make_no_log() {
    let folder = TempDir::new().unwrap();
    let error = Wal::open(on_disk(folder.path()), &Options { segment_bytes: 100, ..tiny() }).unwrap_err();
    assert_eq!(error.to_string(), "log option segment_bytes: must be at least 4096");
}

#[test]
fn opens_with_another_segment_size_than_it_was_written_with() {
    let folder = TempDir::new().unwrap();
    for (round, segment_bytes) in [4096, 65_536, 5000, 16_384].into_iter().enumerate() {
        let options = Options { segment_bytes, ..tiny() };
        let (wal, recovered) = Wal::open(on_disk(folder.path()), &options).unwrap();
        let first = round as u64 * 100 + 1;
        assert_eq!(recovered.entries.len() as u64, if round == 0 { 0 } else { 50 });
        for index in first..first + 100 {
            wal.append_and_wait(vec![entry(index, 150)]).unwrap();
        }
        wal.append_and_wait(vec![purge(first + 49)]).unwrap();
        wal.close().unwrap();
    }
}

#[test]
fn refuses_values_that_are_too_large_and_goes_on() {
    let folder = TempDir::new().unwrap();
    let (wal, _) = Wal::open(on_disk(folder.path()), &tiny()).unwrap();
    let large = Record::Meta { key: 1, data: vec![0; MAX_META_BYTES + 1].into() };
    let error = wal.append_and_wait(vec![large]).unwrap_err();
    assert!(matches!(error, WalError::TooLarge { limit_bytes: MAX_META_BYTES, .. }), "{error}");
    wal.append_and_wait(vec![vote(1)]).unwrap();
    assert!(wal.failure().is_none());
}

#[test]
fn blocks_at_the_limit_of_queued_bytes_and_goes_on() {
    let folder = TempDir::new().unwrap();
    let options = Options { max_queued_bytes: 1000, ..tiny() };
    let (wal, _) = Wal::open(on_disk(folder.path()), &options).unwrap();
    let (go, gate) = channel::<()>();
    let (blocked, is_blocked) = channel();
    let wal = Arc::new(wal);
    // Holds the writer in a callback, so that nothing drains.
    wal.append(vec![entry(1, 10)], move |_| {
        blocked.send(()).unwrap();
        gate.recv_timeout(DEADLINE).unwrap();
    });
    is_blocked.recv_timeout(DEADLINE).unwrap();
    let (appended, has_appended) = channel();
    let caller = {
        let wal = Arc::clone(&wal);
        thread::spawn(move || {
            for index in 2..=5 {
                wal.append(vec![entry(index, 300)], |result| result.unwrap());
                appended.send(index).unwrap();
            }
        })
    };
    for index in 2..=4 {
        assert_eq!(has_appended.recv_timeout(DEADLINE).unwrap(), index);
    }
    assert!(has_appended.recv_timeout(Duration::from_millis(100)).is_err(), "the fourth is over the limit");
    go.send(()).unwrap();
    assert_eq!(has_appended.recv_timeout(DEADLINE).unwrap(), 5);
    caller.join().unwrap();
    Arc::into_inner(wal).unwrap().close().unwrap();
    let (_, recovered) = Wal::open(on_disk(folder.path()), &options).unwrap();
    assert_eq!(recovered.entries.len(), 5);
}

#[test]
fn answers_what_waits_when_a_callback_panics() {
    let folder = TempDir::new().unwrap();
    let (wal, _) = Wal::open(on_disk(folder.path()), &tiny()).unwrap();
    wal.append(vec![entry(1, 10)], |_| panic!("a callback that panics, on purpose"));
    let deadline = std::time::Instant::now() + DEADLINE;
    while wal.append_and_wait(vec![entry(2, 10)]).is_ok() {
        assert!(std::time::Instant::now() < deadline);
    }
    assert!(matches!(wal.failure(), Some(WalError::Stopped { .. })));
    assert!(wal.close().is_err());
}
