//! Headwater: Kafka Streams for Rust, with its own log inside.
//!
//! This package is the way in; it re-exports the parts:
//!
//! - [`topology`]: `StreamsBuilder`, `KStream`, `KTable` and what runs them, exactly once.
//! - [`log_store`]: an embedded, partitioned, append-only commit log with transactions, in a folder.
//! - [`connectors`]: sources that bring the outside into a log, exactly once.
//! - `cli` (feature `cli`): the command line, for a program of your own.
//! - [`prelude`]: what most programs import.
//!
#![doc = include_str!("../README.md")]

pub mod prelude;

#[cfg(feature = "cli")]
pub use headwater_cli as cli;
pub use headwater_connectors as connectors;
pub use headwater_log_store as log_store;
pub use headwater_topology as topology;
