//! `StreamsBuilder::table`: a topic as a table.

use std::hash::Hash;
use std::sync::Arc;

use crate::dsl::builder::StreamsBuilder;
use crate::dsl::handles::KTable;
use crate::dsl::materialize::key_value_store;
use crate::dsl::options::{Consumed, Materialized};
use crate::dsl::scope::Scope;
use crate::dsl::table_node::{Above, TableNode};
use crate::dsl::table_options::TableOptions;
use crate::graph::node::NodeKind;
use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::operators::{source, table_source};
use crate::serdes::{DefaultSerde, OptionSerde, SerdeRef};
use crate::types::{NodeId, TopicRef};

/// A table that gets a store as soon as a node below needs one.
struct TopicTable<K, V> {
    scope: Scope,
    node: NodeId,
    state: Arc<TableState>,
    store: String,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
}

impl<K, V> TopicTable<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    fn materialize(&self) {
        if self.state.set_store(self.store.clone()) {
            let materialized = Materialized::with(&*self.store, Arc::clone(&self.value_serde));
            let store = key_value_store(materialized, &self.key_serde);
            self.scope.add_store_of(self.node, store);
        }
    }
}

impl<K, V> Above<K, V> for TopicTable<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    fn send_old(&self, force: bool) -> bool {
        if force {
            self.materialize();
        }
        force
    }

    fn view(&self) -> View<K, V> {
        self.materialize();
        View::of_key_value_store(&self.store)
    }
}

impl StreamsBuilder {
    /// Reads a topic as a table, with the types' own serdes and record time: each record is the
    /// new row of its key, one with a null value removes it.
    ///
    /// Records count in the order of offsets, even where one is older than the row that it
    /// replaces. A record that changes nothing is sent on as well. Null keys are dropped and
    /// counted.
    ///
    /// The table is kept in a store only where something below needs its rows: a join, a grouping,
    /// old values. That store is named `<topic>-STATE-STORE`;
    /// [`table_with`](Self::table_with) gives it another name, and keeps it in any case.
    ///
    /// ```
    /// use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    ///
    /// let builder = StreamsBuilder::new();
    /// builder.table::<String, i64>("prices").map_values(|cents| cents / 100).to_stream().to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let prices = driver.input_topic::<String, Option<i64>>("prices");
    /// prices.pipe_input_at("nut", Some(250), 10)?;
    /// prices.pipe_input_at("nut", None, 5)?; // older, but it comes later
    /// let out = driver.output_topic::<String, Option<i64>>("out")?.read_timed()?;
    /// assert_eq!(out, [("nut".to_owned(), Some(2), 10), ("nut".to_owned(), None, 5)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn table<K, V>(&self, topic: &str) -> KTable<K, V>
    where
        K: DefaultSerde + Hash + Eq + Clone + Send + 'static,
        V: DefaultSerde + Clone + Send + 'static,
    {
        self.table_with(topic, Consumed::new())
    }

    /// Reads a topic as a table, as the options say: [`Consumed`], the name of its store or
    /// [`Materialized`], or a pair of both. See [`table`](Self::table).
    ///
    /// A timestamp extractor is not asked about tombstones: they have record time.
    pub fn table_with<K, V>(
        &self,
        topic: &str,
        options: impl Into<TableOptions<K, V>>,
    ) -> KTable<K, V>
    where
        K: Hash + Eq + Clone + Send + 'static,
        V: Clone + Send + 'static,
    {
        let TableOptions { consumed, materialized, history_ms } = options.into();
        let store = format!("{topic}-STATE-STORE");
        if materialized.is_none() {
            // Kafka Streams uses up a number for the name of a store that may never be.
            self.scope.next_name(&format!("{store}-"));
        }
        let source_name = consumed.name.as_ref().map(|name| format!("{name}-source"));
        let source_name = self.scope.name_or_next(source_name.as_ref(), "KSTREAM-SOURCE-");
        let table_name = self.scope.name_or_next(consumed.name.as_ref(), "KTABLE-SOURCE-");
        let Consumed { serdes, extractor, reset, .. } = consumed;
        let factory = source::factory(source::SourceOptions {
            node: self.scope.next_id(),
            key_serde: Arc::clone(&serdes.key),
            value_serde: Arc::new(OptionSerde::new(Arc::clone(&serdes.value))),
            extractor: extractor.of_rows(),
            repartition: false,
        });
        let topics = vec![TopicRef::external(topic)];
        let kind = NodeKind::Source { topics, reset, factory };
        let source = self.scope.add_node(source_name, &[], kind);
        let state = Arc::new(TableState::default());
        let factory = table_source::factory::<K, V, Option<V>>(
            self.scope.next_id(),
            Arc::clone(&serdes.key),
            Arc::clone(&state),
        );
        let kind = NodeKind::Processor { stores: Vec::new(), factory };
        let node = self.scope.add_node(table_name, &[source], kind);
        let above = TopicTable {
            scope: self.scope.clone(),
            node,
            state: Arc::clone(&state),
            store,
            key_serde: Arc::clone(&serdes.key),
            value_serde: serdes.value,
        };
        let table =
            KTable::new(self.scope.clone(), node, TableNode::through(state, serdes.key, above));
        match (materialized, history_ms) {
            (Some(materialized), Some(history_ms)) => table.versioned(materialized, history_ms),
            (Some(materialized), None) => table.materialized(materialized),
            (None, _) => table,
        }
    }
}
