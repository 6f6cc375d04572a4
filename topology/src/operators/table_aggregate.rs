//! Aggregations of a grouped table: a changed row is first taken out of its group, then put in.

use std::cell::RefCell;
use std::hash::Hash;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::operators::table_outputs::{Sender, TableOutputs};
use crate::operators::table_state::TableState;
use crate::processor::{AnyReceiver, Receiver};
use crate::record::{Change, Record};
use crate::serdes::SerdeRef;
use crate::store::key_value::KeyValueStore;
use crate::store::table::ValueAndTimestamp;
use crate::types::NodeId;

/// What an aggregation of a table needs beside its closures.
pub(crate) struct TableAggregateOptions<A> {
    pub(crate) node: NodeId,
    pub(crate) aggregate_serde: SerdeRef<A>,
    pub(crate) state: Arc<TableState>,
}

struct TableAggregate<K, V, A, F, G> {
    options: Arc<TableAggregateOptions<A>>,
    send_old: bool,
    add: Arc<F>,
    subtract: Arc<G>,
    store: Rc<RefCell<KeyValueStore<K, A>>>,
    outputs: TableOutputs<K, A>,
    input: PhantomData<fn(V)>,
}

/// Builds an aggregation of a table. Without an aggregate there is nothing to subtract from.
pub(crate) fn factory<K, V, A, F, G>(
    options: TableAggregateOptions<A>,
    add: F,
    subtract: G,
) -> NodeFactory
where
    K: Hash + Eq + Clone + 'static,
    V: 'static,
    A: Clone + 'static,
    F: Fn(&K, V, Option<A>) -> Option<A> + Send + Sync + 'static,
    G: Fn(&K, V, A) -> Option<A> + Send + Sync + 'static,
{
    let (options, add, subtract) = (Arc::new(options), Arc::new(add), Arc::new(subtract));
    Arc::new(move |parts| {
        let store = options.state.store().expect("an aggregation has a store from the beginning");
        let store = parts.store::<KeyValueStore<K, A>>(store);
        let send_old = options.state.sends_old();
        let sender = Sender::new(options.node, send_old);
        AnyReceiver::new(TableAggregate {
            send_old,
            outputs: TableOutputs::of_store(parts, sender, &store),
            store,
            options: Arc::clone(&options),
            add: Arc::clone(&add),
            subtract: Arc::clone(&subtract),
            input: PhantomData,
        })
    })
}

impl<K, V, A, F, G> Receiver<K, Change<V>> for TableAggregate<K, V, A, F, G>
where
    K: Hash + Eq + Clone + 'static,
    A: Clone + 'static,
    F: Fn(&K, V, Option<A>) -> Option<A>,
    G: Fn(&K, V, A) -> Option<A>,
{
    fn receive(&mut self, record: Record<K, Change<V>>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        let Record { key, value: change, timestamp, headers } = record;
        let received = timestamp;
        let (change, timestamp) = {
            let mut store = self.store.borrow_mut();
            let slot = store.change(&key);
            let (mut aggregate, timestamp) = match slot.take() {
                Some(row) => (Some(row.value), timestamp.max(row.timestamp)),
                None => (None, timestamp),
            };
            let old = if self.send_old { aggregate.clone() } else { None };
            // A null is no aggregate but the lack of one.
            let some = |aggregate: &A| !self.options.aggregate_serde.is_null(aggregate);
            if let Some(value) = change.old {
                aggregate = aggregate.and_then(|a| (self.subtract)(&key, value, a)).filter(some);
            }
            if let Some(value) = change.new {
                aggregate = (self.add)(&key, value, aggregate).filter(some);
            }
            *slot = aggregate.clone().map(|value| ValueAndTimestamp { value, timestamp });
            (Change::latest(old, aggregate), timestamp)
        };
        let record = Record { key, value: change, timestamp, headers };
        self.outputs.update(received, record, context)
    }
}
