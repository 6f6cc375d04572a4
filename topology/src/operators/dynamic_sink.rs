//! A sink that chooses a topic for each record.

use std::collections::HashMap;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::error_handler::{FailedOutput, FailureKind};
use crate::graph::node::NodeFactory;
use crate::partitioner::PartitionerRef;
use crate::processor::{AnyReceiver, Receiver};
use crate::producing::SinkTarget;
use crate::record::Record;
use crate::serdes::SerdeRef;
use crate::types::NodeId;

struct DynamicSink<K, V, F> {
    node: NodeId,
    extractor: Arc<F>,
    /// The topics that were written to, as they are in the log.
    targets: HashMap<String, SinkTarget>,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
    partitioner: Option<PartitionerRef<K, V>>,
}

/// Builds a sink whose topics `extractor` names.
pub(crate) fn factory<K, V, F>(
    node: NodeId,
    extractor: F,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
    partitioner: Option<PartitionerRef<K, V>>,
) -> NodeFactory
where
    K: 'static,
    V: 'static,
    F: Fn(&K, &V) -> String + Send + Sync + 'static,
{
    let extractor = Arc::new(extractor);
    Arc::new(move |_| {
        AnyReceiver::new(DynamicSink {
            node,
            extractor: Arc::clone(&extractor),
            targets: HashMap::new(),
            key_serde: Arc::clone(&key_serde),
            value_serde: Arc::clone(&value_serde),
            partitioner: partitioner.clone(),
        })
    })
}

impl<K, V, F> Receiver<K, V> for DynamicSink<K, V, F>
where
    K: 'static,
    V: 'static,
    F: Fn(&K, &V) -> String,
{
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        context.enter(self.node);
        let topic = (self.extractor)(&record.key, &record.value);
        let target = match self.targets.get(&topic) {
            Some(target) => target,
            None => match context.find_topic(&topic) {
                Ok(found) => {
                    let target = SinkTarget { topic: found, writer: false };
                    self.targets.entry(topic).or_insert(target)
                }
                Err(reason) => {
                    let output = FailedOutput::to(&topic);
                    return context.fail_to_produce(FailureKind::Production, reason, output);
                }
            },
        };
        let serdes = (&*self.key_serde, &*self.value_serde);
        context.send_typed(target, serdes, &record, self.partitioner.as_ref())
    }
}
