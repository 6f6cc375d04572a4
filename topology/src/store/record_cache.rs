//! The record cache of a store: which of its rows have changed without those downstream knowing it.
//!
//! A store that has one holds its updates back: of several updates of a key only the last is sent,
//! with the value that was sent before as the old one. They are sent when the cache is flushed: by
//! a commit, or when the caches of all stores together exceed their budget. The rows themselves are
//! in the store from the beginning, so that who reads it sees them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::hash::Hash;
use std::rc::Rc;

use hashbrown::HashMap;
use headwater_log_store::Timestamp;

use crate::current::Current;
use crate::record::Headers;
use crate::serdes::Serde;
use crate::store::table::ValueAndTimestamp;

/// What Kafka Streams counts for an entry beside its bytes: three references and a flag.
const ENTRY_BYTES: usize = 25;

/// What it counts for where a record came from: timestamp, offset and partition.
const CAUSE_BYTES: usize = 20;

/// What all caches of a worker may hold together, and what they do.
#[derive(Debug)]
pub(crate) struct CacheBudget {
    bytes_max: usize,
    bytes: Cell<usize>,
}

impl CacheBudget {
    pub(crate) const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: Cell::new(0) }
    }

    fn is_exceeded(&self) -> bool {
        self.bytes.get() > self.bytes_max
    }

    fn replace(&self, before: usize, after: usize) {
        self.bytes.set(self.bytes.get().saturating_sub(before).saturating_add(after));
    }
}

/// The record that has brought an update about: who gets the update gets its headers, and a
/// failure is its failure.
#[derive(Clone)]
pub(crate) struct Cause {
    pub(crate) timestamp: Timestamp,
    pub(crate) headers: Headers,
    pub(crate) current: Current,
}

impl Cause {
    fn bytes(&self) -> usize {
        let batch = self.current.batch.as_ref();
        let topic = batch.map_or(0, |batch| batch.topic_partition().topic.as_str().len());
        let headers = self.headers.iter();
        let headers = headers.map(|header| header.key.len() + header.value.map_or(0, <[u8]>::len));
        CAUSE_BYTES + topic + headers.sum::<usize>()
    }
}

/// The bytes of a row, for the budget. What cannot be serialized counts as nothing here: the commit
/// will say so.
pub(crate) fn row_bytes<K: 'static, V: 'static>(
    key_serde: &dyn Serde<K>,
    value_serde: &dyn Serde<V>,
    key: &K,
    row: Option<&ValueAndTimestamp<V>>,
) -> usize {
    let mut bytes = Vec::new();
    let _ = key_serde.serialize(key, &mut bytes);
    if let Some(row) = row {
        let _ = value_serde.serialize(&row.value, &mut bytes);
        bytes.extend_from_slice(&row.timestamp.as_millis().to_be_bytes());
    }
    bytes.len()
}

/// An update that a cache has held back, to be sent now.
pub(crate) struct Update<K, V> {
    pub(crate) key: K,
    /// What those downstream know.
    pub(crate) old: Option<V>,
    pub(crate) new: Option<ValueAndTimestamp<V>>,
    pub(crate) cause: Cause,
}

/// A store as its operator sees it that sends updates when they are flushed.
pub(crate) trait CachedStore<K, V> {
    /// Whether the store has a cache.
    fn is_cached(&self) -> bool;

    /// Holds back the update of a key, whose row was just changed.
    fn hold(&mut self, key: &K, cause: Cause);

    /// Whether something has to leave the cache.
    fn is_over_budget(&self) -> bool;

    /// Takes the entry out that was not used for longest. If that is an update that was held
    /// back, all of them are to be sent, it first.
    fn evict(&mut self) -> Vec<Update<K, V>>;

    /// Takes all updates that were held back, in the order of their last changes.
    fn flush(&mut self) -> Vec<Update<K, V>>;
}

/// What was noted of an update that is held back.
pub(crate) struct Held<V> {
    order: u64,
    /// The value before the first of the changes since the last flush.
    pub(crate) before: Option<V>,
    pub(crate) cause: Cause,
}

struct Entry<V> {
    used: u64,
    bytes: usize,
    held: Option<Held<V>>,
}

