//! `Stores` and `StoreBuilder`: how a store of a processor is defined.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::graph::node::{StoreDefinition, StoreFactory, StoreKind};
use crate::processor::StoreHandle;
use crate::serdes::{DefaultSerde, SerdeRef};
use crate::state_stores::key_value::{KeyValueStore, TimestampedKeyValueStore};
use crate::state_stores::session::SessionStore;
use crate::state_stores::versioned::VersionedKeyValueStore;
use crate::state_stores::window::{TimestampedWindowStore, WindowStore};
use crate::store::key_value::KeyValueStore as Rows;
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::slots::{Session, Slot, WindowStart};
use crate::store::versioned::VersionedStore;
use crate::store::window_options::WindowStoreOptions;
use crate::types::StoreType;
use crate::window::windowed::millis;

/// Makes the definitions of stores, as Kafka Streams' `Stores`. They are kept in memory; a
/// changelog restores them.
#[derive(Clone, Copy, Debug)]
pub struct Stores;

/// The definition of a store, for
/// [`StreamsBuilder::add_state_store`](crate::StreamsBuilder::add_state_store).
pub struct StoreBuilder<S> {
    pub(crate) definition: StoreDefinition,
    opens: PhantomData<fn() -> S>,
}

impl Stores {
    /// A key-value store of that name, with the types' own serdes.
    #[must_use]
    pub fn key_value_store<K, V>(name: impl Into<String>) -> StoreBuilder<KeyValueStore<K, V>>
    where
        K: DefaultSerde + Hash + Eq + Clone + 'static,
        V: DefaultSerde + Clone + 'static,
    {
        Self::key_value_store_with(name, K::default_serde(), V::default_serde())
    }

    /// A key-value store of that name, with these serdes.
    #[must_use]
    pub fn key_value_store_with<K, V>(
        name: impl Into<String>,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> StoreBuilder<KeyValueStore<K, V>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        key_value(name.into(), key_serde, value_serde)
    }

    /// A key-value store of that name whose rows have times, with the types' own serdes.
    #[must_use]
    pub fn timestamped_key_value_store<K, V>(
        name: impl Into<String>,
    ) -> StoreBuilder<TimestampedKeyValueStore<K, V>>
    where
        K: DefaultSerde + Hash + Eq + Clone + 'static,
        V: DefaultSerde + Clone + 'static,
    {
        Self::timestamped_key_value_store_with(name, K::default_serde(), V::default_serde())
    }

    /// A key-value store of that name whose rows have times, with these serdes.
    #[must_use]
    pub fn timestamped_key_value_store_with<K, V>(
        name: impl Into<String>,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> StoreBuilder<TimestampedKeyValueStore<K, V>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        key_value(name.into(), key_serde, value_serde)
    }

    /// A versioned key-value store of that name, with the types' own serdes. Versions are kept for
    /// `history` by the clock of the store.
    #[must_use]
    pub fn versioned_key_value_store<K, V>(
        name: impl Into<String>,
        history: Duration,
    ) -> StoreBuilder<VersionedKeyValueStore<K, V>>
    where
        K: DefaultSerde + Hash + Eq + Clone + 'static,
        V: DefaultSerde + Clone + 'static,
    {
        let serdes = (K::default_serde(), V::default_serde());
        Self::versioned_key_value_store_with(name, history, serdes.0, serdes.1)
    }

    /// A versioned key-value store of that name, with these serdes: see
    /// [`versioned_key_value_store`](Self::versioned_key_value_store).
    #[must_use]
    pub fn versioned_key_value_store_with<K, V>(
        name: impl Into<String>,
        history: Duration,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> StoreBuilder<VersionedKeyValueStore<K, V>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let history_ms = millis(history);
        StoreBuilder::new(name.into(), StoreKind::Versioned { history_ms }, move |name| {
            let serdes = (Arc::clone(&key_serde), Arc::clone(&value_serde));
            StoreHandle::new(VersionedStore::new(name, history_ms, serdes.0, serdes.1))
        })
    }

    /// A window store of that name, with the types' own serdes. Windows are kept until the latest
    /// start of one lies `retention` after theirs.
    #[must_use]
    pub fn window_store<K, V>(
        name: impl Into<String>,
        retention: Duration,
    ) -> StoreBuilder<WindowStore<K, V>>
    where
        K: DefaultSerde + Hash + Eq + Clone + 'static,
        V: DefaultSerde + Clone + 'static,
    {
        Self::window_store_with(name, retention, K::default_serde(), V::default_serde())
    }

