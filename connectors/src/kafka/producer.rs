//! A producer on a cluster: records, alone or in Kafka's transactions.

use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    Error, GroupMetadata, OffsetAndMetadata, Producer, ProducerConfig, ProducerRecord, Receipt,
    Result, TopicPartition, TransactionBytes,
};
use parking_lot::Mutex;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use crate::kafka::cluster::{Cluster, creation_failed, pause};
use crate::kafka::convert::{commit_list, native_headers, native_partition};
use crate::kafka::delivery::{Delivery, Fate, Transaction, WITHOUT_RECEIPT, WriterContext};
use crate::kafka::failure::{self, Next};
use crate::kafka::groups;
use crate::kafka::known_topics::KnownTopics;

/// How long a flush waits before it looks again, at first and at most.
const FLUSH_PAUSES: [Duration; 2] = [Duration::from_micros(100), Duration::from_millis(2)];
/// How long the first call for a producer's id waits; each next one waits twice as long.
const INIT_PATIENCE: Duration = Duration::from_millis(20);
/// What a record takes in a batch beside its key, value and headers, about.
const RECORD_OVERHEAD_BYTES: usize = 24;

/// See the module.
pub(super) struct KafkaProducer {
    cluster: Arc<Cluster>,
    client: ThreadedProducer<WriterContext>,
    transactional_id: Option<String>,
    transaction: Option<Open>,
    without_receipts: bool,
    topics: KnownTopics,
    /// When the open transaction began.
    begun: Duration,
}

/// The open transaction.
struct Open {
    fate: Transaction,
    bytes: usize,
}

impl KafkaProducer {
    pub(super) fn new(cluster: Arc<Cluster>, config: &ProducerConfig) -> Result<Self> {
        let client = cluster
            .settings
            .writer(config)
            .create_with_context(WriterContext::new(config.transactional_id.is_some()))
            .map_err(|error| creation_failed("producer", error))?;
        let producer = Self {
            cluster,
            client,
            transactional_id: config.transactional_id.clone(),
            transaction: None,
            without_receipts: config.without_receipts,
            topics: KnownTopics::default(),
            begun: Duration::ZERO,
        };
        if producer.transactional_id.is_some() {
            producer.init_transactions()?;
        }
        Ok(producer)
    }

