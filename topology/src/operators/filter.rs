//! `filter` and `filter_not`: keep or drop records.

use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::Record;
use crate::types::NodeId;

struct Filter<K, V, F> {
    node: NodeId,
    predicate: Arc<F>,
    outputs: Outputs<K, V>,
}

/// Builds a filter that keeps what `predicate` answers with `true`.
pub(crate) fn factory<K, V, F>(node: NodeId, predicate: F) -> NodeFactory
where
    K: Clone + 'static,
    V: Clone + 'static,
    F: Fn(&K, &V) -> bool + Send + Sync + 'static,
{
    let predicate = Arc::new(predicate);
    Arc::new(move |parts| {
        let outputs = parts.outputs();
        AnyReceiver::new(Filter { node, predicate: Arc::clone(&predicate), outputs })
    })
}

impl<K: Clone, V: Clone, F: Fn(&K, &V) -> bool> Receiver<K, V> for Filter<K, V, F> {
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        self.receive_from(&mut Some(record), context)
    }

    fn receive_from(&mut self, slot: &mut Option<Record<K, V>>, context: &mut Context) -> Step {
        context.enter(self.node);
        match slot {
            Some(record) if (self.predicate)(&record.key, &record.value) => {
                self.outputs.forward_from(slot, context)
            }
            _ => Ok(()),
        }
    }
}
