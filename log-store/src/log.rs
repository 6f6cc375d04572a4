//! The seam: what the topology runtime and the connectors ask of a log, whichever it is.
//!
//! The shape and the words are those of Kafka's three clients, because both an embedded log and a
//! Kafka cluster can do those well.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::record::{Header, RecordBatch};
use crate::types::{Offset, PartitionId, Timestamp, TopicName, TopicPartition};

/// A log: topics of partitions of records, and the committed offsets of consumer groups.
pub trait Log: Send + Sync + fmt::Debug {
    /// Creates a topic.
    ///
    /// # Errors
    /// `TopicExists`, `InvalidTopicName`, `InvalidConfig`, or a failure of the log.
    fn create_topic(&self, topic: &NewTopic) -> Result<()>;

    /// Deletes a topic with its records and the offsets that groups committed for it.
    ///
    /// # Errors
    /// `UnknownTopic`, or a failure of the log.
    fn delete_topic(&self, topic: &str) -> Result<()>;

    /// All topics, internal ones included, by name.
    ///
    /// # Errors
    /// A failure of the log.
    fn topics(&self) -> Result<Vec<TopicDescription>>;

    /// One topic.
    ///
    /// # Errors
    /// `UnknownTopic`, or a failure of the log.
    fn describe_topic(&self, topic: &str) -> Result<TopicDescription>;

    /// The log start and log end offset of a partition.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, or a failure of the log.
    fn watermarks(&self, topic_partition: &TopicPartition) -> Result<Watermarks>;

    /// Moves the log start offset up: records before `before` are gone for every reader, and
    /// their space is freed when whole segments are. The repartition topics of a topology are
    /// kept short by it.
    ///
    /// # Errors
    /// `OffsetOutOfRange` for an offset past the log end, `UnknownTopic`, `UnknownPartition`, or
    /// a failure of the log.
    fn delete_records(&self, topic_partition: &TopicPartition, before: Offset) -> Result<()>;

    /// The names of the groups that have committed offsets.
    ///
    /// # Errors
    /// A failure of the log.
    fn groups(&self) -> Result<Vec<String>>;

    /// The offsets that a group has committed; empty for a group that has none.
    ///
    /// # Errors
    /// A failure of the log.
    fn group_offsets(&self, group: &str) -> Result<GroupOffsets>;

    /// Sets and (with `None`) removes committed offsets of a group.
    ///
    /// # Errors
    /// `InvalidState` while the group has live members, or a failure of the log.
    fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, Option<Offset>)],
    ) -> Result<()>;

    /// A new consumer.
    ///
    /// # Errors
    /// `InvalidConfig`, or a failure of the log.
    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>>;

    /// A new producer.
    ///
    /// # Errors
    /// `InvalidConfig`, or a failure of the log.
    fn producer(&self, config: &ProducerConfig) -> Result<Box<dyn Producer>>;

    /// Whether `poll` sees a record as soon as it was committed, so that "nothing came" means
    /// "the input is drained". True for the embedded log, where a commit costs microseconds.
    fn is_embedded(&self) -> bool;
}

/// Reads records, and remembers for its group how far it has come.
pub trait Consumer: Send + fmt::Debug {
    /// Takes exactly these partitions from now on. A partition that is new starts at the group's
    /// committed offset, or where `auto_offset_reset` says.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `InvalidState` where `AutoOffsetReset::None` finds no
    /// committed offset, or a failure of the log.
    fn assign(&mut self, partitions: &[TopicPartition]) -> Result<()>;

    /// The partitions taken.
    fn assignment(&self) -> Vec<TopicPartition>;

    /// The next records, in batches: at once if there are any, else after waiting up to
    /// `timeout`; empty if none came. Partitions take turns.
    ///
    /// # Errors
    /// `Corrupt` or `OffsetOutOfRange` for the partition that cannot be read (the others can be
    /// read by the next poll), or a failure of the log.
    fn poll(&mut self, timeout: Duration) -> Result<Vec<RecordBatch>>;

    /// The next offset that a poll will return for this partition.
    ///
    /// # Errors
    /// `InvalidState` for a partition that is not assigned.
    fn position(&self, topic_partition: &TopicPartition) -> Result<Offset>;

    /// Goes on at `offset` with the next poll.
    ///
    /// # Errors
    /// `InvalidState` for a partition that is not assigned.
    fn seek(&mut self, topic_partition: &TopicPartition, offset: Offset) -> Result<()>;

