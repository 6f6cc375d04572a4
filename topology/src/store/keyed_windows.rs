//! The store of windows whose places depend on the records: sessions, sliding windows, and the
//! records of a join. Rows are kept by key, then by window.

use std::hash::Hash;

use hashbrown::HashMap;
use headwater_log_store::Timestamp;

use crate::error::BoxError;
use crate::record::Headers;
use crate::serdes::SerdeRef;
use crate::store::appended_lines::AppendedLines;
use crate::store::keyed_on_disk::KeyedOnDisk;
use crate::store::keyed_rows::{KeyNumber, KeyedRows};
use crate::store::record_cache::RecordCache;
use crate::store::slots::{JoinSlot, Slot};
use crate::store::stream_times::StreamTimes;
use crate::store::table::ValueAndTimestamp;
use crate::store::window_options::WindowStoreOptions;

/// A row of such a store: its window, and its key.
pub(crate) type SlotKey<S, K> = (S, K);

/// See the module.
///
/// The store has a clock of its own, the latest time of a row that was put into it. What lies a
/// retention before that is hidden, and gone with the next commit.
pub(crate) struct KeyedWindowStore<K, S, V> {
    pub(super) name: String,
    pub(super) options: WindowStoreOptions,
    pub(super) rows: KeyedRows<K, S, V>,
    /// The lines of the rows that were added since the last commit, if all changes are such.
    pub(super) lines: AppendedLines<S>,
    pub(super) times: StreamTimes,
    pub(super) clock_ms: Option<i64>,
    pub(super) clock_committed_ms: Option<i64>,
    pub(super) cache: Option<RecordCache<SlotKey<S, K>, V>>,
    /// The committed rows, if they are on disk. Those of a key are then in memory all or not at
    /// all; a key without any may be there too.
    pub(super) disk: Option<KeyedOnDisk<K, S>>,
    /// The headers of rows since the last commit that have some, for the changelog alone.
    pub(super) headers: HashMap<S, Headers>,
    /// The number of the last row that got one.
    pub(super) sequence: i32,
    pub(super) sequence_committed: i32,
    pub(super) key_serde: SerdeRef<K>,
    pub(super) value_serde: SerdeRef<V>,
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
            rows: KeyedRows::new(options.retention_ms),
            lines: AppendedLines::new(),
            headers: HashMap::new(),
            times: options.times(),
            clock_ms: None,
            clock_committed_ms: None,
            cache: None,
            disk: None,
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

    /// An operator's stream time.
    pub(crate) fn observed_ms(&self, operator: usize) -> Option<i64> {
        self.times.get(operator)
    }

    /// The close time of the last emission.
    pub(crate) fn emitted_ms(&self) -> Option<i64> {
        self.times.get(self.options.operators)
    }

    pub(crate) fn set_emitted(&mut self, close_ms: i64) {
        self.times.advance(self.options.operators, close_ms);
    }

    /// Brings the rows of a key into memory, if they are on disk.
    #[inline]
    pub(crate) fn load(&mut self, key: &K) {
        if self.disk.is_some() {
            self.load_from_disk(key);
        }
    }

    /// The rows of a key from a time up to and including another one that are not hidden. They are
    /// [loaded](Self::load) before.
    pub(crate) fn rows_of(
        &self,
        key: &K,
        from_ms: i64,
        to_ms: i64,
    ) -> impl DoubleEndedIterator<Item = (S, &ValueAndTimestamp<V>)> {
        debug_assert!(self.disk.is_none() || self.rows.contains_key(key), "it is to be loaded");
        let visible_ms = self.visible_from(from_ms);
        let from_ms = if self.cache.is_some() { from_ms } else { visible_ms };
        self.rows
            .rows_of(key, S::first(from_ms), S::first(to_ms.saturating_add(1)))
            .filter(move |(slot, _)| slot.time_ms() >= visible_ms || self.has_cached(key, *slot))
    }

    /// A row, unless it is hidden.
    pub(crate) fn get(&mut self, key: &K, slot: S) -> Option<&ValueAndTimestamp<V>> {
        self.load(key);
        self.rows
            .get(key, slot)
            .filter(|_| slot.time_ms() >= self.visible_from(i64::MIN) || self.has_cached(key, slot))
    }

