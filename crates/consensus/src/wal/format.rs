//! The bytes of the log.
//!
//! All numbers are little endian; every checksum is CRC-32 (IEEE). A segment file is one header, then batches back to
//! back, each starting at a multiple of 8, then an end mark of 32 zero bytes. Whatever stands behind the end mark means
//! nothing: zeros in a new file, leftovers of an earlier use in a recycled one.
//!
//! **Segment header**, 64 bytes at offset 0:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 8 | magic `QUORWAL\n` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | zero |
//! | 16 | 8 | segment number, the one in the file name |
//! | 24 | 8 | salt: random, new with every use of the file |
//! | 32 | 8 | capacity: the file was at least this long, on disk, before its first batch |
//! | 40 | 20 | zero |
//! | 60 | 4 | checksum of bytes 0..60 |
//!
//! Magic, version, and the place of the checksum stay where they are in every later version, so that an unknown version
//! can be told from damage.
//!
//! **Batch**, 32 bytes of header, the body, zeros up to the next multiple of 8:
//!
//! | offset | bytes | field |
//! |---|---|---|
//! | 0 | 4 | length of the body, never zero |
//! | 4 | 4 | checksum of the body |
//! | 8 | 8 | sequence: 1 for the first batch of the log, up by one with each, across segments |
//! | 16 | 8 | salt of the segment |
//! | 24 | 4 | number of records in the body |
//! | 28 | 4 | checksum of bytes 0..28 |
//! | 32 | n | body: records back to back |
//!
//! A batch and the end mark behind it are written by one write, over the end mark of the batch before.
//!
//! **Record**, a kind byte and its fields:
//!
//! | kind | record | fields |
//! |---|---|---|
//! | 1 | entry | index u64, length u32, data |
//! | 2 | meta | key u8, length u32, data |
//! | 3 | truncate from | index u64 |
//! | 4 | purge to | index u64, length u32, data |
//! | 5 | floor | segment number u64: every segment below it is free |
//!
//! The first batch of a segment begins with a floor record, the current metas and the last purge, so that no segment
//! before the floor is needed for anything.

use bytes::Bytes;

use super::Record;

/// Bytes of a segment's header; the first batch starts right behind it.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 64;
/// Bytes of a batch's header.
pub(crate) const BATCH_HEADER_BYTES: usize = 32;
/// Zero bytes behind the last batch: a batch header that says "none".
pub(crate) const END_MARK_BYTES: usize = BATCH_HEADER_BYTES;
/// Bytes of a floor record, for which every batch keeps room.
pub(crate) const FLOOR_RECORD_BYTES: usize = 9;
/// The one version that this code reads and writes.
pub(crate) const FORMAT_VERSION: u32 = 1;

const ALIGNMENT: usize = 8;
const SEGMENT_MAGIC: [u8; 8] = *b"QUORWAL\n";

const KIND_ENTRY: u8 = 1;
const KIND_META: u8 = 2;
const KIND_TRUNCATE_FROM: u8 = 3;
const KIND_PURGE_TO: u8 = 4;
const KIND_FLOOR: u8 = 5;

/// Bytes that a batch with a body of this length takes, padding included, end mark not.
pub(crate) fn batch_bytes(body_bytes: usize) -> usize {
    (BATCH_HEADER_BYTES + body_bytes).next_multiple_of(ALIGNMENT)
}

/// Bytes that a record takes in a body.
pub(crate) fn record_bytes(record: &Record) -> usize {
    match record {
        Record::Entry { data, .. } | Record::PurgeTo { data, .. } => 1 + 8 + 4 + data.len(),
        Record::Meta { data, .. } => 1 + 1 + 4 + data.len(),
        Record::TruncateFrom { .. } => 1 + 8,
    }
}

/// What the first 64 bytes of a segment say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u64,
    pub(crate) salt: u64,
    pub(crate) capacity_bytes: u64,
}

