//! Opening a log: finds its end, cuts a torn tail, refuses damage that no crash can explain, and serves nothing that is
//! not on disk.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Options, Record, Recovered, TornTail,
    error::{OpenError, WalError, io_error},
    format::{END_MARK_BYTES, SEGMENT_HEADER_BYTES, Stored},
    live::LogState,
    segment::{FileKind, Loaded, Segment, write_zeros},
    supply::Supply,
    writer::Position,
};
use crate::disk::Folder;

/// Reads the log in `storage`.
pub(crate) fn recover(
    storage: &Arc<dyn Folder>,
    options: &Options,
) -> Result<(Position, Recovered), OpenError> {
    let files = Files::list(&**storage)?;
    let Some(top) = files.log.last().copied() else { return start_empty(storage, options, &files) };
    let end = End::find(&**storage, &files)?;
    let floor = end.floor(&**storage)?;
    end.refuse_missing(&**storage, &files, floor)?;
    let replay = end.replay(&**storage, floor)?;
    let torn = end.cut_torn_tail(&**storage)?;
    end.sync(&**storage, &files, floor)?;

    let mut supply = Supply::new(Arc::clone(storage), options, top + 1);
    files.clear_away(&**storage, &mut supply, floor)?;
    let next_sequence = end.last_sequence().map_or(1, |sequence| sequence + 1);
    let (active, offset, ready) = end.into_segments();
    let Replay { state, entries } = replay;
    let recovered = Recovered { entries, metas: state.metas.clone(), purged: state.purged.clone(), torn };
    Ok((Position { state, active, offset, next_sequence, floor, ready, supply }, recovered))
}

fn start_empty(
    storage: &Arc<dyn Folder>,
    options: &Options,
    files: &Files,
) -> Result<(Position, Recovered), OpenError> {
    let mut supply = Supply::new(Arc::clone(storage), options, 1);
    files.clear_away(&**storage, &mut supply, 1)?;
    let active = supply.prepare()?;
    let position = Position {
        state: LogState::default(),
        active,
        offset: SEGMENT_HEADER_BYTES as u64,
        next_sequence: 1,
        floor: 1,
        ready: VecDeque::new(),
        supply,
    };
    Ok((position, Recovered::default()))
}

/// The files of the folder, by what their names say.
struct Files {
    /// Numbers of the `.wal` files, rising.
    log: Vec<u64>,
    free: Vec<u64>,
    new: Vec<u64>,
}

impl Files {
    fn list(storage: &dyn Folder) -> Result<Self, OpenError> {
        let mut files = Self { log: Vec::new(), free: Vec::new(), new: Vec::new() };
        for name in storage.list().map_err(io_error(storage, "list", ""))? {
            match FileKind::parse(&name) {
                Some((FileKind::Log, number)) => files.log.push(number),
                Some((FileKind::Free, number)) => files.free.push(number),
                Some((FileKind::New, number)) => files.new.push(number),
                None => {}
            }
        }
        for numbers in [&mut files.log, &mut files.free, &mut files.new] {
            numbers.sort_unstable();
        }
        Ok(files)
    }

    /// Removes half-made files, and hands those that are needed no more to the supply.
    fn clear_away(&self, storage: &dyn Folder, supply: &mut Supply, floor: u64) -> Result<(), WalError> {
        for number in &self.new {
            let name = FileKind::New.file_name(*number);
            storage.remove(&name).map_err(io_error(storage, "remove", &name))?;
        }
        let free = self.free.iter().map(|number| (FileKind::Free, *number));
        let below = self.log.iter().filter(|number| **number < floor).map(|number| (FileKind::Log, *number));
        supply.add_free(free.chain(below))
    }
}

/// The last segment with a whole batch, and what stands above it.
struct End {
    /// `None` only in a log that never took a batch.
    last: Option<Loaded>,
    /// The segments above it: prepared and empty, but for the first, where the very last batch may have been torn.
    above: VecDeque<Loaded>,
}