    /// Leaves these partitions out of polls until [`resume`](Self::resume).
    ///
    /// # Errors
    /// `InvalidState` for a partition that is not assigned.
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()>;

    /// Takes paused partitions into polls again.
    ///
    /// # Errors
    /// `InvalidState` for a partition that is not assigned.
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()>;

    /// The offset that the group has committed, if any.
    ///
    /// # Errors
    /// `InvalidState` without a group, or a failure of the log.
    fn committed(&self, topic_partition: &TopicPartition) -> Result<Option<OffsetAndMetadata>>;

    /// Commits offsets for the group: those of the next records to process. Durable as an append
    /// is.
    ///
    /// # Errors
    /// `InvalidState` without a group, `OffsetOutOfRange` for an offset past the log end, or a
    /// failure of the log.
    fn commit(&mut self, offsets: &[(TopicPartition, OffsetAndMetadata)]) -> Result<()>;

    /// Who this consumer is in its group, for
    /// [`send_offsets_to_transaction`](Producer::send_offsets_to_transaction).
    ///
    /// # Errors
    /// `InvalidState` without a group.
    fn group_metadata(&self) -> Result<GroupMetadata>;

    /// A handle that ends a blocked poll from another thread.
    fn waker(&self) -> ConsumerWaker;
}

/// Ends a consumer's blocked (or else its next) poll.
#[derive(Clone)]
pub struct ConsumerWaker(Arc<dyn Fn() + Send + Sync>);

impl ConsumerWaker {
    /// Wraps what it takes to end the poll.
    #[must_use]
    pub fn new(wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        Self(wake)
    }

    /// Ends the poll, which then returns what it has, or nothing.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for ConsumerWaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsumerWaker")
    }
}

/// Writes records, alone or in transactions.
pub trait Producer: Send + fmt::Debug {
    /// Appends a record. Outside of a transaction it is on its way when this returns, and
    /// acknowledged when the receipt resolves; inside of one it is held until the commit.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `RecordTooLarge`, `TransactionTooLarge` (nothing was
    /// written), or a failure of the log.
    fn send(&mut self, record: &ProducerRecord<'_>) -> Result<Receipt>;

    /// Waits until all that was sent outside of a transaction is acknowledged.
    ///
    /// # Errors
    /// A failure of the log.
    fn flush(&mut self) -> Result<()>;

    /// Begins a transaction.
    ///
    /// # Errors
    /// `InvalidState` if one is open, or the producer has no `transactional.id`.
    fn begin_transaction(&mut self) -> Result<()>;

    /// Makes offsets of a group part of the open transaction.
    ///
    /// # Errors
    /// `InvalidState` without an open transaction, or a failure of the log.
    fn send_offsets_to_transaction(
        &mut self,
        offsets: &[(TopicPartition, OffsetAndMetadata)],
        group: &GroupMetadata,
    ) -> Result<()>;

    /// Makes all of the open transaction visible, or (if this fails or the process dies first)
    /// nothing of it.
    ///
    /// # Errors
    /// `InvalidState` without an open transaction, or a failure of the log; whether the
    /// transaction took place is then unknown, and the producer is to be dropped.
    fn commit_transaction(&mut self) -> Result<()>;

    /// Drops the open transaction. Never asks to be retried.
    ///
    /// # Errors
    /// `InvalidState` without an open transaction, or a failure of the log.
    fn abort_transaction(&mut self) -> Result<()>;

    /// The encoded bytes that the open transaction holds, and the most that it may.
    fn transaction_bytes(&self) -> TransactionBytes;
}

/// How full a transaction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionBytes {
    /// What it holds.
    pub used: usize,
    /// The most that it may hold.
    pub max: usize,
}

/// A record for a topic.
#[derive(Clone, Copy, Debug)]
pub struct ProducerRecord<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition. Default = by the key's murmur2 hash as in Kafka; without a key, spread in
    /// runs (sticky).
    pub partition: Option<PartitionId>,
    /// The key; `None` is Kafka's null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The event time. Default = the time of the append.
    pub timestamp: Option<Timestamp>,
    /// The headers, in order.
    pub headers: &'a [Header<'a>],
}

impl<'a> ProducerRecord<'a> {
    /// A record with neither key nor value, to be filled by struct update.
    #[must_use]
    pub fn to(topic: &'a str) -> Self {
        Self { topic, partition: None, key: None, value: None, timestamp: None, headers: &[] }
    }
}

/// Where a record went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its partition.
    pub topic_partition: TopicPartition,
    /// Its offset there.
    pub offset: Offset,
}

