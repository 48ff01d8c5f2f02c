//! What verbs show, from fixed values.

mod documents;
mod fixed;
mod foreign;
mod tables;

use super::*;

#[test]
fn a_closed_reader_is_no_error_and_a_full_disk_is() {
    let broken = |kind: io::ErrorKind| taken(Err(io::Error::from(kind)));
    assert_eq!(taken(Ok(())).unwrap(), Reader::There);
    assert_eq!(broken(io::ErrorKind::BrokenPipe).unwrap(), Reader::Gone);
    assert_eq!(broken(io::ErrorKind::StorageFull).unwrap_err().kind(), io::ErrorKind::StorageFull);
}

#[test]
fn data_is_written_whole() {
    let mut sink = Vec::new();
    write(&mut sink, "a\nb\n").unwrap();
    assert_eq!(sink, b"a\nb\n");
}
