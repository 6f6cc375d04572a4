//! The side output of an aggregation: the records that it drops, with the reason.

use headwater_log_store::Timestamp;

use crate::context::{Context, Step};
use crate::metrics::DropReason;
use crate::processor::{Outputs, TaskParts};
use crate::record::{Headers, Record};
use crate::window::windowed::Window;

/// A record that a windowed aggregation has dropped: see
/// [`TimeWindowedKStream::with_dropped_records`](crate::TimeWindowedKStream::with_dropped_records).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DroppedRecord<V> {
    /// The record's value.
    pub value: V,
    /// Why it was dropped.
    pub reason: DropReason,
    /// The window that was closed already, if the record was late.
    pub window: Option<Window>,
    /// The latest time of a record that the aggregation had seen, if the record was late.
    pub stream_time: Option<Timestamp>,
}

/// Where and when a record is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lateness {
    pub(crate) window: Window,
    pub(crate) stream_time_ms: i64,
}

/// Counts what is dropped, and sends it to the side output if there is one.
pub(crate) struct DroppedOutput<K, V>(Option<Outputs<K, DroppedRecord<V>>>);

impl<K: Clone + 'static, V: Clone + 'static> DroppedOutput<K, V> {
    pub(crate) fn new(parts: &mut TaskParts) -> Self {
        Self(parts.side_outputs())
    }

    /// A record has no key or no value where one is needed.
    pub(crate) fn drop_null(
        &mut self,
        record: &Record<K, V>,
        reason: DropReason,
        context: &mut Context,
    ) -> Step {
        let Record { key, value, timestamp, headers } = record;
        self.drop(reason, None, || (key, value, *timestamp, headers), context)
    }

    /// A record is late for a window.
    pub(crate) fn drop_late<'a>(
        &mut self,
        lateness: Lateness,
        record: impl FnOnce() -> (&'a K, &'a V, Timestamp, &'a Headers),
        context: &mut Context,
    ) -> Step {
        self.drop(DropReason::Late, Some(lateness), record, context)
    }

    fn drop<'a>(
        &mut self,
        reason: DropReason,
        lateness: Option<Lateness>,
        record: impl FnOnce() -> (&'a K, &'a V, Timestamp, &'a Headers),
        context: &mut Context,
    ) -> Step {
        context.drop_record(reason);
        let Some(outputs) = &mut self.0 else { return Ok(()) };
        let (key, value, timestamp, headers) = record();
        let value = DroppedRecord {
            value: value.clone(),
            reason,
            window: lateness.map(|lateness| lateness.window),
            stream_time: lateness.map(|lateness| Timestamp::from_millis(lateness.stream_time_ms)),
        };
        let (key, headers) = (key.clone(), headers.clone());
        outputs.forward(Record { key, value, timestamp, headers }, context)
    }
}
