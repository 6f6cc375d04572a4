//! `KTable`: the latest value of each key.

use std::hash::Hash;
use std::sync::Arc;

use crate::dsl::handles::{KStream, KTable};
use crate::dsl::materialize::{key_value_store, versioned_store};
use crate::dsl::options::Materialized;
use crate::dsl::table_node::{Above, TableNode};
use crate::error::BuildError;
use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::operators::{table_filter, table_map_values, table_to_stream};
use crate::serdes::SerdeRef;

/// A table that another one is made of, row by row.
struct Mapped<K, V, F> {
    above: KTable<K, V>,
    map: Arc<F>,
}

impl<K, V, V2, F> Above<K, V2> for Mapped<K, V, F>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
    V2: 'static,
    F: Fn(&K, Option<V>) -> Option<V2> + Send + Sync + 'static,
{
    fn send_old(&self, force: bool) -> bool {
        self.above.table.send_old(force)
    }

    fn is_versioned(&self) -> bool {
        self.above.table.is_versioned()
    }

    fn view(&self) -> View<K, V2> {
        let map = Arc::clone(&self.map);
        self.above.table.view().map(move |key, value| map(key, value))
    }
}

impl<K, V> KTable<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Names the node of the last operation; of a join also the nodes of its sides,
    /// `<name>-join-this` and `<name>-join-other`. Default = its kind and a number.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.scope.rename(self.node, name);
        for (part, suffix) in &self.table.parts {
            self.scope.rename(*part, &format!("{name}{suffix}"));
        }
        self
    }

    /// Keeps the rows of the last operation in a store of that name, to be queried, and to answer
    /// joins without going to the tables above. Default = no store of its own, except where an
    /// operation has taken one.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let users = builder.table::<String, String>("users");
    /// users.filter(|_, name| name.starts_with('A')).materialized("users-with-a");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// driver.input_topic::<String, String>("users").pipe_input_at("7", "Ada", 1)?;
    /// let ada = driver.store_value::<String, String>("users-with-a", &"7".to_owned())?;
    /// assert_eq!(ada.as_deref(), Some("Ada"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn materialized(self, materialized: impl Into<Materialized<K, V>>) -> Self {
        let materialized = materialized.into();
        let store = materialized.store.clone();
        if self.table.state.set_store(store.clone()) {
            if let Some(name) = &self.table.spare_name {
                self.scope.give_back(name);
            }
            let definition = key_value_store(materialized, &self.table.key_serde);
            self.scope.add_store_of(self.node, definition);
        } else {
            let first = self.table.state.store().unwrap_or_default();
            self.scope.refuse(BuildError::InvalidOption {
                what: format!("materialized as {store}"),
                reason: format!("the table has a store already: {first}"),
            });
        }
        self
    }

    /// The rows that satisfy the predicate; it is not called for tombstones, which pass. A row
    /// that no longer satisfies it becomes a tombstone.
    ///
    /// Where the table above keeps its rows, nothing is sent for a row that was left out and is
    /// left out again; else every such update is a tombstone. Updates out of order are like any
    /// other; times and headers stay.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let stock = builder.table_with::<String, i64>("stock", "stock");
    /// stock.filter(|_, pieces| *pieces < 10).to_stream().to("scarce");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let input = driver.input_topic::<String, i64>("stock");
    /// for (pieces, time) in [(50, 1), (9, 2), (60, 3), (70, 4)] {
    ///     input.pipe_input_at("nut", pieces, time)?;
    /// }
    /// let scarce = driver.output_topic::<String, Option<i64>>("scarce")?.read_timed()?;
    /// assert_eq!(scarce, [("nut".to_owned(), Some(9), 2), ("nut".to_owned(), None, 3)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        let predicate = Arc::new(predicate);
        let of_rows = Arc::clone(&predicate);
        let map =
            Arc::new(move |key: &K, value: Option<V>| value.filter(|value| of_rows(key, value)));
        let state = Arc::new(TableState::default());
        // Rows that are kept above spare needless tombstones here.
        if self.table.send_old(false) {
            state.send_old();
        }
        let node = self.scope.add_processor("KTABLE-FILTER-", &[self.node], |node| {
            table_filter::factory(node, Arc::clone(&state), self.table.is_versioned(), predicate)
        });
        let above = Mapped { above: self.clone(), map };
        let table = TableNode::through(state, self.key_serde(), above);
        Self::new(self.scope.clone(), node, table)
    }

    /// The rows that do not satisfy the predicate. See [`filter`](Self::filter).
    #[must_use]
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter(move |key, value| !predicate(key, value))
    }

    /// Makes of each value another one. The closure is not called for tombstones, which pass.
    ///
    /// Times and headers stay. Without a store of its own the table calls the closure again for
    /// every look at a row, and for the old value where a node below wants it.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let lengths = builder.table::<String, String>("names").map_values(|name| name.len() as i64);
    /// lengths.to_stream().to("lengths");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// driver.input_topic::<String, String>("names").pipe_input_at("7", "Ada", 1)?;
    /// let out = driver.output_topic::<String, Option<i64>>("lengths")?.read_key_values()?;
    /// assert_eq!(out, [("7".to_owned(), Some(3))]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
        self.filter_map_values(move |key, value| Some(mapper(key, value)))
    }

    /// As [`map_values_with_key`](Self::map_values_with_key), where `None` is no row: Kafka's
    /// `mapValues` with a mapper that returns null. Every update to `None` is a tombstone.
    #[must_use]
    pub fn filter_map_values<V2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(&K, V) -> Option<V2> + Send + Sync + 'static,
    ) -> KTable<K, V2> {
        self.add_map("KTABLE-MAPVALUES-", move |key, value: Option<V>| mapper(key, value?))
    }

    /// Makes of each row another one, with a closure that sees tombstones as well: as `None`, for
    /// which it may return a row. Without a store of its own the table calls it for the old value
    /// too, where a node below wants that. Changes keep their order, times and headers.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let stock = builder.table::<String, i64>("stock");
    /// stock.transform_values(|_, n| Some(n.unwrap_or(0))).to_stream().to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// driver.input_topic::<String, Option<i64>>("stock").pipe_input_at("nut", None, 10)?;
    /// let out = driver.output_topic::<String, i64>("out")?.read_timed()?;
    /// assert_eq!(out, [("nut".to_owned(), 0, 10)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn transform_values<V2: Clone + Send + 'static>(
        &self,
        transformer: impl Fn(&K, Option<V>) -> Option<V2> + Send + Sync + 'static,
    ) -> KTable<K, V2> {
        self.add_map("KTABLE-TRANSFORMVALUES-", transformer)
    }

    fn add_map<V2: Clone + Send + 'static>(
        &self,
        prefix: &str,
        mapper: impl Fn(&K, Option<V>) -> Option<V2> + Send + Sync + 'static,
    ) -> KTable<K, V2> {
        let mapper = Arc::new(mapper);
        let state = Arc::new(TableState::default());
        let node = self.scope.add_processor(prefix, &[self.node], |node| {
            table_map_values::factory(node, Arc::clone(&state), Arc::clone(&mapper))
        });
        let above = Mapped { above: self.clone(), map: mapper };
        let table = TableNode::through(state, self.key_serde(), above);
        KTable::new(self.scope.clone(), node, table)
    }

    /// The changes of the table as a stream: a removed row is `None`, a tombstone in a topic.
    /// Times and headers stay; nothing is left out, not even an update to the same value, or one
    /// that is older than the row that it replaces.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// builder.table::<String, i64>("stock").to_stream().to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let stock = driver.input_topic::<String, Option<i64>>("stock");
    /// for (n, time) in [(Some(7), 10), (None, 9)] {
    ///     stock.pipe_input_at("nut", n, time)?;
    /// }
    /// let out = driver.output_topic::<String, Option<i64>>("out")?.read_timed()?;
    /// assert_eq!(out, [("nut".to_owned(), Some(7), 10), ("nut".to_owned(), None, 9)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn to_stream(&self) -> KStream<K, Option<V>> {
        let node = self.scope.add_processor("KTABLE-TOSTREAM-", &[self.node], |_| {
            table_to_stream::factory::<K, V>()
        });
        KStream::new(self.scope.clone(), node, false)
    }

    /// As [`to_stream`](Self::to_stream), with another key for each record: Kafka's `toStream` with
    /// a key mapper. A grouping or a join that follows repartitions.
    #[must_use]
    pub fn to_stream_by<K2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(&K, &Option<V>) -> K2 + Send + Sync + 'static,
    ) -> KStream<K2, Option<V>> {
        self.to_stream().select_key(mapper)
    }

    /// Keeps the rows of a new table with their versions.
    pub(crate) fn versioned(self, materialized: Materialized<K, V>, history_ms: i64) -> Self {
        self.table.state.set_store(materialized.store.clone());
        self.table.state.set_versioned();
        let definition = versioned_store(materialized, history_ms, &self.table.key_serde);
        self.scope.add_store_of(self.node, definition);
        self
    }

    pub(crate) fn key_serde(&self) -> SerdeRef<K> {
        Arc::clone(&self.table.key_serde)
    }
}
