//! Joins of two streams: the node that keeps a side's records, and the one that joins a record with
//! those of the other side.

use std::cell::RefCell;
use std::hash::Hash;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use headwater_log_store::Timestamp;

use crate::context::{Context, Step};
use crate::error_handler::FailureKind;
use crate::graph::node::NodeFactory;
use crate::metrics::DropReason;
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::Record;
use crate::serdes::SerdeRef;
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::outer_store::{EitherValue, OuterStore, Place, Side};
use crate::store::slots::JoinSlot;
use crate::types::NodeId;
use crate::window::join_windows::JoinWindows;

type JoinStore<K, V> = KeyedWindowStore<K, JoinSlot, V>;

struct JoinWindow<K, V> {
    serdes: (SerdeRef<K>, SerdeRef<V>),
    store: Rc<RefCell<JoinStore<K, V>>>,
    outputs: Outputs<K, V>,
}

/// Builds the node that keeps a side's records: each goes to the join first. Nulls are not kept.
pub(crate) fn window_factory<K, V>(
    store: String,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
) -> NodeFactory
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    Arc::new(move |parts| {
        AnyReceiver::new(JoinWindow {
            serdes: (Arc::clone(&key_serde), Arc::clone(&value_serde)),
            store: parts.store(&store),
            outputs: parts.outputs(),
        })
    })
}

impl<K, V> Receiver<K, V> for JoinWindow<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    fn receive(&mut self, record: Record<K, V>, context: &mut Context) -> Step {
        if self.serdes.0.is_null(&record.key) || self.serdes.1.is_null(&record.value) {
            return self.outputs.forward(record, context);
        }
        // The record goes on with its key: the store has its own.
        let number = self.store.borrow_mut().number(&record.key);
        let (value, timestamp, headers) =
            (record.value.clone(), record.timestamp, record.headers.clone());
        self.outputs.forward(record, context)?;
        self.store.borrow_mut().add(number, value, timestamp, &headers);
        Ok(())
    }
}

/// How a join is seen from one of its two streams.
pub(crate) trait JoinSide<V1, V2>: 'static {
    /// The values of this stream.
    type This: Clone + 'static;
    /// The values of the other one.
    type Other: Clone + 'static;
    const SIDE: Side;
    const OTHER_SIDE: Side;

    /// The values as the joiner takes them, that of the left stream first.
    fn in_order(this: Self::This, other: Option<Self::Other>) -> (Option<V1>, Option<V2>);

    /// The value as the store of both sides holds it.
    fn shared(this: Self::This) -> EitherValue<V1, V2>;
}

/// The left stream of a join.
pub(crate) struct LeftSide;

/// The right stream of a join.
pub(crate) struct RightSide;

impl<V1: Clone + 'static, V2: Clone + 'static> JoinSide<V1, V2> for LeftSide {
    type This = V1;
    type Other = V2;
    const SIDE: Side = Side::Left;
    const OTHER_SIDE: Side = Side::Right;

    fn in_order(this: V1, other: Option<V2>) -> (Option<V1>, Option<V2>) {
        (Some(this), other)
    }

    fn shared(this: V1) -> EitherValue<V1, V2> {
        EitherValue::Left(this)
    }
}

impl<V1: Clone + 'static, V2: Clone + 'static> JoinSide<V1, V2> for RightSide {
    type This = V2;
    type Other = V1;
    const SIDE: Side = Side::Right;
    const OTHER_SIDE: Side = Side::Left;

    fn in_order(this: V2, other: Option<V1>) -> (Option<V1>, Option<V2>) {
        (other, Some(this))
    }

    fn shared(this: V2) -> EitherValue<V1, V2> {
        EitherValue::Right(this)
    }
}

/// What one side of a join needs beside the joiner.
pub(crate) struct JoinOptions<K, V> {
    pub(crate) node: NodeId,
    /// As the left stream sees them.
    pub(crate) windows: JoinWindows,
    /// Whether records of this side without a match have results.
    pub(crate) outer: bool,
    pub(crate) key_serde: SerdeRef<K>,
    pub(crate) value_serde: SerdeRef<V>,
    /// The store of the other side's records.
    pub(crate) other_store: String,
    /// The store of the records that have not found a match, of a left or outer join.
    pub(crate) outer_store: Option<String>,
}

