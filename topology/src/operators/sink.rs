//! A sink: records into a topic.

use std::sync::Arc;

use crate::context::{Context, SinkTarget, Step};
use crate::graph::node::NodeFactory;
use crate::processor::{AnyReceiver, Receiver};
use crate::record::Record;
use crate::serdes::SerdeRef;
use crate::types::{NodeId, TopicRef};

struct Sink<K, V> {
    node: NodeId,
    target: SinkTarget,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
    /// Which partition a value goes to, where its key does not decide that.
    partition_of: Option<fn(&V) -> u32>,
}

/// Builds a sink for that topic, where the values say which partition they go to.
pub(crate) fn partitioned<K: 'static, V: 'static>(
    node: NodeId,
    topic: TopicRef,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
    partition_of: fn(&V) -> u32,
) -> NodeFactory {
    build(node, topic, key_serde, value_serde, Some(partition_of))
}

/// Builds a sink for that topic.
pub(crate) fn factory<K: 'static, V: 'static>(
    node: NodeId,
    topic: TopicRef,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
) -> NodeFactory {
    build(node, topic, key_serde, value_serde, None)
}

fn build<K: 'static, V: 'static>(
    node: NodeId,
    topic: TopicRef,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
    partition_of: Option<fn(&V) -> u32>,
) -> NodeFactory {
    Arc::new(move |parts| {
        AnyReceiver::new(Sink {
            node,
            target: SinkTarget { topic: parts.topic(&topic), writer: topic.internal },
            key_serde: Arc::clone(&key_serde),
            value_serde: Arc::clone(&value_serde),
            partition_of,
        })
    })
}

impl<K: 'static, V: 'static> Receiver<K, V> for Sink<K, V> {
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        context.enter(self.node);
        let partition = self.partition_of.map(|partition_of| partition_of(&record.value));
        let serdes = (&*self.key_serde, &*self.value_serde);
        context.send_typed(&self.target, serdes, &record, partition)
    }
}
