//! What can end a run, and the exit code that goes with it.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;

use headwater::log_store::Error as LogError;

pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Append(#[from] headwater::connectors::Error),
    #[error(transparent)]
    Build(#[from] headwater::topology::BuildError),
    #[error(transparent)]
    Topology(#[from] headwater::topology::Error),
    #[error("cannot read {path}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("the folder was begun with another file: give each file its own --dir")]
    OtherFile,
    #[error("the settings that were noted in the folder cannot be read or written")]
    Settings { source: serde_json::Error },
    #[cfg(not(feature = "kafka"))]
    #[error(
        "--kafka needs the feature: cargo run --features kafka --example page_views -- --kafka"
    )]
    NoKafka,
    #[error("cannot write to standard output")]
    Output { source: io::Error },
    #[error("cannot catch Ctrl-C")]
    Signal { source: ctrlc::Error },
    #[error("interrupted: run the same command again to go on")]
    Interrupted,
}

impl Error {
    /// 4 for a store that another process writes, 130 after Ctrl-C, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Log(LogError::Locked { .. }) => 4,
            Self::Interrupted => 130,
            Self::Output { source } if source.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => 1,
        }
    }

    /// The error and its causes in one line.
    pub(crate) fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        line
    }
}
