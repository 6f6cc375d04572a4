//! `merge`: several streams become one, record by record.

use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::Record;

struct Merge<K, V> {
    outputs: Outputs<K, V>,
}

/// Builds a node that passes records on.
pub(crate) fn factory<K: Clone + 'static, V: Clone + 'static>() -> NodeFactory {
    Arc::new(|parts| AnyReceiver::new(Merge::<K, V> { outputs: parts.outputs() }))
}

impl<K: Clone, V: Clone> Receiver<K, V> for Merge<K, V> {
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        self.outputs.forward(record, context)
    }

    fn receive_from(&mut self, slot: &mut Option<Record<K, V>>, context: &mut Context) -> Step {
        self.outputs.forward_from(slot, context)
    }
}
