//! The state as rows of bytes: what the state store keeps by key, what a snapshot file lists, and what the digest is
//! taken over. One shape for all three, so that they cannot disagree.
//!
//! A key is a letter for the table and the record's own key; a value is the record in `MessagePack` with field names, so
//! that fields can be added later. What is derived is not stored.

use crate::{
    coordinator::Coordinator,
    disk::Disk,
    group::Group,
    host::Host,
    ids::{CoordinatorId, DiskId, GroupId, HostId, OperationId},
    operation::Operation,
    request::RequestPage,
    state::{Cluster, State},
};
use imbl::{OrdMap, ordmap::DiffItem};
use md5::{Digest, Md5};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt::Write as _, sync::Arc};

/// A key and its bytes.
pub type Row = (Vec<u8>, Vec<u8>);
/// A key and its new bytes; none when it is gone.
pub type RowChange = (Vec<u8>, Option<Vec<u8>>);

/// A row that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("state row {key:?}: {problem}")]
pub struct BadRow {
    /// The key, as far as it is text.
    pub key: String,
    /// What is wrong with it.
    pub problem: String,
}

/// A kind of record and where its rows live.
trait Table: Serialize + DeserializeOwned {
    const LETTER: u8;
}

macro_rules! tables {
    ($($record:ty => $letter:literal),* $(,)?) => { $(impl Table for $record { const LETTER: u8 = $letter; })* };
}
tables!(
    Cluster => b'c', Disk => b'd', Group => b'g', Host => b'h', Coordinator => b'm', Operation => b'o', RequestPage => b'q'
);

/// The part of a row's key that follows the letter.
trait RowKey {
    fn row_key(&self) -> Vec<u8>;
}

impl RowKey for HostId {
    fn row_key(&self) -> Vec<u8> {
        self.as_str().as_bytes().to_vec()
    }
}
impl RowKey for GroupId {
    fn row_key(&self) -> Vec<u8> {
        self.as_str().as_bytes().to_vec()
    }
}
impl RowKey for DiskId {
    fn row_key(&self) -> Vec<u8> {
        self.to_string().into_bytes()
    }
}
impl RowKey for CoordinatorId {
    fn row_key(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
}
impl RowKey for OperationId {
    fn row_key(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
}
impl RowKey for u64 {
    fn row_key(&self) -> Vec<u8> {
        self.to_be_bytes().to_vec()
    }
}

fn key<T: Table>(rest: &impl RowKey) -> Vec<u8> {
    let mut key = vec![T::LETTER];
    key.extend(rest.row_key());
    key
}

fn value<T: Table>(record: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(record).expect("records of strings, numbers and maps always have bytes")
}

fn read<T: Table>(row: &[u8], bytes: &[u8]) -> Result<T, BadRow> {
    rmp_serde::from_slice(bytes).map_err(|error| bad_row(row, error.to_string()))
}

fn bad_row(key: &[u8], problem: String) -> BadRow {
    BadRow { key: String::from_utf8_lossy(key).into_owned(), problem }
}

fn table_rows<K: Ord + Clone + RowKey, T: Table>(map: &OrdMap<K, Arc<T>>) -> impl Iterator<Item = Row> {
    map.iter().map(|(id, record)| (key::<T>(id), value(record.as_ref())))
}

fn table_changes<K: Ord + Clone + RowKey, T: Table + PartialEq>(
    changes: &mut Vec<RowChange>,
    old: &OrdMap<K, Arc<T>>,
    new: &OrdMap<K, Arc<T>>,
) where
    Arc<T>: PartialEq,
{
    for item in old.diff(new) {
        changes.push(match item {
            DiffItem::Add(id, record) | DiffItem::Update { new: (id, record), .. } => {
                (key::<T>(id), Some(value(record.as_ref())))
            }
            DiffItem::Remove(id, _) => (key::<T>(id), None),
        });
    }
}

impl State {
    /// Every row, table by table, in order within each.
    pub fn rows(&self) -> impl Iterator<Item = Row> {
        let rows = self.all_rows();
        #[cfg(planted)]
        let rows = rows.filter(|(key, _)| {
            !crate::planted::is(crate::planted::Bug::SnapshotWithoutRequests) || key[0] != RequestPage::LETTER
        });
        rows
    }

