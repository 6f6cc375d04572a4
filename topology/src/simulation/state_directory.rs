//! The folder of the stores on disk, simulated: an engine that loses what it has written last when
//! the power is cut.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::backing::{Backing, Changes, Covered, Reader, StateDirectory, Visitor};
use crate::error::BoxError;
use crate::types::TaskId;

/// The rows of a store, and how far they are.
#[derive(Clone, Debug, Default)]
struct Rows {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    covered: Option<Covered>,
}

impl Rows {
    fn apply(&mut self, write: &Write) {
        match write {
            Write::Changes(changes, covered) => {
                for (key, row) in changes.iter() {
                    match row {
                        Some(row) => self.rows.insert(key.to_vec(), row.to_vec()),
                        None => self.rows.remove(key),
                    };
                }
                self.covered = Some(*covered);
            }
            Write::Clear => *self = Self::default(),
        }
    }
}

#[derive(Clone, Debug)]
enum Write {
    Changes(Changes, Covered),
    Clear,
}

#[derive(Debug, Default)]
struct State {
    stores: HashMap<String, Rows>,
    /// The stores as they are after a power cut that takes everything it can.
    synced: HashMap<String, Rows>,
    /// What was written since.
    unsynced: Vec<(String, Write)>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimulatedDirectory(Arc<Mutex<State>>);

impl SimulatedDirectory {
    /// The folder as another process finds it: without what `keep` says a power cut takes, given
    /// how many of the last writes it could. The process that had it until now writes elsewhere.
    pub(crate) fn crash(&self, keep: impl FnOnce(usize) -> usize) -> Self {
        let state = self.0.lock();
        let mut stores = state.synced.clone();
        let kept = keep(state.unsynced.len()).min(state.unsynced.len());
        for (store, write) in state.unsynced.iter().take(kept) {
            stores.entry(store.clone()).or_default().apply(write);
        }
        let synced = stores.clone();
        Self(Arc::new(Mutex::new(State { stores, synced, unsynced: Vec::new() })))
    }
}

impl StateDirectory for SimulatedDirectory {
    fn store(&self, task: TaskId, store: &str) -> Result<Box<dyn Backing>, BoxError> {
        Ok(Box::new(SimulatedStore { state: Arc::clone(&self.0), name: format!("{task}.{store}") }))
    }
}

/// Whether a range holds nothing, as `BTreeMap` asks of ranges.
fn is_empty(from: &Bound<Vec<u8>>, to: &Bound<Vec<u8>>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Excluded(to) | Bound::Included(to),
        ) => from >= to,
    }
}

struct SimulatedStore {
    state: Arc<Mutex<State>>,
    name: String,
}

impl SimulatedStore {
    fn write(&self, write: Write) {
        let mut state = self.state.lock();
        state.stores.entry(self.name.clone()).or_default().apply(&write);
        state.unsynced.push((self.name.clone(), write));
    }
}

impl Backing for SimulatedStore {
    fn covered(&self) -> Result<Option<Covered>, BoxError> {
        Ok(self.state.lock().stores.get(&self.name).and_then(|rows| rows.covered))
    }

    fn read(&self, key: &[u8], reader: &mut Reader<'_>) -> Result<(), BoxError> {
        let stores = &self.state.lock().stores;
        let row = stores.get(&self.name).and_then(|rows| rows.rows.get(key));
        row.map_or(Ok(()), |row| reader(row))
    }

    fn visit(
        &self,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
        from_end: bool,
        visitor: &mut Visitor<'_>,
    ) -> Result<(), BoxError> {
        let (mut from, mut to) = range;
        // One at a time: a visitor may look for other rows.
        while !is_empty(&from, &to) {
            let state = self.state.lock();
            let Some(rows) = state.stores.get(&self.name) else { break };
            let mut rows = rows.rows.range::<Vec<u8>, _>((from.as_ref(), to.as_ref()));
            let next = if from_end { rows.next_back() } else { rows.next() };
            let Some((key, row)) = next.map(|(key, row)| (key.clone(), row.clone())) else { break };
            drop(state);
            if !visitor(&key, &row)? {
                break;
            }
            *if from_end { &mut to } else { &mut from } = Bound::Excluded(key);
        }
        Ok(())
    }

    fn write(&self, changes: &mut Changes, covered: Covered) -> Result<(), BoxError> {
        self.write(Write::Changes(changes.clone(), covered));
        Ok(())
    }

    fn clear(&self) -> Result<(), BoxError> {
        self.write(Write::Clear);
        Ok(())
    }

    fn len(&self) -> usize {
        self.state.lock().stores.get(&self.name).map_or(0, |rows| rows.rows.len())
    }

    fn disk_bytes(&self) -> u64 {
        let state = self.state.lock();
        let rows = state.stores.get(&self.name).into_iter().flat_map(|rows| &rows.rows);
        rows.map(|(key, row)| (key.len() + row.len()) as u64).sum()
    }
}
