//! `map`, `map_values`, `select_key` and their fallible forms: one record in, one record out.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::error::BoxError;
use crate::error_handler::FailureKind;
use crate::graph::node::NodeFactory;
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::Record;
use crate::types::NodeId;

struct Map<K, V, K2, V2, F> {
    node: NodeId,
    mapper: Arc<F>,
    outputs: Outputs<K2, V2>,
    input: PhantomData<fn(K, V)>,
}

/// Builds a node that maps key and value.
pub(crate) fn factory<K, V, K2, V2, F>(node: NodeId, mapper: F) -> NodeFactory
where
    K: 'static,
    V: 'static,
    K2: Clone + 'static,
    V2: Clone + 'static,
    F: Fn(K, V) -> (K2, V2) + Send + Sync + 'static,
{
    let mapper = Arc::new(mapper);
    Arc::new(move |parts| {
        let outputs = parts.outputs();
        AnyReceiver::new(Map { node, mapper: Arc::clone(&mapper), outputs, input: PhantomData })
    })
}

impl<K, V, K2, V2, F> Receiver<K, V> for Map<K, V, K2, V2, F>
where
    K2: Clone,
    V2: Clone,
    F: Fn(K, V) -> (K2, V2),
{
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        self.receive_from(&mut Some(record), context)
    }

    fn receive_from(&mut self, slot: &mut Option<Record<K, V>>, context: &mut Context) -> Step {
        context.enter(self.node);
        let Some(Record { key, value, timestamp, headers }) = slot.take() else { return Ok(()) };
        let (key, value) = (self.mapper)(key, value);
        self.outputs.forward(Record { key, value, timestamp, headers }, context)
    }
}

struct TryMap<K, V, K2, V2, F> {
    node: NodeId,
    mapper: Arc<F>,
    outputs: Outputs<K2, V2>,
    input: PhantomData<fn(K, V)>,
}

/// Builds a node that maps key and value and may fail, which is for the processing handler.
pub(crate) fn try_factory<K, V, K2, V2, F>(node: NodeId, mapper: F) -> NodeFactory
where
    K: 'static,
    V: 'static,
    K2: Clone + 'static,
    V2: Clone + 'static,
    F: Fn(K, V) -> Result<(K2, V2), BoxError> + Send + Sync + 'static,
{
    let mapper = Arc::new(mapper);
    Arc::new(move |parts| {
        let outputs = parts.outputs();
        AnyReceiver::new(TryMap { node, mapper: Arc::clone(&mapper), outputs, input: PhantomData })
    })
}

impl<K, V, K2, V2, F> Receiver<K, V> for TryMap<K, V, K2, V2, F>
where
    K2: Clone,
    V2: Clone,
    F: Fn(K, V) -> Result<(K2, V2), BoxError>,
{
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        context.enter(self.node);
        let Record { key, value, timestamp, headers } = record;
        match (self.mapper)(key, value) {
            Ok((key, value)) => {
                self.outputs.forward(Record { key, value, timestamp, headers }, context)
            }
            Err(error) => context.fail(FailureKind::Processing, error),
        }
    }
}
