//! The error types of the crate: what is wrong with a topology, and what went wrong in running it.

use headwater_log_store::{Error as LogError, Offset, TopicPartition};

use crate::types::TaskId;

/// The result of every operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of a user's closure or serde.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A mistake in how a topology was put together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// Nothing was added to the builder.
    #[error("the topology has no source: start with StreamsBuilder::stream")]
    Empty,
    /// Two nodes have the same name.
    #[error("two nodes are named {name}: names have to be unique within a topology")]
    DuplicateNode {
        /// The name.
        name: String,
    },
    /// Two operators want a store of the same name.
    #[error("two operators name their store {store}: each store belongs to one operator")]
    DuplicateStore {
        /// The store.
        store: String,
    },
    /// A name breaks the rules of topic names, which node and store names follow.
    #[error("{name:?} cannot name a {what}: {reason}")]
    InvalidName {
        /// What was to be named.
        what: &'static str,
        /// The name as given.
        name: String,
        /// The rule that it breaks.
        reason: String,
    },
    /// A topic is read by two sources.
    #[error(
        "topic {topic} is read by {first} and by {second}: read it once and use the stream twice"
    )]
    TopicReadTwice {
        /// The topic.
        topic: String,
        /// The source that had it first.
        first: String,
        /// The source that wants it as well.
        second: String,
    },
    /// A store is to be on disk that cannot be there.
    #[error("store {store} cannot be on disk: {reason}")]
    NotPersistent {
        /// The store.
        store: String,
        /// Why it cannot.
        reason: &'static str,
    },
    /// A processor is to use a store that the topology does not have.
    #[error("a processor uses store {store}, which was not added to the topology")]
    UnknownStore {
        /// The store.
        store: String,
    },
    /// A processor is to use the store of a global table, which belongs to all tasks.
    #[error(
        "store {store} is that of a global table: processors cannot use it, join the table instead"
    )]
    GlobalStore {
        /// The store.
        store: String,
    },
    /// A processor takes a store for what it is not.
    #[error("store {store} is no {asked}")]
    StoreType {
        /// The store.
        store: String,
        /// What the processor takes it for.
        asked: &'static str,
    },
    /// Streams of two builders were brought together.
    #[error("{operation} was given a stream of another StreamsBuilder")]
    ForeignStream {
        /// The operation.
        operation: &'static str,
    },
    /// An option does not make sense.
    #[error("{what}: {reason}")]
    InvalidOption {
        /// Whose option it is.
        what: String,
        /// What is wrong.
        reason: String,
    },
}

