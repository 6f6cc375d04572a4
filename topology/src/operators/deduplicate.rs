//! `deduplicate`: the first record of each key within a time, and none of those that repeat it.

use std::cell::RefCell;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::metrics::DropReason;
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::Record;
use crate::serdes::SerdeRef;
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::slots::WindowStart;
use crate::store::table::ValueAndTimestamp;
use crate::types::NodeId;

/// The times of the records that were let through.
pub(crate) type SeenStore<K> = KeyedWindowStore<K, WindowStart, ()>;

struct Deduplicate<K, V> {
    node: NodeId,
    within_ms: i64,
    key_serde: SerdeRef<K>,
    seen: Rc<RefCell<SeenStore<K>>>,
    outputs: Outputs<K, V>,
}

/// Builds a node that drops what repeats a record of its key, and counts it. Null keys are dropped
/// and counted, and records so late that nobody knows any more whether they repeat something.
pub(crate) fn factory<K, V>(
    node: NodeId,
    within_ms: i64,
    store: String,
    key_serde: SerdeRef<K>,
) -> NodeFactory
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    Arc::new(move |parts| {
        AnyReceiver::new(Deduplicate::<K, V> {
            node,
            within_ms,
            key_serde: Arc::clone(&key_serde),
            seen: parts.store(&store),
            outputs: parts.outputs(),
        })
    })
}

impl<K, V> Receiver<K, V> for Deduplicate<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        context.enter(self.node);
        if self.key_serde.is_null(&record.key) {
            context.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let timestamp = record.timestamp;
        let time_ms = timestamp.as_millis();
        {
            let mut seen = self.seen.borrow_mut();
            let late = |stream_ms: i64| time_ms < stream_ms.saturating_sub(self.within_ms);
            if seen.observed_ms(0).is_some_and(late) {
                context.drop_record(DropReason::Late);
                return Ok(());
            }
            let (from_ms, to_ms) =
                (time_ms.saturating_sub(self.within_ms), time_ms.saturating_add(self.within_ms));
            seen.load(&record.key);
            if seen.rows_of(&record.key, from_ms, to_ms).next().is_some() {
                context.drop_record(DropReason::Duplicate);
                return Ok(());
            }
            // Only what is kept moves stream time on, so that a restart finds the same time.
            seen.observe(0, timestamp);
            let row = ValueAndTimestamp { value: (), timestamp };
            seen.put(&record.key, WindowStart(time_ms), Some(row));
        }
        self.outputs.forward(record, context)
    }
}
