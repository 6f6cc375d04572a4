//! Aggregations per key and sliding window.
//!
//! A record has a left window, which ends with it, and a right window, which starts right after it
//! and exists once another record lies there. A new record changes every window around it, and may
//! bring about its own two and the right window of the record before it.

use std::cell::RefCell;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;

use headwater_log_store::Timestamp;

use crate::context::{Context, Step};
use crate::error_handler::FailureKind;
use crate::graph::node::NodeFactory;
use crate::metrics::DropReason;
use crate::operators::aggregate::AggregateOptions;
use crate::operators::aggregator::Aggregator;
use crate::operators::dropped::{DroppedOutput, Lateness};
use crate::operators::emit_final::EmitFinal;
use crate::operators::table_outputs::{Sender, TableOutputs};
use crate::operators::window_aggregate::Windowing;
use crate::processor::{AnyReceiver, Receiver};
use crate::record::{Change, Headers, Record};
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::slots::WindowStart;
use crate::store::table::ValueAndTimestamp;
use crate::window::emit_strategy::EmitStrategy;
use crate::window::sliding_windows::SlidingWindows;
use crate::window::windowed::{Window, Windowed};

type SlidingStore<K, A> = KeyedWindowStore<K, WindowStart, A>;

struct SlidingAggregate<K, V, A, F> {
    options: Arc<AggregateOptions<K, V, A>>,
    windowing: Windowing<SlidingWindows>,
    send_old: bool,
    aggregator: Arc<F>,
    store: Rc<RefCell<SlidingStore<K, A>>>,
    emit_final: EmitFinal,
    outputs: TableOutputs<Windowed<K>, A>,
    dropped: DroppedOutput<K, V>,
}

/// Builds an aggregation of sliding windows. Null keys and null values are dropped; so are records
/// that stream time has left behind by difference and grace, and counted as late.
pub(crate) fn factory<K, V, A, F>(
    options: AggregateOptions<K, V, A>,
    windowing: Windowing<SlidingWindows>,
    aggregator: F,
) -> NodeFactory
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
    A: Clone + 'static,
    F: Aggregator<K, V, A>,
{
    let (options, aggregator) = (Arc::new(options), Arc::new(aggregator));
    Arc::new(move |parts| {
        let store = parts.store::<SlidingStore<K, A>>(options.store());
        let send_old = options.state.sends_old();
        let sender = Sender::new(options.node, send_old);
        let size_ms = windowing.windows.time_difference_ms();
        let names = (
            |key: &Windowed<K>| (WindowStart(key.window.start_ms), key.key.clone()),
            move |(WindowStart(start_ms), key)| windowed(key, start_ms, size_ms),
        );
        AnyReceiver::new(SlidingAggregate {
            send_old,
            outputs: TableOutputs::of_windows(parts, sender, &store, names),
            store,
            options: Arc::clone(&options),
            windowing,
            aggregator: Arc::clone(&aggregator),
            emit_final: EmitFinal::default(),
            dropped: DroppedOutput::new(parts),
        })
    })
}

impl<K, V, A, F> Receiver<K, V> for SlidingAggregate<K, V, A, F>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
    A: Clone + 'static,
    F: Aggregator<K, V, A>,
{
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        if self.options.key_serde.is_null(&record.key) {
            return self.dropped.drop_null(&record, DropReason::NullKey, context);
        }
        if self.options.value_serde.is_null(&record.value) {
            return self.dropped.drop_null(&record, DropReason::NullValue, context);
        }
        let Windowing { windows, operator, .. } = self.windowing;
        let observed_ms = self.store.borrow_mut().observe(operator, record.timestamp);
        let close_ms = observed_ms.saturating_sub(windows.grace_ms());
        let (time_ms, difference_ms) = (record.timestamp.as_millis(), windows.time_difference_ms());
        if time_ms.saturating_add(difference_ms) < close_ms {
            return self.drop_late(time_ms.saturating_sub(difference_ms), &record, context);
        }
        if time_ms < difference_ms {
            // As in Kafka Streams, such a record does not make closed windows be looked for.
            return self.add_early(&record, close_ms, context);
        }
        self.add(&record, close_ms, context)?;
        match self.windowing.emit {
            EmitStrategy::OnWindowUpdate => Ok(()),
            EmitStrategy::OnWindowClose => self.emit_closed(close_ms, &record.headers, context),
        }
    }
}

/// The millisecond after a time; that of the last one there is has none.
const fn after(time_ms: i64) -> i64 {
    time_ms.saturating_add(1)
}

/// The windows around a record, as they were found.
struct Around<A> {
    /// The latest window that ends before the record.
    left: Option<ValueAndTimestamp<A>>,
    /// The latest window that the record lies in and does not end.
    right: Option<ValueAndTimestamp<A>>,
    has_own_left: bool,
    has_own_right: bool,
    /// The time of the last record before this one.
    previous_ms: Option<i64>,
    starts: Vec<i64>,
}