/// The promise of an acknowledgement. It may be dropped: the record is sent all the same.
#[derive(Debug)]
pub struct Receipt(Inner);

#[derive(Debug)]
enum Inner {
    Acknowledged(RecordMetadata),
    Pending { acknowledgement: Arc<dyn Acknowledgement>, index: u64 },
}

/// What stands behind the receipts of one or several records.
pub trait Acknowledgement: Send + Sync + fmt::Debug {
    /// Blocks until the record that the receipt was made for is acknowledged or has failed.
    ///
    /// # Errors
    /// What the record failed with.
    fn wait(&self, index: u64) -> Result<RecordMetadata>;
}

impl Receipt {
    /// The receipt of a record that is acknowledged already.
    #[must_use]
    pub fn acknowledged(metadata: RecordMetadata) -> Self {
        Self(Inner::Acknowledged(metadata))
    }

    /// The receipt of the record that `acknowledgement` knows as `index`.
    #[must_use]
    pub fn pending(acknowledgement: Arc<dyn Acknowledgement>, index: u64) -> Self {
        Self(Inner::Pending { acknowledgement, index })
    }

    /// Blocks until the record is acknowledged. Inside a transaction that is at its commit; before
    /// it, this returns an error instead of waiting for ever.
    ///
    /// # Errors
    /// What the record failed with; `InvalidState` before its transaction was committed.
    pub fn wait(self) -> Result<RecordMetadata> {
        match self.0 {
            Inner::Acknowledged(metadata) => Ok(metadata),
            Inner::Pending { acknowledgement, index } => acknowledgement.wait(index),
        }
    }
}

/// A topic to create.
///
/// ```
/// use headwater_log_store::NewTopic;
///
/// let topic = NewTopic::new("web-access").partitions(4).config("retention.ms", "604800000");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// The name.
    pub name: String,
    /// How many partitions. Default = 1.
    pub partitions: u32,
    /// Configs in Kafka's words. Default = none.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with one partition and the default configs.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), partitions: 1, configs: BTreeMap::new() }
    }

    /// With that many partitions.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// With a config, by Kafka's key and in Kafka's notation.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(key.into(), value.into());
        self
    }
}

/// What a topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// The name.
    pub name: TopicName,
    /// How many partitions.
    pub partitions: u32,
    /// The configs that differ from their defaults.
    pub configs: BTreeMap<String, String>,
}

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that is kept: the log start offset.
    pub start: Offset,
    /// The offset that the next visible record will have: the high watermark.
    pub end: Offset,
}

/// A committed offset with what the committer noted beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The offset of the next record to process.
    pub offset: Offset,
    /// Free text. Default = empty.
    pub metadata: String,
}

impl From<Offset> for OffsetAndMetadata {
    fn from(offset: Offset) -> Self {
        Self { offset, metadata: String::new() }
    }
}

/// The committed offsets of a group.
pub type GroupOffsets = BTreeMap<TopicPartition, OffsetAndMetadata>;

/// Who a consumer is in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// The group's name.
    pub group: String,
    /// The group's generation; -1 for a consumer that assigns its own partitions.
    pub generation: i32,
    /// The member's id; empty for a consumer that assigns its own partitions.
    pub member_id: String,
}

/// Where a consumer starts in a partition that its group has no committed offset for
/// (`auto.offset.reset`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum AutoOffsetReset {
    /// At the log start offset.
    Earliest,
    /// At the log end offset: only what comes from now on. Kafka's default.
    #[default]
    Latest,
    /// Nowhere: that is an error.
    None,
}

/// How a consumer reads.
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// `group.id`. Default = none: no offsets can be committed.
    pub group: Option<String>,
    /// `auto.offset.reset`. Default = latest.
    pub auto_offset_reset: AutoOffsetReset,
    /// `max.poll.records`: the most records a poll returns, but for a batch that is larger
    /// alone. Default = 500, as in Kafka.
    pub max_poll_records: usize,
    /// `fetch.max.bytes`: the most bytes a poll returns, but for a batch that is larger alone.
    /// Default = 50 MiB, as in Kafka.
    pub fetch_bytes_max: usize,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            group: None,
            auto_offset_reset: AutoOffsetReset::Latest,
            max_poll_records: 500,
            fetch_bytes_max: 50 << 20,
        }
    }
}

/// How a producer writes.
#[derive(Clone, Debug, Default)]
pub struct ProducerConfig {
    /// `transactional.id`. Default = none: no transactions. A second producer with the same id
    /// fences the first.
    pub transactional_id: Option<String>,
}
