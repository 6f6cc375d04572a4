//! What the nodes of all tasks of a worker share: the way out to the log, the handlers and the
//! counters, and which record they work on.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    Clock, Error as LogError, Log, PartitionId, Producer, ProducerRecord, RecordView, Timestamp,
};

use crate::current::Current;
use crate::error::{Error, RecordPosition};
use crate::error_handler::{Failure, Handlers};
use crate::metrics::{DropReason, MetricsSnapshot};
use crate::record::Headers;
use crate::types::{NodeId, TaskId};

/// The result of one step: an error means that the work since the last commit is void.
pub(crate) type Step<T = ()> = Result<T, Box<Failure>>;

/// The header that says which task wrote a record of a repartition topic. Without it, that was the
/// first one.
pub(crate) const WRITER_HEADER: &str = "__headwater.task";

/// A topic as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedTopic {
    /// The name in the log, with the application's prefix for internal topics.
    pub(crate) name: Arc<str>,
    pub(crate) partitions: u32,
}

/// Where dead letters go.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetterTopic {
    pub(crate) topic: ResolvedTopic,
}

/// Keeps apart the moments at which operators look for results that have become final. It only
/// saves work: what is found later is the same.
#[derive(Clone, Debug)]
pub(crate) struct EmitTimer {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) interval: Duration,
    /// Whether records are replayed: results must then not depend on the wall clock.
    pub(crate) replaying: bool,
}

impl EmitTimer {
    /// Whether it is time to look; `next_ms` is the operator's own note.
    pub(crate) fn is_due(&self, next_ms: &mut i64) -> bool {
        if self.replaying || self.interval.is_zero() {
            return true;
        }
        let now_ms = self.clock.now().as_millis();
        if now_ms < *next_ms {
            return false;
        }
        let interval_ms = i64::try_from(self.interval.as_millis()).unwrap_or(i64::MAX);
        *next_ms = now_ms.saturating_add(interval_ms);
        true
    }
}

/// What things are called.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    pub(crate) application_id: Arc<str>,
    /// The nodes, by their ids.
    pub(crate) nodes: Arc<[String]>,
}

/// What the nodes of all tasks of a worker share: the way out, the counters, and where we are.
pub(crate) struct Context {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) producer: Box<dyn Producer>,
    /// Whether records of repartition topics say which task has written them, for replays to read
    /// them in the same order: a cluster promises no order, so it is spared the bytes.
    pub(crate) marks_writers: bool,
    pub(crate) transactional: bool,
    pub(crate) transaction_open: bool,
    pub(crate) current: Current,
    pub(crate) metrics: MetricsSnapshot,
    pub(crate) handlers: Handlers,
    pub(crate) dead_letters: Option<DeadLetterTopic>,
    /// How often each record since the last commit has failed and was to be tried again.
    pub(crate) retries: BTreeMap<RecordPosition, u32>,
    pub(crate) emit_timer: EmitTimer,
    /// How far ahead of the wall clock a timestamp may be, in milliseconds.
    pub(crate) max_ahead_ms: Option<i64>,
    /// A failure that came back from below to a processor, which does not see it.
    pub(crate) pending_failure: Option<Box<Failure>>,
    /// Whether a processor wants what it has done to be committed soon.
    pub(crate) commit_requested: bool,
    application_id: Arc<str>,
    node_names: Arc<[String]>,
    pub(crate) key_buffer: Vec<u8>,
    pub(crate) value_buffer: Vec<u8>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

