//! Writes batches: one buffer, one write, one fdatasync each, and the next only after that.

use std::{collections::VecDeque, sync::Arc};

use super::{
    Record,
    error::{WalError, io_error},
    format::{BatchBuffer, END_MARK_BYTES, FLOOR_RECORD_BYTES, SEGMENT_HEADER_BYTES, batch_bytes},
    live::LogState,
    segment::Segment,
    supply::{SegmentSource, Supply},
};
use crate::disk::{Folder, FolderLock};

/// Where the log goes on after it was opened.
pub(crate) struct Position {
    pub(crate) state: LogState,
    /// The segment to write to; full ones are left by the first batch that finds no room.
    pub(crate) active: Segment,
    /// Where in it.
    pub(crate) offset: u64,
    pub(crate) next_sequence: u64,
    /// Segments below this one are needed no more, and the record that says so is on disk.
    pub(crate) floor: u64,
    /// Empty segments behind the active one, in order.
    pub(crate) ready: VecDeque<Segment>,
    pub(crate) supply: Supply,
}

/// The end of the log, being written by one owner.
pub(crate) struct Writer {
    storage: Arc<dyn Folder>,
    source: SegmentSource,
    state: LogState,
    active: Segment,
    offset: u64,
    next_sequence: u64,
    floor: u64,
    buffer: BatchBuffer,
    keep_buffer_bytes: usize,
    /// Held until nothing is written any more; behind the source, which is gone before it is let go.
    _lock: Option<FolderLock>,
}

impl Writer {
    pub(crate) fn new(
        storage: Arc<dyn Folder>,
        position: Position,
        max_batch_bytes: usize,
        source: impl FnOnce(Supply, VecDeque<Segment>) -> Result<SegmentSource, WalError>,
    ) -> Result<Self, WalError> {
        Ok(Self {
            storage,
            source: source(position.supply, position.ready)?,
            state: position.state,
            active: position.active,
            offset: position.offset,
            next_sequence: position.next_sequence,
            floor: position.floor,
            buffer: BatchBuffer::default(),
            keep_buffer_bytes: max_batch_bytes.saturating_mul(2),
            _lock: None,
        })
    }

    /// The same, keeping others out of the folder.
    #[must_use]
    pub(crate) fn holding(self, lock: Option<FolderLock>) -> Self {
        Self { _lock: lock, ..self }
    }

    /// Writes all these appends as one batch; when this returns, they are on disk.
    ///
    /// `records_bytes` is the sum of `record_bytes` over them.
    ///
    /// # Errors
    /// The first error is the last call: after it, nothing is known about the end of the log.
    pub(crate) fn write<'a>(
        &mut self,
        appends: impl Iterator<Item = &'a [Record]>,
        records_bytes: usize,
    ) -> Result<(), WalError> {
        if records_bytes == 0 {
            // Nothing to write, and everything before it is on disk already.
            return Ok(());
        }
        if !self.has_room_for(records_bytes) {
            self.active = self.source.take()?;
            self.offset = SEGMENT_HEADER_BYTES as u64;
        }
        self.buffer.begin(self.keep_buffer_bytes);
        let number = self.active.header.number;
        let mut floor = self.floor;
        if self.is_at_start() {
            floor = self.state.floor(number);
            self.push_carried(floor);
        }
        for record in appends.flatten() {
            self.buffer.push(record);
            self.state.apply(record, number);
        }
        let floor_after = self.state.floor(number);
        if floor_after > floor {
            floor = floor_after;
            self.buffer.push_floor(floor);
        }
        self.write_buffer()?;
        if floor > self.floor {
            self.source.give_back(self.floor..floor)?;
            self.floor = floor;
        }
        Ok(())
    }

    fn is_at_start(&self) -> bool {
        self.offset == SEGMENT_HEADER_BYTES as u64
    }

    /// An empty segment takes any batch: the file grows with a batch that is larger, and nothing else goes into it.
    fn has_room_for(&self, records_bytes: usize) -> bool {
        let needed_bytes = (batch_bytes(records_bytes + FLOOR_RECORD_BYTES) + END_MARK_BYTES) as u64;
        self.is_at_start() || self.offset + needed_bytes <= self.active.header.capacity_bytes
    }

    /// Says again what the log stands for apart from its entries, so that no earlier segment is needed for it.
    fn push_carried(&mut self, floor: u64) {
        self.buffer.push_floor(floor);
        for (key, data) in &self.state.metas {
            self.buffer.push_meta(*key, data);
        }
        if let Some((index, data)) = &self.state.purged {
            self.buffer.push_purge_to(*index, data);
        }
    }

    fn write_buffer(&mut self) -> Result<(), WalError> {
        let bytes = self.buffer.finish(self.next_sequence, self.active.header.salt);
        let written_bytes = (bytes.len() - END_MARK_BYTES) as u64;
        let Segment { file, name, .. } = &self.active;
        file.write_at(bytes, self.offset).map_err(io_error(&*self.storage, "write a batch to", name))?;
        file.sync_data().map_err(io_error(&*self.storage, "sync", name))?;
        self.offset += written_bytes;
        self.next_sequence += 1;
        Ok(())
    }
}
