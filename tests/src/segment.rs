//! Where the batches of a coordinator's log stand on disk, to damage them on purpose. Reads the documented format of
//! the log's segments by itself: what the product writes is judged from outside.

use anyhow::{Context, Result, ensure};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const SEGMENT_HEADER_BYTES: u64 = 64;
const BATCH_HEADER_BYTES: u64 = 32;
const ALIGNMENT: u64 = 8;

/// One batch of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Of its header, from the start of the file.
    pub offset: u64,
    /// Of the body behind the header.
    pub body_bytes: u64,
}

impl Batch {
    /// Of the body, from the start of the file.
    pub fn body_offset(&self) -> u64 {
        self.offset + BATCH_HEADER_BYTES
    }
}

/// A segment file of a stopped coordinator.
#[derive(Debug)]
pub struct Segment {
    path: PathBuf,
    /// Its batches, in order.
    pub batches: Vec<Batch>,
}

impl Segment {
    /// The newest segment of the log in a data folder that has batches.
    ///
    /// # Errors
    /// When there is none.
    pub fn newest(data_dir: &Path) -> Result<Self> {
        let folder = data_dir.join("log");
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .with_context(|| format!("could not list {}", folder.display()))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
        // Names are numbers of one width, so the last is the newest.
        files.sort();
        for path in files.into_iter().rev() {
            let segment = Self::read(path)?;
            if !segment.batches.is_empty() {
                return Ok(segment);
            }
        }
        anyhow::bail!("the log in {} has no batch", folder.display())
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the next batch would stand.
    pub fn end(&self) -> u64 {
        self.batches.last().map_or(SEGMENT_HEADER_BYTES, |last| {
            last.offset + (BATCH_HEADER_BYTES + last.body_bytes).next_multiple_of(ALIGNMENT)
        })
    }

    /// Changes one bit of the file.
    ///
    /// # Errors
    /// When the file cannot be read or written there.
    pub fn flip_bit(&self, offset: u64, bit: u8) -> Result<()> {
        let mut byte = [0];
        let mut file = self.open()?;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut byte)?;
        self.overwrite(offset, &[byte[0] ^ (1 << bit)])
    }

    /// Replaces bytes of the file, without changing its length.
    ///
    /// # Errors
    /// When they would be beyond its end.
    pub fn overwrite(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut file = self.open()?;
        ensure!(offset + bytes.len() as u64 <= file.metadata()?.len(), "beyond the end of the segment");
        file.seek(SeekFrom::Start(offset))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        Ok(())
    }

    fn open(&self) -> Result<File> {
        let opened = OpenOptions::new().read(true).write(true).open(&self.path);
        opened.with_context(|| format!("could not open {}", self.path.display()))
    }

    fn read(path: PathBuf) -> Result<Self> {
        let bytes = fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        let salt = bytes.get(24..32).unwrap_or_default().to_vec();
        let mut segment = Self { path, batches: Vec::new() };
        loop {
            let offset = segment.end();
            let start = usize::try_from(offset).context("offsets fit the machine")?;
            let Some(header) = bytes.get(start..start + 32) else { return Ok(segment) };
            let word =
                |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let whole = crc32fast::hash(&header[..28]) == word(28);
            if word(0) == 0 || !whole || header[16..24] != salt[..] {
                return Ok(segment);
            }
            segment.batches.push(Batch { offset, body_bytes: u64::from(word(0)) });
        }
    }
}
