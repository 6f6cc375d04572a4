//! `GlobalKTable`: a whole topic at every task, to be joined by any key.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use headwater_log_store::AutoOffsetReset;

use crate::dsl::builder::StreamsBuilder;
use crate::dsl::handles::KStream;
use crate::dsl::joined::Joined;
use crate::dsl::materialize::key_value_store;
use crate::dsl::options::{Consumed, Materialized};
use crate::dsl::scope::Scope;
use crate::dsl::table_options::TableOptions;
use crate::error::BuildError;
use crate::graph::node::NodeKind;
use crate::operators::stream_table_join::{self, Lookup, StreamTableJoinOptions};
use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::operators::{source, table_source};
use crate::serdes::{DefaultSerde, OptionSerde};
use crate::types::TopicRef;

/// A table of all partitions of a topic, which every task sees as a whole. It is made by
/// [`StreamsBuilder::global_table`] and used in [`KStream::join_global_table`].
pub struct GlobalKTable<K, V> {
    scope: Scope,
    store: String,
    view: View<K, V>,
}

impl<K, V> GlobalKTable<K, V> {
    /// The name of the store that holds it, for queries.
    #[must_use]
    pub fn store_name(&self) -> &str {
        &self.store
    }
}

impl<K, V> Clone for GlobalKTable<K, V> {
    fn clone(&self) -> Self {
        Self { scope: self.scope.clone(), store: self.store.clone(), view: self.view.clone() }
    }
}

impl<K, V> fmt::Debug for GlobalKTable<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalKTable").field("store", &self.store).finish_non_exhaustive()
    }
}

impl StreamsBuilder {
    /// Reads all partitions of a topic as one table, with the types' own serdes: a stream can join
    /// it by any key, and the topics need not agree in their numbers of partitions.
    ///
    /// The topic is read completely before the first record is processed, and kept current from
    /// then on, without regard to time. It is kept in the store `<topic>-STATE-STORE`, which has
    /// no changelog: the topic is one. Null keys are dropped and counted, a null value removes a
    /// row. A record that cannot be read stops the application or is skipped, as the handler
    /// says; there are no dead letters of it. A replay sees the table as it was at the reset. See
    /// the example of [`KStream::join_global_table`].
    pub fn global_table<K, V>(&self, topic: &str) -> GlobalKTable<K, V>
    where
        K: DefaultSerde + Hash + Eq + Clone + Send + 'static,
        V: DefaultSerde + Clone + Send + 'static,
    {
        self.global_table_with(topic, Consumed::new())
    }

    /// Reads a topic as a global table, as the options say: [`Consumed`], the name of its store or
    /// [`Materialized`], or a pair of both. See [`global_table`](Self::global_table).
    pub fn global_table_with<K, V>(
        &self,
        topic: &str,
        options: impl Into<TableOptions<K, V>>,
    ) -> GlobalKTable<K, V>
    where
        K: Hash + Eq + Clone + Send + 'static,
        V: Clone + Send + 'static,
    {
        let scope = &self.scope;
        let TableOptions { consumed, materialized, history_ms } = options.into();
        if history_ms.is_some() {
            scope.refuse(BuildError::InvalidOption {
                what: format!("global table {topic}"),
                reason: "global tables keep no versions".to_owned(),
            });
        }
        if materialized.is_none() {
            scope.next_name(&format!("{topic}-STATE-STORE-"));
        }
        let source_name = consumed.name.as_ref().map(|name| format!("{name}-source"));
        let source_name = scope.name_or_next(source_name.as_ref(), "KSTREAM-SOURCE-");
        let table_name = scope.name_or_next(consumed.name.as_ref(), "KTABLE-SOURCE-");
        let Consumed { serdes, extractor, .. } = consumed;
        let materialized = materialized.unwrap_or_else(|| {
            Materialized::with(format!("{topic}-STATE-STORE"), Arc::clone(&serdes.value))
        });
        let materialized = materialized.without_logging();
        let store = materialized.store.clone();
        let factory = source::factory(source::SourceOptions {
            node: scope.next_id(),
            key_serde: Arc::clone(&serdes.key),
            value_serde: Arc::new(OptionSerde::new(Arc::clone(&serdes.value))),
            extractor: extractor.of_rows(),
            repartition: false,
        });
        let topics = vec![TopicRef::external(topic)];
        // A global table is a whole topic, wherever the application starts.
        let reset = Some(AutoOffsetReset::Earliest);
        let kind = NodeKind::Source { topics, reset, factory };
        let source = scope.add_node(source_name, &[], kind);
        let factory = table_source::factory::<K, V, Option<V>>(
            scope.next_id(),
            Arc::clone(&serdes.key),
            Arc::new(TableState::stored(&store)),
        );
        let definition = key_value_store(materialized, &serdes.key);
        scope.add_stateful(table_name, source, definition, factory);
        scope.set_global(source);
        // Every task finds the store without being connected to it.
        let view = View::of_key_value_store(&store).unconnected();
        GlobalKTable { scope: scope.clone(), store, view }
    }
}

