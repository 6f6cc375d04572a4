//! The key-value store: typed rows in memory, all of them or those in use of a store on disk.

use std::any::Any;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;

use headwater_log_store::RecordView;

use crate::error::{BoxError, Error, Result};
use crate::serdes::{Serde, SerdeRef};
use crate::store::backed_rows::BackedRows;
use crate::store::managed::{ChangelogRecord, ChangelogWriter, ManagedStore};
use crate::store::record_cache::{
    CacheBudget, CachedStore, Cause, Held, RecordCache, Update, row_bytes,
};
use crate::store::table::{Isolation, Table, ValueAndTimestamp};

/// A row with the bytes of its key, which rows are ordered by.
pub(crate) type Row<K, V> = (Vec<u8>, K, ValueAndTimestamp<V>);

/// A row by reference.
type RowRef<'a, K, V> = (&'a Vec<u8>, &'a K, &'a ValueAndTimestamp<V>);

/// Typed values by key, each with a timestamp.
pub(crate) struct KeyValueStore<K, V> {
    name: String,
    table: Table<K, V>,
    /// The keys by their bytes, from the first ordered read on.
    index: Option<BTreeMap<Vec<u8>, K>>,
    cache: Option<RecordCache<K, V>>,
    /// The committed rows, if they are on disk; the table then has only some of them.
    backed: Option<BackedRows>,
    key_serde: SerdeRef<K>,
    value_serde: SerdeRef<V>,
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> KeyValueStore<K, V> {
    pub(crate) fn new(name: String, key_serde: SerdeRef<K>, value_serde: SerdeRef<V>) -> Self {
        let (table, index, cache, backed) = (Table::new(), None, None, None);
        Self { name, table, index, cache, backed, key_serde, value_serde }
    }

    /// The value of a key, to be changed in place.
    #[inline]
    pub(crate) fn change(&mut self, key: &K) -> &mut Option<ValueAndTimestamp<V>> {
        let is_loaded = self.index.is_some() || self.cache.is_some();
        if is_loaded {
            self.prepare_change(key);
        }
        let Self { table, backed, key_serde, value_serde, .. } = self;
        match backed {
            Some(backed) if !is_loaded => {
                table.change_or_load(key, || load_row(backed, &**key_serde, &**value_serde, key))
            }
            _ => table.change(key),
        }
    }

    /// Brings the row of a key into the table, and tells index and cache that it changes.
    fn prepare_change(&mut self, key: &K) {
        self.load(key);
        if self.index.is_some() && self.table.get(key, Isolation::Current).is_none() {
            // An index that misses a key would hide it.
            let bytes = self.serialize_key(key).ok();
            self.index = self.index.take().zip(bytes).map(|(mut index, bytes)| {
                index.insert(bytes, key.clone());
                index
            });
        }
        if let Some(cache) = &mut self.cache {
            let row = || self.table.get(key, Isolation::Current).map(|row| row.value.clone());
            cache.begin(key, row);
        }
    }

    pub(crate) fn get(&mut self, key: &K, isolation: Isolation) -> Option<&ValueAndTimestamp<V>> {
        self.load(key);
        self.table.get(key, isolation)
    }

    /// Brings the row of a key into the table, if it is on disk.
    #[inline]
    fn load(&mut self, key: &K) {
        if self.backed.is_some() && !self.table.touch(key) {
            self.load_from_disk(key);
        }
    }

    fn load_from_disk(&mut self, key: &K) {
        let Some(backed) = &mut self.backed else { return };
        if let Some(row) = load_row(backed, &*self.key_serde, &*self.value_serde, key) {
            self.table.restore(key.clone(), Some(row));
        }
    }

    /// Up to `limit` rows in the order of their keys' bytes.
    pub(crate) fn page(
        &mut self,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        isolation: Isolation,
        limit: usize,
    ) -> Result<Vec<Row<K, V>>, BoxError> {
        if self.backed.is_some() {
            return self.rows_on_disk((from, to), isolation, limit, false);
        }
        let rows = self.rows(from, to, isolation)?;
        Ok(rows
            .take(limit)
            .map(|(bytes, key, row)| (bytes.clone(), key.clone(), row.clone()))
            .collect())
    }

    /// As [`page`](Self::page), from the end.
    pub(crate) fn page_from_end(
        &mut self,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        isolation: Isolation,
        limit: usize,
    ) -> Result<Vec<Row<K, V>>, BoxError> {
        if self.backed.is_some() {
            return self.rows_on_disk((from, to), isolation, limit, true);
        }
        let rows = self.rows(from, to, isolation)?.rev();
        Ok(rows
            .take(limit)
            .map(|(bytes, key, row)| (bytes.clone(), key.clone(), row.clone()))
            .collect())
    }

    fn rows(
        &mut self,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        isolation: Isolation,
    ) -> Result<impl DoubleEndedIterator<Item = RowRef<'_, K, V>>, BoxError> {
        if self.index.is_none() {
            self.index = Some(self.build_index()?);
        }
        let index = self.index.as_ref().expect("it was just built");
        let range = if is_empty_range(&from, &to) { None } else { Some(index.range((from, to))) };
        let table = &self.table;
        Ok(range
            .into_iter()
            .flatten()
            .filter_map(move |(bytes, key)| Some((bytes, key, table.get(key, isolation)?))))
    }

