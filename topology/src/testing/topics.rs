//! The topics of a test, typed.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use headwater_log_store::{
    Consumer, Header, PartitionId, Producer, ProducerRecord, RecordView, Timestamp,
};

use crate::error::{BoxError, Error, Result};
use crate::record::Headers;
use crate::runtime::commit::CommitOutcome;
use crate::runtime::task_set::TaskSet;
use crate::serdes::{Serde, SerdeRef};

/// A record that a test writes or reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRecord<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// The event time.
    pub timestamp: Timestamp,
    /// The headers.
    pub headers: Headers,
}

impl<K, V> TestRecord<K, V> {
    /// A record without headers; the time is in milliseconds since 1970-01-01 UTC.
    #[must_use]
    pub fn new(key: impl Into<K>, value: impl Into<V>, timestamp_ms: i64) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
            timestamp: Timestamp::from_millis(timestamp_ms),
            headers: Headers::none(),
        }
    }

    /// The same record with headers.
    #[must_use]
    pub fn with_headers(self, headers: Headers) -> Self {
        Self { headers, ..self }
    }
}

/// What the topics of a test share with the driver.
pub(crate) struct Inner {
    pub(crate) tasks: Option<TaskSet>,
    pub(crate) producer: Box<dyn Producer>,
}

impl Inner {
    pub(crate) fn tasks(&mut self) -> Result<&mut TaskSet> {
        self.tasks.as_mut().ok_or_else(|| Error::NotRunning {
            operation: "a step of the test driver",
            reason: "was closed".to_owned(),
        })
    }

    /// Runs until nothing lies ahead, committing after each record that something hangs on.
    pub(crate) fn drain_one_by_one(&mut self) -> Result<()> {
        let each = if self.tasks()?.has_caches() { 1 } else { u64::MAX };
        self.drain(each)
    }

    /// Runs until nothing lies ahead, committing after that many records at most.
    pub(crate) fn drain(&mut self, records_per_commit: u64) -> Result<()> {
        let tasks = self.tasks()?;
        loop {
            let aborts = tasks.context.metrics.aborts;
            let polled = tasks.poll(Duration::ZERO)?;
            let processed = tasks.process(records_per_commit)?;
            let committed = tasks.commit()? == CommitOutcome::Committed;
            let moved = tasks.advance_replay()?;
            let redo = tasks.context.metrics.aborts > aborts;
            if polled == 0 && processed == 0 && !committed && !moved && !redo {
                return Ok(());
            }
        }
    }
}

/// An input topic of a test. Piping a record processes it, and everything that follows from it.
pub struct TestInputTopic<K, V> {
    pub(crate) inner: Rc<RefCell<Inner>>,
    pub(crate) topic: String,
    pub(crate) key_serde: SerdeRef<K>,
    pub(crate) value_serde: SerdeRef<V>,
}

impl<K: 'static, V: 'static> TestInputTopic<K, V> {
    /// Pipes a record with the time of the driver's wall clock.
    ///
    /// # Errors
    /// What stops the application, or a failure of the log.
    pub fn pipe_input(&self, key: impl Into<K>, value: impl Into<V>) -> Result<()> {
        self.pipe(None, &key.into(), &value.into(), None, &Headers::none())
    }

    /// Pipes a record with a time in milliseconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// As [`pipe_input`](Self::pipe_input).
    pub fn pipe_input_at(
        &self,
        key: impl Into<K>,
        value: impl Into<V>,
        timestamp_ms: i64,
    ) -> Result<()> {
        self.pipe_record(&TestRecord::new(key, value, timestamp_ms))
    }

    /// Pipes a record.
    ///
    /// # Errors
    /// As [`pipe_input`](Self::pipe_input).
    pub fn pipe_record(&self, record: &TestRecord<K, V>) -> Result<()> {
        let timestamp = Some(record.timestamp);
        self.pipe(None, &record.key, &record.value, timestamp, &record.headers)
    }

    /// Pipes a record into one partition, for drivers whose topics have several.
    ///
    /// # Errors
    /// As [`pipe_input`](Self::pipe_input).
    pub fn pipe_record_to(&self, partition: u32, record: &TestRecord<K, V>) -> Result<()> {
        let (partition, timestamp) = (Some(PartitionId::new(partition)), Some(record.timestamp));
        self.pipe(partition, &record.key, &record.value, timestamp, &record.headers)
    }

