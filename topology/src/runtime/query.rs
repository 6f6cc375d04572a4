//! Queries of stores: what the worker does for them between batches. They see committed values.

use std::any::type_name;
use std::hash::Hash;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};

use headwater_log_store::Timestamp;

use crate::error::{BoxError, Error, Result};
use crate::runtime::recovery::panic_message;
use crate::runtime::task_set::TaskSet;
use crate::store::key_value::{KeyValueStore, Row};
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::slots::{Session, WindowStart};
use crate::store::table::{Isolation, ValueAndTimestamp};
use crate::store::versioned::VersionedStore;
use crate::store::window_store::WindowStore;

/// A row of a session store.
pub(crate) type SessionRow<K, V> = (Session, K, ValueAndTimestamp<V>);

/// A row of a window store, by the start of its window.
pub(crate) type WindowRow<K, V> = (i64, K, ValueAndTimestamp<V>);

impl TaskSet {
    /// Runs a query. It calls code of the application, such as the hash of a key; stores are only
    /// read, so a panic in there leaves them as they were.
    pub(crate) fn query<T>(&self, query: impl FnOnce(&Self) -> Result<T>) -> Result<T> {
        catch_unwind(AssertUnwindSafe(|| query(self))).unwrap_or_else(|payload| {
            let reason = panic_message(payload.as_ref());
            Err(Error::Panic { operation: "a query", reason })
        })
    }

    /// The value of a key.
    pub(crate) fn query_get<K, V>(
        &self,
        store: &str,
        key: &K,
    ) -> Result<Option<ValueAndTimestamp<V>>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let mut found = None;
        self.each_store(store, |typed: &mut KeyValueStore<K, V>| {
            if found.is_none() {
                found = typed.get(key, Isolation::Committed).cloned();
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Up to `limit` rows in the order of their keys' bytes, and those of the last one's key.
    pub(crate) fn query_page<K, V>(
        &self,
        store: &str,
        from: &Bound<Vec<u8>>,
        to: &Bound<Vec<u8>>,
        limit: usize,
    ) -> Result<Vec<Row<K, V>>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let mut rows = Vec::new();
        self.each_store(store, |typed: &mut KeyValueStore<K, V>| {
            let page = typed.page(from.clone(), to.clone(), Isolation::Committed, limit);
            rows.extend(page.map_err(|reason| Error::Serde {
                what: format!("a key of store {store}"),
                reason: reason.to_string(),
            })?);
            Ok(())
        })?;
        Ok(first_rows(rows, limit))
    }

    /// The bytes of a key, for the bounds of a range; `None` where no task has the store.
    pub(crate) fn query_key_bytes<K, V>(&self, store: &str, key: &K) -> Result<Option<Vec<u8>>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let mut bytes = None;
        self.each_store(store, |typed: &mut KeyValueStore<K, V>| {
            bytes = Some(typed.serialize_key(key).map_err(|reason| Error::Serde {
                what: format!("a key of store {store}"),
                reason: reason.to_string(),
            })?);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// The windows of one key, or of all, that start from `from_ms` up to and including `to_ms`.
    pub(crate) fn query_windows<K, V>(
        &self,
        store: &str,
        key: Option<&K>,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<WindowRow<K, V>>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let failed = |reason: BoxError| Error::Serde {
            what: format!("a key of store {store}"),
            reason: reason.to_string(),
        };
        let mut rows = Vec::new();
        let mut sliding = Vec::new();
        let aligned = self.each_store(store, |typed: &mut WindowStore<K, V>| {
            match key {
                Some(key) => rows.extend(
                    typed
                        .fetch(key, from_ms, to_ms)
                        .map_err(failed)?
                        .into_iter()
                        .map(|(start, value)| (start, key.clone(), value)),
                ),
                None => rows.extend(typed.fetch_all(from_ms, to_ms).map_err(failed)?),
            }
            Ok(())
        });
        if let Err(Error::StoreType { .. }) = aligned {
            // Sliding windows are kept in a store of another kind.
            let visit = |typed: &mut KeyedWindowStore<K, WindowStart, V>| {
                sliding.extend(typed.committed(key, from_ms, to_ms).map_err(failed)?);
                Ok(())
            };
            // The error that names the common kind says more.
            self.each_store(store, visit).or(aligned)?;
            rows.extend(
                sliding.into_iter().map(|(WindowStart(start), key, row)| (start, key, row)),
            );
        } else {
            aligned?;
        }
        // Stable: tasks keep the order of keys within a window.
        rows.sort_by_key(|(start, _, _)| *start);
        Ok(rows)
    }

    /// The newest version of a key, or that of a time; with the time from which on there is another.
    pub(crate) fn query_versioned<K, V>(
        &self,
        store: &str,
        key: &K,
        as_of: Option<Timestamp>,
    ) -> Result<Option<(ValueAndTimestamp<V>, Option<Timestamp>)>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let mut found = None;
        self.each_store(store, |typed: &mut VersionedStore<K, V>| {
            found = found.take().or_else(|| typed.committed(key, as_of));
            Ok(())
        })?;
        Ok(found)
    }

    /// The sessions of one key, or of all, that end from `from_ms` up to and including `to_ms`.
    pub(crate) fn query_sessions<K, V>(
        &self,
        store: &str,
        key: Option<&K>,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<SessionRow<K, V>>>
    where
        K: Hash + Eq + Clone + 'static,
        V: Clone + 'static,
    {
        let mut rows = Vec::new();
        self.each_store(store, |typed: &mut KeyedWindowStore<K, Session, V>| {
            rows.extend(typed.committed(key, from_ms, to_ms).map_err(|reason| Error::Serde {
                what: format!("a key of store {store}"),
                reason: reason.to_string(),
            })?);
            Ok(())
        })?;
        rows.sort_by_key(|(session, _, _)| *session);
        Ok(rows)
    }

    fn each_store<S: 'static>(
        &self,
        name: &str,
        mut visit: impl FnMut(&mut S) -> Result<()>,
    ) -> Result<()> {
        if self.application.graph.store(name).is_none() {
            let known: Vec<&str> =
                self.application.graph.stores.iter().map(|store| store.name.as_str()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Error::UnknownStore { store: name.to_owned(), known });
        }
        let stores = self.tasks.iter().flat_map(|task| &task.stores).chain(&self.globals.stores);
        for store in stores.filter(|store| store.name == name) {
            let mut managed = store.store.borrow_mut();
            let typed = managed.as_any_mut().downcast_mut::<S>().ok_or_else(|| {
                Error::StoreType { store: name.to_owned(), asked: type_name::<S>() }
            })?;
            visit(typed)?;
        }
        Ok(())
    }
}

/// The first `limit` rows in the order of their keys' bytes, and all others of the last one's key:
/// tasks may share a key, and the next page begins behind it.
pub(crate) fn first_rows<K, V>(mut rows: Vec<Row<K, V>>, limit: usize) -> Vec<Row<K, V>> {
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let last = limit.checked_sub(1).and_then(|last| rows.get(last)).map(|row| row.0.clone());
    if let Some(last) = last {
        rows.retain(|row| row.0 <= last);
    }
    rows
}