impl<K, V> JoinOptions<K, V> {
    /// The stores that the node uses.
    pub(crate) fn stores(&self) -> Vec<String> {
        std::iter::once(&self.other_store).chain(&self.outer_store).cloned().collect()
    }
}

struct StreamJoin<S: JoinSide<V1, V2>, K, V1, V2, R, F> {
    options: Arc<JoinOptions<K, S::This>>,
    /// How far the other side's records lie before and after this one's.
    reach: JoinWindows,
    joiner: Arc<F>,
    other: Rc<RefCell<JoinStore<K, S::Other>>>,
    unmatched: Option<Rc<RefCell<OuterStore<K, V1, V2>>>>,
    outputs: Outputs<K, R>,
    side: PhantomData<fn(S)>,
}

/// Builds the node that joins one side's records. Null values are dropped and counted, and null keys
/// where they have no result.
pub(crate) fn factory<S, K, V1, V2, R, F>(
    options: JoinOptions<K, S::This>,
    joiner: Arc<F>,
) -> NodeFactory
where
    S: JoinSide<V1, V2>,
    K: Hash + Eq + Clone + 'static,
    V1: Clone + 'static,
    V2: Clone + 'static,
    R: Clone + 'static,
    F: Fn(&K, Option<V1>, Option<V2>) -> Option<R> + Send + Sync + 'static,
{
    let options = Arc::new(options);
    Arc::new(move |parts| {
        let reach = match S::SIDE {
            Side::Left => options.windows,
            Side::Right => options.windows.reversed(),
        };
        AnyReceiver::new(StreamJoin::<S, K, V1, V2, R, F> {
            reach,
            joiner: Arc::clone(&joiner),
            other: parts.store(&options.other_store),
            unmatched: options.outer_store.as_ref().map(|store| parts.store(store)),
            outputs: parts.outputs(),
            options: Arc::clone(&options),
            side: PhantomData,
        })
    })
}

impl<S, K, V1, V2, R, F> Receiver<K, S::This> for StreamJoin<S, K, V1, V2, R, F>
where
    S: JoinSide<V1, V2>,
    K: Hash + Eq + Clone + 'static,
    V1: Clone + 'static,
    V2: Clone + 'static,
    R: Clone + 'static,
    F: Fn(&K, Option<V1>, Option<V2>) -> Option<R> + Send + Sync + 'static,
{
    fn receive(&mut self, record: Record<K, S::This>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        let unmatched = self.unmatched.clone();
        let stream_ms =
            unmatched.as_ref().map(|store| store.borrow_mut().observe(record.timestamp));
        let null_key = self.options.key_serde.is_null(&record.key);
        if self.options.value_serde.is_null(&record.value) {
            let reason = if null_key { DropReason::NullKey } else { DropReason::NullValue };
            context.drop_record(reason);
            return Ok(());
        }
        if null_key {
            if self.options.outer {
                return self.send_alone(record, context);
            }
            context.drop_record(DropReason::NullKey);
            return Ok(());
        }
        let time_ms = record.timestamp.as_millis();
        if let (Some(store), Some(stream_ms)) = (&unmatched, stream_ms)
            && stream_ms == time_ms
        {
            self.send_expired(store, stream_ms, &record, context)?;
        }
        if self.send_matches(&record, context)? || !self.options.outer {
            return Ok(());
        }
        match (unmatched, stream_ms) {
            // Its window is open: a match may still come.
            (Some(store), Some(stream_ms)) if self.reach_to(time_ms) >= stream_ms => {
                let Record { key, value, .. } = record;
                let added = store.borrow_mut().add(time_ms, S::SIDE, &key, S::shared(value));
                added.or_else(|reason| context.fail(FailureKind::Processing, reason))
            }
            _ => self.send_alone(record, context),
        }
    }
}

