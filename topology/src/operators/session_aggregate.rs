//! Aggregations per key and session.

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
use crate::store::slots::Session;
use crate::store::table::ValueAndTimestamp;
use crate::window::emit_strategy::EmitStrategy;
use crate::window::session_windows::SessionWindows;
use crate::window::windowed::{SessionWindow, Window, Windowed};

/// Makes one aggregate of two, that of the later session second.
pub(crate) trait Merger<K, A>:
    Fn(&K, Option<A>, A) -> Option<A> + Send + Sync + 'static
{
}

impl<K, A, F: Fn(&K, Option<A>, A) -> Option<A> + Send + Sync + 'static> Merger<K, A> for F {}

type SessionStore<K, A> = KeyedWindowStore<K, Session, A>;

struct SessionAggregate<K, V, A, F, M> {
    options: Arc<AggregateOptions<K, V, A>>,
    windowing: Windowing<SessionWindows>,
    send_old: bool,
    functions: Arc<(F, M)>,
    store: Rc<RefCell<SessionStore<K, A>>>,
    emit_final: EmitFinal,
    outputs: TableOutputs<Windowed<K, SessionWindow>, A>,
    dropped: DroppedOutput<K, V>,
}

/// Builds an aggregation of sessions. Null keys are dropped, null values are not; records of
/// sessions that stream time has left behind by gap and grace are dropped and counted as late.
pub(crate) fn factory<K, V, A, F, M>(
    options: AggregateOptions<K, V, A>,
    windowing: Windowing<SessionWindows>,
    aggregator: F,
    merger: M,
) -> NodeFactory
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
    A: Clone + 'static,
    F: Aggregator<K, V, A>,
    M: Merger<K, A>,
{
    let (options, functions) = (Arc::new(options), Arc::new((aggregator, merger)));
    Arc::new(move |parts| {
        let store = parts.store::<SessionStore<K, A>>(options.store());
        let send_old = options.state.sends_old();
        let sender = Sender::<Windowed<K, SessionWindow>> {
            time_of: Some(|key| Timestamp::from_millis(key.window.end_ms)),
            ..Sender::new(options.node, send_old)
        };
        let names = (
            |Windowed { key, window }: &Windowed<K, SessionWindow>| {
                let SessionWindow { start_ms, end_ms } = *window;
                (Session { end_ms, start_ms }, key.clone())
            },
            |(Session { end_ms, start_ms }, key)| Windowed {
                key,
                window: SessionWindow { start_ms, end_ms },
            },
        );
        AnyReceiver::new(SessionAggregate {
            send_old,
            outputs: TableOutputs::of_windows(parts, sender, &store, names),
            store,
            options: Arc::clone(&options),
            windowing,
            functions: Arc::clone(&functions),
            emit_final: EmitFinal::default(),
            dropped: DroppedOutput::new(parts),
        })
    })
}

impl<K, V, A, F, M> Receiver<K, V> for SessionAggregate<K, V, A, F, M>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
    A: Clone + 'static,
    F: Aggregator<K, V, A>,
    M: Merger<K, A>,
{
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        if self.options.key_serde.is_null(&record.key) {
            return self.dropped.drop_null(&record, DropReason::NullKey, context);
        }
        let Record { key, value, timestamp, headers } = record;
        let Windowing { windows, operator, .. } = self.windowing;
        let observed_ms = self.store.borrow_mut().observe(operator, timestamp);
        let close_ms = observed_ms.saturating_sub(windows.open_ms());
        let sessions = self.sessions_near(&key, timestamp.as_millis());
        let new = Session { end_ms: timestamp.as_millis(), start_ms: timestamp.as_millis() };
        let mut merged = new;
        let functions = Arc::clone(&self.functions);
        let (aggregator, merger) = &*functions;
        let mut aggregate = aggregator.initial();
        for (session, row) in &sessions {
            aggregate = merger(&key, aggregate, row.value.clone());
            merged.start_ms = merged.start_ms.min(session.start_ms);
            merged.end_ms = merged.end_ms.max(session.end_ms);
        }
        if merged.end_ms < close_ms {
            let window = Window { start_ms: merged.start_ms, end_ms: merged.end_ms };
            let lateness = Lateness { window, stream_time_ms: observed_ms };
            let record = || (&key, &value, timestamp, &headers);
            self.dropped.drop_late(lateness, record, context)?;
            context.enter(self.options.node);
        } else {
            if merged != new {
                for (session, row) in sessions {
                    self.store.borrow_mut().put(&key, session, None);
                    let old = self.send_old.then_some(row.value);
                    let change = Change::latest(old, None);
                    self.forward(&key, session, change, &headers, context)?;
                }
                context.enter(self.options.node);
            }
            // A null is no aggregate but the lack of one: the next record is the first again.
            let new = aggregator
                .add(&key, value, aggregate)
                .filter(|new| !self.options.aggregate_serde.is_null(new));
            let timestamp = Timestamp::from_millis(merged.end_ms);
            let row = new.clone().map(|value| ValueAndTimestamp { value, timestamp });
            self.store.borrow_mut().put(&key, merged, row);
            self.forward(&key, merged, Change::latest(None, new), &headers, context)?;
        }
        match self.windowing.emit {
            EmitStrategy::OnWindowUpdate => Ok(()),
            EmitStrategy::OnWindowClose => self.emit_closed(close_ms, &headers, context),
        }
    }
}

