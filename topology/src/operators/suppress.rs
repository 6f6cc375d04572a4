//! `suppress`: holds back updates of a table until their time has come, or the buffer is full.

use std::cell::RefCell;
use std::hash::Hash;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use crate::context::{Context, Step};
use crate::error::Error;
use crate::error_handler::FailureKind;
use crate::graph::node::NodeFactory;
use crate::operators::table_state::{Rows, TableState};
use crate::operators::value_getter::{ValueGetter, View};
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::{Change, Record};
use crate::store::suppress_buffer::SuppressBuffer;
use crate::store::table::ValueAndTimestamp;
use crate::types::NodeId;

use headwater_log_store::Timestamp;

/// The time that an update waits from.
type BufferTime<K> = fn(&K, Timestamp) -> i64;

/// What a suppression needs to know.
pub(crate) struct SuppressOptions<K> {
    pub(crate) node: NodeId,
    pub(crate) store: String,
    pub(crate) state: Arc<TableState>,
    pub(crate) buffer_time_ms: BufferTime<K>,
    /// An update is sent when stream time has passed its buffer time by this much.
    pub(crate) wait_ms: i64,
    pub(crate) drops_tombstones: bool,
    pub(crate) records_max: u64,
    pub(crate) bytes_max: u64,
    /// Whether a full buffer stops the application.
    pub(crate) shuts_down: bool,
}

struct Suppress<K, V> {
    options: Arc<SuppressOptions<K>>,
    buffer: Rc<RefCell<SuppressBuffer<K, V>>>,
    /// The rows that were sent, if they are kept.
    rows: Option<Rows<K, V>>,
    outputs: Outputs<K, Change<V>>,
    types: PhantomData<fn(V)>,
}

/// Builds a suppression.
pub(crate) fn factory<K, V>(options: SuppressOptions<K>) -> NodeFactory
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    let options = Arc::new(options);
    Arc::new(move |parts| {
        AnyReceiver::new(Suppress::<K, V> {
            buffer: parts.store(&options.store),
            rows: options.state.open(parts),
            outputs: parts.outputs(),
            options: Arc::clone(&options),
            types: PhantomData,
        })
    })
}

impl<K, V> Receiver<K, Change<V>> for Suppress<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    fn receive(&mut self, record: Record<K, Change<V>>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        let time_ms = (self.options.buffer_time_ms)(&record.key, record.timestamp);
        let (put, stream_ms) = {
            let mut buffer = self.buffer.borrow_mut();
            let stream_ms = buffer.observe(record.timestamp);
            (buffer.put(time_ms, record), stream_ms)
        };
        if let Err(reason) = put {
            return context.fail(FailureKind::Processing, reason);
        }
        let due_ms = stream_ms.saturating_sub(self.options.wait_ms);
        while self.send_first(due_ms, context)? {}
        if self.is_over_capacity() && self.options.shuts_down {
            let buffer = self.buffer.borrow();
            let (records, bytes) = (buffer.len(), buffer.bytes());
            return Err(
                Error::BufferFull { store: self.options.store.clone(), records, bytes }.into()
            );
        }
        while self.is_over_capacity() && self.send_first(i64::MAX, context)? {}
        Ok(())
    }
}

impl<K, V> Suppress<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    fn is_over_capacity(&self) -> bool {
        let buffer = self.buffer.borrow();
        buffer.len() > self.options.records_max || buffer.bytes() > self.options.bytes_max
    }

    /// Sends the first update if it waits from `due_ms` or earlier. Returns whether it did.
    fn send_first(&mut self, due_ms: i64, context: &mut Context) -> Step<bool> {
        let Some(record) = self.buffer.borrow().first(due_ms) else { return Ok(false) };
        if record.value.new.is_some() || !self.options.drops_tombstones {
            if let Some(rows) = &self.rows {
                rows.put(&record.key, record.value.new.as_ref(), record.timestamp);
            }
            // As in Kafka Streams those downstream who look the key up see the value before still.
            self.outputs.forward(record, context)?;
            context.enter(self.options.node);
        }
        self.buffer.borrow_mut().remove_first();
        Ok(true)
    }
}

/// The rows of a table as they were sent: of a key that is held back, the value before.
pub(crate) fn view<K, V>(store: &str, above: View<K, V>) -> View<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    let name = store.to_owned();
    let mut stores = vec![name.clone()];
    stores.extend(above.stores.iter().cloned());
    View::new(stores, move |parts| {
        Box::new(Suppressed { buffer: parts.store(&name), above: above.open(parts) })
    })
}

struct Suppressed<K, V> {
    buffer: Rc<RefCell<SuppressBuffer<K, V>>>,
    above: Box<dyn ValueGetter<K, V>>,
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> ValueGetter<K, V> for Suppressed<K, V> {
    fn get(&self, key: &K) -> Option<ValueAndTimestamp<V>> {
        match self.buffer.borrow().prior(key) {
            // Nobody knows any more when it was sent.
            Some(prior) => prior.map(|value| ValueAndTimestamp {
                value: value.clone(),
                timestamp: Timestamp::from_millis(-1),
            }),
            None => self.above.get(key),
        }
    }
}