impl<S, K, V1, V2, R, F> StreamJoin<S, K, V1, V2, R, F>
where
    S: JoinSide<V1, V2>,
    K: Hash + Eq + Clone + 'static,
    V1: Clone + 'static,
    V2: Clone + 'static,
    R: Clone + 'static,
    F: Fn(&K, Option<V1>, Option<V2>) -> Option<R>,
{
    /// The latest time of the other side that a record of `time_ms` joins.
    fn reach_to(&self, time_ms: i64) -> i64 {
        time_ms.saturating_add(self.reach.after_ms()).max(0)
    }

    /// Joins a record with those of the other side, by their time. Returns whether there were any.
    fn send_matches(&mut self, record: &Record<K, S::This>, context: &mut Context) -> Step<bool> {
        let time_ms = record.timestamp.as_millis();
        let from_ms = time_ms.saturating_sub(self.reach.before_ms()).max(0);
        let other = Rc::clone(&self.other);
        other.borrow_mut().load(&record.key);
        let other = other.borrow();
        let mut found = false;
        for (slot, row) in other.rows_of(&record.key, from_ms, self.reach_to(time_ms)) {
            found = true;
            if let Some(unmatched) = &self.unmatched {
                let mut unmatched = unmatched.borrow_mut();
                if let Err(reason) = unmatched.remove(slot.time_ms, S::OTHER_SIDE, &record.key) {
                    context.fail(FailureKind::Processing, reason)?;
                    return Ok(true);
                }
            }
            context.enter(self.options.node);
            let (left, right) = S::in_order(record.value.clone(), Some(row.value.clone()));
            let Some(value) = (self.joiner)(&record.key, left, right) else { continue };
            let timestamp = record.timestamp.max(row.timestamp);
            let (key, headers) = (record.key.clone(), record.headers.clone());
            self.outputs.forward(Record { key, value, timestamp, headers }, context)?;
        }
        Ok(found)
    }

    /// Sends a record that has no match.
    fn send_alone(&mut self, record: Record<K, S::This>, context: &mut Context) -> Step {
        let Record { key, value, timestamp, headers } = record;
        let (left, right) = S::in_order(value, None);
        match (self.joiner)(&key, left, right) {
            Some(value) => self.outputs.forward(Record { key, value, timestamp, headers }, context),
            None => Ok(()),
        }
    }

    /// Sends the records of both sides that stream time has left without a match, by their time.
    /// `trigger` is the record that moved stream time on.
    fn send_expired(
        &mut self,
        store: &RefCell<OuterStore<K, V1, V2>>,
        stream_ms: i64,
        trigger: &Record<K, S::This>,
        context: &mut Context,
    ) -> Step {
        let expired = {
            let mut store = store.borrow_mut();
            let grace_ms = self.options.windows.grace_ms();
            // As in Kafka Streams the sum wraps round where no record is known: then it looks.
            let earliest_ms = store.earliest_ms().wrapping_add(self.reach.after_ms());
            if earliest_ms.wrapping_add(grace_ms) >= stream_ms
                || !context.emit_timer.is_due(&mut store.next_emit_ms)
            {
                return Ok(());
            }
            let (places, earliest_ms) = expired(&self.options.windows, stream_ms, store.places());
            store.set_earliest(earliest_ms);
            let take = |place: Place| store.take(&place).map(|row| (place.0, row));
            places.into_iter().filter_map(take).collect::<Vec<_>>()
        };
        for (time_ms, row) in expired {
            for value in row.values {
                context.enter(self.options.node);
                let (left, right) = match value {
                    EitherValue::Left(value) => (Some(value), None),
                    EitherValue::Right(value) => (None, Some(value)),
                };
                let Some(value) = (self.joiner)(&row.key, left, right) else { continue };
                let (key, timestamp) = (row.key.clone(), Timestamp::from_millis(time_ms));
                let headers = trigger.headers.clone();
                self.outputs.forward(Record { key, value, timestamp, headers }, context)?;
            }
        }
        Ok(())
    }
}

/// The places whose records no later record can match, and the time of the first one that was
/// looked at last.
fn expired<'a>(
    windows: &JoinWindows,
    stream_ms: i64,
    places: impl Iterator<Item = &'a Place>,
) -> (Vec<Place>, i64) {
    let mut expired: Vec<Place> = Vec::new();
    let mut earliest_ms = i64::MAX;
    let (mut left_is_open, mut right_is_open) = (false, false);
    for place in places {
        let (time_ms, side, _) = place;
        earliest_ms = *time_ms;
        if left_is_open && right_is_open {
            break;
        }
        let (reach_ms, is_open) = match side {
            Side::Left => (windows.after_ms(), &mut left_is_open),
            Side::Right => (windows.before_ms(), &mut right_is_open),
        };
        if time_ms.saturating_add(reach_ms).saturating_add(windows.grace_ms()) >= stream_ms {
            *is_open = true;
        } else if expired.last() != Some(place) {
            expired.push(place.clone());
        }
    }
    (expired, earliest_ms)
}
