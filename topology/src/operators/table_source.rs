//! The head of a table: records become the rows of their keys, whatever their times.

use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::metrics::DropReason;
use crate::operators::table_outputs::{Sender, TableOutputs};
use crate::operators::table_state::{Rows, TableState};
use crate::processor::{AnyReceiver, Receiver};
use crate::record::{Change, Record};
use crate::serdes::SerdeRef;
use crate::store::versioned::Put;
use crate::types::NodeId;

struct TableSource<K, V, I> {
    node: NodeId,
    key_serde: SerdeRef<K>,
    send_old: bool,
    rows: Option<Rows<K, V>>,
    outputs: TableOutputs<K, V>,
    input: PhantomData<fn(I)>,
}

/// Builds a node that takes each record for the new row of its key, or for its removal. Null keys
/// are dropped and counted.
pub(crate) fn factory<K, V, I>(
    node: NodeId,
    key_serde: SerdeRef<K>,
    state: Arc<TableState>,
) -> NodeFactory
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
    I: Into<Option<V>> + 'static,
{
    Arc::new(move |parts| {
        let (rows, send_old) = (state.open(parts), state.sends_old());
        let sender = Sender::new(node, send_old);
        AnyReceiver::new(TableSource::<K, V, I> {
            node,
            key_serde: Arc::clone(&key_serde),
            send_old,
            outputs: TableOutputs::of_rows(parts, sender, rows.as_ref()),
            rows,
            input: PhantomData,
        })
    })
}

impl<K, V, I> Receiver<K, I> for TableSource<K, V, I>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
    I: Into<Option<V>>,
{
    fn receive(&mut self, record: Record<K, I>, context: &mut Context) -> Step {
        context.enter(self.node);
        if self.key_serde.is_null(&record.key) {
            context.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let record = record.map_value(|_, value| value.into());
        let (mut old, mut is_latest) = (None, true);
        if let Some(rows) = &self.rows {
            if self.send_old {
                old = rows.get(&record.key);
            }
            match rows.put(&record.key, record.value.as_ref(), record.timestamp) {
                Put::Latest => {}
                Put::OutOfOrder => is_latest = false,
                Put::TooOld => {
                    context.drop_record(DropReason::Late);
                    return Ok(());
                }
            }
        }
        let record = record.map_value(|_, new| Change { old, new, is_latest });
        self.outputs.update(record.timestamp, record, context)
    }
}
