//! What a connector is: the trait that a place outside implements.

use std::collections::BTreeMap;
use std::fmt;

use headwater_log_store::Record;
use serde_json::Value;

use crate::error::Result;

/// Names what a source reads, in the words of Kafka Connect: `{"filename": "web.log"}`.
pub type SourcePartition = BTreeMap<String, Value>;

/// How far a source has been read, in the words of Kafka Connect: `{"position": 4711}`.
pub type SourceOffset = BTreeMap<String, Value>;

/// A place outside that records come from, one after the other, always in the same order.
///
/// The runner calls [`start`](Self::start) first, and [`offset`](Self::offset) only between
/// records; whatever the source returned up to then has been taken.
pub trait Source: Send + fmt::Debug {
    /// What is read: together with the connector's name the key of the stored position.
    fn partition(&self) -> SourcePartition;

    /// Goes to the place that `offset` names, or with `None` to the beginning.
    ///
    /// # Errors
    /// The source cannot be opened, or is not what the offset was noted for.
    fn start(&mut self, offset: Option<&SourceOffset>) -> Result<()>;

    /// The next record; `None` if there is none for now.
    ///
    /// # Errors
    /// The source cannot be read; the error names the place.
    fn next_record(&mut self) -> Result<Option<Record<'_>>>;

    /// The place after the last record that was returned: where a later run goes on.
    fn offset(&self) -> SourceOffset;

    /// The place of the last record that was returned, for an error about it: `web.log line 17`.
    fn place(&self) -> String;
}
