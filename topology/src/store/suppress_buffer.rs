//! The updates of a table that a suppression holds back: by key, and in the order of their times.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use hashbrown::HashMap;
use headwater_log_store::{RecordView, Timestamp};

use crate::error::{BoxError, Error, Result};
use crate::record::{Change, Record};
use crate::serdes::SerdeRef;
use crate::store::layout::{read_bytes, read_headers, write_bytes, write_headers};
use crate::store::managed::{ChangelogRecord, ChangelogWriter, ManagedStore};
use crate::store::stream_times::{StreamTimes, beside_times, from_beside_times};

/// The first byte of a changelog value: which layout the others have.
const VERSION: u8 = 1;

/// Where an update stands: its buffer time, then the bytes of its key.
type Place = (i64, Vec<u8>);

/// An update that is held back.
#[derive(Clone, Debug)]
pub(crate) struct Held<K, V> {
    pub(crate) record: Record<K, Change<V>>,
    /// The value that those downstream know.
    pub(crate) prior: Option<V>,
    bytes: u64,
}

/// A change with what was there before.
type Undo<K, V> = (Place, Option<Held<K, V>>);

/// See the module.
pub(crate) struct SuppressBuffer<K, V> {
    name: String,
    rows: BTreeMap<Place, Held<K, V>>,
    /// The buffer times by the bytes of their keys.
    times_by_key: HashMap<Vec<u8>, i64>,
    bytes: u64,
    counts_bytes: bool,
    /// The changes since the last commit.
    undo: Vec<Undo<K, V>>,
    /// The stream time of the suppression.
    times: StreamTimes,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
}

impl<K: Clone + 'static, V: Clone + 'static> SuppressBuffer<K, V> {
    pub(crate) fn new(
        name: String,
        counts_bytes: bool,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> Self {
        Self {
            name,
            rows: BTreeMap::new(),
            times_by_key: HashMap::new(),
            bytes: 0,
            counts_bytes,
            undo: Vec::new(),
            times: StreamTimes::new(1, true),
            key_serde,
            value_serde,
        }
    }

    /// Advances the suppression's stream time to `timestamp` if that is later, and returns it.
    pub(crate) fn observe(&mut self, timestamp: Timestamp) -> i64 {
        self.times.advance(0, timestamp.as_millis())
    }

    /// Holds an update back: in the place of the one that is held of its key, if there is one.
    pub(crate) fn put(
        &mut self,
        time_ms: i64,
        record: Record<K, Change<V>>,
    ) -> Result<(), BoxError> {
        let mut key_bytes = Vec::new();
        self.key_serde.serialize(&record.key, &mut key_bytes)?;
        let time_ms = self.times_by_key.get(&key_bytes).copied().unwrap_or(time_ms);
        let place = (time_ms, key_bytes);
        let prior = match self.rows.get(&place) {
            Some(held) => held.prior.clone(),
            None => record.value.old.clone(),
        };
        let mut held = Held { record, prior, bytes: 0 };
        if self.counts_bytes {
            held.bytes = self.size_of(&place, &held)?;
        }
        let before = self.set(&place, Some(held));
        self.undo.push((place, before));
        Ok(())
    }

    /// The first update if it waits from `time_ms` or earlier.
    pub(crate) fn first(&self, time_ms: i64) -> Option<Record<K, Change<V>>> {
        let ((first_ms, _), held) = self.rows.first_key_value()?;
        (*first_ms <= time_ms).then(|| held.record.clone())
    }

    /// Takes out the first update.
    pub(crate) fn remove_first(&mut self) {
        let Some((place, _)) = self.rows.first_key_value() else { return };
        let place = place.clone();
        let before = self.set(&place, None);
        self.undo.push((place, before));
    }

    /// How many updates are held back.
    pub(crate) fn len(&self) -> u64 {
        u64::try_from(self.rows.len()).unwrap_or(u64::MAX)
    }

    /// How many bytes they take, if they are counted.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What those downstream know of a key of which an update is held back.
    pub(crate) fn prior(&self, key: &K) -> Option<Option<&V>> {
        let mut key_bytes = Vec::new();
        // What cannot be serialized has never been held back.
        self.key_serde.serialize(key, &mut key_bytes).ok()?;
        let time_ms = *self.times_by_key.get(&key_bytes)?;
        self.rows.get(&(time_ms, key_bytes)).map(|held| held.prior.as_ref())
    }

    fn set(&mut self, place: &Place, held: Option<Held<K, V>>) -> Option<Held<K, V>> {
        let before = match held {
            Some(held) => {
                self.bytes = self.bytes.saturating_add(held.bytes);
                self.times_by_key.insert(place.1.clone(), place.0);
                self.rows.insert(place.clone(), held)
            }
            None => {
                let before = self.rows.remove(place);
                if before.is_some() {
                    self.times_by_key.remove(&place.1);
                }
                before
            }
        };
        if let Some(before) = &before {
            self.bytes = self.bytes.saturating_sub(before.bytes);
        }
        before
    }

    /// The bytes of its place, its key and its values.
    fn size_of(&self, place: &Place, held: &Held<K, V>) -> Result<u64, BoxError> {
        let mut bytes = Vec::new();
        self.write(place.0, held, &mut bytes)?;
        Ok(u64::try_from(place.1.len() + bytes.len())?)
    }

    fn write(&self, time_ms: i64, held: &Held<K, V>, out: &mut Vec<u8>) -> Result<(), BoxError> {
        out.push(VERSION);
        out.extend_from_slice(&time_ms.to_be_bytes());
        out.extend_from_slice(&held.record.timestamp.as_millis().to_be_bytes());
        let Change { old, new, .. } = &held.record.value;
        for value in [&held.prior, old, new] {
            let mut bytes = Vec::new();
            if let Some(value) = value {
                self.value_serde.serialize(value, &mut bytes)?;
            }
            write_bytes(value.as_ref().map(|_| bytes.as_slice()), out)?;
        }
        write_headers(&held.record.headers, out)
    }

    fn read(&self, key: K, bytes: &[u8]) -> Result<(i64, Held<K, V>), BoxError> {
        let (&version, rest) = bytes.split_first().ok_or("its value is empty")?;
        if version != VERSION {
            return Err(format!("its layout is {version}, not {VERSION}").into());
        }
        let cut_short = "its value is cut short";
        let (time, rest) = rest.split_first_chunk::<8>().ok_or(cut_short)?;
        let (timestamp, mut rest) = rest.split_first_chunk::<8>().ok_or(cut_short)?;
        let mut value = || {
            let value = read_bytes(&mut rest)?;
            value.map(|bytes| self.value_serde.deserialize(bytes)).transpose()
        };
        let (prior, old, new) = (value()?, value()?, value()?);
        let record = Record {
            key,
            value: Change::latest(old, new),
            timestamp: Timestamp::from_millis(i64::from_be_bytes(*timestamp)),
            headers: read_headers(rest)?,
        };
        Ok((i64::from_be_bytes(*time), Held { record, prior, bytes: 0 }))
    }
}

impl<K: Clone + 'static, V: Clone + 'static> ManagedStore for SuppressBuffer<K, V> {
    fn resident_rows(&self) -> usize {
        self.rows.len()
    }

