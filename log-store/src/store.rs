//! The embedded log.

use std::sync::Arc;

use crate::compaction::CompactionReport;
use crate::consumer::LogConsumer;
use crate::engine::{Engine, RecoveryReport, ScrubReport, StoreHealth};
use crate::error::Result;
use crate::housekeeping::Housekeeping;
use crate::log::{
    AlterConfigOp, Compression, ConfigEntry, Consumer, ConsumerConfig, EpochEndOffset,
    GroupDescription, GroupMetadata, GroupOffsets, Log, LogId, NewTopic, OffsetAndMetadata,
    Producer, ProducerConfig, TopicDescription, Watermarks,
};
use crate::producer::LogProducer;
use crate::record::{Record, RecordBatch};
use crate::segment::{ReadLimits, SpareSpans};
use crate::types::{LeaderEpoch, Offset, Timestamp, TopicPartition};

/// A log in a folder of this machine, or in memory.
///
/// Handles are cheap to clone and to send. The store is closed by [`close`](Self::close), or when
/// the last handle is dropped. One process at a time writes a store; others may look into it
/// with [`open_read_only`](Self::open_read_only).
///
/// ```
/// use headwater_log_store::{Log, LogStore, NewTopic, Offset, PartitionId, Record};
/// use headwater_log_store::{TopicName, TopicPartition};
///
/// # fn main() -> Result<(), headwater_log_store::Error> {
/// # let dir = tempfile::tempdir().expect("a temporary folder");
/// # let path = dir.path();
/// let store = LogStore::create(path)?;
/// store.create_topic(&NewTopic::new("clicks"))?;
/// let clicks = TopicPartition::new(TopicName::new("clicks")?, PartitionId::new(0));
///
/// store.append(&clicks, &Record::value(b"first"))?;
/// store.append(&clicks, &Record::value(b"second").with_key(b"user-7"))?;
///
/// let batches = store.fetch(&clicks, Offset::ZERO, 1 << 20)?;
/// let values: Vec<_> = batches.iter().flat_map(|batch| batch.iter()).map(|r| r.value).collect();
/// assert_eq!(values, [Some(&b"first"[..]), Some(&b"second"[..])]);
/// # store.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct LogStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    id: LogId,
    engine: Arc<Engine>,
    housekeeping: Option<Housekeeping>,
}

impl LogStore {
    /// The store that was opened as this engine.
    pub(crate) fn new(engine: Arc<Engine>, housekeeping: Option<Housekeeping>) -> Self {
        Self { inner: Arc::new(Inner { id: LogId::unique(), engine, housekeeping }) }
    }

    /// What opening the store found and did; nothing for a read-only one.
    #[must_use]
    pub fn recovery(&self) -> RecoveryReport {
        let writer = self.inner.engine.writer("recovery");
        writer.map_or_else(|_| RecoveryReport::default(), |writer| writer.recovery.clone())
    }

    /// Appends a record and waits until it is acknowledged, as the durability says.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `RecordTooLarge`, `DiskFull` (nothing was written),
    /// `Poisoned`, `ReadOnly`, or a failed system call (the outcome is unknown).
    pub fn append(&self, topic_partition: &TopicPartition, record: &Record<'_>) -> Result<Offset> {
        self.append_batch(topic_partition, std::slice::from_ref(record))
    }

    /// Appends records that follow one another, and returns the offset of the first. After a
    /// crash in the middle the first few of them may be there without the rest; for all or
    /// nothing there are transactions.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn append_batch(
        &self,
        topic_partition: &TopicPartition,
        records: &[Record<'_>],
    ) -> Result<Offset> {
        let engine = &self.inner.engine;
        let partition = engine.partition(topic_partition)?;
        let appended = engine.append(&partition, records, Compression::None)?;
        if let Some(ticket) = appended.ticket {
            engine.wait(ticket)?;
        }
        Ok(appended.first)
    }

