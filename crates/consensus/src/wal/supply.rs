//! Segments ahead of need: made and filled with zeros, or made again from free ones, in the background.

use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use super::{
    Options,
    error::{WalError, io_error},
    format::{END_MARK_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader},
    segment::{FileKind, Segment, write_zeros},
};
use crate::disk::Folder;

const THREAD: &str = "segment supply";

/// A file that the log does not need any more, under the name it has now.
pub(crate) type FreeFile = (FileKind, u64);

/// Makes segments, one after the other.
pub(crate) struct Supply {
    storage: Arc<dyn Folder>,
    segment_bytes: u64,
    max_free_segments: usize,
    next_number: u64,
    free: VecDeque<FreeFile>,
}

impl Supply {
    pub(crate) fn new(storage: Arc<dyn Folder>, options: &Options, next_number: u64) -> Self {
        Self {
            storage,
            segment_bytes: options.segment_bytes,
            max_free_segments: options.max_free_segments,
            next_number,
            free: VecDeque::new(),
        }
    }

    /// Makes the next segment: when this returns, its header, its space and its name are on disk.
    pub(crate) fn prepare(&mut self) -> Result<Segment, WalError> {
        let number = self.next_number;
        let salt = self.storage.random();
        let header = SegmentHeader { number, salt, capacity_bytes: self.segment_bytes };
        let segment = loop {
            match self.free.pop_front() {
                None => break self.create(header)?,
                Some(free) => {
                    if let Some(segment) = self.recycle(free, header)? {
                        break segment;
                    }
                }
            }
        };
        self.next_number += 1;
        Ok(segment)
    }

    /// Takes files that are needed no more; the record that says so must be on disk.
    pub(crate) fn add_free(&mut self, files: impl IntoIterator<Item = FreeFile>) -> Result<(), WalError> {
        self.free.extend(files);
        while self.free.len() > self.max_free_segments {
            if let Some((kind, number)) = self.free.pop_front() {
                self.remove(&kind.file_name(number))?;
            }
        }
        Ok(())
    }

    fn create(&self, header: SegmentHeader) -> Result<Segment, WalError> {
        let name = FileKind::New.file_name(header.number);
        let file = self.storage.create(&name).map_err(self.failed("create", &name))?;
        let segment = Segment { name, header, file };
        self.write_start(&segment)?;
        let filled_bytes = (SEGMENT_HEADER_BYTES + END_MARK_BYTES) as u64;
        write_zeros(&*self.storage, &segment, filled_bytes, self.segment_bytes)?;
        self.take_into_log(segment)
    }

    /// Gives a free file its next use; `None` when it is too small, and therefore removed.
    fn recycle(&self, free: FreeFile, header: SegmentHeader) -> Result<Option<Segment>, WalError> {
        let (kind, number) = free;
        let name = FileKind::Free.file_name(number);
        if kind == FileKind::Log {
            // On disk under its new name before its content changes: a .wal file always has the header of its name.
            let old = kind.file_name(number);
            self.storage.rename(&old, &name).map_err(self.failed("rename", &old))?;
            self.sync_folder()?;
        }
        let file = self.storage.open(&name).map_err(self.failed("open", &name))?;
        let size_bytes = file.size_bytes().map_err(self.failed("read the size of", &name))?;
        if size_bytes < self.segment_bytes {
            self.remove(&name)?;
            return Ok(None);
        }
        if size_bytes > self.segment_bytes {
            file.set_len(self.segment_bytes).map_err(self.failed("shorten", &name))?;
        }
        let segment = Segment { name, header, file };
        self.write_start(&segment)?;
        self.take_into_log(segment).map(Some)
    }

    fn write_start(&self, segment: &Segment) -> Result<(), WalError> {
        let mut start = segment.header.encode().to_vec();
        start.resize(SEGMENT_HEADER_BYTES + END_MARK_BYTES, 0);
        segment.file.write_at(&start, 0).map_err(self.failed("write the header of", &segment.name))
    }

    fn take_into_log(&self, mut segment: Segment) -> Result<Segment, WalError> {
        segment.file.sync_all().map_err(self.failed("sync", &segment.name))?;
        let name = FileKind::Log.file_name(segment.header.number);
        self.storage.rename(&segment.name, &name).map_err(self.failed("rename", &segment.name))?;
        segment.name = name;
        self.sync_folder()?;
        Ok(segment)
    }

    fn remove(&self, name: &str) -> Result<(), WalError> {
        self.storage.remove(name).map_err(self.failed("remove", name))
    }

