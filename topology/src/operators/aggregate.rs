//! Aggregations per key: `count`, `reduce` and `aggregate` of a grouped stream.

use std::cell::RefCell;
use std::hash::Hash;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::metrics::DropReason;
use crate::operators::aggregator::Aggregator;
use crate::operators::table_outputs::{Sender, TableOutputs};
use crate::operators::table_state::TableState;
use crate::processor::{AnyReceiver, Receiver};
use crate::record::{Change, Record};
use crate::serdes::SerdeRef;
use crate::store::key_value::KeyValueStore;
use crate::store::table::ValueAndTimestamp;
use crate::types::NodeId;

/// What an aggregation needs beside its closure.
#[derive(Clone)]
pub(crate) struct AggregateOptions<K, V, A> {
    pub(crate) node: NodeId,
    pub(crate) key_serde: SerdeRef<K>,
    pub(crate) value_serde: SerdeRef<V>,
    pub(crate) aggregate_serde: SerdeRef<A>,
    pub(crate) state: Arc<TableState>,
}

impl<K, V, A> AggregateOptions<K, V, A> {
    pub(crate) fn store(&self) -> &str {
        self.state.store().expect("an aggregation has a store from the beginning")
    }
}

struct Aggregate<K, V, A, F> {
    options: Arc<AggregateOptions<K, V, A>>,
    send_old: bool,
    aggregator: Arc<F>,
    store: Rc<RefCell<KeyValueStore<K, A>>>,
    outputs: TableOutputs<K, A>,
    input: PhantomData<fn(V)>,
}

/// Builds an aggregation. Null keys and null values are dropped and counted.
pub(crate) fn factory<K, V, A, F>(options: AggregateOptions<K, V, A>, aggregator: F) -> NodeFactory
where
    K: Hash + Eq + Clone + 'static,
    V: 'static,
    A: Clone + 'static,
    F: Aggregator<K, V, A>,
{
    let (options, aggregator) = (Arc::new(options), Arc::new(aggregator));
    Arc::new(move |parts| {
        let store = parts.store::<KeyValueStore<K, A>>(options.store());
        let send_old = options.state.sends_old();
        let sender = Sender::new(options.node, send_old);
        AnyReceiver::new(Aggregate {
            send_old,
            outputs: TableOutputs::of_store(parts, sender, &store),
            store,
            options: Arc::clone(&options),
            aggregator: Arc::clone(&aggregator),
            input: PhantomData,
        })
    })
}

impl<K, V, A, F> Receiver<K, V> for Aggregate<K, V, A, F>
where
    K: Hash + Eq + Clone + 'static,
    V: 'static,
    A: Clone + 'static,
    F: Aggregator<K, V, A>,
{
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        if self.options.key_serde.is_null(&record.key) {
            context.drop_record(DropReason::NullKey);
            return Ok(());
        }
        if self.options.value_serde.is_null(&record.value) {
            context.drop_record(DropReason::NullValue);
            return Ok(());
        }
        let Record { key, value, timestamp, headers } = record;
        let received = timestamp;
        let (change, timestamp) = {
            let mut store = self.store.borrow_mut();
            let slot = store.change(&key);
            let (old, timestamp) = match slot.take() {
                Some(old) => (Some(old.value), timestamp.max(old.timestamp)),
                None => (self.aggregator.initial(), timestamp),
            };
            let old_to_send = if self.send_old { old.clone() } else { None };
            // A null is no aggregate but the lack of one: the next record is the first again.
            let mut new = self.aggregator.add(&key, value, old);
            if new.as_ref().is_some_and(|new| self.options.aggregate_serde.is_null(new)) {
                new = None;
            }
            *slot = new.clone().map(|value| ValueAndTimestamp { value, timestamp });
            (Change::latest(old_to_send, new), timestamp)
        };
        let record = Record { key, value: change, timestamp, headers };
        self.outputs.update(received, record, context)
    }
}
