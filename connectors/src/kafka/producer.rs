//! A producer on a cluster: records, alone or in Kafka's transactions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    Compression, Error, GroupMetadata, OffsetAndMetadata, PartitionId, Producer, ProducerConfig,
    ProducerRecord, Receipt, Result, TopicName, TopicPartition, TransactionBytes,
    partition_for_key,
};
use parking_lot::Mutex;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use crate::kafka::cluster::{Cluster, creation_failed, pause};
use crate::kafka::convert::{commit_list, native_headers, native_partition};
use crate::kafka::delivery::{Delivery, Fate, Transaction, WriterContext};
use crate::kafka::failure::{self, Next};
use crate::kafka::groups;

/// Records without a key go to one partition until this many bytes went there, as with Kafka's
/// `batch.size`.
const STICKY_BYTES: usize = 16 << 10;
/// How long a topic's number of partitions is taken to stay what it is.
const TOPIC_AGE_MAX: Duration = Duration::from_secs(60);
/// How often a flush has the broker threads send what is there.
const FLUSH_INTERVAL: Duration = Duration::from_millis(10);
/// What a record takes in a batch beside its key, value and headers, about.
const RECORD_OVERHEAD_BYTES: usize = 24;

/// See the module.
pub(super) struct KafkaProducer {
    cluster: Arc<Cluster>,
    client: ThreadedProducer<WriterContext>,
    transactional_id: Option<String>,
    transaction: Option<Open>,
    topics: HashMap<String, KnownTopic>,
    /// When the open transaction began.
    begun: Duration,
}

/// The open transaction.
struct Open {
    fate: Transaction,
    bytes: usize,
}

struct KnownTopic {
    name: TopicName,
    partitions: u32,
    since: Duration,
    /// The partition of the run without keys, and the bytes that went there.
    sticky: (u32, usize),
}

impl KafkaProducer {
    pub(super) fn new(cluster: Arc<Cluster>, config: &ProducerConfig) -> Result<Self> {
        let mut settings = cluster.settings.writer();
        settings.set(
            "compression.type",
            match config.compression {
                Compression::Lz4 => "lz4",
                _ => "none",
            },
        );
        if let Some(id) = &config.transactional_id {
            settings.set("transactional.id", id);
        }
        let client = settings
            .create_with_context(WriterContext::default())
            .map_err(|error| creation_failed("producer", error))?;
        let producer = Self {
            cluster,
            client,
            transactional_id: config.transactional_id.clone(),
            transaction: None,
            topics: HashMap::new(),
            begun: Duration::ZERO,
        };
        if producer.transactional_id.is_some() {
            // It fences older producers of this id, and ends what they left open.
            producer
                .transactional("producer", |client, timeout| client.init_transactions(timeout))?;
        }
        Ok(producer)
    }

