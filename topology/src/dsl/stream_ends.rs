//! `KStream`: where a stream goes: to those who look at it, to other streams, to topics and groups.

use crate::dsl::handles::{KGroupedStream, KStream};
use crate::dsl::options::{Grouped, Produced};
use crate::dsl::scope::Scope;
use crate::error::BuildError;
use crate::graph::node::{NodeFactory, NodeKind};
use crate::operators::{merge, peek, sink};
use crate::serdes::{DefaultSerde, pair_format};
use crate::types::{NodeId, TopicRef};

impl<K, V> KStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Looks at each record as it passes: null keys and values, late records, all of them. What
    /// `action` does is not taken back by an abort, and is then done again.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("in").peek(|key, n| println!("{key} {n}")).to("out");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let input = driver.input_topic::<String, i64>("in");
    /// for (key, value, time) in [("k", 1, 10)] {
    ///     input.pipe_input_at(key, value, time)?;
    /// }
    /// let out = driver.output_topic::<String, i64>("out")?.read_timed()?;
    /// assert_eq!(out, [("k".to_owned(), 1, 10)]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn peek(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        let node = self
            .scope
            .add_processor("KSTREAM-PEEK-", &[self.node], |node| peek::factory(node, action));
        Self::new(self.scope.clone(), node, self.repartition_required)
    }

    /// Looks at each record, and ends here. What `action` does is not taken back by an abort, and is
    /// then done again. See [`peek`](Self::peek).
    ///
    /// ```
    /// # use headwater_topology::StreamsBuilder;
    /// # let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("in").for_each(|key, n| println!("{key} {n}")).named("show");
    /// ```
    pub fn for_each(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Terminal {
        let node = self
            .scope
            .add_processor("KSTREAM-FOREACH-", &[self.node], |node| peek::factory(node, action));
        Terminal { scope: self.scope.clone(), node }
    }

    /// This stream's records and those of another, each in the order in which it is processed, with
    /// its own time and headers. Nothing is held back to sort them. Null keys and values pass.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let web = builder.stream::<String, String>("web");
    /// web.merge(&builder.stream("app")).to("all");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// driver.input_topic::<String, String>("web").pipe_input_at("k", "w", 10)?;
    /// driver.input_topic::<String, String>("app").pipe_input_at("k", "a", 5)?;
    /// let all = driver.output_topic::<String, String>("all")?.read_timed()?;
    /// let expected = [("w", 10), ("a", 5)];
    /// assert_eq!(all, expected.map(|(value, time)| ("k".to_owned(), value.to_owned(), time)));
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        if !self.scope.is_same(&other.scope) {
            self.scope.refuse(BuildError::ForeignStream { operation: "merge" });
            return self.clone();
        }
        // As in Kafka Streams a stream that is merged with itself stays what it is.
        let parents = match self.node == other.node {
            true => vec![self.node],
            false => vec![self.node, other.node],
        };
        let node =
            self.scope.add_processor("KSTREAM-MERGE-", &parents, |_| merge::factory::<K, V>());
        let repartition_required = self.repartition_required || other.repartition_required;
        Self::new(self.scope.clone(), node, repartition_required)
    }

    /// Writes the stream to a topic, with the types' own serdes: each record with its time and its
    /// headers, in the order in which they come. A null value is a tombstone there.
    ///
    /// The topic has to exist when the application starts. The partition is that of Kafka's
    /// default partitioner, or of [`Produced::with_stream_partitioner`]; a record without a key keeps the partition number of its task, modulo
    /// the topic's partitions, so that a replay finds the same one.
    pub fn to(&self, topic: &str) -> Terminal
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        self.to_with(topic, Produced::new())
    }

    /// Writes the stream to a topic, as `produced` says. See [`to`](Self::to).
    pub fn to_with(&self, topic: &str, produced: Produced<K, V>) -> Terminal {
        let name = self.scope.name_or_next(produced.name.as_ref(), "KSTREAM-SINK-");
        let (key_serde, value_serde) = (produced.serdes.key, produced.serdes.value);
        let id = self.scope.next_id();
        let topic = TopicRef::external(topic);
        let partitioner = produced.partitioner;
        let format = pair_format(&*key_serde, &*value_serde);
        let factory = sink::factory(id, topic.clone(), key_serde, value_serde, partitioner);
        let kind = NodeKind::Sink { topic, format, factory };
        let node = self.scope.add_node(name, &[self.node], kind);
        Terminal { scope: self.scope.clone(), node }
    }

    /// Groups by the key that the records have, with the types' own serdes. Grouping by itself keeps
    /// nothing and drops nothing: see the aggregations of [`KGroupedStream`]. If the key was changed
    /// since the last topic, they go through a repartition topic, which drops null keys.
    ///
    /// ```
    /// # use headwater_topology::StreamsBuilder;
    /// # let builder = StreamsBuilder::new();
    /// builder.stream::<String, i64>("in").group_by_key().count("counts");
    /// ```
    #[must_use]
    pub fn group_by_key(&self) -> KGroupedStream<K, V>
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        self.group_by_key_with(Grouped::new())
    }

    /// Groups by the key that the records have, as `grouped` (or its name) says.
    #[must_use]
    pub fn group_by_key_with(&self, grouped: impl Into<Grouped<K, V>>) -> KGroupedStream<K, V> {
        KGroupedStream::new(
            self.scope.clone(),
            self.node,
            self.repartition_required,
            grouped.into(),
        )
    }

    /// Groups by a new key, with the types' own serdes: aggregations go through a repartition
    /// topic, which drops null keys and keeps times and headers.
    ///
    /// ```
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// let clicks = builder.stream::<Option<String>, String>("clicks"); // without keys
    /// clicks.group_by(|_, page| page.clone()).count("clicks-by-page");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// driver.input_topic::<Option<String>, String>("clicks").pipe_input_at(None, "/", 10)?;
    /// assert_eq!(driver.store_value("clicks-by-page", &"/".to_owned())?, Some(1_i64));
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn group_by<K2>(
        &self,
        mapper: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
    ) -> KGroupedStream<K2, V>
    where
        K2: DefaultSerde + Clone + Send + 'static,
        V: DefaultSerde,
    {
        self.group_by_with(mapper, Grouped::new())
    }

    /// Groups by a new key, as `grouped` (or its name) says. See [`group_by`](Self::group_by).
    #[must_use]
    pub fn group_by_with<K2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
        grouped: impl Into<Grouped<K2, V>>,
    ) -> KGroupedStream<K2, V> {
        let grouped = grouped.into();
        let mut selected = self.select_key(mapper);
        if let Some(name) = &grouped.name {
            selected = selected.named(name);
        }
        selected.group_by_key_with(grouped)
    }
}

impl<K, V> KStream<K, V> {
    /// Ends the stream with a node of that name.
    pub(crate) fn add_terminal(&self, name: String, factory: NodeFactory) -> Terminal {
        let kind = NodeKind::Processor { stores: Vec::new(), factory };
        let node = self.scope.add_node(name, &[self.node], kind);
        Terminal::new(self.scope.clone(), node)
    }
}

/// The end of a stream.
#[derive(Debug)]
pub struct Terminal {
    scope: Scope,
    node: NodeId,
}

impl Terminal {
    pub(crate) fn new(scope: Scope, node: NodeId) -> Self {
        Self { scope, node }
    }

    /// Names the node. Default = its kind and a number.
    pub fn named(self, name: &str) {
        self.scope.rename(self.node, name);
    }
}