impl Context {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        producer: Box<dyn Producer>,
        transactional: bool,
        handlers: Handlers,
        dead_letters: Option<DeadLetterTopic>,
        names: Names,
        emit_timer: EmitTimer,
    ) -> Self {
        Self {
            marks_writers: log.is_embedded(),
            log,
            producer,
            transactional,
            transaction_open: false,
            current: Current {
                batch: None,
                index: 0,
                node: 0,
                task: TaskId { subtopology: 0, partition: 0 },
                stream_time: None,
                punctuation: None,
                time: Timestamp::from_millis(0),
            },
            metrics: MetricsSnapshot::default(),
            handlers,
            dead_letters,
            retries: BTreeMap::new(),
            emit_timer,
            max_ahead_ms: None,
            pending_failure: None,
            commit_requested: false,
            application_id: names.application_id,
            node_names: names.nodes,
            key_buffer: Vec::new(),
            value_buffer: Vec::new(),
        }
    }

    /// Why a record of that time is not to be taken, if it is too far ahead of the wall clock.
    #[inline]
    pub(crate) fn too_far_ahead(&self, timestamp: Timestamp) -> Option<String> {
        let max_ahead_ms = self.max_ahead_ms?;
        let now_ms = self.emit_timer.clock.now().as_millis();
        let ahead_ms = timestamp.as_millis().saturating_sub(now_ms);
        (ahead_ms > max_ahead_ms)
            .then(|| format!("its timestamp {timestamp} is {ahead_ms} ms ahead of the wall clock"))
    }

    /// Notes which node runs a closure now, for the report if it panics.
    #[inline]
    pub(crate) fn enter(&mut self, node: NodeId) {
        self.current.node = node.index();
    }

    #[inline]
    pub(crate) fn drop_record(&mut self, reason: DropReason) {
        self.metrics.count_dropped(reason);
    }

    /// Forgets what a step that was taken back has left.
    pub(crate) fn forget_step(&mut self) {
        self.current.batch = None;
        self.current.punctuation = None;
        self.pending_failure = None;
        self.commit_requested = false;
    }

    /// Where the current record is: nowhere while a punctuator runs.
    pub(crate) fn position(&self) -> Option<RecordPosition> {
        let batch = self.current.batch.as_ref()?;
        let view = batch.get(self.current.index)?;
        let topic_partition = batch.topic_partition().clone();
        Some(RecordPosition { topic_partition, offset: view.offset })
    }

    pub(crate) fn application_id(&self) -> &str {
        &self.application_id
    }

    pub(crate) fn current_node_name(&self) -> String {
        self.node_names.get(self.current.node).cloned().unwrap_or_default()
    }

    /// A topic that a record names.
    pub(crate) fn find_topic(&self, name: &str) -> Result<ResolvedTopic, LogError> {
        let found = self.log.describe_topic(name)?;
        Ok(ResolvedTopic { name: found.name.as_str().into(), partitions: found.partitions })
    }

    /// Sends a record within the transaction, which begins with the first one. One that the log
    /// refuses stops the application.
    pub(crate) fn send(&mut self, record: &ProducerRecord<'_>) -> Step {
        self.try_send(record)?
            .map_err(|source| Error::log(format!("a send to {}", record.topic))(source).into())
    }

    /// As [`send`](Self::send); the inner error is that of a record which the log refuses, all
    /// others being fine: nothing was written.
    #[inline]
    pub(crate) fn try_send(&mut self, record: &ProducerRecord<'_>) -> Step<Result<(), LogError>> {
        self.begin_transaction()?;
        // No receipt is needed: the commit (or the flush before it) answers for all.
        match self.producer.send_without_receipt(record) {
            Ok(()) => {
                self.metrics.records_out += 1;
                Ok(Ok(()))
            }
            Err(source) => refused(record.topic, source),
        }
    }

    #[inline]
    pub(crate) fn begin_transaction(&mut self) -> Step {
        if self.transactional && !self.transaction_open {
            self.producer
                .begin_transaction()
                .map_err(|source| Box::from(Error::log("the begin of a transaction")(source)))?;
            self.transaction_open = true;
        }
        Ok(())
    }
}

/// A record without a key keeps the partition number of the task that writes it, as far as the
/// topic has it: a producer's free choice would make two replays differ.
pub(crate) fn partition_for_task(task_partition: u32, partitions: u32) -> PartitionId {
    PartitionId::new(task_partition.checked_rem(partitions).unwrap_or(0))
}

pub(crate) fn valid(timestamp: Timestamp) -> Option<Timestamp> {
    (timestamp.as_millis() >= 0).then_some(timestamp)
}

/// What it means that a send has failed.
#[cold]
fn refused(topic: &str, source: LogError) -> Step<Result<(), LogError>> {
    if is_about_the_record(&source) {
        return Ok(Err(source));
    }
    let full = matches!(source, LogError::TransactionTooLarge { .. });
    let error = Error::log(format!("a send to {topic}"))(source);
    Err(Box::new(if full { Failure::TransactionFull(error) } else { Failure::Fatal(error) }))
}

/// Whether a log refuses a record for what it is or where it is to go.
fn is_about_the_record(error: &LogError) -> bool {
    matches!(
        error,
        LogError::RecordTooLarge { .. }
            | LogError::InvalidRecord { .. }
            | LogError::UnknownTopic { .. }
            | LogError::UnknownPartition { .. }
    )
}

/// The headers of a source record; those of a repartition topic without the writing task.
pub(crate) fn source_headers(view: &RecordView<'_>, repartition: bool) -> Headers {
    Headers::copied(&view.headers, repartition.then_some(WRITER_HEADER))
}

/// The partition number of the task that wrote a record of a repartition topic.
pub(crate) fn writer_of(view: &RecordView<'_>) -> Option<PartitionId> {
    let value = view.headers.last(WRITER_HEADER)?.value?;
    Some(PartitionId::new(u32::from_be_bytes(value.try_into().ok()?)))
}
