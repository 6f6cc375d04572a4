//! How the node of a table sends its changes: at once, or when the record cache of its store is
//! flushed.

use std::cell::RefCell;
use std::hash::Hash;
use std::marker::PhantomData;
use std::rc::Rc;

use headwater_log_store::Timestamp;

use crate::context::{Context, Step};
use crate::current::Current;
use crate::operators::table_state::Rows;
use crate::processor::{Flush, Outputs, TaskParts};
use crate::record::{Change, Headers, Record};
use crate::store::record_cache::{CachedStore, Cause, Update};
use crate::types::NodeId;

/// See the module.
pub(crate) enum TableOutputs<K, V> {
    Direct(Outputs<K, Change<V>>),
    Cached(Rc<RefCell<CachedOutputs<K, V>>>),
}

/// What the node that sends the changes of a store is like.
#[derive(Clone, Copy)]
pub(crate) struct Sender<K> {
    pub(crate) node: NodeId,
    pub(crate) send_old: bool,
    /// Whether updates are sent at all, or only kept.
    pub(crate) sends: bool,
    /// The time of the changes of a key where that is not the time of its row.
    pub(crate) time_of: Option<fn(&K) -> Timestamp>,
}

impl<K> Sender<K> {
    /// A node that sends every change with the time of its row.
    pub(crate) const fn new(node: NodeId, send_old: bool) -> Self {
        Self { node, send_old, sends: true, time_of: None }
    }
}

/// A store with its keys as its node has them.
trait Updates<K, V> {
    fn hold(&self, key: &K, cause: Cause);
    fn is_over_budget(&self) -> bool;
    fn evict(&self) -> Vec<Update<K, V>>;
    fn flush(&self) -> Vec<Update<K, V>>;
}

/// The outputs of a node whose store has a record cache.
pub(crate) struct CachedOutputs<K, V> {
    sender: Sender<K>,
    updates: Box<dyn Updates<K, V>>,
    outputs: Outputs<K, Change<V>>,
}

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> TableOutputs<K, V> {
    /// The outputs of a node with rows of its own, if it keeps them.
    pub(crate) fn of_rows(
        parts: &mut TaskParts,
        sender: Sender<K>,
        rows: Option<&Rows<K, V>>,
    ) -> Self {
        match rows {
            Some(Rows::KeyValue(store)) => Self::of_store(parts, sender, store),
            Some(Rows::Versioned(_)) | None => Self::Direct(parts.outputs()),
        }
    }

    /// The outputs of a node with this store.
    pub(crate) fn of_store<S>(
        parts: &mut TaskParts,
        sender: Sender<K>,
        store: &Rc<RefCell<S>>,
    ) -> Self
    where
        S: CachedStore<K, V> + 'static,
    {
        Self::of_windows(parts, sender, store, (K::clone, |key| key))
    }

    /// The outputs of a node with a store that names rows otherwise: how to name one as the store
    /// does, and how as the node does.
    pub(crate) fn of_windows<S, C, T, F>(
        parts: &mut TaskParts,
        sender: Sender<K>,
        store: &Rc<RefCell<S>>,
        (to_store, from_store): (T, F),
    ) -> Self
    where
        S: CachedStore<C, V> + 'static,
        C: 'static,
        T: Fn(&K) -> C + 'static,
        F: Fn(C) -> K + 'static,
    {
        let outputs = parts.outputs();
        if !store.borrow().is_cached() {
            return Self::Direct(outputs);
        }
        let store = Rc::clone(store);
        let updates = Box::new(Translated { store, to_store, from_store, store_key: PhantomData });
        let node = sender.node;
        let cached = Rc::new(RefCell::new(CachedOutputs { sender, updates, outputs }));
        parts.flushes.push((node, Rc::clone(&cached) as Rc<RefCell<dyn Flush>>));
        Self::Cached(cached)
    }

    /// Whether changes are held back.
    pub(crate) const fn is_cached(&self) -> bool {
        matches!(self, Self::Cached(_))
    }

    /// Sends a change of a row, which is in the store by now, or holds it back. `received` is the
    /// time of the record that has brought it about.
    #[inline]
    pub(crate) fn update(
        &mut self,
        received: Timestamp,
        record: Record<K, Change<V>>,
        context: &mut Context,
    ) -> Step {
        match self {
            Self::Direct(outputs) => outputs.forward(record, context),
            Self::Cached(cached) => {
                cached.borrow_mut().hold(&record.key, received, record.headers, context)
            }
        }
    }

    /// Notes a change of a row that is not to be sent.
    pub(crate) fn keep(
        &mut self,
        received: Timestamp,
        key: &K,
        headers: Headers,
        context: &mut Context,
    ) -> Step {
        match self {
            Self::Direct(_) => Ok(()),
            Self::Cached(cached) => cached.borrow_mut().hold(key, received, headers, context),
        }
    }

    /// Sends a record past the cache.
    pub(crate) fn send(&mut self, record: Record<K, Change<V>>, context: &mut Context) -> Step {
        match self {
            Self::Direct(outputs) => outputs.forward(record, context),
            Self::Cached(cached) => cached.borrow_mut().outputs.forward(record, context),
        }
    }
}

