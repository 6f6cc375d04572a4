//! The records of a left or outer stream-stream join that have not found a match: both sides in one
//! order of time.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};

use headwater_log_store::{RecordView, Timestamp};

use crate::error::{BoxError, Error, Result};
use crate::serdes::SerdeRef;
use crate::store::managed::{ChangelogRecord, ChangelogWriter, ManagedStore};
use crate::store::stream_times::StreamTimes;

/// Which stream of a join a record came from. The right one sorts first, as in Kafka's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Right,
    Left,
}

impl Side {
    const fn byte(self) -> u8 {
        match self {
            Self::Right => 0,
            Self::Left => 1,
        }
    }

    const fn of(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Right),
            1 => Some(Self::Left),
            _ => None,
        }
    }
}

/// The value of a record, from either stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EitherValue<V1, V2> {
    Left(V1),
    Right(V2),
}

/// Where records of one time, side and key stand.
pub(crate) type Place = (i64, Side, Vec<u8>);

/// The records of one place, in the order in which they came.
#[derive(Clone, Debug)]
pub(crate) struct Unmatched<K, V1, V2> {
    pub(crate) key: K,
    pub(crate) values: Vec<EitherValue<V1, V2>>,
}

/// A change with what was there before.
type Undo<K, V1, V2> = (Place, Option<Unmatched<K, V1, V2>>);

/// See the module.
pub(crate) struct OuterStore<K, V1, V2> {
    name: String,
    rows: BTreeMap<Place, Unmatched<K, V1, V2>>,
    /// The changes since the last commit.
    undo: Vec<Undo<K, V1, V2>>,
    /// The stream time of the join, and its note of the earliest record.
    times: StreamTimes,
    /// When both sides look for results again, by the wall clock. It is no state: waiting longer
    /// loses nothing.
    pub(crate) next_emit_ms: i64,
    key_serde: SerdeRef<K>,
    left_serde: SerdeRef<V1>,
    right_serde: SerdeRef<V2>,
}

impl<K: Clone + 'static, V1: Clone + 'static, V2: Clone + 'static> OuterStore<K, V1, V2> {
    pub(crate) fn new(
        name: String,
        key_serde: SerdeRef<K>,
        left_serde: SerdeRef<V1>,
        right_serde: SerdeRef<V2>,
    ) -> Self {
        Self {
            name,
            rows: BTreeMap::new(),
            undo: Vec::new(),
            times: StreamTimes::new(2, true),
            next_emit_ms: 0,
            key_serde,
            left_serde,
            right_serde,
        }
    }

    /// Advances the join's stream time to `timestamp` if that is later, and returns it.
    pub(crate) fn observe(&mut self, timestamp: Timestamp) -> i64 {
        self.times.advance(0, timestamp.as_millis())
    }

    /// Kafka Streams' note of the earliest record: `i64::MAX` where none is known.
    pub(crate) fn earliest_ms(&self) -> i64 {
        self.times.get(1).unwrap_or(i64::MAX)
    }

    pub(crate) fn set_earliest(&mut self, time_ms: i64) {
        self.times.set(1, time_ms);
    }

    /// Adds a record that has no match so far.
    pub(crate) fn add(
        &mut self,
        time_ms: i64,
        side: Side,
        key: &K,
        value: EitherValue<V1, V2>,
    ) -> Result<(), BoxError> {
        let place = self.place(time_ms, side, key)?;
        self.set_earliest(self.earliest_ms().min(time_ms));
        self.undo.push((place.clone(), self.rows.get(&place).cloned()));
        let new = || Unmatched { key: key.clone(), values: Vec::new() };
        self.rows.entry(place).or_insert_with(new).values.push(value);
        Ok(())
    }

    /// Removes the records of that time, side and key: they have found a match.
    pub(crate) fn remove(&mut self, time_ms: i64, side: Side, key: &K) -> Result<(), BoxError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let place = self.place(time_ms, side, key)?;
        self.take(&place);
        Ok(())
    }

    /// Removes the records of a place.
    pub(crate) fn take(&mut self, place: &Place) -> Option<Unmatched<K, V1, V2>> {
        let row = self.rows.remove(place)?;
        self.undo.push((place.clone(), Some(row.clone())));
        Some(row)
    }

    /// The places in order, each as often as it has records.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Place> {
        self.rows.iter().flat_map(|(place, row)| row.values.iter().map(move |_| place))
    }

    fn place(&self, time_ms: i64, side: Side, key: &K) -> Result<Place, BoxError> {
        let mut bytes = Vec::new();
        self.key_serde.serialize(key, &mut bytes)?;
        Ok((time_ms, side, bytes))
    }

    /// Kafka's bytes of a list: that its entries differ in size, how many there are, then each
    /// with its length, its side and its value.
    fn write_values(&self, row: &Unmatched<K, V1, V2>) -> Result<Vec<u8>, BoxError> {
        let mut bytes = vec![1];
        bytes.extend_from_slice(&i32::try_from(row.values.len())?.to_be_bytes());
        let mut value_bytes = Vec::new();
        for value in &row.values {
            value_bytes.clear();
            match value {
                EitherValue::Left(value) => {
                    value_bytes.push(Side::Left.byte());
                    self.left_serde.serialize(value, &mut value_bytes)?;
                }
                EitherValue::Right(value) => {
                    value_bytes.push(Side::Right.byte());
                    self.right_serde.serialize(value, &mut value_bytes)?;
                }
            }
            bytes.extend_from_slice(&i32::try_from(value_bytes.len())?.to_be_bytes());
            bytes.extend_from_slice(&value_bytes);
        }
        Ok(bytes)
    }

    fn read_values(&self, bytes: &[u8]) -> Result<Vec<EitherValue<V1, V2>>, BoxError> {
        let (_, mut rest) = bytes.split_first_chunk::<5>().ok_or("its list has no head")?;
        let mut values = Vec::new();
        while let Some((len, after)) = rest.split_first_chunk::<4>() {
            let len = usize::try_from(i32::from_be_bytes(*len))?;
            let (value, after) = after.split_at_checked(len).ok_or("its list is cut short")?;
            let (side, value) = value.split_first().ok_or("an entry of its list is empty")?;
            values.push(match Side::of(*side).ok_or("an entry of its list has no side")? {
                Side::Left => EitherValue::Left(self.left_serde.deserialize(value)?),
                Side::Right => EitherValue::Right(self.right_serde.deserialize(value)?),
            });
            rest = after;
        }
        Ok(values)
    }
}

