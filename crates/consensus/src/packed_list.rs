//! A `MessagePack` list whose items are written one by one, into memory that is used again.

use serde::Serialize;

/// What a list begins with whose length has four bytes.
const ARRAY_32: u8 = 0xdd;
const HEADER_BYTES: usize = 5;

/// The list so far.
#[derive(Debug, Clone)]
pub(crate) struct PackedList {
    bytes: Vec<u8>,
    items: u32,
}

impl Default for PackedList {
    fn default() -> Self {
        Self { bytes: vec![ARRAY_32, 0, 0, 0, 0], items: 0 }
    }
}

impl PackedList {
    /// Adds an item, with its fields' names.
    pub(crate) fn push(&mut self, item: &impl Serialize) {
        rmp_serde::encode::write_named(&mut self.bytes, item)
            .expect("items of strings, numbers and maps always have bytes");
        self.count_one();
    }

    /// Adds an item that has its bytes already.
    pub(crate) fn push_encoded(&mut self, item: &[u8]) {
        self.bytes.extend_from_slice(item);
        self.count_one();
    }

    fn count_one(&mut self) {
        self.items += 1;
        self.bytes[1..HEADER_BYTES].copy_from_slice(&self.items.to_be_bytes());
    }

    /// How many items it has.
    pub(crate) fn len(&self) -> usize {
        self.items as usize
    }

    /// The list as it is now.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Empties it; its memory stays.
    pub(crate) fn clear(&mut self) {
        self.bytes.truncate(HEADER_BYTES);
        self.items = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_as_the_items_that_were_pushed_before_and_after_it_was_emptied() {
        let mut list = PackedList::default();
        for wanted in [vec![], vec!["a", "bb"], vec![""; 300]] {
            list.clear();
            for (number, item) in wanted.iter().enumerate() {
                if number % 2 == 0 {
                    list.push(item);
                } else {
                    list.push_encoded(&rmp_serde::to_vec_named(item).unwrap());
                }
            }
            assert_eq!(list.len(), wanted.len());
            assert_eq!(rmp_serde::from_slice::<Vec<&str>>(list.bytes()).unwrap(), wanted);
        }
    }
}
