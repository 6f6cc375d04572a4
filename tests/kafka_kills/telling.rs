//! A log that tells on standard output what an application reads and writes through it, line by
//! line, before and after: what a process has told stays when it is killed.
//!
//! Each record that is sent gets a number of its own in a header. An application hands the headers
//! of a record on to what comes of it, so the number that is there already tells what it is the
//! effect of.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use headwater::log_store::{
    AlterConfigOp, ConfigEntry, Consumer, ConsumerConfig, ConsumerWaker, EpochEndOffset,
    GroupDescription, GroupMetadata, GroupOffsets, Header, HeadersView, LeaderEpoch, Log, LogId,
    NewTopic, Offset, OffsetAndMetadata, Producer, ProducerConfig, ProducerRecord,
    RebalanceCallback, RebalanceListener, Receipt, RecordBatch, Result, Timestamp,
    TopicDescription, TopicName, TopicPartition, TransactionBytes, Watermarks, partition_for_key,
};

use crate::PARTITIONS;

/// The header with a record's number.
pub const NUMBER: &str = "number";
/// A process of the application may make so many clients, and send so many records.
const CLIENTS_BITS: u32 = 12;
const RECORDS_BITS: u32 = 40;

/// See the module.
#[derive(Debug)]
pub struct TellingLog {
    log: Arc<dyn Log>,
    clients: AtomicU32,
    records: Arc<AtomicU64>,
}

impl TellingLog {
    /// The log of the n-th process of the application, from 1 on.
    pub fn new(log: Arc<dyn Log>, process: u32) -> Self {
        let records = Arc::new(AtomicU64::new(u64::from(process) << RECORDS_BITS));
        Self { log, clients: AtomicU32::new(process << CLIENTS_BITS), records }
    }
}

/// The number that a record carries.
pub fn number(headers: HeadersView<'_>) -> Option<u64> {
    let header = headers.iter().find(|header| header.key == NUMBER)?;
    Some(u64::from_be_bytes(header.value?.try_into().ok()?))
}

/// Whether histories have this topic: state is told of by what is written along with it.
fn is_told(topic: &str) -> bool {
    !topic.ends_with("-changelog")
}

