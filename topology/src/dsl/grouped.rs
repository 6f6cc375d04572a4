//! `KGroupedStream`: records by key, to be aggregated.

use std::hash::Hash;
use std::sync::Arc;

use crate::dsl::handles::{KGroupedStream, KTable};
use crate::dsl::materialize::key_value_store;
use crate::dsl::options::Materialized;
use crate::dsl::repartition::repartition;
use crate::dsl::table_node::TableNode;
use crate::dsl::windows::Windows;
use crate::operators::aggregate::{self, AggregateOptions};
use crate::operators::aggregator::{Aggregator, Count, Fold, Reduce};
use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::types::NodeId;

impl<K, V> KGroupedStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// The node that an aggregation hangs below: this one, or the source of a repartition topic
    /// named after the grouping or else the store.
    pub(crate) fn aggregation_parent(&self, store: &str) -> NodeId {
        if !self.repartition_required {
            return self.node;
        }
        let prefix = self.grouped.name.as_deref().unwrap_or(store);
        let names = self.scope.repartition_names(prefix);
        repartition(&self.scope, self.node, names, &self.grouped.serdes)
    }

    /// Groups by windows as well: [`TimeWindows`](crate::TimeWindows),
    /// [`SlidingWindows`](crate::SlidingWindows), [`SessionWindows`](crate::SessionWindows) or
    /// [`UnlimitedWindows`](crate::UnlimitedWindows).
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TimeWindows};
    /// # use std::time::Duration;
    /// # let builder = StreamsBuilder::new();
    /// // How often each key came in the last hour, anew every ten minutes.
    /// let hours = TimeWindows::of_size_with_no_grace(Duration::from_secs(3_600));
    /// builder
    ///     .stream::<String, String>("clicks")
    ///     .group_by_key()
    ///     .windowed_by(hours.advance_by(Duration::from_secs(600)))
    ///     .count("clicks-by-hour");
    /// ```
    #[must_use]
    pub fn windowed_by<W: Windows>(&self, windows: W) -> W::WindowedStream<K, V> {
        windows.window(self.clone())
    }
}

impl<K, V> KGroupedStream<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Counts the records of each key, in a store of that name.
    ///
    /// Every record gives a new count; its timestamp is the largest so far of the key, so that a
    /// record out of order counts without setting the time back. Nothing is ever late. Null keys
    /// and null values are dropped and counted. A result has the headers of its record.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let clicks = builder.stream::<String, Option<String>>("clicks").group_by_key();
    /// clicks.count("counts").to_stream().to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let clicks = driver.input_topic::<String, Option<String>>("clicks");
    /// for (page, time) in [(Some("/"), 10), (None, 11), (Some("/cart"), 5)] {
    ///     clicks.pipe_input_at("ada", page.map(str::to_owned), time)?;
    /// }
    /// let out = driver.output_topic::<String, i64>("out")?.read_timed()?;
    /// assert_eq!(out, [("ada".to_owned(), 1, 10), ("ada".to_owned(), 2, 10)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    pub fn count(&self, materialized: impl Into<Materialized<K, i64>>) -> KTable<K, i64> {
        self.add_aggregate("KSTREAM-AGGREGATE-", materialized.into(), Count)
    }

    /// Combines the values of each key, in a store of that name: the first is taken as it is. Null
    /// keys and values, times and headers are as with [`count`](Self::count); records are combined
    /// in the order in which they come, not in that of their times.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let bids = builder.stream::<String, i64>("bids").group_by_key();
    /// bids.reduce(|one, other| one.max(other), "highest-bids").to_stream().to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let bids = driver.input_topic::<String, i64>("bids");
    /// for (bid, time) in [(10, 3), (7, 1)] {
    ///     bids.pipe_input_at("vase", bid, time)?;
    /// }
    /// let out = driver.output_topic::<String, i64>("out")?.read_timed()?;
    /// assert_eq!(out, [("vase".to_owned(), 10, 3), ("vase".to_owned(), 10, 3)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    pub fn reduce(
        &self,
        reducer: impl Fn(V, V) -> V + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, V>>,
    ) -> KTable<K, V> {
        self.add_aggregate("KSTREAM-REDUCE-", materialized.into(), Reduce(reducer))
    }

    /// Folds the values of each key, in a store of that name. Where `aggregator` returns an
    /// `Option`, `None` removes the key; the next record starts from `initializer` again. Null keys
    /// and values, times and headers are as with [`count`](Self::count).
    ///
    /// ```
    /// # use headwater_topology::StreamsBuilder;
    /// # let builder = StreamsBuilder::new();
    /// let longest = builder
    ///     .stream::<String, String>("words")
    ///     .group_by_key()
    ///     .aggregate(|| 0_u64, |_, word, longest| longest.max(word.len() as u64), "longest");
    /// ```
    pub fn aggregate<A: Clone + Send + 'static, R: Into<Option<A>> + 'static>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        aggregator: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, A>>,
    ) -> KTable<K, A> {
        let fold = Fold::new(initializer, aggregator);
        self.add_aggregate("KSTREAM-AGGREGATE-", materialized.into(), fold)
    }

    fn add_aggregate<A: Clone + Send + 'static>(
        &self,
        prefix: &str,
        materialized: Materialized<K, A>,
        aggregator: impl Aggregator<K, V, A>,
    ) -> KTable<K, A> {
        let name = self.scope.next_name(prefix);
        let parent = self.aggregation_parent(&materialized.store);
        let options = self.aggregate_options(&materialized);
        let (key_serde, state) = (Arc::clone(&options.key_serde), Arc::clone(&options.state));
        let factory = aggregate::factory(options, aggregator);
        let view = View::of_key_value_store(&materialized.store);
        let store = key_value_store(materialized, &key_serde);
        let node = self.scope.add_stateful(name, parent, store, factory);
        KTable::new(self.scope.clone(), node, TableNode::kept(state, key_serde, view))
    }

    /// What the operator needs; its node is the next one to be added.
    pub(crate) fn aggregate_options<A>(
        &self,
        materialized: &Materialized<K, A>,
    ) -> AggregateOptions<K, V, A> {
        let serdes = &self.grouped.serdes;
        AggregateOptions {
            node: self.scope.next_id(),
            key_serde: Arc::clone(materialized.key_serde.as_ref().unwrap_or(&serdes.key)),
            value_serde: Arc::clone(&serdes.value),
            aggregate_serde: Arc::clone(&materialized.value_serde),
            state: Arc::new(TableState::stored(&materialized.store)),
        }
    }
}