    fn format_name(&self) -> String {
        let (key, value) = (self.key_serde.format_name(), self.value_serde.format_name());
        format!("suppression buffer of {key} and {value}")
    }

    fn dirty_len(&self) -> usize {
        self.undo.len() + self.times.dirty_len()
    }

    fn log_changes(&self, write: &mut ChangelogWriter<'_>) -> Result<()> {
        // A key may have left its place for another one: what counts is where it is now.
        let mut logged = BTreeSet::new();
        for ((_, key_bytes), _) in &self.undo {
            if !logged.insert(key_bytes) {
                continue;
            }
            let held = self.times_by_key.get(key_bytes).and_then(|time_ms| {
                Some((*time_ms, self.rows.get(&(*time_ms, key_bytes.clone()))?))
            });
            let mut bytes = Vec::new();
            if let Some((time_ms, held)) = held {
                self.write(time_ms, held, &mut bytes).map_err(|reason| Error::Serde {
                    what: format!("a value of store {}", self.name),
                    reason: reason.to_string(),
                })?;
            }
            let value = held.map(|_| bytes.as_slice());
            let key = &*beside_times(key_bytes);
            write(ChangelogRecord { key, value, timestamp: None, headers: None })?;
        }
        self.times.log(write)
    }

    fn commit(&mut self) {
        self.undo.clear();
        self.times.commit();
    }

    fn abort(&mut self) {
        while let Some((place, before)) = self.undo.pop() {
            self.set(&place, before);
        }
        self.times.abort();
    }

    fn restore(&mut self, record: &RecordView<'_>) -> Result<(), BoxError> {
        let bytes = record.key.ok_or("its key is null")?;
        if self.times.restore(bytes, record.value)? {
            return Ok(());
        }
        let bytes = from_beside_times(bytes);
        if let Some(time_ms) = self.times_by_key.get(bytes) {
            let place = (*time_ms, bytes.to_vec());
            self.set(&place, None);
        }
        if let Some(value) = record.value {
            let key = self.key_serde.deserialize(bytes)?;
            let (time_ms, mut held) = self.read(key, value)?;
            let place = (time_ms, bytes.to_vec());
            if self.counts_bytes {
                held.bytes = self.size_of(&place, &held)?;
            }
            self.set(&place, Some(held));
        }
        Ok(())
    }