/// See the module.
pub(crate) struct RecordCache<C, V> {
    budget: Rc<CacheBudget>,
    entries: HashMap<C, Entry<V>>,
    /// All entries, those first that were not used for longest.
    by_use: BTreeMap<u64, C>,
    /// Those that are held back, in the order of their last changes.
    held: BTreeMap<u64, C>,
    /// The change in the making: its key, and the value before.
    begun: Option<(C, Option<V>)>,
    bytes: usize,
    uses: u64,
}

impl<C: Hash + Eq + Clone, V> RecordCache<C, V> {
    pub(crate) fn new(budget: &Rc<CacheBudget>) -> Self {
        Self {
            budget: Rc::clone(budget),
            entries: HashMap::new(),
            by_use: BTreeMap::new(),
            held: BTreeMap::new(),
            begun: None,
            bytes: 0,
            uses: 0,
        }
    }

    /// Whether a key is in the cache, held back or known downstream.
    pub(crate) fn contains(&self, key: &C) -> bool {
        self.entries.contains_key(key)
    }

    /// The keys in the cache.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &C> {
        self.entries.keys()
    }

    /// A row is about to change: remembers its value, unless an older one is remembered already.
    pub(crate) fn begin(&mut self, key: &C, before: impl FnOnce() -> Option<V>) {
        if self.entries.get(key).is_none_or(|entry| entry.held.is_none()) {
            self.begun = Some((key.clone(), before()));
        }
    }

    /// The row has changed: holds its update back. `row_bytes` are those of its key and value.
    pub(crate) fn hold(&mut self, key: &C, row_bytes: usize, cause: Cause) {
        self.uses += 1;
        let bytes = row_bytes + ENTRY_BYTES + cause.bytes();
        let before = match self.take(key).and_then(|entry| entry.held) {
            Some(held) => held.before,
            None => {
                self.begun.take().filter(|(begun, _)| begun == key).and_then(|(_, before)| before)
            }
        };
        let held = Some(Held { order: self.uses, before, cause });
        self.held.insert(self.uses, key.clone());
        self.by_use.insert(self.uses, key.clone());
        self.entries.insert(key.clone(), Entry { used: self.uses, bytes, held });
        self.grow(0, bytes);
    }

    /// Whether something has to leave this cache: it is the one that has just grown.
    pub(crate) fn is_over_budget(&self) -> bool {
        self.budget.is_exceeded() && !self.entries.is_empty()
    }

    /// See [`CachedStore::evict`].
    pub(crate) fn evict(&mut self) -> Vec<(C, Held<V>)> {
        let Some(eldest) = self.by_use.first_key_value().map(|(_, key)| key.clone()) else {
            return Vec::new();
        };
        match self.take(&eldest).and_then(|entry| entry.held) {
            None => Vec::new(),
            Some(held) => {
                let mut all = vec![(eldest, held)];
                all.append(&mut self.flush());
                all
            }
        }
    }

    /// See [`CachedStore::flush`]. The keys stay in the cache.
    pub(crate) fn flush(&mut self) -> Vec<(C, Held<V>)> {
        let keys = std::mem::take(&mut self.held).into_values();
        keys.filter_map(|key| {
            let held = self.entries.get_mut(&key)?.held.take()?;
            Some((key, held))
        })
        .collect()
    }

    /// Takes a key out: its row is gone.
    pub(crate) fn remove(&mut self, key: &C) {
        self.take(key);
    }

    /// Drops everything: the changes are taken back.
    pub(crate) fn clear(&mut self) {
        self.grow(self.bytes, 0);
        self.entries.clear();
        self.by_use.clear();
        self.held.clear();
        self.begun = None;
    }

    fn take(&mut self, key: &C) -> Option<Entry<V>> {
        let entry = self.entries.remove(key)?;
        self.by_use.remove(&entry.used);
        if let Some(held) = &entry.held {
            self.held.remove(&held.order);
        }
        self.grow(entry.bytes, 0);
        Some(entry)
    }

    fn grow(&mut self, before: usize, after: usize) {
        self.budget.replace(before, after);
        self.bytes = self.bytes.saturating_sub(before).saturating_add(after);
    }
}

impl<C, V> Drop for RecordCache<C, V> {
    fn drop(&mut self) {
        self.budget.replace(self.bytes, 0);
    }
}
