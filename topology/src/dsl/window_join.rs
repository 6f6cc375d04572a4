//! Joins of a `KStream` with another one, within windows of time.

use std::hash::Hash;
use std::sync::Arc;

use crate::dsl::handles::KStream;
use crate::dsl::options::KeyValueSerdes;
use crate::dsl::scope::Scope;
use crate::dsl::stream_joined::StreamJoined;
use crate::error::BuildError;
use crate::graph::node::{NodeKind, StoreDefinition, StoreKind};
use crate::operators::merge;
use crate::operators::stream_join::{self, JoinOptions, LeftSide, RightSide};
use crate::processor::StoreHandle;
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::outer_store::OuterStore;
use crate::store::slots::JoinSlot;
use crate::store::window_options::WindowStoreOptions;
use crate::types::{NodeId, StoreType};
use crate::window::join_windows::JoinWindows;

/// Which sides of a join have results without a match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum JoinKind {
    Inner,
    Left,
    Outer,
}

impl<K, V> KStream<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Joins each record with those of another stream that have its key and lie within `windows`,
    /// in stores named after `joined`.
    ///
    /// Either side triggers, and each pair has one result: its time is the later one of the two,
    /// its headers are those of the record that came last. Several records of one key and time all
    /// count. Null keys and null values are dropped and counted. Late records are joined as long
    /// as the stores keep their partners: for before, after and grace. A stream whose key was
    /// changed goes through a repartition topic, `<name>-left-repartition` or
    /// `<name>-right-repartition`. A stream may be joined with itself.
    ///
    /// ```
    /// use headwater_topology::{JoinWindows, StreamsBuilder, TopologyTestDriver};
    /// use std::time::Duration;
    ///
    /// let hour = JoinWindows::of_time_difference_with_no_grace(Duration::from_secs(3_600));
    /// let builder = StreamsBuilder::new();
    /// let orders = builder.stream::<String, String>("orders");
    /// let payments = builder.stream::<String, i64>("payments");
    /// orders.join(&payments, |order, paid| format!("{order}: {paid}"), hour, "paid").to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// driver.input_topic::<String, String>("orders").pipe_input_at("7", "tea", 1_000)?;
    /// driver.input_topic::<String, i64>("payments").pipe_input_at("7", 5, 60_000)?;
    /// let out = driver.output_topic::<String, String>("out")?.read_timed()?;
    /// assert_eq!(out, [("7".to_owned(), "tea: 5".to_owned(), 60_000)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn join<V2, R>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(V, V2) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, V2>>,
    ) -> KStream<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        self.join_with_key(other, move |_, left, right| joiner(left, right), windows, joined)
    }

    /// As [`join`](Self::join), with a look at the key.
    #[must_use]
    pub fn join_with_key<V2, R>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(&K, V, V2) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, V2>>,
    ) -> KStream<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let joiner = move |key: &K, left: Option<V>, right: Option<V2>| {
            // An inner join has no results of one record alone.
            Some(joiner(key, left?, right?))
        };
        self.add_join(other, joiner, (JoinKind::Inner, windows), joined.into())
    }

    /// As [`join`](Self::join), where a record of this stream that finds no match has a result
    /// with `None`.
    ///
    /// That result comes when stream time, the latest time of both streams, has passed its time,
    /// `after` and grace; with the record's own time, and the headers of the record that moved
    /// stream time on. Such results come by their time; outside of the test driver they are looked
    /// for once a second at most, and only when a record comes. A null key has its result at once;
    /// so has a record that comes when stream time has passed its time and `after`.
    ///
    /// ```
    /// use headwater_topology::{JoinWindows, StreamsBuilder, TopologyTestDriver};
    /// use std::time::Duration;
    ///
    /// let windows = JoinWindows::of_time_difference_with_no_grace(Duration::from_millis(10));
    /// let builder = StreamsBuilder::new();
    /// let orders = builder.stream::<String, String>("orders");
    /// let payments = builder.stream::<String, i64>("payments");
    /// let state = |order: String, paid: Option<i64>| format!("{order}: {paid:?}");
    /// orders.left_join(&payments, state, windows, "paid").to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let orders = driver.input_topic::<String, String>("orders");
    /// orders.pipe_input_at("7", "tea", 0)?;
    /// orders.pipe_input_at("8", "rum", 11)?;
    /// let out = driver.output_topic::<String, String>("out")?.read_timed()?;
    /// assert_eq!(out, [("7".to_owned(), "tea: None".to_owned(), 0)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn left_join<V2, R>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(V, Option<V2>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, V2>>,
    ) -> KStream<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        self.left_join_with_key(other, move |_, left, right| joiner(left, right), windows, joined)
    }

    /// As [`left_join`](Self::left_join), with a look at the key.
    #[must_use]
    pub fn left_join_with_key<V2, R>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(&K, V, Option<V2>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, V2>>,
    ) -> KStream<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let joiner = move |key: &K, left: Option<V>, right: Option<V2>| {
            // A left join has no results of a right record alone.
            Some(joiner(key, left?, right))
        };
        self.add_join(other, joiner, (JoinKind::Left, windows), joined.into())
    }

    /// As [`left_join`](Self::left_join), where records of either stream that find no match have
    /// a result; one of them is always there. A record of the other stream waits for `before`.
    #[must_use]
    pub fn outer_join<V2, R>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(Option<V>, Option<V2>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, V2>>,
    ) -> KStream<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        self.outer_join_with_key(other, move |_, left, right| joiner(left, right), windows, joined)
    }

    /// As [`outer_join`](Self::outer_join), with a look at the key.
    #[must_use]
    pub fn outer_join_with_key<V2, R>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(&K, Option<V>, Option<V2>) -> R + Send + Sync + 'static,
        windows: JoinWindows,
        joined: impl Into<StreamJoined<K, V, V2>>,
    ) -> KStream<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let joiner = move |key: &K, left, right| Some(joiner(key, left, right));
        self.add_join(other, joiner, (JoinKind::Outer, windows), joined.into())
    }

    fn add_join<V2, R>(
        &self,
        other: &KStream<K, V2>,
        joiner: impl Fn(&K, Option<V>, Option<V2>) -> Option<R> + Send + Sync + 'static,
        (kind, windows): (JoinKind, JoinWindows),
        joined: StreamJoined<K, V, V2>,
    ) -> KStream<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let scope = &self.scope;
        if !scope.is_same(&other.scope) {
            scope.refuse(BuildError::ForeignStream { operation: "join" });
            return KStream::new(scope.clone(), self.node, false);
        }
        if let Some(reason) = windows.problem() {
            let what = format!("windows of store {}", joined.store);
            scope.refuse(BuildError::InvalidOption { what, reason });
        }
        let base = joined.name.as_ref().unwrap_or(&joined.store);
        let (left_serdes, right_serdes) = (joined.left_serdes(), joined.right_serdes());
        let left = self.repartitioned_for_join(Some(format!("{base}-left").as_str()), &left_serdes);
        let right =
            other.repartitioned_for_join(Some(format!("{base}-right").as_str()), &right_serdes);
        scope.copartition(&[left, right]);
        let names = JoinNames::new(scope, kind, &joined.store, joined.name.as_deref());
        let left_window = joined.add_window(scope, left, names.this(), windows, &left_serdes);
        let right_window = joined.add_window(scope, right, names.other(), windows, &right_serdes);
        let shared = kind != JoinKind::Inner && !windows.is_eager();
        let outer_store = shared.then(|| names.shared_store.clone());
        let joiner = Arc::new(joiner);
        let options = JoinOptions {
            node: scope.next_id(),
            windows,
            outer: kind != JoinKind::Inner,
            key_serde: Arc::clone(&joined.key),
            value_serde: Arc::clone(&joined.this),
            other_store: names.other_store.clone(),
            outer_store: outer_store.clone(),
        };
        let stores = options.stores();
        let factory =
            stream_join::factory::<LeftSide, K, V, V2, R, _>(options, Arc::clone(&joiner));
        let kind_of_node = NodeKind::Processor { stores, factory };
        let this_join = scope.add_node(names.this_join, &[left_window], kind_of_node);
        let options = JoinOptions {
            node: scope.next_id(),
            windows,
            outer: kind == JoinKind::Outer,
            key_serde: Arc::clone(&joined.key),
            value_serde: Arc::clone(&joined.other),
            other_store: names.this_store.clone(),
            outer_store,
        };
        let stores = options.stores();
        let factory = stream_join::factory::<RightSide, K, V, V2, R, _>(options, joiner);
        let kind_of_node = NodeKind::Processor { stores, factory };
        let other_join = scope.add_node(names.other_join, &[right_window], kind_of_node);
        if shared {
            scope.add_store_of(this_join, joined.outer_store(names.shared_store));
        }
        let kind_of_node =
            NodeKind::Processor { stores: Vec::new(), factory: merge::factory::<K, R>() };
        let merged = scope.add_node(names.merge, &[this_join, other_join], kind_of_node);
        if kind != JoinKind::Inner {
            scope.let_null_keys_pass(merged);
        }
        KStream::new(scope.clone(), merged, false)
    }
}