    /// A window store of that name, with these serdes: see [`window_store`](Self::window_store).
    #[must_use]
    pub fn window_store_with<K, V>(
        name: impl Into<String>,
        retention: Duration,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> StoreBuilder<WindowStore<K, V>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        windows::<_, K, WindowStart, V>(name.into(), retention, key_serde, value_serde)
    }

    /// A window store of that name whose rows have times, with the types' own serdes: see
    /// [`window_store`](Self::window_store).
    #[must_use]
    pub fn timestamped_window_store<K, V>(
        name: impl Into<String>,
        retention: Duration,
    ) -> StoreBuilder<TimestampedWindowStore<K, V>>
    where
        K: DefaultSerde + Hash + Eq + Clone + 'static,
        V: DefaultSerde + Clone + 'static,
    {
        Self::timestamped_window_store_with(name, retention, K::default_serde(), V::default_serde())
    }

    /// A window store of that name whose rows have times, with these serdes: see
    /// [`window_store`](Self::window_store).
    #[must_use]
    pub fn timestamped_window_store_with<K, V>(
        name: impl Into<String>,
        retention: Duration,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> StoreBuilder<TimestampedWindowStore<K, V>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        windows::<_, K, WindowStart, V>(name.into(), retention, key_serde, value_serde)
    }

    /// A session store of that name, with the types' own serdes. Sessions are kept until the latest
    /// end of one lies `retention` after theirs.
    #[must_use]
    pub fn session_store<K, V>(
        name: impl Into<String>,
        retention: Duration,
    ) -> StoreBuilder<SessionStore<K, V>>
    where
        K: DefaultSerde + Hash + Eq + Clone + 'static,
        V: DefaultSerde + Clone + 'static,
    {
        Self::session_store_with(name, retention, K::default_serde(), V::default_serde())
    }

    /// A session store of that name, with these serdes: see [`session_store`](Self::session_store).
    #[must_use]
    pub fn session_store_with<K, V>(
        name: impl Into<String>,
        retention: Duration,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> StoreBuilder<SessionStore<K, V>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        windows::<_, K, Session, V>(name.into(), retention, key_serde, value_serde)
    }
}

/// A store of windows whose places depend on what is put.
fn windows<S, K, W, V>(
    name: String,
    retention: Duration,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
) -> StoreBuilder<S>
where
    K: Hash + Eq + Clone + 'static,
    W: Slot,
    V: Clone + 'static,
{
    let retention_ms = millis(retention);
    let options = WindowStoreOptions { retention_ms, operators: 1, emission: None };
    StoreBuilder::new(name, StoreKind::Window { retention_ms, size_ms: None }, move |name| {
        let serdes = (Arc::clone(&key_serde), Arc::clone(&value_serde));
        StoreHandle::new(KeyedWindowStore::<K, W, V>::new(name, options, serdes.0, serdes.1))
    })
}

fn key_value<S, K, V>(
    name: String,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
) -> StoreBuilder<S>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    StoreBuilder::new(name, StoreKind::KeyValue, move |name| {
        StoreHandle::new(Rows::new(name, Arc::clone(&key_serde), Arc::clone(&value_serde)))
    })
}

impl<S> StoreBuilder<S> {
    pub(crate) fn new(
        name: String,
        kind: StoreKind,
        build: impl Fn(String) -> StoreHandle + Send + Sync + 'static,
    ) -> Self {
        let of = name.clone();
        let factory: StoreFactory = Arc::new(move || build(of.clone()));
        let configs = BTreeMap::new();
        let definition = StoreDefinition {
            name,
            kind,
            logged: true,
            cached: Some(false),
            store_type: Some(StoreType::InMemory),
            configs,
            factory,
        };
        Self { definition, opens: PhantomData }
    }

    /// Without a changelog: the store is empty after a restart. Default = with the changelog
    /// `<application.id>-<name>-changelog`.
    #[must_use]
    pub fn without_logging(mut self) -> Self {
        self.definition.logged = false;
        self
    }

    /// With its rows in memory, or on disk: see [`StoreType`]. Default = in memory.
    #[must_use]
    pub fn with_store_type(mut self, store_type: StoreType) -> Self {
        self.definition.store_type = Some(store_type);
        self
    }

    /// With a config for the changelog topic, over Kafka Streams' defaults.
    #[must_use]
    pub fn with_logging_config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.definition.configs.insert(key.into(), value.into());
        self
    }
}

impl<S> fmt::Debug for StoreBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreBuilder").field("definition", &self.definition).finish_non_exhaustive()
    }
}
