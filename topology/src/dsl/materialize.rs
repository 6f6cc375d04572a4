//! From `Materialized` to the store of a graph.

use std::hash::Hash;
use std::sync::Arc;

use crate::dsl::options::Materialized;
use crate::graph::node::{StoreDefinition, StoreKind};
use crate::processor::StoreHandle;
use crate::serdes::SerdeRef;
use crate::store::key_value::KeyValueStore;
use crate::store::versioned::VersionedStore;

/// A store as `materialized` says; `build` makes an empty one.
pub(crate) fn definition<K, V: 'static>(
    materialized: Materialized<K, V>,
    kind: StoreKind,
    build: impl Fn(String, SerdeRef<V>) -> StoreHandle + Send + Sync + 'static,
) -> StoreDefinition {
    let Materialized { store, value_serde, logged, cached, store_type, configs, .. } = materialized;
    let name = store.clone();
    let factory = Arc::new(move || build(name.clone(), Arc::clone(&value_serde)));
    StoreDefinition { name: store, kind, logged, cached, store_type, configs, factory }
}

/// A versioned store as `materialized` says, with that serde for its keys if it says none.
pub(crate) fn versioned_store<K, V>(
    materialized: Materialized<K, V>,
    history_ms: i64,
    key_serde: &SerdeRef<K>,
) -> StoreDefinition
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    let key_serde = Arc::clone(materialized.key_serde.as_ref().unwrap_or(key_serde));
    definition(materialized, StoreKind::Versioned { history_ms }, move |name, value_serde| {
        let key_serde = Arc::clone(&key_serde);
        StoreHandle::new(VersionedStore::new(name, history_ms, key_serde, value_serde))
    })
}

/// A key-value store as `materialized` says, with that serde for its keys if it says none.
pub(crate) fn key_value_store<K, V>(
    materialized: Materialized<K, V>,
    key_serde: &SerdeRef<K>,
) -> StoreDefinition
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    let key_serde = Arc::clone(materialized.key_serde.as_ref().unwrap_or(key_serde));
    definition(materialized, StoreKind::KeyValue, move |name, value_serde| {
        StoreHandle::new(KeyValueStore::new(name, Arc::clone(&key_serde), value_serde))
    })
}
