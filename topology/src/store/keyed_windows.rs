//! The store of windows whose places depend on the records: sessions, sliding windows, and the
//! records of a join. Rows are kept by key, then by window.

use std::any::Any;
use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::{HashMap, HashSet};
use headwater_log_store::{RecordView, Timestamp};

use crate::error::{BoxError, Error, Result};
use crate::serdes::SerdeRef;
use crate::store::managed::{ChangelogRecord, ChangelogWriter, ManagedStore};
use crate::store::slots::{JoinSlot, Slot};
use crate::store::stream_times::StreamTimes;
use crate::store::table::ValueAndTimestamp;
use crate::store::window_store::WindowStoreOptions;

type Rows<S, V> = BTreeMap<S, ValueAndTimestamp<V>>;

/// See the module.
///
/// The store has a clock of its own, the latest time of a row that was put into it. What lies a
/// retention before that is hidden, and gone with the next commit.
pub(crate) struct KeyedWindowStore<K, S, V> {
    name: String,
    options: WindowStoreOptions,
    rows: HashMap<K, Rows<S, V>>,
    by_time: BTreeMap<i64, HashSet<(S, K)>>,
    /// Each change since the last commit with what was there before.
    undo: Vec<(K, S, Option<ValueAndTimestamp<V>>)>,
    times: StreamTimes,
    clock_ms: Option<i64>,
    clock_committed_ms: Option<i64>,
    /// The number of the last row that got one.
    sequence: i32,
    sequence_committed: i32,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
}

