//! A log that dies at its n-th writing call, before or after carrying it out, and is dead from then
//! on: what a killed process looks like to the one that is started after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use headwater_log_store::{
    AlterConfigOp, ConfigEntry, Consumer, ConsumerConfig, EpochEndOffset, Error, GroupDescription,
    GroupMetadata, GroupOffsets, LeaderEpoch, Log, LogId, NewTopic, Offset, OffsetAndMetadata,
    Producer, ProducerConfig, ProducerRecord, Receipt, Result, Timestamp, TopicDescription,
    TopicPartition, TransactionBytes, Watermarks,
};

/// Whether the fatal call is still carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dies {
    Before,
    After,
}

#[derive(Clone, Debug)]
struct Death {
    calls_left: Arc<AtomicUsize>,
    dies: Dies,
}

#[derive(Debug)]
pub struct DyingLog {
    log: Arc<dyn Log>,
    death: Death,
}

#[derive(Debug)]
struct DyingProducer {
    producer: Box<dyn Producer>,
    death: Death,
}

impl DyingLog {
    /// Lets `calls` writing calls pass, and dies at the next.
    pub fn new(log: Arc<dyn Log>, calls: usize, dies: Dies) -> Self {
        Self { log, death: Death { calls_left: Arc::new(AtomicUsize::new(calls + 1)), dies } }
    }
}

impl Death {
    /// Carries out a call unless death has come.
    fn pass<T>(&self, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let dead = || Error::External {
            operation: "a call",
            reason: "the process is dead".to_owned(),
            retriable: false,
        };
        let left = self.calls_left.load(Ordering::Relaxed);
        self.calls_left.store(left.saturating_sub(1), Ordering::Relaxed);
        match (left, self.dies) {
            (0, _) | (1, Dies::Before) => Err(dead()),
            (1, Dies::After) => {
                call()?;
                Err(dead())
            }
            _ => call(),
        }
    }
}

impl Log for DyingLog {
    fn id(&self) -> LogId {
        self.log.id()
    }

    fn create_topic(&self, topic: &NewTopic) -> Result<()> {
        self.death.pass(|| self.log.create_topic(topic))
    }
    fn create_partitions(&self, topic: &str, total: u32) -> Result<()> {
        self.death.pass(|| self.log.create_partitions(topic, total))
    }
    fn incremental_alter_configs(&self, topic: &str, ops: &[AlterConfigOp]) -> Result<()> {
        self.death.pass(|| self.log.incremental_alter_configs(topic, ops))
    }
    fn describe_configs(&self, topic: &str) -> Result<Vec<ConfigEntry>> {
        self.log.describe_configs(topic)
    }
    fn delete_topic(&self, topic: &str) -> Result<()> {
        self.death.pass(|| self.log.delete_topic(topic))
    }
    fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.log.topics()
    }
    fn describe_topic(&self, topic: &str) -> Result<TopicDescription> {
        self.log.describe_topic(topic)
    }
    fn watermarks(&self, topic_partition: &TopicPartition) -> Result<Watermarks> {
        self.log.watermarks(topic_partition)
    }
    fn offset_for_leader_epoch(
        &self,
        topic_partition: &TopicPartition,
        epoch: Option<LeaderEpoch>,
    ) -> Result<EpochEndOffset> {
        self.log.offset_for_leader_epoch(topic_partition, epoch)
    }
    fn delete_records(&self, topic_partition: &TopicPartition, before: Offset) -> Result<()> {
        self.death.pass(|| self.log.delete_records(topic_partition, before))
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
        self.death.pass(|| self.log.delete_group(group))
    }
    fn group_offsets(&self, group: &str) -> Result<GroupOffsets> {
        self.log.group_offsets(group)
    }
    fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, Option<Offset>)],
    ) -> Result<()> {
        self.death.pass(|| self.log.alter_group_offsets(group, offsets))
    }
    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>> {
        self.log.consumer(config)
    }
    fn producer(&self, config: &ProducerConfig) -> Result<Box<dyn Producer>> {
        let producer = self.death.pass(|| self.log.producer(config))?;
        Ok(Box::new(DyingProducer { producer, death: self.death.clone() }))
    }
    fn is_embedded(&self) -> bool {
        self.log.is_embedded()
    }
}

impl Producer for DyingProducer {
    fn send(&mut self, record: &ProducerRecord<'_>) -> Result<Receipt> {
        self.death.pass(|| self.producer.send(record))
    }
    fn send_without_receipt(&mut self, record: &ProducerRecord<'_>) -> Result<()> {
        self.death.pass(|| self.producer.send_without_receipt(record))
    }
    fn flush(&mut self) -> Result<()> {
        self.death.pass(|| self.producer.flush())
    }
    fn begin_transaction(&mut self) -> Result<()> {
        self.death.pass(|| self.producer.begin_transaction())
    }
    fn send_offsets_to_transaction(
        &mut self,
        offsets: &[(TopicPartition, OffsetAndMetadata)],
        group: &GroupMetadata,
    ) -> Result<()> {
        self.death.pass(|| self.producer.send_offsets_to_transaction(offsets, group))
    }
    fn commit_transaction(&mut self) -> Result<()> {
        self.death.pass(|| self.producer.commit_transaction())
    }
    fn abort_transaction(&mut self) -> Result<()> {
        self.death.pass(|| self.producer.abort_transaction())
    }
    fn transaction_bytes(&self) -> TransactionBytes {
        self.producer.transaction_bytes()
    }
}
