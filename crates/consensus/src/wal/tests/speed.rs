//! Figures, printed on demand: `cargo test --release -p quorate-consensus wal::tests::speed -- --ignored --nocapture`.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::Path,
    sync::mpsc::channel,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    super::{Options, Record, Wal, recovery::recover, supply::SegmentSource, writer::Writer},
    on_disk, write,
};

const BATCHES: u64 = 20_000;
const BATCH_ENTRIES: u64 = 16;
const ENTRY_BYTES: usize = 170;

#[test]
#[ignore = "takes seconds and prints figures; run it with --release"]
fn prints_entries_per_second_and_sync_times() {
    let folder = TempDir::new_in(".").unwrap();
    println!("bare fdatasync of {} bytes: {}", BATCH_ENTRIES * 183, percentiles(&mut bare(&folder)));

    let data = Bytes::from(vec![7; ENTRY_BYTES]);
    let records = |batch: u64| -> Vec<Record> {
        let first = 1 + batch * BATCH_ENTRIES;
        (first..first + BATCH_ENTRIES).map(|index| Record::Entry { index, data: data.clone() }).collect()
    };
    let mut times = writer_alone(&folder.path().join("writer"), records);
    println!("writer without the queue: {}", percentiles(&mut times));

    let path = folder.path().join("wal");
    let (wal, _) = Wal::open(on_disk(&path), &Options::default()).unwrap();
    let started = Instant::now();
    let mut times = Vec::new();
    for batch in 0..BATCHES {
        let records = records(batch);
        let at = Instant::now();
        wal.append_and_wait(records).unwrap();
        times.push(at.elapsed());
    }
    report("one caller, each batch synced", started, BATCHES * BATCH_ENTRIES);
    println!("  append_and_wait: {}", percentiles(&mut times));

    let started = Instant::now();
    let (answer, answers) = channel();
    for batch in BATCHES..2 * BATCHES {
        let answer = answer.clone();
        wal.append(records(batch), move |result| answer.send(result).unwrap());
    }
    answers.iter().take(usize::try_from(BATCHES).unwrap()).for_each(|result| result.unwrap());
    report("all at once", started, BATCHES * BATCH_ENTRIES);

    wal.close().unwrap();
    let started = Instant::now();
    let (_wal, recovered) = Wal::open(on_disk(&path), &Options::default()).unwrap();
    assert_eq!(recovered.entries.len() as u64, 2 * BATCHES * BATCH_ENTRIES);
    report("reopen", started, 2 * BATCHES * BATCH_ENTRIES);
}

/// Writes and syncs alone, in a file that is filled with zeros.
fn bare(folder: &TempDir) -> Vec<Duration> {
    let file = OpenOptions::new().create_new(true).write(true).open(folder.path().join("bare")).unwrap();
    let bytes = vec![7; usize::try_from(BATCH_ENTRIES).unwrap() * 183];
    file.write_all_at(&vec![0; 16 << 20], 0).unwrap();
    file.sync_all().unwrap();
    (0..5000_u64)
        .map(|number| {
            let at = Instant::now();
            file.write_all_at(&bytes, number * bytes.len() as u64).unwrap();
            file.sync_data().unwrap();
            at.elapsed()
        })
        .collect()
}

/// The writer on the caller's thread: what the log adds to a bare fdatasync, apart from the hand-over between threads.
fn writer_alone(path: &Path, records: impl Fn(u64) -> Vec<Record>) -> Vec<Duration> {
    let options = Options::default();
    let storage = on_disk(path);
    let (position, _) = recover(&storage, &options).unwrap();
    let mut writer = Writer::new(storage, position, options.max_batch_bytes, |supply, ready| {
        SegmentSource::inline(supply, ready, options.spare_segments)
    })
    .unwrap();
    (0..5000)
        .map(|batch| {
            let records = records(batch);
            let at = Instant::now();
            write(&mut writer, &records).unwrap();
            at.elapsed()
        })
        .collect()
}

fn report(what: &str, started: Instant, entries: u64) {
    let seconds = started.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)] // Figures for people.
    let rate = entries as f64 / seconds;
    println!("{what}: {entries} entries in {seconds:.2} s, {rate:.0} entries/s");
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    format!("p50 {:?}, p99 {:?}, max {:?}", at(50), at(99), at(100))
}
