//! The bridge at work: polls one log, and writes records and positions to the other in one
//! transaction.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    AutoOffsetReset, Clock, Consumer, ConsumerConfig, Header, Log, Offset, Producer,
    ProducerConfig, ProducerRecord, RecordBatch, SystemClock, Timestamp, TopicPartition,
};

use crate::bridge::pattern::Pattern;
use crate::bridge::plan;
use crate::connector::SourceOffset;
use crate::error::{Error, Result};
use crate::position;

/// How long one poll waits for records.
const POLL: Duration = Duration::from_millis(100);
/// How often topics and partitions that are new are looked for.
const TOPICS_INTERVAL: Duration = Duration::from_secs(5);

/// Mirrors topics of one log in another, exactly once: from a Kafka cluster into an embedded log,
/// or out of it.
///
/// Partitions, keys, null values, headers and timestamps stay what they are; offsets are the other
/// log's own. Records and the position after them are one transaction there, so whatever moment a
/// run ends at, the next one goes on after the last record that arrived. A second run of the same
/// name fences the first.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::sync::Arc;
/// use headwater_connectors::Bridge;
/// use headwater_log_store::{Log, LogStore, NewTopic};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let from: Arc<dyn Log> = Arc::new(LogStore::in_memory()?);
/// let to: Arc<dyn Log> = Arc::new(LogStore::in_memory()?);
/// from.create_topic(&NewTopic::new("orders-eu").partitions(3))?;
///
/// let bridge = Bridge::new("mirror", from, Arc::clone(&to)).include("orders-*");
/// let progress = bridge.run(|progress| match progress.lag {
///     0 => ControlFlow::Break(()),
///     _ => ControlFlow::Continue(()),
/// })?;
/// assert_eq!(progress.records, 0);
/// assert_eq!(to.describe_topic("orders-eu")?.partitions, 3);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Bridge {
    name: String,
    from: Arc<dyn Log>,
    to: Arc<dyn Log>,
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
    batch_records_max: usize,
    batch_bytes_max: usize,
}

/// How far a bridge has come; given after each commit, and when nothing has come for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BridgeProgress {
    /// Records that this run has mirrored.
    pub records: u64,
    /// The bytes of their keys and values.
    pub bytes: u64,
    /// How many offsets lie ahead in all partitions.
    pub lag: u64,
    /// The partitions, in order.
    pub partitions: Vec<PartitionProgress>,
}

/// How far a bridge has come in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartitionProgress {
    /// The partition.
    pub topic_partition: TopicPartition,
    /// The next offset to mirror, in the log that is mirrored.
    pub offset: Offset,
    /// How many offsets lie ahead.
    pub lag: u64,
}

impl Bridge {
    /// A bridge that mirrors topics of `from` in `to`, and keeps its positions there under `name`.
    /// What it mirrors is for [`include`](Self::include) to say.
    #[must_use]
    pub fn new(name: impl Into<String>, from: Arc<dyn Log>, to: Arc<dyn Log>) -> Self {
        Self {
            name: name.into(),
            from,
            to,
            include: Vec::new(),
            exclude: Vec::new(),
            batch_records_max: 5_000,
            batch_bytes_max: 1 << 20,
        }
    }

    /// Mirrors these topics as well: a name in which `*` stands for anything. Topics that come
    /// later are taken up when they do; internal ones, whose names begin with `__`, never.
    #[must_use]
    pub fn include(mut self, pattern: impl Into<String>) -> Self {
        self.include.push(Pattern::new(pattern));
        self
    }

    /// Leaves these topics out, although they are included.
    #[must_use]
    pub fn exclude(mut self, pattern: impl Into<String>) -> Self {
        self.exclude.push(Pattern::new(pattern));
        self
    }

    /// The most records in a transaction. Default = 5,000; at least 1.
    #[must_use]
    pub fn batch_records_max(mut self, records: usize) -> Self {
        self.batch_records_max = records.max(1);
        self
    }

    /// The most bytes in a transaction, but for a batch that is larger alone. Default = 1 MiB.
    #[must_use]
    pub fn batch_bytes_max(mut self, bytes: usize) -> Self {
        self.batch_bytes_max = bytes.max(1);
        self
    }

    /// Mirrors until `on_progress` answers [`ControlFlow::Break`]. Returns what this run has done.
    ///
    /// # Errors
    /// What either log failed with, or `InvalidPosition` where a topic was made anew. The open
    /// transaction is aborted; what was committed before stays, and another run goes on after it.
    pub fn run(
        &self,
        mut on_progress: impl FnMut(&BridgeProgress) -> ControlFlow<()>,
    ) -> Result<BridgeProgress> {
        self.run_batches(&mut on_progress)
    }

