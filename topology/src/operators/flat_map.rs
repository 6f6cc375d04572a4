//! `flat_map` and `flat_map_values`: one record in, any number out.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::Record;
use crate::types::NodeId;

struct FlatMap<K, V, K2, V2, F> {
    node: NodeId,
    mapper: Arc<F>,
    outputs: Outputs<K2, V2>,
    input: PhantomData<fn(K, V)>,
}

/// Builds a node that sends on each pair that the mapper returns, in order.
pub(crate) fn factory<K, V, K2, V2, I, F>(node: NodeId, mapper: F) -> NodeFactory
where
    K: 'static,
    V: 'static,
    K2: Clone + 'static,
    V2: Clone + 'static,
    I: IntoIterator<Item = (K2, V2)> + 'static,
    F: Fn(K, V) -> I + Send + Sync + 'static,
{
    let mapper = Arc::new(mapper);
    Arc::new(move |parts| {
        let outputs = parts.outputs();
        AnyReceiver::new(FlatMap { node, mapper: Arc::clone(&mapper), outputs, input: PhantomData })
    })
}

impl<K, V, K2, V2, I, F> Receiver<K, V> for FlatMap<K, V, K2, V2, F>
where
    K2: Clone,
    V2: Clone,
    I: IntoIterator<Item = (K2, V2)>,
    F: Fn(K, V) -> I,
{
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        context.enter(self.node);
        let Record { key, value, timestamp, headers } = record;
        let mut pairs = (self.mapper)(key, value).into_iter();
        loop {
            // The iterator is the user's code as well, and may run between two children.
            context.enter(self.node);
            let Some((key, value)) = pairs.next() else { return Ok(()) };
            let headers = headers.clone();
            self.outputs.forward(Record { key, value, timestamp, headers }, context)?;
        }
    }
}
