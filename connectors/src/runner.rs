//! Moves records from a source into a topic: a batch of records and the position after it are one
//! transaction.

use std::ops::ControlFlow;
use std::sync::Arc;

use headwater_log_store::{Log, Producer, ProducerConfig, ProducerRecord};

use crate::connector::{Source, SourceOffset};
use crate::error::{Error, Result};
use crate::position;

/// Moves the records of a [`Source`] into a topic, exactly once.
///
/// Each transaction holds a bounded batch of records and the position after them, so whatever
/// moment a run ends at, the next one goes on after the last record that is in the log. A second
/// run with the same connector name fences the first: it cannot commit any more.
///
/// ```
/// use std::ops::ControlFlow;
/// use std::sync::Arc;
/// use headwater_connectors::{FileSource, SourceRunner};
/// use headwater_log_store::{Log, LogStore, NewTopic};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("web.log");
/// # std::fs::write(&path, "one\ntwo\n")?;
/// let log: Arc<dyn Log> = Arc::new(LogStore::in_memory()?);
/// log.create_topic(&NewTopic::new("web-access"))?;
///
/// let runner = SourceRunner::new(log, "web-log-files", "web-access");
/// let progress = runner.run(&mut FileSource::new(&path), |progress| {
///     eprintln!("{} lines", progress.records);
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(progress.records, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SourceRunner {
    log: Arc<dyn Log>,
    connector: String,
    topic: String,
    batch_records_max: usize,
    batch_bytes_max: usize,
}

/// How far a run has come; given after each commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Records that this run has committed.
    pub records: u64,
    /// The bytes of their keys and values.
    pub bytes: u64,
    /// The position that is stored with them; `None` as long as nothing ever was.
    pub offset: Option<SourceOffset>,
}

/// Why a batch ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BatchEnd {
    Full,
    Drained,
}

impl SourceRunner {
    /// A runner that moves records into `topic` of `log`, and keeps the position under the name
    /// `connector`.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, connector: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            log,
            connector: connector.into(),
            topic: topic.into(),
            batch_records_max: 5_000,
            batch_bytes_max: 1 << 20,
        }
    }

    /// The most records in a transaction. Default = 5,000; at least 1.
    #[must_use]
    pub fn batch_records_max(mut self, records: usize) -> Self {
        self.batch_records_max = records.max(1);
        self
    }

    /// A transaction is committed when it holds this many encoded bytes, or half of what the log
    /// allows. Default = 1 MiB.
    #[must_use]
    pub fn batch_bytes_max(mut self, bytes: usize) -> Self {
        self.batch_bytes_max = bytes;
        self
    }

    /// Moves records until the source has no more, or `on_progress`, which is called after each
    /// commit, answers [`ControlFlow::Break`]. Returns what this run has moved.
    ///
    /// # Errors
    /// What the source or the log failed with. The open transaction is aborted; what was committed
    /// before stays, and another run goes on after it.
    pub fn run(
        &self,
        source: &mut dyn Source,
        mut on_progress: impl FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Progress> {
        self.run_batches(source, &mut on_progress)
    }

    fn run_batches(
        &self,
        source: &mut dyn Source,
        on_progress: &mut dyn FnMut(&Progress) -> ControlFlow<()>,
    ) -> Result<Progress> {
        position::create_topic(self.log.as_ref())
            .map_err(|error| self.log_error("cannot create the topic of the positions", error))?;
        // The producer comes first: it fences an older run, which could otherwise commit after
        // the position has been read.
        let config = ProducerConfig {
            transactional_id: Some(format!("connector-{}", self.connector)),
            without_receipts: true,
            ..ProducerConfig::default()
        };
        let mut producer = self
            .log
            .producer(&config)
            .map_err(|error| self.log_error("cannot begin to produce", error))?;
        let key = position::key(&self.connector, &source.partition());
        let offset = position::load(self.log.as_ref(), &self.connector, &key)?;
        source.start(offset.as_ref())?;

        let mut progress = Progress { records: 0, bytes: 0, offset };
        loop {
            let before = progress.records;
            let end = self.move_batch(source, producer.as_mut(), &key, &mut progress)?;
            let moved = progress.records > before;
            if (moved && on_progress(&progress).is_break()) || end == BatchEnd::Drained {
                return Ok(progress);
            }
        }
    }

    /// One transaction; it is aborted if anything fails.
    fn move_batch(
        &self,
        source: &mut dyn Source,
        producer: &mut dyn Producer,
        key: &[u8],
        progress: &mut Progress,
    ) -> Result<BatchEnd> {
        producer
            .begin_transaction()
            .map_err(|error| self.log_error("cannot begin a transaction", error))?;
        let mut batch = Progress { records: 0, bytes: 0, offset: None };
        let filled = self.fill_transaction(source, producer, key, &mut batch);
        if filled.is_ok() && batch.records > 0 {
            producer
                .commit_transaction()
                .map_err(|error| self.log_error("cannot commit a transaction", error))?;
            progress.records += batch.records;
            progress.bytes += batch.bytes;
            progress.offset = batch.offset;
        } else if let Err(error) = producer.abort_transaction() {
            // The failure that led here is the one to report; an abort writes nothing anyway.
            tracing::warn!(connector = self.connector, %error, "an abort failed");
        }
        filled
    }

    /// Sends records until the transaction is full or the source drained, then the position.
    fn fill_transaction(
        &self,
        source: &mut dyn Source,
        producer: &mut dyn Producer,
        key: &[u8],
        batch: &mut Progress,
    ) -> Result<BatchEnd> {
        let mut records = 0;
        let end = loop {
            let transaction = producer.transaction_bytes();
            let bytes_max = self.batch_bytes_max.min(transaction.max / 2);
            // One record is always taken, so that a batch of small limits moves on.
            if records >= self.batch_records_max || (records > 0 && transaction.used >= bytes_max) {
                break BatchEnd::Full;
            }
            let Some(record) = source.next_record()? else { break BatchEnd::Drained };
            let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
            let sent = producer.send_without_receipt(&ProducerRecord {
                topic: &self.topic,
                partition: None,
                key: record.key,
                value: record.value,
                timestamp: record.timestamp,
                headers: record.headers,
            });
            // The commit answers for the whole batch.
            sent.map_err(|error| {
                let operation = format!("cannot send {} to {}", source.place(), self.topic);
                self.log_error(operation, error)
            })?;
            records += 1;
            batch.bytes += bytes as u64;
        };
        if records > 0 {
            let offset = source.offset();
            let value = position::value(&offset);
            let sent = producer.send_without_receipt(&position::record(key, &value));
            sent.map_err(|error| self.log_error("cannot store its position", error))?;
            batch.offset = Some(offset);
            batch.records = records as u64;
        }
        Ok(end)
    }

    fn log_error(&self, operation: impl Into<String>, source: headwater_log_store::Error) -> Error {
        Error::Log {
            connector: self.connector.clone(),
            operation: operation.into(),
            source: Box::new(source),
        }
    }
}
