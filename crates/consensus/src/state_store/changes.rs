//! What one batch changes, before sled gets it: sled's own batch cannot be looked into.

/// Keys and their new values; none for a key that goes. A later change of a key takes the place of an earlier one.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes(std::collections::BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl Changes {
    pub(super) fn put(&mut self, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.0.insert(key.into(), Some(value.into()));
    }

    pub(super) fn remove(&mut self, key: impl Into<Vec<u8>>) {
        self.0.insert(key.into(), None);
    }

    /// Whether a key goes.
    pub(super) fn removes(&self, key: &[u8]) -> bool {
        matches!(self.0.get(key), Some(None))
    }

    /// In order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.0.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    pub(super) fn into_batch(self) -> sled::Batch {
        let mut batch = sled::Batch::default();
        for (key, value) in self.0 {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch
    }
}