    /// A call about transactions; librdkafka says when it may be repeated.
    fn transactional(
        &self,
        operation: &'static str,
        mut call: impl FnMut(&ThreadedProducer<WriterContext>, Duration) -> KafkaResult<()>,
    ) -> Result<()> {
        let deadline = self.cluster.now().saturating_add(self.cluster.settings.request_timeout);
        loop {
            let left = deadline.saturating_sub(self.cluster.now());
            match call(&self.client, left) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && self.cluster.now() < deadline =>
                {
                    pause();
                }
                Err(error) => return Err(self.translate(operation, &error, None)),
            }
        }
    }

    /// The seam's error for one of librdkafka's.
    fn translate(
        &self,
        operation: &'static str,
        error: &KafkaError,
        group: Option<&GroupMetadata>,
    ) -> Error {
        let id = || self.transactional_id.clone().unwrap_or_default();
        // A fatal error says of itself only that it is one.
        let fatal = self.client.client().fatal_error();
        let code = match &fatal {
            Some((code, _)) => Some(*code),
            None => failure::code(error),
        };
        match (code, group) {
            (
                Some(Code::UnknownMemberId | Code::FencedInstanceId | Code::AssignmentLost),
                Some(GroupMetadata { group, member_id, .. }),
            ) => Error::UnknownMember { group: group.clone(), member_id: member_id.clone() },
            (Some(Code::IllegalGeneration | Code::RebalanceInProgress), Some(metadata)) => {
                Error::IllegalGeneration {
                    group: metadata.group.clone(),
                    member_id: metadata.member_id.clone(),
                    generation: metadata.generation,
                    current: metadata.generation.saturating_add(1),
                }
            }
            (Some(code), _) if failure::next(code) == Next::Fence => {
                Error::Fenced { transactional_id: id() }
            }
            (Some(Code::State), _) if fatal.is_none() => Error::External {
                operation,
                reason: format!("{error}; an earlier failure is to be aborted first"),
                retriable: true,
            },
            _ => match fatal {
                Some((code, reason)) => Error::External {
                    operation,
                    reason: format!("{code}: {reason}"),
                    // The next producer of this id begins where this one has failed.
                    retriable: self.transactional_id.is_some() && failure::next(code) != Next::Fail,
                },
                None => failure::external(operation, error),
            },
        }
    }

    fn open(&self, operation: &'static str) -> Result<&Open> {
        self.transaction.as_ref().ok_or_else(|| Error::InvalidState {
            operation,
            reason: "no transaction is open".to_owned(),
        })
    }

    /// The partition that a record goes to.
    fn choose(&mut self, record: &ProducerRecord<'_>) -> Result<TopicPartition> {
        // No clock for each record of a transaction, which is short.
        let now = if self.transaction.is_some() { self.begun } else { self.cluster.now() };
        let known = self.topics.get(record.topic).filter(|known| {
            let fits = record.partition.is_none_or(|wanted| wanted.value() < known.partitions);
            fits && now.saturating_sub(known.since) < TOPIC_AGE_MAX
        });
        if known.is_none() {
            let name = TopicName::new(record.topic)?;
            let partitions = self.cluster.partitions(&name).inspect_err(|_| {
                self.topics.remove(record.topic);
            })?;
            let sticky = self.topics.get(record.topic).map_or((0, 0), |known| known.sticky);
            let known = KnownTopic { name, partitions, since: now, sticky };
            self.topics.insert(record.topic.to_owned(), known);
        }
        let known = self.topics.get_mut(record.topic).expect("just inserted");
        let partition = match (record.partition, record.key) {
            (Some(partition), _) => partition,
            (None, Some(key)) => partition_for_key(key, known.partitions),
            (None, None) => known.next_sticky(record.value.map_or(0, <[u8]>::len)),
        };
        let topic_partition = TopicPartition::new(known.name.clone(), partition);
        match partition.value() < known.partitions {
            true => Ok(topic_partition),
            false => Err(Error::UnknownPartition { topic_partition, partitions: known.partitions }),
        }
    }

    fn enqueue(&self, record: &ProducerRecord<'_>, delivery: &Arc<Delivery>) -> Result<()> {
        let topic_partition = &delivery.topic_partition;
        let mut native: BaseRecord<'_, [u8], [u8], Arc<Delivery>> =
            BaseRecord::with_opaque_to(record.topic, Arc::clone(delivery))
                .partition(native_partition(topic_partition.partition));
        native.key = record.key;
        native.payload = record.value;
        native.timestamp = record.timestamp.map(|timestamp| timestamp.as_millis());
        native.headers = native_headers(record.headers);
        self.context().sent();
        let enqueued = self.hand_over(native, record, topic_partition);
        if enqueued.is_err() {
            self.context().arrived();
        }
        enqueued
    }

    fn context(&self) -> &WriterContext {
        self.client.client().context()
    }

    fn hand_over(
        &self,
        mut native: BaseRecord<'_, [u8], [u8], Arc<Delivery>>,
        record: &ProducerRecord<'_>,
        topic_partition: &TopicPartition,
    ) -> Result<()> {
        let mut deadline = None;
        let mut may_wait = || {
            let now = self.cluster.now();
            let timeout = self.cluster.settings.request_timeout;
            now < *deadline.get_or_insert_with(|| now.saturating_add(timeout))
        };
        loop {
            let (error, unsent) = match self.client.send(native) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            match failure::code(&error) {
                // It empties as the brokers take what is in it.
                Some(Code::QueueFull) if may_wait() => pause(),
                Some(Code::MessageSizeTooLarge) => {
                    return Err(Error::RecordTooLarge {
                        topic_partition: topic_partition.clone(),
                        bytes: record_bytes(record),
                        bytes_max: self.message_bytes_max(),
                        limit_name: "message.max.bytes",
                    });
                }
                _ => return Err(self.translate("send", &error, None)),
            }
            native = unsent;
        }
    }

    /// Waits until the delivery of all records is over, or the request timeout has passed.
    fn wait_until_arrived(&self) {
        let deadline = self.cluster.now().saturating_add(self.cluster.settings.request_timeout);
        loop {
            // It has the broker threads send what they hold back for larger batches.
            let _ = self.client.flush(Duration::ZERO);
            let left = deadline.saturating_sub(self.cluster.now());
            if left.is_zero() || self.context().wait_until_arrived(left.min(FLUSH_INTERVAL)) {
                return;
            }
        }
    }

    /// librdkafka's `message.max.bytes`.
    fn message_bytes_max(&self) -> usize {
        let said = self.cluster.settings.client();
        let said = said.get("message.max.bytes").and_then(|bytes| bytes.parse().ok());
        said.unwrap_or(1_000_000)
    }

    fn end(&mut self, fate: Fate) {
        if let Some(open) = self.transaction.take() {
            *open.fate.lock() = fate;
        }
    }
}

