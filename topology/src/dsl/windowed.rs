//! `TimeWindowedKStream`: records by key and window, to be aggregated.

use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use crate::dsl::handles::{KTable, TimeWindowedKStream};
use crate::dsl::materialize::definition;
use crate::dsl::options::Materialized;
use crate::dsl::table_node::TableNode;
use crate::error::BuildError;
use crate::graph::node::StoreKind;
use crate::graph::plan::Closing;
use crate::operators::aggregator::{Aggregator, Count, Fold, Reduce};
use crate::operators::value_getter::View;
use crate::operators::window_aggregate::{self, AlignedWindows, Windowing};
use crate::processor::StoreHandle;
use crate::store::window_store::{Emission, WindowStore, WindowStoreOptions};
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

    /// Counts the records of each key and window, in a store of that name; null values count.
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
    /// it is, the others go through the reducer, null values as well.
    pub fn reduce(
        &self,
        reducer: impl Fn(V, V) -> V + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, V>>,
    ) -> KTable<Windowed<K>, V> {
        self.add_aggregate("KSTREAM-REDUCE-", materialized.into(), Reduce(reducer))
    }

    /// Folds the values of each key and window, in a store of that name. Where `aggregator`
    /// returns an `Option`, `None` removes the window of the key.
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
        let store_options = self
            .store_options(materialized.retention_ms, scope.kafka_compat(), 1)
            .unwrap_or_else(|(options, reason)| {
                let what = format!("windows of store {}", materialized.store);
                scope.refuse(BuildError::InvalidOption { what, reason });
                options
            });
        let name = scope.next_name(prefix);
        let parent = self.grouped.aggregation_parent(&materialized.store);
        let options = self.grouped.aggregate_options(&materialized);
        let (key_serde, state) = (Arc::clone(&options.key_serde), Arc::clone(&options.state));
        let size = Duration::from_millis(self.windows.size_ms().unsigned_abs());
        let windowed_serde = Arc::new(TimeWindowedSerde::new(Arc::clone(&key_serde), size));
        let windowing = Windowing { windows: self.windows, emit: self.emit, operator: 0 };
        let factory = window_aggregate::factory(options, windowing, aggregator);
        let view = View::of_window_store(&materialized.store);
        let kind = StoreKind::Window { retention_ms: store_options.retention_ms };
        let store = definition(materialized, kind, move |name, value_serde| {
            let key_serde = Arc::clone(&key_serde);
            StoreHandle::new(WindowStore::new(name, store_options, key_serde, value_serde))
        });
        let node = scope.add_stateful(name, parent, store, factory);
        let grace_ms = self.windows.grace_ms();
        scope.set_closing(node, Closing { grace_ms, end_is_inclusive: false });
        KTable::new(scope.clone(), node, TableNode::kept(state, windowed_serde, view))
    }

    /// What the store has to be like; with the reason if that cannot be.
    fn store_options(
        &self,
        retention_ms: Option<i64>,
        kafka_compat: bool,
        operators: usize,
    ) -> Result<WindowStoreOptions, (WindowStoreOptions, String)> {
        let (size_ms, emit) = (self.windows.size_ms(), self.emit);
        let least_ms = size_ms.saturating_add(self.windows.grace_ms());
        let retention_ms = retention_ms.unwrap_or(least_ms);
        let emission = match emit {
            EmitStrategy::OnWindowUpdate => None,
            EmitStrategy::OnWindowClose => {
                Some(Emission { span_ms: size_ms, keeps_windows: !kafka_compat })
            }
        };
        let options = WindowStoreOptions { retention_ms, operators, emission };
        let problem = match self.windows {
            AlignedWindows::Time(windows) => windows.problem(),
            AlignedWindows::Unlimited(_) if emit == EmitStrategy::OnWindowClose => {
                Some("unlimited windows never close".to_owned())
            }
            AlignedWindows::Unlimited(windows) => windows.problem(),
        };
        let short = || format!("a retention of {retention_ms} ms is shorter than size and grace");
        match problem.or_else(|| (retention_ms < least_ms).then(short)) {
            None => Ok(options),
            Some(reason) => Err((options, reason)),
        }
    }
}
