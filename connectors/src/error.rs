//! The one error type of the crate.

use std::io;
use std::path::PathBuf;

/// The result of every operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong between the outside and the log.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log refused or failed.
    #[error("connector {connector}: {operation}")]
    Log {
        /// The connector's name.
        connector: String,
        /// What was being done, with the place in the source where there is one.
        operation: String,
        /// The log's error.
        source: Box<headwater_log_store::Error>,
    },
    /// A stored position cannot be understood.
    #[error("the stored position of {of} cannot be used: {reason}")]
    InvalidPosition {
        /// The connector or the source.
        of: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file cannot be opened.
    #[error("cannot open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file cannot be read on, or holds a line that is too long.
    #[error("cannot read {path} line {line}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// The system's or the decoder's error.
        source: io::Error,
    },
    /// A file is not the one that the position was noted for: it ends before it, or the position
    /// is in the middle of a line.
    #[error(
        "{path} has changed since it was read up to line {line}, byte {position}: {reason}; its \
         lines cannot be told apart from those that were read"
    )]
    FileChanged {
        /// The file.
        path: PathBuf,
        /// How many lines had been read.
        line: u64,
        /// How many bytes had been read, after decompression.
        position: u64,
        /// How it shows.
        reason: &'static str,
    },
    /// A [`Source`](crate::Source) of your own cannot be read.
    #[error("cannot read {place}")]
    Source {
        /// The place outside: a queue, a table, an address.
        place: String,
        /// What its client says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