impl KnownTopic {
    fn next_sticky(&mut self, bytes: usize) -> PartitionId {
        let (partition, sent) = &mut self.sticky;
        if *sent >= STICKY_BYTES {
            *partition += 1;
            *sent = 0;
        }
        *sent += bytes;
        PartitionId::new(*partition % self.partitions)
    }
}

impl Producer for KafkaProducer {
    fn send(&mut self, record: &ProducerRecord<'_>) -> Result<Receipt> {
        if self.transactional_id.is_some() && self.transaction.is_none() {
            return Err(Error::InvalidState {
                operation: "send",
                reason: "a producer with a transactional.id writes in transactions only".to_owned(),
            });
        }
        let topic_partition = self.choose(record)?;
        let transaction = self.transaction.as_ref().map(|open| Arc::clone(&open.fate));
        let delivery = Arc::new(Delivery::new(topic_partition, transaction));
        self.enqueue(record, &delivery)?;
        if let Some(open) = &mut self.transaction {
            open.bytes += record_bytes(record);
        }
        Ok(Receipt::pending(delivery, 0))
    }

    fn flush(&mut self) -> Result<()> {
        self.wait_until_arrived();
        let flushed = self.client.flush(self.cluster.settings.request_timeout);
        flushed.map_err(|error| self.translate("flush", &error, None))?;
        self.context().take_failure().map_or(Ok(()), Err)
    }

    fn begin_transaction(&mut self) -> Result<()> {
        let invalid = |reason: &str| Error::InvalidState {
            operation: "begin_transaction",
            reason: reason.to_owned(),
        };
        if self.transactional_id.is_none() {
            return Err(invalid("the producer has no transactional.id"));
        }
        if self.transaction.is_some() {
            return Err(invalid("a transaction is open"));
        }
        self.transactional("begin_transaction", |client, _| client.begin_transaction())?;
        self.begun = self.cluster.now();
        self.transaction = Some(Open { fate: Arc::new(Mutex::new(Fate::Open)), bytes: 0 });
        Ok(())
    }

    fn send_offsets_to_transaction(
        &mut self,
        offsets: &[(TopicPartition, OffsetAndMetadata)],
        group: &GroupMetadata,
    ) -> Result<()> {
        let operation = "send_offsets_to_transaction";
        self.open(operation)?;
        if offsets.is_empty() {
            return Ok(());
        }
        let native = match group.member_id.is_empty() {
            true => {
                // The cluster lets anybody commit for a group whose members do not share these
                // partitions by subscription; the seam does not.
                groups::check_is_empty(&self.cluster, &group.group)?;
                let client = self.cluster.group_client(&group.group)?;
                client
                    .group_metadata()
                    .ok_or_else(|| Error::UnknownGroup { group: group.group.clone() })?
            }
            false => self.cluster.members.native(group)?,
        };
        let list = commit_list(offsets)?;
        let deadline = self.cluster.now().saturating_add(self.cluster.settings.request_timeout);
        loop {
            let left = deadline.saturating_sub(self.cluster.now());
            match self.client.send_offsets_to_transaction(&list, &native, left) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && self.cluster.now() < deadline =>
                {
                    pause();
                }
                Err(error) => return Err(self.translate(operation, &error, Some(group))),
            }
        }
    }

    fn commit_transaction(&mut self) -> Result<()> {
        self.open("commit_transaction")?;
        self.wait_until_arrived();
        match self
            .transactional("commit_transaction", |client, left| client.commit_transaction(left))
        {
            Ok(()) => {
                self.end(Fate::Committed);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn abort_transaction(&mut self) -> Result<()> {
        self.open("abort_transaction")?;
        let aborted =
            self.transactional("abort_transaction", |client, left| client.abort_transaction(left));
        self.end(Fate::Failed(Error::InvalidState {
            operation: "wait",
            reason: "the transaction was aborted".to_owned(),
        }));
        aborted
    }

    fn transaction_bytes(&self) -> TransactionBytes {
        TransactionBytes {
            used: self.transaction.as_ref().map_or(0, |open| open.bytes),
            max: self.cluster.settings.transaction_bytes_max,
        }
    }
}

impl std::fmt::Debug for KafkaProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaProducer")
            .field("transactional_id", &self.transactional_id)
            .finish_non_exhaustive()
    }
}

fn record_bytes(record: &ProducerRecord<'_>) -> usize {
    let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = record.headers.iter().map(|header| header.key.len() + len(header.value));
    RECORD_OVERHEAD_BYTES + len(record.key) + len(record.value) + headers.sum::<usize>()
}
