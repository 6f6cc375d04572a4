//! What the handles of the DSL hold. Their operations are in a file each: `stream`, `grouped`,
//! `windowed`, `table`.

use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;

use crate::dsl::options::Grouped;
use crate::dsl::scope::Scope;
use crate::dsl::table_node::TableNode;
use crate::operators::dropped::DroppedRecord;
use crate::operators::window_aggregate::AlignedWindows;
use crate::types::NodeId;
use crate::window::emit_strategy::EmitStrategy;
use crate::window::session_windows::SessionWindows;
use crate::window::sliding_windows::SlidingWindows;

/// A stream of records: each one stands for itself.
///
/// Operations add nodes to the builder's graph; nothing runs before the topology is started. All
/// of them see null keys and values where the types allow them.
pub struct KStream<K, V> {
    pub(crate) scope: Scope,
    pub(crate) node: NodeId,
    /// Whether the key was changed since the last topic, so that equal keys may lie in several
    /// partitions.
    pub(crate) repartition_required: bool,
    pub(crate) types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for KStream<K, V> {
    fn clone(&self) -> Self {
        Self {
            scope: self.scope.clone(),
            node: self.node,
            repartition_required: self.repartition_required,
            types: PhantomData,
        }
    }
}

impl<K, V> fmt::Debug for KStream<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KStream").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A stream grouped by key. Null keys are dropped and counted by every aggregation, null values
/// by those without windows.
pub struct KGroupedStream<K, V> {
    pub(crate) scope: Scope,
    pub(crate) node: NodeId,
    pub(crate) repartition_required: bool,
    pub(crate) grouped: Grouped<K, V>,
}

impl<K, V> Clone for KGroupedStream<K, V> {
    fn clone(&self) -> Self {
        Self {
            scope: self.scope.clone(),
            node: self.node,
            repartition_required: self.repartition_required,
            grouped: self.grouped.clone(),
        }
    }
}

impl<K, V> fmt::Debug for KGroupedStream<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KGroupedStream").field("grouped", &self.grouped).finish_non_exhaustive()
    }
}

/// What an application does with the records that an aggregation drops.
pub(crate) type DroppedConsumer<K, V> = Rc<dyn Fn(KStream<K, DroppedRecord<V>>)>;

/// A stream grouped by key and window: tumbling, hopping, unlimited or sliding.
///
/// Null keys are dropped and counted; null values are aggregated, but for sliding windows, which
/// drop and count them as well. A record is left out of the windows that it is late for, and
/// counted for each: see [`TimeWindows`](crate::TimeWindows).
pub struct TimeWindowedKStream<K, V> {
    pub(crate) grouped: KGroupedStream<K, V>,
    pub(crate) windows: TimeWindowKind,
    pub(crate) emit: EmitStrategy,
    pub(crate) dropped: Option<DroppedConsumer<K, V>>,
}

impl<K, V> fmt::Debug for TimeWindowedKStream<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeWindowedKStream")
            .field("windows", &self.windows)
            .field("emit", &self.emit)
            .finish_non_exhaustive()
    }
}

/// The windows of a [`TimeWindowedKStream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeWindowKind {
    Aligned(AlignedWindows),
    Sliding(SlidingWindows),
}

/// A stream grouped by key and session: see [`SessionWindows`](crate::SessionWindows).
///
/// Null keys are dropped and counted; null values are aggregated. Late records are dropped and
/// counted.
pub struct SessionWindowedKStream<K, V> {
    pub(crate) grouped: KGroupedStream<K, V>,
    pub(crate) windows: SessionWindows,
    pub(crate) emit: EmitStrategy,
    pub(crate) dropped: Option<DroppedConsumer<K, V>>,
}

impl<K, V> fmt::Debug for SessionWindowedKStream<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionWindowedKStream")
            .field("windows", &self.windows)
            .field("emit", &self.emit)
            .finish_non_exhaustive()
    }
}

/// A table: each record is the new value of its key, or its removal.
///
/// A table need not have a store: [`materialized`](Self::materialized) gives it one.
pub struct KTable<K, V> {
    pub(crate) scope: Scope,
    pub(crate) node: NodeId,
    pub(crate) table: Rc<TableNode<K, V>>,
}

impl<K, V> Clone for KTable<K, V> {
    fn clone(&self) -> Self {
        Self { scope: self.scope.clone(), node: self.node, table: Rc::clone(&self.table) }
    }
}

impl<K, V> fmt::Debug for KTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KTable").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The rows of a table grouped by another key: made by [`KTable::group_by`].
pub struct KGroupedTable<K, V> {
    pub(crate) scope: Scope,
    pub(crate) node: NodeId,
    pub(crate) grouped: Grouped<K, V>,
}

impl<K, V> Clone for KGroupedTable<K, V> {
    fn clone(&self) -> Self {
        Self { scope: self.scope.clone(), node: self.node, grouped: self.grouped.clone() }
    }
}

impl<K, V> fmt::Debug for KGroupedTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KGroupedTable").field("grouped", &self.grouped).finish_non_exhaustive()
    }
}

impl<K, V> KStream<K, V> {
    pub(crate) fn new(scope: Scope, node: NodeId, repartition_required: bool) -> Self {
        Self { scope, node, repartition_required, types: PhantomData }
    }
}

impl<K, V> KGroupedStream<K, V> {
    pub(crate) fn new(
        scope: Scope,
        node: NodeId,
        repartition_required: bool,
        grouped: Grouped<K, V>,
    ) -> Self {
        Self { scope, node, repartition_required, grouped }
    }
}

impl<K, V> KTable<K, V> {
    pub(crate) fn new(scope: Scope, node: NodeId, table: TableNode<K, V>) -> Self {
        Self { scope, node, table: Rc::new(table) }
    }
}