    fn sync_folder(&self) -> Result<(), WalError> {
        self.storage.sync().map_err(self.failed("sync the folder", ""))
    }

    fn failed(&self, operation: &'static str, name: &str) -> impl FnOnce(io::Error) -> WalError {
        io_error(&*self.storage, operation, name)
    }
}

/// Where the writer gets its segments from, and gives them back to.
pub(crate) enum SegmentSource {
    /// Made by the writer itself, whenever it takes one.
    Inline { supply: Supply, ready: VecDeque<Segment>, spare_segments: usize },
    /// Made by a thread, ahead of need.
    Background(Background),
}

/// The thread that makes segments.
pub(crate) struct Background {
    ready: VecDeque<Segment>,
    prepared: Receiver<Result<Segment, WalError>>,
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

enum Command {
    PrepareOne,
    Free(Range<u64>),
}

impl SegmentSource {
    /// Makes segments inside `take`, keeping `spare_segments` ready.
    pub(crate) fn inline(
        supply: Supply,
        ready: VecDeque<Segment>,
        spare_segments: usize,
    ) -> Result<Self, WalError> {
        let mut source = Self::Inline { supply, ready, spare_segments };
        source.top_up()?;
        Ok(source)
    }

    /// Starts a thread that keeps `spare_segments` ready; the first error of the thread goes into `failure`.
    pub(crate) fn background(
        mut supply: Supply,
        ready: VecDeque<Segment>,
        spare_segments: usize,
        failure: Arc<OnceLock<WalError>>,
    ) -> io::Result<Self> {
        let (commands, inbox) = channel();
        let (outbox, prepared) = channel();
        for _ in ready.len()..spare_segments {
            // Cannot fail: the receiver is right here.
            let _ = commands.send(Command::PrepareOne);
        }
        let thread = thread::Builder::new().name("wal-supply".to_owned()).spawn(move || {
            for command in inbox {
                let result = match command {
                    Command::PrepareOne => supply.prepare().map(Some),
                    Command::Free(numbers) => supply.add_free(log_files(numbers)).map(|()| None),
                };
                match result {
                    Ok(None) => {}
                    Ok(Some(segment)) => {
                        if outbox.send(Ok(segment)).is_err() {
                            return;
                        }
                    }
                    Err(error) => {
                        tracing::error!(%error, "the log could not make a segment");
                        // When the writer failed first, its error stays the first.
                        let _ = failure.set(error.clone());
                        let _ = outbox.send(Err(error));
                        return;
                    }
                }
            }
        })?;
        Ok(Self::Background(Background { ready, prepared, commands: Some(commands), thread: Some(thread) }))
    }

    /// The next segment of the log; waits for it when none is ready.
    pub(crate) fn take(&mut self) -> Result<Segment, WalError> {
        match self {
            Self::Inline { supply, ready, .. } => {
                let segment = match ready.pop_front() {
                    Some(segment) => segment,
                    None => supply.prepare()?,
                };
                self.top_up()?;
                Ok(segment)
            }
            Self::Background(background) => background.take(),
        }
    }

    /// Gives back the segments of these numbers; the record that says so must be on disk.
    pub(crate) fn give_back(&mut self, numbers: Range<u64>) -> Result<(), WalError> {
        match self {
            Self::Inline { supply, .. } => supply.add_free(log_files(numbers)),
            Self::Background(background) => background.send(Command::Free(numbers)),
        }
    }

    fn top_up(&mut self) -> Result<(), WalError> {
        if let Self::Inline { supply, ready, spare_segments } = self {
            while ready.len() < *spare_segments {
                ready.push_back(supply.prepare()?);
            }
        }
        Ok(())
    }
}

impl Background {
    fn take(&mut self) -> Result<Segment, WalError> {
        self.send(Command::PrepareOne)?;
        match self.ready.pop_front() {
            Some(segment) => Ok(segment),
            None => self.prepared.recv().map_err(|_| WalError::Stopped { thread: THREAD })?,
        }
    }

    fn send(&mut self, command: Command) -> Result<(), WalError> {
        let commands = self.commands.as_ref().ok_or(WalError::Stopped { thread: THREAD })?;
        match commands.send(command) {
            Ok(()) => Ok(()),
            // The thread ended; it says why before it does.
            Err(_) => Err(self
                .prepared
                .try_iter()
                .find_map(Result::err)
                .unwrap_or(WalError::Stopped { thread: THREAD })),
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by the panic itself.
            let _ = thread.join();
        }
    }
}

fn log_files(numbers: Range<u64>) -> impl Iterator<Item = FreeFile> {
    numbers.map(|number| (FileKind::Log, number))
}
