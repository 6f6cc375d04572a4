//! The configuration of an application, in Kafka Streams' words.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{AutoOffsetReset, Clock, SystemClock, TopicName};

use crate::backing::StateDirectory;
use crate::error::{Error, Result};
use crate::error_handler::{ErrorHandler, Handlers};
use crate::types::StoreType;

/// What a record's effects are worth across failures (`processing.guarantee`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessingGuarantee {
    /// Output, changelogs and input offsets are committed in one transaction.
    ExactlyOnceV2,
    /// Output may repeat after a failure.
    AtLeastOnce,
}

/// Choices about what a topology does, made before it is built.
///
/// ```
/// use headwater_topology::{StreamsBuilder, TopologyConfig};
///
/// let builder = StreamsBuilder::with_config(TopologyConfig::new().kafka_compat(true));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TopologyConfig {
    pub(crate) kafka_compat: bool,
    pub(crate) caching_enabled: bool,
    pub(crate) store_type: StoreType,
}

impl TopologyConfig {
    /// The defaults.
    #[must_use]
    pub const fn new() -> Self {
        Self { kafka_compat: false, caching_enabled: false, store_type: StoreType::InMemory }
    }

    /// Whether results are those of Kafka Streams also where Headwater knows better. Default = no.
    ///
    /// What it brings back: with
    /// [`EmitStrategy::on_window_close`](crate::EmitStrategy::on_window_close) a window is lost
    /// when stream time jumps further than the store keeps windows, before the window was
    /// emitted; and [`Suppressed::until_window_closes`](crate::Suppressed::until_window_closes)
    /// may give two final results for one session or sliding window; a record with a null key at a
    /// left join with a [grace period](crate::Joined::with_grace_period) is a failure, for which
    /// the processing handler is asked; and operators forget their stream times with a restart, so
    /// that records which were late before are taken again.
    #[must_use]
    pub const fn kafka_compat(mut self, kafka_compat: bool) -> Self {
        self.kafka_compat = kafka_compat;
        self
    }

    /// Whether stores that do not say otherwise have a record cache, which holds updates back until
    /// a commit: see [`Materialized::with_caching_enabled`](crate::Materialized::with_caching_enabled).
    /// Default = no, unlike in Kafka Streams: every update is sent.
    #[must_use]
    pub const fn caching_enabled(mut self, caching_enabled: bool) -> Self {
        self.caching_enabled = caching_enabled;
        self
    }

    /// `dsl.store.suppliers.class`: where the rows of the operations' stores are that do not say
    /// otherwise: see [`Materialized::with_store_type`](crate::Materialized::with_store_type).
    /// Default = in memory, unlike in Kafka Streams. What has no changelog stays in memory, and so
    /// do the buffers of joins and of `suppress`.
    #[must_use]
    pub const fn store_type(mut self, store_type: StoreType) -> Self {
        self.store_type = store_type;
        self
    }
}

/// How an application runs. [`set`](Self::set) takes Kafka's keys as strings.
///
/// ```
/// use headwater_topology::StreamsConfig;
/// use std::time::Duration;
///
/// let config = StreamsConfig::new("page-views").commit_interval(Duration::from_millis(50));
/// let same = StreamsConfig::new("page-views").set("commit.interval.ms", "50")?;
/// # Ok::<(), headwater_topology::Error>(())
/// ```
#[derive(Clone)]
pub struct StreamsConfig {
    pub(crate) application_id: String,
    pub(crate) guarantee: ProcessingGuarantee,
    pub(crate) commit_interval: Option<Duration>,
    pub(crate) auto_offset_reset: AutoOffsetReset,
    pub(crate) poll: Duration,
    pub(crate) max_poll_records: usize,
    pub(crate) buffered_records_per_partition: usize,
    /// -1 where a task waits for no partition.
    pub(crate) max_task_idle_ms: i64,
    pub(crate) repartition_purge_interval: Duration,
    pub(crate) window_changelog_additional_retention_ms: i64,
    pub(crate) emit_interval: Option<Duration>,
    pub(crate) statestore_cache_max_bytes: usize,
    pub(crate) handlers: Handlers,
    pub(crate) dead_letter_topic: Option<String>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) num_stream_threads: usize,
    pub(crate) num_standby_replicas: usize,
    pub(crate) state_dir: Option<PathBuf>,
    pub(crate) persistent_store_memory_bytes: usize,
    /// Where stores on disk are instead of a folder.
    pub(crate) state_directory: Option<Arc<dyn StateDirectory>>,
    pub(crate) max_timestamp_ahead: Option<Duration>,
    pub(crate) restarts_max: usize,
    pub(crate) restart_window: Duration,
    pub(crate) retry_backoff: Duration,
    pub(crate) retry_backoff_max: Duration,
    /// The stores whose rows are read whatever their format is called.
    pub(crate) kept: BTreeSet<String>,
}

