//! Power loss at every step, with any part of what was not synced.

use super::{
    super::{Options, Record, format::SegmentHeader, segment::FileKind},
    entry,
    model::Model,
    open, purge, small, truncate, vote, write,
};
use crate::disk::memory::{Fault, Keep, MemoryDisk};

/// Appends, rolls, truncates and rewrites, purges with recycling, and one batch larger than a segment.
pub(super) fn workload() -> Vec<Vec<Record>> {
    let mut batches = vec![vec![vote(1)]];
    let mut next = 1;
    let mut append = |batches: &mut Vec<Vec<Record>>, from: Option<u64>, count: usize, data_bytes: usize| {
        next = from.unwrap_or(next);
        for _ in 0..count {
            batches.push(vec![entry(next, data_bytes), entry(next + 1, data_bytes / 2)]);
            next += 2;
        }
        next
    };
    append(&mut batches, None, 9, 90);
    batches.push(vec![truncate(12), vote(2)]);
    append(&mut batches, Some(12), 5, 100);
    batches.push(vec![purge(8), vote(3)]);
    append(&mut batches, None, 6, 90);
    let end = append(&mut batches, None, 1, 1500);
    batches.push(vec![purge(end - 1)]);
    append(&mut batches, None, 7, 110);
    let end = append(&mut batches, None, 1, 20);
    batches.push(vec![entry(end, 40), truncate(end - 1), entry(end - 1, 30), purge(end - 4)]);
    append(&mut batches, Some(end), 8, 100);
    batches
}

/// Runs the workload, opening again in between; tells how many batches were handed over and acknowledged.
pub(super) fn run(storage: &MemoryDisk, options: &Options, batches: &[Vec<Record>]) -> (usize, usize) {
    let mut acknowledged = 0;
    for part in batches.chunks(13) {
        let Ok((mut writer, _)) = open(storage, options) else { return (acknowledged, acknowledged) };
        for batch in part {
            if write(&mut writer, batch).is_err() {
                return (acknowledged + 1, acknowledged);
            }
            acknowledged += 1;
        }
    }
    (acknowledged, acknowledged)
}

/// Opens what a crash left; what was acknowledged must be there, the rest batch by batch or not at all, and the log must
/// go on from there.
fn check(disk: &MemoryDisk, options: &Options, states: &[Model], handed: usize, acknowledged: usize) {
    for (name, bytes) in disk.contents() {
        if let Some((FileKind::Log, number)) = FileKind::parse(&name) {
            let header = SegmentHeader::decode(&bytes).expect("a .wal file has a whole header at any time");
            assert_eq!(header.number, number, "{name}");
        }
    }
    let (mut writer, recovered) = open(disk, options).expect("a crash is never taken for corruption");
    let fits = (acknowledged..=handed).find(|count| states[*count].is(&recovered));
    let count = fits.expect("every acknowledged batch, and of the one under way all or nothing");
    let more = vec![entry(1_000_000, 33), vote(99)];
    write(&mut writer, &more).unwrap();
    drop(writer);
    let mut model = states[count].clone();
    model.apply(&more);
    let (_, again) = open(&disk.after_crash(Keep::Units(0)), options).unwrap();
    assert!(model.is(&again), "what was appended after the crash is there");
    assert_eq!(again.torn, None, "a torn tail that was cut does not come back");
}

/// Every number of units, or for long writes the ends and a sample.
fn cuts(units: usize) -> impl Iterator<Item = usize> {
    (0..=units).filter(move |cut| units <= 400 || *cut < 120 || units - cut < 120 || cut % 37 == 0)
}

fn lose_power_everywhere(options: &Options) -> (u64, u64) {
    let batches = workload();
    let states = Model::states(&batches);
    let (mut steps, mut images) = (0, 0);
    for step in 1.. {
        let storage = MemoryDisk::new().with_fault(Fault::CrashAt(step));
        let (handed, acknowledged) = run(&storage, options, &batches);
        if !storage.is_dead() {
            assert_eq!(acknowledged, batches.len());
            break;
        }
        steps = step;
        let units = storage.pending_units();
        let prefixes = cuts(units).map(Keep::Units);
        let scattered = (0..if units > 1 { 12 } else { 0 }).map(|seed| Keep::Scattered(seed * 1000 + step));
        for keep in prefixes.chain(scattered) {
            images += 1;
            check(&storage.after_crash(keep), options, &states, handed, acknowledged);
        }
    }
    (steps, images)
}

#[test]
fn keeps_every_acknowledged_batch_when_power_fails_at_any_step_and_byte() {
    let (steps, images) = lose_power_everywhere(&small());
    assert!(steps > 150 && images > 10_000, "{steps} steps, {images} images");
}

#[test]
fn keeps_every_acknowledged_batch_without_spare_or_free_segments() {
    let options = Options { spare_segments: 0, max_free_segments: 0, ..small() };
    let (steps, images) = lose_power_everywhere(&options);
    assert!(steps > 150 && images > 10_000, "{steps} steps, {images} images");
}

#[test]
fn keeps_every_acknowledged_batch_when_power_fails_again_while_opening() {
    let (batches, options) = (workload(), small());
    let states = Model::states(&batches);
    let mut opened = 0;
    for step in (1..).step_by(3) {
        let storage = MemoryDisk::new().with_fault(Fault::CrashAt(step));
        let (handed, acknowledged) = run(&storage, &options, &batches);
        if !storage.is_dead() {
            break;
        }
        let units = storage.pending_units();
        for first in [Keep::Units(units / 3), Keep::Units(units.saturating_sub(3)), Keep::Scattered(step)] {
            for second_step in 1.. {
                let disk = storage.after_crash(first).with_fault(Fault::CrashAt(second_step));
                if open(&disk, &options).is_ok() {
                    break;
                }
                assert!(disk.is_dead());
                let units = disk.pending_units();
                for second in [Keep::Units(0), Keep::Units(units / 2), Keep::Scattered(step + second_step)] {
                    opened += 1;
                    check(&disk.after_crash(second), &options, &states, handed, acknowledged);
                }
            }
        }
    }
    assert!(opened > 1000, "{opened} images");
}

#[test]
fn recycles_segments_and_keeps_the_disk_bounded() {
    let storage = MemoryDisk::new();
    let (mut writer, _) = open(&storage, &small()).unwrap();
    let mut most = 0;
    for index in 1..2000 {
        // Now and then one that is larger than a segment.
        write(&mut writer, &[entry(index, if index % 100 == 0 { 5000 } else { 100 })]).unwrap();
        if index % 10 == 0 {
            write(&mut writer, &[purge(index - 5)]).unwrap();
        }
        most = most.max(storage.contents().len());
    }
    assert!(most <= 8, "{most} files");
    let sizes: Vec<usize> = storage.contents().values().map(Vec::len).collect();
    assert!(sizes.iter().all(|size| *size == 1024), "{sizes:?}: the large files have the usual size again");
    let names: Vec<String> = storage.contents().into_keys().collect();
    assert!(names.iter().all(|name| matches!(FileKind::parse(name), Some((FileKind::Log, _)))), "{names:?}");
}
