//! Joins of a `KStream` with tables, and `to_table`.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::sync::Arc;

use crate::dsl::handles::{KStream, KTable};
use crate::dsl::joined::Joined;
use crate::dsl::materialize::key_value_store;
use crate::dsl::options::{KeyValueSerdes, Materialized};
use crate::dsl::repartition::repartition;
use crate::dsl::table_node::TableNode;
use crate::error::BuildError;
use crate::graph::node::{NodeFactory, NodeKind, StoreDefinition, StoreKind};
use crate::operators::join_with_grace::{self, GraceOptions};
use crate::operators::stream_table_join::{self, Lookup, StreamTableJoinOptions};
use crate::operators::table_source;
use crate::operators::table_state::TableState;
use crate::operators::value_getter::View;
use crate::processor::StoreHandle;
use crate::serdes::{DefaultSerde, SerdeRef};
use crate::store::join_buffer::JoinBuffer;
use crate::types::{NodeId, StoreType};

impl<K, V> KStream<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Joins each record with the row that a table has for its key at that moment; a record
    /// without a row has no result.
    ///
    /// Only the stream triggers: a later update of the table changes no result. The result has
    /// the time and the headers of the stream's record; late records are joined like any other,
    /// with the row of now. Only a versioned table, see [`Materialized::versioned`], is asked for
    /// the row that the key had at the time of the record. Null keys and null values are dropped and counted. A stream whose key
    /// was changed goes through a repartition topic, which takes its name from [`Joined`] or from
    /// the node above if that was [`named`](Self::named).
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let users = builder.table::<String, String>("users");
    /// let clicks = builder.stream::<String, i64>("clicks");
    /// clicks.join_table(&users, |page, name| format!("{name} on {page}")).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let clicks = driver.input_topic::<String, i64>("clicks");
    /// clicks.pipe_input_at("7", 1, 10)?; // nobody knows 7 yet
    /// driver.input_topic::<String, String>("users").pipe_input_at("7", "Ada", 20)?;
    /// clicks.pipe_input_at("7", 2, 5)?;
    /// let out = driver.output_topic::<String, String>("out")?.read_timed()?;
    /// assert_eq!(out, [("7".to_owned(), "Ada on 2".to_owned(), 5)]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn join_table<V2, R>(
        &self,
        table: &KTable<K, V2>,
        joiner: impl Fn(V, V2) -> R + Send + Sync + 'static,
    ) -> KStream<K, R>
    where
        K: DefaultSerde,
        V: DefaultSerde,
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        self.join_table_with(table, move |_, value, row| joiner(value, row), Joined::new())
    }

    /// As [`join_table`](Self::join_table), with a joiner that sees the key, and as `joined` (or
    /// its name) says.
    #[must_use]
    pub fn join_table_with<V2, R>(
        &self,
        table: &KTable<K, V2>,
        joiner: impl Fn(&K, V, V2) -> R + Send + Sync + 'static,
        joined: impl Into<Joined<K, V>>,
    ) -> KStream<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let join = move |key: &K, value, row: Option<V2>| Some(joiner(key, value, row?));
        self.add_table_join(table, join, joined.into(), false)
    }

    /// As [`join_table`](Self::join_table), where a record without a row is joined with `None`,
    /// and so is one with a null key. Null values are dropped and counted.
    #[must_use]
    pub fn left_join_table<V2, R>(
        &self,
        table: &KTable<K, V2>,
        joiner: impl Fn(V, Option<V2>) -> R + Send + Sync + 'static,
    ) -> KStream<K, R>
    where
        K: DefaultSerde,
        V: DefaultSerde,
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        self.left_join_table_with(table, move |_, value, row| joiner(value, row), Joined::new())
    }

    /// As [`left_join_table`](Self::left_join_table), with a joiner that sees the key, and as
    /// `joined` (or its name) says.
    #[must_use]
    pub fn left_join_table_with<V2, R>(
        &self,
        table: &KTable<K, V2>,
        joiner: impl Fn(&K, V, Option<V2>) -> R + Send + Sync + 'static,
        joined: impl Into<Joined<K, V>>,
    ) -> KStream<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let join = move |key: &K, value, row| Some(joiner(key, value, row));
        self.add_table_join(table, join, joined.into(), true)
    }

    fn add_table_join<V2, R>(
        &self,
        table: &KTable<K, V2>,
        join: impl Fn(&K, V, Option<V2>) -> Option<R> + Send + Sync + 'static,
        joined: Joined<K, V>,
        left: bool,
    ) -> KStream<K, R>
    where
        V2: Clone + Send + 'static,
        R: Clone + Send + 'static,
    {
        let prefix = if left { "KSTREAM-LEFTJOIN-" } else { "KSTREAM-JOIN-" };
        let name = self.scope.name_or_next(joined.name.as_ref(), prefix);
        if !self.scope.is_same(&table.scope) {
            self.scope.refuse(BuildError::ForeignStream { operation: "join_table" });
        }
        let stream = self.repartitioned_for_join(joined.name.as_deref(), &joined.serdes);
        let view = table.table.view();
        let stores = view.stores.clone();
        let options = StreamTableJoinOptions {
            node: self.scope.next_id(),
            value_serde: Arc::clone(&joined.serdes.value),
            table: view,
            left,
        };
        let key_serde = Arc::clone(&joined.serdes.key);
        let factory = stream_table_join::factory(
            options,
            move |record, rows| {
                if key_serde.is_null(&record.key) {
                    return Lookup::NullKey;
                }
                Lookup::Row(rows.get_as_of(&record.key, record.timestamp).map(|row| row.value))
            },
            join,
        );
        let (factory, buffer) = match joined.grace_ms {
            Some(grace_ms) => {
                let (factory, buffer) = self.waiting(table, &joined, (grace_ms, left), factory);
                (factory, Some(buffer))
            }
            None => (factory, None),
        };
        let mut connected: Vec<String> = buffer.iter().map(|buffer| buffer.name.clone()).collect();
        connected.extend(stores);
        let kind = NodeKind::Processor { stores: connected, factory };
        let node = self.scope.add_node(name, &[stream], kind);
        if let Some(buffer) = buffer {
            self.scope.add_store_of(node, buffer);
        }
        self.scope.copartition(&[stream, table.node]);
        if left {
            self.scope.let_null_keys_pass(node);
        }
        KStream::new(self.scope.clone(), node, false)
    }

    /// A join whose records wait, and the store that they wait in.
    fn waiting<V2>(
        &self,
        table: &KTable<K, V2>,
        joined: &Joined<K, V>,
        (grace_ms, left): (i64, bool),
        join: NodeFactory,
    ) -> (NodeFactory, StoreDefinition)
    where
        V2: Clone + Send + 'static,
    {
        let refuse = |reason: &str| {
            self.scope.refuse(BuildError::InvalidOption {
                what: "the grace period of a join".to_owned(),
                reason: reason.to_owned(),
            });
        };
        if joined.name.is_none() {
            refuse("the store in which records wait takes its name from the join: name it");
        }
        let stores = table.table.view().stores;
        let histories = stores.iter().filter_map(|store| self.scope.history_ms(store));
        if !table.table.is_versioned() {
            refuse("only the rows of a versioned table can be waited for");
        } else if histories.min().is_some_and(|history_ms| history_ms < grace_ms) {
            refuse("it is longer than the history of the table");
        }
        let store = format!("{}-Buffer", joined.name.as_deref().unwrap_or_default());
        let (key_serde, value_serde) = (&joined.serdes.key, &joined.serdes.value);
        let options = GraceOptions {
            node: self.scope.next_id(),
            store: store.clone(),
            key_serde: Arc::clone(key_serde),
            value_serde: Arc::clone(value_serde),
            left,
            kafka_compat: self.scope.kafka_compat(),
        };
        let serdes = joined.serdes.clone();
        let name = store.clone();
        let build = move || {
            let KeyValueSerdes { key, value } = serdes.clone();
            StoreHandle::new(JoinBuffer::new(name.clone(), grace_ms, key, value))
        };
        let definition = StoreDefinition {
            name: store,
            kind: StoreKind::KeyValue,
            logged: true,
            cached: Some(false),
            store_type: Some(StoreType::InMemory),
            configs: BTreeMap::new(),
            factory: Arc::new(build),
        };
        (join_with_grace::factory(options, join), definition)
    }

    /// The node whose records a join can take: this one, or behind a repartition topic that is
    /// named after the join, or else after this node. A name of the builder's making is no name
    /// for a topic, because it changes with the topology.
    pub(crate) fn repartitioned_for_join(
        &self,
        name: Option<&str>,
        serdes: &KeyValueSerdes<K, V>,
    ) -> NodeId {
        if !self.repartition_required {
            return self.node;
        }
        let own = self.scope.node_name(self.node);
        if name.is_none() && is_generated(&own) {
            self.scope.refuse(BuildError::InvalidOption {
                what: format!("the join below {own}"),
                reason: "the key was changed, so it needs a repartition topic, and that a name: \
                         give one to the join, by `Joined::named`, or to the stream, by `named`"
                    .to_owned(),
            });
        }
        let names = self.scope.repartition_names(name.unwrap_or(&own));
        repartition(&self.scope, self.node, names, serdes)
    }

    /// Takes each record for the new row of its key, in a store of that name: Kafka's `toTable`.
    /// `R` is the type of the rows: for a stream of `Option<R>` a `None` removes the row.
    ///
    /// Every record counts, in the order of offsets, even if it is older than the row; so does one
    /// that changes nothing. Null keys are dropped and counted; times and headers stay. A stream
    /// whose key was changed goes through the topic `<store>-repartition`.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let latest = builder.stream::<String, String>("events").to_table::<String>("latest");
    /// latest.filter(|_, event| event != "ping").to_stream().to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// driver.input_topic::<String, String>("events").pipe_input_at("k", "start", 1)?;
    /// let row = driver.store_value::<String, String>("latest", &"k".to_owned())?;
    /// assert_eq!(row.as_deref(), Some("start"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn to_table<R>(&self, materialized: impl Into<Materialized<K, R>>) -> KTable<K, R>
    where
        K: DefaultSerde,
        V: Into<Option<R>> + DefaultSerde,
        R: Clone + Send + 'static,
    {
        self.to_table_with(materialized, V::default_serde())
    }

    /// As [`to_table`](Self::to_table), for values whose type has no serde of its own:
    /// `value_serde` is for the repartition topic.
    pub fn to_table_with<R>(
        &self,
        materialized: impl Into<Materialized<K, R>>,
        value_serde: SerdeRef<V>,
    ) -> KTable<K, R>
    where
        K: DefaultSerde,
        V: Into<Option<R>>,
        R: Clone + Send + 'static,
    {
        let materialized = materialized.into();
        let name = self.scope.next_name("KSTREAM-TOTABLE-");
        let key_serde = materialized.key_serde.clone().unwrap_or_else(K::default_serde);
        let parent = if self.repartition_required {
            let serdes = KeyValueSerdes { key: Arc::clone(&key_serde), value: value_serde };
            let names = self.scope.repartition_names(&materialized.store);
            repartition(&self.scope, self.node, names, &serdes)
        } else {
            self.node
        };
        let state = Arc::new(TableState::stored(&materialized.store));
        let factory = table_source::factory::<K, R, V>(
            self.scope.next_id(),
            Arc::clone(&key_serde),
            Arc::clone(&state),
        );
        let view = View::of_key_value_store(&materialized.store);
        let store = key_value_store(materialized, &key_serde);
        let node = self.scope.add_stateful(name, parent, store, factory);
        KTable::new(self.scope.clone(), node, TableNode::kept(state, key_serde, view))
    }
}

/// Whether a node's name is a prefix and the ten digits of a counter.
fn is_generated(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(prefix, digits)| {
        prefix.starts_with('K')
            && digits.len() == 10
            && digits.bytes().all(|digit| digit.is_ascii_digit())
    })
}
