//! A source: records off the log, decoded and given their event time.

use std::sync::Arc;

use headwater_log_store::{RecordView, Timestamp};

use crate::context::{Context, Step, source_headers};
use crate::error::BoxError;
use crate::error_handler::FailureKind;
use crate::graph::node::SourceFactory;
use crate::metrics::DropReason;
use crate::processor::{Outputs, Source};
use crate::record::Record;
use crate::serdes::{Serde, SerdeRef};
use crate::time::{Extracted, TimestampExtractor};
use crate::types::NodeId;

/// How a source reads its topics.
pub(crate) struct SourceOptions<K, V> {
    pub(crate) node: NodeId,
    pub(crate) key_serde: SerdeRef<K>,
    pub(crate) value_serde: SerdeRef<V>,
    pub(crate) extractor: TimestampExtractor<K, V>,
    /// Whether it reads a repartition topic.
    pub(crate) repartition: bool,
}

struct TypedSource<K, V> {
    options: Arc<SourceOptions<K, V>>,
    head: Option<Record<K, V>>,
    outputs: Outputs<K, V>,
}

/// Builds the source of a queue.
pub(crate) fn factory<K, V>(options: SourceOptions<K, V>) -> SourceFactory
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    let options = Arc::new(options);
    Arc::new(move |parts| {
        let outputs = parts.outputs();
        Box::new(TypedSource { options: Arc::clone(&options), head: None, outputs })
    })
}

impl<K: Clone + 'static, V: Clone + 'static> TypedSource<K, V> {
    /// Decodes a record into a slot, which stays empty if the record was dropped.
    #[inline(always)]
    fn read(
        options: &SourceOptions<K, V>,
        slot: &mut Option<Record<K, V>>,
        view: &RecordView<'_>,
        partition_time: Option<Timestamp>,
        context: &mut Context,
    ) -> Step {
        let SourceOptions { node, key_serde, value_serde, extractor, repartition } = options;
        context.enter(*node);
        let key = match decode(&**key_serde, view.key) {
            Ok(key) => key,
            Err(reason) => return refuse("key", DropReason::NullKey, reason, context),
        };
        let value = match decode(&**value_serde, view.value) {
            Ok(value) => value,
            Err(reason) => return refuse("value", DropReason::NullValue, reason, context),
        };
        let timestamp = match extractor.extract(&key, &value, view.timestamp, partition_time) {
            Extracted::Time(timestamp) => timestamp,
            Extracted::Skip => {
                context.drop_record(DropReason::InvalidTimestamp);
                return Ok(());
            }
            Extracted::Fail => {
                let reason = format!("its timestamp {} is negative", view.timestamp);
                return context.fail(FailureKind::Deserialization, reason);
            }
        };
        // What comes from a repartition topic was taken before.
        if let Some(reason) = context.too_far_ahead(timestamp).filter(|_| !repartition) {
            let dropped = DropReason::InvalidTimestamp;
            return context.fail_as(dropped, FailureKind::Deserialization, reason);
        }
        let headers = source_headers(view, *repartition);
        *slot = Some(Record { key, value, timestamp, headers });
        Ok(())
    }
}

impl<K: Clone + 'static, V: Clone + 'static> Source for TypedSource<K, V> {
    fn load(
        &mut self,
        view: &RecordView<'_>,
        partition_time: Option<Timestamp>,
        context: &mut Context,
    ) -> Step<Option<Timestamp>> {
        self.head = None;
        Self::read(&self.options, &mut self.head, view, partition_time, context)?;
        Ok(self.head.as_ref().map(|record| record.timestamp))
    }

    fn process(&mut self, context: &mut Context) -> Step {
        match self.head.take() {
            Some(record) => self.outputs.forward(record, context),
            None => Ok(()),
        }
    }

    fn pass(
        &mut self,
        view: &RecordView<'_>,
        partition_time: Option<Timestamp>,
        context: &mut Context,
    ) -> Step<Option<Timestamp>> {
        let mut slot = None;
        Self::read(&self.options, &mut slot, view, partition_time, context)?;
        let Some(Record { timestamp, .. }) = slot else { return Ok(None) };
        context.current.stream_time = context.current.stream_time.max(Some(timestamp));
        self.outputs.forward_from(&mut slot, context)?;
        Ok(Some(timestamp))
    }

    fn clear(&mut self) {
        self.head = None;
    }
}

/// Decodes a key or a value. The inner error is that of the serde; none is a null where the type
/// has none.
#[inline]
fn decode<T: 'static>(serde: &dyn Serde<T>, bytes: Option<&[u8]>) -> Result<T, Option<BoxError>> {
    match bytes {
        Some(bytes) => serde.deserialize(bytes).map_err(Some),
        None => serde.null().ok_or(None),
    }
}

/// Deals with a record whose key or value could not be decoded.
#[cold]
fn refuse(
    what: &str,
    if_null: DropReason,
    reason: Option<BoxError>,
    context: &mut Context,
) -> Step {
    match reason {
        Some(error) => {
            let reason = format!("{what}: {error}");
            context.fail_as(DropReason::Failed, FailureKind::Deserialization, reason)
        }
        None => context.fail_as(if_null, FailureKind::Null, format!("its {what} is null")),
    }
}
