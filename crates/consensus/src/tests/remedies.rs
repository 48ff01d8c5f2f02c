//! What an operator is told to do when a data folder cannot be opened.

use crate::{FolderError, folder::remedy};
use std::{io, path::Path};

#[test]
fn each_error_of_a_folder_that_an_operator_can_mend_says_how() {
    for (errno, words) in [
        (13, "give it to the user that this process runs as"),
        (17, "a file stands where a folder belongs"),
        (20, "a file stands where a folder belongs"),
        (2, "its path leads nowhere"),
        (21, "a folder stands where a file belongs"),
        (30, "mount its file system for writing"),
        (24, "raise the limit of open files"),
        (23, "raise the limit of open files"),
        (28, "make room"),
        (122, "make room"),
    ] {
        let source = io::Error::from_raw_os_error(errno);
        let said = remedy(&source);
        assert!(said.starts_with("; ") && said.contains(words), "{source}: {said:?}");
        let error = FolderError::io(Path::new("/data"), "opening or making it")(source).to_string();
        assert!(error.starts_with("data_dir /data: ") && error.ends_with(said), "{error}");
    }
    assert_eq!(remedy(&io::Error::from_raw_os_error(5)), "", "nothing is known to do");
}
