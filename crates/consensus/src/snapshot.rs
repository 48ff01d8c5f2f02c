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

use crate::{codec, types::SnapshotMeta};
use quorate_domain::State;
use std::{
    io,
    path::{Path, PathBuf},
};

const MAGIC: &[u8; 6] = b"QRSNAP";
const VERSION: u16 = 1;
const END_OF_ROWS: u32 = u32::MAX;
const SUM_BYTES: usize = 4;

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The operating system refused.
    #[error("snapshot {path}: {action} failed: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The bytes are not those that were written.
    #[error(
        "snapshot {path} is damaged at offset {offset}: {problem}; restore the file, or bring this coordinator back under a new node id with an empty data_dir"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A later version wrote it.
    #[error(
        "snapshot {path} has format {found}; this version knows up to {VERSION}: start it with the version that wrote it"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u16,
    },
    /// It is whole, and says something that is not known here.
    #[error("snapshot {path} was not written by a version that this one knows: {problem}")]
    Unknown {
        /// The file.
        path: PathBuf,
        /// What is not known.
        problem: String,
    },
}

/// A snapshot, read.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) meta: SnapshotMeta,
    pub(crate) state: State,
    /// The file's bytes, as another node is sent them.
    pub(crate) bytes: Vec<u8>,
}

fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).ok().filter(|length| *length != END_OF_ROWS);
    let length = length.ok_or_else(|| io::Error::other("a row of 4 GiB or more"))?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// The bytes of a snapshot.
pub(crate) fn encode(meta: &SnapshotMeta, state: &State) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&VERSION.to_be_bytes());
    put_sized(&mut out, &codec::encode_snapshot_meta(meta))?;
    let mut rows: u64 = 0;
    for (key, value) in state.rows() {
        put_sized(&mut out, &key)?;
        put_sized(&mut out, &value)?;
        rows += 1;
    }
    out.extend_from_slice(&END_OF_ROWS.to_be_bytes());
    out.extend_from_slice(&rows.to_be_bytes());
    let sum = crc32fast::hash(&out);
    out.extend_from_slice(&sum.to_be_bytes());
    Ok(out)
}

/// Reads a snapshot from the bytes of its file.
pub(crate) fn parse(path: &Path, bytes: Vec<u8>) -> Result<Snapshot, SnapshotError> {
    let damaged = |offset, problem| SnapshotError::Damaged { path: path.to_owned(), offset, problem };
    let unknown = |problem| SnapshotError::Unknown { path: path.to_owned(), problem };
    let end = bytes.len().checked_sub(SUM_BYTES).ok_or_else(|| damaged(0, "it is too short"))?;
    let mut reader = Reader { path, bytes: &bytes[..end], offset: 0 };
    if reader.take(MAGIC.len())? != MAGIC {
        return Err(damaged(0, "it does not begin as a snapshot does"));
    }
    let version = reader.version()?;
    if version > VERSION {
        return Err(SnapshotError::Newer { path: path.to_owned(), found: version });
    }
    if crc32fast::hash(&bytes[..end]).to_be_bytes() != bytes[end..] {
        return Err(damaged(end, "the checksum here is not that of the bytes before it"));
    }
    let length = reader.number()?;
    let meta = codec::decode_snapshot_meta(reader.take(length as usize)?)
        .map_err(|error| unknown(error.to_string()))?;
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
    if (rows.len() as u64).to_be_bytes() != reader.take(8)? {
        return Err(damaged(reader.offset, "the number of rows does not match"));
    }
    let state = State::from_rows(rows).map_err(|error| unknown(error.to_string()))?;
    Ok(Snapshot { meta, state, bytes })
}

struct Reader<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], SnapshotError> {
        let end = self.offset.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| SnapshotError::Damaged {
            path: self.path.to_owned(),
            offset: self.offset,
            problem: "it ends in the middle",
        })?;
        let taken = &self.bytes[self.offset..end];
        self.offset = end;
        Ok(taken)
    }

    fn version(&mut self) -> Result<u16, SnapshotError> {
        let mut digits = [0; 2];
        digits.copy_from_slice(self.take(2)?);
        Ok(u16::from_be_bytes(digits))
    }

    fn number(&mut self) -> Result<u32, SnapshotError> {
        let mut digits = [0; 4];
        digits.copy_from_slice(self.take(4)?);
        Ok(u32::from_be_bytes(digits))
    }
}