    fn forget_stream_times(&mut self) {
        self.times.forget(1);
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::SuppressBuffer;
    use crate::record::{Change, Headers, Record};
    use crate::serdes::DefaultSerde;
    use crate::store::managed::ManagedStore;
    use headwater_log_store::{HeadersView, Offset, RecordView, Timestamp};
    use std::collections::BTreeMap;

    type Buffer = SuppressBuffer<String, String>;

    fn buffer() -> Buffer {
        let serde = String::default_serde;
        SuppressBuffer::new("s".to_owned(), true, serde(), serde())
    }

    fn take_first(buffer: &mut Buffer, time_ms: i64) -> Option<Record<String, Change<String>>> {
        let first = buffer.first(time_ms)?;
        buffer.remove_first();
        Some(first)
    }

    fn update(
        key: &str,
        old: Option<&str>,
        new: &str,
        time_ms: i64,
    ) -> Record<String, Change<String>> {
        Record {
            key: key.to_owned(),
            value: Change::latest(old.map(str::to_owned), Some(new.to_owned())),
            timestamp: Timestamp::from_millis(time_ms),
            headers: Headers::none(),
        }
    }

    #[test]
    fn a_later_update_takes_the_place_of_the_first_and_leaves_what_was_sent_before() {
        let mut buffer = buffer();
        let key = "k".to_owned();
        buffer.put(5, update("k", Some("0"), "1", 5)).unwrap();
        buffer.put(9, update("k", Some("1"), "2", 9)).unwrap();
        assert_eq!(buffer.len(), 1);
        assert_eq!(buffer.prior(&key), Some(Some(&"0".to_owned())));
        assert_eq!(buffer.prior(&"q".to_owned()), None);
        assert_eq!(take_first(&mut buffer, 4), None);
        assert_eq!(take_first(&mut buffer, 5), Some(update("k", Some("1"), "2", 9)));
        assert_eq!((buffer.len(), buffer.bytes()), (0, 0));
    }

    #[test]
    fn an_abort_puts_updates_times_and_bytes_back() {
        let mut buffer = buffer();
        buffer.put(5, update("k", None, "1", 5)).unwrap();
        buffer.commit();
        let bytes = buffer.bytes();
        buffer.observe(Timestamp::from_millis(50));
        buffer.put(9, update("k", None, "a longer value", 9)).unwrap();
        buffer.put(9, update("q", None, "1", 9)).unwrap();
        assert_eq!(take_first(&mut buffer, 9), Some(update("k", None, "a longer value", 9)));
        buffer.put(20, update("k", None, "again", 20)).unwrap();
        buffer.abort();
        assert_eq!((buffer.len(), buffer.bytes()), (1, bytes));
        assert_eq!(buffer.observe(Timestamp::from_millis(1)), 1);
        assert_eq!(take_first(&mut buffer, 5), Some(update("k", None, "1", 5)));
    }

    /// The update of the key `time` was lost with the next restart, or kept the application from
    /// ever starting again: its line was taken for that of the stream time.
    #[test]
    fn an_update_of_a_key_that_is_called_like_the_stream_time_is_restored() {
        let mut before = buffer();
        let key = "time".to_owned();
        before.observe(Timestamp::from_millis(7));
        before.put(5, update("time", None, "1", 5)).unwrap();
        // What is left of the changelog after a compaction.
        let mut lines = BTreeMap::new();
        let logged = before.log_changes(&mut |line| {
            lines.insert(line.key.to_vec(), line.value.map(<[u8]>::to_vec));
            Ok(())
        });
        logged.unwrap();
        let mut after = buffer();
        for (key, value) in &lines {
            let line = RecordView {
                offset: Offset::ZERO,
                timestamp: Timestamp::from_millis(5),
                key: Some(key),
                value: value.as_deref(),
                headers: HeadersView::default(),
            };
            after.restore(&line).unwrap();
        }
        assert_eq!(after.prior(&key), Some(None), "it is held back");
        assert_eq!(take_first(&mut after, 5), Some(update("time", None, "1", 5)));
        assert_eq!(after.observe(Timestamp::from_millis(1)), 7);
    }

    #[test]
    fn a_key_is_logged_once_and_as_it_is_at_the_end() {
        let mut buffer = buffer();
        buffer.put(5, update("k", None, "1", 5)).unwrap();
        buffer.put(6, update("q", None, "1", 6)).unwrap();
        take_first(&mut buffer, 5);
        buffer.put(8, update("k", Some("1"), "2", 8)).unwrap();
        take_first(&mut buffer, 6);
        let mut lines = Vec::new();
        buffer
            .log_changes(&mut |record| {
                lines.push((record.key.to_vec(), record.value.map(<[u8]>::to_vec)));
                Ok(())
            })
            .unwrap();
        let k = [
            &[1][..],
            &[0, 0, 0, 0, 0, 0, 0, 8],
            &[0, 0, 0, 0, 0, 0, 0, 8],
            &[0, 0, 0, 1, b'1'],
            &[0, 0, 0, 1, b'1'],
            &[0, 0, 0, 1, b'2'],
        ];
        assert_eq!(lines, [(b"k".to_vec(), Some(k.concat())), (b"q".to_vec(), None)]);
    }
}
