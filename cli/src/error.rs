//! The one error type of the crate, and the exit code that goes with each error.

use std::io;

use headwater_log_store::Error as LogError;

/// The result of a command.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// What can end a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The store refused or failed.
    #[error(transparent)]
    Log(Box<LogError>),
    /// Standard output cannot be written.
    #[error("cannot write to standard output")]
    Output {
        /// The system's error.
        source: io::Error,
    },
    /// Standard input cannot be read, or holds a line that is too long.
    #[error("cannot read line {line} of standard input")]
    Input {
        /// The line, counted from 1.
        line: u64,
        /// The system's error.
        source: io::Error,
    },
    /// A line has no key although it should.
    #[error(
        "line {line} of standard input has no key separator {separator:?} (-K); the {produced} \
         lines before it were produced"
    )]
    NoKey {
        /// The line, counted from 1.
        line: u64,
        /// What was looked for.
        separator: String,
        /// How many lines went well.
        produced: u64,
    },
    /// A line cannot be appended.
    #[error(
        "line {line} of standard input cannot be produced; the {produced} lines before it were"
    )]
    Record {
        /// The line, counted from 1.
        line: u64,
        /// How many lines went well.
        produced: u64,
        /// The log's error.
        source: Box<LogError>,
    },
    /// A bridge failed.
    #[cfg(feature = "kafka")]
    #[error(transparent)]
    Bridge(#[from] headwater_connectors::Error),
    /// The program was built without Kafka.
    #[cfg(not(feature = "kafka"))]
    #[error(
        "this program was built without Kafka: `cargo install headwater-cli --features kafka` \
         builds one with it"
    )]
    NoKafka,
    /// Signals cannot be caught.
    #[error("cannot catch Ctrl-C")]
    Signal {
        /// The system's error.
        source: ctrlc::Error,
    },
    /// `log verify` or `log repair` found damage, and has shown it.
    #[error("the store is damaged")]
    Damaged,
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// The exit code: 0 for a reader that has closed its pipe, 3 for damage that was found, 4 for a locked store, 130 after
    /// Ctrl-C, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Output { source } if source.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Log(error) if matches!(**error, LogError::Locked { .. }) => 4,
            Self::Damaged => 3,
            Self::Interrupted => 130,
            _ => 1,
        }
    }

    /// What the user can do about it, where the error alone does not say.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Log(error) if matches!(**error, LogError::NoStore { .. }) => {
                Some("-D, or HEADWATER_DIR, says which folder; `topic create` makes a store there")
            }
            _ => None,
        }
    }

    /// Whether the user is told: not of what was asked for by a closed pipe or Ctrl-C, nor of
    /// what the output has said.
    pub(crate) fn is_silent(&self) -> bool {
        matches!(self.exit_code(), 0 | 3 | 130)
    }
}

impl From<LogError> for Error {
    fn from(error: LogError) -> Self {
        Self::Log(Box::new(error))
    }
}
