//! `TopologyTestDriver`: runs a topology record by record.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Log, LogStore, ManualClock, NewTopic, Offset, PartitionId,
    ProducerConfig, Timestamp, TopicName, TopicPartition,
};

use crate::config::StreamsConfig;
use crate::error::{Error, Result};
use crate::graph::plan::{Graph, Topology};
use crate::metrics::MetricsSnapshot;
use crate::runtime::formats::notes_topic;
use crate::runtime::task_set::TaskSet;
use crate::serdes::{DefaultSerde, SerdeRef};
use crate::testing::output::TestOutputTopic;
use crate::testing::topics::{Inner, TestInputTopic};
use crate::types::TopicRef;

/// Runs a topology without threads: its real tasks, on the real log in memory, with a wall clock
/// that stands still. Each record that is piped in is processed and committed before the call
/// returns, and so is everything that follows from it, through repartition topics and all.
///
/// ```
/// use headwater_topology::{StreamsBuilder, TopologyTestDriver};
///
/// let builder = StreamsBuilder::new();
/// builder.stream::<String, String>("in").map_values(|text| text.to_uppercase()).to("out");
/// let driver = TopologyTestDriver::new(&builder.build()?)?;
/// driver.input_topic::<String, String>("in").pipe_input_at("k", "loud", 5)?;
/// let out = driver.output_topic::<String, String>("out")?;
/// assert_eq!(out.read_timed()?, [("k".to_owned(), "LOUD".to_owned(), 5)]);
/// # Ok::<(), headwater_topology::Error>(())
/// ```
///
/// Topics have one partition each, or what [`with_topics`](Self::with_topics) says. The wall clock
/// moves with [`advance_wall_clock`](Self::advance_wall_clock), event time with the records:
/// [`TestInputTopic::with_start`] gives them times of their own. Headers go in and come out with a
/// [`TestRecord`](crate::TestRecord), tombstones with [`TestInputTopic::pipe_tombstone`]; stores
/// are read by their types.
pub struct TopologyTestDriver {
    graph: Arc<Graph>,
    config: StreamsConfig,
    log: Arc<dyn Log>,
    clock: Arc<ManualClock>,
    pub(crate) inner: Rc<RefCell<Inner>>,
}

impl TopologyTestDriver {
    /// A driver with default settings. The wall clock shows 0.
    ///
    /// # Errors
    /// What keeps the application from starting.
    pub fn new(topology: &Topology) -> Result<Self> {
        Self::with_config(topology, StreamsConfig::new("test"))
    }

    /// A driver with these settings; the clock is the driver's own.
    ///
    /// # Errors
    /// What keeps the application from starting.
    pub fn with_config(topology: &Topology, config: StreamsConfig) -> Result<Self> {
        Self::with_topics(topology, config, &[])
    }