    fn all_rows(&self) -> impl Iterator<Item = Row> {
        std::iter::once((vec![Cluster::LETTER], value(self.cluster.as_ref())))
            .chain(table_rows(&self.disks))
            .chain(table_rows(&self.groups))
            .chain(table_rows(&self.hosts))
            .chain(table_rows(&self.coordinators))
            .chain(table_rows(&self.operations))
            .chain(table_rows(self.requests.pages()))
    }

    /// The rows that differ from an earlier state. Parts that both share are not looked at.
    pub fn changes_since(&self, earlier: &Self) -> Vec<RowChange> {
        let mut changes = Vec::new();
        if !Arc::ptr_eq(&self.cluster, &earlier.cluster) {
            changes.push((vec![Cluster::LETTER], Some(value(self.cluster.as_ref()))));
        }
        table_changes(&mut changes, &earlier.disks, &self.disks);
        table_changes(&mut changes, &earlier.groups, &self.groups);
        table_changes(&mut changes, &earlier.hosts, &self.hosts);
        table_changes(&mut changes, &earlier.coordinators, &self.coordinators);
        table_changes(&mut changes, &earlier.operations, &self.operations);
        table_changes(&mut changes, earlier.requests.pages(), self.requests.pages());
        changes
    }

    /// Puts a state together from its rows, in any order.
    ///
    /// # Errors
    /// [`BadRow`] for the first row that is not one of ours.
    pub fn from_rows<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        rows: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, BadRow> {
        let mut state = Self::default();
        for (key, bytes) in rows {
            state.put_row(key.as_ref(), bytes.as_ref())?;
        }
        state.reindex();
        Ok(state)
    }

    fn put_row(&mut self, key: &[u8], bytes: &[u8]) -> Result<(), BadRow> {
        match key.first() {
            Some(&Cluster::LETTER) => self.cluster = Arc::new(read(key, bytes)?),
            Some(&Disk::LETTER) => {
                let record: Disk = read(key, bytes)?;
                self.disks.insert(record.id.clone(), Arc::new(record));
            }
            Some(&Group::LETTER) => {
                let record: Group = read(key, bytes)?;
                self.groups.insert(record.id.clone(), Arc::new(record));
            }
            Some(&Host::LETTER) => {
                let record: Host = read(key, bytes)?;
                self.hosts.insert(record.id.clone(), Arc::new(record));
            }
            Some(&Coordinator::LETTER) => {
                let record: Coordinator = read(key, bytes)?;
                self.coordinators.insert(record.id, Arc::new(record));
            }
            Some(&Operation::LETTER) => {
                let record: Operation = read(key, bytes)?;
                self.operations.insert(record.id, Arc::new(record));
            }
            Some(&RequestPage::LETTER) => {
                let number = key[1..]
                    .try_into()
                    .map(u64::from_be_bytes)
                    .map_err(|_| bad_row(key, "a request row's key is 'q' and eight bytes".into()))?;
                self.requests.insert_page(number, read(key, bytes)?);
            }
            _ => {
                return Err(bad_row(
                    key,
                    "no table has this letter; was it written by a newer version?".into(),
                ));
            }
        }
        Ok(())
    }

    /// The digest of all rows, with its algorithm: two coordinators at the same applied index must show the same.
    pub fn digest(&self) -> String {
        let mut md5 = Md5::new();
        for (key, value) in self.rows() {
            for part in [key, value] {
                md5.update((part.len() as u64).to_be_bytes());
                md5.update(part);
            }
        }
        let digest: [u8; 16] = md5.finalize().into();
        digest.iter().fold(String::from("md5:"), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}
