//! The window store in memory: a table per window start, dropped whole when its time is over.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::rc::Rc;

use headwater_log_store::{RecordView, Timestamp};

use crate::error::{BoxError, Error, Result};
use crate::serdes::SerdeRef;
use crate::store::managed::{ChangelogRecord, ChangelogWriter, ManagedStore};
use crate::store::record_cache::{CacheBudget, RecordCache};
use crate::store::stream_times::StreamTimes;
use crate::store::table::{Isolation, Table, ValueAndTimestamp};

/// What follows the key in a changelog: the window's start and, always 0 here, a sequence number.
const KEY_SUFFIX_BYTES: usize = 12;

/// Where the close time up to which windows were emitted stands among the times of a store: after
/// those of its operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Emission {
    /// A window is emitted when its time (its start, or the end of a session) and this many
    /// milliseconds lie at or before close time.
    pub(crate) span_ms: i64,
    /// How much longer than its retention a window is visible.
    pub(crate) extra_ms: i64,
    /// Whether windows are kept until they were emitted, however long that takes.
    pub(crate) keeps_windows: bool,
}

/// What a store of windows is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowStoreOptions {
    pub(crate) retention_ms: i64,
    /// How many operators share it, each with its own stream time.
    pub(crate) operators: usize,
    /// Set where windows are emitted when they close.
    pub(crate) emission: Option<Emission>,
}

impl WindowStoreOptions {
    /// The times of such a store. Those of one operator that emits updates are in its rows.
    pub(crate) fn times(&self) -> StreamTimes {
        let logged = self.emission.is_some() || self.operators > 1;
        StreamTimes::new(self.operators + usize::from(self.emission.is_some()), logged)
    }

    /// The last time, by the clock of the store, whose windows are hidden.
    pub(crate) fn hidden_ms(&self, clock_ms: Option<i64>) -> Option<i64> {
        let extra_ms = self.emission.map_or(0, |emission| emission.extra_ms);
        Some(clock_ms?.saturating_sub(self.retention_ms).saturating_sub(extra_ms))
    }

    /// The last time whose windows are over: they are hidden, and need not be emitted any more.
    pub(crate) fn expired_ms(&self, times: &StreamTimes, clock_ms: Option<i64>) -> Option<i64> {
        let hidden_ms = self.hidden_ms(clock_ms)?;
        match self.emission.filter(|emission| emission.keeps_windows) {
            Some(Emission { span_ms, .. }) => {
                Some(hidden_ms.min(times.get(self.operators)?.saturating_sub(span_ms)))
            }
            None => Some(hidden_ms),
        }
    }
}

/// A row of a window store: the start of its window, and its key.
pub(crate) type WindowKey<K> = (i64, K);

