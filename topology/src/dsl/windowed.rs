//! `TimeWindowedKStream`: records by key and window, to be aggregated.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::dsl::dropped::add_side_output;
use crate::dsl::handles::{KTable, TimeWindowKind, TimeWindowedKStream};
use crate::dsl::materialize::definition;
use crate::dsl::options::Materialized;
use crate::dsl::table_node::TableNode;
use crate::dsl::window_shape::WindowShape;
use crate::graph::node::{StoreDefinition, StoreKind};
use crate::operators::aggregator::{Aggregator, Count, Fold, Reduce};
use crate::operators::sliding_aggregate;
use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::operators::window_aggregate::{self, Windowing};
use crate::processor::StoreHandle;
use crate::serdes::SerdeRef;
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::slots::WindowStart;
use crate::store::window_options::WindowStoreOptions;
use crate::store::window_store::WindowStore;
use crate::window::emit_strategy::EmitStrategy;
use crate::window::windowed::{TimeWindowedSerde, Windowed};

impl<K, V> TimeWindowedKStream<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// When results are sent. Default = [`EmitStrategy::on_window_update`].
    ///
    /// Unlimited windows never close: for them `on_window_close` is an error when the topology is
    /// built.
    #[must_use]
    pub fn emit_strategy(self, emit: EmitStrategy) -> Self {
        Self { emit, ..self }
    }

    /// Counts the records of each key and window, in a store of that name. Null values count, but
    /// for sliding windows. Null keys are dropped. A record is dropped for each of its windows
    /// whose end, and the grace, stream time has come to; one that comes out of order, but in time,
    /// counts like any other. A result has the headers of its record.
    ///
    /// The timestamp of a result is the largest of its window.
    ///
    /// ```
    /// use headwater_topology::{StreamsBuilder, TimeWindows, TopologyTestDriver};
    /// use std::time::Duration;
    ///
    /// let tens = TimeWindows::of_size_with_no_grace(Duration::from_millis(10));
    /// let builder = StreamsBuilder::new();
    /// let clicks = builder.stream::<String, String>("clicks").group_by_key();
    /// let counts = clicks.windowed_by(tens).count("counts").to_stream();
    /// counts.map(|windowed, count| (windowed.to_string(), count)).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let clicks = driver.input_topic::<String, String>("clicks");
    /// for time in [5, 9, 7, 10, 9] {
    ///     clicks.pipe_input_at("k", "click", time)?; // the last one is late
    /// }
    /// let out = driver.output_topic::<String, i64>("out")?;
    /// let expected = [("k@0/10", 1, 5), ("k@0/10", 2, 9), ("k@0/10", 3, 9), ("k@10/20", 1, 10)];
    /// assert_eq!(out.read_timed()?, expected.map(|(key, count, time)| (key.to_owned(), count, time)));
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    pub fn count(&self, materialized: impl Into<Materialized<K, i64>>) -> KTable<Windowed<K>, i64> {
        self.add_aggregate("KSTREAM-AGGREGATE-", materialized.into(), Count)
    }

    /// Combines the values of each key and window, in a store of that name: the first is taken as
    /// it is, the others go through the reducer, null values as well. Late records and times are
    /// as with [`count`](Self::count).
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TimeWindows};
    /// # use std::time::Duration;
    /// # let builder = StreamsBuilder::new();
    /// let hours = TimeWindows::of_size_with_no_grace(Duration::from_secs(3_600));
    /// let readings = builder.stream::<String, i64>("temperatures").group_by_key();
    /// readings.windowed_by(hours).reduce(|one, other| one.max(other), "highest-by-hour");
    /// ```
    pub fn reduce(
        &self,
        reducer: impl Fn(V, V) -> V + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, V>>,
    ) -> KTable<Windowed<K>, V> {
        self.add_aggregate("KSTREAM-REDUCE-", materialized.into(), Reduce(reducer))
    }

    /// Folds the values of each key and window, in a store of that name. Where `aggregator`
    /// returns an `Option`, `None` removes the window of the key. Null values are passed to the
    /// aggregator; late records and times are as with [`count`](Self::count).
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TimeWindows};
    /// # use std::time::Duration;
    /// # let builder = StreamsBuilder::new();
    /// let minutes = TimeWindows::of_size_with_no_grace(Duration::from_secs(60));
    /// let sales = builder.stream::<String, i64>("sales").group_by_key();
    /// sales.windowed_by(minutes).aggregate(|| 0_i64, |_, cents, sum| sum + cents, "revenue");
    /// ```
    pub fn aggregate<A: Clone + Send + 'static, R: Into<Option<A>> + 'static>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, A>>,
    ) -> KTable<Windowed<K>, A> {
        let fold = Fold::new(initializer, aggregator);
        self.add_aggregate("KSTREAM-AGGREGATE-", materialized.into(), fold)
    }

    fn add_aggregate<A: Clone + Send + 'static>(
        &self,
        prefix: &str,
        materialized: Materialized<K, A>,
        aggregator: impl Aggregator<K, V, A>,
    ) -> KTable<Windowed<K>, A> {
        let scope = &self.grouped.scope;
        let shape = WindowShape::of(&self.windows);
        let (retention_ms, emit) = (materialized.retention_ms, self.emit);
        let store_options = shape.store_options(scope, &materialized.store, retention_ms, emit, 1);
        let name = scope.next_name(prefix);
        let parent = self.grouped.aggregation_parent(&materialized.store);
        let options = self.grouped.aggregate_options(&materialized);
        let (key_serde, state) = (Arc::clone(&options.key_serde), Arc::clone(&options.state));
        let operator = 0;
        let factory = match self.windows {
            TimeWindowKind::Aligned(windows) => {
                let windowing = Windowing { windows, emit, operator };
                window_aggregate::factory(options, windowing, aggregator)
            }
            TimeWindowKind::Sliding(windows) => {
                let windowing = Windowing { windows, emit, operator };
                sliding_aggregate::factory(options, windowing, aggregator)
            }
        };
        let table = table_node(self.windows, state, &materialized.store, &key_serde);
        let store = store_definition(self.windows, store_options, materialized, key_serde);
        let node = scope.add_stateful(name, parent, store, factory);
        scope.set_closing(node, shape.closing);
        add_side_output(scope, node, self.dropped.as_ref());
        KTable::new(scope.clone(), node, table)
    }
}

