//! `KStream::repartition` and `KStream::to_by`: explicit topics, internal ones and chosen ones.

use std::fmt;
use std::sync::Arc;

use crate::dsl::handles::KStream;
use crate::dsl::options::{KeyValueSerdes, Produced};
use crate::dsl::repartition::repartition_by;
use crate::dsl::stream_ends::Terminal;
use crate::error::BuildError;
use crate::graph::node::NodeKind;
use crate::operators::dynamic_sink;
use crate::partitioner::{PartitionerRef, StreamPartitioner};
use crate::serdes::{DefaultSerde, SerdeRef};

/// How a stream goes through a repartition topic: its name, which is the short form, serdes, and
/// the number of partitions.
pub struct Repartitioned<K, V> {
    name: String,
    serdes: KeyValueSerdes<K, V>,
    partitions: Option<u32>,
    partitioner: Option<PartitionerRef<K, V>>,
}

impl<K: DefaultSerde, V: DefaultSerde> Repartitioned<K, V> {
    /// Through the topic `<application.id>-<name>-repartition`, with the types' own serdes.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self::with(name, K::default_serde(), V::default_serde())
    }
}

impl<K: DefaultSerde, V: DefaultSerde> From<&str> for Repartitioned<K, V> {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl<K, V> Repartitioned<K, V> {
    /// Through the topic `<application.id>-<name>-repartition`, with these serdes.
    #[must_use]
    pub fn with(name: impl Into<String>, key_serde: SerdeRef<K>, value_serde: SerdeRef<V>) -> Self {
        let serdes = KeyValueSerdes { key: key_serde, value: value_serde };
        Self { name: name.into(), serdes, partitions: None, partitioner: None }
    }

    /// How many partitions the topic has, and so how many tasks there are below it. Default = as
    /// many as the topics above, or as those that it is joined with.
    #[must_use]
    pub fn with_number_of_partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// With a partitioner, which then decides which task has a key. Default = Kafka's, by the
    /// bytes of the key.
    #[must_use]
    pub fn with_stream_partitioner(mut self, partitioner: impl StreamPartitioner<K, V>) -> Self {
        self.partitioner = Some(Arc::new(partitioner));
        self
    }
}

impl<K, V> fmt::Debug for Repartitioned<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repartitioned")
            .field("name", &self.name)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}

impl<K, V> KStream<K, V>
where
    K: Clone + Send + 'static,
    V: Clone + Send + 'static,
{
    /// Takes the stream through a topic of its own, whether its key was changed or not: records of
    /// one key then come to one task, and a grouping or a join below needs no other topic.
    ///
    /// Times and headers stay. Null keys are dropped and counted, unless a left or outer join
    /// below has a use for them; null values stay.
    ///
    /// ```
    /// # use headwater_topology::{Repartitioned, StreamsBuilder};
    /// # let builder = StreamsBuilder::new();
    /// let clicks = builder.stream::<String, String>("clicks");
    /// let spread = Repartitioned::named("by-page").with_number_of_partitions(8);
    /// clicks.select_key(|_, page| page.clone()).repartition(spread).group_by_key().count("pages");
    /// ```
    #[must_use]
    pub fn repartition(&self, repartitioned: impl Into<Repartitioned<K, V>>) -> Self {
        let Repartitioned { name, serdes, partitions, partitioner } = repartitioned.into();
        let names = self.scope.repartition_names(&name);
        match partitions {
            Some(0) => self.scope.refuse(BuildError::InvalidOption {
                what: format!("repartition topic {}", names.topic),
                reason: "it has one partition at least".to_owned(),
            }),
            Some(partitions) => self.scope.enforce_partitions(&names.topic, partitions),
            None => {}
        }
        let source = repartition_by(&self.scope, self.node, names, &serdes, partitioner);
        Self::new(self.scope.clone(), source, false)
    }

    /// Writes each record to the topic that `extractor` names (Kafka's `to` with a
    /// `TopicNameExtractor`), with the types' own serdes.
    ///
    /// The topics have to exist when they are named: a record for one that does not is for the
    /// processing handler. See [`to`](Self::to) for the rest.
    ///
    /// ```
    /// # use headwater_topology::StreamsBuilder;
    /// # let builder = StreamsBuilder::new();
    /// let events = builder.stream::<String, String>("events");
    /// events.to_by(|_, event| if event == "error" { "errors" } else { "others" }.to_owned());
    /// ```
    pub fn to_by(&self, extractor: impl Fn(&K, &V) -> String + Send + Sync + 'static) -> Terminal
    where
        K: DefaultSerde,
        V: DefaultSerde,
    {
        self.to_by_with(extractor, Produced::new())
    }

    /// As [`to_by`](Self::to_by), as `produced` says.
    pub fn to_by_with(
        &self,
        extractor: impl Fn(&K, &V) -> String + Send + Sync + 'static,
        produced: Produced<K, V>,
    ) -> Terminal {
        let name = self.scope.name_or_next(produced.name.as_ref(), "KSTREAM-SINK-");
        let (key_serde, value_serde) = (produced.serdes.key, produced.serdes.value);
        let (node, partitioner) = (self.scope.next_id(), produced.partitioner);
        let factory = dynamic_sink::factory(node, extractor, key_serde, value_serde, partitioner);
        let node = self.scope.add_node(name, &[self.node], NodeKind::DynamicSink { factory });
        Terminal::new(self.scope.clone(), node)
    }
}
