//! What the nodes of all tasks of a worker share: the way out to the log, the handlers and the
//! counters, and which record they work on.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    Clock, Error as LogError, Header, Log, PartitionId, Producer, ProducerRecord, RecordBatch,
    RecordView, Timestamp, partition_for_key,
};

use crate::error::{BoxError, Error, RecordPosition};
use crate::error_handler::{
    ErrorResponse, FailedRecord, Failure, FailureKind, Handlers, RETRIES_MAX,
};
use crate::metrics::{DropReason, MetricsSnapshot};
use crate::record::{Headers, Record};
use crate::serdes::Serde;
use crate::types::NodeId;

/// The result of one step: an error means that the work since the last commit is void.
pub(crate) type Step<T = ()> = Result<T, Box<Failure>>;

/// The header that says which task wrote a record of a repartition topic.
pub(crate) const WRITER_HEADER: &str = "__headwater.task";

/// A topic as it is in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ResolvedTopic {
    /// The name in the log, with the application's prefix for internal topics.
    pub(crate) name: Arc<str>,
    pub(crate) partitions: u32,
}

/// The record that a task works on.
#[derive(Clone, Default)]
pub(crate) struct Current {
    pub(crate) batch: Option<Rc<RecordBatch>>,
    pub(crate) index: usize,
    pub(crate) node: usize,
    pub(crate) task_partition: u32,
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

/// What the nodes of all tasks of a worker share: the way out, the counters, and where we are.
pub(crate) struct Context {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) producer: Box<dyn Producer>,
    pub(crate) transactional: bool,
    pub(crate) transaction_open: bool,
    pub(crate) current: Current,
    pub(crate) metrics: MetricsSnapshot,
    pub(crate) handlers: Handlers,
    pub(crate) dead_letters: Option<DeadLetterTopic>,
    /// How often each record since the last commit has failed and was to be tried again.
    pub(crate) retries: BTreeMap<RecordPosition, u32>,
    pub(crate) emit_timer: EmitTimer,
    node_names: Arc<[String]>,
    key_buffer: Vec<u8>,
    value_buffer: Vec<u8>,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("metrics", &self.metrics).finish_non_exhaustive()
    }
}

/// A record that failed, kept beyond the borrow of its batch.
#[derive(Clone, Debug)]
pub(crate) struct FailureReport {
    pub(crate) kind: FailureKind,
    pub(crate) node: String,
    pub(crate) reason: String,
    /// What it is counted as if it is skipped.
    pub(crate) dropped: DropReason,
}

