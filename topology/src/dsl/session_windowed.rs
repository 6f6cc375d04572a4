//! `SessionWindowedKStream`: records by key and session, to be aggregated.

use std::hash::Hash;
use std::sync::Arc;

use crate::dsl::dropped::add_side_output;
use crate::dsl::handles::{KTable, SessionWindowedKStream};
use crate::dsl::materialize::definition;
use crate::dsl::options::Materialized;
use crate::dsl::table_node::TableNode;
use crate::dsl::window_shape::WindowShape;
use crate::graph::node::{StoreDefinition, StoreKind};
use crate::operators::aggregator::{Aggregator, Count, Fold, Reduce};
use crate::operators::session_aggregate::{self, Merger};
use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::operators::window_aggregate::Windowing;
use crate::processor::StoreHandle;
use crate::serdes::SerdeRef;
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::slots::Session;
use crate::store::window_options::WindowStoreOptions;
use crate::window::emit_strategy::EmitStrategy;
use crate::window::windowed::{SessionWindow, SessionWindowedSerde, Windowed};

impl<K, V> SessionWindowedKStream<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// When results are sent. Default = [`EmitStrategy::on_window_update`].
    #[must_use]
    pub fn emit_strategy(self, emit: EmitStrategy) -> Self {
        Self { emit, ..self }
    }

    /// Counts the records of each key and session, in a store of that name; null values count, null
    /// keys are dropped. A record whose session, joined with those that it touches, ended before
    /// stream time less gap and grace is late: it is dropped and counted.
    ///
    /// A record that prolongs sessions, or joins them, first gives a tombstone for each session
    /// that is no more, then the count of the new one. The timestamp of a result is the end of its
    /// session, and it has no headers.
    ///
    /// ```
    /// use headwater_topology::{SessionWindows, StreamsBuilder, TopologyTestDriver};
    /// use std::time::Duration;
    ///
    /// let visits = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_millis(10));
    /// let builder = StreamsBuilder::new();
    /// let clicks = builder.stream::<String, String>("clicks").group_by_key();
    /// let counts = clicks.windowed_by(visits).count("counts").to_stream();
    /// counts.map(|windowed, count| (windowed.to_string(), count)).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let clicks = driver.input_topic::<String, String>("clicks");
    /// clicks.pipe_input_at("k", "click", 25)?;
    /// clicks.pipe_input_at("k", "click", 15)?;
    /// let out = driver.output_topic::<String, Option<i64>>("out")?;
    /// let expected = [("k@25/25", Some(1), 25), ("k@25/25", None, 25), ("k@15/25", Some(2), 25)];
    /// assert_eq!(out.read_timed()?, expected.map(|(key, count, time)| (key.to_owned(), count, time)));
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    pub fn count(
        &self,
        materialized: impl Into<Materialized<K, i64>>,
    ) -> KTable<Windowed<K, SessionWindow>, i64> {
        let merger = |_: &K, one: Option<i64>, other| Some(one.unwrap_or(0) + other);
        self.add_aggregate("KSTREAM-AGGREGATE-", materialized.into(), Count, merger)
    }

    /// Combines the values of each key and session, in a store of that name: the first is taken as
    /// it is; the reducer also makes one session of two. For null values, late records, times and
    /// headers see [`count`](Self::count): a null value is passed to the reducer.
    ///
    /// ```
    /// # use headwater_topology::{SessionWindows, StreamsBuilder};
    /// # use std::time::Duration;
    /// # let builder = StreamsBuilder::new();
    /// let visits = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_secs(600));
    /// let paths = builder.stream::<String, String>("clicks").group_by_key().windowed_by(visits);
    /// paths.reduce(|path, page| path + " > " + &page, "paths-through-the-shop");
    /// ```
    pub fn reduce(
        &self,
        reducer: impl Fn(V, V) -> V + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, V>>,
    ) -> KTable<Windowed<K, SessionWindow>, V> {
        let reducer = Arc::new(reducer);
        let of_two = Arc::clone(&reducer);
        let merger = move |_: &K, one: Option<V>, other: V| {
            Some(match one {
                Some(one) => of_two(one, other),
                None => other,
            })
        };
        let reduce = Reduce(move |old, new| reducer(old, new));
        self.add_aggregate("KSTREAM-REDUCE-", materialized.into(), reduce, merger)
    }

    /// Folds the values of each key and session, in a store of that name; `merger` makes one
    /// aggregate of two, beginning with the initial one. Where `aggregator` returns an `Option`,
    /// `None` removes the session. For null values, late records, times and headers see
    /// [`count`](Self::count): a null value is passed to the aggregator.
    ///
    /// ```
    /// # use headwater_topology::{SessionWindows, StreamsBuilder};
    /// # use std::time::Duration;
    /// # let builder = StreamsBuilder::new();
    /// let visits = SessionWindows::of_inactivity_gap_with_no_grace(Duration::from_secs(600));
    /// let spent = builder.stream::<String, i64>("sales").group_by_key().windowed_by(visits);
    /// spent.aggregate(|| 0_i64, |_, cents, sum| sum + cents, |_, one, other| one + other, "spent");
    /// ```
    pub fn aggregate<A: Clone + Send + 'static, R: Into<Option<A>> + 'static>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        merger: impl Fn(&K, A, A) -> A + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, A>>,
    ) -> KTable<Windowed<K, SessionWindow>, A> {
        let merger = move |key: &K, one: Option<A>, other| {
            Some(match one {
                Some(one) => merger(key, one, other),
                None => other,
            })
        };
        let fold = Fold::new(initializer, aggregator);
        self.add_aggregate("KSTREAM-AGGREGATE-", materialized.into(), fold, merger)
    }

    fn add_aggregate<A: Clone + Send + 'static>(
        &self,
        prefix: &str,
        materialized: Materialized<K, A>,
        aggregator: impl Aggregator<K, V, A>,
        merger: impl Merger<K, A>,
    ) -> KTable<Windowed<K, SessionWindow>, A> {
        let scope = &self.grouped.scope;
        let shape = WindowShape::of_sessions(&self.windows);
        let (retention_ms, emit) = (materialized.retention_ms, self.emit);
        let store_options = shape.store_options(scope, &materialized.store, retention_ms, emit, 1);
        let name = scope.next_name(prefix);
        let parent = self.grouped.aggregation_parent(&materialized.store);
        let options = self.grouped.aggregate_options(&materialized);
        let (key_serde, state) = (Arc::clone(&options.key_serde), Arc::clone(&options.state));
        let windowing = Windowing { windows: self.windows, emit, operator: 0 };
        let factory = session_aggregate::factory(options, windowing, aggregator, merger);
        let table = table_node(state, &materialized.store, &key_serde);
        let store = store_definition(store_options, materialized, key_serde);
        let node = scope.add_stateful(name, parent, store, factory);
        scope.set_closing(node, shape.closing);
        add_side_output(scope, node, self.dropped.as_ref());
        KTable::new(scope.clone(), node, table)
    }
}

