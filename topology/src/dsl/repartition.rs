//! Repartition steps: a filter and a sink into an internal topic, and the source that reads it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::dsl::options::KeyValueSerdes;
use crate::dsl::scope::Scope;
use crate::graph::naming::RepartitionNames;
use crate::graph::node::NodeKind;
use crate::operators::{repartition, sink, source};
use crate::partitioner::PartitionerRef;
use crate::serdes::pair_format;
use crate::time::TimestampExtractor;
use crate::types::{NodeId, TopicRef};

/// Takes the records of a node through a topic, so that those of one key come to one task. A step
/// that is there already is used again. Returns the source.
pub(crate) fn repartition<K, V>(
    scope: &Scope,
    above: NodeId,
    names: RepartitionNames,
    serdes: &KeyValueSerdes<K, V>,
) -> NodeId
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    repartition_by(scope, above, names, serdes, None)
}

/// As [`repartition`], with a partitioner if there is one.
pub(crate) fn repartition_by<K, V>(
    scope: &Scope,
    above: NodeId,
    names: RepartitionNames,
    serdes: &KeyValueSerdes<K, V>,
    partitioner: Option<PartitionerRef<K, V>>,
) -> NodeId
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    if let Some(source) = scope.find_repartition(above, &names.topic) {
        return source;
    }
    let (key_serde, value_serde) = (Arc::clone(&serdes.key), Arc::clone(&serdes.value));
    let null_keys_pass = Arc::new(AtomicBool::new(false));
    let factory =
        repartition::key_filter::<K, V>(Arc::clone(&key_serde), Arc::clone(&null_keys_pass));
    let kind = NodeKind::Processor { stores: Vec::new(), factory };
    let filter = scope.add_node(names.filter, &[above], kind);
    let topic = TopicRef::internal(names.topic);
    let factory = sink::factory(
        scope.next_id(),
        topic.clone(),
        Arc::clone(&key_serde),
        Arc::clone(&value_serde),
        partitioner,
    );
    let format = pair_format(&*key_serde, &*value_serde);
    let kind = NodeKind::Sink { topic: topic.clone(), format, factory };
    scope.add_node(names.sink, &[filter], kind);
    let factory = source::factory(source::SourceOptions {
        node: scope.next_id(),
        key_serde,
        value_serde,
        extractor: TimestampExtractor::record_time(),
        repartition: true,
    });
    let name = topic.name.clone();
    let kind = NodeKind::Source { topics: vec![topic], reset: None, factory };
    let source = scope.add_node(names.source, &[], kind);
    scope.add_repartition(source, above, name, null_keys_pass);
    source
}
