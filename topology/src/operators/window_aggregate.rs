//! Aggregations per key and tumbling window.

use std::cell::RefCell;
use std::hash::Hash;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::metrics::DropReason;
use crate::operators::aggregate::{Adder, AggregateOptions};
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::{Change, Record};
use crate::store::table::ValueAndTimestamp;
use crate::store::window_store::WindowStore;
use crate::window::{TimeWindows, Windowed};

use std::sync::atomic::Ordering;

struct WindowAggregate<K, V, A, F> {
    options: Arc<AggregateOptions<K, V, A>>,
    windows: TimeWindows,
    send_old: bool,
    add: Arc<F>,
    store: Rc<RefCell<WindowStore<K, A>>>,
    outputs: Outputs<Windowed<K>, Change<A>>,
    input: PhantomData<fn(V)>,
}

/// Builds a windowed aggregation. Null keys are dropped, null values are not; records of windows
/// that stream time has left behind by the grace are dropped and counted as late.
pub(crate) fn factory<K, V, A, F>(
    options: AggregateOptions<K, V, A>,
    windows: TimeWindows,
    add: F,
) -> NodeFactory
where
    K: Hash + Eq + Clone + 'static,
    V: 'static,
    A: Clone + 'static,
    F: Adder<K, V, A>,
{
    let (options, add) = (Arc::new(options), Arc::new(add));
    Arc::new(move |parts| {
        AnyReceiver::new(WindowAggregate {
            send_old: options.send_old.load(Ordering::Relaxed),
            store: parts.store(&options.store),
            outputs: parts.outputs(),
            options: Arc::clone(&options),
            windows,
            add: Arc::clone(&add),
            input: PhantomData,
        })
    })
}

impl<K, V, A, F> Receiver<K, V> for WindowAggregate<K, V, A, F>
where
    K: Hash + Eq + Clone + 'static,
    V: 'static,
    A: Clone + 'static,
    F: Adder<K, V, A>,
{
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        if self.options.key_serde.is_null(&record.key) {
            context.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let Record { key, value, timestamp, headers } = record;
        let window = self.windows.window_for(timestamp);
        let (change, timestamp) = {
            let mut store = self.store.borrow_mut();
            let observed = store.observe(timestamp);
            let closed_ms = observed.as_millis().saturating_sub(self.windows.grace_ms());
            if window.end_ms <= closed_ms {
                context.drop_record(DropReason::Late);
                return Ok(());
            }
            let slot = store.change(&key, window.start_ms);
            let (old, timestamp) = match slot.take() {
                Some(old) => (Some(old.value), timestamp.max(old.timestamp)),
                None => (None, timestamp),
            };
            let old_to_send = if self.send_old { old.clone() } else { None };
            // A null is no aggregate but the lack of one: the next record is the first again.
            let new = (self.add)(&key, value, old)
                .filter(|new| !self.options.aggregate_serde.is_null(new));
            *slot = new.clone().map(|value| ValueAndTimestamp { value, timestamp });
            (Change { old: old_to_send, new }, timestamp)
        };
        let record = Record { key: Windowed { key, window }, value: change, timestamp, headers };
        self.outputs.forward(record, context)
    }
}