impl<K, V> KStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Joins each record with the row that a global table has at that moment for the key that
    /// `key_of` makes of it; a record without a row has no result.
    ///
    /// The result has the key, the time and the headers of the record. The record's own key may be
    /// null; null values are dropped and counted. No repartition topic is needed.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let rates = builder.global_table::<String, i64>("rates");
    /// let prices = builder.stream::<String, String>("prices");
    /// prices
    ///     .join_global_table(&rates, |_, currency| currency.clone(), |currency, rate| {
    ///         format!("{currency} at {rate}")
    ///     })
    ///     .to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// driver.input_topic::<String, i64>("rates").pipe_input_at("EUR", 3, 10)?;
    /// driver.input_topic::<String, String>("prices").pipe_input_at("nut", "EUR", 1)?;
    /// let out = driver.output_topic::<String, String>("out")?.read_timed()?;
    /// assert_eq!(out, [("nut".to_owned(), "EUR at 3".to_owned(), 1)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn join_global_table<K2, V2, R>(
        &self,
        table: &GlobalKTable<K2, V2>,
        key_of: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
        joiner: impl Fn(V, V2) -> R + Send + Sync + 'static,
    ) -> KStream<K, R>
    where
        K: DefaultSerde,
        V: DefaultSerde,
        K2: Hash + Eq + Clone + 'static,
        V2: Clone + 'static,
        R: Clone + Send + 'static,
    {
        let key_of = move |key: &K, value: &V| Some(key_of(key, value));
        self.join_global_table_with(table, key_of, move |_, v, row| joiner(v, row), Joined::new())
    }

    /// As [`join_global_table`](Self::join_global_table), where records for which `key_of` returns
    /// `None` are dropped and counted, with a joiner that sees the record's key, and as `joined`
    /// (or its name) says.
    #[must_use]
    pub fn join_global_table_with<K2, V2, R>(
        &self,
        table: &GlobalKTable<K2, V2>,
        key_of: impl Fn(&K, &V) -> Option<K2> + Send + Sync + 'static,
        joiner: impl Fn(&K, V, V2) -> R + Send + Sync + 'static,
        joined: impl Into<Joined<K, V>>,
    ) -> KStream<K, R>
    where
        K2: Hash + Eq + Clone + 'static,
        V2: Clone + 'static,
        R: Clone + Send + 'static,
    {
        let join = move |key: &K, value, row: Option<V2>| Some(joiner(key, value, row?));
        self.add_global_join(table, key_of, join, &joined.into(), false)
    }

    /// As [`join_global_table`](Self::join_global_table), where a record without a row is joined
    /// with `None`.
    #[must_use]
    pub fn left_join_global_table<K2, V2, R>(
        &self,
        table: &GlobalKTable<K2, V2>,
        key_of: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
        joiner: impl Fn(V, Option<V2>) -> R + Send + Sync + 'static,
    ) -> KStream<K, R>
    where
        K: DefaultSerde,
        V: DefaultSerde,
        K2: Hash + Eq + Clone + 'static,
        V2: Clone + 'static,
        R: Clone + Send + 'static,
    {
        let key_of = move |key: &K, value: &V| Some(key_of(key, value));
        let joiner = move |_: &K, value, row| joiner(value, row);
        self.left_join_global_table_with(table, key_of, joiner, Joined::new())
    }

    /// As [`left_join_global_table`](Self::left_join_global_table), where records for which
    /// `key_of` returns `None` are joined with `None`, with a joiner that sees the record's key,
    /// and as `joined` (or its name) says.
    #[must_use]
    pub fn left_join_global_table_with<K2, V2, R>(
        &self,
        table: &GlobalKTable<K2, V2>,
        key_of: impl Fn(&K, &V) -> Option<K2> + Send + Sync + 'static,
        joiner: impl Fn(&K, V, Option<V2>) -> R + Send + Sync + 'static,
        joined: impl Into<Joined<K, V>>,
    ) -> KStream<K, R>
    where
        K2: Hash + Eq + Clone + 'static,
        V2: Clone + 'static,
        R: Clone + Send + 'static,
    {
        let join = move |key: &K, value, row| Some(joiner(key, value, row));
        self.add_global_join(table, key_of, join, &joined.into(), true)
    }

    fn add_global_join<K2, V2, R>(
        &self,
        table: &GlobalKTable<K2, V2>,
        key_of: impl Fn(&K, &V) -> Option<K2> + Send + Sync + 'static,
        join: impl Fn(&K, V, Option<V2>) -> Option<R> + Send + Sync + 'static,
        joined: &Joined<K, V>,
        left: bool,
    ) -> KStream<K, R>
    where
        K2: Hash + Eq + Clone + 'static,
        V2: Clone + 'static,
        R: Clone + Send + 'static,
    {
        // Kafka Streams names inner joins so as well.
        let name = self.scope.name_or_next(joined.name.as_ref(), "KSTREAM-LEFTJOIN-");
        if !self.scope.is_same(&table.scope) {
            self.scope.refuse(BuildError::ForeignStream { operation: "join_global_table" });
        }
        if joined.grace_ms.is_some() {
            self.scope.refuse(BuildError::InvalidOption {
                what: "the grace period of a join".to_owned(),
                reason: "the rows of a global table cannot be waited for".to_owned(),
            });
        }
        let options = StreamTableJoinOptions {
            node: self.scope.next_id(),
            value_serde: Arc::clone(&joined.serdes.value),
            table: table.view.clone(),
            left,
        };
        let factory = stream_table_join::factory(
            options,
            move |record, rows| match key_of(&record.key, &record.value) {
                Some(key) => Lookup::Row(rows.get(&key).map(|row| row.value)),
                None => Lookup::NullKey,
            },
            join,
        );
        let kind = NodeKind::Processor { stores: Vec::new(), factory };
        let node = self.scope.add_node(name, &[self.node], kind);
        if left {
            self.scope.let_null_keys_pass(node);
        }
        KStream::new(self.scope.clone(), node, self.repartition_required)
    }
}
