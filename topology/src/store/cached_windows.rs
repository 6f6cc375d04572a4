//! The record caches of the stores of windows.
//!
//! Such a store's clock goes forward only when a row leaves the cache, and what is in the cache is
//! not hidden by it: so a store with a cache shows rows for longer, as in Kafka Streams.

use std::hash::Hash;

use crate::store::keyed_windows::{KeyedWindowStore, SlotKey};
use crate::store::record_cache::{CachedStore, Cause, Held, RecordCache, Update, row_bytes};
use crate::store::slots::Slot;
use crate::store::table::Isolation;
use crate::store::window_store::{WindowKey, WindowStore};

impl<K, V> CachedStore<WindowKey<K>, V> for WindowStore<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    fn is_cached(&self) -> bool {
        self.cache.is_some()
    }

    fn hold(&mut self, place: &WindowKey<K>, cause: Cause) {
        let Some(cache) = &mut self.cache else { return };
        let (start_ms, key) = place;
        let row = self.windows.get(start_ms).and_then(|rows| rows.get(key, Isolation::Current));
        cache.hold(place, row_bytes(&*self.key_serde, &*self.value_serde, key, row), cause);
    }

    fn is_over_budget(&self) -> bool {
        self.cache.as_ref().is_some_and(RecordCache::is_over_budget)
    }

    fn evict(&mut self) -> Vec<Update<WindowKey<K>, V>> {
        let held = self.cache.as_mut().map(RecordCache::evict).unwrap_or_default();
        self.updates(held)
    }

    fn flush(&mut self) -> Vec<Update<WindowKey<K>, V>> {
        let held = self.cache.as_mut().map(RecordCache::flush).unwrap_or_default();
        self.updates(held)
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> WindowStore<K, V> {
    fn updates(&mut self, held: Vec<(WindowKey<K>, Held<V>)>) -> Vec<Update<WindowKey<K>, V>> {
        let updates = held.into_iter().map(|((start_ms, key), Held { before, cause, .. })| {
            let old =
                before.filter(|_| is_visible(start_ms, self.options.hidden_ms(self.clock_ms)));
            self.clock_ms = self.clock_ms.max(Some(start_ms));
            let rows = self.windows.get(&start_ms);
            let new = rows.and_then(|rows| rows.get(&key, Isolation::Current).cloned());
            let place = (start_ms, key);
            if let Some(cache) = self.cache.as_mut().filter(|_| new.is_none()) {
                cache.remove(&place);
            }
            Update { key: place, old, new, cause }
        });
        updates.collect()
    }
}

impl<K, S, V> CachedStore<SlotKey<S, K>, V> for KeyedWindowStore<K, S, V>
where
    K: Hash + Eq + Clone + 'static,
    S: Slot,
    V: Clone + 'static,
{
    fn is_cached(&self) -> bool {
        self.cache.is_some()
    }

    fn hold(&mut self, place: &SlotKey<S, K>, cause: Cause) {
        let (slot, key) = place;
        let bytes = row_bytes(&*self.key_serde, &*self.value_serde, key, self.rows.get(key, *slot));
        if let Some(cache) = &mut self.cache {
            cache.hold(place, bytes, cause);
        }
    }

    fn is_over_budget(&self) -> bool {
        self.cache.as_ref().is_some_and(RecordCache::is_over_budget)
    }

    fn evict(&mut self) -> Vec<Update<SlotKey<S, K>, V>> {
        let held = self.cache.as_mut().map(RecordCache::evict).unwrap_or_default();
        self.updates(held)
    }

    fn flush(&mut self) -> Vec<Update<SlotKey<S, K>, V>> {
        let held = self.cache.as_mut().map(RecordCache::flush).unwrap_or_default();
        self.updates(held)
    }
}

impl<K, S, V> KeyedWindowStore<K, S, V>
where
    K: Hash + Eq + Clone + 'static,
    S: Slot,
    V: Clone + 'static,
{
    fn updates(&mut self, held: Vec<(SlotKey<S, K>, Held<V>)>) -> Vec<Update<SlotKey<S, K>, V>> {
        let updates = held.into_iter().map(|((slot, key), Held { before, cause, .. })| {
            let hidden_ms = self.options.hidden_ms(self.clock_ms);
            let old = before.filter(|_| is_visible(slot.time_ms(), hidden_ms));
            self.clock_ms = self.clock_ms.max(Some(slot.time_ms()));
            let new = self.rows.get(&key, slot).cloned();
            let place = (slot, key);
            if let Some(cache) = self.cache.as_mut().filter(|_| new.is_none()) {
                cache.remove(&place);
            }
            Update { key: place, old, new, cause }
        });
        updates.collect()
    }
}

fn is_visible(time_ms: i64, hidden_ms: Option<i64>) -> bool {
    hidden_ms.is_none_or(|hidden_ms| time_ms > hidden_ms)
}
