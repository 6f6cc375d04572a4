//! How a node reads the current rows of a table: from the nearest store at or above it.

use std::cell::RefCell;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::Arc;

use headwater_log_store::Timestamp;

use crate::processor::TaskParts;
use crate::store::key_value::KeyValueStore;
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::slots::{Session, WindowStart};
use crate::store::table::{Isolation, ValueAndTimestamp};
use crate::store::versioned::VersionedStore;
use crate::store::window_store::WindowStore;
use crate::window::windowed::{SessionWindow, Windowed};

/// Reads the rows of a table as they are now, changes since the last commit included.
pub(crate) trait ValueGetter<K, V> {
    /// The row of a key.
    fn get(&self, key: &K) -> Option<ValueAndTimestamp<V>>;

    /// The row that a key had at that time; of a table without versions, that of now.
    fn get_as_of(&self, key: &K, _time: Timestamp) -> Option<ValueAndTimestamp<V>> {
        self.get(key)
    }
}

/// Builds a getter for a task.
type GetterFactory<K, V> = dyn Fn(&TaskParts) -> Box<dyn ValueGetter<K, V>> + Send + Sync;

/// A table as other nodes can read it: which stores that takes, and how.
pub(crate) struct View<K, V> {
    /// The stores that a reader has to be connected to.
    pub(crate) stores: Vec<String>,
    open: Arc<GetterFactory<K, V>>,
}

impl<K, V> Clone for View<K, V> {
    fn clone(&self) -> Self {
        Self { stores: self.stores.clone(), open: Arc::clone(&self.open) }
    }
}

impl<K, V> View<K, V> {
    /// A view through these stores.
    pub(crate) fn new(
        stores: Vec<String>,
        open: impl Fn(&TaskParts) -> Box<dyn ValueGetter<K, V>> + Send + Sync + 'static,
    ) -> Self {
        Self { stores, open: Arc::new(open) }
    }

    /// The same view for readers that find its stores without being connected to them.
    pub(crate) fn unconnected(self) -> Self {
        Self { stores: Vec::new(), ..self }
    }

    /// The getter for a task.
    pub(crate) fn open(&self, parts: &TaskParts) -> Box<dyn ValueGetter<K, V>> {
        (self.open)(parts)
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> View<K, V> {
    /// The rows of a versioned store.
    pub(crate) fn of_versioned_store(store: &str) -> Self {
        let name = store.to_owned();
        Self::new(vec![name.clone()], move |parts| {
            let store: Rc<RefCell<VersionedStore<K, V>>> = parts.store(&name);
            Box::new(store)
        })
    }

    /// The rows of a key-value store.
    pub(crate) fn of_key_value_store(store: &str) -> Self {
        let name = store.to_owned();
        Self::new(vec![name.clone()], move |parts| {
            let store: Rc<RefCell<KeyValueStore<K, V>>> = parts.store(&name);
            Box::new(store)
        })
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> View<Windowed<K>, V> {
    /// The rows of a window store.
    pub(crate) fn of_window_store(store: &str) -> Self {
        let name = store.to_owned();
        Self::new(vec![name.clone()], move |parts| {
            let store: Rc<RefCell<WindowStore<K, V>>> = parts.store(&name);
            Box::new(store)
        })
    }

    /// The rows of a store of sliding windows.
    pub(crate) fn of_sliding_store(store: &str) -> Self {
        let name = store.to_owned();
        Self::new(vec![name.clone()], move |parts| {
            let store: Rc<RefCell<KeyedWindowStore<K, WindowStart, V>>> = parts.store(&name);
            Box::new(store)
        })
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> View<Windowed<K, SessionWindow>, V> {
    /// The rows of a store of sessions.
    pub(crate) fn of_session_store(store: &str) -> Self {
        let name = store.to_owned();
        Self::new(vec![name.clone()], move |parts| {
            let store: Rc<RefCell<KeyedWindowStore<K, Session, V>>> = parts.store(&name);
            Box::new(store)
        })
    }
}

impl<K: 'static, V: 'static> View<K, V> {
    /// The rows of this view, each mapped or left out. The closure is asked about missing rows too.
    pub(crate) fn map<V2: 'static>(
        self,
        map: impl Fn(&K, Option<V>) -> Option<V2> + Send + Sync + 'static,
    ) -> View<K, V2> {
        let map = Arc::new(map);
        let stores = self.stores.clone();
        View::new(stores, move |parts| {
            Box::new(Mapped { above: self.open(parts), map: Arc::clone(&map) })
        })
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> ValueGetter<K, V>
    for Rc<RefCell<KeyValueStore<K, V>>>
{
    fn get(&self, key: &K) -> Option<ValueAndTimestamp<V>> {
        self.borrow_mut().get(key, Isolation::Current).cloned()
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> ValueGetter<Windowed<K>, V>
    for Rc<RefCell<WindowStore<K, V>>>
{
    fn get(&self, key: &Windowed<K>) -> Option<ValueAndTimestamp<V>> {
        self.borrow_mut().get(&key.key, key.window.start_ms).cloned()
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> ValueGetter<Windowed<K>, V>
    for Rc<RefCell<KeyedWindowStore<K, WindowStart, V>>>
{
    fn get(&self, key: &Windowed<K>) -> Option<ValueAndTimestamp<V>> {
        self.borrow_mut().get(&key.key, WindowStart(key.window.start_ms)).cloned()
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> ValueGetter<Windowed<K, SessionWindow>, V>
    for Rc<RefCell<KeyedWindowStore<K, Session, V>>>
{
    fn get(&self, key: &Windowed<K, SessionWindow>) -> Option<ValueAndTimestamp<V>> {
        let SessionWindow { start_ms, end_ms } = key.window;
        self.borrow_mut().get(&key.key, Session { end_ms, start_ms }).cloned()
    }
}

struct Mapped<K, V, F> {
    above: Box<dyn ValueGetter<K, V>>,
    map: Arc<F>,
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> ValueGetter<K, V>
    for Rc<RefCell<VersionedStore<K, V>>>
{
    fn get(&self, key: &K) -> Option<ValueAndTimestamp<V>> {
        self.borrow_mut().get(key)
    }

    fn get_as_of(&self, key: &K, time: Timestamp) -> Option<ValueAndTimestamp<V>> {
        self.borrow_mut().get_as_of(key, time)
    }
}

impl<K, V, V2, F: Fn(&K, Option<V>) -> Option<V2>> ValueGetter<K, V2> for Mapped<K, V, F> {
    fn get(&self, key: &K) -> Option<ValueAndTimestamp<V2>> {
        self.map(key, self.above.get(key))
    }

    fn get_as_of(&self, key: &K, time: Timestamp) -> Option<ValueAndTimestamp<V2>> {
        self.map(key, self.above.get_as_of(key, time))
    }
}

impl<K, V, F> Mapped<K, V, F> {
    fn map<V2>(&self, key: &K, row: Option<ValueAndTimestamp<V>>) -> Option<ValueAndTimestamp<V2>>
    where
        F: Fn(&K, Option<V>) -> Option<V2>,
    {
        let (value, timestamp) = match row {
            Some(row) => (Some(row.value), row.timestamp),
            // A row that is made of nothing is older than every record.
            None => (None, Timestamp::from_millis(-1)),
        };
        let value = (self.map)(key, value)?;
        Some(ValueAndTimestamp { value, timestamp })
    }
}
