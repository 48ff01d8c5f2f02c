//! What can go wrong, while writing and at open.

use std::{io, path::PathBuf, sync::Arc};

use crate::disk::Folder;

/// Why an append was not acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WalError {
    /// The first I/O error of this log; everything after it is refused with the same value.
    #[error(
        "could not {operation} {}; the log takes nothing more: stop the process, check the disk, start it again",
        file.display()
    )]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file or folder it was tried on.
        file: PathBuf,
        /// What the system answered.
        #[source]
        source: Arc<io::Error>,
    },
    /// One append, or one meta or purge in it, is larger than the log takes. Nothing was written; the log goes on.
    #[error("{what} of {size_bytes} bytes is over the log's limit of {limit_bytes} bytes; split it")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// Its size.
        size_bytes: usize,
        /// The limit that it is over.
        limit_bytes: usize,
    },
    /// A thread of the log is gone without having said why.
    #[error("the {thread} thread of the log is gone; the log takes nothing more: restart the process")]
    Stopped {
        /// Which thread.
        thread: &'static str,
    },
}

/// Why a log was not opened. Nothing on disk was changed, except that a torn tail may have been cut.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option that makes no log.
    #[error("log option {field}: {reason}")]
    Options {
        /// The option.
        field: &'static str,
        /// What it must be.
        reason: String,
    },
    /// The system refused, or the log's threads could not be started.
    #[error(transparent)]
    Io(#[from] WalError),
    /// The folder is open already.
    #[error("{} is locked: another process has this log open; stop it, or use another folder", file.display())]
    Locked {
        /// The lock file.
        file: PathBuf,
    },
    /// Written by a later version of this program.
    #[error(
        "{}, offset 8: log format version {found} is not known here (this program reads version {known}); start the \
         version that wrote it",
        file.display()
    )]
    UnknownVersion {
        /// The segment file.
        file: PathBuf,
        /// The version in its header.
        found: u32,
        /// The version that this program reads.
        known: u32,
    },
    /// Damage that no crash can explain: opening would lose what was acknowledged.
    #[error(
        "{}, offset {offset}: {reason}; the log is corrupt and is not opened, since acknowledged records would \
         be lost: bring this coordinator back under a new node id with an empty data_dir",
        file.display()
    )]
    Corrupt {
        /// The segment file.
        file: PathBuf,
        /// Where in it, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        reason: String,
    },
}

/// Turns an I/O error of one file into the log's error.
pub(crate) fn io_error(
    folder: &dyn Folder,
    operation: &'static str,
    name: &str,
) -> impl FnOnce(io::Error) -> WalError {
    move |source| WalError::Io { operation, file: folder.path(name), source: Arc::new(source) }
}
