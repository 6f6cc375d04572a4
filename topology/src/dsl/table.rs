//! `KTable`: the latest value of each key.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::dsl::scope::Scope;
use crate::dsl::stream::KStream;
use crate::operators::table;
use crate::types::NodeId;

/// A table: each record is the new value of its key.
pub struct KTable<K, V> {
    scope: Scope,
    node: NodeId,
    /// Set to make the aggregation above send old values with the new ones.
    send_old: Arc<AtomicBool>,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for KTable<K, V> {
    fn clone(&self) -> Self {
        Self {
            scope: self.scope.clone(),
            node: self.node,
            send_old: Arc::clone(&self.send_old),
            types: PhantomData,
        }
    }
}

impl<K, V> fmt::Debug for KTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KTable").field("node", &self.node).finish_non_exhaustive()
    }
}

impl<K, V> KTable<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    pub(crate) fn new(scope: Scope, node: NodeId, send_old: Arc<AtomicBool>) -> Self {
        Self { scope, node, send_old, types: PhantomData }
    }

    /// Names the node of the last operation. Default = its kind and a number.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.scope.rename(self.node, name);
        self
    }

    /// The rows that satisfy the predicate. A row that no longer does becomes a tombstone.
    #[must_use]
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        // A store stands behind every table so far, so the old values are there for the asking.
        self.send_old.store(true, Ordering::Relaxed);
        let node = self.scope.add_processor("KTABLE-FILTER-", &[self.node], |node| {
            table::filter(node, true, predicate)
        });
        Self::new(self.scope.clone(), node, Arc::clone(&self.send_old))
    }

    /// The rows that do not satisfy the predicate.
    #[must_use]
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter(move |key, value| !predicate(key, value))
    }

    /// Makes of each value another one. The closure is not called for tombstones, which pass.
    #[must_use]
    pub fn map_values<V2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(V) -> V2 + Send + Sync + 'static,
    ) -> KTable<K, V2> {
        self.map_values_with_key(move |_, value| mapper(value))
    }

    /// As [`map_values`](Self::map_values), with a look at the key.
    #[must_use]
    pub fn map_values_with_key<V2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(&K, V) -> V2 + Send + Sync + 'static,
    ) -> KTable<K, V2> {
        let node = self.scope.add_processor("KTABLE-MAPVALUES-", &[self.node], |node| {
            table::map_values(node, move |key, value| Some(mapper(key, value)))
        });
        KTable::new(self.scope.clone(), node, Arc::clone(&self.send_old))
    }

    /// The changes of the table as a stream: a removed row is `None`, a tombstone in a topic.
    #[must_use]
    pub fn to_stream(&self) -> KStream<K, Option<V>> {
        let node = self
            .scope
            .add_processor("KTABLE-TOSTREAM-", &[self.node], |_| table::to_stream::<K, V>());
        KStream::new(self.scope.clone(), node, false)
    }
}