impl Context {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        producer: Box<dyn Producer>,
        transactional: bool,
        handlers: Handlers,
        dead_letters: Option<DeadLetterTopic>,
        node_names: Arc<[String]>,
        emit_timer: EmitTimer,
    ) -> Self {
        Self {
            log,
            producer,
            transactional,
            transaction_open: false,
            current: Current::default(),
            metrics: MetricsSnapshot::default(),
            handlers,
            dead_letters,
            retries: BTreeMap::new(),
            emit_timer,
            node_names,
            key_buffer: Vec::new(),
            value_buffer: Vec::new(),
        }
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

    /// Where the current record is.
    pub(crate) fn position(&self) -> RecordPosition {
        let batch = self.current.batch.as_ref().expect("a task works on a record");
        let view = batch.get(self.current.index).expect("the index lies in the batch");
        RecordPosition { topic_partition: batch.topic_partition().clone(), offset: view.offset }
    }

    pub(crate) fn current_node_name(&self) -> String {
        self.node_names.get(self.current.node).cloned().unwrap_or_default()
    }

    /// The node that runs has failed on the current record: asks the handler and does as it says.
    /// `Ok` means to go on without the record.
    pub(crate) fn fail(&mut self, kind: FailureKind, reason: impl fmt::Display) -> Step {
        self.fail_as(DropReason::Failed, kind, reason)
    }

    /// As [`fail`](Self::fail), for a record that is counted as `dropped` if it is skipped.
    pub(crate) fn fail_as(
        &mut self,
        dropped: DropReason,
        kind: FailureKind,
        reason: impl fmt::Display,
    ) -> Step {
        let (node, reason) = (self.current_node_name(), reason.to_string());
        let report = FailureReport { kind, node, reason, dropped };
        let response = self.ask(&report);
        self.apply(response, &report)
    }

    /// The handler's answer for the current record.
    pub(crate) fn ask(&self, report: &FailureReport) -> ErrorResponse {
        let position = self.position();
        let batch = self.current.batch.as_ref().expect("a task works on a record");
        let view = batch.get(self.current.index).expect("the index lies in the batch");
        let retries = self.retries.get(&position).copied().unwrap_or_default();
        let response = self.handlers.for_kind(report.kind).handle(&FailedRecord {
            kind: report.kind,
            position: &position,
            node: &report.node,
            reason: &report.reason,
            key: view.key,
            value: view.value,
            timestamp: view.timestamp,
            retries,
        });
        if response == ErrorResponse::Retry && retries >= RETRIES_MAX {
            return ErrorResponse::Fail;
        }
        response
    }

    /// Does what a handler has answered for the current record.
    pub(crate) fn apply(&mut self, response: ErrorResponse, report: &FailureReport) -> Step {
        let position = self.position();
        match response {
            ErrorResponse::Fail => {
                let (node, reason) = (report.node.clone(), report.reason.clone());
                Err(Error::Processing { position, node, reason }.into())
            }
            ErrorResponse::Retry => Err(Box::new(Failure::Retry { position })),
            ErrorResponse::Skip => {
                tracing::warn!(%position, node = report.node, reason = report.reason, "skipped");
                self.drop_record(report.dropped);
                Ok(())
            }
            ErrorResponse::DeadLetter => {
                self.drop_record(DropReason::Failed);
                self.send_dead_letter(position, report)
            }
        }
    }

    fn send_dead_letter(&mut self, position: RecordPosition, report: &FailureReport) -> Step {
        let Some(DeadLetterTopic { topic }) = self.dead_letters.clone() else {
            let (node, reason) = (report.node.clone(), report.reason.clone());
            return Err(Error::NoDeadLetterTopic { position, node, reason }.into());
        };
        let batch = Rc::clone(self.current.batch.as_ref().expect("a task works on a record"));
        let view = batch.get(self.current.index).expect("the index lies in the batch");
        let kind = report.kind.to_string();
        let trace = format!("{kind} at {} of {position}", report.node);
        let partition = position.topic_partition.partition.to_string();
        let offset = position.offset.to_string();
        let own = view.headers.iter().filter(|header| header.key != WRITER_HEADER);
        let mut headers: Vec<Header<'_>> = own.collect();
        let about = [
            ("__streams.errors.exception", kind.as_str()),
            ("__streams.errors.message", report.reason.as_str()),
            ("__streams.errors.stacktrace", trace.as_str()),
            ("__streams.errors.topic", position.topic_partition.topic.as_str()),
            ("__streams.errors.partition", partition.as_str()),
            ("__streams.errors.offset", offset.as_str()),
        ];
        headers
            .extend(about.iter().map(|(key, value)| Header { key, value: Some(value.as_bytes()) }));
        let target = match view.key {
            Some(key) => partition_for_key(key, topic.partitions),
            None => partition_for_task(self.current.task_partition, topic.partitions),
        };
        self.metrics.dead_letters += 1;
        self.send(&ProducerRecord {
            topic: &topic.name,
            partition: Some(target),
            key: view.key,
            value: view.value,
            timestamp: valid(view.timestamp),
            headers: &headers,
        })
    }

    /// Serializes a record and sends it, to that partition or else to that of its key. A key or value that cannot be serialized goes to the
    /// processing handler.
    pub(crate) fn send_typed<K: 'static, V: 'static>(
        &mut self,
        target: &SinkTarget,
        serdes: (&dyn Serde<K>, &dyn Serde<V>),
        record: &Record<K, V>,
        partition: Option<u32>,
    ) -> Step {
        let mut key_bytes = std::mem::take(&mut self.key_buffer);
        let mut value_bytes = std::mem::take(&mut self.value_buffer);
        key_bytes.clear();
        value_bytes.clear();
        let serialized = serialize(serdes.0, &record.key, &mut key_bytes)
            .and_then(|key| Ok((key, serialize(serdes.1, &record.value, &mut value_bytes)?)));
        let result = match serialized {
            Err(reason) => self.fail(FailureKind::Processing, reason),
            Ok((key_is_some, value_is_some)) => {
                let len = serdes.0.partition_bytes_len(&key_bytes);
                let partition = match key_bytes.get(..len).filter(|_| key_is_some) {
                    _ if partition.is_some() => PartitionId::new(partition.unwrap_or_default()),
                    Some(bytes) => partition_for_key(bytes, target.topic.partitions),
                    None => {
                        partition_for_task(self.current.task_partition, target.topic.partitions)
                    }
                };
                let writer = self.current.task_partition.to_be_bytes();
                let header = Header { key: WRITER_HEADER, value: Some(&writer) };
                let one = [header];
                let many: Vec<Header<'_>>;
                let headers: &[Header<'_>] = match (record.headers.is_empty(), target.writer) {
                    (true, true) => &one,
                    (true, false) => &[],
                    (false, writer) => {
                        many = record.headers.iter().chain(writer.then_some(header)).collect();
                        &many
                    }
                };
                self.send(&ProducerRecord {
                    topic: &target.topic.name,
                    partition: Some(partition),
                    key: key_is_some.then_some(&key_bytes[..]),
                    value: value_is_some.then_some(&value_bytes[..]),
                    timestamp: valid(record.timestamp),
                    headers,
                })
            }
        };
        self.key_buffer = key_bytes;
        self.value_buffer = value_bytes;
        result
    }

    /// A topic that a record names.
    pub(crate) fn find_topic(&self, name: &str) -> Result<ResolvedTopic, LogError> {
        let found = self.log.describe_topic(name)?;
        Ok(ResolvedTopic { name: found.name.as_str().into(), partitions: found.partitions })
    }

    /// Sends a record within the transaction, which begins with the first one.
    pub(crate) fn send(&mut self, record: &ProducerRecord<'_>) -> Step {
        self.begin_transaction()?;
        self.metrics.records_out += 1;
        match self.producer.send(record) {
            // The receipt is not needed: the commit (or the flush before it) answers for all.
            Ok(_receipt) => Ok(()),
            Err(source) => {
                let full = matches!(source, LogError::TransactionTooLarge { .. });
                let error = Error::log(format!("a send to {}", record.topic))(source);
                Err(Box::new(if full {
                    Failure::TransactionFull(error)
                } else {
                    Failure::Fatal(error)
                }))
            }
        }
    }

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
fn partition_for_task(task_partition: u32, partitions: u32) -> PartitionId {
    PartitionId::new(task_partition.checked_rem(partitions).unwrap_or(0))
}

fn valid(timestamp: Timestamp) -> Option<Timestamp> {
    (timestamp.as_millis() >= 0).then_some(timestamp)
}

/// Appends the bytes of a value; `false` is a null.
fn serialize<T: 'static>(
    serde: &dyn Serde<T>,
    value: &T,
    buffer: &mut Vec<u8>,
) -> Result<bool, BoxError> {
    if serde.is_null(value) {
        return Ok(false);
    }
    serde.serialize(value, buffer)?;
    Ok(true)
}

/// Where a sink writes.
#[derive(Clone, Debug)]
pub(crate) struct SinkTarget {
    pub(crate) topic: ResolvedTopic,
    /// Whether records carry the task that wrote them.
    pub(crate) writer: bool,
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