    /// About how many rows there are.
    pub(crate) fn len(&self) -> usize {
        self.backed.as_ref().map_or(self.table.len(), BackedRows::len)
    }

    /// Up to `limit` rows of a store on disk: its own, where none was changed since the last
    /// commit.
    fn rows_on_disk(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        isolation: Isolation,
        limit: usize,
        from_end: bool,
    ) -> Result<Vec<Row<K, V>>, BoxError> {
        let Some(backed) = self.backed.as_ref().filter(|_| limit > 0) else {
            return Ok(Vec::new());
        };
        if is_empty_range(&range.0, &range.1) {
            return Ok(Vec::new());
        }
        let mut changed = match isolation {
            Isolation::Current => self.changed_rows(&range)?,
            Isolation::Committed => BTreeMap::new(),
        };
        let mut rows = Vec::new();
        backed.visit(range, from_end, |bytes, (timestamp, value)| {
            let comes_before = |changed: &Vec<u8>| {
                if from_end { changed.as_slice() > bytes } else { changed.as_slice() < bytes }
            };
            while let Some(change) = next_change(&mut changed, from_end, comes_before) {
                rows.extend(change);
            }
            match changed.remove(bytes) {
                Some(change) => rows.extend(change),
                None => {
                    let key = self.key_serde.deserialize(bytes)?;
                    let value = self.value_serde.deserialize(&value)?;
                    rows.push((bytes.to_vec(), key, ValueAndTimestamp { value, timestamp }));
                }
            }
            Ok(rows.len() < limit)
        })?;
        while let Some(change) = next_change(&mut changed, from_end, |_| true) {
            rows.extend(change);
        }
        rows.truncate(limit);
        Ok(rows)
    }

    /// The rows of a range that were changed since the last commit.
    fn changed_rows(
        &self,
        range: &(Bound<Vec<u8>>, Bound<Vec<u8>>),
    ) -> Result<Changed<K, V>, BoxError> {
        let mut changed = BTreeMap::new();
        for (key, row) in self.table.dirty() {
            let bytes = self.serialize_key(key)?;
            if range.contains(&bytes) {
                let row = row.map(|row| (bytes.clone(), key.clone(), row.clone()));
                changed.insert(bytes, row);
            }
        }
        Ok(changed)
    }

    pub(crate) fn serialize_key(&self, key: &K) -> Result<Vec<u8>, BoxError> {
        let mut bytes = Vec::new();
        self.key_serde.serialize(key, &mut bytes)?;
        Ok(bytes)
    }

    fn build_index(&self) -> Result<BTreeMap<Vec<u8>, K>, BoxError> {
        // Both views, so that a key that a commit removes or adds is in it before and after.
        let current = self.table.iter(Isolation::Current);
        let committed = self.table.iter(Isolation::Committed);
        current
            .chain(committed)
            .map(|(key, _)| Ok((self.serialize_key(key)?, key.clone())))
            .collect()
    }
}

/// The row of a key on disk. One that cannot be read is noted, and stops the next commit.
fn load_row<K: 'static, V: 'static>(
    backed: &mut BackedRows,
    key_serde: &dyn Serde<K>,
    value_serde: &dyn Serde<V>,
    key: &K,
) -> Option<ValueAndTimestamp<V>> {
    let mut bytes = Vec::new();
    if let Err(reason) = key_serde.serialize(key, &mut bytes) {
        backed.fail(&reason);
        return None;
    }
    backed.read(&bytes, |timestamp, value| {
        let value = value_serde.deserialize(value)?;
        Ok(ValueAndTimestamp { value, timestamp })
    })
}

/// Rows that were changed since the last commit, or removed, by the bytes of their keys.
type Changed<K, V> = BTreeMap<Vec<u8>, Option<Row<K, V>>>;

/// Takes the first of the changes, or the last one, if it is that far.
fn next_change<K, V>(
    changed: &mut Changed<K, V>,
    from_end: bool,
    is_next: impl Fn(&Vec<u8>) -> bool,
) -> Option<Option<Row<K, V>>> {
    let entry = if from_end { changed.last_entry() } else { changed.first_entry() };
    entry.filter(|entry| is_next(entry.key())).map(|entry| entry.remove())
}

/// Takes a key out of an index.
fn forget<K: 'static>(index: &mut Option<BTreeMap<Vec<u8>, K>>, key_serde: &SerdeRef<K>, key: &K) {
    let Some(keys) = index else { return };
    let mut bytes = Vec::new();
    match key_serde.serialize(key, &mut bytes) {
        Ok(()) => drop(keys.remove(&bytes)),
        Err(_) => *index = None,
    }
}

