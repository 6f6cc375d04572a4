//! Headwater: Kafka Streams for Rust, with its own log inside.
//!
//! This package is the way in; it re-exports the parts:
//!
//! - [`log_store`]: an embedded, partitioned, append-only commit log with transactions, in a folder.
//! - [`connectors`]: sources that bring the outside into a log, exactly once.
//! - [`prelude`]: what most programs import.

pub mod prelude;

pub use headwater_connectors as connectors;
pub use headwater_log_store as log_store;