impl<K, V, A, F> SlidingAggregate<K, V, A, F>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
    A: Clone + 'static,
    F: Aggregator<K, V, A>,
{
    fn difference_ms(&self) -> i64 {
        self.windowing.windows.time_difference_ms()
    }

    /// Updates the windows around a record from the latest to the earliest, then adds those that
    /// the record brings about.
    fn add(&mut self, record: &Record<K, V>, close_ms: i64, context: &mut Context) -> Step {
        let time_ms = record.timestamp.as_millis();
        let from_ms = time_ms.saturating_sub(self.difference_ms().saturating_mul(2)).max(0);
        let found =
            self.windows_of(&record.key, from_ms, after(time_ms), |start_ms, difference_ms| {
                start_ms.saturating_add(difference_ms) < time_ms
            });
        let mut around = Around {
            left: None,
            right: None,
            has_own_left: false,
            has_own_right: false,
            previous_ms: None,
            starts: Vec::new(),
        };
        for (start_ms, row) in found {
            around.starts.push(start_ms);
            let end_ms = start_ms.saturating_add(self.difference_ms());
            let row_ms = row.timestamp.as_millis();
            if start_ms > time_ms {
                around.has_own_right = true;
            } else if end_ms > time_ms {
                around.right.get_or_insert_with(|| row.clone());
                self.update(start_ms, Some(row), record, close_ms, context)?;
            } else if end_ms == time_ms {
                around.has_own_left = true;
                self.update(start_ms, Some(row), record, close_ms, context)?;
                if row_ms >= time_ms {
                    // A record of the same time was here before, so that all windows exist.
                    return Ok(());
                }
                around.previous_ms = Some(row_ms);
            } else {
                around.left = Some(row);
                around.previous_ms = Some(row_ms);
            }
        }
        self.create(around, record, close_ms, context)
    }

    fn create(
        &mut self,
        around: Around<A>,
        record: &Record<K, V>,
        close_ms: i64,
        context: &mut Context,
    ) -> Step {
        let (time_ms, difference_ms) = (record.timestamp.as_millis(), self.difference_ms());
        if let Some(start_ms) = around.previous_ms.map(after)
            && !around.starts.contains(&start_ms)
            && start_ms.saturating_add(difference_ms) >= time_ms
        {
            self.update(start_ms, None, record, close_ms, context)?;
        }
        if !around.has_own_left {
            let start_ms = time_ms - difference_ms;
            let reaches = around.previous_ms.is_some_and(|previous_ms| start_ms <= previous_ms);
            let left = around.left.filter(|_| reaches);
            let row = left.map(|left| ValueAndTimestamp { timestamp: record.timestamp, ..left });
            self.update(start_ms, row, record, close_ms, context)?;
        }
        if !around.has_own_right {
            self.create_own_right(around.right, record, context)?;
        }
        Ok(())
    }

    /// The same for a record so early that its left window would start before 0: all such records
    /// share the window that starts at 0, and existing windows are updated from the earliest on.
    fn add_early(&mut self, record: &Record<K, V>, close_ms: i64, context: &mut Context) -> Step {
        let time_ms = record.timestamp.as_millis();
        let mut found = self.windows_of(&record.key, 0, after(time_ms), |_, _| false);
        found.reverse();
        let (mut combined, mut right, mut has_own_right) = (None, None, false);
        let mut previous_ms = None;
        let mut starts = Vec::new();
        for (start_ms, row) in found {
            starts.push(start_ms);
            if start_ms == 0 {
                let row_ms = row.timestamp.as_millis();
                previous_ms = (row_ms < time_ms).then_some(row_ms);
                combined = Some(row);
            } else if start_ms <= time_ms {
                right = Some(row.clone());
                self.update(start_ms, Some(row), record, close_ms, context)?;
            } else {
                has_own_right = true;
            }
        }
        // Without a window between this record and later ones, the shared one holds just those.
        let later = combined.as_ref().filter(|row| row.timestamp > record.timestamp);
        let right = right.or_else(|| later.cloned());
        if !has_own_right {
            self.create_own_right(right, record, context)?;
        }
        if let Some(start_ms) = previous_ms.map(after)
            && !starts.contains(&start_ms)
        {
            self.update(start_ms, None, record, close_ms, context)?;
        }
        self.update(0, combined, record, close_ms, context)
    }

    /// The windows of a key that start in a range, the latest first, up to and including the first
    /// for which `is_last` says so, given its start and the difference.
    fn windows_of(
        &self,
        key: &K,
        from_ms: i64,
        to_ms: i64,
        is_last: impl Fn(i64, i64) -> bool,
    ) -> Vec<(i64, ValueAndTimestamp<A>)> {
        let difference_ms = self.difference_ms();
        self.store.borrow_mut().load(key);
        let store = self.store.borrow();
        let mut found = Vec::new();
        for (WindowStart(start_ms), row) in store.rows_of(key, from_ms, to_ms).rev() {
            found.push((start_ms, row.clone()));
            if is_last(start_ms, difference_ms) {
                break;
            }
        }
        found
    }

    /// The window right after a record, if later records lie in the windows around it: it holds
    /// what the latest of these held before.
    fn create_own_right(
        &mut self,
        right: Option<ValueAndTimestamp<A>>,
        record: &Record<K, V>,
        context: &mut Context,
    ) -> Step {
        let Some(row) = right.filter(|row| row.timestamp > record.timestamp) else { return Ok(()) };
        let start_ms = record.timestamp.as_millis() + 1;
        self.store.borrow_mut().put(&record.key, WindowStart(start_ms), Some(row.clone()));
        let ValueAndTimestamp { value, timestamp } = row;
        let value = Change::latest(None, Some(value));
        let key = windowed(record.key.clone(), start_ms, self.difference_ms());
        let headers = record.headers.clone();
        self.forward(record.timestamp, Record { key, value, timestamp, headers }, context)
    }

    /// Adds a record to a window, which is new where it has no row yet.
    fn update(
        &mut self,
        start_ms: i64,
        row: Option<ValueAndTimestamp<A>>,
        record: &Record<K, V>,
        close_ms: i64,
        context: &mut Context,
    ) -> Step {
        context.enter(self.options.node);
        if start_ms.saturating_add(self.difference_ms()) < close_ms {
            return self.drop_late(start_ms, record, context);
        }
        let (old, timestamp) = match row {
            Some(row) => (Some(row.value), record.timestamp.max(row.timestamp)),
            None => (self.aggregator.initial(), record.timestamp),
        };
        let old_to_send = if self.send_old { old.clone() } else { None };
        // A null is no aggregate but the lack of one: the next record is the first again.
        let new = self
            .aggregator
            .add(&record.key, record.value.clone(), old)
            .filter(|new| !self.options.aggregate_serde.is_null(new));
        let row = new.clone().map(|value| ValueAndTimestamp { value, timestamp });
        self.store.borrow_mut().put(&record.key, WindowStart(start_ms), row);
        let value = Change::latest(old_to_send, new);
        let key = windowed(record.key.clone(), start_ms, self.difference_ms());
        let headers = record.headers.clone();
        self.forward(record.timestamp, Record { key, value, timestamp, headers }, context)
    }

    /// A record is late for the window that starts then.
    fn drop_late(&mut self, start_ms: i64, record: &Record<K, V>, context: &mut Context) -> Step {
        let stream_time_ms = self.store.borrow().observed_ms(self.windowing.operator);
        let window = Window { start_ms, end_ms: start_ms.saturating_add(self.difference_ms()) };
        let lateness = Lateness { window, stream_time_ms: stream_time_ms.unwrap_or(window.end_ms) };
        let Record { key, value, timestamp, headers } = record;
        self.dropped.drop_late(lateness, || (key, value, *timestamp, headers), context)
    }

    fn forward(
        &mut self,
        received: Timestamp,
        record: Record<Windowed<K>, Change<A>>,
        context: &mut Context,
    ) -> Step {
        match self.windowing.emit {
            EmitStrategy::OnWindowUpdate => self.outputs.update(received, record, context),
            EmitStrategy::OnWindowClose => Ok(()),
        }
    }

    /// Sends the windows that have closed since the last time.
    fn emit_closed(&mut self, close_ms: i64, headers: &Headers, context: &mut Context) -> Step {
        let emitted_ms = self.store.borrow().emitted_ms();
        let last_start_ms = close_ms.saturating_sub(self.difference_ms()).saturating_sub(1);
        if !self.emit_final.is_due(context, emitted_ms, close_ms) || last_start_ms < 0 {
            return Ok(());
        }
        let first_start_ms =
            emitted_ms.map_or(0, |emitted| (emitted - self.difference_ms()).max(0));
        let closed = {
            let mut store = self.store.borrow_mut();
            let closed = store.visible(first_start_ms, last_start_ms);
            store.set_emitted(close_ms);
            closed
        };
        let closed = match closed {
            Ok(closed) => closed,
            Err(reason) => return context.fail(FailureKind::Processing, reason),
        };
        for (WindowStart(start_ms), key, ValueAndTimestamp { value, timestamp }) in closed {
            let value = Change::latest(None, Some(value));
            let key = windowed(key, start_ms, self.difference_ms());
            let headers = headers.clone();
            self.outputs.send(Record { key, value, timestamp, headers }, context)?;
        }
        Ok(())
    }
}

fn windowed<K>(key: K, start_ms: i64, difference_ms: i64) -> Windowed<K> {
    Windowed { key, window: Window { start_ms, end_ms: start_ms.saturating_add(difference_ms) } }
}
