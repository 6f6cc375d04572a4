//! `to_stream` of a table: each change is a record.

use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::{Change, Record};

struct ToStream<K, V> {
    outputs: Outputs<K, Option<V>>,
}

/// Builds a node that sends each change of a table as a record; a tombstone is `None`.
pub(crate) fn factory<K: Clone + 'static, V: Clone + 'static>() -> NodeFactory {
    Arc::new(|parts| {
        AnyReceiver::new::<K, Change<V>>(ToStream::<K, V> { outputs: parts.outputs() })
    })
}

impl<K: Clone, V: Clone> Receiver<K, Change<V>> for ToStream<K, V> {
    fn receive(&mut self, record: Record<K, Change<V>>, context: &mut Context) -> Step {
        self.outputs.forward(record.map_value(|_, change| change.new), context)
    }
}
