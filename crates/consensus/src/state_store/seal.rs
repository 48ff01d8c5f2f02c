//! The seal that every batch ends in: it tells at the next open whether all of the last batch is there.
//!
//! sled's batches are whole after a crash, but not after an error: when the disk is full, a part of the batch stays and is
//! found at the next open. Any part: the entry that was applied without its rows, for one, and a node that goes on from
//! there has another state than all others. So each batch also writes what the store then holds, as sums that do not
//! depend on an order and change with what is changed. A store that its seal does not fit is damaged.

use super::{
    EVENT_PREFIX, KEY_APPLIED, KEY_MEMBERSHIP, KEY_SEAL, STATE_PREFIX, StoreError, changes::Changes,
};
use md5::{Digest, Md5};
use prost::Message;

/// A sum over items, in any order: whoever changes an item takes the old one out and puts the new one in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sum(u128);

impl Sum {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_add(weight(key, value));
    }

    fn remove(&mut self, key: &[u8], value: &[u8]) {
        self.0 = self.0.wrapping_sub(weight(key, value));
    }
}

fn weight(key: &[u8], value: &[u8]) -> u128 {
    let mut md5 = Md5::new();
    md5.update((key.len() as u64).to_be_bytes());
    md5.update(key);
    md5.update(value);
    u128::from_be_bytes(md5.finalize().into())
}

#[derive(Clone, PartialEq, Message)]
struct SealRecord {
    /// Over the state's rows, the applied entry and the members.
    #[prost(bytes = "vec", tag = "1")]
    state: Vec<u8>,
    /// The first key of the archive; empty when there is none.
    #[prost(bytes = "vec", tag = "2")]
    archive_begins: Vec<u8>,
    /// The first key of the archive that this batch wrote; empty when it wrote none.
    #[prost(bytes = "vec", tag = "3")]
    written_from: Vec<u8>,
    /// Over what it wrote of the archive.
    #[prost(bytes = "vec", tag = "4")]
    written: Vec<u8>,
}

/// What the store holds, as far as a seal tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Sealed {
    state: Sum,
}

impl Sealed {
    /// What an open store holds.
    pub(super) fn of(db: &sled::Db) -> sled::Result<Self> {
        let mut state = Sum::default();
        for item in db.scan_prefix([STATE_PREFIX]) {
            let (key, value) = item?;
            state.add(&key, &value);
        }
        for key in [KEY_APPLIED, KEY_MEMBERSHIP] {
            if let Some(value) = db.get(key)? {
                state.add(key, &value);
            }
        }
        Ok(Self { state })
    }

    /// Adds to a batch the seal of what the store will hold after it.
    pub(super) fn seal(mut self, db: &sled::Db, changes: &mut Changes) -> sled::Result<Self> {
        let mut written = Sum::default();
        let mut written_from = None;
        for (key, value) in changes.iter() {
            if key[0] == EVENT_PREFIX {
                let Some(value) = value else { continue };
                written.add(key, value);
                // Changes come in the order of their keys.
                written_from.get_or_insert(key);
                continue;
            }
            if !is_sealed(key) {
                continue;
            }
            if let Some(old) = db.get(key)? {
                self.state.remove(key, &old);
            }
            if let Some(value) = value {
                self.state.add(key, value);
            }
        }
        let record = SealRecord {
            state: self.state.0.to_be_bytes().to_vec(),
            archive_begins: archive_begins(db, changes)?,
            written_from: written_from.unwrap_or_default().to_vec(),
            written: written.0.to_be_bytes().to_vec(),
        };
        changes.put(KEY_SEAL, record.encode_to_vec());
        Ok(self)
    }

    /// Reads the seal of an open store and compares it with what the store holds.
    ///
    /// # Errors
    /// [`StoreError::Unsealed`] when a part of the last batch is missing.
    pub(super) fn check(db: &sled::Db) -> Result<Self, StoreError> {
        let unsealed = |problem: &str| StoreError::Unsealed(problem.to_owned());
        let seal = db.get(KEY_SEAL)?.ok_or_else(|| unsealed("it has no seal"))?;
        let seal = SealRecord::decode(&*seal).map_err(|error| unsealed(&format!("its seal: {error}")))?;
        let found = Self::of(db)?;
        if found.state.0.to_be_bytes()[..] != seal.state {
            return Err(unsealed("its rows are not those of its seal"));
        }
        let begins = db.scan_prefix([EVENT_PREFIX]).keys().next().transpose()?.unwrap_or_default();
        if begins != seal.archive_begins {
            return Err(unsealed("its archive does not begin where its seal says"));
        }
        let mut written = Sum::default();
        if !seal.written_from.is_empty() {
            for item in db.range(seal.written_from..vec![EVENT_PREFIX + 1]) {
                let (key, value) = item?;
                written.add(&key, &value);
            }
        }
        if written.0.to_be_bytes()[..] != seal.written {
            return Err(unsealed("its archive does not end as its seal says"));
        }
        Ok(found)
    }
}

/// Whether the seal's sum has this item in it.
fn is_sealed(key: &[u8]) -> bool {
    key[0] == STATE_PREFIX || key == KEY_APPLIED || key == KEY_MEMBERSHIP
}

/// Where the archive will begin after these changes.
fn archive_begins(db: &sled::Db, changes: &Changes) -> sled::Result<Vec<u8>> {
    let mut kept = None;
    for key in db.scan_prefix([EVENT_PREFIX]).keys() {
        let key = key?;
        if !changes.removes(&key) {
            kept = Some(key.to_vec());
            break;
        }
    }
    let mut added = changes.iter().filter(|(key, value)| key[0] == EVENT_PREFIX && value.is_some());
    let added = added.next().map(|(key, _)| key.to_vec());
    Ok(kept.into_iter().chain(added).min().unwrap_or_default())
}