/// What can go wrong in running a topology.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The topology is put together wrongly.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The log failed.
    #[error("{operation} failed")]
    Log {
        /// What was tried, with its topic or partition.
        operation: String,
        /// The log's error.
        source: LogError,
    },
    /// A topic that the application reads or writes does not exist.
    #[error("topic {topic} of {node} does not exist: create it before the application starts")]
    MissingTopic {
        /// The topic.
        topic: String,
        /// The source or sink, or the setting, that names it.
        node: String,
    },
    /// Topics that are read together differ in their number of partitions.
    #[error("topics are not co-partitioned: {topics}")]
    NotCoPartitioned {
        /// The topics with their numbers of partitions.
        topics: String,
    },
    /// An internal topic is there with another number of partitions than the topology needs.
    #[error(
        "internal topic {topic} has {found} partitions where the topology needs {needed}: reset \
         the application"
    )]
    InternalTopicPartitions {
        /// The topic.
        topic: String,
        /// How many it has.
        found: u32,
        /// How many are needed.
        needed: u32,
    },
    /// What the application has left in the log is not what the topology would read: see
    /// [`Topology::plan`](crate::Topology::plan).
    #[error(
        "application {application_id} cannot go on with this topology: {}; reset it, or run the \
         topology under another application.id",
        parts.join("; ")
    )]
    Incompatible {
        /// The application.
        application_id: String,
        /// What cannot be read, each with its reason.
        parts: Vec<String>,
    },
    /// A configuration key or value is refused.
    #[error("{key}={value} is refused: {reason}")]
    InvalidConfig {
        /// The key, in Kafka's words.
        key: String,
        /// The value as given.
        value: String,
        /// What is wrong with it, and what to do instead.
        reason: String,
    },
    /// A record could not be processed, and its handler said to fail.
    #[error("{position} failed at {node}: {reason}")]
    Processing {
        /// The source record.
        position: RecordPosition,
        /// The node that failed.
        node: String,
        /// What happened there.
        reason: String,
    },
    /// A processor failed where there is no record to blame.
    #[error("{operation} of {node} in task {task} failed: {reason}")]
    Processor {
        /// The task.
        task: TaskId,
        /// The processor's node.
        node: String,
        /// What it was about: its `init`, a schedule, a forward or a punctuation.
        operation: &'static str,
        /// What happened there.
        reason: String,
    },
    /// A dead letter was asked for, but there is no topic for it.
    #[error(
        "{position} failed at {node} and was to become a dead letter, but \
         errors.dead.letter.queue.topic.name is not set: {reason}"
    )]
    NoDeadLetterTopic {
        /// The source record.
        position: RecordPosition,
        /// The node that failed.
        node: String,
        /// What happened there.
        reason: String,
    },
    /// A stored record of a changelog cannot be read by the store's serdes.
    #[error("store {store} cannot be restored from {position}: {reason}")]
    Restore {
        /// The store.
        store: String,
        /// The changelog record.
        position: RecordPosition,
        /// What the serde said.
        reason: String,
    },
    /// A suppression has to hold back more updates than its buffer takes, and is to stop then.
    #[error(
        "the buffer {store} is full: it holds back {records} updates, {bytes} bytes of them counted"
    )]
    BufferFull {
        /// The store of the buffer.
        store: String,
        /// How many updates it would hold.
        records: u64,
        /// Their bytes, where those are limited.
        bytes: u64,
    },
    /// The rows that a store has on disk cannot be read or written.
    #[error("store {store} cannot use its rows in {path}: {reason}")]
    StateDirectory {
        /// The store, or all of them.
        store: String,
        /// The folder of the application.
        path: String,
        /// What has failed.
        reason: String,
    },
    /// The application runs already.
    #[error("application {application_id} runs on this log: close it first")]
    Running {
        /// The application.
        application_id: String,
    },
    /// A panic in code of the application, such as the hash of a key, has ended an operation. The
    /// application goes on.
    #[error("{operation} has panicked: {reason}")]
    Panic {
        /// What was asked for.
        operation: &'static str,
        /// The panic's message.
        reason: String,
    },
    /// A reset was to empty every topic that the application reads.
    #[error("{application_id} would have nothing to replay: the reset empties all of its input")]
    NothingToReplay {
        /// The application.
        application_id: String,
    },
    /// The application does not run, or has stopped.
    #[error("{operation} is not possible: the application {reason}")]
    NotRunning {
        /// What was asked for.
        operation: &'static str,
        /// Why it does not run.
        reason: String,
    },
    /// No store of that name.
    #[error("there is no store {store}: the topology has {known}")]
    UnknownStore {
        /// The store asked for.
        store: String,
        /// The stores that there are.
        known: String,
    },
    /// The store holds other types than asked for.
    #[error("store {store} does not hold {asked}")]
    StoreType {
        /// The store.
        store: String,
        /// The types asked for.
        asked: &'static str,
    },
    /// A key or value of the application could not be serialized or deserialized.
    #[error("{what} cannot be serialized or deserialized: {reason}")]
    Serde {
        /// What it was for.
        what: String,
        /// What the serde said.
        reason: String,
    },
}

impl Error {
    /// Turns an error of the log into ours, naming what was tried.
    pub(crate) fn log<E: Into<LogError>>(operation: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |source| Self::Log { operation: operation.into(), source: source.into() }
    }

    /// Whether tasks have moved to another process behind the worker's back, as Kafka Streams'
    /// `TaskMigratedException`.
    pub(crate) fn is_migration(&self) -> bool {
        let Self::Log { source, .. } = self else { return false };
        matches!(
            source,
            LogError::Fenced { .. }
                | LogError::UnknownMember { .. }
                | LogError::IllegalGeneration { .. }
        )
    }

    /// Whether the log has said that the same may succeed later.
    pub(crate) fn is_retriable(&self) -> bool {
        matches!(self, Self::Log { source: LogError::External { retriable: true, .. }, .. })
    }
}

/// Where a record is: displayed as `topic-partition@offset`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordPosition {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The offset in it.
    pub offset: Offset,
}

impl std::fmt::Display for RecordPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.topic_partition, self.offset)
    }
}
