//! `StreamsBuilder`: where a topology starts.

use crate::config::TopologyConfig;
use crate::dsl::handles::KStream;
use crate::dsl::options::Consumed;
use crate::dsl::scope::Scope;
use crate::error::BuildError;
use crate::graph::node::NodeKind;
use crate::graph::plan::Topology;
use crate::operators::source;
use crate::serdes::DefaultSerde;
use crate::state_stores::builder::StoreBuilder;
use crate::state_stores::connect::{OpenStore, StateStore};
use crate::types::TopicRef;

/// Topics to read: a name, or several whose records have the same types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topics(Vec<String>);

impl From<&str> for Topics {
    fn from(topic: &str) -> Self {
        Self(vec![topic.to_owned()])
    }
}

impl From<String> for Topics {
    fn from(topic: String) -> Self {
        Self(vec![topic])
    }
}

impl<T: Into<String>, const N: usize> From<[T; N]> for Topics {
    fn from(topics: [T; N]) -> Self {
        Self(topics.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<String>> From<Vec<T>> for Topics {
    fn from(topics: Vec<T>) -> Self {
        Self(topics.into_iter().map(Into::into).collect())
    }
}

/// Puts a topology together, as in Kafka Streams.
///
/// ```
/// use headwater_topology::StreamsBuilder;
///
/// let builder = StreamsBuilder::new();
/// builder
///     .stream::<String, String>("lines")
///     .flat_map_values(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
///     .group_by(|_, word| word.clone())
///     .count("words")
///     .to_stream()
///     .to("counts");
/// let topology = builder.build()?;
/// # Ok::<(), headwater_topology::BuildError>(())
/// ```
#[derive(Debug, Default)]
pub struct StreamsBuilder {
    pub(crate) scope: Scope,
}

impl StreamsBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty builder of topologies that make those choices.
    #[must_use]
    pub fn with_config(config: TopologyConfig) -> Self {
        Self { scope: Scope::new(config) }
    }

    /// Reads topics as a stream, with the types' own serdes and record time.
    ///
    /// Where keys or values can be null, the type says so: `stream::<Option<String>, String>`. A
    /// null where the type has none is dropped and counted, or treated as
    /// [`null_handler`](crate::StreamsConfig::null_handler) says. Records come in the order of their
    /// offsets within a partition, whatever their times; among the partitions of a task, that of
    /// the lowest time comes first. Times and headers are those of the topic.
    ///
    /// ```
    /// # use headwater_topology::{DropReason, StreamsBuilder, TopologyTestDriver};
    /// let builder = StreamsBuilder::new();
    /// builder.stream::<Option<String>, String>(["web", "app"]).to("all");
    /// let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let web = driver.input_topic::<Option<String>, Option<String>>("web");
    /// web.pipe_input_at(None, Some("/".to_owned()), 10)?;
    /// web.pipe_input_at(None, None, 11)?; // values cannot be null here
    /// let all = driver.output_topic::<Option<String>, String>("all")?.read_timed()?;
    /// assert_eq!(all, [(None, "/".to_owned(), 10)]);
    /// assert_eq!(driver.metrics()?.dropped(DropReason::NullValue), 1);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    pub fn stream<K, V>(&self, topics: impl Into<Topics>) -> KStream<K, V>
    where
        K: DefaultSerde + Clone + Send + 'static,
        V: DefaultSerde + Clone + Send + 'static,
    {
        self.stream_with(topics, Consumed::new())
    }

    /// Reads topics as a stream, as `consumed` says.
    pub fn stream_with<K, V>(
        &self,
        topics: impl Into<Topics>,
        consumed: Consumed<K, V>,
    ) -> KStream<K, V>
    where
        K: Clone + Send + 'static,
        V: Clone + Send + 'static,
    {
        let topics = topics.into().0;
        let name = self.scope.name_or_next(consumed.name.as_ref(), "KSTREAM-SOURCE-");
        if topics.is_empty() {
            self.scope.refuse(BuildError::InvalidOption {
                what: format!("source {name}"),
                reason: "it reads no topic".to_owned(),
            });
        }
        let factory = source::factory(source::SourceOptions {
            node: self.scope.next_id(),
            key_serde: consumed.serdes.key,
            value_serde: consumed.serdes.value,
            extractor: consumed.extractor,
            repartition: false,
        });
        let topics = topics.into_iter().map(TopicRef::external).collect();
        let kind = NodeKind::Source { topics, reset: consumed.reset, factory };
        let node = self.scope.add_node(name, &[], kind);
        KStream::new(self.scope.clone(), node, false)
    }

    /// Adds a store for processors. What comes back connects it to them, in
    /// [`KStream::process_with_stores`]. A store that is connected to none is not built.
    pub fn add_state_store<S: OpenStore>(&self, store: StoreBuilder<S>) -> StateStore<S> {
        let state_store = StateStore::named(store.definition.name.clone());
        self.scope.add_store(store.definition);
        state_store
    }

    /// Checks the topology and finishes it.
    ///
    /// # Errors
    /// The first mistake that was made: see [`BuildError`].
    pub fn build(&self) -> Result<Topology, BuildError> {
        self.scope.build()
    }
}