    pub(super) fn has_cached(&self, key: &K, slot: S) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.contains(&(slot, key.clone())))
    }

    /// Sets or removes a row. The store's clock goes forward either way, but only when the cache
    /// is flushed if there is one.
    pub(crate) fn put(&mut self, key: &K, slot: S, row: Option<ValueAndTimestamp<V>>) {
        self.load(key);
        match &mut self.cache {
            Some(cache) => {
                let row = || Some(self.rows.get(key, slot)?.value.clone());
                cache.begin(&(slot, key.clone()), row);
            }
            None => self.clock_ms = self.clock_ms.max(Some(slot.time_ms())),
        }
        if let Some(disk) = &mut self.disk {
            disk.resident += 1;
        }
        self.rows.change(key, slot, row);
    }

    /// The rows of all keys from a time up to and including another one that are not over: by
    /// slot, then by the bytes of their keys.
    pub(crate) fn visible(
        &self,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(S, K, ValueAndTimestamp<V>)>, BoxError> {
        let expired_ms = self.options.expired_ms(&self.times, self.clock_ms);
        let from_ms = expired_ms.map_or(from_ms, |expired| from_ms.max(expired.saturating_add(1)));
        if from_ms > to_ms {
            return Ok(Vec::new());
        }
        if let Some(disk) = &self.disk {
            return self.visible_with_disk(disk, from_ms, to_ms);
        }
        self.sorted(self.rows.between(from_ms, to_ms))
    }

    /// The committed rows of one key, or of all, from a time up to and including another one: by
    /// slot, then by the bytes of their keys.
    pub(crate) fn committed(
        &self,
        key: Option<&K>,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(S, K, ValueAndTimestamp<V>)>, BoxError> {
        if let Some(disk) = &self.disk {
            return self.committed_on_disk(disk, key, from_ms, to_ms);
        }
        // What was over at the last commit is gone since then, but for what the cache has kept.
        let expired_ms = self
            .cache
            .as_ref()
            .and_then(|_| self.options.expired_ms(&self.times, self.clock_committed_ms));
        let asked = |(slot, of, _): &(S, &K, &ValueAndTimestamp<V>)| {
            (from_ms..=to_ms).contains(&slot.time_ms())
                && key.is_none_or(|key| *of == key)
                && (expired_ms.is_none_or(|expired_ms| slot.time_ms() > expired_ms)
                    || self.has_cached(of, *slot))
        };
        self.sorted(self.rows.committed().filter(asked))
    }

    pub(super) fn sorted<'a>(
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

    fn visible_from(&self, from_ms: i64) -> i64 {
        let hidden_ms = self.options.hidden_ms(self.clock_ms);
        hidden_ms.map_or(from_ms, |hidden_ms| from_ms.max(hidden_ms.saturating_add(1)))
    }

    /// Drops the rows whose retention is over: only at a commit, so that an abort finds them.
    pub(super) fn expire(&mut self) {
        let Some(expired_ms) = self.options.expired_ms(&self.times, self.clock_ms) else { return };
        if let Some(disk) = &mut self.disk {
            disk.expired_ms = Some(expired_ms);
        }
        let Self { rows, cache, .. } = self;
        rows.expire(expired_ms, |key, slot| {
            cache.as_ref().is_some_and(|cache| cache.contains(&(slot, key.clone())))
        });
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> KeyedWindowStore<K, JoinSlot, V> {
    /// The number of a key that records will be [added](Self::add) to, until the next commit.
    pub(crate) fn number(&mut self, key: &K) -> KeyNumber {
        self.load(key);
        self.rows.number(key)
    }

    /// Adds a record, also where there is one of its key and time.
    pub(crate) fn add(
        &mut self,
        number: KeyNumber,
        value: V,
        timestamp: Timestamp,
        headers: &Headers,
    ) {
        debug_assert!(self.cache.is_none(), "the records of a join have no cache");
        // As in Kafka the numbers begin anew after the largest; by then those are long gone.
        self.sequence = self.sequence.checked_add(1).unwrap_or(0);
        let slot = JoinSlot { time_ms: timestamp.as_millis(), sequence: self.sequence };
        if !headers.is_empty() {
            self.headers.insert(slot, headers.clone());
        }
        self.clock_ms = self.clock_ms.max(Some(slot.time_ms()));
        if let Some(disk) = &mut self.disk {
            disk.resident += 1;
        }
        let row = ValueAndTimestamp { value, timestamp };
        if let Some(key) = self.rows.key(number) {
            // What cannot be written has no line here, and the commit says why.
            let serdes = (&*self.key_serde, &*self.value_serde);
            let _ = self.lines.push(serdes, (key, slot, &row));
        }
        self.rows.set(number, slot, row);
    }
}

#[cfg(test)]
mod tests {
    use super::KeyedWindowStore;
    use crate::record::Headers;
    use crate::serdes::DefaultSerde;
    use crate::store::managed::ManagedStore;
    use crate::store::slots::{JoinSlot, Session, Slot, WindowStart};
    use crate::store::table::ValueAndTimestamp;
    use crate::store::window_options::{Emission, WindowStoreOptions};
    use headwater_log_store::Timestamp;

    type Store<S> = KeyedWindowStore<String, S, String>;

    fn store<S: Slot>(retention_ms: i64, emission: Option<Emission>) -> Store<S> {
        let options = WindowStoreOptions { retention_ms, operators: 1, emission };
        let serde = String::default_serde;
        KeyedWindowStore::new("s".to_owned(), options, serde(), serde())
    }

    fn row(value: &str, time_ms: i64) -> Option<ValueAndTimestamp<String>> {
        let timestamp = Timestamp::from_millis(time_ms);
        Some(ValueAndTimestamp { value: value.to_owned(), timestamp })
    }

    fn logged<S: Slot>(store: &Store<S>) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let mut lines = Vec::new();
        store
            .log_changes(&mut |record| {
                lines.push((record.key.to_vec(), record.value.map(<[u8]>::to_vec)));
                Ok(())
            })
            .unwrap();
        lines
    }

    fn values<S: Slot>(store: &Store<S>) -> Vec<String> {
        let rows = store.visible(i64::MIN, i64::MAX).unwrap();
        rows.into_iter().map(|(_, key, row)| format!("{key}{}", row.value)).collect()
    }

    const SEVEN: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 7];
    const FIVE: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 5];

    #[test]
    fn each_row_is_logged_once_in_kafkas_bytes_with_its_last_value() {
        let key = "k".to_owned();
        let mut sessions = store::<Session>(10, None);
        let session = Session { end_ms: 7, start_ms: 5 };
        sessions.put(&key, session, row("a", 7));
        sessions.put(&key, session, row("b", 7));
        let bytes = [b"k".as_slice(), &SEVEN, &FIVE].concat();
        assert_eq!(logged(&sessions), [(bytes.clone(), Some(b"b".to_vec()))]);
        sessions.commit();
        sessions.put(&key, session, None);
        assert_eq!(logged(&sessions), [(bytes, None)]);
        let mut sliding = store::<WindowStart>(10, None);
        sliding.put(&key, WindowStart(5), row("a", 7));
        let bytes = [b"k".as_slice(), &FIVE, &[0, 0, 0, 0]].concat();
        assert_eq!(logged(&sliding), [(bytes, Some(b"a".to_vec()))]);
    }

    #[test]
    fn the_records_of_a_join_are_numbered_from_one_and_an_abort_takes_numbers_back() {
        let key = "k".to_owned();
        let at_five = Timestamp::from_millis(5);
        let mut store = store::<JoinSlot>(10, None);
        let add = |store: &mut Store<JoinSlot>, value: &str| {
            let number = store.number(&key);
            store.add(number, value.to_owned(), at_five, &Headers::none());
        };
        add(&mut store, "a");
        add(&mut store, "b");
        let line = |number: u8, value: &[u8]| {
            ([b"k".as_slice(), &FIVE, &[0, 0, 0, number]].concat(), Some(value.to_vec()))
        };
        assert_eq!(logged(&store), [line(1, b"a"), line(2, b"b")]);
        store.abort();
        assert_eq!(values(&store), Vec::<String>::new());
        add(&mut store, "c");
        assert_eq!(logged(&store), [line(1, b"c")]);
    }

    #[test]
    fn an_abort_puts_rows_and_clock_back_and_queries_see_what_is_committed() {
        let (k, q) = ("k".to_owned(), "q".to_owned());
        let mut store = store::<WindowStart>(10, None);
        store.put(&k, WindowStart(0), row("a", 1));
        store.put(&q, WindowStart(0), row("b", 1));
        store.commit();
        store.put(&k, WindowStart(0), row("c", 2));
        store.put(&q, WindowStart(0), None);
        store.put(&q, WindowStart(5), row("d", 5));
        let committed = store.committed(None, i64::MIN, i64::MAX).unwrap();
        let committed: Vec<_> = committed.into_iter().map(|(_, _, row)| row.value).collect();
        assert_eq!(committed, ["a", "b"]);
        assert_eq!(values(&store), ["kc", "qd"]);
        // A row so late in time that the others would be hidden by it.
        store.put(&k, WindowStart(90), row("e", 90));
        assert_eq!(values(&store), ["ke"]);
        store.abort();
        assert_eq!(values(&store), ["ka", "qb"]);
        assert_eq!(store.dirty_len(), 0);
    }

    #[test]
    fn rows_are_hidden_by_the_stores_own_clock_and_gone_with_the_next_commit() {
        let key = "k".to_owned();
        let mut store = store::<Session>(10, None);
        for (end_ms, value) in [(0, "a"), (10, "b")] {
            store.put(&key, Session { end_ms, start_ms: 0 }, row(value, end_ms));
        }
        assert_eq!(values(&store), ["kb"]);
        assert_eq!(store.get(&key, Session { end_ms: 0, start_ms: 0 }), None);
        store.commit();
        assert_eq!(store.resident_rows(), 1);
    }

    #[test]
    fn windows_that_were_not_emitted_are_kept_if_the_store_is_to() {
        let key = "k".to_owned();
        for keeps_windows in [true, false] {
            let emission = Emission { span_ms: 1, extra_ms: 0, keeps_windows };
            let mut store = store::<Session>(10, Some(emission));
            store.put(&key, Session { end_ms: 0, start_ms: 0 }, row("a", 0));
            store.put(&key, Session { end_ms: 90, start_ms: 90 }, row("b", 90));
            store.commit();
            let found = values(&store);
            assert_eq!(found.len(), if keeps_windows { 2 } else { 1 }, "{found:?}");
            store.set_emitted(1);
            store.commit();
            assert_eq!(values(&store), ["kb"]);
        }
    }
}
