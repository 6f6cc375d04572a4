//! The input topics of a test, typed.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use headwater_log_store::{
    Clock, Header, ManualClock, PartitionId, Producer, ProducerRecord, Timestamp,
};

use crate::error::{BoxError, Error, Result};
use crate::record::Headers;
use crate::runtime::commit::CommitOutcome;
use crate::runtime::task_set::TaskSet;
use crate::serdes::{Serde, SerdeRef};
use crate::window::windowed::millis;

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
    pub(crate) clock: Arc<ManualClock>,
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
    /// The time of the next record that comes without one, in milliseconds.
    pub(crate) next_ms: Cell<Option<i64>>,
    pub(crate) auto_advance_ms: i64,
}

impl<K: 'static, V: 'static> TestInputTopic<K, V> {
    /// Gives records that are piped without a time one of their own: `start` to the first, and to
    /// each that follows `auto_advance` more. Default = the time of the driver's wall clock.
    ///
    /// ```
    /// # use headwater_log_store::Timestamp;
    /// # use headwater_topology::{StreamsBuilder, TopologyTestDriver};
    /// # use std::time::Duration;
    /// # let builder = StreamsBuilder::new();
    /// # builder.stream::<String, String>("in").to("out");
    /// # let driver = TopologyTestDriver::new(&builder.build()?)?;
    /// let start = Timestamp::from_millis(100);
    /// let input = driver.input_topic::<String, String>("in");
    /// let input = input.with_start(start, Duration::from_millis(10));
    /// input.pipe_key_values([("k", "a"), ("k", "b")])?;
    /// input.advance_time(Duration::from_millis(500));
    /// input.pipe_input("k", "c")?;
    /// let out = driver.output_topic::<String, String>("out")?.read_timed()?;
    /// let times: Vec<i64> = out.iter().map(|(_, _, time)| *time).collect();
    /// assert_eq!(times, [100, 110, 620]);
    /// # Ok::<(), headwater_topology::Error>(())
    /// ```
    #[must_use]
    pub fn with_start(self, start: Timestamp, auto_advance: Duration) -> Self {
        let next_ms = Cell::new(Some(start.as_millis()));
        Self { next_ms, auto_advance_ms: millis(auto_advance), ..self }
    }

    /// Moves the time of the next record that comes without one, from that of the driver's wall
    /// clock if the topic has none of its own yet.
    pub fn advance_time(&self, by: Duration) {
        let now_ms = || self.inner.borrow().clock.now().as_millis();
        let next_ms = self.next_ms.get().unwrap_or_else(now_ms);
        self.next_ms.set(Some(next_ms.saturating_add(millis(by))));
    }

    /// The time of a record that comes without one, and moves on.
    fn take_time(&self) -> Option<Timestamp> {
        let time_ms = self.next_ms.get()?;
        self.next_ms.set(Some(time_ms.saturating_add(self.auto_advance_ms)));
        Some(Timestamp::from_millis(time_ms))
    }

    /// Pipes a record with the time of the topic: see [`with_start`](Self::with_start).
    ///
    /// # Errors
    /// What stops the application, or a failure of the log.
    pub fn pipe_input(&self, key: impl Into<K>, value: impl Into<V>) -> Result<()> {
        let (key, value) = (self.key(&key.into())?, self.value(&value.into())?);
        self.pipe(None, (key, value), self.take_time(), &Headers::none())
    }

    /// As [`pipe_input`](Self::pipe_input), for a record without a key.
    ///
    /// # Errors
    /// As [`pipe_input`](Self::pipe_input).
    pub fn pipe_value(&self, value: impl Into<V>) -> Result<()> {
        let value = self.value(&value.into())?;
        self.pipe(None, (None, value), self.take_time(), &Headers::none())
    }

    /// As [`pipe_input`](Self::pipe_input), for a record without a value: a tombstone where the
    /// topic is read as a table.
    ///
    /// # Errors
    /// As [`pipe_input`](Self::pipe_input).
    pub fn pipe_tombstone(&self, key: impl Into<K>) -> Result<()> {
        let key = self.key(&key.into())?;
        self.pipe(None, (key, None), self.take_time(), &Headers::none())
    }

    /// Pipes records one after the other, each as [`pipe_input`](Self::pipe_input) does.
    ///
    /// # Errors
    /// As [`pipe_input`](Self::pipe_input).
    pub fn pipe_key_values(
        &self,
        records: impl IntoIterator<Item = (impl Into<K>, impl Into<V>)>,
    ) -> Result<()> {
        records.into_iter().try_for_each(|(key, value)| self.pipe_input(key, value))
    }

    /// Pipes records one after the other.
    ///
    /// # Errors
    /// As [`pipe_input`](Self::pipe_input).
    pub fn pipe_records<'a>(
        &self,
        records: impl IntoIterator<Item = &'a TestRecord<K, V>>,
    ) -> Result<()> {
        records.into_iter().try_for_each(|record| self.pipe_record(record))
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
        let bytes = (self.key(&record.key)?, self.value(&record.value)?);
        self.pipe(None, bytes, Some(record.timestamp), &record.headers)
    }

    /// Pipes a record into one partition, for drivers whose topics have several.
    ///
    /// # Errors
    /// As [`pipe_input`](Self::pipe_input).
    pub fn pipe_record_to(&self, partition: u32, record: &TestRecord<K, V>) -> Result<()> {
        let bytes = (self.key(&record.key)?, self.value(&record.value)?);
        let partition = Some(PartitionId::new(partition));
        self.pipe(partition, bytes, Some(record.timestamp), &record.headers)
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
        (key, value): (Option<Vec<u8>>, Option<Vec<u8>>),
        timestamp: Option<Timestamp>,
        headers: &Headers,
    ) -> Result<()> {
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

    fn key(&self, key: &K) -> Result<Option<Vec<u8>>> {
        self.bytes(&*self.key_serde, key)
    }

    fn value(&self, value: &V) -> Result<Option<Vec<u8>>> {
        self.bytes(&*self.value_serde, value)
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

pub(crate) fn serde_error(topic: &str, reason: &BoxError) -> Error {
    Error::Serde { what: format!("a record of {topic}"), reason: reason.to_string() }
}
