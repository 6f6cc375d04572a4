//! Table operators without a store: `filter`, `map_values` and `to_stream`.

use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::{Change, Record};
use crate::types::NodeId;

struct TableFilter<K, V, F> {
    node: NodeId,
    predicate: Arc<F>,
    /// Whether the table above sends old values.
    old_known: bool,
    outputs: Outputs<K, Change<V>>,
}

/// Builds a filter of a table: what it rejects becomes a tombstone. Where the old value is known
/// and was rejected as well, nothing is sent.
pub(crate) fn filter<K, V, F>(node: NodeId, old_known: bool, predicate: F) -> NodeFactory
where
    K: Clone + 'static,
    V: Clone + 'static,
    F: Fn(&K, &V) -> bool + Send + Sync + 'static,
{
    let predicate = Arc::new(predicate);
    Arc::new(move |parts| {
        let outputs = parts.outputs();
        AnyReceiver::new(TableFilter {
            node,
            predicate: Arc::clone(&predicate),
            old_known,
            outputs,
        })
    })
}

impl<K: Clone, V: Clone, F: Fn(&K, &V) -> bool> Receiver<K, Change<V>> for TableFilter<K, V, F> {
    fn receive(&mut self, record: Record<K, Change<V>>, context: &mut Context) -> Step {
        context.enter(self.node);
        let record = record.with_value(|key, change| Change {
            old: change.old.filter(|old| (self.predicate)(key, old)),
            new: change.new.filter(|new| (self.predicate)(key, new)),
        });
        if self.old_known && record.value.old.is_none() && record.value.new.is_none() {
            return Ok(());
        }
        self.outputs.forward(record, context)
    }
}

struct TableMapValues<K, V2, F> {
    node: NodeId,
    mapper: Arc<F>,
    outputs: Outputs<K, Change<V2>>,
}

/// Builds a node that maps the values of a table; tombstones pass.
pub(crate) fn map_values<K, V, V2, F>(node: NodeId, mapper: F) -> NodeFactory
where
    K: Clone + 'static,
    V: 'static,
    V2: Clone + 'static,
    F: Fn(&K, V) -> Option<V2> + Send + Sync + 'static,
{
    let mapper = Arc::new(mapper);
    Arc::new(move |parts| {
        let outputs = parts.outputs();
        AnyReceiver::new::<K, Change<V>>(TableMapValues {
            node,
            mapper: Arc::clone(&mapper),
            outputs,
        })
    })
}

impl<K, V, V2, F> Receiver<K, Change<V>> for TableMapValues<K, V2, F>
where
    K: Clone,
    V2: Clone,
    F: Fn(&K, V) -> Option<V2>,
{
    fn receive(&mut self, record: Record<K, Change<V>>, context: &mut Context) -> Step {
        context.enter(self.node);
        let record = record.with_value(|key, change| Change {
            old: change.old.and_then(|old| (self.mapper)(key, old)),
            new: change.new.and_then(|new| (self.mapper)(key, new)),
        });
        self.outputs.forward(record, context)
    }
}

struct ToStream<K, V> {
    outputs: Outputs<K, Option<V>>,
}

/// Builds a node that sends each change of a table as a record; a tombstone is `None`.
pub(crate) fn to_stream<K: Clone + 'static, V: Clone + 'static>() -> NodeFactory {
    Arc::new(|parts| {
        AnyReceiver::new::<K, Change<V>>(ToStream::<K, V> { outputs: parts.outputs() })
    })
}

impl<K: Clone, V: Clone> Receiver<K, Change<V>> for ToStream<K, V> {
    fn receive(&mut self, record: Record<K, Change<V>>, context: &mut Context) -> Step {
        self.outputs.forward(record.with_value(|_, change| change.new), context)
    }
}
