//! Torn tails, flipped bits, cut and missing files.

use super::{
    super::{OpenError, Record, Recovered, segment::FileKind},
    entry,
    model::Model,
    open, purge, small, truncate, vote, write,
};
use crate::disk::memory::{Keep, MemoryDisk};
use crate::wal::format::{BATCH_HEADER_BYTES, BatchHeader, SegmentHeader};

/// A log and the batches that are in it.
struct Log {
    disk: MemoryDisk,
    batches: Vec<Vec<Record>>,
}

impl Log {
    fn write(batches: Vec<Vec<Record>>) -> Self {
        let disk = MemoryDisk::new();
        let (mut writer, _) = open(&disk, &small()).unwrap();
        for batch in &batches {
            write(&mut writer, batch).unwrap();
        }
        Self { disk, batches }
    }

    /// Some batches in two segments, with every kind of record.
    fn fresh() -> Self {
        let mut batches: Vec<Vec<Record>> =
            (1..=9).map(|index| vec![entry(index * 2, 60), entry(index * 2 + 1, 30)]).collect();
        batches.insert(3, vec![vote(1)]);
        batches.insert(5, vec![truncate(8), vote(2), purge(3)]);
        let log = Self::write(batches);
        assert_eq!(log.active_name(), FileKind::Log.file_name(2));
        log
    }

    /// The active segment was used before, and whole old batches stand behind its end.
    fn recycled() -> Self {
        let mut batches: Vec<Vec<Record>> = (1..=40).map(|index| vec![entry(index, 70)]).collect();
        batches.insert(20, vec![purge(18)]);
        batches.insert(30, vec![purge(25), vote(7)]);
        // Until the active segment holds three batches.
        let mut log = Self::write(batches);
        while log.active_batches().len() != 3 {
            let next = log.batches.len() as u64;
            let mut batches = std::mem::take(&mut log.batches);
            batches.push(vec![entry(next, 70)]);
            log = Self::write(batches);
        }
        let (bytes, salt) = log.active();
        let leftovers = (log.active_end()..bytes.len() - BATCH_HEADER_BYTES)
            .step_by(8)
            .filter_map(|at| BatchHeader::decode(&bytes[at..]))
            .filter(|header| header.salt != salt)
            .count();
        assert!(leftovers >= 3, "{leftovers} old batches behind the end");
        log
    }

    /// The highest segment that holds batches.
    fn active_name(&self) -> String {
        let contents = self.disk.contents();
        let is_used = |(name, bytes): &(&String, &Vec<u8>)| {
            matches!(FileKind::parse(name), Some((FileKind::Log, _))) && bytes[64..96] != [0; 32]
        };
        contents.iter().rev().find(is_used).unwrap().0.clone()
    }

    fn active(&self) -> (Vec<u8>, u64) {
        let bytes = self.disk.contents().remove(&self.active_name()).unwrap();
        let salt = SegmentHeader::decode(&bytes).unwrap().salt;
        (bytes, salt)
    }

    /// Offsets of the batches in the active segment.
    fn active_batches(&self) -> Vec<usize> {
        let (bytes, salt) = self.active();
        (64..bytes.len() - BATCH_HEADER_BYTES)
            .step_by(8)
            .filter(|at| BatchHeader::decode(&bytes[*at..]).is_some_and(|header| header.salt == salt))
            .collect()
    }

    fn active_end(&self) -> usize {
        let (bytes, _) = self.active();
        let last = *self.active_batches().last().unwrap();
        let header = BatchHeader::decode(&bytes[last..]).unwrap();
        last + (BATCH_HEADER_BYTES + header.body_bytes as usize).next_multiple_of(8)
    }

    fn all(&self) -> Model {
        Model::after(&self.batches)
    }

