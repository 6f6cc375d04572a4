//! Versioned key-value stores of processors.

use std::cell::RefCell;
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;

use headwater_log_store::Timestamp;

use crate::state_stores::connect::{OpenStore, OpenedStore};
use crate::store::versioned::{Put, VersionedStore};

/// A value with the time for which it was valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionedRecord<V> {
    /// The value.
    pub value: V,
    /// The time from which on it was valid.
    pub timestamp: Timestamp,
    /// The time from which on another one was; `None` for the newest.
    pub valid_to: Option<Timestamp>,
}

/// What has become of a version that was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VersionedPut {
    /// It is older than the history of the store goes back, and was not taken.
    TooOld,
    /// It is the newest of its key.
    Latest,
    /// It is valid up to that time, from which on there is another one already.
    ValidTo(Timestamp),
}

/// A store that keeps the versions of each key, as Kafka Streams' `VersionedKeyValueStore`: that
/// of a processor's own, or of a versioned table.
///
/// The store has a clock of its own, the latest time that was put. A version is kept until the one
/// that follows it lies a history before that. For the rest see
/// [`KeyValueStore`](crate::KeyValueStore).
pub struct VersionedKeyValueStore<K, V>(Rc<RefCell<VersionedStore<K, V>>>);

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> VersionedKeyValueStore<K, V> {
    /// Sets the value that a key has from that time on, up to the next one.
    pub fn put(&self, key: &K, value: V, timestamp: Timestamp) -> VersionedPut {
        self.set(key, Some(value), timestamp)
    }

    /// Lets a key have no value from that time on, up to the next one. Returns the value that it
    /// had then.
    pub fn delete(&self, key: &K, timestamp: Timestamp) -> Option<VersionedRecord<V>> {
        let before = self.get_as_of(key, timestamp);
        self.set(key, None, timestamp);
        before
    }

    fn set(&self, key: &K, value: Option<V>, timestamp: Timestamp) -> VersionedPut {
        let mut store = self.0.borrow_mut();
        match store.put(key, value, timestamp) {
            Put::TooOld => VersionedPut::TooOld,
            Put::Latest => VersionedPut::Latest,
            Put::OutOfOrder => match store.next_after(key, timestamp) {
                Some(next) => VersionedPut::ValidTo(next),
                None => VersionedPut::Latest,
            },
        }
    }

    /// The newest value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<VersionedRecord<V>> {
        let row = self.0.borrow_mut().get(key)?;
        Some(VersionedRecord { value: row.value, timestamp: row.timestamp, valid_to: None })
    }

    /// The value that a key had at that time; none from before the history, but for a newest one.
    #[must_use]
    pub fn get_as_of(&self, key: &K, time: Timestamp) -> Option<VersionedRecord<V>> {
        let mut store = self.0.borrow_mut();
        let row = store.get_as_of(key, time)?;
        let valid_to = store.next_after(key, row.timestamp);
        Some(VersionedRecord { value: row.value, timestamp: row.timestamp, valid_to })
    }
}

impl<K, V> Clone for VersionedKeyValueStore<K, V> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<K, V> fmt::Debug for VersionedKeyValueStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("VersionedKeyValueStore")
    }
}

impl<K, V> OpenStore for VersionedKeyValueStore<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    fn open(store: &OpenedStore<'_>) -> Option<Self> {
        Rc::clone(&store.handle.typed).downcast().ok().map(Self)
    }
}
