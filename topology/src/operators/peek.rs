//! `peek` and `for_each`: look at records.

use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::Record;
use crate::types::NodeId;

struct Peek<K, V, F> {
    node: NodeId,
    action: Arc<F>,
    outputs: Outputs<K, V>,
}

/// Builds a node that shows each record to `action` and passes it on, if anything follows.
pub(crate) fn factory<K, V, F>(node: NodeId, action: F) -> NodeFactory
where
    K: Clone + 'static,
    V: Clone + 'static,
    F: Fn(&K, &V) + Send + Sync + 'static,
{
    let action = Arc::new(action);
    Arc::new(move |parts| {
        let outputs = parts.outputs();
        AnyReceiver::new(Peek { node, action: Arc::clone(&action), outputs })
    })
}

impl<K: Clone, V: Clone, F: Fn(&K, &V)> Receiver<K, V> for Peek<K, V, F> {
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        self.receive_from(&mut Some(record), context)
    }

    fn receive_from(&mut self, slot: &mut Option<Record<K, V>>, context: &mut Context) -> Step {
        context.enter(self.node);
        if let Some(record) = slot {
            (self.action)(&record.key, &record.value);
        }
        self.outputs.forward_from(slot, context)
    }
}