/// Why the first bytes of a segment cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentHeaderFault {
    /// Not what was written.
    Damaged(&'static str),
    /// Whole, but of a version that this code does not know.
    UnknownVersion(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[0..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.salt.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.capacity_bytes.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..60]);
        bytes[60..64].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `file`.
    pub(crate) fn decode(file: &[u8]) -> Result<Self, SegmentHeaderFault> {
        let Some(bytes) = file.get(..SEGMENT_HEADER_BYTES) else {
            return Err(SegmentHeaderFault::Damaged("the file is shorter than a segment header"));
        };
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(SegmentHeaderFault::Damaged("the file does not begin like a log segment"));
        }
        if crc32fast::hash(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(SegmentHeaderFault::Damaged("the checksum of the segment header does not fit"));
        }
        match u32_at(bytes, 8) {
            FORMAT_VERSION => Ok(Self {
                number: u64_at(bytes, 16),
                salt: u64_at(bytes, 24),
                capacity_bytes: u64_at(bytes, 32),
            }),
            other => Err(SegmentHeaderFault::UnknownVersion(other)),
        }
    }
}

/// What the first 32 bytes of a batch say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) body_bytes: u32,
    pub(crate) body_checksum: u32,
    pub(crate) sequence: u64,
    pub(crate) salt: u64,
    pub(crate) records: u32,
}

impl BatchHeader {
    pub(crate) fn encode(&self) -> [u8; BATCH_HEADER_BYTES] {
        let mut bytes = [0; BATCH_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&self.body_bytes.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.body_checksum.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.salt.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.records.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..28]);
        bytes[28..32].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header at the start of `bytes`; `None` when there is no whole one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES)?;
        let header = Self {
            body_bytes: u32_at(bytes, 0),
            body_checksum: u32_at(bytes, 4),
            sequence: u64_at(bytes, 8),
            salt: u64_at(bytes, 16),
            records: u32_at(bytes, 24),
        };
        (header.body_bytes > 0 && crc32fast::hash(&bytes[..28]) == u32_at(bytes, 28)).then_some(header)
    }
}

/// What stands where a batch may begin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// The end mark.
    End,
    /// A whole batch of this use of the segment.
    Batch(BatchHeader),
    /// Neither: torn or damaged. The length is there when the header is whole.
    Damaged { batch_bytes: Option<usize>, reason: &'static str },
}

/// Judges the bytes at `offset`.
pub(crate) fn read_slot(file: &[u8], offset: usize, salt: u64) -> Slot {
    let damaged = |batch_bytes, reason| Slot::Damaged { batch_bytes, reason };
    let rest = file.get(offset..).unwrap_or_default();
    let Some(first) = rest.get(..BATCH_HEADER_BYTES) else {
        return damaged(None, "the file ends before the end mark");
    };
    if first.iter().all(|byte| *byte == 0) {
        return Slot::End;
    }
    let Some(header) = BatchHeader::decode(first) else {
        return damaged(None, "the checksum of the batch header does not fit");
    };
    if header.salt != salt {
        return damaged(None, "a leftover of an earlier use stands where the end mark belongs");
    }
    let body_bytes = header.body_bytes as usize;
    let length = Some(batch_bytes(body_bytes));
    let Some(body) = rest.get(BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + body_bytes) else {
        return damaged(length, "the file ends inside the batch");
    };
    if crc32fast::hash(body) != header.body_checksum {
        return damaged(length, "the checksum of the batch body does not fit");
    }
    Slot::Batch(header)
}

/// Offset of the first whole batch header with this salt at or behind `from`.
///
/// The header alone is the proof: batch n + 1 is written only after batch n is synced.
pub(crate) fn find_header(file: &[u8], from: usize, salt: u64) -> Option<usize> {
    let salt = salt.to_le_bytes();
    (from.next_multiple_of(ALIGNMENT)..file.len().saturating_sub(BATCH_HEADER_BYTES - 1))
        .step_by(ALIGNMENT)
        .find(|at| file[at + 16..at + 24] == salt && BatchHeader::decode(&file[*at..]).is_some())
}

/// One batch being put together, with its end mark, in a buffer that is used again.
#[derive(Debug, Default)]
pub(crate) struct BatchBuffer {
    bytes: Vec<u8>,
    records: u32,
}

impl BatchBuffer {
    /// Begins a new batch; gives memory back when the last one took more than `keep_bytes`.
    pub(crate) fn begin(&mut self, keep_bytes: usize) {
        self.bytes.clear();
        self.bytes.shrink_to(keep_bytes);
        self.bytes.resize(BATCH_HEADER_BYTES, 0);
        self.records = 0;
    }

