//! Aggregations per key and tumbling, hopping or unlimited window.

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
use crate::processor::{AnyReceiver, Receiver};
use crate::record::{Change, Headers, Record};
use crate::store::table::ValueAndTimestamp;
use crate::store::window_store::WindowStore;
use crate::window::emit_strategy::EmitStrategy;
use crate::window::time_windows::{TimeWindows, UnlimitedWindows};
use crate::window::windowed::{Window, Windowed};

/// Windows whose starts do not depend on the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AlignedWindows {
    Time(TimeWindows),
    Unlimited(UnlimitedWindows),
}

impl AlignedWindows {
    pub(crate) fn size_ms(&self) -> i64 {
        match self {
            Self::Time(windows) => windows.size_ms(),
            Self::Unlimited(_) => i64::MAX,
        }
    }

    pub(crate) fn grace_ms(&self) -> i64 {
        match self {
            Self::Time(windows) => windows.grace_ms(),
            Self::Unlimited(_) => 0,
        }
    }

    fn windows_for(&self, timestamp: Timestamp) -> impl Iterator<Item = Window> + use<> {
        let (aligned, unlimited) = match self {
            Self::Time(windows) => (Some(windows.windows_for(timestamp)), None),
            Self::Unlimited(windows) => (None, windows.window_for(timestamp)),
        };
        aligned.into_iter().flatten().chain(unlimited)
    }
}

/// How a windowed aggregation works, beside what it does with values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windowing<W> {
    pub(crate) windows: W,
    pub(crate) emit: EmitStrategy,
    /// Which of the stream times in the store is this operator's.
    pub(crate) operator: usize,
}

struct WindowAggregate<K, V, A, F> {
    options: Arc<AggregateOptions<K, V, A>>,
    windowing: Windowing<AlignedWindows>,
    send_old: bool,
    aggregator: Arc<F>,
    store: Rc<RefCell<WindowStore<K, A>>>,
    emit_final: EmitFinal,
    outputs: TableOutputs<Windowed<K>, A>,
    dropped: DroppedOutput<K, V>,
}

/// Builds a windowed aggregation. Null keys are dropped, null values are not; records of windows
/// that stream time has left behind by the grace are dropped and counted as late.
pub(crate) fn factory<K, V, A, F>(
    options: AggregateOptions<K, V, A>,
    windowing: Windowing<AlignedWindows>,
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
        let store = parts.store::<WindowStore<K, A>>(options.store());
        let send_old = options.state.sends_old();
        let sender = Sender {
            sends: windowing.emit == EmitStrategy::OnWindowUpdate,
            ..Sender::new(options.node, send_old)
        };
        let size_ms = windowing.windows.size_ms();
        let names = (
            |key: &Windowed<K>| (key.window.start_ms, key.key.clone()),
            move |(start_ms, key)| windowed(key, start_ms, size_ms),
        );
        AnyReceiver::new(WindowAggregate {
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

impl<K, V, A, F> Receiver<K, V> for WindowAggregate<K, V, A, F>
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
        let Windowing { windows, operator, .. } = self.windowing;
        let observed_ms = self.store.borrow_mut().observe(operator, record.timestamp);
        let close_ms = observed_ms.saturating_sub(windows.grace_ms());
        let mut headers = Headers::default();
        if self.windowing.emit == EmitStrategy::OnWindowClose {
            headers = record.headers.clone();
        }
        let mut matching = windows.windows_for(record.timestamp);
        let mut next = matching.next();
        let mut last = None;
        while let Some(window) = next {
            next = matching.next();
            if window.end_ms <= close_ms {
                let lateness = Lateness { window, stream_time_ms: observed_ms };
                let late = || (&record.key, &record.value, record.timestamp, &record.headers);
                self.dropped.drop_late(lateness, late, context)?;
                context.enter(self.options.node);
            } else if next.is_none() {
                last = Some(window);
            } else {
                self.update(record.clone(), window, context)?;
                context.enter(self.options.node);
            }
        }
        // The last window takes the record as it is: those before it got clones.
        if let Some(window) = last {
            self.update(record, window, context)?;
            context.enter(self.options.node);
        }
        match self.windowing.emit {
            EmitStrategy::OnWindowUpdate => Ok(()),
            EmitStrategy::OnWindowClose => self.emit_closed(close_ms, &headers, context),
        }
    }
}

impl<K, V, A, F> WindowAggregate<K, V, A, F>
where
    K: Hash + Eq + Clone + 'static,
    A: Clone + 'static,
    F: Aggregator<K, V, A>,
{
    fn update(&mut self, record: Record<K, V>, window: Window, context: &mut Context) -> Step {
        let Record { key, value, timestamp, headers } = record;
        let received = timestamp;
        let (change, timestamp) = {
            let mut store = self.store.borrow_mut();
            let slot = store.change(&key, window.start_ms);
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
        let key = Windowed { key, window };
        match self.windowing.emit {
            EmitStrategy::OnWindowUpdate => {
                let record = Record { key, value: change, timestamp, headers };
                self.outputs.update(received, record, context)
            }
            EmitStrategy::OnWindowClose => self.outputs.keep(received, &key, headers, context),
        }
    }

    /// Sends the windows that have closed since the last time.
    fn emit_closed(&mut self, close_ms: i64, headers: &Headers, context: &mut Context) -> Step {
        let emitted_ms = self.store.borrow().emitted_ms();
        let size_ms = self.windowing.windows.size_ms();
        let last_start_ms = close_ms.saturating_sub(size_ms);
        if !self.emit_final.is_due(context, emitted_ms, close_ms) || last_start_ms < 0 {
            return Ok(());
        }
        let first_start_ms = emitted_ms.map_or(0, |emitted_ms| (emitted_ms - size_ms).max(0) + 1);
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
        for (start_ms, key, ValueAndTimestamp { value, timestamp }) in closed {
            let key = windowed(key, start_ms, size_ms);
            let value = Change::latest(None, Some(value));
            let headers = headers.clone();
            self.outputs.send(Record { key, value, timestamp, headers }, context)?;
        }
        Ok(())
    }
}

fn windowed<K>(key: K, start_ms: i64, size_ms: i64) -> Windowed<K> {
    Windowed { key, window: Window { start_ms, end_ms: start_ms.saturating_add(size_ms) } }
}
