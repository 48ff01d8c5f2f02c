//! The bytes of version 1, for ever.

use bytes::Bytes;

use super::{
    super::{
        Record,
        format::{BatchBuffer, END_MARK_BYTES, SegmentHeader},
        segment::FileKind,
    },
    open, small,
};
use crate::disk::memory::MemoryDisk;

const SALT: u64 = 0x1122_3344_5566_7788;

/// A segment with two batches and every kind of record.
const GOLDEN: &str = "\
    51554f5257414c0a010000000000000001000000000000008877665544332211\
    0001000000000000000000000000000000000000000000000000000051e58ccd\
    37000000c67be51c010000000000000088776655443322110400000036b1c9a4\
    050100000000000000020304000000766f746501070000000000000005000000\
    736576656e010800000000000000050000006569676874001900000063f95a75\
    02000000000000008877665544332211020000000b94f7c60308000000000000\
    0004060000000000000003000000736978000000000000000000000000000000\
    000000000000000000000000000000000000000000000000";

fn golden() -> Vec<u8> {
    let digits = GOLDEN.as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn reads_a_segment_of_version_1() {
    let disk = MemoryDisk::new();
    let name = FileKind::Log.file_name(1);
    disk.folder().create(&name).unwrap();
    disk.tamper(&name, |bytes| *bytes = golden());
    let (_, recovered) = open(&disk.copy(), &small()).unwrap();
    assert_eq!(recovered.entries.into_iter().collect::<Vec<_>>(), [(7, Bytes::from_static(b"seven"))]);
    assert_eq!(recovered.metas.into_iter().collect::<Vec<_>>(), [(3, Bytes::from_static(b"vote"))]);
    assert_eq!(recovered.purged, Some((6, Bytes::from_static(b"six"))));
    assert_eq!(recovered.torn, None);
}

#[test]
fn writes_version_1_byte_for_byte() {
    let mut bytes = SegmentHeader { number: 1, salt: SALT, capacity_bytes: 256 }.encode().to_vec();
    let mut batch = BatchBuffer::default();
    batch.begin(1000);
    batch.push_floor(1);
    batch.push(&Record::Meta { key: 3, data: Bytes::from_static(b"vote") });
    batch.push(&Record::Entry { index: 7, data: Bytes::from_static(b"seven") });
    batch.push(&Record::Entry { index: 8, data: Bytes::from_static(b"eight") });
    let first = batch.finish(1, SALT);
    bytes.extend_from_slice(&first[..first.len() - END_MARK_BYTES]);
    batch.begin(1000);
    batch.push(&Record::TruncateFrom { index: 8 });
    batch.push(&Record::PurgeTo { index: 6, data: Bytes::from_static(b"six") });
    bytes.extend_from_slice(batch.finish(2, SALT));
    assert_eq!(bytes, golden());
}