    pub(crate) fn push(&mut self, record: &Record) {
        match record {
            Record::Entry { index, data } => self.push_indexed(KIND_ENTRY, *index, data),
            Record::PurgeTo { index, data } => self.push_indexed(KIND_PURGE_TO, *index, data),
            Record::Meta { key, data } => self.push_meta(*key, data),
            Record::TruncateFrom { index } => self.push_number(KIND_TRUNCATE_FROM, *index),
        }
    }

    pub(crate) fn push_meta(&mut self, key: u8, data: &[u8]) {
        self.bytes.extend_from_slice(&[KIND_META, key]);
        self.push_data(data);
    }

    pub(crate) fn push_purge_to(&mut self, index: u64, data: &[u8]) {
        self.push_indexed(KIND_PURGE_TO, index, data);
    }

    pub(crate) fn push_floor(&mut self, segment: u64) {
        self.push_number(KIND_FLOOR, segment);
    }

    /// Fills in the header and gives the batch and the end mark, ready to be written by one write.
    pub(crate) fn finish(&mut self, sequence: u64, salt: u64) -> &[u8] {
        let body = &self.bytes[BATCH_HEADER_BYTES..];
        let header = BatchHeader {
            body_bytes: length(body),
            body_checksum: crc32fast::hash(body),
            sequence,
            salt,
            records: self.records,
        };
        let batch_bytes = batch_bytes(body.len());
        self.bytes[..BATCH_HEADER_BYTES].copy_from_slice(&header.encode());
        self.bytes.resize(batch_bytes + END_MARK_BYTES, 0);
        &self.bytes
    }

    fn push_number(&mut self, kind: u8, number: u64) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&number.to_le_bytes());
        self.records += 1;
    }

    fn push_indexed(&mut self, kind: u8, index: u64, data: &[u8]) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&index.to_le_bytes());
        self.push_data(data);
    }

    fn push_data(&mut self, data: &[u8]) {
        self.bytes.extend_from_slice(&length(data).to_le_bytes());
        self.bytes.extend_from_slice(data);
        self.records += 1;
    }
}

/// A record as it stands in a body: the caller's, or the log's own floor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stored {
    Record(Record),
    Floor(u64),
}

/// A body whose checksum fits but whose records do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyFault {
    pub(crate) offset_in_body: usize,
    pub(crate) reason: &'static str,
}

/// Reads the records of a body whose checksum has been verified.
pub(crate) fn decode_body(body: &[u8], records: u32) -> Result<Vec<Stored>, BodyFault> {
    let mut reader = Reader { body, at: 0 };
    let mut stored = Vec::new();
    while reader.at < body.len() {
        let offset_in_body = reader.at;
        match reader.record() {
            Some(record) => stored.push(record),
            None => return Err(BodyFault { offset_in_body, reason: "a record that cannot be read" }),
        }
    }
    if stored.len() == records as usize {
        Ok(stored)
    } else {
        Err(BodyFault {
            offset_in_body: 0,
            reason: "the number of records is not the one in the batch header",
        })
    }
}

struct Reader<'a> {
    body: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn record(&mut self) -> Option<Stored> {
        let record = match self.take(1)?[0] {
            KIND_ENTRY => Record::Entry { index: self.number()?, data: self.data()? },
            KIND_META => Record::Meta { key: self.take(1)?[0], data: self.data()? },
            KIND_TRUNCATE_FROM => Record::TruncateFrom { index: self.number()? },
            KIND_PURGE_TO => Record::PurgeTo { index: self.number()?, data: self.data()? },
            KIND_FLOOR => return Some(Stored::Floor(self.number()?)),
            _ => return None,
        };
        Some(Stored::Record(record))
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8).map(|bytes| u64_at(bytes, 0))
    }

    fn data(&mut self) -> Option<Bytes> {
        let length = u32_at(self.take(4)?, 0) as usize;
        // Copied, so that one live entry does not hold the memory of a whole segment.
        self.take(length).map(Bytes::copy_from_slice)
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let taken = self.body.get(self.at..self.at.checked_add(count)?)?;
        self.at += count;
        Some(taken)
    }
}

fn length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).expect("append refuses what would not fit: MAX_APPEND_BYTES is far below 4 GiB")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a slice of four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a slice of eight bytes"))
}
