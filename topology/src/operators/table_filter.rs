//! `filter` and `filter_not` of a table: what is rejected becomes a tombstone.

use std::hash::Hash;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::operators::table_outputs::{Sender, TableOutputs};
use crate::operators::table_state::{Rows, TableState};
use crate::processor::{AnyReceiver, Receiver};
use crate::record::{Change, Record};
use crate::types::NodeId;

struct TableFilter<K, V, F> {
    node: NodeId,
    predicate: Arc<F>,
    /// Whether the table above keeps versions: its records out of order are told on in any case.
    above_versioned: bool,
    send_old: bool,
    rows: Option<Rows<K, V>>,
    outputs: TableOutputs<K, V>,
}

/// Builds a filter of a table. Where the old value is known and was rejected as well, nothing is
/// sent.
pub(crate) fn factory<K, V, F>(
    node: NodeId,
    state: Arc<TableState>,
    above_versioned: bool,
    predicate: Arc<F>,
) -> NodeFactory
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
    F: Fn(&K, &V) -> bool + Send + Sync + 'static,
{
    Arc::new(move |parts| {
        let (rows, send_old) = (state.open(parts), state.sends_old());
        let sender = Sender::new(node, send_old);
        AnyReceiver::new(TableFilter {
            node,
            predicate: Arc::clone(&predicate),
            above_versioned,
            send_old,
            outputs: TableOutputs::of_rows(parts, sender, rows.as_ref()),
            rows,
        })
    })
}

impl<K, V, F> Receiver<K, Change<V>> for TableFilter<K, V, F>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
    F: Fn(&K, &V) -> bool,
{
    fn receive(&mut self, record: Record<K, Change<V>>, context: &mut Context) -> Step {
        context.enter(self.node);
        let record = record.map_value(|key, change| {
            let passed = |value: &V| (self.predicate)(key, value);
            let old = match &self.rows {
                _ if !self.send_old => None,
                Some(rows) => rows.get(key),
                None => change.old.filter(passed),
            };
            Change {
                old,
                new: change.new.filter(passed),
                is_latest: self.rows.is_some() || change.is_latest,
            }
        });
        let known = self.send_old && !self.above_versioned;
        if known && record.value.old.is_none() && record.value.new.is_none() {
            return Ok(());
        }
        if let Some(rows) = &self.rows {
            rows.put(&record.key, record.value.new.as_ref(), record.timestamp);
        }
        self.outputs.update(record.timestamp, record, context)
    }
}
