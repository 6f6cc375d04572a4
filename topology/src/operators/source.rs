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

impl<K: Clone + 'static, V: Clone + 'static> Source for TypedSource<K, V> {
    fn load(
        &mut self,
        view: &RecordView<'_>,
        partition_time: Option<Timestamp>,
        context: &mut Context,
    ) -> Step<Option<Timestamp>> {
        context.enter(self.options.node);
        let decoded =
            decode(&*self.options.key_serde, view.key, DropReason::NullKey).and_then(|key| {
                Ok((key, decode(&*self.options.value_serde, view.value, DropReason::NullValue)?))
            });
        let (key, value) = match decoded {
            Ok(decoded) => decoded,
            Err((dropped, kind, reason)) => {
                context.fail_as(dropped, kind, reason)?;
                return Ok(None);
            }
        };
        let extractor = &self.options.extractor;
        let timestamp = match extractor.extract(&key, &value, view.timestamp, partition_time) {
            Extracted::Time(timestamp) => timestamp,
            Extracted::Skip => {
                context.drop_record(DropReason::InvalidTimestamp);
                return Ok(None);
            }
            Extracted::Fail => {
                let reason = format!("its timestamp {} is negative", view.timestamp);
                context.fail(FailureKind::Deserialization, reason)?;
                return Ok(None);
            }
        };
        // What comes from a repartition topic was taken before.
        if let Some(reason) = context.too_far_ahead(timestamp).filter(|_| !self.options.repartition)
        {
            context.fail_as(DropReason::InvalidTimestamp, FailureKind::Deserialization, reason)?;
            return Ok(None);
        }
        let headers = source_headers(view, self.options.repartition);
        self.head = Some(Record { key, value, timestamp, headers });
        Ok(Some(timestamp))
    }

    fn process(&mut self, context: &mut Context) -> Step {
        match self.head.take() {
            Some(record) => self.outputs.forward(record, context),
            None => Ok(()),
        }
    }

    fn clear(&mut self) {
        self.head = None;
    }
}

fn decode<T: 'static>(
    serde: &dyn Serde<T>,
    bytes: Option<&[u8]>,
    if_null: DropReason,
) -> Result<T, (DropReason, FailureKind, BoxError)> {
    let what = if if_null == DropReason::NullKey { "key" } else { "value" };
    match bytes {
        Some(bytes) => serde.deserialize(bytes).map_err(|error| {
            let reason = format!("{what}: {error}").into();
            (DropReason::Failed, FailureKind::Deserialization, reason)
        }),
        None => serde
            .null()
            .ok_or_else(|| (if_null, FailureKind::Null, format!("its {what} is null").into())),
    }
}
