//! A sink: records into a topic.

use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::partitioner::PartitionerRef;
use crate::processor::{AnyReceiver, Receiver};
use crate::producing::SinkTarget;
use crate::record::Record;
use crate::serdes::SerdeRef;
use crate::types::{NodeId, TopicRef};

struct Sink<K, V> {
    node: NodeId,
    target: SinkTarget,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
    partitioner: Option<PartitionerRef<K, V>>,
}

/// Builds a sink for that topic, which writes where the partitioner says, if there is one.
pub(crate) fn factory<K: 'static, V: 'static>(
    node: NodeId,
    topic: TopicRef,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
    partitioner: Option<PartitionerRef<K, V>>,
) -> NodeFactory {
    Arc::new(move |parts| {
        AnyReceiver::new(Sink {
            node,
            target: SinkTarget { topic: parts.topic(&topic), writer: topic.internal },
            key_serde: Arc::clone(&key_serde),
            value_serde: Arc::clone(&value_serde),
            partitioner: partitioner.clone(),
        })
    })
}

impl<K: 'static, V: 'static> Receiver<K, V> for Sink<K, V> {
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        self.receive_from(&mut Some(record), context)
    }

    fn receive_from(&mut self, slot: &mut Option<Record<K, V>>, context: &mut Context) -> Step {
        context.enter(self.node);
        let Some(record) = slot else { return Ok(()) };
        let serdes = (&*self.key_serde, &*self.value_serde);
        context.send_typed(&self.target, serdes, record, self.partitioner.as_ref())
    }
}