/// The names of a join's nodes and stores. Five numbers are used up.
struct JoinNames {
    this_window: String,
    other_window: String,
    this_join: String,
    other_join: String,
    merge: String,
    this_store: String,
    other_store: String,
    shared_store: String,
}

impl JoinNames {
    fn new(scope: &Scope, kind: JoinKind, store: &str, name: Option<&str>) -> Self {
        let (this_outer, this_prefix) = match kind {
            JoinKind::Inner | JoinKind::Left => ("this-join", "KSTREAM-JOINTHIS-"),
            JoinKind::Outer => ("outer-this-join", "KSTREAM-OUTERTHIS-"),
        };
        let (other_outer, other_prefix) = match kind {
            JoinKind::Inner => ("other-join", "KSTREAM-JOINOTHER-"),
            JoinKind::Left | JoinKind::Outer => ("outer-other-join", "KSTREAM-OUTEROTHER-"),
        };
        let shared = if kind == JoinKind::Outer { "outer-shared" } else { "left-shared" };
        let next = |suffix: &str, prefix: &str| {
            let given = name.map(|name| format!("{name}-{suffix}"));
            scope.name_or_next(given.as_ref(), prefix)
        };
        Self {
            this_window: next("this-windowed", "KSTREAM-WINDOWED-"),
            other_window: next("other-windowed", "KSTREAM-WINDOWED-"),
            this_join: next(this_outer, this_prefix),
            other_join: next(other_outer, other_prefix),
            merge: next("merge", "KSTREAM-MERGE-"),
            this_store: format!("{store}-{this_outer}-store"),
            other_store: format!("{store}-{other_outer}-store"),
            shared_store: format!("{store}-{shared}-join-store"),
        }
    }