/// The table of windowed aggregations, its rows in that store.
pub(crate) fn table_node<K, A>(
    windows: TimeWindowKind,
    state: Arc<TableState>,
    store: &str,
    key_serde: &SerdeRef<K>,
) -> TableNode<Windowed<K>, A>
where
    K: Hash + Eq + Clone + Send + 'static,
    A: Clone + Send + 'static,
{
    let (size_ms, view) = match windows {
        TimeWindowKind::Aligned(windows) => (windows.size_ms(), View::of_window_store(store)),
        TimeWindowKind::Sliding(windows) => {
            (windows.time_difference_ms(), View::of_sliding_store(store))
        }
    };
    let size = Duration::from_millis(size_ms.unsigned_abs());
    let serde = Arc::new(TimeWindowedSerde::new(Arc::clone(key_serde), size));
    TableNode::kept(state, serde, view)
}

/// The store of windowed aggregations.
pub(crate) fn store_definition<K, A>(
    windows: TimeWindowKind,
    options: WindowStoreOptions,
    materialized: Materialized<K, A>,
    key_serde: SerdeRef<K>,
) -> StoreDefinition
where
    K: Hash + Eq + Clone + Send + 'static,
    A: Clone + Send + 'static,
{
    let size_ms = match windows {
        TimeWindowKind::Aligned(windows) => windows.size_ms(),
        TimeWindowKind::Sliding(windows) => windows.time_difference_ms(),
    };
    let (retention_ms, size_ms) = (options.retention_ms, Some(size_ms));
    let kind = StoreKind::Window { retention_ms, size_ms };
    let is_sliding = matches!(windows, TimeWindowKind::Sliding(_));
    let materialized = if is_sliding && options.emission.is_some() {
        materialized.with_caching_disabled()
    } else {
        materialized
    };
    definition(materialized, kind, move |name, value_serde| {
        let key_serde = Arc::clone(&key_serde);
        match windows {
            TimeWindowKind::Aligned(_) => {
                StoreHandle::new(WindowStore::new(name, options, key_serde, value_serde))
            }
            TimeWindowKind::Sliding(_) => StoreHandle::new(
                KeyedWindowStore::<K, WindowStart, A>::new(name, options, key_serde, value_serde),
            ),
        }
    })
}