/// Typed values by window start and key, each with a timestamp.
///
/// The store has a clock of its own, the latest start of a window that was put into it. What
/// started a retention before that is hidden, and gone with the next commit.
pub(crate) struct WindowStore<K, V> {
    name: String,
    pub(super) options: WindowStoreOptions,
    pub(super) windows: BTreeMap<i64, Table<K, V>>,
    /// The starts of the windows with changes, in the order of their first change.
    dirty: Vec<i64>,
    /// The changed keys of all windows, because commits ask for their number at every record.
    dirty_keys: usize,
    /// The stream time of each operator, then the close time of the last emission.
    times: StreamTimes,
    pub(super) clock_ms: Option<i64>,
    clock_committed_ms: Option<i64>,
    pub(super) cache: Option<RecordCache<WindowKey<K>, V>>,
    pub(super) key_serde: SerdeRef<K>,
    pub(super) value_serde: SerdeRef<V>,
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> WindowStore<K, V> {
    pub(crate) fn new(
        name: String,
        options: WindowStoreOptions,
        key_serde: SerdeRef<K>,
        value_serde: SerdeRef<V>,
    ) -> Self {
        Self {
            name,
            options,
            windows: BTreeMap::new(),
            dirty: Vec::new(),
            dirty_keys: 0,
            times: options.times(),
            clock_ms: None,
            clock_committed_ms: None,
            cache: None,
            key_serde,
            value_serde,
        }
    }

    /// Advances an operator's stream time to `timestamp` if that is later, and returns it.
    #[inline]
    pub(crate) fn observe(&mut self, operator: usize, timestamp: Timestamp) -> i64 {
        self.times.advance(operator, timestamp.as_millis())
    }

    /// The value of a key in the window that starts at `start_ms`, to be changed in place.
    #[inline]
    pub(crate) fn change(&mut self, key: &K, start_ms: i64) -> &mut Option<ValueAndTimestamp<V>> {
        let is_hidden = self.is_hidden(key, start_ms);
        match &mut self.cache {
            Some(cache) => {
                let row = || {
                    let row = self.windows.get(&start_ms)?.get(key, Isolation::Current)?;
                    Some(row.value.clone())
                };
                cache.begin(&(start_ms, key.clone()), row);
            }
            None => self.clock_ms = self.clock_ms.max(Some(start_ms)),
        }
        let window = self.windows.entry(start_ms).or_insert_with(Table::new);
        if window.dirty_len() == 0 {
            self.dirty.push(start_ms);
        }
        let slot = window.change_counted(key, &mut self.dirty_keys);
        if is_hidden {
            // What is hidden is gone, whether or not a commit has removed it yet.
            *slot = None;
        }
        slot
    }

    /// The value of a key in the window that starts at `start_ms`, unless it is hidden.
    pub(crate) fn get(&self, key: &K, start_ms: i64) -> Option<&ValueAndTimestamp<V>> {
        if self.is_hidden(key, start_ms) {
            return None;
        }
        self.windows.get(&start_ms)?.get(key, Isolation::Current)
    }

    /// Whether the store's clock has left a row behind that the cache does not have.
    fn is_hidden(&self, key: &K, start_ms: i64) -> bool {
        let hidden_ms = self.options.hidden_ms(self.clock_ms);
        hidden_ms.is_some_and(|hidden_ms| start_ms <= hidden_ms) && !self.has_cached(key, start_ms)
    }

    fn has_cached(&self, key: &K, start_ms: i64) -> bool {
        self.cache.as_ref().is_some_and(|cache| cache.contains(&(start_ms, key.clone())))
    }

    /// The rows of a key in the windows that start from `from_ms` up to and including `to_ms`, but
    /// for those that are hidden.
    pub(crate) fn rows_of(
        &self,
        key: &K,
        from_ms: i64,
        to_ms: i64,
    ) -> impl Iterator<Item = (i64, &ValueAndTimestamp<V>)> {
        let windows = (from_ms <= to_ms).then(|| self.windows.range(from_ms..=to_ms));
        windows
            .into_iter()
            .flatten()
            .filter_map(move |(start_ms, _)| Some((*start_ms, self.get(key, *start_ms)?)))
    }

    /// The close time of the last emission.
    pub(crate) fn emitted_ms(&self) -> Option<i64> {
        self.times.get(self.options.operators)
    }

    pub(crate) fn set_emitted(&mut self, close_ms: i64) {
        self.times.advance(self.options.operators, close_ms);
    }

    /// All values of the windows that start from `from_ms` up to and including `to_ms` and are not
    /// over: by window start, then by the bytes of their keys.
    pub(crate) fn visible(
        &self,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(i64, K, ValueAndTimestamp<V>)>, BoxError> {
        self.rows(from_ms, to_ms, Isolation::Current)
    }

    /// The committed values of a key, by window start, from `from_ms` up to and including `to_ms`.
    pub(crate) fn fetch(
        &self,
        key: &K,
        from_ms: i64,
        to_ms: i64,
    ) -> Vec<(i64, ValueAndTimestamp<V>)> {
        if from_ms > to_ms {
            return Vec::new();
        }
        let expired_ms = self.expired_ms(Isolation::Committed);
        let windows = self.windows.range(from_ms..=to_ms);
        windows
            .filter(|(start, _)| self.is_kept(key, **start, expired_ms))
            .filter_map(|(start, table)| {
                Some((*start, table.get(key, Isolation::Committed)?.clone()))
            })
            .collect()
    }

    /// All committed values of the windows that start from `from_ms` up to and including `to_ms`:
    /// by window start, then by the bytes of their keys.
    pub(crate) fn fetch_all(
        &self,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(i64, K, ValueAndTimestamp<V>)>, BoxError> {
        self.rows(from_ms, to_ms, Isolation::Committed)
    }

    fn rows(
        &self,
        from_ms: i64,
        to_ms: i64,
        isolation: Isolation,
    ) -> Result<Vec<(i64, K, ValueAndTimestamp<V>)>, BoxError> {
        let mut found = Vec::new();
        if from_ms > to_ms {
            return Ok(found);
        }
        let expired_ms = self.expired_ms(isolation);
        for (start, table) in self.windows.range(from_ms..=to_ms) {
            let mut window = Vec::new();
            let rows = table.iter(isolation);
            for (key, value) in rows.filter(|(key, _)| self.is_kept(key, *start, expired_ms)) {
                let mut bytes = Vec::new();
                self.key_serde.serialize(key, &mut bytes)?;
                window.push((bytes, key.clone(), value.clone()));
            }
            window.sort_by(|a, b| a.0.cmp(&b.0));
            found.extend(window.into_iter().map(|(_, key, value)| (*start, key, value)));
        }
        Ok(found)
    }

    /// Drops the windows whose retention is over: only at a commit, so that an abort finds them.
    fn expire(&mut self) {
        let Some(expired_ms) = self.options.expired_ms(&self.times, self.clock_ms) else { return };
        let cached = self.cached_starts(expired_ms);
        while let Some(first) =
            self.windows.first_entry().filter(|first| *first.key() <= expired_ms)
            && cached.is_empty()
        {
            first.remove();
        }
        if !cached.is_empty() {
            self.windows.retain(|start, _| *start > expired_ms || cached.contains(start));
        }
    }

    /// The last start whose windows are over. Those that are so as of the last commit are gone
    /// since then, but for what the cache has kept.
    fn expired_ms(&self, isolation: Isolation) -> Option<i64> {
        match isolation {
            Isolation::Current => self.options.expired_ms(&self.times, self.clock_ms),
            Isolation::Committed => {
                self.cache.as_ref()?;
                self.options.expired_ms(&self.times, self.clock_committed_ms)
            }
        }
    }

    /// The starts of windows up to `expired_ms` that have rows in the cache.
    fn cached_starts(&self, expired_ms: i64) -> BTreeSet<i64> {
        let Some(cache) = &self.cache else { return BTreeSet::new() };
        let starts = cache.keys().map(|(start, _)| *start);
        starts.filter(|start| *start <= expired_ms).collect()
    }

    /// Whether a row is not over, or the cache has it.
    fn is_kept(&self, key: &K, start_ms: i64, expired_ms: Option<i64>) -> bool {
        expired_ms.is_none_or(|expired_ms| start_ms > expired_ms) || self.has_cached(key, start_ms)
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> ManagedStore for WindowStore<K, V> {
    fn format_name(&self) -> String {
        let (key, value) = (self.key_serde.format_name(), self.value_serde.format_name());
        format!("window store of {key} and {value}")
    }

    fn dirty_len(&self) -> usize {
        self.dirty_keys + self.times.dirty_len()
    }

    fn log_changes(&self, write: &mut ChangelogWriter<'_>) -> Result<()> {
        let (mut key_bytes, mut value_bytes) = (Vec::new(), Vec::new());
        let serde_error = |what: &str, reason: &BoxError| Error::Serde {
            what: format!("a {what} of store {}", self.name),
            reason: reason.to_string(),
        };
        let observed = self.times.get(0).map(Timestamp::from_millis);
        for start in &self.dirty {
            let Some(window) = self.windows.get(start) else { continue };
            for (key, value) in window.dirty() {
                key_bytes.clear();
                value_bytes.clear();
                self.key_serde
                    .serialize(key, &mut key_bytes)
                    .map_err(|reason| serde_error("key", &reason))?;
                key_bytes.extend_from_slice(&start.to_be_bytes());
                key_bytes.extend_from_slice(&0_i32.to_be_bytes());
                if let Some(value) = value {
                    self.value_serde
                        .serialize(&value.value, &mut value_bytes)
                        .map_err(|reason| serde_error("value", &reason))?;
                }
                write(ChangelogRecord {
                    key: &key_bytes,
                    value: value.map(|_| value_bytes.as_slice()),
                    timestamp: value.map(|value| value.timestamp).or(observed),
                    headers: None,
                })?;
            }
        }
        self.times.log(write)
    }

    fn commit(&mut self) {
        for start in self.dirty.drain(..) {
            if let Some(window) = self.windows.get_mut(&start) {
                window.commit(|_| ());
            }
        }
        self.dirty_keys = 0;
        self.times.commit();
        self.clock_committed_ms = self.clock_ms;
        self.expire();
    }

    fn abort(&mut self) {
        for start in self.dirty.drain(..) {
            if let Some(window) = self.windows.get_mut(&start) {
                window.abort(|_| ());
                // A window that only the aborted work has opened leaves nothing behind.
                if window.is_empty() {
                    self.windows.remove(&start);
                }
            }
        }
        self.dirty_keys = 0;
        self.times.abort();
        self.clock_ms = self.clock_committed_ms;
        if let Some(cache) = &mut self.cache {
            cache.clear();
        }
    }

    fn restore(&mut self, record: &RecordView<'_>) -> Result<(), BoxError> {
        let bytes = record.key.ok_or("its key is null")?;
        if self.times.restore(bytes, record.value)? {
            return Ok(());
        }
        let (key, suffix) = bytes
            .split_last_chunk::<KEY_SUFFIX_BYTES>()
            .ok_or("its key is too short for that of a window")?;
        let (start, _sequence) = suffix.split_first_chunk::<8>().expect("12 bytes hold 8");
        let start_ms = i64::from_be_bytes(*start);
        let key = self.key_serde.deserialize(key)?;
        let value = record.value.map(|bytes| {
            let value = self.value_serde.deserialize(bytes)?;
            Ok::<_, BoxError>(ValueAndTimestamp { value, timestamp: record.timestamp })
        });
        self.windows.entry(start_ms).or_insert_with(Table::new).restore(&key, value.transpose()?);
        if self.options.operators == 1 {
            // A record is part of some window or late, and a late one is older than an earlier
            // one: so the latest time in the changelog is the latest that the operator has seen.
            self.observe(0, record.timestamp);
            self.times.commit();
        }
        self.clock_ms = self.clock_ms.max(Some(start_ms));
        self.clock_committed_ms = self.clock_ms;
        self.expire();
        Ok(())
    }

    fn cache_within(&mut self, budget: &Rc<CacheBudget>) {
        self.cache = Some(RecordCache::new(budget));
    }

    fn forget_stream_times(&mut self) {
        self.times.forget(self.options.operators);
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::{Emission, WindowStore, WindowStoreOptions};
    use crate::serdes::DefaultSerde;
    use crate::store::managed::ManagedStore;
    use crate::store::table::ValueAndTimestamp;
    use headwater_log_store::Timestamp;

    fn store(emission: Option<Emission>) -> WindowStore<String, i64> {
        let options = WindowStoreOptions { retention_ms: 10, operators: 1, emission };
        let (keys, values) = (String::default_serde(), i64::default_serde());
        WindowStore::new("s".to_owned(), options, keys, values)
    }

    fn put(store: &mut WindowStore<String, i64>, start_ms: i64, value: i64) {
        let timestamp = Timestamp::from_millis(start_ms);
        let slot = store.change(&"k".to_owned(), start_ms);
        *slot = Some(ValueAndTimestamp { value, timestamp });
    }

    fn visible(store: &WindowStore<String, i64>) -> Vec<i64> {
        let rows = store.visible(i64::MIN, i64::MAX).unwrap();
        rows.into_iter().map(|(_, _, row)| row.value).collect()
    }

    #[test]
    fn windows_are_hidden_by_the_stores_own_clock_and_an_abort_puts_it_back() {
        let mut store = store(None);
        put(&mut store, 0, 1);
        store.commit();
        put(&mut store, 10, 2);
        assert_eq!(visible(&store), [2]);
        assert_eq!(store.get(&"k".to_owned(), 0), None);
        assert_eq!(*store.change(&"k".to_owned(), 0), None, "hidden before the commit as after it");
        store.abort();
        assert_eq!(visible(&store), [1]);
        assert_eq!(store.dirty_len(), 0);
    }

    #[test]
    fn the_close_time_of_an_emission_is_committed_and_taken_back_with_the_windows() {
        let emission = Emission { span_ms: 10, extra_ms: 1, keeps_windows: true };
        let mut store = store(Some(emission));
        put(&mut store, 0, 1);
        put(&mut store, 50, 2);
        store.commit();
        assert_eq!(visible(&store), [1, 2], "not emitted, so kept");
        store.set_emitted(10);
        assert_eq!((visible(&store), store.emitted_ms()), (vec![2], Some(10)));
        store.abort();
        assert_eq!((visible(&store), store.emitted_ms()), (vec![1, 2], None));
        store.set_emitted(10);
        assert_eq!(store.dirty_len(), 1, "the time is logged");
        store.commit();
        assert_eq!(store.windows.len(), 1);
    }
}