impl StreamsConfig {
    /// The defaults, for an application of that id: the name of its consumer group, and the prefix
    /// of its internal topics.
    #[must_use]
    pub fn new(application_id: impl Into<String>) -> Self {
        Self {
            application_id: application_id.into(),
            guarantee: ProcessingGuarantee::ExactlyOnceV2,
            commit_interval: None,
            auto_offset_reset: AutoOffsetReset::Earliest,
            poll: Duration::from_millis(100),
            max_poll_records: 1_000,
            buffered_records_per_partition: 1_000,
            max_task_idle_ms: 0,
            repartition_purge_interval: Duration::from_secs(30),
            window_changelog_additional_retention_ms: 86_400_000,
            emit_interval: None,
            statestore_cache_max_bytes: 10 * 1024 * 1024,
            handlers: Handlers::default(),
            dead_letter_topic: None,
            clock: Arc::new(SystemClock::new()),
            num_stream_threads: 1,
            num_standby_replicas: 0,
            state_dir: None,
            persistent_store_memory_bytes: 32 << 20,
            state_directory: None,
            max_timestamp_ahead: None,
            restarts_max: 10,
            restart_window: Duration::from_secs(600),
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            kept: BTreeSet::new(),
        }
    }

    /// `processing.guarantee`. Default = exactly once, unlike Kafka Streams.
    #[must_use]
    pub fn processing_guarantee(mut self, guarantee: ProcessingGuarantee) -> Self {
        self.guarantee = guarantee;
        self
    }

