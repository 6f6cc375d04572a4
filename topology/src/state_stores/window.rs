//! Window stores of processors: with and without the times of their rows.

use std::cell::RefCell;
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;

use headwater_log_store::Timestamp;

use crate::error::BoxError;
use crate::processor::RecordTime;
use crate::state_stores::connect::{OpenStore, OpenedStore};
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::slots::WindowStart;
use crate::store::table::ValueAndTimestamp;
use crate::store::window_store::WindowStore as AlignedWindows;

/// The store of processors, and of sliding windows.
pub(crate) type WindowRows<K, V> = KeyedWindowStore<K, WindowStart, V>;

/// What is behind a window store.
enum Windows<K, V> {
    /// That of an aggregation over windows that begin at the same times for all keys.
    Aligned(Rc<RefCell<AlignedWindows<K, V>>>),
    Keyed(Rc<RefCell<WindowRows<K, V>>>),
}

impl<K, V> Clone for Windows<K, V> {
    fn clone(&self) -> Self {
        match self {
            Self::Aligned(windows) => Self::Aligned(Rc::clone(windows)),
            Self::Keyed(windows) => Self::Keyed(Rc::clone(windows)),
        }
    }
}

/// A store of rows by key and window whose rows have times, as Kafka Streams'
/// `TimestampedWindowStore`: such are those of windowed aggregations.
///
/// Windows are known by their starts. The store has a clock of its own, the latest start that was
/// put: windows that start a retention before that, or earlier, are gone. For the rest see
/// [`KeyValueStore`](crate::KeyValueStore).
pub struct TimestampedWindowStore<K, V> {
    windows: Windows<K, V>,
    time: RecordTime,
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> TimestampedWindowStore<K, V> {
    /// Sets the row of a key in the window that starts then, with its time.
    pub fn put(&self, key: &K, value: V, timestamp: Timestamp, window_start: Timestamp) {
        self.set(key, Some(ValueAndTimestamp { value, timestamp }), window_start);
    }

    /// Removes the row of a key in the window that starts then.
    pub fn delete(&self, key: &K, window_start: Timestamp) {
        self.set(key, None, window_start);
    }

    fn set(&self, key: &K, row: Option<ValueAndTimestamp<V>>, window_start: Timestamp) {
        let start_ms = window_start.as_millis();
        match &self.windows {
            Windows::Aligned(windows) => *windows.borrow_mut().change(key, start_ms) = row,
            Windows::Keyed(windows) => windows.borrow_mut().put(key, WindowStart(start_ms), row),
        }
    }

    /// The row of a key in the window that starts then.
    #[must_use]
    pub fn fetch(&self, key: &K, window_start: Timestamp) -> Option<ValueAndTimestamp<V>> {
        let start_ms = window_start.as_millis();
        match &self.windows {
            Windows::Aligned(windows) => windows.borrow_mut().get(key, start_ms).cloned(),
            Windows::Keyed(windows) => {
                windows.borrow_mut().get(key, WindowStart(start_ms)).cloned()
            }
        }
    }

    /// The rows of a key in the windows that start from `from` up to and including `to`, in order,
    /// each with the start of its window.
    #[must_use]
    pub fn fetch_range(
        &self,
        key: &K,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<(Timestamp, ValueAndTimestamp<V>)> {
        let (from_ms, to_ms) = (from.as_millis(), to.as_millis());
        match &self.windows {
            Windows::Aligned(windows) => windows
                .borrow_mut()
                .rows_of(key, from_ms, to_ms)
                .map(|(start_ms, row)| (Timestamp::from_millis(start_ms), row.clone()))
                .collect(),
            Windows::Keyed(windows) => {
                let mut windows = windows.borrow_mut();
                windows.load(key);
                windows
                    .rows_of(key, from_ms, to_ms)
                    .map(|(WindowStart(ms), row)| (Timestamp::from_millis(ms), row.clone()))
                    .collect()
            }
        }
    }

    /// The rows of all keys in the windows that start from `from` up to and including `to`, by the
    /// start of their windows, then by the bytes of their keys.
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn fetch_all(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Timestamp, K, ValueAndTimestamp<V>)>, BoxError> {
        let (from_ms, to_ms) = (from.as_millis(), to.as_millis());
        let time = Timestamp::from_millis;
        Ok(match &self.windows {
            Windows::Aligned(windows) => {
                let rows = windows.borrow().visible(from_ms, to_ms)?.into_iter();
                rows.map(|(start_ms, key, row)| (time(start_ms), key, row)).collect()
            }
            Windows::Keyed(windows) => {
                let rows = windows.borrow().visible(from_ms, to_ms)?.into_iter();
                rows.map(|(WindowStart(start_ms), key, row)| (time(start_ms), key, row)).collect()
            }
        })
    }

    /// All rows: see [`fetch_all`](Self::fetch_all).
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn all(&self) -> Result<Vec<(Timestamp, K, ValueAndTimestamp<V>)>, BoxError> {
        self.fetch_all(Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX))
    }
}

impl<K, V> Clone for TimestampedWindowStore<K, V> {
    fn clone(&self) -> Self {
        Self { windows: self.windows.clone(), time: self.time.clone() }
    }
}

impl<K, V> fmt::Debug for TimestampedWindowStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimestampedWindowStore")
    }
}

