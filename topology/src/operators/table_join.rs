//! Joins of two tables: each side's changes look at the current row of the other side; the results
//! of both sides are one table.

use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;

use headwater_log_store::Timestamp;

use crate::context::{Context, Step};
use crate::graph::node::NodeFactory;
use crate::operators::table_outputs::{Sender, TableOutputs};
use crate::operators::table_state::{Rows, TableState};
use crate::operators::value_getter::{ValueGetter, View};
use crate::processor::{AnyReceiver, Outputs, Receiver};
use crate::record::{Change, Record};
use crate::store::table::ValueAndTimestamp;
use crate::types::NodeId;

/// What one side of a join needs beside its closure.
pub(crate) struct JoinSideOptions<K, V2> {
    pub(crate) node: NodeId,
    /// The state of the joined table.
    pub(crate) state: Arc<TableState>,
    pub(crate) other: View<K, V2>,
    /// Whether there is never a result without a row on the other side.
    pub(crate) needs_other: bool,
}

struct JoinSide<K, V, V2, R, F> {
    options: Arc<JoinSideOptions<K, V2>>,
    send_old: bool,
    other: Box<dyn ValueGetter<K, V2>>,
    join: Arc<F>,
    outputs: Outputs<K, Change<R>>,
    input: PhantomData<fn(V)>,
}

/// Builds one side of a join: `join` gives the row for the rows of both sides, or `None` where
/// there is none.
pub(crate) fn side<K, V, V2, R, F>(options: JoinSideOptions<K, V2>, join: F) -> NodeFactory
where
    K: Clone + 'static,
    V: 'static,
    V2: Clone + 'static,
    R: Clone + 'static,
    F: Fn(&K, Option<V>, Option<V2>) -> Option<R> + Send + Sync + 'static,
{
    let (options, join) = (Arc::new(options), Arc::new(join));
    Arc::new(move |parts| {
        AnyReceiver::new(JoinSide {
            send_old: options.state.sends_old(),
            other: options.other.open(parts),
            options: Arc::clone(&options),
            join: Arc::clone(&join),
            outputs: parts.outputs(),
            input: PhantomData,
        })
    })
}

impl<K, V, V2, R, F> Receiver<K, Change<V>> for JoinSide<K, V, V2, R, F>
where
    K: Clone,
    V2: Clone,
    R: Clone,
    F: Fn(&K, Option<V>, Option<V2>) -> Option<R>,
{
    fn receive(&mut self, record: Record<K, Change<V>>, context: &mut Context) -> Step {
        context.enter(self.options.node);
        let Record { key, value: change, timestamp, headers } = record;
        if !change.is_latest {
            // Only the newest rows are joined.
            return Ok(());
        }
        let (other, timestamp) = match self.other.get(&key) {
            Some(row) => (Some(row.value), timestamp.max(row.timestamp)),
            None if self.options.needs_other => return Ok(()),
            None if change.new.is_none() && change.old.is_none() => return Ok(()),
            None => (None, timestamp),
        };
        let old = match self.send_old {
            true => (self.join)(&key, change.old, other.clone()),
            false => None,
        };
        let value = Change::latest(old, (self.join)(&key, change.new, other));
        self.outputs.forward(Record { key, value, timestamp, headers }, context)
    }
}

struct JoinMerge<K, R> {
    rows: Option<Rows<K, R>>,
    outputs: TableOutputs<K, R>,
}

/// Builds the node where the results of both sides meet.
pub(crate) fn merge<K, R>(node: NodeId, state: Arc<TableState>) -> NodeFactory
where
    K: Hash + Eq + Clone + 'static,
    R: Clone + 'static,
{
    Arc::new(move |parts| {
        let rows = state.open(parts);
        let sender = Sender::new(node, state.sends_old());
        let outputs = TableOutputs::of_rows(parts, sender, rows.as_ref());
        AnyReceiver::new(JoinMerge::<K, R> { rows, outputs })
    })
}

impl<K: Hash + Eq + Clone + 'static, R: Clone + 'static> Receiver<K, Change<R>>
    for JoinMerge<K, R>
{
    fn receive(&mut self, record: Record<K, Change<R>>, context: &mut Context) -> Step {
        if let Some(rows) = &self.rows {
            rows.put(&record.key, record.value.new.as_ref(), record.timestamp);
        }
        self.outputs.update(record.timestamp, record, context)
    }
}

/// The rows of a join, made of those of both sides.
pub(crate) fn view<K, V, V2, R, F>(left: View<K, V>, right: View<K, V2>, join: Arc<F>) -> View<K, R>
where
    K: 'static,
    V: 'static,
    V2: 'static,
    R: 'static,
    F: Fn(&K, Option<V>, Option<V2>) -> Option<R> + Send + Sync + 'static,
{
    let mut stores = left.stores.clone();
    stores.extend(right.stores.iter().filter(|store| !left.stores.contains(store)).cloned());
    View::new(stores, move |parts| {
        let (left, right, join) = (left.open(parts), right.open(parts), Arc::clone(&join));
        Box::new(Joined { left, right, join })
    })
}

struct Joined<K, V, V2, F> {
    left: Box<dyn ValueGetter<K, V>>,
    right: Box<dyn ValueGetter<K, V2>>,
    join: Arc<F>,
}

impl<K, V, V2, R, F> ValueGetter<K, R> for Joined<K, V, V2, F>
where
    F: Fn(&K, Option<V>, Option<V2>) -> Option<R>,
{
    fn get(&self, key: &K) -> Option<ValueAndTimestamp<R>> {
        let (left, left_time) = split(self.left.get(key));
        let (right, right_time) = split(self.right.get(key));
        let timestamp = left_time.max(right_time)?;
        let value = (self.join)(key, left, right)?;
        Some(ValueAndTimestamp { value, timestamp })
    }
}

fn split<V>(row: Option<ValueAndTimestamp<V>>) -> (Option<V>, Option<Timestamp>) {
    row.map(|row| (row.value, row.timestamp)).unzip()
}