    fn all_but_last(&self) -> Model {
        Model::after(&self.batches[..self.batches.len() - 1])
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    All,
    LastTorn,
    Refused,
}

/// Judges what came of opening a damaged log; anything but the three outcomes is a failure.
fn outcome(log: &Log, disk: &MemoryDisk, damaged: &str) -> Outcome {
    match open(disk, &small()) {
        Ok((_, recovered)) if log.all().is(&recovered) => Outcome::All,
        Ok((_, recovered)) => {
            assert!(log.all_but_last().is(&recovered), "neither all, nor all but the last: {recovered:?}");
            let torn = recovered.torn.expect("a batch is missing, and that is not reported");
            assert!(torn.file.ends_with(damaged), "{torn}");
            Outcome::LastTorn
        }
        Err(error @ (OpenError::Corrupt { .. } | OpenError::UnknownVersion { .. })) => {
            let text = error.to_string();
            assert!(text.contains(damaged) && text.contains("offset "), "{text}");
            Outcome::Refused
        }
        Err(other) => panic!("{other}"),
    }
}

fn flip_every_bit(log: &Log) {
    let (mut refused, mut torn) = (0, 0);
    for (name, bytes) in log.disk.contents() {
        for bit in 0..bytes.len() * 8 {
            let disk = log.disk.copy();
            disk.tamper(&name, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            match outcome(log, &disk, &name) {
                Outcome::All => {}
                Outcome::LastTorn => torn += 1,
                Outcome::Refused => refused += 1,
            }
        }
    }
    let last = log.active_end() - log.active_batches().last().unwrap();
    assert!(torn > (last - 8) * 8 && torn <= last * 8, "{torn} bits of the last batch of {last} bytes");
    assert!(refused > last * 8, "{refused}");
}

#[test]
fn survives_or_refuses_a_flip_of_every_bit() {
    flip_every_bit(&Log::fresh());
}

#[test]
fn survives_or_refuses_a_flip_of_every_bit_among_leftovers_of_a_recycled_segment() {
    flip_every_bit(&Log::recycled());
}

/// Overwrites the last batch from each of its bytes on with what may have stood there before it was written.
fn tear_last_batch_at_every_byte(log: &Log, before: &dyn Fn(usize) -> u8) {
    let (start, end) = (*log.active_batches().last().unwrap(), log.active_end());
    let name = log.active_name();
    let mut torn = 0;
    for cut in start..end {
        let disk = log.disk.copy();
        disk.tamper(&name, |bytes| (cut..end).for_each(|at| bytes[at] = before(at - start)));
        let (_, Recovered { torn: report, entries, metas, purged }) = open(&disk, &small()).unwrap();
        let found = Recovered { torn: None, entries, metas, purged };
        assert!(log.all_but_last().is(&found) || (log.all().is(&found) && end - cut < 8), "cut at {cut}");
        if let Some(report) = report {
            torn += 1;
            assert_eq!(report.offset, start as u64);
            let (_, again) = open(&disk, &small()).unwrap();
            assert_eq!(again, found, "what was cut stays cut, and is reported once");
        }
    }
    assert!(torn > (end - start) - 16, "{torn} of {}", end - start);
}

#[test]
fn cuts_a_last_batch_that_is_torn_at_any_byte() {
    tear_last_batch_at_every_byte(&Log::fresh(), &|_| 0);
    tear_last_batch_at_every_byte(&Log::recycled(), &|_| 0);
}

#[test]
fn cuts_a_last_batch_whose_rest_is_a_leftover() {
    let log = Log::recycled();
    let (bytes, _) = log.active();
    let end = log.active_end();
    let leftover = (end..bytes.len() - BATCH_HEADER_BYTES)
        .step_by(8)
        .find(|at| BatchHeader::decode(&bytes[*at..]).is_some())
        .unwrap();
    // The end mark in the first 32 bytes, as every write leaves it, and an old batch where the body belongs.
    let before =
        |at: usize| if at < BATCH_HEADER_BYTES { 0 } else { bytes[leftover + at - BATCH_HEADER_BYTES] };
    tear_last_batch_at_every_byte(&log, &before);
}

#[test]
fn writes_over_leftovers_without_ever_reading_them_again() {
    let log = Log::recycled();
    let disk = log.disk.copy();
    let mut batches = log.batches.clone();
    for index in 100..140 {
        let (mut writer, recovered) = open(&disk, &small()).unwrap();
        assert!(Model::after(&batches).is(&recovered));
        assert_eq!(recovered.torn, None);
        let batch = vec![entry(index, 7 + usize::try_from(index).unwrap() % 50)];
        write(&mut writer, &batch).unwrap();
        batches.push(batch);
    }
}

/// A file can only get shorter behind the log's back: nothing may be lost then, not even the last batch.
fn cut_the_active_file_at_every_byte(log: &Log) {
    let name = log.active_name();
    let (bytes, _) = log.active();
    for size in 0..bytes.len() {
        let disk = log.disk.copy();
        disk.tamper(&name, |bytes| bytes.truncate(size));
        let found = outcome(log, &disk, &name);
        let expected =
            if size < log.active_end() + BATCH_HEADER_BYTES { Outcome::Refused } else { Outcome::All };
        assert_eq!(found, expected, "cut to {size} bytes");
        if found == Outcome::All {
            assert_eq!(disk.contents()[&name].len(), bytes.len(), "the file has its length again");
        }
    }
}

#[test]
fn refuses_a_file_that_was_cut_anywhere_in_its_batches() {
    cut_the_active_file_at_every_byte(&Log::fresh());
    cut_the_active_file_at_every_byte(&Log::recycled());
}

#[test]
fn refuses_a_batch_that_is_zeroed_with_another_behind_it() {
    let log = Log::fresh();
    let batches = log.active_batches();
    let disk = log.disk.copy();
    disk.tamper(&log.active_name(), |bytes| bytes[batches[0]..batches[1]].fill(0));
    assert_eq!(outcome(&log, &disk, &log.active_name()), Outcome::Refused);
}

#[test]
fn refuses_a_log_with_any_segment_file_missing_that_it_needs() {
    for log in [Log::fresh(), Log::recycled()] {
        for name in log.disk.contents().into_keys() {
            let disk = log.disk.copy();
            let last = log.disk.contents().into_keys().next_back().unwrap();
            disk.folder().remove(&name).unwrap();
            match open(&disk, &small()) {
                // Below the floor, or the empty one at the end.
                Ok((_, recovered)) => assert!(log.all().is(&recovered), "{name}"),
                Err(error) => {
                    assert!(error.to_string().contains(&format!("{name}, offset 0")), "{error}");
                    assert_ne!(name, last);
                }
            }
        }
        let disk = log.disk.copy();
        disk.folder().remove(&log.active_name()).unwrap();
        assert!(open(&disk, &small()).is_err(), "the segment with the last batches");
    }
}

#[test]
fn refuses_a_version_that_it_does_not_know() {
    let log = Log::fresh();
    let name = log.active_name();
    let disk = log.disk.copy();
    disk.tamper(&name, |bytes| {
        bytes[8] = 2;
        let checksum = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
    });
    let error = open(&disk, &small()).err().unwrap();
    let expected = format!("/memory/{name}, offset 8: log format version 2 is not known here");
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn refuses_a_segment_under_the_name_of_another() {
    let log = Log::fresh();
    let contents = log.disk.contents();
    let first = contents[&FileKind::Log.file_name(1)].clone();
    let disk = log.disk.copy();
    disk.tamper(&log.active_name(), |bytes| *bytes = first);
    assert_eq!(outcome(&log, &disk, &log.active_name()), Outcome::Refused);
}

#[test]
fn leaves_files_alone_that_are_not_its_own() {
    let log = Log::fresh();
    let disk = log.disk.copy();
    disk.folder().create("1.wal").unwrap();
    disk.folder().create("notes.txt").unwrap();
    let disk = disk.after_crash(Keep::Units(usize::MAX));
    let (_, recovered) = open(&disk, &small()).unwrap();
    assert!(log.all().is(&recovered));
    assert!(disk.contents().contains_key("1.wal") && disk.contents().contains_key("notes.txt"));
}

#[test]
fn takes_no_leftover_for_a_batch_even_with_the_next_sequence() {
    for salt in [0, 1, u64::MAX] {
        let log = Log::recycled();
        let (last, end) = (*log.active_batches().last().unwrap(), log.active_end());
        let disk = log.disk.copy();
        disk.tamper(&log.active_name(), |bytes| {
            let mut header = BatchHeader::decode(&bytes[last..]).unwrap();
            header.sequence += 1;
            header.salt = salt;
            bytes.copy_within(last..end, end);
            // Something else than what the log says, so that taking it would show.
            let body = end + BATCH_HEADER_BYTES..end + BATCH_HEADER_BYTES + header.body_bytes as usize;
            bytes[body.end - 1] ^= 1;
            header.body_checksum = crc32fast::hash(&bytes[body]);
            bytes[end..end + BATCH_HEADER_BYTES].copy_from_slice(&header.encode());
        });
        assert_eq!(outcome(&log, &disk, &log.active_name()), Outcome::All);
    }
}

#[test]
fn refuses_a_damaged_end_of_a_segment_when_the_next_one_has_even_a_torn_batch() {
    let mut batches: Vec<Vec<Record>> = Vec::new();
    // Until the second segment holds one batch.
    let log = loop {
        batches.push(vec![entry(batches.len() as u64, 70)]);
        let log = Log::write(batches.clone());
        if log.active_name() == FileKind::Log.file_name(2) {
            break log;
        }
    };
    let only = log.active_batches()[0];
    let torn = log.disk.copy();
    torn.tamper(&log.active_name(), |bytes| bytes[only + 40] ^= 1);
    assert_eq!(outcome(&log, &torn, &log.active_name()), Outcome::LastTorn);

    let first = FileKind::Log.file_name(1);
    let disk = log.disk.copy();
    disk.tamper(&log.active_name(), |bytes| bytes[only + 40] ^= 1);
    // The last byte that counts in the segment before belongs to its last batch.
    disk.tamper(&first, |bytes| {
        let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        bytes[last] ^= 1;
    });
    assert_eq!(outcome(&log, &disk, &first), Outcome::Refused);
}

/// Changes the body of the first batch in the active segment, with checksums that fit.
fn forge(log: &Log, change: impl FnOnce(&mut BatchHeader, &mut [u8])) -> MemoryDisk {
    let disk = log.disk.copy();
    let at = log.active_batches()[0];
    disk.tamper(&log.active_name(), |bytes| {
        let mut header = BatchHeader::decode(&bytes[at..]).unwrap();
        let body = at + BATCH_HEADER_BYTES..at + BATCH_HEADER_BYTES + header.body_bytes as usize;
        change(&mut header, &mut bytes[body.clone()]);
        header.body_checksum = crc32fast::hash(&bytes[body]);
        bytes[at..at + BATCH_HEADER_BYTES].copy_from_slice(&header.encode());
    });
    disk
}

#[test]
fn refuses_records_that_it_cannot_read_though_the_checksum_fits() {
    let log = Log::fresh();
    for disk in [
        forge(&log, |_, body| body[0] = 77),
        forge(&log, |_, body| body[11..15].fill(0xff)),
        forge(&log, |header, _| header.records += 1),
        forge(&log, |header, _| header.sequence += 1),
        forge(&log, |header, _| header.sequence = u64::MAX),
    ] {
        assert_eq!(outcome(&log, &disk, ".wal"), Outcome::Refused);
    }
}
