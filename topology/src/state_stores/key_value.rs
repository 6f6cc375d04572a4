//! Key-value stores of processors: with and without the times of their rows.

use std::cell::RefCell;
use std::fmt;
use std::hash::Hash;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;

use headwater_log_store::Timestamp;

use crate::error::BoxError;
use crate::processor::RecordTime;
use crate::state_stores::connect::{OpenStore, OpenedStore};
use crate::store::key_value::KeyValueStore as Rows;
use crate::store::table::{Isolation, ValueAndTimestamp};

/// How many rows an iterator takes from its store at once.
const ROWS_PER_PAGE: usize = 64;

/// A key-value store of a processor, as Kafka Streams' `KeyValueStore`.
///
/// It is read as it is at the moment, changes since the last commit included; they are committed
/// or taken back with the task. A handle: clones are the same store. A row's time is that of the
/// record or the punctuation that has put it.
///
/// Rows are ordered by the bytes of their keys. An iterator takes the rows from the store as it
/// goes, so it shows what has changed ahead of it.
pub struct KeyValueStore<K, V> {
    rows: Rc<RefCell<Rows<K, V>>>,
    time: RecordTime,
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> KeyValueStore<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<V> {
        self.rows.borrow_mut().get(key, Isolation::Current).map(|row| row.value.clone())
    }

    /// Sets the value of a key.
    pub fn put(&self, key: &K, value: V) {
        let row = ValueAndTimestamp { value, timestamp: self.time.get() };
        *self.rows.borrow_mut().change(key) = Some(row);
    }

    /// Sets the value of a key that has none, and returns the one that it has.
    pub fn put_if_absent(&self, key: &K, value: V) -> Option<V> {
        let before = self.get(key);
        if before.is_none() {
            self.put(key, value);
        }
        before
    }

    /// Removes a key, and returns its value.
    pub fn delete(&self, key: &K) -> Option<V> {
        self.get(key)?;
        self.rows.borrow_mut().change(key).take().map(|row| row.value)
    }

    /// The rows of a range of keys, in the order of their bytes.
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn range(&self, range: impl RangeBounds<K>) -> Result<KeyValueIterator<K, V>, BoxError> {
        Ok(KeyValueIterator(Pages::of_range(&self.rows, &range, Order::Forward)?))
    }

    /// As [`range`](Self::range), from the end.
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn reverse_range(
        &self,
        range: impl RangeBounds<K>,
    ) -> Result<KeyValueIterator<K, V>, BoxError> {
        Ok(KeyValueIterator(Pages::of_range(&self.rows, &range, Order::Reverse)?))
    }

    /// All rows, in the order of the bytes of their keys.
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn all(&self) -> Result<KeyValueIterator<K, V>, BoxError> {
        self.range(..)
    }

    /// All rows, from the end.
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn reverse_all(&self) -> Result<KeyValueIterator<K, V>, BoxError> {
        self.reverse_range(..)
    }

    /// The rows whose keys' bytes begin with `prefix`.
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn prefix_scan(&self, prefix: &[u8]) -> Result<KeyValueIterator<K, V>, BoxError> {
        Ok(KeyValueIterator(Pages::of_prefix(&self.rows, prefix)?))
    }

    /// About how many rows there are: those that were deleted since the last commit count.
    #[must_use]
    pub fn approximate_num_entries(&self) -> usize {
        self.rows.borrow().len()
    }
}

impl<K, V> Clone for KeyValueStore<K, V> {
    fn clone(&self) -> Self {
        Self { rows: Rc::clone(&self.rows), time: self.time.clone() }
    }
}

impl<K, V> fmt::Debug for KeyValueStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyValueStore")
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> OpenStore for KeyValueStore<K, V> {
    fn open(store: &OpenedStore<'_>) -> Option<Self> {
        let rows = Rc::clone(&store.handle.typed).downcast().ok()?;
        Some(Self { rows, time: store.time.clone() })
    }
}

/// A key-value store whose rows are put and read with their times, as Kafka Streams'
/// `TimestampedKeyValueStore`: such are those of tables. For the rest see [`KeyValueStore`].
pub struct TimestampedKeyValueStore<K, V>(KeyValueStore<K, V>);

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> TimestampedKeyValueStore<K, V> {
    /// The value of a key with its time.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<ValueAndTimestamp<V>> {
        self.0.rows.borrow_mut().get(key, Isolation::Current).cloned()
    }

    /// Sets the value of a key with its time.
    pub fn put(&self, key: &K, value: V, timestamp: Timestamp) {
        let row = ValueAndTimestamp { value, timestamp };
        *self.0.rows.borrow_mut().change(key) = Some(row);
    }

    /// Removes a key, and returns its value with its time.
    pub fn delete(&self, key: &K) -> Option<ValueAndTimestamp<V>> {
        self.get(key)?;
        self.0.rows.borrow_mut().change(key).take()
    }

    /// The rows of a range of keys, in the order of their bytes.
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn range(&self, range: impl RangeBounds<K>) -> Result<TimestampedIterator<K, V>, BoxError> {
        Ok(TimestampedIterator(Pages::of_range(&self.0.rows, &range, Order::Forward)?))
    }

    /// As [`range`](Self::range), from the end.
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn reverse_range(
        &self,
        range: impl RangeBounds<K>,
    ) -> Result<TimestampedIterator<K, V>, BoxError> {
        Ok(TimestampedIterator(Pages::of_range(&self.0.rows, &range, Order::Reverse)?))
    }

    /// All rows, in the order of the bytes of their keys.
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn all(&self) -> Result<TimestampedIterator<K, V>, BoxError> {
        self.range(..)
    }

    /// The rows whose keys' bytes begin with `prefix`.
    ///
    /// # Errors
    /// What the keys' serde says.
    pub fn prefix_scan(&self, prefix: &[u8]) -> Result<TimestampedIterator<K, V>, BoxError> {
        Ok(TimestampedIterator(Pages::of_prefix(&self.0.rows, prefix)?))
    }

    /// About how many rows there are: those that were deleted since the last commit count.
    #[must_use]
    pub fn approximate_num_entries(&self) -> usize {
        self.0.approximate_num_entries()
    }
}

