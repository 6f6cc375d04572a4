//! Session stores of processors.

use std::cell::RefCell;
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;

use headwater_log_store::Timestamp;

use crate::processor::RecordTime;
use crate::state_stores::connect::{OpenStore, OpenedStore};
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::slots::Session;
use crate::store::table::ValueAndTimestamp;
use crate::window::windowed::{SessionWindow, Windowed};

/// The rows of a session store.
pub(crate) type SessionRows<K, V> = KeyedWindowStore<K, Session, V>;

/// A store of values by key and session, as Kafka Streams' `SessionStore`: that of a processor's
/// own, or of a session aggregation.
///
/// The store has a clock of its own, the latest end of a session that was put: sessions that end a
/// retention before that, or earlier, are gone. A row's time is that of the record or the
/// punctuation that has put it. For the rest see [`KeyValueStore`](crate::KeyValueStore).
pub struct SessionStore<K, V> {
    rows: Rc<RefCell<SessionRows<K, V>>>,
    time: RecordTime,
}

const fn slot(window: SessionWindow) -> Session {
    Session { end_ms: window.end_ms, start_ms: window.start_ms }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> SessionStore<K, V> {
    /// Sets the value of a session.
    pub fn put(&self, session: &Windowed<K, SessionWindow>, value: V) {
        let row = ValueAndTimestamp { value, timestamp: self.time.get() };
        self.rows.borrow_mut().put(&session.key, slot(session.window), Some(row));
    }

    /// Removes a session.
    pub fn remove(&self, session: &Windowed<K, SessionWindow>) {
        self.rows.borrow_mut().put(&session.key, slot(session.window), None);
    }

    /// The value of a session.
    #[must_use]
    pub fn fetch_session(&self, session: &Windowed<K, SessionWindow>) -> Option<V> {
        let mut rows = self.rows.borrow_mut();
        rows.get(&session.key, slot(session.window)).map(|row| row.value.clone())
    }

    /// All sessions of a key, by their ends, then by their starts.
    #[must_use]
    pub fn fetch(&self, key: &K) -> Vec<(Windowed<K, SessionWindow>, V)> {
        let (first, last) = (Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX));
        self.find_sessions(key, first, last)
    }

    /// The sessions of a key that end at `earliest_end` or later and start at `latest_start` or
    /// earlier, by their ends, then by their starts.
    #[must_use]
    pub fn find_sessions(
        &self,
        key: &K,
        earliest_end: Timestamp,
        latest_start: Timestamp,
    ) -> Vec<(Windowed<K, SessionWindow>, V)> {
        // The end of the range is the end of time, which has no millisecond after it.
        let mut rows = self.rows.borrow_mut();
        rows.load(key);
        let found = rows.rows_of(key, earliest_end.as_millis(), i64::MAX - 1);
        found
            .filter(|(session, _)| session.start_ms <= latest_start.as_millis())
            .map(|(Session { end_ms, start_ms }, row)| {
                let window = SessionWindow { start_ms, end_ms };
                (Windowed { key: key.clone(), window }, row.value.clone())
            })
            .collect()
    }
}

impl<K, V> Clone for SessionStore<K, V> {
    fn clone(&self) -> Self {
        Self { rows: Rc::clone(&self.rows), time: self.time.clone() }
    }
}

impl<K, V> fmt::Debug for SessionStore<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionStore")
    }
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> OpenStore for SessionStore<K, V> {
    fn open(store: &OpenedStore<'_>) -> Option<Self> {
        let rows = Rc::clone(&store.handle.typed).downcast().ok()?;
        Some(Self { rows, time: store.time.clone() })
    }
}