/// `BTreeMap::range` panics on a range whose start lies after its end.
fn is_empty_range(from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    match (from, to) {
        (Bound::Included(from) | Bound::Excluded(from), Bound::Excluded(to)) => from >= to,
        (Bound::Excluded(from), Bound::Included(to)) => from >= to,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> CachedStore<K, V> for KeyValueStore<K, V> {
    fn is_cached(&self) -> bool {
        self.cache.is_some()
    }

    fn hold(&mut self, key: &K, cause: Cause) {
        let Some(cache) = &mut self.cache else { return };
        let row = self.table.get(key, Isolation::Current);
        cache.hold(key, row_bytes(&*self.key_serde, &*self.value_serde, key, row), cause);
    }

    fn is_over_budget(&self) -> bool {
        self.cache.as_ref().is_some_and(RecordCache::is_over_budget)
    }

    fn evict(&mut self) -> Vec<Update<K, V>> {
        let held = self.cache.as_mut().map(RecordCache::evict).unwrap_or_default();
        self.updates(held)
    }

    fn flush(&mut self) -> Vec<Update<K, V>> {
        let held = self.cache.as_mut().map(RecordCache::flush).unwrap_or_default();
        self.updates(held)
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> KeyValueStore<K, V> {
    fn updates(&mut self, held: Vec<(K, Held<V>)>) -> Vec<Update<K, V>> {
        let updates = held.into_iter().map(|(key, held)| {
            let new = self.table.get(&key, Isolation::Current).cloned();
            if let Some(cache) = self.cache.as_mut().filter(|_| new.is_none()) {
                cache.remove(&key);
            }
            Update { key, old: held.before, new, cause: held.cause }
        });
        updates.collect()
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> ManagedStore for KeyValueStore<K, V> {
    fn resident_rows(&self) -> usize {
        self.table.len()
    }

    fn format_name(&self) -> String {
        let (key, value) = (self.key_serde.format_name(), self.value_serde.format_name());
        format!("key-value store of {key} and {value}")
    }

    fn dirty_len(&self) -> usize {
        self.table.dirty_len()
    }

    fn log_changes(&self, write: &mut ChangelogWriter<'_>) -> Result<()> {
        let (mut key_bytes, mut value_bytes) = (Vec::new(), Vec::new());
        let serde_error = |what: &str, reason: &BoxError| Error::Serde {
            what: format!("a {what} of store {}", self.name),
            reason: reason.to_string(),
        };
        if let Some(backed) = &self.backed {
            backed.begin();
        }
        for (key, value) in self.table.dirty() {
            key_bytes.clear();
            value_bytes.clear();
            self.key_serde
                .serialize(key, &mut key_bytes)
                .map_err(|reason| serde_error("key", &reason))?;
            if let Some(value) = value {
                self.value_serde
                    .serialize(&value.value, &mut value_bytes)
                    .map_err(|reason| serde_error("value", &reason))?;
            }
            if let Some(backed) = &self.backed {
                backed.add(&key_bytes, value.map(|value| (value.timestamp, &value_bytes[..])));
            }
            write(ChangelogRecord {
                key: &key_bytes,
                value: value.map(|_| value_bytes.as_slice()),
                timestamp: value.map(|value| value.timestamp),
                headers: None,
            })?;
        }
        Ok(())
    }

    fn commit(&mut self) {
        let Self { table, index, key_serde, backed, .. } = self;
        table.commit(|key| forget(index, key_serde, key));
        if let Some(backed) = backed {
            table.drop_clean(backed.resident_max());
        }
    }

    fn abort(&mut self) {
        let Self { table, index, key_serde, cache, .. } = self;
        table.abort(|key| forget(index, key_serde, key));
        if let Some(cache) = cache {
            cache.clear();
        }
        if let Some(backed) = &self.backed {
            backed.abort();
        }
    }

    fn back(&mut self, rows: BackedRows) -> bool {
        self.backed = Some(rows);
        true
    }

    fn backed(&mut self) -> Option<&mut BackedRows> {
        self.backed.as_mut()
    }

    fn restore(&mut self, record: &RecordView<'_>) -> Result<(), BoxError> {
        if let Some(backed) = &self.backed {
            return backed.restore(record);
        }
        let key = self.key_serde.deserialize(record.key.ok_or("its key is null")?)?;
        let value = record.value.map(|bytes| {
            let value = self.value_serde.deserialize(bytes)?;
            Ok::<_, BoxError>(ValueAndTimestamp { value, timestamp: record.timestamp })
        });
        self.table.restore(key, value.transpose()?);
        self.index = None;
        Ok(())
    }

    fn cache_within(&mut self, budget: &Rc<CacheBudget>) {
        self.cache = Some(RecordCache::new(budget));
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