impl<K, V> Clone for TimestampedKeyValueStore<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> fmt::Debug for TimestampedKeyValueStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TimestampedKeyValueStore")
    }
}

impl<K, V> OpenStore for TimestampedKeyValueStore<K, V>
where
    K: Hash + Eq + Clone + 'static,
    V: Clone + 'static,
{
    fn open(store: &OpenedStore<'_>) -> Option<Self> {
        KeyValueStore::open(store).map(Self)
    }
}

/// The rows of a [`KeyValueStore`], one after the other.
#[derive(Debug)]
pub struct KeyValueIterator<K, V>(Pages<K, V>);

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> Iterator for KeyValueIterator<K, V> {
    type Item = (K, V);

    fn next(&mut self) -> Option<(K, V)> {
        self.0.next_row().map(|(key, row)| (key, row.value))
    }
}

/// The rows of a [`TimestampedKeyValueStore`], one after the other.
#[derive(Debug)]
pub struct TimestampedIterator<K, V>(Pages<K, V>);

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> Iterator for TimestampedIterator<K, V> {
    type Item = (K, ValueAndTimestamp<V>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next_row()
    }
}

/// Which way rows are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Forward,
    Reverse,
}

/// Takes the rows of a range from their store page by page, so that the store can be changed in
/// between.
struct Pages<K, V> {
    rows: Rc<RefCell<Rows<K, V>>>,
    from: Bound<Vec<u8>>,
    to: Bound<Vec<u8>>,
    order: Order,
    page: std::vec::IntoIter<(Vec<u8>, K, ValueAndTimestamp<V>)>,
    is_last: bool,
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> Pages<K, V> {
    fn of_range(
        rows: &Rc<RefCell<Rows<K, V>>>,
        range: &impl RangeBounds<K>,
        order: Order,
    ) -> Result<Self, BoxError> {
        let bytes = |bound: Bound<&K>| {
            let store = rows.borrow();
            Ok::<_, BoxError>(match bound {
                Bound::Included(key) => Bound::Included(store.serialize_key(key)?),
                Bound::Excluded(key) => Bound::Excluded(store.serialize_key(key)?),
                Bound::Unbounded => Bound::Unbounded,
            })
        };
        Self::new(rows, bytes(range.start_bound())?, bytes(range.end_bound())?, order)
    }

    fn of_prefix(rows: &Rc<RefCell<Rows<K, V>>>, prefix: &[u8]) -> Result<Self, BoxError> {
        let to = end_of_prefix(prefix);
        Self::new(rows, Bound::Included(prefix.to_vec()), to, Order::Forward)
    }

    fn new(
        rows: &Rc<RefCell<Rows<K, V>>>,
        from: Bound<Vec<u8>>,
        to: Bound<Vec<u8>>,
        order: Order,
    ) -> Result<Self, BoxError> {
        let page = Vec::new().into_iter();
        let rows = Rc::clone(rows);
        let mut pages = Self { rows, from, to, order, page, is_last: false };
        pages.read_page()?;
        Ok(pages)
    }

    fn read_page(&mut self) -> Result<(), BoxError> {
        let (from, to) = (self.from.clone(), self.to.clone());
        let mut rows = self.rows.borrow_mut();
        let page = match self.order {
            Order::Forward => rows.page(from, to, Isolation::Current, ROWS_PER_PAGE)?,
            Order::Reverse => rows.page_from_end(from, to, Isolation::Current, ROWS_PER_PAGE)?,
        };
        self.is_last = page.len() < ROWS_PER_PAGE;
        if let Some((bytes, _, _)) = page.last() {
            let bound = Bound::Excluded(bytes.clone());
            match self.order {
                Order::Forward => self.from = bound,
                Order::Reverse => self.to = bound,
            }
        }
        self.page = page.into_iter();
        Ok(())
    }

    fn next_row(&mut self) -> Option<(K, ValueAndTimestamp<V>)> {
        loop {
            if let Some((_, key, row)) = self.page.next() {
                return Some((key, row));
            }
            // A key that was put since the first page and cannot be serialized ends the rows here,
            // and the task at its commit.
            if self.is_last || self.read_page().is_err() {
                return None;
            }
        }
    }
}

impl<K, V> fmt::Debug for Pages<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages")
            .field("from", &self.from)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

/// What follows all keys of a prefix: its last byte that can be raised, raised.
pub(crate) fn end_of_prefix(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while end.last() == Some(&u8::MAX) {
        end.pop();
    }
    match end.last_mut() {
        Some(last) => {
            *last += 1;
            Bound::Excluded(end)
        }
        None => Bound::Unbounded,
    }
}
