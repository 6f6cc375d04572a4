//! The log as a whole: its topics, its groups, and the handing out of consumers and producers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::log::consumer::{Consumer, ConsumerConfig};
use crate::log::group::{GroupDescription, GroupOffsets};
use crate::log::producer::{Producer, ProducerConfig};
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicName, TopicPartition};

/// A log: topics of partitions of records, and the committed offsets of consumer groups.
pub trait Log: Send + Sync + fmt::Debug {
    /// Which log this handle leads to: the same for all handles of one open log.
    fn id(&self) -> LogId;

    /// Creates a topic.
    ///
    /// # Errors
    /// `TopicExists`, `InvalidTopicName`, `InvalidConfig`, or a failure of the log.
    fn create_topic(&self, topic: &NewTopic) -> Result<()>;

    /// As [`create_topic`](Self::create_topic), but leaves a topic as it is that is there, whatever its
    /// partitions and configs: what a program does at each of its starts. Returns whether it has
    /// created it. The word is that of Kafka's `kafka-topics.sh`.
    ///
    /// ```
    /// use headwater_log_store::{Log, LogStore, NewTopic};
    ///
    /// # fn main() -> Result<(), headwater_log_store::Error> {
    /// let log = LogStore::in_memory()?;
    /// let clicks = NewTopic::new("clicks").partitions(4);
    /// assert!(log.create_topic_if_not_exists(&clicks)?);
    /// assert!(!log.create_topic_if_not_exists(&clicks)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `InvalidTopicName`, `InvalidConfig`, or a failure of the log.
    fn create_topic_if_not_exists(&self, topic: &NewTopic) -> Result<bool> {
        match self.create_topic(topic) {
            Ok(()) => Ok(true),
            Err(Error::TopicExists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates topics, each as [`create_topic`](Self::create_topic) does, and answers in their order:
    /// one that fails keeps none of the others from being created. A cluster is asked once for all.
    ///
    /// ```
    /// use headwater_log_store::{Error, Log, LogStore, NewTopic};
    ///
    /// # fn main() -> Result<(), headwater_log_store::Error> {
    /// let log = LogStore::in_memory()?;
    /// let answers = log.create_topics(&["a", "b", "a"].map(NewTopic::new));
    /// assert!(matches!(answers[..], [Ok(()), Ok(()), Err(Error::TopicExists { .. })]));
    /// # Ok(())
    /// # }
    /// ```
    fn create_topics(&self, topics: &[NewTopic]) -> Vec<Result<()>> {
        topics.iter().map(|topic| self.create_topic(topic)).collect()
    }

    /// Gives a topic more partitions: `total` is how many it is to have. Records stay where they
    /// are, and keys may go to other partitions from now on. Members of groups that have
    /// subscribed to the topic share the new ones with their next polls.
    ///
    /// # Errors
    /// `UnknownTopic`, `InvalidConfig` if the topic has as many or more, `DiskFull` (nothing was
    /// changed), or a failure of the log.
    fn create_partitions(&self, topic: &str, total: u32) -> Result<()>;

    /// Changes configs of a topic, all of them or none. What they say counts from the next append
    /// or the next look of the housekeeping on.
    ///
    /// ```
    /// use headwater_log_store::{AlterConfigOp, Log, LogStore, NewTopic};
    ///
    /// # fn main() -> Result<(), headwater_log_store::Error> {
    /// let log = LogStore::in_memory()?;
    /// log.create_topic(&NewTopic::new("clicks"))?;
    /// log.incremental_alter_configs("clicks", &[
    ///     AlterConfigOp::set("retention.ms", "3600000"),
    ///     AlterConfigOp::delete("segment.bytes"),
    /// ])?;
    /// let configs = log.describe_configs("clicks")?;
    /// let retention = configs.iter().find(|config| config.name == "retention.ms").unwrap();
    /// assert_eq!((retention.value.as_str(), retention.is_default), ("3600000", false));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `UnknownTopic`, `InvalidConfig` with the reason (as for a new topic), or a failure of the
    /// log.
    fn incremental_alter_configs(&self, topic: &str, ops: &[AlterConfigOp]) -> Result<()>;

    /// All configs of a topic by name, those included that have their default.
    ///
    /// # Errors
    /// `UnknownTopic`, or a failure of the log.
    fn describe_configs(&self, topic: &str) -> Result<Vec<ConfigEntry>>;

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

    /// The [`watermarks`](Self::watermarks) of partitions, in their order. A cluster is asked for all
    /// of them together.
    ///
    /// # Errors
    /// As [`watermarks`](Self::watermarks), for the first of them that has none.
    fn all_watermarks(&self, partitions: &[TopicPartition]) -> Result<Vec<Watermarks>> {
        partitions.iter().map(|partition| self.watermarks(partition)).collect()
    }

    /// Where an epoch of a partition ends: Kafka's `OffsetsForLeaderEpoch`. Somebody who keeps a
    /// position outside of the log keeps its epoch with it, and asks for that before going on: a
    /// position past the answer's end was lost, and other records may have its offsets. With `None`
    /// the answer is the current epoch, which ends at the log end.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, or a failure of the log.
    fn offset_for_leader_epoch(
        &self,
        topic_partition: &TopicPartition,
        epoch: Option<LeaderEpoch>,
    ) -> Result<EpochEndOffset>;

    /// Moves the log start offset up: records before `before` are gone for every reader, and
    /// their space is freed when whole segments are. The repartition topics of a topology are
    /// kept short by it.
    ///
    /// # Errors
    /// `OffsetOutOfRange` for an offset past the log end, `UnknownTopic`, `UnknownPartition`, or
    /// a failure of the log.
    fn delete_records(&self, topic_partition: &TopicPartition, before: Offset) -> Result<()>;

    /// For each partition the offset of the first record that has at least this timestamp; `None`
    /// where there is no such record. The answers come in the order of the questions.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `Corrupt`, or a failure of the log.
    fn offsets_for_times(
        &self,
        times: &[(TopicPartition, Timestamp)],
    ) -> Result<Vec<Option<Offset>>>;

    /// The names of the groups that have committed offsets or live members, in order.
    ///
    /// # Errors
    /// A failure of the log.
    fn groups(&self) -> Result<Vec<String>>;

    /// A group: its members and how far it has come.
    ///
    /// # Errors
    /// `UnknownGroup` for one that has neither members nor committed offsets, or a failure of the
    /// log.
    fn describe_group(&self, group: &str) -> Result<GroupDescription>;

    /// Removes all committed offsets of a group that has no members.
    ///
    /// # Errors
    /// `GroupNotEmpty`, `UnknownGroup` for one that has no committed offsets either, or a failure
    /// of the log.
    fn delete_group(&self, group: &str) -> Result<()>;

    /// The offsets that a group has committed; empty for a group that has none.
    ///
    /// # Errors
    /// A failure of the log.
    fn group_offsets(&self, group: &str) -> Result<GroupOffsets>;

    /// Sets and (with `None`) removes committed offsets of a group that has no members.
    ///
    /// # Errors
    /// `GroupNotEmpty`, `OffsetOutOfRange` for an offset past the log end, `UnknownTopic`,
    /// `UnknownPartition`, or a failure of the log.
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

/// Tells the open logs of a process apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LogId(u64);

impl LogId {
    /// An id that no other log of this process has, for a log that is being opened.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
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

/// A change of one config of a topic, in Kafka's words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AlterConfigOp {
    /// Gives it a value.
    Set {
        /// The key, for instance `retention.ms`.
        key: String,
        /// The value, in Kafka's notation.
        value: String,
    },
    /// Takes its value away, so that it has the default.
    Delete {
        /// The key.
        key: String,
    },
}

impl AlterConfigOp {
    /// Gives a config a value.
    #[must_use]
    pub fn set(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::Set { key: key.into(), value: value.into() }
    }

    /// Lets a config have its default.
    #[must_use]
    pub fn delete(key: impl Into<String>) -> Self {
        Self::Delete { key: key.into() }
    }
}

/// A config of a topic with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key, in Kafka's words.
    pub name: String,
    /// The value, in Kafka's notation.
    pub value: String,
    /// Whether nobody gave it this value.
    pub is_default: bool,
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

/// Where an epoch of a partition ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEndOffset {
    /// The epoch that was asked for, or the one before it that has records.
    pub leader_epoch: LeaderEpoch,
    /// The offset after its last record.
    pub end_offset: Offset,
}

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The first offset that is kept: the log start offset.
    pub start: Offset,
    /// The offset that the next visible record will have: the high watermark.
    pub end: Offset,
}