    /// The names of the left stream's window node and of its store.
    fn this(&self) -> (&str, &str) {
        (&self.this_window, &self.this_store)
    }

    /// The names of the right stream's window node and of its store.
    fn other(&self) -> (&str, &str) {
        (&self.other_window, &self.other_store)
    }
}

impl<K, V1, V2> StreamJoined<K, V1, V2>
where
    K: Hash + Eq + Clone + Send + 'static,
    V1: Clone + Send + 'static,
    V2: Clone + Send + 'static,
{
    fn left_serdes(&self) -> KeyValueSerdes<K, V1> {
        KeyValueSerdes { key: Arc::clone(&self.key), value: Arc::clone(&self.this) }
    }

    fn right_serdes(&self) -> KeyValueSerdes<K, V2> {
        KeyValueSerdes { key: Arc::clone(&self.key), value: Arc::clone(&self.other) }
    }

    /// Adds the node that keeps the records of one stream.
    fn add_window<V: Clone + Send + 'static>(
        &self,
        scope: &Scope,
        parent: NodeId,
        (name, store): (&str, &str),
        windows: JoinWindows,
        serdes: &KeyValueSerdes<K, V>,
    ) -> NodeId {
        let retention_ms = windows.retention_ms();
        let options = WindowStoreOptions { retention_ms, operators: 0, emission: None };
        let (key_serde, value_serde) = (Arc::clone(&serdes.key), Arc::clone(&serdes.value));
        let kind = StoreKind::Window { retention_ms, size_ms: None };
        let store = self.store_definition(store, kind, move |name| {
            let (key_serde, value_serde) = (Arc::clone(&key_serde), Arc::clone(&value_serde));
            StoreHandle::new(KeyedWindowStore::<K, JoinSlot, V>::new(
                name,
                options,
                key_serde,
                value_serde,
            ))
        });
        let (key_serde, value_serde) = (Arc::clone(&serdes.key), Arc::clone(&serdes.value));
        let factory =
            stream_join::window_factory::<K, V>(store.name.clone(), key_serde, value_serde);
        scope.add_stateful(name.to_owned(), parent, store, factory)
    }

    fn outer_store(&self, name: String) -> StoreDefinition {
        let serdes = (Arc::clone(&self.key), Arc::clone(&self.this), Arc::clone(&self.other));
        self.store_definition(&name, StoreKind::KeyValue, move |name| {
            let (key, left, right) = &serdes;
            let (key, left, right) = (Arc::clone(key), Arc::clone(left), Arc::clone(right));
            StoreHandle::new(OuterStore::new(name, key, left, right))
        })
    }

    fn store_definition(
        &self,
        name: &str,
        kind: StoreKind,
        build: impl Fn(String) -> StoreHandle + Send + Sync + 'static,
    ) -> StoreDefinition {
        let name = name.to_owned();
        let (logged, configs) = (self.logged, self.configs.clone());
        let factory_name = name.clone();
        let factory = Arc::new(move || build(factory_name.clone()));
        let (cached, store_type) = (Some(false), Some(StoreType::InMemory));
        StoreDefinition { name, kind, logged, cached, store_type, configs, factory }
    }
}
