//! `TimeWindowedKStream`: records by key and window, to be aggregated.

use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::dsl::grouped::definition;
use crate::dsl::handles::{KTable, TimeWindowedKStream};
use crate::dsl::options::Materialized;
use crate::error::BuildError;
use crate::graph::node::StoreKind;
use crate::operators::aggregate::Adder;
use crate::operators::window_aggregate;
use crate::processor::StoreHandle;
use crate::store::window_store::WindowStore;
use crate::window::Windowed;

impl<K, V> TimeWindowedKStream<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Counts the records of each key and window, in a store of that name.
    pub fn count(&self, materialized: impl Into<Materialized<K, i64>>) -> KTable<Windowed<K>, i64> {
        self.add_aggregate("KSTREAM-AGGREGATE-", materialized.into(), |_, _, count| {
            Some(count.unwrap_or(0) + 1)
        })
    }

    /// Combines the values of each key and window, in a store of that name: the first is taken as
    /// it is.
    pub fn reduce(
        &self,
        reducer: impl Fn(V, V) -> V + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, V>>,
    ) -> KTable<Windowed<K>, V> {
        self.add_aggregate("KSTREAM-REDUCE-", materialized.into(), move |_, value, old| {
            Some(match old {
                Some(old) => reducer(old, value),
                None => value,
            })
        })
    }

    /// Folds the values of each key and window, in a store of that name. Where `aggregator`
    /// returns an `Option`, `None` removes the window of the key.
    pub fn aggregate<A: Clone + Send + 'static, R: Into<Option<A>>>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, A>>,
    ) -> KTable<Windowed<K>, A> {
        self.add_aggregate("KSTREAM-AGGREGATE-", materialized.into(), move |key, value, old| {
            aggregator(key, value, old.unwrap_or_else(&initializer)).into()
        })
    }

    fn add_aggregate<A: Clone + Send + 'static>(
        &self,
        prefix: &str,
        materialized: Materialized<K, A>,
        add: impl Adder<K, V, A>,
    ) -> KTable<Windowed<K>, A> {
        let scope = &self.grouped.scope;
        let least_ms = self.windows.retention_ms();
        let retention_ms = materialized.retention_ms.unwrap_or(least_ms);
        let problem = if self.windows.size_ms() < 1 {
            Some("windows are at least one millisecond long".to_owned())
        } else if retention_ms < least_ms {
            Some(format!("a retention of {retention_ms} ms is shorter than size and grace"))
        } else {
            None
        };
        if let Some(reason) = problem {
            let what = format!("windows of store {}", materialized.store);
            scope.refuse(BuildError::InvalidOption { what, reason });
        }
        let name = scope.next_name(prefix);
        let parent = self.grouped.aggregation_parent(&materialized.store);
        let send_old = Arc::new(AtomicBool::new(false));
        let options = self.grouped.aggregate_options(&materialized, &send_old);
        let key_serde = Arc::clone(&options.key_serde);
        let factory = window_aggregate::factory(options, self.windows, add);
        let kind = StoreKind::Window { retention_ms };
        let store = definition(materialized, kind, move |name, value_serde| {
            let key_serde = Arc::clone(&key_serde);
            StoreHandle::new(WindowStore::new(name, retention_ms, key_serde, value_serde))
        });
        let node = scope.add_stateful(name, parent, store, factory);
        KTable::new(scope.clone(), node, send_old)
    }
}
