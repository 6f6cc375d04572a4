//! Joins of a stream with a table: each record of the stream looks at the row as it is now.

use std::marker::PhantomData;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::metrics::DropReason;
use crate::operators::value_getter::{ValueGetter, View};
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::Record;
use crate::serdes::SerdeRef;
use crate::types::NodeId;

/// What the table says about a record of the stream.
pub(crate) enum Lookup<V2> {
    /// The record has no key to look up.
    NullKey,
    /// The row, if there is one.
    Row(Option<V2>),
}

/// What a join of a stream with a table needs beside its closures.
pub(crate) struct StreamTableJoinOptions<V, K2, V2> {
    pub(crate) node: NodeId,
    pub(crate) value_serde: SerdeRef<V>,
    pub(crate) table: View<K2, V2>,
    /// Whether a record without a key to look up is joined with nothing, or dropped.
    pub(crate) left: bool,
}

struct StreamTableJoin<K, V, K2, V2, R, L, J> {
    options: Arc<StreamTableJoinOptions<V, K2, V2>>,
    rows: Box<dyn ValueGetter<K2, V2>>,
    look_up: Arc<L>,
    join: Arc<J>,
    outputs: Outputs<K, R>,
    input: PhantomData<fn(K, V)>,
}

/// Builds a join. `look_up` finds the row of a record; where `join` gives no result, nothing is
/// sent. Null values are dropped and counted, and so are null keys, but for a left join.
pub(crate) fn factory<K, V, K2, V2, R, L, J>(
    options: StreamTableJoinOptions<V, K2, V2>,
    look_up: L,
    join: J,
) -> NodeFactory
where
    K: Clone + 'static,
    V: 'static,
    K2: 'static,
    V2: 'static,
    R: Clone + 'static,
    L: Fn(&Record<K, V>, &dyn ValueGetter<K2, V2>) -> Lookup<V2> + Send + Sync + 'static,
    J: Fn(&K, V, Option<V2>) -> Option<R> + Send + Sync + 'static,
{
    let (options, look_up, join) = (Arc::new(options), Arc::new(look_up), Arc::new(join));
    Arc::new(move |parts| {
        AnyReceiver::new(StreamTableJoin {
            rows: options.table.open(parts),
            options: Arc::clone(&options),
            look_up: Arc::clone(&look_up),
            join: Arc::clone(&join),
            outputs: parts.outputs(),
            input: PhantomData,
        })
    })
}

impl<K, V, K2, V2, R, L, J> Receiver<K, V> for StreamTableJoin<K, V, K2, V2, R, L, J>
where
    K: Clone,
    V: 'static,
    R: Clone,
    L: Fn(&Record<K, V>, &dyn ValueGetter<K2, V2>) -> Lookup<V2>,
    J: Fn(&K, V, Option<V2>) -> Option<R>,
{
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        if self.options.value_serde.is_null(&record.value) {
            context.drop_record(DropReason::NullValue);
            return Ok(());
        }
        let row = match (self.look_up)(&record, self.rows.as_ref()) {
            Lookup::Row(row) => row,
            Lookup::NullKey if self.options.left => None,
            Lookup::NullKey => {
                context.drop_record(DropReason::NullKey);
                return Ok(());
            }
        };
        let Record { key, value, timestamp, headers } = record;
        match (self.join)(&key, value, row) {
            Some(value) => self.outputs.forward(Record { key, value, timestamp, headers }, context),
            None => Ok(()),
        }
    }
}
