//! The versioned key-value store: the rows of each key with the times from which on they were valid.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::Bound;

use headwater_log_store::{RecordView, Timestamp};

use crate::backing::Covered;
use crate::error::{BoxError, Error, Result};
use crate::serdes::SerdeRef;
use crate::store::backed_rows::BackedRows;
use crate::store::managed::{ChangelogRecord, ChangelogWriter, ManagedStore};
use crate::store::table::ValueAndTimestamp;
use crate::store::versions_on_disk::VersionsOnDisk;

/// What has become of a record that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Put {
    /// It is older than the history goes back.
    TooOld,
    /// It is the newest of its key.
    Latest,
    /// There is a newer one.
    OutOfOrder,
}

/// The versions of a key by the time from which on they are valid; `None` is a removed row.
pub(crate) type Versions<V> = BTreeMap<Timestamp, Option<V>>;

/// Typed values by key and time.
///
/// The store has a clock of its own, the latest time that was put into it. A version is kept until
/// the one that follows it has come `history` before that; older records are refused.
pub(crate) struct VersionedStore<K, V> {
    name: String,
    history_ms: i64,
    rows: HashMap<K, Versions<V>>,
    observed: Option<Timestamp>,
    observed_committed: Option<Timestamp>,
    /// Every put since the last commit, as the changelog will have them.
    log: Vec<(K, Option<V>, Timestamp)>,
    /// The committed versions of each key that was changed since the last commit.
    dirty: HashMap<K, Option<Versions<V>>>,
    /// The committed versions, if they are on disk. Those of a key are then in memory all or not at
    /// all; a key without any may be there too.
    disk: Option<VersionsOnDisk<K>>,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> VersionedStore<K, V> {
    pub(crate) fn new(
        name: String,
        history_ms: i64,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> Self {
        Self {
            name,
            history_ms,
            rows: HashMap::new(),
            observed: None,
            observed_committed: None,
            log: Vec::new(),
            dirty: HashMap::new(),
            disk: None,
            key_serde,
            value_serde,
        }
    }

    /// Sets or removes the row of a key from that time on. Records that are too old are logged all
    /// the same, as in Kafka Streams.
    pub(crate) fn put(&mut self, key: &K, value: Option<V>, timestamp: Timestamp) -> Put {
        self.load(key);
        self.log.push((key.clone(), value.clone(), timestamp));
        if !self.dirty.contains_key(key) {
            self.dirty.insert(key.clone(), self.rows.get(key).cloned());
        }
        self.apply(key, value, timestamp)
    }

    fn apply(&mut self, key: &K, value: Option<V>, timestamp: Timestamp) -> Put {
        let oldest_ms = self.oldest_ms(timestamp);
        if timestamp.as_millis() < oldest_ms {
            return Put::TooOld;
        }
        self.observed = self.observed.max(Some(timestamp));
        let versions = self.rows.entry(key.clone()).or_default();
        versions.insert(timestamp, value);
        let latest = versions.last_key_value().is_some_and(|(last, _)| *last == timestamp);
        // What was valid up to the oldest time that can be asked for stays.
        let from = versions.range(..=Timestamp::from_millis(oldest_ms)).next_back();
        if let Some(from) = from.map(|(from, _)| *from) {
            *versions = versions.split_off(&from);
        }
        if latest { Put::Latest } else { Put::OutOfOrder }
    }

    fn oldest_ms(&self, timestamp: Timestamp) -> i64 {
        let observed = self.observed.map_or(timestamp, |observed| observed.max(timestamp));
        observed.as_millis().saturating_sub(self.history_ms)
    }

    /// Brings the versions of a key into memory, if they are on disk.
    fn load(&mut self, key: &K) {
        let Some(disk) = &mut self.disk else { return };
        disk.touch(key);
        if self.rows.contains_key(key) {
            return;
        }
        let mut bytes = Vec::new();
        let loaded = self
            .key_serde
            .serialize(key, &mut bytes)
            .and_then(|()| disk.load(&bytes, |value| self.value_serde.deserialize(value)));
        let versions = loaded.unwrap_or_else(|reason| {
            disk.rows.fail(&reason);
            Versions::new()
        });
        disk.resident += versions.len().max(1);
        self.rows.insert(key.clone(), versions);
    }

    /// Whether nothing is left of a key that could be asked for.
    fn is_over(&self, versions: &Versions<V>) -> bool {
        let oldest_ms = self
            .observed
            .map_or(i64::MIN, |observed| observed.as_millis().saturating_sub(self.history_ms));
        let mut left = versions.iter();
        match (left.next(), left.next()) {
            (None, _) => true,
            (Some((last, None)), None) => last.as_millis() < oldest_ms,
            _ => false,
        }
    }

    /// Adds the versions that were changed since the last commit to the next write.
    fn add_to_disk(&self, disk: &VersionsOnDisk<K>) -> Result<(), BoxError> {
        let (none, mut bytes) = (Versions::new(), Vec::new());
        let current = |key: &K| self.rows.get(key).filter(|versions| !self.is_over(versions));
        disk.rows.begin();
        for (key, committed) in &self.dirty {
            bytes.clear();
            self.key_serde.serialize(key, &mut bytes)?;
            let current = current(key).unwrap_or(&none);
            let committed = committed.iter().flat_map(BTreeMap::keys);
            for gone in committed.filter(|time| !current.contains_key(time)) {
                disk.add(&bytes, *gone, None)?;
            }
        }
        for (key, _, timestamp) in &self.log {
            let Some(value) = current(key).and_then(|versions| versions.get(timestamp)) else {
                continue;
            };
            bytes.clear();
            self.key_serde.serialize(key, &mut bytes)?;
            let mut row = Vec::new();
            if let Some(value) = value {
                self.value_serde.serialize(value, &mut row)?;
            }
            disk.add(&bytes, *timestamp, Some(value.as_ref().map(|_| row.as_slice())))?;
        }
        Ok(())
    }

    /// The newest row of a key.
    pub(crate) fn get(&mut self, key: &K) -> Option<ValueAndTimestamp<V>> {
        self.load(key);
        let (timestamp, value) = self.rows.get(key)?.last_key_value()?;
        Some(ValueAndTimestamp { value: value.clone()?, timestamp: *timestamp })
    }

    /// From when on a key has another version than that of a time.
    pub(crate) fn next_after(&mut self, key: &K, time: Timestamp) -> Option<Timestamp> {
        self.load(key);
        let after = (Bound::Excluded(time), Bound::Unbounded);
        self.rows.get(key)?.range(after).next().map(|(next, _)| *next)
    }

    /// The row that a key had at that time; none from before the history, but for a newest row.
    pub(crate) fn get_as_of(&mut self, key: &K, time: Timestamp) -> Option<ValueAndTimestamp<V>> {
        self.load(key);
        let versions = self.rows.get(key)?;
        let (timestamp, value) = versions.range(..=time).next_back()?;
        let is_latest = versions.last_key_value().is_some_and(|(last, _)| last == timestamp);
        if !is_latest && time.as_millis() < self.oldest_ms(time) {
            return None;
        }
        Some(ValueAndTimestamp { value: value.clone()?, timestamp: *timestamp })
    }

    /// The committed row of a key, the newest or that of a time, with the time from which on it has
    /// another one.
    pub(crate) fn committed(
        &mut self,
        key: &K,
        as_of: Option<Timestamp>,
    ) -> Option<(ValueAndTimestamp<V>, Option<Timestamp>)> {
        self.load(key);
        let versions = match self.dirty.get(key) {
            Some(committed) => committed.as_ref()?,
            None => self.rows.get(key)?,
        };
        let (last, _) = versions.last_key_value()?;
        let time = as_of.unwrap_or(*last);
        let (timestamp, value) = versions.range(..=time).next_back()?;
        let observed = self.observed_committed.map_or(time, |observed| observed.max(time));
        let oldest_ms = observed.as_millis().saturating_sub(self.history_ms);
        if timestamp != last && time.as_millis() < oldest_ms {
            return None;
        }
        let after = (Bound::Excluded(*timestamp), Bound::Unbounded);
        let valid_to = versions.range(after).next().map(|(next, _)| *next);
        let row = ValueAndTimestamp { value: value.clone()?, timestamp: *timestamp };
        Some((row, valid_to))
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> ManagedStore for VersionedStore<K, V> {
    fn resident_rows(&self) -> usize {
        self.rows.values().map(BTreeMap::len).sum()
    }

    fn format_name(&self) -> String {
        let (key, value) = (self.key_serde.format_name(), self.value_serde.format_name());
        format!("versioned store of {key} and {value}")
    }

    fn dirty_len(&self) -> usize {
        self.log.len()
    }

    fn log_changes(&self, write: &mut ChangelogWriter<'_>) -> Result<()> {
        let (mut key_bytes, mut value_bytes) = (Vec::new(), Vec::new());
        let serde_error = |what: &str, reason: &BoxError| Error::Serde {
            what: format!("a {what} of store {}", self.name),
            reason: reason.to_string(),
        };
        for (key, value, timestamp) in &self.log {
            key_bytes.clear();
            value_bytes.clear();
            self.key_serde
                .serialize(key, &mut key_bytes)
                .map_err(|reason| serde_error("key", &reason))?;
            if let Some(value) = value {
                self.value_serde
                    .serialize(value, &mut value_bytes)
                    .map_err(|reason| serde_error("value", &reason))?;
            }
            write(ChangelogRecord {
                key: &key_bytes,
                value: value.as_ref().map(|_| value_bytes.as_slice()),
                timestamp: Some(*timestamp),
                headers: None,
            })?;
        }
        Ok(())
    }

    fn commit(&mut self) {
        for key in std::mem::take(&mut self.dirty).into_keys() {
            if self.rows.get(&key).is_some_and(|versions| self.is_over(versions)) {
                self.rows.remove(&key);
            }
        }
        if let Some(disk) = &mut self.disk {
            disk.drop_clean(&mut self.rows);
        }
        self.log.clear();
        self.observed_committed = self.observed;
    }

    fn abort(&mut self) {
        for (key, committed) in self.dirty.drain() {
            match committed {
                Some(versions) => self.rows.insert(key, versions),
                None => self.rows.remove(&key),
            };
        }
        self.log.clear();
        self.observed = self.observed_committed;
        if let Some(disk) = &self.disk {
            if disk.rows.failure().is_some() {
                self.rows.clear();
            }
            disk.rows.abort();
        }
    }

    fn back(&mut self, rows: BackedRows) -> bool {
        self.disk = Some(VersionsOnDisk::new(rows));
        true
    }

    fn backed(&mut self) -> Option<&mut BackedRows> {
        self.disk.as_mut().map(|disk| &mut disk.rows)
    }

    fn resume(&mut self) -> Result<(), BoxError> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        self.observed = disk.observed()?;
        self.observed_committed = self.observed;
        Ok(())
    }

    fn write_to_disk(&mut self, covered: Covered) -> Result<(), BoxError> {
        if let Some(disk) = &self.disk {
            self.add_to_disk(disk)?;
            disk.note(self.observed);
        }
        self.backed().map_or(Ok(()), |rows| rows.write(covered))
    }

    fn restore(&mut self, record: &RecordView<'_>) -> Result<(), BoxError> {
        let key = self.key_serde.deserialize(record.key.ok_or("its key is null")?)?;
        let value = record.value.map(|bytes| self.value_serde.deserialize(bytes)).transpose()?;
        if self.disk.is_some() {
            // It is written, and committed, by the runtime.
            self.put(&key, value, record.timestamp);
            return Ok(());
        }
        self.apply(&key, value, record.timestamp);
        self.observed_committed = self.observed;
        Ok(())
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Put, VersionedStore};
    use crate::serdes::DefaultSerde;
    use crate::store::managed::ManagedStore;
    use headwater_log_store::Timestamp;

    type Store = VersionedStore<String, i64>;

    fn store() -> Store {
        VersionedStore::new("s".to_owned(), 100, String::default_serde(), i64::default_serde())
    }

    fn put(store: &mut Store, value: Option<i64>, time: i64) -> Put {
        store.put(&"k".to_owned(), value, Timestamp::from_millis(time))
    }

    fn at(store: &mut Store, time: i64) -> Option<i64> {
        store.get_as_of(&"k".to_owned(), Timestamp::from_millis(time)).map(|row| row.value)
    }

    #[test]
    fn a_row_is_that_of_its_time_as_far_back_as_the_history_goes() {
        let mut store = store();
        assert_eq!(put(&mut store, Some(1), 10), Put::Latest);
        assert_eq!(put(&mut store, Some(2), 20), Put::Latest);
        assert_eq!(put(&mut store, None, 12), Put::OutOfOrder);
        assert_eq!(
            [9, 10, 12, 19, 20, 99].map(|time| at(&mut store, time)),
            [None, Some(1), None, None, Some(2), Some(2)]
        );
        assert_eq!(put(&mut store, Some(9), 200), Put::Latest);
        assert_eq!(
            [99, 100, 199, 200].map(|time| at(&mut store, time)),
            [None, Some(2), Some(2), Some(9)]
        );
        assert_eq!(put(&mut store, Some(0), 99), Put::TooOld);
        assert_eq!(put(&mut store, Some(3), 100), Put::OutOfOrder);
        assert_eq!(at(&mut store, 100), Some(3));
        assert_eq!(put(&mut store, Some(8), 200), Put::Latest);
        assert_eq!(store.get(&"k".to_owned()).map(|row| row.value), Some(8));
        assert_eq!(store.dirty_len(), 7, "every put is logged");
    }

    #[test]
    fn an_abort_takes_versions_and_the_clock_back() {
        let mut store = store();
        put(&mut store, Some(1), 10);
        store.commit();
        put(&mut store, None, 500);
        store.abort();
        assert_eq!((at(&mut store, 10), store.dirty_len()), (Some(1), 0));
        assert_eq!(put(&mut store, Some(2), 11), Put::Latest);
        put(&mut store, None, 12);
        store.commit();
        assert_eq!((at(&mut store, 11), at(&mut store, 12)), (Some(2), None));
        assert_eq!(store.get(&"k".to_owned()), None);
    }

    #[test]
    fn a_query_sees_the_committed_versions_whatever_was_put_since() {
        let key = "k".to_owned();
        let committed = |store: &mut Store, as_of: Option<i64>| {
            let found = store.committed(&key, as_of.map(Timestamp::from_millis));
            found.map(|(row, next)| (row.value, next.map(Timestamp::as_millis)))
        };
        let mut store = store();
        put(&mut store, Some(1), 10);
        assert_eq!(committed(&mut store, None), None);
        store.commit();
        put(&mut store, Some(2), 20);
        put(&mut store, Some(3), 400);
        assert_eq!(committed(&mut store, None), Some((1, None)));
        assert_eq!(committed(&mut store, Some(15)), Some((1, None)));
        assert_eq!(at(&mut store, 10), None, "by now that is before the history");
        store.commit();
        assert_eq!(committed(&mut store, None), Some((3, None)));
        assert_eq!(committed(&mut store, Some(15)), None);
        assert_eq!(committed(&mut store, Some(399)), Some((2, Some(400))));
    }
}