fn say(line: &str) {
    // Whoever listens may be gone; then this process is about to be killed.
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[derive(Debug)]
struct TellingConsumer {
    consumer: Box<dyn Consumer>,
    process: u32,
}

impl TellingConsumer {
    fn tell(&self, batches: &[RecordBatch]) {
        for batch in batches.iter().filter(|batch| is_told(batch.topic_partition().topic.as_str()))
        {
            let mut line = format!("poll {} {}", self.process, batch.topic_partition());
            for record in batch.iter() {
                let number = number(record.headers).expect("all records have a number");
                let _ = write!(line, " {}:{number}", record.offset);
            }
            say(&line);
        }
    }

    fn tell_place(&self, partition: &TopicPartition) {
        say(&format!("seek {} {partition}", self.process));
    }
}

#[derive(Debug)]
struct TellingProducer {
    producer: Box<dyn Producer>,
    process: u32,
    records: Arc<AtomicU64>,
    transactional: bool,
    /// Whether it has told of what has not ended yet.
    began: bool,
}

impl TellingProducer {
    fn begin(&mut self) {
        if !std::mem::replace(&mut self.began, true) {
            let kind = if self.transactional { "transaction" } else { "sends" };
            say(&format!("begin {} {kind}", self.process));
        }
    }

    fn end(&mut self, outcome: &str) {
        if std::mem::take(&mut self.began) {
            say(&format!("end {} {outcome}", self.process));
        }
    }

    /// Tells of a record, and returns its number.
    fn tell(&mut self, record: &ProducerRecord<'_>) -> [u8; 8] {
        self.begin();
        let number = self.records.fetch_add(1, Ordering::Relaxed);
        let cause = record.headers.iter().find(|header| header.key == NUMBER);
        let cause =
            cause.and_then(|header| Some(u64::from_be_bytes(header.value?.try_into().ok()?)));
        let cause = cause.map_or_else(|| "-".to_owned(), |cause| cause.to_string());
        let by_key = || partition_for_key(record.key.expect("all records have keys"), PARTITIONS);
        let partition = record.partition.unwrap_or_else(by_key);
        say(&format!("send {} {}-{partition} {number} {cause}", self.process, record.topic));
        number.to_be_bytes()
    }
}

impl Producer for TellingProducer {
    fn send(&mut self, record: &ProducerRecord<'_>) -> Result<Receipt> {
        self.producer.send(record)
    }
    fn send_without_receipt(&mut self, record: &ProducerRecord<'_>) -> Result<()> {
        if !is_told(record.topic) {
            return self.producer.send_without_receipt(record);
        }
        let number = self.tell(record);
        let mut headers = vec![Header { key: NUMBER, value: Some(&number) }];
        headers.extend(record.headers.iter().filter(|header| header.key != NUMBER));
        self.producer.send_without_receipt(&ProducerRecord { headers: &headers, ..*record })
    }
    fn flush(&mut self) -> Result<()> {
        let flushed = self.producer.flush();
        if flushed.is_ok() && !self.transactional {
            self.end("ok");
        }
        flushed
    }
    fn begin_transaction(&mut self) -> Result<()> {
        self.producer.begin_transaction()
    }
    fn send_offsets_to_transaction(
        &mut self,
        offsets: &[(TopicPartition, OffsetAndMetadata)],
        group: &GroupMetadata,
    ) -> Result<()> {
        self.producer.send_offsets_to_transaction(offsets, group)
    }
    fn commit_transaction(&mut self) -> Result<()> {
        let committed = self.producer.commit_transaction();
        if committed.is_ok() {
            self.end("ok");
        }
        committed
    }
    fn abort_transaction(&mut self) -> Result<()> {
        let aborted = self.producer.abort_transaction();
        // The cluster aborts what it has not committed, and nothing else.
        self.end(if aborted.is_ok() { "fail" } else { "info" });
        aborted
    }
    fn transaction_bytes(&self) -> TransactionBytes {
        self.producer.transaction_bytes()
    }
}

impl Consumer for TellingConsumer {
    fn subscribe(&mut self, topics: &[&str], listener: Box<dyn RebalanceListener>) -> Result<()> {
        self.consumer.subscribe(topics, listener)
    }
    fn subscription(&self) -> Vec<TopicName> {
        self.consumer.subscription()
    }
    fn unsubscribe(&mut self) -> Result<()> {
        self.consumer.unsubscribe()
    }
    fn assign(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        let before = self.consumer.assignment();
        self.consumer.assign(partitions)?;
        partitions.iter().filter(|new| !before.contains(new)).for_each(|new| self.tell_place(new));
        Ok(())
    }
    fn assignment(&self) -> Vec<TopicPartition> {
        self.consumer.assignment()
    }
    fn poll(&mut self, timeout: Duration) -> Result<Vec<RecordBatch>> {
        let batches = self.consumer.poll(timeout)?;
        self.tell(&batches);
        Ok(batches)
    }
    fn poll_with(
        &mut self,
        timeout: Duration,
        told: &mut RebalanceCallback<'_>,
    ) -> Result<Vec<RecordBatch>> {
        let batches = self.consumer.poll_with(timeout, told)?;
        self.tell(&batches);
        Ok(batches)
    }
    fn position(&self, topic_partition: &TopicPartition) -> Result<Offset> {
        self.consumer.position(topic_partition)
    }
    fn seek(&mut self, topic_partition: &TopicPartition, offset: Offset) -> Result<()> {
        self.tell_place(topic_partition);
        self.consumer.seek(topic_partition, offset)
    }
    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.consumer.pause(partitions)
    }
    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<()> {
        self.consumer.resume(partitions)
    }
    fn beginning_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<Offset>> {
        self.consumer.beginning_offsets(partitions)
    }
    fn end_offsets(&self, partitions: &[TopicPartition]) -> Result<Vec<Offset>> {
        self.consumer.end_offsets(partitions)
    }
    fn offsets_for_times(
        &self,
        times: &[(TopicPartition, Timestamp)],
    ) -> Result<Vec<Option<Offset>>> {
        self.consumer.offsets_for_times(times)
    }
    fn lag(&self, topic_partition: &TopicPartition) -> Result<Option<u64>> {
        self.consumer.lag(topic_partition)
    }
    fn committed(&self, topic_partition: &TopicPartition) -> Result<Option<OffsetAndMetadata>> {
        self.consumer.committed(topic_partition)
    }
    fn commit(&mut self, offsets: &[(TopicPartition, OffsetAndMetadata)]) -> Result<()> {
        self.consumer.commit(offsets)
    }
    fn group_metadata(&self) -> Result<GroupMetadata> {
        self.consumer.group_metadata()
    }
    fn waker(&self) -> ConsumerWaker {
        self.consumer.waker()
    }
}

impl Log for TellingLog {
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
        let consumer = self.log.consumer(config)?;
        if config.group.is_none() {
            // It restores stores.
            return Ok(consumer);
        }
        let process = self.clients.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(TellingConsumer { consumer, process }))
    }
    fn producer(&self, config: &ProducerConfig) -> Result<Box<dyn Producer>> {
        let producer = self.log.producer(config)?;
        if !config.without_receipts {
            // It writes down what the application is, once.
            return Ok(producer);
        }
        let process = self.clients.fetch_add(1, Ordering::Relaxed);
        let (records, transactional) =
            (Arc::clone(&self.records), config.transactional_id.is_some());
        Ok(Box::new(TellingProducer { producer, process, records, transactional, began: false }))
    }
    fn is_embedded(&self) -> bool {
        self.log.is_embedded()
    }
}
