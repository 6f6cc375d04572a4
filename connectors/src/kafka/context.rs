//! What librdkafka's consumers call back: rebalances are noted for the poll that finds them, and
//! somebody who waits is woken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::util::Timeout;

/// How often librdkafka's own events are looked at while a poll waits.
const EVENTS_INTERVAL: Duration = Duration::from_millis(100);

/// librdkafka's consumer as it is used here.
pub(super) type NativeConsumer = BaseConsumer<ReaderContext>;

/// A change of a group that waits for its member's answer.
#[derive(Debug)]
pub(super) enum Change {
    /// These partitions have come.
    Assign(TopicPartitionList),
    /// These partitions are to go.
    Revoke(TopicPartitionList),
}

/// See the module.
#[derive(Debug)]
pub(super) struct ReaderContext {
    changes: Mutex<VecDeque<Change>>,
    /// Whether nobody is there to answer: the consumer ends or unsubscribes.
    unattended: AtomicBool,
}

impl ReaderContext {
    /// No change yet.
    pub(super) fn new() -> Self {
        Self { changes: Mutex::new(VecDeque::new()), unattended: AtomicBool::new(false) }
    }

    /// The oldest change that nobody has answered.
    pub(super) fn next_change(&self) -> Option<Change> {
        self.changes.lock().pop_front()
    }

    /// Whether changes are to be answered without anybody being asked.
    pub(super) fn set_unattended(&self, unattended: bool) {
        self.unattended.store(unattended, Ordering::Release);
    }
}

impl ClientContext for ReaderContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log_error(&error, reason);
    }
}

impl ConsumerContext for ReaderContext {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        error: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let assigns = error == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.unattended.load(Ordering::Acquire) {
            let answered = match assigns {
                true => consumer.incremental_assign(&TopicPartitionList::new()),
                false => consumer.incremental_unassign(partitions),
            };
            if let Err(error) = answered {
                tracing::debug!(%error, "a rebalance was not answered");
            }
            return;
        }
        let partitions = partitions.clone();
        self.changes.lock().push_back(match assigns {
            true => Change::Assign(partitions),
            false => Change::Revoke(partitions),
        });
    }

    fn main_queue_min_poll_interval(&self) -> Timeout {
        Timeout::After(EVENTS_INTERVAL)
    }
}

/// Passes a line of librdkafka on.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        // It complains of a producer's configs in a consumer, and the other way round.
        RDKafkaLogLevel::Warning if facility == "CONFWARN" => {
            tracing::debug!(facility, "{message}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, "{message}"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, "{message}"),
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::error!(facility, "{message}"),
    }
}

/// Passes an error on that belongs to no call. librdkafka tries again by itself.
pub(super) fn log_error(error: &KafkaError, reason: &str) {
    tracing::debug!(%error, "{reason}");
}

/// Wakes a poll that waits.
#[derive(Clone, Debug, Default)]
pub(super) struct Bell(Arc<(Mutex<Rung>, Condvar)>);

#[derive(Debug, Default)]
struct Rung {
    /// Something has come.
    news: bool,
    /// Somebody asked for the poll to end.
    wake: bool,
}

impl Bell {
    /// Something has come.
    pub(super) fn news(&self) {
        self.0.0.lock().news = true;
        self.0.1.notify_all();
    }

    /// The poll is to end.
    pub(super) fn wake(&self) {
        self.0.0.lock().wake = true;
        self.0.1.notify_all();
    }

    /// Whether the poll is to end, once.
    pub(super) fn take_wake(&self) -> bool {
        std::mem::take(&mut self.0.0.lock().wake)
    }

    /// Waits until something has come since the last wait, at most for `timeout`.
    pub(super) fn wait(&self, timeout: Duration) {
        let mut rung = self.0.0.lock();
        if !rung.news && !rung.wake {
            self.0.1.wait_for(&mut rung, timeout.min(EVENTS_INTERVAL));
        }
        rung.news = false;
    }
}