impl<K: Hash + Eq + Clone + 'static, S: Slot, V: Clone + 'static> KeyedWindowStore<K, S, V> {
    pub(crate) fn new(
        name: String,
        options: WindowStoreOptions,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> Self {
        Self {
            name,
            options,
            rows: HashMap::new(),
            by_time: BTreeMap::new(),
            undo: Vec::new(),
            times: options.times(),
            clock_ms: None,
            clock_committed_ms: None,
            sequence: 0,
            sequence_committed: 0,
            key_serde,
            value_serde,
        }
    }

    /// Advances an operator's stream time to `timestamp` if that is later, and returns it.
    pub(crate) fn observe(&mut self, operator: usize, timestamp: Timestamp) -> i64 {
        self.times.advance(operator, timestamp.as_millis())
    }

    /// The close time of the last emission.
    pub(crate) fn emitted_ms(&self) -> Option<i64> {
        self.times.get(self.options.operators)
    }

    pub(crate) fn set_emitted(&mut self, close_ms: i64) {
        self.times.advance(self.options.operators, close_ms);
    }

    /// The rows of a key from a time up to and including another one that are not hidden.
    pub(crate) fn rows_of(
        &self,
        key: &K,
        from_ms: i64,
        to_ms: i64,
    ) -> impl DoubleEndedIterator<Item = (S, &ValueAndTimestamp<V>)> {
        let from_ms = self.visible_from(from_ms);
        let rows = self.rows.get(key).filter(|_| from_ms <= to_ms);
        let range = S::first(from_ms)..S::first(to_ms.saturating_add(1));
        rows.into_iter()
            .flat_map(move |rows| rows.range(range.clone()))
            .map(|(slot, row)| (*slot, row))
    }

    /// A row, unless it is hidden.
    pub(crate) fn get(&self, key: &K, slot: S) -> Option<&ValueAndTimestamp<V>> {
        self.row(key, slot).filter(|_| slot.time_ms() >= self.visible_from(i64::MIN))
    }

    /// Sets or removes a row. The store's clock goes forward either way.
    pub(crate) fn put(&mut self, key: &K, slot: S, row: Option<ValueAndTimestamp<V>>) {
        self.clock_ms = self.clock_ms.max(Some(slot.time_ms()));
        let undo = (key.clone(), slot, self.row(key, slot).cloned());
        self.undo.push(undo);
        self.set(key, slot, row);
    }

    /// The rows of all keys from a time up to and including another one that are not hidden: by
    /// slot, then by the bytes of their keys.
    pub(crate) fn visible(
        &self,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(S, K, ValueAndTimestamp<V>)>, BoxError> {
        let from_ms = self.visible_from(from_ms);
        if from_ms > to_ms {
            return Ok(Vec::new());
        }
        let entries = self.by_time.range(from_ms..=to_ms).flat_map(|(_, entries)| entries);
        self.sorted(entries.filter_map(|(slot, key)| Some((*slot, key, self.row(key, *slot)?))))
    }

    /// The committed rows of one key, or of all, from a time up to and including another one: by
    /// slot, then by the bytes of their keys.
    pub(crate) fn committed(
        &self,
        key: Option<&K>,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(S, K, ValueAndTimestamp<V>)>, BoxError> {
        // The first note of a row says what was committed.
        let mut before: HashMap<(&K, S), Option<&ValueAndTimestamp<V>>> = HashMap::new();
        for (key, slot, row) in &self.undo {
            before.entry((key, *slot)).or_insert(row.as_ref());
        }
        let unchanged = self
            .rows
            .iter()
            .flat_map(|(key, rows)| rows.iter().map(move |(slot, row)| (*slot, key, row)))
            .filter(|(slot, key, _)| !before.contains_key(&(*key, *slot)));
        let changed = before.iter().filter_map(|((key, slot), row)| Some((*slot, *key, (*row)?)));
        let asked = |(slot, of, _): &(S, &K, &ValueAndTimestamp<V>)| {
            (from_ms..=to_ms).contains(&slot.time_ms()) && key.is_none_or(|key| *of == key)
        };
        self.sorted(unchanged.chain(changed).filter(asked))
    }

    fn sorted<'a>(
        &'a self,
        rows: impl Iterator<Item = (S, &'a K, &'a ValueAndTimestamp<V>)>,
    ) -> Result<Vec<(S, K, ValueAndTimestamp<V>)>, BoxError> {
        let mut found = Vec::new();
        for (slot, key, row) in rows {
            let mut bytes = Vec::new();
            self.key_serde.serialize(key, &mut bytes)?;
            found.push((slot, bytes, key.clone(), row.clone()));
        }
        found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(found.into_iter().map(|(slot, _, key, row)| (slot, key, row)).collect())
    }

    fn row(&self, key: &K, slot: S) -> Option<&ValueAndTimestamp<V>> {
        self.rows.get(key)?.get(&slot)
    }

    fn visible_from(&self, from_ms: i64) -> i64 {
        let expired_ms = self.options.expired_ms(&self.times, self.clock_ms);
        expired_ms.map_or(from_ms, |expired_ms| from_ms.max(expired_ms.saturating_add(1)))
    }

    fn set(&mut self, key: &K, slot: S, row: Option<ValueAndTimestamp<V>>) {
        if let Some(row) = row {
            self.by_time.entry(slot.time_ms()).or_default().insert((slot, key.clone()));
            self.rows.entry(key.clone()).or_default().insert(slot, row);
            return;
        }
        if let Some(rows) = self.rows.get_mut(key) {
            rows.remove(&slot);
            if rows.is_empty() {
                self.rows.remove(key);
            }
        }
        if let Some(entries) = self.by_time.get_mut(&slot.time_ms()) {
            entries.remove(&(slot, key.clone()));
            if entries.is_empty() {
                self.by_time.remove(&slot.time_ms());
            }
        }
    }

    /// Drops the rows whose retention is over: only at a commit, so that an abort finds them.
    fn expire(&mut self) {
        let Some(expired_ms) = self.options.expired_ms(&self.times, self.clock_ms) else { return };
        while let Some(first) = self.by_time.first_entry()
            && *first.key() <= expired_ms
        {
            for (slot, key) in first.remove() {
                if let Some(rows) = self.rows.get_mut(&key) {
                    rows.remove(&slot);
                    if rows.is_empty() {
                        self.rows.remove(&key);
                    }
                }
            }
        }
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> KeyedWindowStore<K, JoinSlot, V> {
    /// Adds a record, also where there is one of its key and time.
    pub(crate) fn add(&mut self, key: &K, value: V, timestamp: Timestamp) {
        // As in Kafka the numbers begin anew after the largest; by then those are long gone.
        self.sequence = self.sequence.checked_add(1).unwrap_or(0);
        let slot = JoinSlot { time_ms: timestamp.as_millis(), sequence: self.sequence };
        self.put(key, slot, Some(ValueAndTimestamp { value, timestamp }));
    }
}

impl<K: Hash + Eq + Clone + 'static, S: Slot, V: Clone + 'static> ManagedStore
    for KeyedWindowStore<K, S, V>
{
    fn dirty_len(&self) -> usize {
        self.undo.len() + self.times.dirty_len()
    }

    fn log_changes(&self, write: &mut ChangelogWriter<'_>) -> Result<()> {
        let (mut key_bytes, mut value_bytes) = (Vec::new(), Vec::new());
        let serde_error = |what: &str, reason: &BoxError| Error::Serde {
            what: format!("a {what} of store {}", self.name),
            reason: reason.to_string(),
        };
        let observed = self.times.get(0).or(self.clock_ms).map(Timestamp::from_millis);
        let mut logged = HashSet::new();
        for (key, slot, _) in &self.undo {
            if !logged.insert((key, *slot)) {
                continue;
            }
            let row = self.row(key, *slot);
            key_bytes.clear();
            value_bytes.clear();
            self.key_serde
                .serialize(key, &mut key_bytes)
                .map_err(|reason| serde_error("key", &reason))?;
            slot.write(&mut key_bytes);
            if let Some(row) = row {
                self.value_serde
                    .serialize(&row.value, &mut value_bytes)
                    .map_err(|reason| serde_error("value", &reason))?;
            }
            write(ChangelogRecord {
                key: &key_bytes,
                value: row.map(|_| value_bytes.as_slice()),
                timestamp: row.map(|row| row.timestamp).or(observed),
            })?;
        }
        self.times.log(write)
    }

    fn commit(&mut self) {
        self.undo.clear();
        self.times.commit();
        self.clock_committed_ms = self.clock_ms;
        self.sequence_committed = self.sequence;
        self.expire();
    }

    fn abort(&mut self) {
        while let Some((key, slot, row)) = self.undo.pop() {
            self.set(&key, slot, row);
        }
        self.times.abort();
        self.clock_ms = self.clock_committed_ms;
        self.sequence = self.sequence_committed;
    }

    fn restore(&mut self, record: &RecordView<'_>) -> Result<(), BoxError> {
        let bytes = record.key.ok_or("its key is null")?;
        if self.times.restore(bytes, record.value)? {
            return Ok(());
        }
        let (key, slot) = bytes
            .len()
            .checked_sub(S::BYTES)
            .and_then(|len| bytes.split_at_checked(len))
            .and_then(|(key, slot)| Some((key, S::read(slot)?)))
            .ok_or("its key is too short for that of a window")?;
        let key = self.key_serde.deserialize(key)?;
        let row = record.value.map(|bytes| {
            let value = self.value_serde.deserialize(bytes)?;
            Ok::<_, BoxError>(ValueAndTimestamp { value, timestamp: record.timestamp })
        });
        self.set(&key, slot, row.transpose()?);
        if self.options.operators == 1 {
            // As in the store of aligned windows: the latest record is in some row.
            self.observe(0, record.timestamp);
            self.times.commit();
        }
        self.clock_ms = self.clock_ms.max(Some(slot.time_ms()));
        self.clock_committed_ms = self.clock_ms;
        self.sequence = slot.sequence();
        self.sequence_committed = self.sequence;
        self.expire();
        Ok(())
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
