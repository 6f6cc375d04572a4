//! The records of a stream that wait for the rows of a versioned table: in the order of their times.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use headwater_log_store::{RecordView, Timestamp};

use crate::error::{BoxError, Error, Result};
use crate::record::Record;
use crate::serdes::SerdeRef;
use crate::store::layout::{read_bytes, read_headers, write_bytes, write_headers};
use crate::store::managed::{ChangelogRecord, ChangelogWriter, ManagedStore};
use crate::store::stream_times::StreamTimes;

/// The first byte of a changelog key, as Kafka's keys that begin with a time have it.
const TIME_FIRST: u8 = 0;

/// The first byte of a changelog value: which layout the others have.
const VERSION: u8 = 1;

/// Where a record stands: its time, the bytes of its key, and its number.
type Place = (i64, Vec<u8>, i32);

/// A change with what was there before.
type Undo<K, V> = (Place, Option<Record<K, V>>);

/// See the module.
///
/// The buffer has a clock of its own, the latest time of a record that was put into it. A record
/// waits until that clock has come a grace beyond its time.
pub(crate) struct JoinBuffer<K, V> {
    name: String,
    grace_ms: i64,
    rows: BTreeMap<Place, Record<K, V>>,
    /// The changes since the last commit.
    undo: Vec<Undo<K, V>>,
    times: StreamTimes,
    /// The number of the last record.
    sequence: i32,
    sequence_committed: i32,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
}

impl<K: Clone + 'static, V: Clone + 'static> JoinBuffer<K, V> {
    pub(crate) fn new(
        name: String,
        grace_ms: i64,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> Self {
        Self {
            name,
            grace_ms,
            rows: BTreeMap::new(),
            undo: Vec::new(),
            times: StreamTimes::new(1, true),
            sequence: 0,
            sequence_committed: 0,
            key_serde,
            value_serde,
        }
    }

    /// Whether a record of that time comes too late to wait.
    pub(crate) fn is_late(&self, timestamp: Timestamp) -> bool {
        self.due_ms().is_some_and(|due_ms| timestamp.as_millis() < due_ms)
    }

    /// Lets a record wait.
    pub(crate) fn put(&mut self, record: Record<K, V>) -> Result<(), BoxError> {
        let mut key_bytes = Vec::new();
        self.key_serde.serialize(&record.key, &mut key_bytes)?;
        // As in Kafka Streams the numbers begin anew after the largest.
        self.sequence = self.sequence.checked_add(1).unwrap_or(0);
        self.times.advance(0, record.timestamp.as_millis());
        let place = (record.timestamp.as_millis(), key_bytes, self.sequence);
        let before = self.rows.insert(place.clone(), record);
        self.undo.push((place, before));
        Ok(())
    }

    /// Takes out the first record that has waited long enough: by time, then by the bytes of the
    /// keys, then as they came.
    pub(crate) fn take_due(&mut self) -> Option<Record<K, V>> {
        let due_ms = self.due_ms()?;
        let first = self.rows.first_entry().filter(|first| first.key().0 <= due_ms)?;
        let (place, record) = first.remove_entry();
        self.undo.push((place, Some(record.clone())));
        Some(record)
    }

    /// The latest time whose records have waited long enough.
    fn due_ms(&self) -> Option<i64> {
        Some(self.times.get(0)?.saturating_sub(self.grace_ms))
    }

    fn write_value(&self, record: &Record<K, V>) -> Result<Vec<u8>, BoxError> {
        let (mut out, mut value) = (vec![VERSION], Vec::new());
        self.value_serde.serialize(&record.value, &mut value)?;
        write_bytes(Some(&value), &mut out)?;
        write_headers(&record.headers, &mut out)?;
        Ok(out)
    }

    fn read(&self, place: &Place, bytes: &[u8]) -> Result<Record<K, V>, BoxError> {
        let (&version, mut rest) = bytes.split_first().ok_or("its value is empty")?;
        if version != VERSION {
            return Err(format!("its layout is {version}, not {VERSION}").into());
        }
        let value = read_bytes(&mut rest)?.ok_or("its value is null")?;
        Ok(Record {
            key: self.key_serde.deserialize(&place.1)?,
            value: self.value_serde.deserialize(value)?,
            timestamp: Timestamp::from_millis(place.0),
            headers: read_headers(rest)?,
        })
    }
}

impl<K: Clone + 'static, V: Clone + 'static> ManagedStore for JoinBuffer<K, V> {
    fn resident_rows(&self) -> usize {
        self.rows.len()
    }

    fn format_name(&self) -> String {
        let (key, value) = (self.key_serde.format_name(), self.value_serde.format_name());
        format!("join buffer of {key} and {value}")
    }

    fn dirty_len(&self) -> usize {
        self.undo.len() + self.times.dirty_len()
    }