impl End {
    fn find(storage: &dyn Folder, files: &Files) -> Result<Self, OpenError> {
        let mut end = Self { last: None, above: VecDeque::new() };
        for number in files.log.iter().rev() {
            let loaded = Loaded::read(storage, *number)?;
            if !loaded.batches.is_empty() {
                end.last = Some(loaded);
                break;
            }
            end.above.push_front(loaded);
        }
        end.refuse_damage_before_later_use(storage)?;
        Ok(end)
    }

    /// A segment is used only after every batch of the ones before it is on disk, end mark included.
    fn refuse_damage_before_later_use(&self, storage: &dyn Folder) -> Result<(), OpenError> {
        let mut later: Option<&Loaded> = None;
        for loaded in self.last.iter().chain(&self.above).rev() {
            if let Some(later) = later
                && (loaded.damage.is_some() || loaded.batches.is_empty())
            {
                let what = loaded.damage.as_ref().map_or("no batch stands here", |damage| damage.reason);
                let reason = format!("{what}, and the later segment {} is in use", later.segment.name);
                return Err(loaded.corrupt(storage, loaded.end, reason));
            }
            if loaded.is_used() {
                later = Some(loaded);
            }
        }
        Ok(())
    }

    /// The floor in force: the last one that is whole on disk.
    fn floor(&self, storage: &dyn Folder) -> Result<u64, OpenError> {
        let Some(last) = &self.last else { return Ok(1) };
        for batch in last.batches.iter().rev() {
            let floors = last.records(storage, batch)?.into_iter().filter_map(|stored| match stored {
                Stored::Floor(floor) => Some(floor),
                Stored::Record(_) => None,
            });
            if let Some(floor) = floors.last() {
                return Ok(floor.min(last.segment.header.number));
            }
        }
        let reason = "the first batch of the segment does not say which segments are needed".to_owned();
        Err(last.corrupt(storage, SEGMENT_HEADER_BYTES, reason))
    }

    fn refuse_missing(&self, storage: &dyn Folder, files: &Files, floor: u64) -> Result<(), OpenError> {
        let present = files.log.iter().copied().filter(|number| *number >= floor);
        let Some((missing, _)) = (floor..).zip(present).find(|(expected, number)| expected != number) else {
            return Ok(());
        };
        // When the tail is damaged, the floor may have stood there: then the damage is the cause, not the file.
        if let Some(torn) = self.torn() {
            let reason =
                format!("the batch here is damaged, and without it segment {missing} is needed and is gone");
            return Err(torn.corrupt(storage, torn.end, reason));
        }
        Err(OpenError::Corrupt {
            file: storage.path(&FileKind::Log.file_name(missing)),
            offset: 0,
            reason: "the segment file is missing".to_owned(),
        })
    }

    fn replay(&self, storage: &dyn Folder, floor: u64) -> Result<Replay, OpenError> {
        let mut replay = Replay::default();
        let Some(last) = &self.last else { return Ok(replay) };
        let mut before: Option<Loaded> = None;
        for number in floor..last.segment.header.number {
            let loaded = Loaded::read(storage, number)?;
            refuse_gap(storage, before.as_ref(), &loaded)?;
            replay.take(storage, &loaded)?;
            before = Some(loaded);
        }
        refuse_gap(storage, before.as_ref(), last)?;
        replay.take(storage, last)?;
        Ok(replay)
    }

    /// The segment whose end is damaged, which at this point is a torn tail.
    fn torn(&self) -> Option<&Loaded> {
        self.above.iter().chain(&self.last).find(|loaded| loaded.damage.is_some())
    }

    /// Overwrites the torn tail with zeros, so that no part of it can ever count again.
    fn cut_torn_tail(&self, storage: &dyn Folder) -> Result<Option<TornTail>, OpenError> {
        let Some(loaded) = self.torn() else { return Ok(None) };
        let Some(damage) = &loaded.damage else { return Ok(None) };
        let end_bytes = (loaded.bytes.len().max(loaded.end + END_MARK_BYTES)) as u64;
        let from = loaded.end as u64;
        write_zeros(storage, &loaded.segment, from, end_bytes)?;
        let bytes = damage.batch_bytes.map_or(end_bytes - from, |bytes| bytes as u64);
        let file = storage.path(&loaded.segment.name);
        tracing::warn!(
            file = %file.display(), offset = from, bytes, reason = damage.reason, "cut a torn tail off the log"
        );
        Ok(Some(TornTail { file, offset: from, bytes, reason: damage.reason }))
    }

