//! Snapshot files: the state's rows behind a description, with a checksum over all of it.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `QRSNAP` and the format version, big endian |
//! | 4 + n | length and bytes of the description (protobuf) |
//! | (4 + k + 4 + v)* | rows: length and bytes of key and value |
//! | 4 | `0xFFFF_FFFF`: no more rows |
//! | 8 | number of rows |
//! | 4 | CRC-32 of everything before |

use crate::{
    codec::{self, CodecError},
    folder::sync_folder_of,
    types::SnapshotMeta,
};
use quorate_domain::{State, rows::BadRow};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 6] = b"QRSNAP";
const VERSION: u16 = 1;
const END_OF_ROWS: u32 = u32::MAX;
/// Finished snapshots that are kept.
const KEEP: usize = 2;
const SUFFIX: &str = "snap";

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system refused.
    #[error("snapshot {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The bytes are not those that were written.
    #[error("snapshot is damaged at offset {offset}: {problem}")]
    Damaged {
        /// Where.
        offset: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A later version wrote it.
    #[error("snapshot has format {0}; this version knows up to {VERSION}")]
    Newer(u16),
    /// Its description is not one of ours.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A row is not one of ours.
    #[error(transparent)]
    Row(#[from] BadRow),
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> SnapshotError {
    move |source| SnapshotError::Io { path: path.to_owned(), source }
}

/// Writes through and takes the checksum on the way.
struct Summed<W> {
    inner: W,
    sum: crc32fast::Hasher,
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.update(bytes);
        self.inner.write_all(bytes)
    }

    fn put_sized(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length != END_OF_ROWS);
        let length = length.ok_or_else(|| io::Error::other("a row of 4 GiB or more"))?;
        self.put(&length.to_be_bytes())?;
        self.put(bytes)
    }
}

fn write_to(file: File, meta: &SnapshotMeta, state: &State) -> io::Result<File> {
    let mut out = Summed { inner: BufWriter::with_capacity(1 << 20, file), sum: crc32fast::Hasher::new() };
    out.put(MAGIC)?;
    out.put(&VERSION.to_be_bytes())?;
    out.put_sized(&codec::encode_snapshot_meta(meta))?;
    let mut rows: u64 = 0;
    for (key, value) in state.rows() {
        out.put_sized(&key)?;
        out.put_sized(&value)?;
        rows += 1;
    }
    out.put(&END_OF_ROWS.to_be_bytes())?;
    out.put(&rows.to_be_bytes())?;
    let sum = out.sum.clone().finalize();
    out.put(&sum.to_be_bytes())?;
    out.inner.into_inner().map_err(io::IntoInnerError::into_error)
}

/// Writes a snapshot under a temporary name, syncs it, gives it its name, and syncs the folder.
pub(crate) fn write(folder: &Path, meta: &SnapshotMeta, state: &State) -> Result<PathBuf, SnapshotError> {
    let index = meta.last_log_id.map_or(0, |id| id.index);
    let path = folder.join(format!("{index:020}-{}.{SUFFIX}", meta.snapshot_id));
    let temporary = path.with_extension("tmp");
    let failed = io_error(&temporary);
    let file = File::create(&temporary).map_err(&failed)?;
    let file = write_to(file, meta, state).map_err(&failed)?;
    file.sync_all().map_err(&failed)?;
    fs::rename(&temporary, &path).map_err(&failed)?;
    sync_folder_of(&path).map_err(&failed)?;
    Ok(path)
}

/// Reads a snapshot from its bytes.
pub(crate) fn parse(bytes: &[u8]) -> Result<(SnapshotMeta, State), SnapshotError> {
    let body =
        bytes.len().checked_sub(4).ok_or(SnapshotError::Damaged { offset: 0, problem: "too short" })?;
    let mut reader = Reader { bytes: &bytes[..body], offset: 0 };
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(SnapshotError::Damaged { offset: 0, problem: "not a snapshot file" });
    }
    let version = u16::from_be_bytes([reader.take(1)?[0], reader.take(1)?[0]]);
    if version > VERSION {
        return Err(SnapshotError::Newer(version));
    }
    if crc32fast::hash(&bytes[..body]).to_be_bytes() != bytes[body..] {
        return Err(SnapshotError::Damaged { offset: body, problem: "the checksum does not match" });
    }
    let length = reader.number()?;
    let meta = codec::decode_snapshot_meta(reader.take(length as usize)?)?;
    let mut rows = Vec::new();
    loop {
        let length = reader.number()?;
        if length == END_OF_ROWS {
            break;
        }
        let key = reader.take(length as usize)?;
        let length = reader.number()?;
        rows.push((key, reader.take(length as usize)?));
    }
    let count = reader.take(8)?;
    if (rows.len() as u64).to_be_bytes() != count {
        return Err(SnapshotError::Damaged {
            offset: reader.offset,
            problem: "the number of rows does not match",
        });
    }
    Ok((meta, State::from_rows(rows)?))
}

struct Reader<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], SnapshotError> {
        let end = self.offset.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end =
            end.ok_or(SnapshotError::Damaged { offset: self.offset, problem: "it ends in the middle" })?;
        let taken = &self.bytes[self.offset..end];
        self.offset = end;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u32, SnapshotError> {
        let bytes: [u8; 4] = self.take(4)?.try_into().map_err(|_| SnapshotError::Damaged {
            offset: self.offset,
            problem: "a length of other than four bytes",
        })?;
        Ok(u32::from_be_bytes(bytes))
    }
}

/// The finished snapshots of a folder, newest first.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>, SnapshotError> {
    let failed = io_error(folder);
    let mut found = Vec::new();
    for item in fs::read_dir(folder).map_err(&failed)? {
        let path = item.map_err(&failed)?.path();
        if path.extension().is_some_and(|extension| extension == SUFFIX) {
            found.push(path);
        }
    }
    found.sort();
    found.reverse();
    Ok(found)
}

/// The newest snapshot of a folder that can be read.
///
/// # Errors
/// When there are snapshots and none is whole: starting from nothing would hide that.
pub(crate) fn newest(folder: &Path) -> Result<Option<(PathBuf, SnapshotMeta, State)>, SnapshotError> {
    let mut last_error = None;
    for path in list(folder)? {
        let bytes = fs::read(&path).map_err(io_error(&path))?;
        match parse(&bytes) {
            Ok((meta, state)) => return Ok(Some((path, meta, state))),
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "a snapshot cannot be used");
                last_error.get_or_insert(error);
            }
        }
    }
    last_error.map_or(Ok(None), Err)
}

/// Removes what is no longer needed: all but the newest snapshots, and leftovers of unfinished ones.
pub(crate) fn tidy(folder: &Path) -> Result<(), SnapshotError> {
    for path in list(folder)?.into_iter().skip(KEEP) {
        fs::remove_file(&path).map_err(io_error(&path))?;
    }
    Ok(())
}

/// Removes the leftovers of transfers and writes that a crash cut short.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<(), SnapshotError> {
    let failed = io_error(folder);
    for item in fs::read_dir(folder).map_err(&failed)? {
        let path = item.map_err(&failed)?.path();
        if path.extension().is_some_and(|extension| extension == "tmp") {
            fs::remove_file(&path).map_err(io_error(&path))?;
        }
    }
    Ok(())
}
