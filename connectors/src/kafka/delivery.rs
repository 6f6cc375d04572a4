//! What becomes of records that were sent: their receipts, and the first failure.

use std::collections::HashMap;
use std::sync::Arc;

use headwater_log_store::{Acknowledgement, Error, RecordMetadata, Result, TopicPartition};
use parking_lot::{Condvar, Mutex};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, ProducerContext};

use crate::kafka::context::{log, log_error};
use crate::kafka::convert::offset_of;
use crate::kafka::failure;

/// What librdkafka carries for a record that has no receipt.
pub(super) const WITHOUT_RECEIPT: usize = 0;

/// What has become of a transaction, for the receipts of its records.
#[derive(Clone, Debug)]
pub(super) enum Fate {
    Open,
    Committed,
    Failed(Error),
}

/// A transaction, shared by the receipts of its records.
pub(super) type Transaction = Arc<Mutex<Fate>>;

/// A record on its way.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) topic_partition: TopicPartition,
    pub(super) transaction: Option<Transaction>,
    outcome: Mutex<Option<Result<RecordMetadata>>>,
    arrived: Condvar,
}

impl Delivery {
    /// A record that is being sent.
    pub(super) fn new(topic_partition: TopicPartition, transaction: Option<Transaction>) -> Self {
        Self { topic_partition, transaction, outcome: Mutex::new(None), arrived: Condvar::new() }
    }

    fn arrive(&self, outcome: Result<RecordMetadata>) {
        *self.outcome.lock() = Some(outcome);
        self.arrived.notify_all();
    }
}

impl Acknowledgement for Delivery {
    fn wait(&self, _index: u64) -> Result<RecordMetadata> {
        if let Some(transaction) = &self.transaction {
            match &*transaction.lock() {
                Fate::Committed => {}
                Fate::Failed(error) => return Err(error.clone()),
                Fate::Open => {
                    return Err(Error::InvalidState {
                        operation: "wait",
                        reason: "the transaction is not committed".to_owned(),
                    });
                }
            }
        }
        let mut outcome = self.outcome.lock();
        loop {
            if let Some(outcome) = &*outcome {
                return outcome.clone();
            }
            self.arrived.wait(&mut outcome);
        }
    }
}

/// What librdkafka's producer calls back.
#[derive(Debug, Default)]
pub(super) struct WriterContext {
    /// Whether records are in transactions, so that the commit answers for them.
    transactional: bool,
    /// The first failure of a record outside of a transaction since the last flush.
    failure: Mutex<Option<Error>>,
    /// The records that have receipts.
    receipts: Mutex<Receipts>,
}

/// Records on their way, by the numbers that librdkafka carries for them.
#[derive(Debug, Default)]
struct Receipts {
    last: usize,
    deliveries: HashMap<usize, Arc<Delivery>>,
}

impl WriterContext {
    /// Of a producer that writes in transactions, or outside of them.
    pub(super) fn new(transactional: bool) -> Self {
        Self { transactional, ..Self::default() }
    }

    /// A record with a receipt is handed to librdkafka. Returns its number.
    pub(super) fn sent(&self, delivery: Arc<Delivery>) -> usize {
        let mut receipts = self.receipts.lock();
        // 0 is for records without a receipt.
        receipts.last = receipts.last.wrapping_add(1).max(1);
        let number = receipts.last;
        receipts.deliveries.insert(number, delivery);
        number
    }

    /// A record was refused by librdkafka, or its delivery is over.
    pub(super) fn arrived(&self, number: usize) -> Option<Arc<Delivery>> {
        match number {
            WITHOUT_RECEIPT => None,
            _ => self.receipts.lock().deliveries.remove(&number),
        }
    }

    /// The first failure since the last time.
    pub(super) fn take_failure(&self) -> Option<Error> {
        self.failure.lock().take()
    }
}

impl ClientContext for WriterContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ProducerContext for WriterContext {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        if let Err((error, _)) = result
            && !self.transactional
        {
            self.failure.lock().get_or_insert_with(|| failure::external("send", error));
        }
        let Some(delivery) = self.arrived(number) else { return };
        // Nobody has kept the receipt.
        if Arc::strong_count(&delivery) == 1 {
            return;
        }
        delivery.arrive(match result {
            Ok(message) => Ok(RecordMetadata {
                topic_partition: delivery.topic_partition.clone(),
                offset: offset_of(message.offset()),
            }),
            Err((error, _)) => Err(failure::external("send", error)),
        });
    }
}
