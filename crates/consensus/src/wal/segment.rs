//! One segment file: its names, and reading it whole.

use std::{ops::Range, sync::Arc};

use super::{
    error::{OpenError, WalError, io_error},
    format::{
        self, BATCH_HEADER_BYTES, BatchHeader, FORMAT_VERSION, SEGMENT_HEADER_BYTES, SegmentHeader,
        SegmentHeaderFault, Slot, Stored,
    },
};
use crate::disk::{DiskFile, Folder};

/// Digits of a segment number in a file name: enough for every u64, so that the order of names is the order of numbers.
const NUMBER_DIGITS: usize = 20;

/// What the name of a file says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// `.wal`: part of the log, or below the floor and waiting for its next use. Always has a whole header.
    Log,
    /// `.free`: taken out of the log; its content means nothing.
    Free,
    /// `.new`: not yet filled with zeros to its end.
    New,
}

impl FileKind {
    pub(crate) fn file_name(self, number: u64) -> String {
        let extension = match self {
            Self::Log => "wal",
            Self::Free => "free",
            Self::New => "new",
        };
        format!("{number:0NUMBER_DIGITS$}.{extension}")
    }

    /// Kind and number of a file; `None` for a file that is none of ours.
    pub(crate) fn parse(name: &str) -> Option<(Self, u64)> {
        let (number, _) = name.split_once('.')?;
        let number = number.parse().ok()?;
        [Self::Log, Self::Free, Self::New]
            .into_iter()
            .find(|kind| kind.file_name(number) == name)
            .map(|kind| (kind, number))
    }
}

/// A segment that can be written: header, salt and space are on disk.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// Where a whole batch stands in a segment.
#[derive(Debug, Clone)]
pub(crate) struct Located {
    pub(crate) offset: usize,
    pub(crate) header: BatchHeader,
}

impl Located {
    /// The batch with its header and padding.
    pub(crate) fn span(&self) -> Range<usize> {
        self.offset..self.offset + format::batch_bytes(self.header.body_bytes as usize)
    }

    fn body(&self) -> Range<usize> {
        let start = self.offset + BATCH_HEADER_BYTES;
        start..start + self.header.body_bytes as usize
    }
}

/// What stands behind the last whole batch, when it is not the end mark.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    /// Length of the damaged batch, when its header is whole.
    pub(crate) batch_bytes: Option<usize>,
    pub(crate) reason: &'static str,
}

/// A segment read whole into memory and judged, batch by batch.
pub(crate) struct Loaded {
    pub(crate) segment: Segment,
    pub(crate) bytes: Vec<u8>,
    /// The whole batches from the start, in sequence.
    pub(crate) batches: Vec<Located>,
    /// Offset behind the last of them.
    pub(crate) end: usize,
    pub(crate) damage: Option<Damage>,
}

