//! Connectors bring the outside into a log, exactly once.
//!
//! A [`Source`] knows one place outside and hands out its records with their position. A
//! [`SourceRunner`] moves them into a topic: each batch of records and the position after it are
//! one transaction, so a run that is killed at any moment is continued by the next one, without
//! loss and without a duplicate.
//!
//! [`FileSource`] reads the lines of a text file, plain or gzip. A [`Bridge`] mirrors topics of one log in another,
//! in the same way.
mod error;
mod connector;
mod position;
mod runner;
pub mod file;
pub mod bridge;
#[cfg(feature = "kafka")]
pub mod kafka;

pub use bridge::{Bridge, BridgeProgress, PartitionProgress};
pub use connector::{Source, SourceOffset, SourcePartition};
pub use error::{Error, Result};
pub use file::FileSource;
#[cfg(feature = "kafka")]
pub use kafka::{KafkaLog, KafkaLogBuilder};
pub use position::CONNECT_OFFSETS_TOPIC;
pub use runner::{Progress, SourceRunner};
