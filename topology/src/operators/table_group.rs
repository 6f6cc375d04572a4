//! `group_by` of a table: each row's change goes to the groups of its old and its new value.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::{Change, Record};
use crate::serdes::SerdeRef;
use crate::types::NodeId;

struct TableGroup<K, V, K2, V2, F> {
    node: NodeId,
    mapper: Arc<F>,
    serdes: (SerdeRef<K2>, SerdeRef<V2>),
    outputs: Outputs<K2, Change<V2>>,
    input: PhantomData<fn(K, V)>,
}

/// Builds a node that sends each change under its group: one record where old and new value are of
/// one group, else the old one first. What has no group, or a null key or value, is left out.
pub(crate) fn factory<K, V, K2, V2, F>(
    node: NodeId,
    serdes: (SerdeRef<K2>, SerdeRef<V2>),
    mapper: F,
) -> NodeFactory
where
    K: 'static,
    V: 'static,
    K2: Eq + Clone + 'static,
    V2: Clone + 'static,
    F: Fn(&K, &V) -> Option<(K2, V2)> + Send + Sync + 'static,
{
    let mapper = Arc::new(mapper);
    Arc::new(move |parts| {
        AnyReceiver::new(TableGroup {
            node,
            mapper: Arc::clone(&mapper),
            serdes: serdes.clone(),
            outputs: parts.outputs(),
            input: PhantomData,
        })
    })
}

impl<K, V, K2, V2, F> Receiver<K, Change<V>> for TableGroup<K, V, K2, V2, F>
where
    K2: Eq + Clone + 'static,
    V2: Clone + 'static,
    F: Fn(&K, &V) -> Option<(K2, V2)>,
{
    fn receive(&mut self, record: Record<K, Change<V>>, context: &mut Context) -> Step {
        context.enter(self.node);
        let Record { key, value: change, timestamp, headers } = record;
        if !change.is_latest {
            // A group is made of the newest rows.
            return Ok(());
        }
        let group = |value: Option<V>| {
            (self.mapper)(&key, &value?).filter(|(group, value)| {
                !self.serdes.0.is_null(group) && !self.serdes.1.is_null(value)
            })
        };
        let (old, new) = (group(change.old), group(change.new));
        match (old, new) {
            (Some((key, old)), Some((new_key, new))) if key == new_key => {
                let value = Change::latest(Some(old), Some(new));
                self.outputs.forward(Record { key, value, timestamp, headers }, context)
            }
            (old, new) => {
                if let Some((key, old)) = old {
                    let (value, headers) = (Change::latest(Some(old), None), headers.clone());
                    self.outputs.forward(Record { key, value, timestamp, headers }, context)?;
                }
                if let Some((key, new)) = new {
                    let value = Change::latest(None, Some(new));
                    self.outputs.forward(Record { key, value, timestamp, headers }, context)?;
                }
                Ok(())
            }
        }
    }
}
