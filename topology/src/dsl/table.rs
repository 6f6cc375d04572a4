//! `KTable`: the latest value of each key.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::dsl::handles::{KStream, KTable};
use crate::operators::table;

impl<K, V> KTable<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
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
