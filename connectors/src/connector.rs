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
///
/// A device whose readings have numbers, and which can be asked for those from a number on:
///
/// ```
/// use std::ops::ControlFlow;
/// use std::sync::Arc;
/// use headwater_connectors::{
///     Error, Result, Source, SourceOffset, SourcePartition, SourceRunner,
/// };
/// use headwater_log_store::{Log, LogStore, NewTopic, Record};
///
/// #[derive(Debug)]
/// struct Device {
///     readings: Vec<String>,
///     next: usize,
/// }
///
/// impl Source for Device {
///     fn partition(&self) -> SourcePartition {
///         SourcePartition::from([("device".to_owned(), "d7".into())])
///     }
///
///     fn start(&mut self, offset: Option<&SourceOffset>) -> Result<()> {
///         let next = offset.map_or(Some(0), |offset| offset.get("reading")?.as_u64());
///         let next = next.and_then(|next| usize::try_from(next).ok());
///         let unreadable = || Error::Source { place: self.place(), source: "no number".into() };
///         self.next = next.ok_or_else(unreadable)?;
///         Ok(())
///     }
///
///     fn next_record(&mut self) -> Result<Option<Record<'_>>> {
///         let reading = self.readings.get(self.next);
///         self.next += usize::from(reading.is_some());
///         Ok(reading.map(|reading| Record::value(reading.as_bytes()).with_key(b"d7")))
///     }
///
///     fn offset(&self) -> SourceOffset {
///         SourceOffset::from([("reading".to_owned(), self.next.into())])
///     }
///
///     fn place(&self) -> String {
///         format!("device d7, reading {}", self.next)
///     }
/// }
///
/// # fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
/// let log: Arc<dyn Log> = Arc::new(LogStore::in_memory()?);
/// log.create_topic_if_not_exists(&NewTopic::new("readings"))?;
/// let runner = SourceRunner::new(log, "devices", "readings");
/// let mut device = Device { readings: vec!["21.5".to_owned(), "21.7".to_owned()], next: 0 };
/// assert_eq!(runner.run(&mut device, |_| ControlFlow::Continue(()))?.records, 2);
/// // Another run goes on behind what is in the log.
/// device.readings.push("21.6".to_owned());
/// assert_eq!(runner.run(&mut device, |_| ControlFlow::Continue(()))?.records, 1);
/// # Ok(())
/// # }
/// ```
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