    /// Makes everything durable that is about to be served.
    ///
    /// The last batch is written again first: when its fdatasync failed before the restart, its pages may be in memory,
    /// clean, and not on disk, and then a sync alone would do nothing.
    fn sync(&self, storage: &dyn Folder, files: &Files, floor: u64) -> Result<(), OpenError> {
        if let Some(last) = &self.last
            && let Some(batch) = last.batches.last()
        {
            let Segment { file, name, .. } = &last.segment;
            let mut bytes = last.bytes[batch.span()].to_vec();
            bytes.resize(bytes.len() + END_MARK_BYTES, 0);
            file.write_at(&bytes, batch.offset as u64).map_err(io_error(storage, "write", name))?;
        }
        for loaded in self.last.iter().chain(&self.above) {
            // A file that was cut behind its end mark lost nothing; it gets its length back.
            let capacity_bytes = loaded.segment.header.capacity_bytes;
            write_zeros(storage, &loaded.segment, loaded.bytes.len() as u64, capacity_bytes)?;
        }
        for number in files.log.iter().filter(|number| **number >= floor) {
            let name = FileKind::Log.file_name(*number);
            let file = storage.open(&name).map_err(io_error(storage, "open", &name))?;
            file.sync_data().map_err(io_error(storage, "sync", &name))?;
        }
        storage.sync().map_err(io_error(storage, "sync the folder", ""))?;
        Ok(())
    }

    fn last_sequence(&self) -> Option<u64> {
        self.last.as_ref().and_then(|last| last.batches.last()).map(|batch| batch.header.sequence)
    }

    /// The segment to go on in, where in it, and the empty ones behind it.
    fn into_segments(mut self) -> (Segment, u64, VecDeque<Segment>) {
        let first = match self.last {
            Some(last) => last,
            None => self.above.pop_front().expect("a log with files has a last segment or one above it"),
        };
        (first.segment, first.end as u64, self.above.into_iter().map(|loaded| loaded.segment).collect())
    }
}

/// Between two segments no batch may be missing.
fn refuse_gap(storage: &dyn Folder, before: Option<&Loaded>, loaded: &Loaded) -> Result<(), OpenError> {
    let sequence_of = |batch: &super::segment::Located| batch.header.sequence;
    let Some(first) = loaded.batches.first().map(sequence_of) else {
        let what = loaded.damage.as_ref().map_or("no batch stands here", |damage| damage.reason);
        let reason = format!("{what}, and later segments are in use");
        return Err(loaded.corrupt(storage, loaded.end, reason));
    };
    let Some(before) = before else { return Ok(()) };
    let expected = before.batches.last().map(sequence_of).and_then(|sequence| sequence.checked_add(1));
    if expected == Some(first) {
        return Ok(());
    }
    let what = before.damage.as_ref().map_or("batches are missing", |damage| damage.reason);
    let reason = format!("{what}, and the later segment {} begins with batch {first}", loaded.segment.name);
    Err(before.corrupt(storage, before.end, reason))
}

#[derive(Default)]
struct Replay {
    state: LogState,
    entries: BTreeMap<u64, Bytes>,
}

impl Replay {
    fn take(&mut self, storage: &dyn Folder, loaded: &Loaded) -> Result<(), OpenError> {
        for batch in &loaded.batches {
            for stored in loaded.records(storage, batch)? {
                if let Stored::Record(record) = stored {
                    self.apply(record, loaded.segment.header.number);
                }
            }
        }
        Ok(())
    }

    fn apply(&mut self, record: Record, segment: u64) {
        self.state.apply(&record, segment);
        match record {
            Record::Entry { index, data } => {
                if self.state.is_above_purge(index) {
                    self.entries.insert(index, data);
                }
            }
            Record::TruncateFrom { index } => {
                self.entries.split_off(&index);
            }
            Record::PurgeTo { .. } => {
                while let Some(first) = self.entries.first_entry()
                    && !self.state.is_above_purge(*first.key())
                {
                    first.remove();
                }
            }
            Record::Meta { .. } => {}
        }
    }
}
