//! `KStream`: a stream of records.

use crate::dsl::handles::{KGroupedStream, KStream};
use crate::dsl::options::{Grouped, Produced};
use crate::dsl::scope::Scope;
use crate::error::{BoxError, BuildError};
use crate::graph::node::{NodeFactory, NodeKind};
use crate::operators::{filter, flat_map, map, merge, peek, sink};
use crate::serdes::DefaultSerde;
use crate::types::{NodeId, TopicRef};

impl<K, V> KStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Names the node of the last operation. Default = its kind and a number, which is used up
    /// all the same: naming one node never renames another.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        self.scope.rename(self.node, name);
        self
    }

    /// Keeps the records that satisfy the predicate.
    #[must_use]
    pub fn filter(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        let node = self.scope.add_processor("KSTREAM-FILTER-", &[self.node], |node| {
            filter::factory(node, predicate)
        });
        Self::new(self.scope.clone(), node, self.repartition_required)
    }

    /// Keeps the records that do not satisfy the predicate.
    #[must_use]
    pub fn filter_not(&self, predicate: impl Fn(&K, &V) -> bool + Send + Sync + 'static) -> Self {
        self.filter(move |key, value| !predicate(key, value))
    }

    /// Makes of each record another one. The key is new: a grouping repartitions.
    #[must_use]
    pub fn map<K2, V2>(
        &self,
        mapper: impl Fn(K, V) -> (K2, V2) + Send + Sync + 'static,
    ) -> KStream<K2, V2>
    where
        K2: Clone + Send + 'static,
        V2: Clone + Send + 'static,
    {
        let node = self
            .scope
            .add_processor("KSTREAM-MAP-", &[self.node], |node| map::factory(node, mapper));
        KStream::new(self.scope.clone(), node, true)
    }

    /// As [`map`](Self::map), with a closure that can fail: the processing handler then decides
    /// about the record.
    #[must_use]
    pub fn try_map<K2, V2, E: Into<BoxError>>(
        &self,
        mapper: impl Fn(K, V) -> Result<(K2, V2), E> + Send + Sync + 'static,
    ) -> KStream<K2, V2>
    where
        K2: Clone + Send + 'static,
        V2: Clone + Send + 'static,
    {
        let node = self.scope.add_processor("KSTREAM-MAP-", &[self.node], |node| {
            map::try_factory(node, move |key, value| mapper(key, value).map_err(Into::into))
        });
        KStream::new(self.scope.clone(), node, true)
    }

    /// Makes of each value another one; the key stays.
    ///
    /// ```
    /// # use headwater_topology::StreamsBuilder;
    /// # let builder = StreamsBuilder::new();
    /// let lengths = builder.stream::<String, String>("lines").map_values(|line| line.len() as u64);
    /// ```
    #[must_use]
    pub fn map_values<V2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(V) -> V2 + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.add_map_values(move |key, value| (key, mapper(value)))
    }

    /// As [`map_values`](Self::map_values), with a look at the key.
    #[must_use]
    pub fn map_values_with_key<V2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(&K, V) -> V2 + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.add_map_values(move |key, value| {
            let value = mapper(&key, value);
            (key, value)
        })
    }

    fn add_map_values<V2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(K, V) -> (K, V2) + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        let node = self
            .scope
            .add_processor("KSTREAM-MAPVALUES-", &[self.node], |node| map::factory(node, mapper));
        KStream::new(self.scope.clone(), node, self.repartition_required)
    }

    /// As [`map_values`](Self::map_values), with a closure that can fail: the processing handler
    /// then decides about the record.
    ///
    /// ```
    /// # use headwater_topology::StreamsBuilder;
    /// # let builder = StreamsBuilder::new();
    /// let numbers =
    ///     builder.stream::<String, String>("numbers").try_map_values(|text| text.parse::<i64>());
    /// ```
    #[must_use]
    pub fn try_map_values<V2: Clone + Send + 'static, E: Into<BoxError>>(
        &self,
        mapper: impl Fn(V) -> Result<V2, E> + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        self.try_map_values_with_key(move |_, value| mapper(value))
    }

    /// As [`try_map_values`](Self::try_map_values), with a look at the key.
    #[must_use]
    pub fn try_map_values_with_key<V2: Clone + Send + 'static, E: Into<BoxError>>(
        &self,
        mapper: impl Fn(&K, V) -> Result<V2, E> + Send + Sync + 'static,
    ) -> KStream<K, V2> {
        let node = self.scope.add_processor("KSTREAM-MAPVALUES-", &[self.node], |node| {
            map::try_factory(node, move |key, value| {
                let value = mapper(&key, value).map_err(Into::into)?;
                Ok((key, value))
            })
        });
        KStream::new(self.scope.clone(), node, self.repartition_required)
    }

    /// Makes of each record any number of others, in order. The keys are new: a grouping
    /// repartitions.
    #[must_use]
    pub fn flat_map<K2, V2, I>(
        &self,
        mapper: impl Fn(K, V) -> I + Send + Sync + 'static,
    ) -> KStream<K2, V2>
    where
        K2: Clone + Send + 'static,
        V2: Clone + Send + 'static,
        I: IntoIterator<Item = (K2, V2)> + 'static,
    {
        let node = self.scope.add_processor("KSTREAM-FLATMAP-", &[self.node], |node| {
            flat_map::factory(node, mapper)
        });
        KStream::new(self.scope.clone(), node, true)
    }

    /// Makes of each value any number of others, in order; the key stays.
    #[must_use]
    pub fn flat_map_values<V2, I>(
        &self,
        mapper: impl Fn(V) -> I + Send + Sync + 'static,
    ) -> KStream<K, V2>
    where
        V2: Clone + Send + 'static,
        I: IntoIterator<Item = V2> + 'static,
    {
        let node = self.scope.add_processor("KSTREAM-FLATMAPVALUES-", &[self.node], |node| {
            flat_map::factory(node, move |key: K, value| {
                mapper(value).into_iter().map(move |value| (key.clone(), value))
            })
        });
        KStream::new(self.scope.clone(), node, self.repartition_required)
    }

    /// Gives each record another key: a grouping repartitions.
    #[must_use]
    pub fn select_key<K2: Clone + Send + 'static>(
        &self,
        mapper: impl Fn(&K, &V) -> K2 + Send + Sync + 'static,
    ) -> KStream<K2, V> {
        let node = self.scope.add_processor("KSTREAM-KEY-SELECT-", &[self.node], |node| {
            map::factory(node, move |key, value| (mapper(&key, &value), value))
        });
        KStream::new(self.scope.clone(), node, true)
    }

    /// Looks at each record as it passes. What `action` does is not taken back by an abort.
    #[must_use]
    pub fn peek(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Self {
        let node = self
            .scope
            .add_processor("KSTREAM-PEEK-", &[self.node], |node| peek::factory(node, action));
        Self::new(self.scope.clone(), node, self.repartition_required)
    }

    /// Looks at each record, and ends here. What `action` does is not taken back by an abort.
    pub fn for_each(&self, action: impl Fn(&K, &V) + Send + Sync + 'static) -> Terminal {
        let node = self
            .scope
            .add_processor("KSTREAM-FOREACH-", &[self.node], |node| peek::factory(node, action));
        Terminal { scope: self.scope.clone(), node }
    }

    /// This stream's records and those of another, each in the order in which it is processed.
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

    /// Writes the stream to a topic, with the types' own serdes.
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
        let factory = sink::factory(id, topic.clone(), key_serde, value_serde, partitioner);
        let kind = NodeKind::Sink { topic, factory };
        let node = self.scope.add_node(name, &[self.node], kind);
        Terminal { scope: self.scope.clone(), node }
    }

    /// Groups by the key that the records have, with the types' own serdes.
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
    /// topic.
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