    /// Reads records from an offset on, at most `bytes_max` bytes but for a batch that is larger
    /// alone; nothing at the end of the log.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `OffsetOutOfRange`, `Corrupt`, or a failed system call.
    pub fn fetch(
        &self,
        topic_partition: &TopicPartition,
        from: Offset,
        bytes_max: usize,
    ) -> Result<Vec<RecordBatch>> {
        let engine = &self.inner.engine;
        engine.refresh()?;
        let partition = engine.partition(topic_partition)?;
        let (mut cursor, mut from, mut left) = (None, from, bytes_max);
        let mut batches = Vec::new();
        while left > 0 {
            let limits = ReadLimits { bytes_max: left, records_max: usize::MAX };
            let fetched = partition.fetch(&mut cursor, from, limits, &mut SpareSpans::none());
            let (batch, next) = match fetched {
                Ok((Some(batch), next)) => (batch, next),
                Ok((None, _)) => break,
                // First what was read; the error comes back when this offset is asked for.
                Err(_) if !batches.is_empty() => break,
                Err(error) => return Err(error),
            };
            if !batches.is_empty() && batch.bytes_len() > left {
                break;
            }
            left = left.saturating_sub(batch.bytes_len());
            from = next;
            batches.push(batch);
        }
        Ok(batches)
    }

    /// The first offset whose record has this timestamp or a later one; none if there is no such
    /// record. Timestamps need not rise with the offsets.
    ///
    /// # Errors
    /// `UnknownTopic`, `UnknownPartition`, `Corrupt`, or a failed system call.
    pub fn offset_for_time(
        &self,
        topic_partition: &TopicPartition,
        timestamp: Timestamp,
    ) -> Result<Option<Offset>> {
        let engine = &self.inner.engine;
        engine.refresh()?;
        engine.partition(topic_partition)?.offset_for_time(timestamp)
    }

    /// Drops what is past `retention.ms` (counted from the last append to a segment, not from the
    /// times of its records) or `retention.bytes`, and returns how many segments went. The store's
    /// own thread does this every few minutes. If the clock was set since the last time, this time
    /// nothing goes.
    ///
    /// # Errors
    /// `Poisoned`, `ReadOnly`, or a failed system call.
    pub fn enforce_retention(&self) -> Result<usize> {
        self.inner.engine.enforce_retention()
    }

    /// Compacts the partitions of topics with `cleanup.policy=compact` that are due, and says what
    /// that did: of each key the newest record stays, with its offset; a tombstone goes
    /// `delete.retention.ms` after the first compaction that came by it. Only sealed segments are
    /// compacted, once those that came since the last time are `min.cleanable.dirty.ratio` of
    /// all, and not within `min.compaction.lag.ms` of their last append. Readers and writers go
    /// on meanwhile. The store's own thread does this every few seconds.
    ///
    /// # Errors
    /// `Poisoned`, `ReadOnly`; `Corrupt`, `DiskFull` or a failed system call, which leave the
    /// partition as it was and do not keep others from being compacted.
    pub fn compact(&self) -> Result<CompactionReport> {
        self.inner.engine.compact(&mut || true)
    }

    /// Reads all sealed segments once, checks every batch, and says what is damaged, without
    /// keeping readers or writers. The store's own thread does the same behind them, slowly; what it
    /// finds is in [`health`](Self::health). Bytes that the system has in its page cache are
    /// checked as they are there.
    ///
    /// Nothing is changed: a read of damaged records is `Corrupt`, and `headwater log repair` says
    /// what can be done.
    ///
    /// # Errors
    /// `ReadOnly`.
    pub fn scrub(&self) -> Result<ScrubReport> {
        self.inner.engine.scrub()
    }

    /// How the store is: whether it takes writes, and what damage the scrub has found. Nothing for
    /// a read-only one.
    #[must_use]
    pub fn health(&self) -> StoreHealth {
        self.inner.engine.health()
    }

    /// Closes the store for all its handles: what was acknowledged is durable, whatever the
    /// durability, and the next open has nothing to recover. Consumers may go on reading.
    ///
    /// # Errors
    /// `Poisoned`, or a failed system call. Either way the store is closed.
    pub fn close(&self) -> Result<()> {
        self.inner.close()
    }
}

impl Inner {
    fn close(&self) -> Result<()> {
        if let Some(housekeeping) = &self.housekeeping {
            housekeeping.stop();
        }
        self.engine.close()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(store = %self.engine.dir.display(), %error, "closing failed");
        }
    }
}

