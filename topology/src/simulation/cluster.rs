//! A log that says of itself what a cluster says: that processes share it, and that it knows nothing
//! of epochs; and that may be out of reach.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use headwater_log_store::{
    AlterConfigOp, ConfigEntry, Consumer, ConsumerConfig, EpochEndOffset, Error, GroupDescription,
    GroupOffsets, LeaderEpoch, Log, LogId, NewTopic, Offset, Producer, ProducerConfig, Result,
    Timestamp, TopicDescription, TopicPartition, Watermarks,
};

/// What comes of a question for the ends of a partition.
type Answer = dyn Fn(Watermarks) -> Result<Watermarks> + Send + Sync;

/// See the module.
pub(crate) struct Cluster {
    log: Arc<dyn Log>,
    answer: Box<Answer>,
    /// How many members of groups were made.
    pub(crate) members: AtomicUsize,
}

impl Cluster {
    /// One that answers all questions.
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        Self::answering(log, Ok)
    }

    /// One that answers, or does not, as `answer` has it of the true ends of a partition.
    pub(crate) fn answering(
        log: Arc<dyn Log>,
        answer: impl Fn(Watermarks) -> Result<Watermarks> + Send + Sync + 'static,
    ) -> Self {
        Self { log, answer: Box::new(answer), members: AtomicUsize::new(0) }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("log", &self.log).finish_non_exhaustive()
    }
}

impl Log for Cluster {
    fn id(&self) -> LogId {
        self.log.id()
    }
    fn create_topic(&self, topic: &NewTopic) -> Result<()> {
        self.log.create_topic(topic)
    }
    fn create_partitions(&self, topic: &str, total: u32) -> Result<()> {
        self.log.create_partitions(topic, total)
    }
    fn incremental_alter_configs(&self, topic: &str, ops: &[AlterConfigOp]) -> Result<()> {
        self.log.incremental_alter_configs(topic, ops)
    }
    fn describe_configs(&self, topic: &str) -> Result<Vec<ConfigEntry>> {
        self.log.describe_configs(topic)
    }
    fn delete_topic(&self, topic: &str) -> Result<()> {
        self.log.delete_topic(topic)
    }
    fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.log.topics()
    }
    fn describe_topic(&self, topic: &str) -> Result<TopicDescription> {
        self.log.describe_topic(topic)
    }
    fn watermarks(&self, topic_partition: &TopicPartition) -> Result<Watermarks> {
        (self.answer)(self.log.watermarks(topic_partition)?)
    }
    fn offset_for_leader_epoch(
        &self,
        _: &TopicPartition,
        _: Option<LeaderEpoch>,
    ) -> Result<EpochEndOffset> {
        let reason = "its records answer for themselves".to_owned();
        Err(Error::Unsupported { operation: "offset_for_leader_epoch", reason })
    }
    fn delete_records(&self, topic_partition: &TopicPartition, before: Offset) -> Result<()> {
        self.log.delete_records(topic_partition, before)
    }
    fn offsets_for_times(
        &self,
        times: &[(TopicPartition, Timestamp)],
    ) -> Result<Vec<Option<Offset>>> {
        self.log.offsets_for_times(times)
    }
    fn groups(&self) -> Result<Vec<String>> {
        self.log.groups()
    }
    fn describe_group(&self, group: &str) -> Result<GroupDescription> {
        self.log.describe_group(group)
    }
    fn delete_group(&self, group: &str) -> Result<()> {
        self.log.delete_group(group)
    }
    fn group_offsets(&self, group: &str) -> Result<GroupOffsets> {
        self.log.group_offsets(group)
    }
    fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, Option<Offset>)],
    ) -> Result<()> {
        self.log.alter_group_offsets(group, offsets)
    }
    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>> {
        if config.client_id.is_some() {
            self.members.fetch_add(1, Ordering::Relaxed);
        }
        self.log.consumer(config)
    }
    fn producer(&self, config: &ProducerConfig) -> Result<Box<dyn Producer>> {
        self.log.producer(config)
    }
    fn is_embedded(&self) -> bool {
        false
    }
}
