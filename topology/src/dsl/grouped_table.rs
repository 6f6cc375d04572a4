//! `KGroupedTable`: the rows of a table by another key, to be aggregated.

use std::hash::Hash;
use std::sync::Arc;

use crate::dsl::handles::{KGroupedTable, KTable};
use crate::dsl::materialize::key_value_store;
use crate::dsl::options::{Grouped, Materialized};
use crate::dsl::table_node::TableNode;
use crate::graph::node::NodeKind;
use crate::operators::change_serde::ChangeSerde;
use crate::operators::table_aggregate::{self, TableAggregateOptions};
use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::operators::{sink, source, table_group};
use crate::record::Change;
use crate::serdes::{DefaultSerde, SerdeRef, pair_format};
use crate::time::TimestampExtractor;
use crate::types::{NodeId, TopicRef};

impl<K, V> KTable<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Groups the rows by a new key, with the types' own serdes: aggregations go through a
    /// repartition topic and follow every change of a row, also from one group to another.
    ///
    /// The mapper gives the group and the value of a row; it is called for the old value of a row
    /// as well, so its answer must not change. A null group or value takes no part. The table gets
    /// a store if it has none, for the old values. Rows change groups in the order of the table's
    /// changes; of a versioned table, records that are not the newest of their key take no part.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let cities = builder.table::<String, String>("city-of-user");
    /// let by_city = cities.group_by(|user, city| (city.clone(), user.clone()));
    /// by_city.count("users-by-city").to_stream().to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let users = driver.input_topic::<String, String>("city-of-user");
    /// for (user, city, time) in [("ada", "Rome", 10), ("bob", "Rome", 5), ("ada", "Oslo", 20)] {
    ///     users.pipe_input_at(user, city, time)?;
    /// }
    /// let out = driver.output_topic::<String, i64>("out")?.read_timed()?;
    /// let expected = [("Rome", 1, 10), ("Rome", 2, 10), ("Rome", 1, 20), ("Oslo", 1, 20)];
    /// assert_eq!(out, expected.map(|(city, count, time)| (city.to_owned(), count, time)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn group_by<K2, V2>(
        &self,
        mapper: impl Fn(&K, &V) -> (K2, V2) + Send + Sync + 'static,
    ) -> KGroupedTable<K2, V2>
    where
        K2: DefaultSerde + Hash + Eq + Clone + Send + 'static,
        V2: DefaultSerde + Clone + Send + 'static,
    {
        self.group_by_with(move |key, value| Some(mapper(key, value)), Grouped::new())
    }

    /// As [`group_by`](Self::group_by), where `None` is no group, and as `grouped` (or its name)
    /// says.
    #[must_use]
    pub fn group_by_with<K2, V2>(
        &self,
        mapper: impl Fn(&K, &V) -> Option<(K2, V2)> + Send + Sync + 'static,
        grouped: impl Into<Grouped<K2, V2>>,
    ) -> KGroupedTable<K2, V2>
    where
        K2: Hash + Eq + Clone + Send + 'static,
        V2: Clone + Send + 'static,
    {
        let grouped = grouped.into();
        let name = self.scope.name_or_next(grouped.name.as_ref(), "KTABLE-SELECT-");
        let serdes = (Arc::clone(&grouped.serdes.key), Arc::clone(&grouped.serdes.value));
        let factory = table_group::factory(self.scope.next_id(), serdes, mapper);
        let kind = NodeKind::Processor { stores: Vec::new(), factory };
        let node = self.scope.add_node(name, &[self.node], kind);
        self.table.send_old(true);
        KGroupedTable { scope: self.scope.clone(), node, grouped }
    }
}