    /// Pipes bytes as they are, for tests of what cannot be deserialized.
    ///
    /// # Errors
    /// As [`pipe_input`](Self::pipe_input).
    pub fn pipe_bytes(
        &self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        timestamp_ms: i64,
    ) -> Result<()> {
        let mut inner = self.inner.borrow_mut();
        let sent = inner.producer.send(&ProducerRecord {
            key,
            value,
            timestamp: Some(Timestamp::from_millis(timestamp_ms)),
            ..ProducerRecord::to(&self.topic)
        });
        self.finish(&mut inner, sent.map(drop))
    }

    fn pipe(
        &self,
        partition: Option<PartitionId>,
        key: &K,
        value: &V,
        timestamp: Option<Timestamp>,
        headers: &Headers,
    ) -> Result<()> {
        let key = self.bytes(&*self.key_serde, key)?;
        let value = self.bytes(&*self.value_serde, value)?;
        let headers: Vec<Header<'_>> = headers.iter().collect();
        let mut inner = self.inner.borrow_mut();
        let sent = inner.producer.send(&ProducerRecord {
            topic: &self.topic,
            partition,
            key: key.as_deref(),
            value: value.as_deref(),
            timestamp,
            headers: &headers,
        });
        self.finish(&mut inner, sent.map(drop))
    }

    fn finish(&self, inner: &mut Inner, sent: headwater_log_store::Result<()>) -> Result<()> {
        let failed = || format!("a send to {}", self.topic);
        sent.and_then(|()| inner.producer.flush()).map_err(Error::log(failed()))?;
        inner.drain_one_by_one()
    }

    fn bytes<T: 'static>(&self, serde: &dyn Serde<T>, value: &T) -> Result<Option<Vec<u8>>> {
        if serde.is_null(value) {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        serde.serialize(value, &mut bytes).map_err(|reason| serde_error(&self.topic, &reason))?;
        Ok(Some(bytes))
    }
}

impl<K, V> fmt::Debug for TestInputTopic<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestInputTopic").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// An output topic of a test, read from its beginning. Partitions are read one after the other.
pub struct TestOutputTopic<K, V> {
    pub(crate) consumer: RefCell<Box<dyn Consumer>>,
    pub(crate) topic: String,
    pub(crate) key_serde: SerdeRef<K>,
    pub(crate) value_serde: SerdeRef<V>,
}

impl<K: 'static, V: 'static> TestOutputTopic<K, V> {
    /// The records that have come since the last read.
    ///
    /// # Errors
    /// `Serde` for a record that the types do not fit, or a failure of the log.
    pub fn read_records(&self) -> Result<Vec<TestRecord<K, V>>> {
        let mut records = Vec::new();
        let mut consumer = self.consumer.borrow_mut();
        loop {
            let reading = Error::log(format!("a read of {}", self.topic));
            let batches = consumer.poll(Duration::ZERO).map_err(reading)?;
            if batches.is_empty() {
                return Ok(records);
            }
            for view in batches.iter().flat_map(|batch| batch.iter()) {
                let record = self.decode(&view);
                records.push(record.map_err(|reason| serde_error(&self.topic, &reason))?);
            }
        }
    }

    /// The keys and values that have come since the last read.
    ///
    /// # Errors
    /// As [`read_records`](Self::read_records).
    pub fn read_key_values(&self) -> Result<Vec<(K, V)>> {
        let records = self.read_records()?;
        Ok(records.into_iter().map(|record| (record.key, record.value)).collect())
    }

    /// The keys, values and times in milliseconds that have come since the last read.
    ///
    /// # Errors
    /// As [`read_records`](Self::read_records).
    pub fn read_timed(&self) -> Result<Vec<(K, V, i64)>> {
        let records = self.read_records()?.into_iter();
        Ok(records.map(|record| (record.key, record.value, record.timestamp.as_millis())).collect())
    }

    fn decode(&self, view: &RecordView<'_>) -> Result<TestRecord<K, V>, BoxError> {
        Ok(TestRecord {
            key: decode(&*self.key_serde, view.key)?,
            value: decode(&*self.value_serde, view.value)?,
            timestamp: view.timestamp,
            headers: Headers::copied(&view.headers, None),
        })
    }
}

fn decode<T: 'static>(serde: &dyn Serde<T>, bytes: Option<&[u8]>) -> Result<T, BoxError> {
    match bytes {
        Some(bytes) => serde.deserialize(bytes),
        None => serde.null().ok_or_else(|| "it is null, and the type has no null".into()),
    }
}

fn serde_error(topic: &str, reason: &BoxError) -> Error {
    Error::Serde { what: format!("a record of {topic}"), reason: reason.to_string() }
}

impl<K, V> fmt::Debug for TestOutputTopic<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestOutputTopic").field("topic", &self.topic).finish_non_exhaustive()
    }
}
