//! `TopologyTestDriver`: runs a topology record by record.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;
use std::ops::Bound;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, ConsumerConfig, Error as LogError, Log, LogStore, ManualClock, NewTopic,
    PartitionId, ProducerConfig, Timestamp, TopicName, TopicPartition,
};

use crate::config::StreamsConfig;
use crate::error::{Error, Result};
use crate::graph::plan::{Graph, Topology};
use crate::metrics::MetricsSnapshot;
use crate::runtime::task_set::TaskSet;
use crate::serdes::{DefaultSerde, SerdeRef};
use crate::store::slots::Session;
use crate::testing::topics::{Inner, TestInputTopic, TestOutputTopic};
use crate::window::time_windows::TimeWindows;
use crate::window::windowed::{SessionWindow, Window, Windowed};

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
pub struct TopologyTestDriver {
    graph: Arc<Graph>,
    config: StreamsConfig,
    log: Arc<dyn Log>,
    clock: Arc<ManualClock>,
    inner: Rc<RefCell<Inner>>,
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
        let inner = Rc::new(RefCell::new(Inner { tasks, producer }));
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
        TestInputTopic { inner, topic: topic.to_owned(), key_serde, value_serde }
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
        let consumer = RefCell::new(consumer);
        Ok(TestOutputTopic { consumer, topic: topic.to_owned(), key_serde, value_serde })
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

    /// The committed value of a key in a key-value store.
    ///
    /// # Errors
    /// `UnknownStore` or `StoreType`.
    pub fn store_value<K, V>(&self, store: &str, key: &K) -> Result<Option<V>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let found = self.inner.borrow_mut().tasks()?.query_get::<K, V>(store, key)?;
        Ok(found.map(|found| found.value))
    }

    /// All committed rows of a key-value store with their times in milliseconds, in the order of
    /// the bytes of their keys.
    ///
    /// # Errors
    /// `UnknownStore` or `StoreType`.
    pub fn store_rows<K, V>(&self, store: &str) -> Result<Vec<(K, V, i64)>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let rows =
            self.inner.borrow_mut().tasks()?.query_page(store, &all.0, &all.1, usize::MAX)?;
        Ok(rows
            .into_iter()
            .map(|(_, key, row)| (key, row.value, row.timestamp.as_millis()))
            .collect())
    }

    /// All committed rows of a window store with their times in milliseconds, by the start of
    /// their windows.
    ///
    /// # Errors
    /// `UnknownStore` or `StoreType`.
    pub fn window_store_rows<K, V>(
        &self,
        store: &str,
        windows: TimeWindows,
    ) -> Result<Vec<(Windowed<K>, V, i64)>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let rows =
            self.inner.borrow_mut().tasks()?.query_windows(store, None, i64::MIN, i64::MAX)?;
        Ok(rows
            .into_iter()
            .map(|(start_ms, key, row)| {
                let end_ms = start_ms.saturating_add(windows.size_ms());
                let key = Windowed { key, window: Window { start_ms, end_ms } };
                (key, row.value, row.timestamp.as_millis())
            })
            .collect())
    }

    /// All committed sessions of a session store, by their end.
    ///
    /// # Errors
    /// `UnknownStore` or `StoreType`.
    pub fn session_store_rows<K, V>(
        &self,
        store: &str,
    ) -> Result<Vec<(Windowed<K, SessionWindow>, V)>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let rows =
            self.inner.borrow_mut().tasks()?.query_sessions(store, None, i64::MIN, i64::MAX)?;
        Ok(rows
            .into_iter()
            .map(|(Session { start_ms, end_ms }, key, row)| {
                (Windowed { key, window: SessionWindow { start_ms, end_ms } }, row.value)
            })
            .collect())
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
        match log.create_topic(&NewTopic::new(name)) {
            Ok(()) | Err(LogError::TopicExists { .. }) => {}
            Err(source) => {
                return Err(Error::log(format!("the creation of topic {name}"))(source));
            }
        }
    }
    Ok(())
}
