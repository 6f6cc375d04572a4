//! What is known of a table's node only when the whole topology is: whether it keeps its rows in a
//! store, and whether it sends old values with the new ones.

use std::cell::RefCell;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_log_store::Timestamp;

use crate::processor::TaskParts;
use crate::store::key_value::KeyValueStore;
use crate::store::table::{Isolation, ValueAndTimestamp};
use crate::store::versioned::{Put, VersionedStore};

/// Written by the DSL as nodes are added below the table, read when tasks are built.
#[derive(Debug, Default)]
pub(crate) struct TableState {
    send_old: AtomicBool,
    store: OnceLock<String>,
    versioned: AtomicBool,
}

impl TableState {
    /// The table's rows are kept in this store.
    pub(crate) fn stored(store: &str) -> Self {
        let state = Self::default();
        state.set_store(store.to_owned());
        state
    }

    /// The store of the table's own rows, if it has one.
    pub(crate) fn store(&self) -> Option<&str> {
        self.store.get().map(String::as_str)
    }

    /// Gives the table a store; `false` if it has one already.
    pub(crate) fn set_store(&self, store: String) -> bool {
        self.store.set(store).is_ok()
    }

    /// Whether the table's own store keeps versions.
    pub(crate) fn is_versioned(&self) -> bool {
        self.versioned.load(Ordering::Relaxed)
    }

    /// The table's own store keeps versions.
    pub(crate) fn set_versioned(&self) {
        self.versioned.store(true, Ordering::Relaxed);
    }

    /// Whether old values are sent with the new ones.
    pub(crate) fn sends_old(&self) -> bool {
        self.send_old.load(Ordering::Relaxed)
    }

    /// Makes the table send old values from now on.
    pub(crate) fn send_old(&self) {
        self.send_old.store(true, Ordering::Relaxed);
    }

    /// The table's own rows in a task, if it keeps them.
    pub(crate) fn open<K: 'static, V: 'static>(&self, parts: &TaskParts) -> Option<Rows<K, V>> {
        self.store().map(|store| match self.is_versioned() {
            true => Rows::Versioned(parts.store(store)),
            false => Rows::KeyValue(parts.store(store)),
        })
    }
}

/// The rows that a table keeps.
pub(crate) enum Rows<K, V> {
    KeyValue(Rc<RefCell<KeyValueStore<K, V>>>),
    Versioned(Rc<RefCell<VersionedStore<K, V>>>),
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> Rows<K, V> {
    /// The newest value of a key.
    pub(crate) fn get(&self, key: &K) -> Option<V> {
        match self {
            Self::KeyValue(store) => {
                store.borrow_mut().get(key, Isolation::Current).map(|row| row.value.clone())
            }
            Self::Versioned(store) => store.borrow_mut().get(key).map(|row| row.value),
        }
    }

    /// Sets or removes the row of a key. Only a versioned table tells old records from new ones.
    pub(crate) fn put(&self, key: &K, value: Option<&V>, timestamp: Timestamp) -> Put {
        match self {
            Self::KeyValue(store) => {
                let row = value.map(|value| ValueAndTimestamp { value: value.clone(), timestamp });
                *store.borrow_mut().change(key) = row;
                Put::Latest
            }
            Self::Versioned(store) => store.borrow_mut().put(key, value.cloned(), timestamp),
        }
    }
}
