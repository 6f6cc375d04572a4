//! `map_values` of a table and its relatives: another value for each row.

use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::operators::table_outputs::{Sender, TableOutputs};
use crate::operators::table_state::{Rows, TableState};
use crate::processor::{AnyReceiver, Receiver};
use crate::record::{Change, Record};
use crate::types::NodeId;

struct TableMapValues<K, V, V2, F> {
    node: NodeId,
    mapper: Arc<F>,
    send_old: bool,
    rows: Option<Rows<K, V2>>,
    outputs: TableOutputs<K, V2>,
    input: PhantomData<fn(V)>,
}

/// Builds a node that maps the values of a table, missing ones included: `None` is no row.
pub(crate) fn factory<K, V, V2, F>(
    node: NodeId,
    state: Arc<TableState>,
    mapper: Arc<F>,
) -> NodeFactory
where
    K: Hash + Eq + Clone + 'static,
    V: 'static,
    V2: Clone + 'static,
    F: Fn(&K, Option<V>) -> Option<V2> + Send + Sync + 'static,
{
    Arc::new(move |parts| {
        let (rows, send_old) = (state.open(parts), state.sends_old());
        let sender = Sender::new(node, send_old);
        AnyReceiver::new(TableMapValues {
            node,
            mapper: Arc::clone(&mapper),
            send_old,
            outputs: TableOutputs::of_rows(parts, sender, rows.as_ref()),
            rows,
            input: PhantomData,
        })
    })
}

impl<K, V, V2, F> Receiver<K, Change<V>> for TableMapValues<K, V, V2, F>
where
    K: Hash + Eq + Clone + 'static,
    V2: Clone + 'static,
    F: Fn(&K, Option<V>) -> Option<V2>,
{
    fn receive(&mut self, record: Record<K, Change<V>>, context: &mut Context) -> Step {
        context.enter(self.node);
        let record = record.map_value(|key, change| {
            let new = (self.mapper)(key, change.new);
            let old = match &self.rows {
                _ if !self.send_old => None,
                Some(rows) => rows.get(key),
                None => (self.mapper)(key, change.old),
            };
            Change { old, new, is_latest: self.rows.is_some() || change.is_latest }
        });
        if let Some(rows) = &self.rows {
            rows.put(&record.key, record.value.new.as_ref(), record.timestamp);
        }
        self.outputs.update(record.timestamp, record, context)
    }
}
