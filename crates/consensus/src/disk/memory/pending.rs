//! What was done to a disk in memory and is not on its platter yet.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// Full path -> file. A folder is a name too, of a file without content.
pub(super) type Names = BTreeMap<PathBuf, usize>;

#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    pub(super) is_folder: bool,
    pub(super) now: Vec<u8>,
    pub(super) durable: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(super) enum Pending {
    Write { file: usize, offset: usize, bytes: Vec<u8> },
    Length { file: usize, size: usize },
    Link { name: PathBuf, file: usize },
    Rename { from: PathBuf, to: PathBuf },
    Unlink { name: PathBuf },
}

impl Pending {
    pub(super) fn units(&self) -> usize {
        match self {
            Self::Write { bytes, .. } => bytes.len(),
            _ => 1,
        }
    }

    pub(super) fn is_name(&self) -> bool {
        self.name().is_some()
    }

    /// The name that it changes; both of a rename are in the same folder.
    pub(super) fn name(&self) -> Option<&Path> {
        match self {
            Self::Write { .. } | Self::Length { .. } => None,
            Self::Link { name, .. } | Self::Unlink { name } | Self::Rename { to: name, .. } => Some(name),
        }
    }

    pub(super) fn moved(&self, moved: &dyn Fn(&Path) -> PathBuf) -> Self {
        match self {
            Self::Link { name, file } => Self::Link { name: moved(name), file: *file },
            Self::Rename { from, to } => Self::Rename { from: moved(from), to: moved(to) },
            Self::Unlink { name } => Self::Unlink { name: moved(name) },
            other => other.clone(),
        }
    }

    pub(super) fn is_of(&self, of: usize) -> bool {
        matches!(self, Self::Write { file, .. } | Self::Length { file, .. } if *file == of)
    }

    pub(super) fn persist(&self, units: usize, files: &mut [Content], names: &mut Names) {
        match self {
            Self::Write { file, offset, bytes } => {
                put(&mut files[*file].durable, *offset, &bytes[..units.min(bytes.len())]);
            }
            Self::Length { file, size } => files[*file].durable.resize(*size, 0),
            _ => self.persist_name(names),
        }
    }

    pub(super) fn persist_name(&self, names: &mut Names) {
        match self {
            Self::Link { name, file } => {
                names.insert(name.clone(), *file);
            }
            Self::Rename { from, to } => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Write { .. } | Self::Length { .. } => {}
        }
    }

    pub(super) fn scatter(&self, coin: &mut Coin, files: &mut [Content], names: &mut Names) {
        const PIECE_BYTES: usize = 16;
        let Self::Write { file, offset, bytes } = self else { return self.persist(1, files, names) };
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            if coin.toss() {
                put(&mut files[*file].durable, offset + number * PIECE_BYTES, piece);
            }
        }
    }
}

pub(super) struct Coin(pub(super) u64);

impl Coin {
    /// splitmix64, by Sebastiano Vigna.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn toss(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

pub(super) fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}