    fn log_changes(&self, write: &mut ChangelogWriter<'_>) -> Result<()> {
        let mut logged = BTreeSet::new();
        for (place, _) in &self.undo {
            if !logged.insert(place) {
                continue;
            }
            let value = self.rows.get(place).map(|record| self.write_value(record)).transpose();
            let value = value.map_err(|reason| Error::Serde {
                what: format!("a value of store {}", self.name),
                reason: reason.to_string(),
            })?;
            let key = write_place(place);
            write(ChangelogRecord {
                key: &key,
                value: value.as_deref(),
                timestamp: None,
                headers: None,
            })?;
        }
        self.times.log(write)
    }

    fn commit(&mut self) {
        self.undo.clear();
        self.times.commit();
        self.sequence_committed = self.sequence;
    }

    fn abort(&mut self) {
        while let Some((place, before)) = self.undo.pop() {
            match before {
                Some(record) => drop(self.rows.insert(place, record)),
                None => drop(self.rows.remove(&place)),
            }
        }
        self.times.abort();
        self.sequence = self.sequence_committed;
    }

    fn restore(&mut self, record: &RecordView<'_>) -> Result<(), BoxError> {
        let bytes = record.key.ok_or("its key is null")?;
        if self.times.restore(bytes, record.value)? {
            return Ok(());
        }
        let place = read_place(bytes).ok_or("its key is not that of a record that waits")?;
        match record.value {
            None => drop(self.rows.remove(&place)),
            Some(value) => {
                let record = self.read(&place, value)?;
                self.sequence = place.2;
                self.sequence_committed = self.sequence;
                self.rows.insert(place, record);
            }
        }
        Ok(())
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

/// The changelog's key: as Kafka's, the time before the key and the number after it.
fn write_place((time_ms, key, sequence): &Place) -> Vec<u8> {
    let mut bytes = vec![TIME_FIRST];
    bytes.extend_from_slice(&time_ms.to_be_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes
}

fn read_place(bytes: &[u8]) -> Option<Place> {
    let (_, rest) = bytes.split_first().filter(|(first, _)| **first == TIME_FIRST)?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let (key, sequence) = rest.split_last_chunk::<4>()?;
    Some((i64::from_be_bytes(*time), key.to_vec(), i32::from_be_bytes(*sequence)))
}

#[cfg(test)]
mod tests {
    use super::JoinBuffer;
    use crate::record::{Headers, Record};
    use crate::serdes::DefaultSerde;
    use crate::store::managed::ManagedStore;
    use headwater_log_store::Timestamp;

    fn buffer() -> JoinBuffer<String, String> {
        let serde = String::default_serde;
        JoinBuffer::new("s".to_owned(), 10, serde(), serde())
    }

    fn record(key: &str, value: &str, time_ms: i64) -> Record<String, String> {
        Record {
            key: key.to_owned(),
            value: value.to_owned(),
            timestamp: Timestamp::from_millis(time_ms),
            headers: Headers::none(),
        }
    }

    fn due(buffer: &mut JoinBuffer<String, String>) -> String {
        let values = std::iter::from_fn(|| buffer.take_due()).map(|record| record.value);
        values.collect()
    }

    #[test]
    fn records_leave_by_time_then_key_then_number() {
        let mut buffer = buffer();
        for (key, value, time_ms) in [("b", "3", 5), ("b", "4", 5), ("a", "2", 5), ("c", "1", 4)] {
            buffer.put(record(key, value, time_ms)).unwrap();
        }
        assert_eq!(due(&mut buffer), "");
        buffer.put(record("k", "5", 15)).unwrap();
        assert_eq!(due(&mut buffer), "1234");
        let late = |time_ms| buffer.is_late(Timestamp::from_millis(time_ms));
        assert_eq!((late(4), late(5)), (true, false));
    }

    #[test]
    fn an_abort_puts_records_the_clock_and_numbers_back() {
        let mut buffer = buffer();
        buffer.put(record("k", "a", 5)).unwrap();
        buffer.commit();
        buffer.put(record("k", "b", 15)).unwrap();
        assert_eq!(due(&mut buffer), "a");
        buffer.abort();
        assert_eq!((buffer.dirty_len(), buffer.sequence), (0, 1));
        assert!(!buffer.is_late(Timestamp::from_millis(0)));
        buffer.put(record("k", "c", 15)).unwrap();
        assert_eq!(due(&mut buffer), "a");
    }

    #[test]
    fn a_record_is_logged_under_its_time_its_key_and_its_number() {
        let mut buffer = buffer();
        buffer.put(record("k", "a", 5)).unwrap();
        let mut lines = Vec::new();
        let logged = buffer.log_changes(&mut |line| {
            lines.push((line.key.to_vec(), line.value.map(<[u8]>::to_vec)));
            Ok(())
        });
        logged.unwrap();
        let key = [0, 0, 0, 0, 0, 0, 0, 0, 5, b'k', 0, 0, 0, 1];
        let value = [1, 0, 0, 0, 1, b'a'];
        assert_eq!(lines.first(), Some(&(key.to_vec(), Some(value.to_vec()))));
        assert_eq!(lines.len(), 2, "the clock has a line of its own");
    }
}
