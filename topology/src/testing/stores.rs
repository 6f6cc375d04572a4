//! What a test reads of the stores. All of it is committed.

use std::hash::Hash;
use std::ops::Bound;

use headwater_log_store::Timestamp;

use crate::error::Result;
use crate::state_stores::versioned::VersionedRecord;
use crate::store::slots::Session;
use crate::store::table::ValueAndTimestamp;
use crate::testing::driver::TopologyTestDriver;
use crate::window::time_windows::TimeWindows;
use crate::window::windowed::{SessionWindow, Window, Windowed};

impl TopologyTestDriver {
    /// The committed value of a key in a key-value store.
    ///
    /// # Errors
    /// `UnknownStore` or `StoreType`.
    pub fn store_value<K, V>(&self, store: &str, key: &K) -> Result<Option<V>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        Ok(self.store_row::<K, V>(store, key)?.map(|found| found.value))
    }

    /// The committed value of a key in a key-value store, with its time.
    ///
    /// # Errors
    /// `UnknownStore` or `StoreType`.
    pub fn store_row<K, V>(&self, store: &str, key: &K) -> Result<Option<ValueAndTimestamp<V>>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        self.inner.borrow_mut().tasks()?.query_get::<K, V>(store, key)
    }

    /// The newest value of a key in a versioned store.
    ///
    /// # Errors
    /// `UnknownStore` or `StoreType`.
    pub fn versioned_store_value<K, V>(
        &self,
        store: &str,
        key: &K,
    ) -> Result<Option<VersionedRecord<V>>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        self.versioned(store, key, None)
    }

    /// The value that a key had at that time in a versioned store.
    ///
    /// # Errors
    /// `UnknownStore` or `StoreType`.
    pub fn versioned_store_value_as_of<K, V>(
        &self,
        store: &str,
        key: &K,
        as_of: Timestamp,
    ) -> Result<Option<VersionedRecord<V>>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        self.versioned(store, key, Some(as_of))
    }

    fn versioned<K, V>(
        &self,
        store: &str,
        key: &K,
        as_of: Option<Timestamp>,
    ) -> Result<Option<VersionedRecord<V>>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let mut inner = self.inner.borrow_mut();
        let found = inner.tasks()?.query_versioned::<K, V>(store, key, as_of)?;
        Ok(found.map(|(ValueAndTimestamp { value, timestamp }, valid_to)| VersionedRecord {
            value,
            timestamp,
            valid_to,
        }))
    }

    /// All committed rows of a key-value store with their times in milliseconds, in the order of
    /// the bytes of their keys.
    ///
    /// # Errors
    /// `UnknownStore` or `StoreType`.
    pub fn store_rows<K, V>(&self, store: &str) -> Result<Vec<(K, V, i64)>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let all = (Bound::Unbounded, Bound::Unbounded);
        let rows =
            self.inner.borrow_mut().tasks()?.query_page(store, &all.0, &all.1, usize::MAX)?;
        Ok(rows
            .into_iter()
            .map(|(_, key, row)| (key, row.value, row.timestamp.as_millis()))
            .collect())
    }

    /// All committed rows of a window store with their times in milliseconds, by the start of
    /// their windows.
    ///
    /// # Errors
    /// `UnknownStore` or `StoreType`.
    pub fn window_store_rows<K, V>(
        &self,
        store: &str,
        windows: TimeWindows,
    ) -> Result<Vec<(Windowed<K>, V, i64)>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let rows =
            self.inner.borrow_mut().tasks()?.query_windows(store, None, i64::MIN, i64::MAX)?;
        Ok(rows
            .into_iter()
            .map(|(start_ms, key, row)| {
                let end_ms = start_ms.saturating_add(windows.size_ms());
                let key = Windowed { key, window: Window { start_ms, end_ms } };
                (key, row.value, row.timestamp.as_millis())
            })
            .collect())
    }

    /// All committed sessions of a session store, by their end.
    ///
    /// # Errors
    /// `UnknownStore` or `StoreType`.
    pub fn session_store_rows<K, V>(
        &self,
        store: &str,
    ) -> Result<Vec<(Windowed<K, SessionWindow>, V)>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let rows =
            self.inner.borrow_mut().tasks()?.query_sessions(store, None, i64::MIN, i64::MAX)?;
        Ok(rows
            .into_iter()
            .map(|(Session { start_ms, end_ms }, key, row)| {
                (Windowed { key, window: SessionWindow { start_ms, end_ms } }, row.value)
            })
            .collect())
    }
}
