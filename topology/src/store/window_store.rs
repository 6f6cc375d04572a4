//! The window store: a table per window start, dropped whole when its time is over. Of a store on
//! disk the tables have the rows in use.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;

use headwater_log_store::Timestamp;

use crate::error::BoxError;
use crate::serdes::SerdeRef;
use crate::store::record_cache::RecordCache;
use crate::store::stream_times::StreamTimes;
use crate::store::table::{Isolation, Table, ValueAndTimestamp};
use crate::store::window_options::WindowStoreOptions;
use crate::store::windows_on_disk::WindowsOnDisk;

/// A row of a window store: the start of its window, and its key.
pub(crate) type WindowKey<K> = (i64, K);

/// Typed values by window start and key, each with a timestamp.
///
/// The store has a clock of its own, the latest start of a window that was put into it. What
/// started a retention before that is hidden, and gone with the next commit.
pub(crate) struct WindowStore<K, V> {
    pub(super) name: String,
    pub(super) options: WindowStoreOptions,
    pub(super) windows: BTreeMap<i64, Table<K, V>>,
    /// The starts of the windows with changes, in the order of their first change.
    pub(super) dirty: Vec<i64>,
    /// The changed keys of all windows, because commits ask for their number at every record.
    pub(super) dirty_keys: usize,
    /// The stream time of each operator, then the close time of the last emission.
    pub(super) times: StreamTimes,
    pub(super) clock_ms: Option<i64>,
    pub(super) clock_committed_ms: Option<i64>,
    pub(super) cache: Option<RecordCache<WindowKey<K>, V>>,
    /// The committed rows, if they are on disk; the windows then have only some of them.
    pub(super) disk: Option<WindowsOnDisk>,
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
            disk: None,
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
        self.load(key, start_ms);
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

    /// Brings the row of a key and a window into its table, if it is on disk.
    #[inline]
    fn load(&mut self, key: &K, start_ms: i64) {
        if self.disk.is_some()
            && !self.windows.get_mut(&start_ms).is_some_and(|window| window.touch(key))
        {
            self.load_from_disk(key, start_ms);
        }
    }

    /// The value of a key in the window that starts at `start_ms`, unless it is hidden.
    pub(crate) fn get(&mut self, key: &K, start_ms: i64) -> Option<&ValueAndTimestamp<V>> {
        self.load(key, start_ms);
        self.row(key, start_ms)
    }

    fn row(&self, key: &K, start_ms: i64) -> Option<&ValueAndTimestamp<V>> {
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
        &mut self,
        key: &K,
        from_ms: i64,
        to_ms: i64,
    ) -> impl Iterator<Item = (i64, &ValueAndTimestamp<V>)> {
        if let Some(disk) = &self.disk {
            let starts = disk.starts(from_ms, to_ms).unwrap_or_else(|reason| {
                disk.rows.fail(&reason);
                Vec::new()
            });
            starts.into_iter().for_each(|start_ms| self.load(key, start_ms));
        }
        let this = &*self;
        let windows = (from_ms <= to_ms).then(|| this.windows.range(from_ms..=to_ms));
        windows
            .into_iter()
            .flatten()
            .filter_map(move |(start_ms, _)| Some((*start_ms, this.row(key, *start_ms)?)))
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
        &mut self,
        key: &K,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(i64, ValueAndTimestamp<V>)>, BoxError> {
        if from_ms > to_ms {
            return Ok(Vec::new());
        }
        if let Some(disk) = &self.disk {
            for start_ms in disk.starts(from_ms, to_ms)? {
                self.load(key, start_ms);
            }
        }
        let expired_ms = self.expired_ms(Isolation::Committed);
        let windows = self.windows.range(from_ms..=to_ms);
        Ok(windows
            .filter(|(start, _)| self.is_kept(key, **start, expired_ms))
            .filter_map(|(start, table)| {
                Some((*start, table.get(key, Isolation::Committed)?.clone()))
            })
            .collect())
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
        if let Some(disk) = &self.disk {
            return self.rows_with_disk(disk, from_ms, to_ms, isolation);
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
    pub(super) fn expire(&mut self) {
        let Some(expired_ms) = self.options.expired_ms(&self.times, self.clock_ms) else { return };
        if let Some(disk) = &mut self.disk {
            disk.expired_ms = Some(expired_ms);
        }
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
    pub(super) fn expired_ms(&self, isolation: Isolation) -> Option<i64> {
        match isolation {
            Isolation::Current => self.options.expired_ms(&self.times, self.clock_ms),
            Isolation::Committed => {
                if let Some(disk) = &self.disk {
                    return disk.expired_ms;
                }
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
    pub(super) fn is_kept(&self, key: &K, start_ms: i64, expired_ms: Option<i64>) -> bool {
        expired_ms.is_none_or(|expired_ms| start_ms > expired_ms) || self.has_cached(key, start_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::WindowStore;
    use crate::serdes::DefaultSerde;
    use crate::store::managed::ManagedStore;
    use crate::store::table::ValueAndTimestamp;
    use crate::store::window_options::{Emission, WindowStoreOptions};
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
