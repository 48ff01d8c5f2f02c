//! What the log promises, tried on a disk that breaks at every step.

mod crash;
mod damage;
mod errors;
mod golden;
mod histories;
mod model;
mod speed;
mod threads;

use std::{collections::VecDeque, path::Path, sync::Arc};

use bytes::Bytes;

use super::{
    OpenError, Options, Record, Recovered,
    format::record_bytes,
    recovery::recover,
    segment::Segment,
    supply::{SegmentSource, Supply},
    writer::Writer,
};
use crate::disk::{Disk as _, Folder, RealDisk, memory::MemoryDisk};

fn on_disk(path: &Path) -> Arc<dyn Folder> {
    RealDisk.folder(path).unwrap()
}

/// Small segments, so that few batches fill several of them.
fn small() -> Options {
    Options { segment_bytes: 1024, spare_segments: 1, max_free_segments: 2, ..Options::default() }
}

/// Opens the log without threads, so that every run takes the same steps.
fn open(storage: &MemoryDisk, options: &Options) -> Result<(Writer, Recovered), OpenError> {
    let storage = storage.folder();
    let (position, recovered) = recover(&storage, options)?;
    let source = |supply: Supply, ready: VecDeque<Segment>| {
        SegmentSource::inline(supply, ready, options.spare_segments)
    };
    Ok((Writer::new(storage, position, options.max_batch_bytes, source)?, recovered))
}

fn write(writer: &mut Writer, records: &[Record]) -> Result<(), super::WalError> {
    writer.write(std::iter::once(records), records.iter().map(record_bytes).sum())
}

fn entry(index: u64, data_bytes: usize) -> Record {
    let data: Vec<u8> = (index * 31..).map(|at| u8::try_from(at % 251).unwrap()).take(data_bytes).collect();
    Record::Entry { index, data: data.into() }
}

fn vote(term: u64) -> Record {
    Record::Meta { key: 1, data: Bytes::copy_from_slice(&term.to_le_bytes()) }
}

fn purge(index: u64) -> Record {
    Record::PurgeTo { index, data: Bytes::copy_from_slice(&index.to_be_bytes()) }
}

fn truncate(index: u64) -> Record {
    Record::TruncateFrom { index }
}
