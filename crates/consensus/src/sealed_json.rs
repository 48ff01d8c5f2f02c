//! Small JSON files that end in a checksum: a flipped bit in a name would make it another name, and nobody would notice.
//!
//! ```text
//! { "format": 2, ... }
//! crc32 1c291ca3
//! ```

use crate::{
    disk::{self, Folder},
    folder::FolderError,
};
use serde::{Serialize, de::DeserializeOwned};
use std::io;

const LABEL: &[u8] = b"crc32 ";
/// Label, eight hex digits, end of line.
const SEAL_BYTES: usize = LABEL.len() + 9;

/// A file as it was found.
pub(crate) struct Found {
    bytes: Vec<u8>,
    /// Whether it has a checksum, which is the right one then. Files of layout 1 have none.
    pub(crate) is_sealed: bool,
}

/// Reads a file; `None` when it is not there.
///
/// # Errors
/// When the system refuses, or the checksum is not the right one.
pub(crate) fn read(folder: &dyn Folder, name: &str) -> Result<Option<Found>, FolderError> {
    let mut bytes = match disk::read(folder, name) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FolderError::io(&folder.path(name), "reading it")(error)),
    };
    let body_bytes = bytes.len().saturating_sub(SEAL_BYTES);
    let is_sealed = bytes[body_bytes..].starts_with(LABEL);
    if is_sealed {
        let seal = bytes.split_off(body_bytes);
        if seal != seal_of(&bytes) {
            return Err(damaged(folder, name, "its checksum is not that of its content".to_owned()));
        }
    }
    Ok(Some(Found { bytes, is_sealed }))
}

impl Found {
    /// What it says.
    ///
    /// # Errors
    /// When that is not what is looked for.
    pub(crate) fn parse<T: DeserializeOwned>(
        &self,
        folder: &dyn Folder,
        name: &str,
    ) -> Result<T, FolderError> {
        serde_json::from_slice(&self.bytes).map_err(|error| damaged(folder, name, error.to_string()))
    }
}

/// Puts a file in place, so that a crash leaves the old one or the new one, never half of either.
///
/// # Errors
/// When the system refuses.
pub(crate) fn write<T: Serialize>(folder: &dyn Folder, name: &str, value: &T) -> Result<(), FolderError> {
    let mut bytes =
        serde_json::to_vec_pretty(value).map_err(|error| damaged(folder, name, error.to_string()))?;
    bytes.push(b'\n');
    let seal = seal_of(&bytes);
    bytes.extend(seal);
    disk::write(folder, name, &bytes).map_err(FolderError::io(&folder.path(name), "writing it"))
}

fn seal_of(body: &[u8]) -> Vec<u8> {
    let mut seal = LABEL.to_vec();
    seal.extend(format!("{:08x}\n", crc32fast::hash(body)).bytes());
    seal
}

/// What is said of a file that cannot be used.
pub(crate) fn damaged(folder: &dyn Folder, name: &str, problem: String) -> FolderError {
    FolderError::Damaged { path: folder.path(name), problem }
}
