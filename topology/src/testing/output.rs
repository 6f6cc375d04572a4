//! The output topics of a test, typed.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use headwater_log_store::{Consumer, RecordView};

use crate::error::{BoxError, Error, Result};
use crate::record::Headers;
use crate::serdes::{Serde, SerdeRef};
use crate::testing::topics::{TestRecord, serde_error};

/// An output topic of a test, read from its beginning. Partitions are read one after the other.
pub struct TestOutputTopic<K, V> {
    pub(crate) consumer: RefCell<Box<dyn Consumer>>,
    pub(crate) topic: String,
    pub(crate) key_serde: SerdeRef<K>,
    pub(crate) value_serde: SerdeRef<V>,
    /// What was polled and not read yet.
    pub(crate) queue: RefCell<VecDeque<TestRecord<K, V>>>,
}

impl<K: 'static, V: 'static> TestOutputTopic<K, V> {
    /// The next record; `None` if there is none.
    ///
    /// # Errors
    /// `Serde` for a record that the types do not fit, or a failure of the log.
    pub fn read_record(&self) -> Result<Option<TestRecord<K, V>>> {
        self.poll()?;
        Ok(self.queue.borrow_mut().pop_front())
    }

    /// The key and value of the next record; `None` if there is none.
    ///
    /// # Errors
    /// As [`read_record`](Self::read_record).
    pub fn read_key_value(&self) -> Result<Option<(K, V)>> {
        Ok(self.read_record()?.map(|record| (record.key, record.value)))
    }

    /// The value of the next record; `None` if there is none.
    ///
    /// # Errors
    /// As [`read_record`](Self::read_record).
    pub fn read_value(&self) -> Result<Option<V>> {
        Ok(self.read_record()?.map(|record| record.value))
    }

    /// The records that have come since the last read.
    ///
    /// # Errors
    /// As [`read_record`](Self::read_record).
    pub fn read_records(&self) -> Result<Vec<TestRecord<K, V>>> {
        self.poll()?;
        Ok(self.queue.borrow_mut().drain(..).collect())
    }

    /// The keys and values that have come since the last read.
    ///
    /// # Errors
    /// As [`read_record`](Self::read_record).
    pub fn read_key_values(&self) -> Result<Vec<(K, V)>> {
        let records = self.read_records()?;
        Ok(records.into_iter().map(|record| (record.key, record.value)).collect())
    }

    /// The last value of each key that has come since the last read.
    ///
    /// # Errors
    /// As [`read_record`](Self::read_record).
    pub fn read_key_values_to_map(&self) -> Result<HashMap<K, V>>
    where
        K: Hash + Eq,
    {
        Ok(self.read_key_values()?.into_iter().collect())
    }

    /// The values that have come since the last read.
    ///
    /// # Errors
    /// As [`read_record`](Self::read_record).
    pub fn read_values(&self) -> Result<Vec<V>> {
        Ok(self.read_records()?.into_iter().map(|record| record.value).collect())
    }

    /// The keys, values and times in milliseconds that have come since the last read.
    ///
    /// # Errors
    /// As [`read_record`](Self::read_record).
    pub fn read_timed(&self) -> Result<Vec<(K, V, i64)>> {
        let records = self.read_records()?.into_iter();
        Ok(records.map(|record| (record.key, record.value, record.timestamp.as_millis())).collect())
    }

    /// How many records have come since the last read.
    ///
    /// # Errors
    /// As [`read_record`](Self::read_record).
    pub fn queue_size(&self) -> Result<usize> {
        self.poll()?;
        Ok(self.queue.borrow().len())
    }

    /// Whether no record has come since the last read.
    ///
    /// # Errors
    /// As [`read_record`](Self::read_record).
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.queue_size()? == 0)
    }

    fn poll(&self) -> Result<()> {
        let mut consumer = self.consumer.borrow_mut();
        loop {
            let reading = Error::log(format!("a read of {}", self.topic));
            let batches = consumer.poll(Duration::ZERO).map_err(reading)?;
            if batches.is_empty() {
                return Ok(());
            }
            for view in batches.iter().flat_map(|batch| batch.iter()) {
                let record = self.decode(&view);
                let record = record.map_err(|reason| serde_error(&self.topic, &reason))?;
                self.queue.borrow_mut().push_back(record);
            }
        }
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

impl<K, V> fmt::Debug for TestOutputTopic<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestOutputTopic").field("topic", &self.topic).finish_non_exhaustive()
    }
}