    fn run_batches(
        &self,
        on_progress: &mut dyn FnMut(&BridgeProgress) -> ControlFlow<()>,
    ) -> Result<BridgeProgress> {
        let to = self.to.as_ref();
        let failed = |operation: &'static str| move |error| self.log_error(operation, error);
        position::create_topic(to).map_err(failed("cannot create the topic of the positions"))?;
        // The producer comes first: it fences an older run, which could otherwise commit after the
        // positions have been read.
        let transactional_id = Some(format!("connector-{}", self.name));
        let mut producer = to
            .producer(&ProducerConfig {
                transactional_id,
                without_receipts: true,
                ..ProducerConfig::default()
            })
            .map_err(failed("cannot begin to produce"))?;
        let stored = position::load_all(to, &self.name)?;
        let mut consumer = self
            .from
            .consumer(&ConsumerConfig {
                // A place to begin at until the seek; later, records that were deleted before
                // they were read are gone.
                auto_offset_reset: AutoOffsetReset::Earliest,
                max_poll_records: self.batch_records_max,
                fetch_bytes_max: self.batch_bytes_max,
                ..ConsumerConfig::default()
            })
            .map_err(failed("cannot begin to consume"))?;
        let clock = SystemClock::new();
        let mut looked = None;
        let mut progress = BridgeProgress::default();
        loop {
            let now = clock.monotonic();
            if looked.is_none_or(|looked| now.saturating_sub(looked) >= TOPICS_INTERVAL) {
                self.take_up(consumer.as_mut(), &stored)?;
                looked = Some(now);
            }
            let batches = consumer.poll(POLL).map_err(failed("cannot read"))?;
            if !batches.is_empty() {
                self.mirror(producer.as_mut(), &batches, &mut progress)?;
            }
            self.look(consumer.as_ref(), &mut progress)?;
            if on_progress(&progress).is_break() {
                return Ok(progress);
            }
        }
    }

    /// Takes up the partitions that are new.
    fn take_up(
        &self,
        consumer: &mut dyn Consumer,
        stored: &BTreeMap<Vec<u8>, SourceOffset>,
    ) -> Result<()> {
        let failed = |operation: &'static str| move |error| self.log_error(operation, error);
        let topics = self.from.topics().map_err(failed("cannot list topics"))?;
        let topics = plan::choose(topics, &self.include, &self.exclude);
        let known = consumer.assignment();
        let partitions = plan::partitions(&topics);
        let new: Vec<_> = partitions.iter().filter(|each| !known.contains(each)).collect();
        if new.is_empty() && known.len() == partitions.len() {
            return Ok(());
        }
        for topic in &topics {
            plan::create_beside(self.to.as_ref(), topic)
                .map_err(|error| self.log_error(format!("cannot create {}", topic.name), error))?;
        }
        consumer.assign(&partitions).map_err(failed("cannot read"))?;
        for partition in new {
            let key = position::key(&self.name, &plan::source_partition(partition));
            let start = plan::start(self.from.as_ref(), partition, stored.get(&key))?;
            let begun = start.and_then(|start| consumer.seek(partition, start));
            begun.map_err(|error| self.log_error(format!("cannot read {partition}"), error))?;
        }
        Ok(())
    }

    /// One transaction; it is aborted if anything fails.
    fn mirror(
        &self,
        producer: &mut dyn Producer,
        batches: &[RecordBatch],
        progress: &mut BridgeProgress,
    ) -> Result<()> {
        let failed = |operation: &'static str| move |error| self.log_error(operation, error);
        producer.begin_transaction().map_err(failed("cannot begin a transaction"))?;
        match self.fill(producer, batches) {
            Ok((records, bytes)) => {
                producer.commit_transaction().map_err(failed("cannot commit a transaction"))?;
                progress.records += records;
                progress.bytes += bytes;
                Ok(())
            }
            Err(error) => {
                if let Err(error) = producer.abort_transaction() {
                    // The failure that led here is the one to report.
                    tracing::warn!(bridge = self.name, %error, "an abort failed");
                }
                Err(error)
            }
        }
    }

    fn fill(&self, producer: &mut dyn Producer, batches: &[RecordBatch]) -> Result<(u64, u64)> {
        let (mut records, mut bytes) = (0, 0);
        for batch in batches {
            let from = batch.topic_partition();
            for record in batch.iter() {
                let headers: Vec<Header<'_>> = record.headers.iter().collect();
                // Records of old clients have no time.
                let timestamp =
                    Some(record.timestamp).filter(|time| *time >= Timestamp::from_millis(0));
                let sent = producer.send_without_receipt(&ProducerRecord {
                    topic: from.topic.as_str(),
                    partition: Some(from.partition),
                    key: record.key,
                    value: record.value,
                    timestamp,
                    headers: &headers,
                });
                // The commit answers for the whole batch.
                sent.map_err(|error| {
                    self.log_error(format!("cannot send {from} offset {}", record.offset), error)
                })?;
                records += 1;
                let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len) as u64;
                bytes += len(record.key) + len(record.value);
            }
            if let Some(next) = batch.next_offset() {
                let key = position::key(&self.name, &plan::source_partition(from));
                let value = position::value(&plan::source_offset(next));
                let stored = producer.send_without_receipt(&position::record(&key, &value));
                stored.map_err(|error| {
                    self.log_error(format!("cannot store the position of {from}"), error)
                })?;
            }
        }
        Ok((records, bytes))
    }

    /// Notes how far it has come.
    fn look(&self, consumer: &dyn Consumer, progress: &mut BridgeProgress) -> Result<()> {
        let mut partitions = Vec::new();
        for topic_partition in consumer.assignment() {
            let looked = consumer.position(&topic_partition).and_then(|offset| {
                Ok((offset, consumer.lag(&topic_partition)?.unwrap_or_default()))
            });
            let (offset, lag) = looked.map_err(|error| {
                self.log_error(format!("cannot look at {topic_partition}"), error)
            })?;
            partitions.push(PartitionProgress { topic_partition, offset, lag });
        }
        partitions.sort_by(|a, b| a.topic_partition.cmp(&b.topic_partition));
        progress.lag = partitions.iter().map(|partition| partition.lag).sum();
        progress.partitions = partitions;
        Ok(())
    }

    fn log_error(&self, operation: impl Into<String>, source: headwater_log_store::Error) -> Error {
        Error::Log {
            connector: self.name.clone(),
            operation: operation.into(),
            source: Box::new(source),
        }
    }
}