/// The table of aggregations of sessions, its rows in that store.
pub(crate) fn table_node<K, A>(
    state: Arc<TableState>,
    store: &str,
    key_serde: &SerdeRef<K>,
) -> TableNode<Windowed<K, SessionWindow>, A>
where
    K: Hash + Eq + Clone + Send + 'static,
    A: Clone + Send + 'static,
{
    let serde = Arc::new(SessionWindowedSerde::new(Arc::clone(key_serde)));
    TableNode::kept(state, serde, View::of_session_store(store))
}

/// The store of aggregations of sessions.
pub(crate) fn store_definition<K, A>(
    options: WindowStoreOptions,
    materialized: Materialized<K, A>,
    key_serde: SerdeRef<K>,
) -> StoreDefinition
where
    K: Hash + Eq + Clone + Send + 'static,
    A: Clone + Send + 'static,
{
    let kind = StoreKind::Window { retention_ms: options.retention_ms, size_ms: None };
    let materialized = match options.emission {
        Some(_) => materialized.with_caching_disabled(),
        None => materialized,
    };
    definition(materialized, kind, move |name, value_serde| {
        let key_serde = Arc::clone(&key_serde);
        let store = KeyedWindowStore::<K, Session, A>::new(name, options, key_serde, value_serde);
        StoreHandle::new(store)
    })
}