impl Loaded {
    /// Reads the segment, and refuses what no crash can have done to it alone.
    pub(crate) fn read(storage: &dyn Folder, number: u64) -> Result<Self, OpenError> {
        let name = FileKind::Log.file_name(number);
        let file = storage.open(&name).map_err(io_error(storage, "open", &name))?;
        let size_bytes = file.size_bytes().map_err(io_error(storage, "read the size of", &name))?;
        let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or(usize::MAX)];
        file.read_at(&mut bytes, 0).map_err(io_error(storage, "read", &name))?;
        let header = read_header(storage, &name, number, &bytes)?;
        let mut loaded = Self {
            segment: Segment { name, header, file },
            bytes,
            batches: Vec::new(),
            end: SEGMENT_HEADER_BYTES,
            damage: None,
        };
        loaded.find_batches(storage)?;
        loaded.refuse_batches_behind_the_end(storage)?;
        Ok(loaded)
    }

    /// Whether anything was ever written behind the header in this use.
    pub(crate) fn is_used(&self) -> bool {
        !self.batches.is_empty() || self.damage.is_some()
    }

    /// The records of one of its batches.
    pub(crate) fn records(&self, storage: &dyn Folder, batch: &Located) -> Result<Vec<Stored>, OpenError> {
        format::decode_body(&self.bytes[batch.body()], batch.header.records).map_err(|fault| {
            self.corrupt(storage, batch.body().start + fault.offset_in_body, fault.reason.to_owned())
        })
    }

    pub(crate) fn corrupt(&self, storage: &dyn Folder, offset: usize, reason: String) -> OpenError {
        OpenError::Corrupt { file: storage.path(&self.segment.name), offset: offset as u64, reason }
    }

    fn find_batches(&mut self, storage: &dyn Folder) -> Result<(), OpenError> {
        loop {
            match format::read_slot(&self.bytes, self.end, self.segment.header.salt) {
                Slot::End => return Ok(()),
                Slot::Damaged { batch_bytes, reason } => {
                    self.damage = Some(Damage { batch_bytes, reason });
                    return Ok(());
                }
                Slot::Batch(header) => {
                    let before = self.batches.last().map(|batch| batch.header.sequence);
                    if before.is_some_and(|before| before.checked_add(1) != Some(header.sequence)) {
                        let reason = format!("a whole batch is out of sequence: it has {}", header.sequence);
                        return Err(self.corrupt(storage, self.end, reason));
                    }
                    let located = Located { offset: self.end, header };
                    self.end = located.span().end;
                    self.batches.push(located);
                }
            }
        }
    }

    fn refuse_batches_behind_the_end(&self, storage: &dyn Folder) -> Result<(), OpenError> {
        if let Some(later) = format::find_header(&self.bytes, self.end + 1, self.segment.header.salt) {
            let what = self.damage.as_ref().map_or("the batch here is gone", |damage| damage.reason);
            return Err(self.corrupt(
                storage,
                self.end,
                format!("{what}, and a later batch stands at offset {later}, so this one was on disk once"),
            ));
        }
        let size_bytes = self.bytes.len() as u64;
        if self.damage.is_some() && size_bytes < self.segment.header.capacity_bytes {
            // The length was on disk before the first batch: no crash takes it back, so what is missing may be anything.
            let capacity_bytes = self.segment.header.capacity_bytes;
            return Err(self.corrupt(
                storage,
                self.end,
                format!("the file was cut: it has {size_bytes} bytes and its header says {capacity_bytes}"),
            ));
        }
        Ok(())
    }
}

fn read_header(
    storage: &dyn Folder,
    name: &str,
    number: u64,
    bytes: &[u8],
) -> Result<SegmentHeader, OpenError> {
    let file = storage.path(name);
    match SegmentHeader::decode(bytes) {
        Ok(header) if header.number == number => Ok(header),
        Ok(header) => Err(OpenError::Corrupt {
            file,
            offset: 16,
            reason: format!(
                "the header is that of segment {}: the file was renamed or copied",
                header.number
            ),
        }),
        Err(SegmentHeaderFault::UnknownVersion(found)) => {
            Err(OpenError::UnknownVersion { file, found, known: FORMAT_VERSION })
        }
        Err(SegmentHeaderFault::Damaged(reason)) => {
            Err(OpenError::Corrupt { file, offset: 0, reason: reason.to_owned() })
        }
    }
}

/// Writes zeros from `from` to `to`, in pieces.
pub(crate) fn write_zeros(
    storage: &dyn Folder,
    segment: &Segment,
    from: u64,
    to: u64,
) -> Result<(), WalError> {
    const PIECE_BYTES: u64 = 1 << 20;
    let zeros = vec![0; usize::try_from(PIECE_BYTES.min(to.saturating_sub(from))).unwrap_or(0)];
    let mut at = from;
    while at < to {
        let piece = usize::try_from((to - at).min(PIECE_BYTES)).unwrap_or(0);
        segment.file.write_at(&zeros[..piece], at).map_err(io_error(
            storage,
            "write zeros to",
            &segment.name,
        ))?;
        at += piece as u64;
    }
    Ok(())
}
