//! A log that says of itself what a cluster says: that processes share it, and that it knows nothing
//! of epochs.

use std::sync::Arc;

use headwater_log_store::{
    AlterConfigOp, ConfigEntry, Consumer, ConsumerConfig, EpochEndOffset, Error, GroupDescription,
    GroupOffsets, LeaderEpoch, Log, LogId, NewTopic, Offset, Producer, ProducerConfig, Result,
    Timestamp, TopicDescription, TopicPartition, Watermarks,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Cluster(pub(crate) Arc<dyn Log>);

impl Log for Cluster {
    fn id(&self) -> LogId {
        self.0.id()
    }
    fn create_topic(&self, topic: &NewTopic) -> Result<()> {
        self.0.create_topic(topic)
    }
    fn create_partitions(&self, topic: &str, total: u32) -> Result<()> {
        self.0.create_partitions(topic, total)
    }
    fn incremental_alter_configs(&self, topic: &str, ops: &[AlterConfigOp]) -> Result<()> {
        self.0.incremental_alter_configs(topic, ops)
    }
    fn describe_configs(&self, topic: &str) -> Result<Vec<ConfigEntry>> {
        self.0.describe_configs(topic)
    }
    fn delete_topic(&self, topic: &str) -> Result<()> {
        self.0.delete_topic(topic)
    }
    fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.0.topics()
    }
    fn describe_topic(&self, topic: &str) -> Result<TopicDescription> {
        self.0.describe_topic(topic)
    }
    fn watermarks(&self, topic_partition: &TopicPartition) -> Result<Watermarks> {
        self.0.watermarks(topic_partition)
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
        self.0.delete_records(topic_partition, before)
    }
    fn offsets_for_times(
        &self,
        times: &[(TopicPartition, Timestamp)],
    ) -> Result<Vec<Option<Offset>>> {
        self.0.offsets_for_times(times)
    }
    fn groups(&self) -> Result<Vec<String>> {
        self.0.groups()
    }
    fn describe_group(&self, group: &str) -> Result<GroupDescription> {
        self.0.describe_group(group)
    }
    fn delete_group(&self, group: &str) -> Result<()> {
        self.0.delete_group(group)
    }
    fn group_offsets(&self, group: &str) -> Result<GroupOffsets> {
        self.0.group_offsets(group)
    }
    fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, Option<Offset>)],
    ) -> Result<()> {
        self.0.alter_group_offsets(group, offsets)
    }
    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>> {
        self.0.consumer(config)
    }
    fn producer(&self, config: &ProducerConfig) -> Result<Box<dyn Producer>> {
        self.0.producer(config)
    }
    fn is_embedded(&self) -> bool {
        false
    }
}