impl Log for LogStore {
    fn id(&self) -> LogId {
        self.inner.id
    }

    fn create_topic(&self, topic: &NewTopic) -> Result<()> {
        self.inner.engine.create_topic(topic)?;
        // Members that subscribed to it before it was there may be waiting in a poll.
        self.inner.engine.signal.notify();
        Ok(())
    }

    fn create_partitions(&self, topic: &str, total: u32) -> Result<()> {
        self.inner.engine.create_partitions(topic, total)
    }

    fn incremental_alter_configs(&self, topic: &str, ops: &[AlterConfigOp]) -> Result<()> {
        self.inner.engine.alter_configs(topic, ops)
    }

    fn describe_configs(&self, topic: &str) -> Result<Vec<ConfigEntry>> {
        self.inner.engine.refresh()?;
        self.inner.engine.topic(topic).map(|topic| topic.config.entries())
    }

    fn delete_topic(&self, topic: &str) -> Result<()> {
        self.inner.engine.delete_topic(topic)
    }

    fn topics(&self) -> Result<Vec<TopicDescription>> {
        self.inner.engine.refresh()?;
        Ok(self.inner.engine.topics().iter().map(|topic| topic.describe()).collect())
    }

    fn describe_topic(&self, topic: &str) -> Result<TopicDescription> {
        self.inner.engine.refresh()?;
        self.inner.engine.topic(topic).map(|topic| topic.describe())
    }

    fn watermarks(&self, topic_partition: &TopicPartition) -> Result<Watermarks> {
        self.inner.engine.refresh()?;
        self.inner.engine.partition(topic_partition).map(|partition| partition.watermarks())
    }

    fn offset_for_leader_epoch(
        &self,
        topic_partition: &TopicPartition,
        epoch: Option<LeaderEpoch>,
    ) -> Result<EpochEndOffset> {
        self.inner.engine.refresh()?;
        let partition = self.inner.engine.partition(topic_partition)?;
        Ok(partition.epoch_end(epoch))
    }

    fn delete_records(&self, topic_partition: &TopicPartition, before: Offset) -> Result<()> {
        let partition = self.inner.engine.partition(topic_partition)?;
        self.inner.engine.delete_records(&partition, before)
    }

    fn offsets_for_times(
        &self,
        times: &[(TopicPartition, Timestamp)],
    ) -> Result<Vec<Option<Offset>>> {
        let engine = &self.inner.engine;
        engine.refresh()?;
        let find = |(tp, time): &(TopicPartition, _)| engine.partition(tp)?.offset_for_time(*time);
        times.iter().map(find).collect()
    }

    fn groups(&self) -> Result<Vec<String>> {
        self.inner.engine.refresh()?;
        self.inner.engine.offsets.check()?;
        Ok(self.inner.engine.group_names())
    }

    fn group_offsets(&self, group: &str) -> Result<GroupOffsets> {
        self.inner.engine.refresh()?;
        self.inner.engine.offsets.check()?;
        Ok(self.inner.engine.offsets.group(group))
    }

    fn describe_group(&self, group: &str) -> Result<GroupDescription> {
        self.inner.engine.refresh()?;
        self.inner.engine.describe_group(group)
    }

    fn delete_group(&self, group: &str) -> Result<()> {
        self.inner.engine.delete_group(group)
    }

    fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, Option<Offset>)],
    ) -> Result<()> {
        let offsets = offsets.iter().map(|(topic_partition, offset)| {
            (topic_partition.clone(), offset.map(OffsetAndMetadata::from))
        });
        self.inner.engine.commit_group_offsets(&GroupMetadata::outside(group), offsets)
    }

    fn consumer(&self, config: &ConsumerConfig) -> Result<Box<dyn Consumer>> {
        Ok(Box::new(LogConsumer::new(Arc::clone(&self.inner.engine), config)?))
    }

    fn producer(&self, config: &ProducerConfig) -> Result<Box<dyn Producer>> {
        Ok(Box::new(LogProducer::new(Arc::clone(&self.inner.engine), config)?))
    }

    fn is_embedded(&self) -> bool {
        true
    }
}