impl<K, V> OpenStore for TimestampedWindowStore<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    fn open(store: &OpenedStore<'_>) -> Option<Self> {
        let typed = || Rc::clone(&store.handle.typed);
        let aligned = typed().downcast().map(Windows::Aligned).ok();
        let windows = aligned.or_else(|| typed().downcast().map(Windows::Keyed).ok())?;
        Some(Self { windows, time: store.time.clone() })
    }
}

/// A store of values by key and window, as Kafka Streams' `WindowStore`. A row's time is that of
/// the record or the punctuation that has put it. See [`TimestampedWindowStore`].
pub struct WindowStore<K, V>(TimestampedWindowStore<K, V>);

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> WindowStore<K, V> {
    /// Sets the value of a key in the window that starts then.
    pub fn put(&self, key: &K, value: V, window_start: Timestamp) {
        self.0.put(key, value, self.0.time.get(), window_start);
    }

    /// Removes the value of a key in the window that starts then.
    pub fn delete(&self, key: &K, window_start: Timestamp) {
        self.0.delete(key, window_start);
    }

    /// The value of a key in the window that starts then.
    #[must_use]
    pub fn fetch(&self, key: &K, window_start: Timestamp) -> Option<V> {
        self.0.fetch(key, window_start).map(|row| row.value)
    }

    /// The values of a key in the windows that start from `from` up to and including `to`, in
    /// order, each with the start of its window.
    #[must_use]
    pub fn fetch_range(&self, key: &K, from: Timestamp, to: Timestamp) -> Vec<(Timestamp, V)> {
        let rows = self.0.fetch_range(key, from, to).into_iter();
        rows.map(|(start, row)| (start, row.value)).collect()
    }

    /// The values of all keys in the windows that start from `from` up to and including `to`, by
    /// the start of their windows, then by the bytes of their keys.
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn fetch_all(
        &self,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Timestamp, K, V)>, BoxError> {
        let rows = self.0.fetch_all(from, to)?.into_iter();
        Ok(rows.map(|(start, key, row)| (start, key, row.value)).collect())
    }

    /// All values: see [`fetch_all`](Self::fetch_all).
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn all(&self) -> Result<Vec<(Timestamp, K, V)>, BoxError> {
        let rows = self.0.all()?.into_iter();
        Ok(rows.map(|(start, key, row)| (start, key, row.value)).collect())
    }
}

impl<K, V> Clone for WindowStore<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> fmt::Debug for WindowStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WindowStore")
    }
}

impl<K, V> OpenStore for WindowStore<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    fn open(store: &OpenedStore<'_>) -> Option<Self> {
        TimestampedWindowStore::open(store).map(Self)
    }
}