impl<K, V> KGroupedTable<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Counts the rows of each group, in a store of that name. A group that has lost its last row
    /// counts 0. The time of a count is the largest so far of its group, its headers are those of
    /// the change. See the example of [`KTable::group_by`].
    pub fn count(&self, materialized: impl Into<Materialized<K, i64>>) -> KTable<K, i64> {
        self.add_aggregate(
            "KTABLE-AGGREGATE-",
            materialized.into(),
            |_, _, count| Some(count.unwrap_or(0) + 1),
            |_, _, count| Some(count - 1),
        )
    }

    /// Combines the values of each group, in a store of that name: the first is taken as it is,
    /// `adder` takes in a new one, and `subtractor` takes out an old one, in that order: a changed
    /// row is first taken out, then in. The time of a result is the largest so far of its group. A
    /// group that has lost its last row keeps what is left of the subtraction.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let accounts = builder.table::<String, i64>("balance-of-account");
    /// let by_branch = accounts.group_by(|account, balance| (account[..2].to_owned(), *balance));
    /// let sums = by_branch.reduce(|sum, new| sum + new, |sum, old| sum - old, "sums");
    /// sums.to_stream().to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let accounts = driver.input_topic::<String, i64>("balance-of-account");
    /// for (account, balance, time) in [("de-1", 50, 10), ("de-2", 20, 5), ("de-1", 10, 7)] {
    ///     accounts.pipe_input_at(account, balance, time)?;
    /// }
    /// let out = driver.output_topic::<String, i64>("out")?.read_timed()?;
    /// let expected = [("de", 50, 10), ("de", 70, 10), ("de", 30, 10)];
    /// assert_eq!(out, expected.map(|(branch, sum, time)| (branch.to_owned(), sum, time)));
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    pub fn reduce(
        &self,
        adder: impl Fn(V, V) -> V + Send + Sync + 'static,
        subtractor: impl Fn(V, V) -> V + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, V>>,
    ) -> KTable<K, V> {
        self.add_aggregate(
            "KTABLE-REDUCE-",
            materialized.into(),
            move |_, value, sum| {
                Some(match sum {
                    Some(sum) => adder(sum, value),
                    None => value,
                })
            },
            move |_, value, sum| Some(subtractor(sum, value)),
        )
    }

    /// Folds the values of each group, in a store of that name: `adder` takes in a new value,
    /// `subtractor` takes out an old one. A changed row is first taken out, then in. Where they
    /// return an `Option`, `None` removes the group; its next value starts from `initializer`
    /// again. Without an aggregate nothing is subtracted. Times and headers are as with
    /// [`reduce`](Self::reduce).
    ///
    /// ```
    /// # use headwater_topology::{JsonSerde, Materialized, StreamsBuilder};
    /// # let builder = StreamsBuilder::new();
    /// let accounts = builder.table::<String, i64>("balance-of-account");
    /// let by_branch = accounts.group_by(|account, balance| (account[..2].to_owned(), *balance));
    /// by_branch.aggregate(
    ///     || (0_i64, 0_i64), // how many accounts, and their sum
    ///     |_, balance, (n, sum)| (n + 1, sum + balance),
    ///     |_, balance, (n, sum)| (n - 1, sum - balance),
    ///     Materialized::with("sums", JsonSerde::shared()),
    /// );
    /// ```
    pub fn aggregate<A, R, S>(
        &self,
        initializer: impl Fn() -> A + Send + Sync + 'static,
        adder: impl Fn(&K, V, A) -> R + Send + Sync + 'static,
        subtractor: impl Fn(&K, V, A) -> S + Send + Sync + 'static,
        materialized: impl Into<Materialized<K, A>>,
    ) -> KTable<K, A>
    where
        A: Clone + Send + 'static,
        R: Into<Option<A>>,
        S: Into<Option<A>>,
    {
        self.add_aggregate(
            "KTABLE-AGGREGATE-",
            materialized.into(),
            move |key, value, aggregate| {
                adder(key, value, aggregate.unwrap_or_else(&initializer)).into()
            },
            move |key, value, aggregate| subtractor(key, value, aggregate).into(),
        )
    }

    fn add_aggregate<A: Clone + Send + 'static>(
        &self,
        prefix: &str,
        materialized: Materialized<K, A>,
        add: impl Fn(&K, V, Option<A>) -> Option<A> + Send + Sync + 'static,
        subtract: impl Fn(&K, V, A) -> Option<A> + Send + Sync + 'static,
    ) -> KTable<K, A> {
        let parent = self.repartition(&materialized.store);
        let name = self.scope.next_name(prefix);
        let state = Arc::new(TableState::stored(&materialized.store));
        let options = TableAggregateOptions {
            node: self.scope.next_id(),
            aggregate_serde: Arc::clone(&materialized.value_serde),
            state: Arc::clone(&state),
        };
        let factory = table_aggregate::factory(options, add, subtract);
        let key_serde = materialized.key_serde.as_ref().unwrap_or(&self.grouped.serdes.key);
        let key_serde = Arc::clone(key_serde);
        let view = View::of_key_value_store(&materialized.store);
        let store = key_value_store(materialized, &key_serde);
        let node = self.scope.add_stateful(name, parent, store, factory);
        KTable::new(self.scope.clone(), node, TableNode::kept(state, key_serde, view))
    }

    /// The source of the repartition topic, which is named after the grouping or else the store.
    /// All aggregations of a named grouping share one.
    fn repartition(&self, store: &str) -> NodeId {
        let scope = &self.scope;
        let sink_name = scope.next_name("KSTREAM-SINK-");
        let source_name = scope.next_name("KSTREAM-SOURCE-");
        let topic = format!("{}-repartition", self.grouped.name.as_deref().unwrap_or(store));
        if let Some(source) = scope.find_repartition(self.node, &topic) {
            return source;
        }
        let key_serde = Arc::clone(&self.grouped.serdes.key);
        let value_serde: SerdeRef<Change<V>> =
            Arc::new(ChangeSerde::new(Arc::clone(&self.grouped.serdes.value)));
        let topic = TopicRef::internal(topic);
        let factory = sink::factory(
            scope.next_id(),
            topic.clone(),
            Arc::clone(&key_serde),
            Arc::clone(&value_serde),
            None,
        );
        let format = pair_format(&*key_serde, &*value_serde);
        let kind = NodeKind::Sink { topic: topic.clone(), format, factory };
        scope.add_node(sink_name, &[self.node], kind);
        let factory = source::factory(source::SourceOptions {
            node: scope.next_id(),
            key_serde,
            value_serde,
            extractor: TimestampExtractor::record_time(),
            repartition: true,
        });
        let name = topic.name.clone();
        let kind = NodeKind::Source { topics: vec![topic], reset: None, factory };
        let source = scope.add_node(source_name, &[], kind);
        // Null keys were left out by the grouping, which has no use for them.
        scope.add_repartition(source, self.node, name, Arc::default());
        source
    }
}