    /// Fences older producers of this id, and ends what they left open. librdkafka looks for the
    /// coordinator every 500 ms, and at once when it is called again.
    fn init_transactions(&self) -> Result<()> {
        let deadline = self.cluster.now().saturating_add(self.cluster.settings.request_timeout);
        let mut patience = INIT_PATIENCE;
        loop {
            let left = deadline.saturating_sub(self.cluster.now());
            match self.client.init_transactions(patience.min(left)) {
                Ok(()) => return Ok(()),
                Err(KafkaError::Transaction(error))
                    if error.is_retriable() && self.cluster.now() < deadline =>
                {
                    if error.code() != Code::OperationTimedOut {
                        pause();
                    }
                    patience *= 2;
                }
                Err(error) => return Err(self.translate("producer", &error, None)),
            }
        }
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

    /// Hands a record to librdkafka, with a receipt if somebody wants one.
    fn enqueue(&mut self, record: &ProducerRecord<'_>, receipt: bool) -> Result<Option<Receipt>> {
        if self.transactional_id.is_some() && self.transaction.is_none() {
            return Err(Error::InvalidState {
                operation: "send",
                reason: "a producer with a transactional.id writes in transactions only".to_owned(),
            });
        }
        // No clock for each record of a transaction, which is short.
        let now = if self.transaction.is_some() { self.begun } else { self.cluster.now() };
        let topic_partition = self.topics.choose(&self.cluster, record, now)?;
        let delivery = receipt.then(|| {
            let transaction = self.transaction.as_ref().map(|open| Arc::clone(&open.fate));
            Arc::new(Delivery::new(topic_partition.clone(), transaction))
        });
        let context = self.client.client().context();
        let number = delivery.clone().map_or(WITHOUT_RECEIPT, |delivery| context.sent(delivery));
        let mut native = BaseRecord::with_opaque_to(record.topic, number);
        native.partition = Some(native_partition(topic_partition.partition));
        native.key = record.key;
        native.payload = record.value;
        native.timestamp = record.timestamp.map(|timestamp| timestamp.as_millis());
        native.headers = native_headers(record.headers);
        if let Err(error) = self.hand_over(native) {
            drop(context.arrived(number));
            return Err(match failure::code(&error) {
                Some(Code::MessageSizeTooLarge) => Error::RecordTooLarge {
                    topic_partition,
                    bytes: record_bytes(record),
                    bytes_max: self.message_bytes_max(),
                    limit_name: "message.max.bytes",
                },
                _ => self.translate("send", &error, None),
            });
        }
        if let Some(open) = &mut self.transaction {
            open.bytes += record_bytes(record);
        }
        Ok(delivery.map(|delivery| Receipt::pending(delivery, 0)))
    }

    /// Waits while librdkafka's queue is full.
    fn hand_over(&self, mut native: BaseRecord<'_, [u8], [u8], usize>) -> KafkaResult<()> {
        let mut waiting = None;
        loop {
            let (error, unsent) = match self.client.send(native) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let full = failure::code(&error) == Some(Code::QueueFull);
            // It empties as the brokers take what is in it.
            let waiting = waiting.get_or_insert_with(|| Waiting::new(&self.cluster));
            if !full || waiting.is_over() {
                return Err(error);
            }
            let _ = self.client.flush(Duration::ZERO);
            waiting.pause();
            native = unsent;
        }
    }

    /// Waits until the delivery of all records is over, or the request timeout has passed.
    fn wait_until_arrived(&self) {
        let mut waiting = Waiting::new(&self.cluster);
        // librdkafka's bindings wait for 100 ms at a time. Each call has the broker threads send what they
        // hold back for larger batches; one that wakes after the call has missed it, and is called again.
        while self.client.flush(Duration::ZERO).is_err() && !waiting.is_over() {
            waiting.pause();
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

impl Producer for KafkaProducer {
    fn send(&mut self, record: &ProducerRecord<'_>) -> Result<Receipt> {
        if self.without_receipts {
            return Err(Error::InvalidState {
                operation: "send",
                reason: "the producer is one without receipts".to_owned(),
            });
        }
        let receipt = self.enqueue(record, true)?;
        Ok(receipt.expect("one was wanted"))
    }

    fn send_without_receipt(&mut self, record: &ProducerRecord<'_>) -> Result<()> {
        self.enqueue(record, false).map(drop)
    }

    fn flush(&mut self) -> Result<()> {
        self.wait_until_arrived();
        let flushed = self.client.flush(self.cluster.settings.request_timeout);
        flushed.map_err(|error| self.translate("flush", &error, None))?;
        self.client.client().context().take_failure().map_or(Ok(()), Err)
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
        // What is held back for larger batches goes on its way meanwhile.
        let _ = self.client.flush(Duration::ZERO);
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

/// Waits for what nobody tells of, in steps that grow.
struct Waiting<'a> {
    cluster: &'a Cluster,
    deadline: Duration,
    pause: Duration,
}

impl<'a> Waiting<'a> {
    /// For as long as a request may take.
    fn new(cluster: &'a Cluster) -> Self {
        let deadline = cluster.now().saturating_add(cluster.settings.request_timeout);
        Self { cluster, deadline, pause: FLUSH_PAUSES[0] }
    }

    fn is_over(&self) -> bool {
        self.cluster.now() >= self.deadline
    }

    fn pause(&mut self) {
        std::thread::park_timeout(self.pause);
        self.pause = (self.pause * 2).min(FLUSH_PAUSES[1]);
    }
}

fn record_bytes(record: &ProducerRecord<'_>) -> usize {
    let len = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let headers = record.headers.iter().map(|header| header.key.len() + len(header.value));
    RECORD_OVERHEAD_BYTES + len(record.key) + len(record.value) + headers.sum::<usize>()
}