impl<K, V, A, F, M> SessionAggregate<K, V, A, F, M>
where
    K: Hash + Eq + Clone + 'static,
    A: Clone + 'static,
{
    /// The sessions of a key that a record of that time belongs to, by their end.
    fn sessions_near(&self, key: &K, time_ms: i64) -> Vec<(Session, ValueAndTimestamp<A>)> {
        let gap_ms = self.windowing.windows.inactivity_gap_ms();
        let (first_end_ms, last_start_ms) =
            (time_ms.saturating_sub(gap_ms), time_ms.saturating_add(gap_ms));
        self.store.borrow_mut().load(key);
        let store = self.store.borrow();
        store
            .rows_of(key, first_end_ms, i64::MAX)
            .filter(|(session, _)| session.start_ms <= last_start_ms)
            .map(|(session, row)| (session, row.clone()))
            .collect()
    }

    /// Sends an update of a session, which has no headers. Those that are held back get the
    /// headers of their records, as in Kafka Streams.
    fn forward(
        &mut self,
        key: &K,
        session: Session,
        value: Change<A>,
        headers: &Headers,
        context: &mut Context,
    ) -> Step {
        match self.windowing.emit {
            EmitStrategy::OnWindowClose => Ok(()),
            EmitStrategy::OnWindowUpdate => {
                let is_cached = self.outputs.is_cached();
                let headers = if is_cached { headers.clone() } else { Headers::none() };
                let record = record_of(key.clone(), session, value, headers);
                self.outputs.update(record.timestamp, record, context)
            }
        }
    }

    /// Sends the sessions that have closed since the last time.
    fn emit_closed(&mut self, close_ms: i64, headers: &Headers, context: &mut Context) -> Step {
        let emitted_ms = self.store.borrow().emitted_ms();
        let last_end_ms = close_ms.saturating_sub(1);
        if !self.emit_final.is_due(context, emitted_ms, close_ms) || last_end_ms < 0 {
            return Ok(());
        }
        let closed = {
            let mut store = self.store.borrow_mut();
            let closed = store.visible(emitted_ms.unwrap_or(0).max(0), last_end_ms);
            store.set_emitted(close_ms);
            closed
        };
        let closed = match closed {
            Ok(closed) => closed,
            Err(reason) => return context.fail(FailureKind::Processing, reason),
        };
        for (session, key, row) in closed {
            let value = Change::latest(None, Some(row.value));
            self.outputs.send(record_of(key, session, value, headers.clone()), context)?;
        }
        Ok(())
    }
}

fn record_of<K, A>(
    key: K,
    session: Session,
    value: Change<A>,
    headers: Headers,
) -> Record<Windowed<K, SessionWindow>, Change<A>> {
    let Session { end_ms, start_ms } = session;
    let key = Windowed { key, window: SessionWindow { start_ms, end_ms } };
    Record { key, value, timestamp: Timestamp::from_millis(end_ms), headers }
}