    /// `commit.interval.ms`: the longest time between commits while there is work. Default = 100
    /// ms under exactly once, 30 s under at least once. A log that is embedded is committed to at
    /// once when its input is drained.
    #[must_use]
    pub fn commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = Some(interval);
        self
    }

    /// How often, by the wall clock, operators look for results that have become final: closed
    /// windows of [`EmitStrategy::on_window_close`](crate::EmitStrategy::on_window_close), and
    /// records that a left or outer join of two streams found no match for. They look when a
    /// record comes, so it only bounds how often. Default = 1 s, as in Kafka Streams; in the test
    /// driver and during a replay, every time.
    #[must_use]
    pub fn emit_interval(mut self, interval: Duration) -> Self {
        self.emit_interval = Some(interval);
        self
    }

    /// `statestore.cache.max.bytes`: how many bytes of keys and values the record caches of the
    /// application's stores may hold together. When it is more, the cache that has just grown
    /// sends all updates that it holds back. Default = 10 MiB; 0 is no caches. It matters only to
    /// stores that have one: see
    /// [`Materialized::with_caching_enabled`](crate::Materialized::with_caching_enabled).
    #[must_use]
    pub fn statestore_cache_max_bytes(mut self, bytes_max: usize) -> Self {
        self.statestore_cache_max_bytes = bytes_max;
        self
    }

    /// `auto.offset.reset`: where to start without a committed offset. Default = earliest, as in
    /// Kafka Streams.
    #[must_use]
    pub fn auto_offset_reset(mut self, reset: AutoOffsetReset) -> Self {
        self.auto_offset_reset = reset;
        self
    }

    /// `deserialization.exception.handler`. Default = fail.
    #[must_use]
    pub fn deserialization_exception_handler(mut self, handler: impl ErrorHandler) -> Self {
        self.handlers.deserialization = Arc::new(handler);
        self
    }

    /// `processing.exception.handler`: for closures that return an error or panic. Default = fail.
    #[must_use]
    pub fn processing_exception_handler(mut self, handler: impl ErrorHandler) -> Self {
        self.handlers.processing = Arc::new(handler);
        self
    }

    /// `production.exception.handler`: for records that cannot be written to a topic, because a serde
    /// returns an error or the log refuses them: they are larger than `max.message.bytes` of the
    /// topic, there is no such topic or partition, or a compacted topic was to get a null key.
    /// Default = fail.
    ///
    /// [`Skip`](crate::ErrorResponse::Skip) and [`DeadLetter`](crate::ErrorResponse::DeadLetter) are about what
    /// was to be written alone: the record goes through the rest of the topology, and its changes
    /// of stores stay. The dead letter is the record that was read. Where a changelog refuses a row
    /// of a store, or all that a record does is more than a transaction holds, the record is taken
    /// out as a whole: a store that says other than its changelog would be lost.
    ///
    /// ```
    /// use headwater_topology::{ErrorResponse, FailedRecord, StreamsConfig};
    ///
    /// let config = StreamsConfig::new("app").production_exception_handler(
    ///     |failed: &FailedRecord<'_>| match failed.output {
    ///         Some(output) if output.topic == "previews" => ErrorResponse::Skip,
    ///         _ => ErrorResponse::Fail,
    ///     },
    /// );
    /// ```
    #[must_use]
    pub fn production_exception_handler(mut self, handler: impl ErrorHandler) -> Self {
        self.handlers.production = Arc::new(handler);
        self
    }

    /// For records with a null key or value where the type of the source has none. Default =
    /// skip, as Kafka Streams does where a key is needed.
    #[must_use]
    pub fn null_handler(mut self, handler: impl ErrorHandler) -> Self {
        self.handlers.null = Arc::new(handler);
        self
    }

    /// `errors.dead.letter.queue.topic.name`: where the answer
    /// [`DeadLetter`](crate::ErrorResponse::DeadLetter) writes. Default = none. The topic has to exist.
    #[must_use]
    pub fn dead_letter_topic(mut self, topic: impl Into<String>) -> Self {
        self.dead_letter_topic = Some(topic.into());
        self
    }

    /// The clock. Default = the system's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// `num.stream.threads`: how many threads run the tasks. Default = 1. At least 1; more threads
    /// than tasks wait for some. Each has its own copy of the global tables. A replay runs on one
    /// thread until it is over.
    #[must_use]
    pub fn num_stream_threads(mut self, threads: usize) -> Self {
        self.num_stream_threads = threads.max(1);
        self
    }

    /// `num.standby.replicas`: how many other processes keep a copy of the stores of each task, which
    /// they read from its changelogs as it writes them: one of them that takes the task over restores
    /// only what its copy does not have yet. Default = 0. It means nothing on an embedded log, which
    /// has one process.
    #[must_use]
    pub fn num_standby_replicas(mut self, replicas: usize) -> Self {
        self.num_standby_replicas = replicas;
        self
    }

    /// `state.dir`: the folder for stores on disk. Each application has a folder of its name in it,
    /// which takes up to 128 MiB more than its rows. When its disk is full, the application stops
    /// with an error; with space, its next start goes on where it was, from the changelogs.
    /// Default = none: it has to be set where a store is
    /// [persistent](crate::Materialized::with_store_type).
    #[must_use]
    pub fn state_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.state_dir = Some(path.into());
        self
    }

    /// How many bytes of its rows each store on disk keeps in memory as well, in each task, counted
    /// as they are on disk; rows changed since the last commit come on top. Default = 32 MiB; in
    /// Kafka Streams that is a matter of `rocksdb.config.setter`.
    #[must_use]
    pub fn persistent_store_memory_bytes(mut self, bytes: usize) -> Self {
        self.persistent_store_memory_bytes = bytes;
        self
    }

    /// How far ahead of the wall clock the event time of an input record may be. One that is
    /// further ahead goes to the deserialization handler, so that a single wrong clock does not
    /// move stream time on and make all other records late. Default = any: Kafka Streams has no
    /// such guard. A replay asks the clock as well, which then shows a later time: what was refused
    /// once may be taken.
    ///
    /// ```
    /// use headwater_topology::{ErrorResponse, StreamsConfig};
    /// use std::time::Duration;
    ///
    /// let config = StreamsConfig::new("app")
    ///     .max_timestamp_ahead(Duration::from_secs(3_600))
    ///     .deserialization_exception_handler(ErrorResponse::Skip);
    /// ```
    #[must_use]
    pub fn max_timestamp_ahead(mut self, ahead: Duration) -> Self {
        self.max_timestamp_ahead = Some(ahead);
        self
    }

    /// How often each thread may be
    /// [replaced](crate::StreamThreadExceptionResponse::ReplaceThread) within any time of that
    /// length, before an error ends the application after all. Default = 10 times in 10 minutes.
    /// Between an error and the next start lie `retry.backoff.ms` (default = 100), doubled each
    /// time up to `retry.backoff.max.ms` (default = 1,000).
    #[must_use]
    pub fn restart_budget(mut self, restarts: usize, window: Duration) -> Self {
        self.restarts_max = restarts;
        self.restart_window = window;
        self
    }

    /// `max.task.idle.ms`: how long a task that has records of some partitions waits, by wall clock,
    /// for one that has none left, so that records of both go by their times. Default = 0: it waits
    /// only as long as there are records to fetch. Under -1, which [`set`](Self::set) takes, it does
    /// not even do that.
    #[must_use]
    pub fn max_task_idle(mut self, idle: Duration) -> Self {
        self.max_task_idle_ms = i64::try_from(idle.as_millis()).unwrap_or(i64::MAX);
        self
    }

    /// Goes on with the rows of a store although their format has another name by now, because
    /// the bytes are the same: a type was renamed, say. See
    /// [`Topology::plan`](crate::Topology::plan). Default = no store.
    #[must_use]
    pub fn keep_store(mut self, store: impl Into<String>) -> Self {
        self.kept.insert(store.into());
        self
    }

    /// The application's id.
    #[must_use]
    pub fn application_id(&self) -> &str {
        &self.application_id
    }

    /// The application's id names topics, the group and the worker's thread.
    pub(crate) fn check_application_id(&self) -> Result<()> {
        TopicName::new(&self.application_id).map(drop).map_err(|error| Error::InvalidConfig {
            key: "application.id".to_owned(),
            value: self.application_id.clone(),
            reason: format!("it is no name for a topic: {error}"),
        })
    }

    pub(crate) fn emit_interval_or_default(&self) -> Duration {
        self.emit_interval.unwrap_or(Duration::from_secs(1))
    }

    pub(crate) fn commit_interval_or_default(&self) -> Duration {
        self.commit_interval.unwrap_or(match self.guarantee {
            ProcessingGuarantee::ExactlyOnceV2 => Duration::from_millis(100),
            ProcessingGuarantee::AtLeastOnce => Duration::from_secs(30),
        })
    }
}

impl fmt::Debug for StreamsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamsConfig")
            .field("application_id", &self.application_id)
            .field("guarantee", &self.guarantee)
            .field("commit_interval", &self.commit_interval_or_default())
            .field("auto_offset_reset", &self.auto_offset_reset)
            .field("dead_letter_topic", &self.dead_letter_topic)
            .finish_non_exhaustive()
    }
}
