//! What becomes of records that were sent: their receipts, and the first failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

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
    /// The first failure of a record outside of a transaction since the last flush.
    failure: Mutex<Option<Error>>,
    on_their_way: AtomicUsize,
    /// Somebody waits until none is on its way.
    waits: Mutex<bool>,
    all_arrived: Condvar,
}

impl WriterContext {
    /// A record is handed to librdkafka.
    pub(super) fn sent(&self) {
        self.on_their_way.fetch_add(1, Ordering::SeqCst);
    }

    /// A record was refused by librdkafka, or its delivery is over.
    pub(super) fn arrived(&self) {
        if self.on_their_way.fetch_sub(1, Ordering::SeqCst) == 1 && *self.waits.lock() {
            self.all_arrived.notify_all();
        }
    }

    /// Waits until the delivery of all records is over, at most for `timeout`; `false` if that has
    /// passed. librdkafka's flush, as its bindings call it, looks only every 100 ms.
    pub(super) fn wait_until_arrived(&self, timeout: Duration) -> bool {
        let mut waits = self.waits.lock();
        *waits = true;
        let arrived = || self.on_their_way.load(Ordering::SeqCst) == 0;
        if !arrived() {
            self.all_arrived.wait_while_for(&mut waits, |_| !arrived(), timeout);
        }
        *waits = false;
        arrived()
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
    type DeliveryOpaque = Arc<Delivery>;

    fn delivery(&self, result: &DeliveryResult<'_>, delivery: Arc<Delivery>) {
        // Nobody has kept the receipt, and a transaction that lacks a record cannot be committed.
        let unasked = delivery.transaction.is_some() && Arc::strong_count(&delivery) == 1;
        if unasked && result.is_ok() {
            return self.arrived();
        }
        let outcome = match result {
            Ok(message) => Ok(RecordMetadata {
                topic_partition: delivery.topic_partition.clone(),
                offset: offset_of(message.offset()),
            }),
            Err((error, _)) => Err(failure::external("send", error)),
        };
        if let Err(error) = &outcome
            && delivery.transaction.is_none()
        {
            self.failure.lock().get_or_insert_with(|| error.clone());
        }
        delivery.arrive(outcome);
        self.arrived();
    }
}