    /// A driver whose log has these topics, for topics with several partitions. The other topics
    /// that the topology reads or writes are created with one.
    ///
    /// # Errors
    /// What keeps the application from starting.
    pub fn with_topics(
        topology: &Topology,
        config: StreamsConfig,
        topics: &[NewTopic],
    ) -> Result<Self> {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(0)));
        let mut config = config.clock(Arc::clone(&clock) as Arc<_>);
        config.emit_interval.get_or_insert(Duration::ZERO);
        let store = LogStore::in_memory_builder().clock(Arc::clone(&clock) as Arc<_>).open();
        let log: Arc<dyn Log> = Arc::new(store.map_err(Error::log("the start of the log"))?);
        let graph = Arc::clone(&topology.graph);
        create_topics(log.as_ref(), &graph, &config, topics)?;
        let producer = log
            .producer(&ProducerConfig::default())
            .map_err(Error::log("the start of a producer"))?;
        let tasks = Some(TaskSet::open_all(&graph, config.clone(), &log)?);
        let clock_of_topics = Arc::clone(&clock);
        let inner = Inner { tasks, producer, clock: clock_of_topics };
        let inner = Rc::new(RefCell::new(inner));
        Ok(Self { graph, config, log, clock, inner })
    }

    /// An input topic, with the types' own serdes.
    #[must_use]
    pub fn input_topic<K, V>(&self, topic: &str) -> TestInputTopic<K, V>
    where
        K: DefaultSerde + 'static,
        V: DefaultSerde + 'static,
    {
        self.input_topic_with(topic, K::default_serde(), V::default_serde())
    }

    /// An input topic with these serdes.
    #[must_use]
    pub fn input_topic_with<K, V>(
        &self,
        topic: &str,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> TestInputTopic<K, V> {
        let inner = Rc::clone(&self.inner);
        let topic = topic.to_owned();
        let next_ms = Cell::new(None);
        TestInputTopic { inner, topic, key_serde, value_serde, next_ms, auto_advance_ms: 0 }
    }

    /// An output topic from its beginning, with the types' own serdes.
    ///
    /// # Errors
    /// `UnknownTopic`, or another failure of the log.
    pub fn output_topic<K, V>(&self, topic: &str) -> Result<TestOutputTopic<K, V>>
    where
        K: DefaultSerde + 'static,
        V: DefaultSerde + 'static,
    {
        self.output_topic_with(topic, K::default_serde(), V::default_serde())
    }

    /// An output topic from its beginning, with these serdes.
    ///
    /// # Errors
    /// `UnknownTopic`, or another failure of the log.
    pub fn output_topic_with<K, V>(
        &self,
        topic: &str,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> Result<TestOutputTopic<K, V>> {
        let failed = || format!("a read of {topic}");
        let name = TopicName::new(topic).map_err(Error::log(failed()))?;
        let found = self.log.describe_topic(topic).map_err(Error::log(failed()))?;
        let partitions: Vec<TopicPartition> = (0..found.partitions)
            .map(|partition| TopicPartition::new(name.clone(), PartitionId::new(partition)))
            .collect();
        let config = ConsumerConfig {
            auto_offset_reset: AutoOffsetReset::Earliest,
            ..ConsumerConfig::default()
        };
        let mut consumer = self.log.consumer(&config).map_err(Error::log(failed()))?;
        consumer.assign(&partitions).map_err(Error::log(failed()))?;
        let (consumer, queue) = (RefCell::new(consumer), RefCell::default());
        Ok(TestOutputTopic { consumer, topic: topic.to_owned(), key_serde, value_serde, queue })
    }

    /// Moves the wall clock forward, calls the punctuators that this makes due, and processes what
    /// follows from that.
    ///
    /// # Errors
    /// What stops the application, or a failure of the log.
    pub fn advance_wall_clock(&self, by: Duration) -> Result<()> {
        self.clock.advance(by);
        let mut inner = self.inner.borrow_mut();
        inner.tasks()?.punctuate()?;
        inner.drain_one_by_one()
    }

    /// The topics that the application has written records to, its changelogs and repartition topics
    /// included.
    ///
    /// # Errors
    /// A failure of the log.
    pub fn produced_topic_names(&self) -> Result<BTreeSet<String>> {
        let (mut read, mut written) = (BTreeSet::new(), BTreeSet::new());
        for index in 0..self.graph.subtopologies.len() {
            let external = |topics: Vec<(_, &TopicRef)>| -> Vec<String> {
                let topics = topics.into_iter().filter(|(_, topic)| !topic.internal);
                topics.map(|(_, topic)| topic.name.clone()).collect()
            };
            read.extend(external(self.graph.source_topics(index)));
            written.extend(external(self.graph.sink_topics(index)));
        }
        let failed = || Error::log("a look at the topics");
        let mut produced = BTreeSet::new();
        let notes = notes_topic(&self.config.application_id);
        for topic in self.log.topics().map_err(failed())? {
            let name = topic.name.as_str();
            if name == notes
                || topic.name.is_internal()
                || (read.contains(name) && !written.contains(name))
            {
                continue;
            }
            for partition in 0..topic.partitions {
                let partition =
                    TopicPartition::new(topic.name.clone(), PartitionId::new(partition));
                let watermarks = self.log.watermarks(&partition).map_err(failed())?;
                if watermarks.end > Offset::new(0) {
                    produced.insert(name.to_owned());
                }
            }
        }
        Ok(produced)
    }

    /// What the application has done since its last start.
    ///
    /// # Errors
    /// `NotRunning` after [`close`](Self::close).
    pub fn metrics(&self) -> Result<MetricsSnapshot> {
        Ok(self.inner.borrow_mut().tasks()?.context.metrics.clone())
    }

    /// The log, to look at internal topics.
    #[must_use]
    pub fn log(&self) -> Arc<dyn Log> {
        Arc::clone(&self.log)
    }

    /// Stops the application, as a process does that is killed: nothing is committed any more.
    pub fn close(&self) {
        self.inner.borrow_mut().tasks = None;
    }

    /// Starts the application again, on what its log holds, and processes what lies ahead: all of
    /// it before the next commit, where else each record is committed by itself.
    ///
    /// # Errors
    /// What keeps the application from starting, or stops it.
    pub fn restart(&self) -> Result<()> {
        self.close();
        let tasks = TaskSet::open_all(&self.graph, self.config.clone(), &self.log)?;
        let mut inner = self.inner.borrow_mut();
        inner.tasks = Some(tasks);
        inner.drain(u64::MAX)
    }
}

impl fmt::Debug for TopologyTestDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TopologyTestDriver").field("config", &self.config).finish_non_exhaustive()
    }
}

fn create_topics(
    log: &dyn Log,
    graph: &Graph,
    config: &StreamsConfig,
    topics: &[NewTopic],
) -> Result<()> {
    for topic in topics {
        log.create_topic(topic)
            .map_err(Error::log(format!("the creation of topic {}", topic.name)))?;
    }
    let mut names: BTreeSet<&str> = config.dead_letter_topic.iter().map(String::as_str).collect();
    for index in 0..graph.subtopologies.len() {
        let read = graph.source_topics(index).into_iter();
        let external = read.chain(graph.sink_topics(index)).filter(|(_, topic)| !topic.internal);
        names.extend(external.map(|(_, topic)| topic.name.as_str()));
    }
    for name in names {
        log.create_topic_if_not_exists(&NewTopic::new(name))
            .map_err(Error::log(format!("the creation of topic {name}")))?;
    }
    Ok(())
}