impl<K: Clone, V: Clone> CachedOutputs<K, V> {
    fn hold(
        &mut self,
        key: &K,
        timestamp: Timestamp,
        headers: Headers,
        context: &mut Context,
    ) -> Step {
        let cause = Cause { timestamp, headers, current: context.current.clone() };
        self.updates.hold(key, cause);
        if context.emit_timer.replaying {
            // When commits take place must not decide what a replay sends.
            return self.flush(context).map(drop);
        }
        while self.updates.is_over_budget() {
            let updates = self.updates.evict();
            self.send(updates, context)?;
        }
        Ok(())
    }

    fn send(&mut self, updates: Vec<Update<K, V>>, context: &mut Context) -> Step {
        let Sender { node, send_old, sends, time_of } = self.sender;
        if !sends || updates.is_empty() {
            return Ok(());
        }
        let current = context.current.clone();
        for Update { key, old, new, cause } in updates {
            if old.is_none() && new.is_none() {
                // Those downstream have never known of it.
                continue;
            }
            // A failure is one of the record that has brought the update about.
            context.current = Current { stream_time: current.stream_time, ..cause.current };
            context.enter(node);
            let row_time = new.as_ref().map_or(cause.timestamp, |row| row.timestamp);
            let timestamp = time_of.map_or(row_time, |time_of| time_of(&key));
            let value = Change::latest(old.filter(|_| send_old), new.map(|row| row.value));
            let record = Record { key, value, timestamp, headers: cause.headers };
            self.outputs.forward(record, context)?;
        }
        context.current = current;
        Ok(())
    }
}

impl<K: Clone, V: Clone> Flush for CachedOutputs<K, V> {
    fn flush(&mut self, context: &mut Context) -> Step<bool> {
        let updates = self.updates.flush();
        let any = !updates.is_empty();
        self.send(updates, context)?;
        Ok(any)
    }
}

struct Translated<S, C, T, F> {
    store: Rc<RefCell<S>>,
    to_store: T,
    from_store: F,
    store_key: PhantomData<fn(C)>,
}

impl<S, C, T, F> Translated<S, C, T, F> {
    fn translate<K, V>(&self, updates: Vec<Update<C, V>>) -> Vec<Update<K, V>>
    where
        F: Fn(C) -> K,
    {
        let updates = updates.into_iter();
        let translated = updates.map(|Update { key, old, new, cause }| {
            let key = (self.from_store)(key);
            Update { key, old, new, cause }
        });
        translated.collect()
    }
}

impl<K, V, S, C, T, F> Updates<K, V> for Translated<S, C, T, F>
where
    S: CachedStore<C, V>,
    T: Fn(&K) -> C,
    F: Fn(C) -> K,
{
    fn hold(&self, key: &K, cause: Cause) {
        self.store.borrow_mut().hold(&(self.to_store)(key), cause);
    }

    fn is_over_budget(&self) -> bool {
        self.store.borrow().is_over_budget()
    }

    fn evict(&self) -> Vec<Update<K, V>> {
        let updates = self.store.borrow_mut().evict();
        self.translate(updates)
    }

    fn flush(&self) -> Vec<Update<K, V>> {
        let updates = self.store.borrow_mut().flush();
        self.translate(updates)
    }
}
