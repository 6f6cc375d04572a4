//! `split`: each record goes to the first branch whose predicate it satisfies.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::Record;
use crate::types::NodeId;

/// Which records a branch takes; the default branch takes all that have come so far.
pub(crate) type Predicate<K, V> = Option<Arc<dyn Fn(&K, &V) -> bool + Send + Sync>>;

/// The predicates of the branches in order, written as branches are added below the node.
pub(crate) type Predicates<K, V> = Arc<Mutex<Vec<Predicate<K, V>>>>;

struct Branch<K, V> {
    node: NodeId,
    branches: Vec<(Predicate<K, V>, Outputs<K, V>)>,
}

/// Builds a node with a branch for each predicate. What satisfies none is dropped.
pub(crate) fn factory<K: Clone + 'static, V: Clone + 'static>(
    node: NodeId,
    predicates: Predicates<K, V>,
) -> NodeFactory {
    Arc::new(move |parts| {
        let children = parts.each_output();
        let branches = predicates.lock().iter().cloned().zip(children).collect();
        AnyReceiver::new(Branch { node, branches })
    })
}

impl<K: Clone, V: Clone> Receiver<K, V> for Branch<K, V> {
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        context.enter(self.node);
        let matches = |predicate: &Predicate<K, V>| {
            predicate.as_ref().is_none_or(|predicate| predicate(&record.key, &record.value))
        };
        match self.branches.iter_mut().find(|(predicate, _)| matches(predicate)) {
            Some((_, outputs)) => outputs.forward(record, context),
            None => Ok(()),
        }
    }
}