impl<K: Clone + 'static, V1: Clone + 'static, V2: Clone + 'static> ManagedStore
    for OuterStore<K, V1, V2>
{
    fn resident_rows(&self) -> usize {
        self.rows.len()
    }

    fn format_name(&self) -> String {
        let (left, right) = (self.left_serde.format_name(), self.right_serde.format_name());
        format!("outer-join store of {}, {left} and {right}", self.key_serde.format_name())
    }

    fn dirty_len(&self) -> usize {
        self.undo.len() + self.times.dirty_len()
    }

    fn log_changes(&self, write: &mut ChangelogWriter<'_>) -> Result<()> {
        let mut logged = BTreeSet::new();
        let observed = self.times.get(0).map(Timestamp::from_millis);
        for (place, _) in &self.undo {
            if !logged.insert(place) {
                continue;
            }
            let (time_ms, side, key_bytes) = place;
            let mut key = time_ms.to_be_bytes().to_vec();
            key.push(side.byte());
            key.extend_from_slice(key_bytes);
            let value = self.rows.get(place).map(|row| self.write_values(row)).transpose();
            let value = value.map_err(|reason| Error::Serde {
                what: format!("a value of store {}", self.name),
                reason: reason.to_string(),
            })?;
            write(ChangelogRecord {
                key: &key,
                value: value.as_deref(),
                timestamp: observed,
                headers: None,
            })?;
        }
        self.times.log(write)
    }

    fn commit(&mut self) {
        self.undo.clear();
        self.times.commit();
    }

    fn abort(&mut self) {
        while let Some((place, row)) = self.undo.pop() {
            match row {
                Some(row) => drop(self.rows.insert(place, row)),
                None => drop(self.rows.remove(&place)),
            }
        }
        self.times.abort();
    }

    fn restore(&mut self, record: &RecordView<'_>) -> Result<(), BoxError> {
        let bytes = record.key.ok_or("its key is null")?;
        if self.times.restore(bytes, record.value)? {
            return Ok(());
        }
        let place = bytes.split_first_chunk::<8>().and_then(|(time, rest)| {
            let (side, key) = rest.split_first()?;
            Some((i64::from_be_bytes(*time), Side::of(*side)?, key.to_vec()))
        });
        let place = place.ok_or("its key is not that of a joined record")?;
        match record.value {
            None => drop(self.rows.remove(&place)),
            Some(value) => {
                let key = self.key_serde.deserialize(&place.2)?;
                let values = self.read_values(value)?;
                self.rows.insert(place, Unmatched { key, values });
            }
        }
        Ok(())
    }

    fn forget_stream_times(&mut self) {
        self.times.forget(2);
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{EitherValue, OuterStore, Side, Unmatched};
    use crate::serdes::DefaultSerde;
    use crate::store::managed::ManagedStore;
    use headwater_log_store::Timestamp;

    fn store() -> OuterStore<String, String, String> {
        let serde = String::default_serde;
        OuterStore::new("s".to_owned(), serde(), serde(), serde())
    }

    fn logged(store: &OuterStore<String, String, String>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut lines = Vec::new();
        store
            .log_changes(&mut |record| {
                lines.push((record.key.to_vec(), record.value.map(<[u8]>::to_vec)));
                Ok(())
            })
            .unwrap();
        lines
    }

    #[test]
    fn a_record_is_logged_in_kafkas_bytes() {
        let mut store = store();
        let value = EitherValue::Left("A".to_owned());
        store.add(5, Side::Left, &"k".to_owned(), value).unwrap();
        let key = [0, 0, 0, 0, 0, 0, 0, 5, 1, 0x6b];
        let value = [1, 0, 0, 0, 1, 0, 0, 0, 2, 1, 0x41];
        assert_eq!(logged(&store).first(), Some(&(key.to_vec(), Some(value.to_vec()))));
    }

    #[test]
    fn the_right_side_comes_first_and_an_abort_takes_all_back() {
        let mut store = store();
        let (key, value) = ("k".to_owned(), || EitherValue::Right("b".to_owned()));
        store.add(5, Side::Right, &key, value()).unwrap();
        store.commit();
        store.observe(Timestamp::from_millis(9));
        store.add(5, Side::Right, &key, value()).unwrap();
        store.add(5, Side::Left, &key, EitherValue::Left("a".to_owned())).unwrap();
        let sides: Vec<Side> = store.places().map(|(_, side, _)| *side).collect();
        assert_eq!(sides, [Side::Right, Side::Right, Side::Left]);
        store.remove(5, Side::Right, &key).unwrap();
        store.abort();
        let rows: Vec<_> = store.rows.values().cloned().collect();
        assert!(matches!(&rows[..], [Unmatched { values, .. }] if values == &[value()]));
        assert_eq!(store.observe(Timestamp::from_millis(1)), 1);
        assert_eq!(store.dirty_len(), 1, "only the time is new");
    }
}
