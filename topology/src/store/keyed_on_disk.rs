//! The rows of a store of keyed windows on disk: by key, and a second time by when they end to matter,
//! so that those whose time is over are found.

use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::Bound;

use hashbrown::HashSet;
use headwater_log_store::Timestamp;

use crate::error::BoxError;
use crate::store::backed_rows::{BackedRows, RawRow};
use crate::store::rows_by_time::{BY_TIME, Fate, Sweep, ordered, prefix_of, take_ordered};
use crate::store::slots::Slot;

/// See the module.
pub(crate) struct KeyedOnDisk<K, S> {
    pub(crate) rows: BackedRows,
    /// The last time that was over at the last commit.
    pub(crate) expired_ms: Option<i64>,
    /// The last time up to which no rows are left.
    pub(crate) removed_ms: Option<i64>,
    /// The keys that were asked for since keys were dropped from memory the last time.
    pub(crate) used: HashSet<K>,
    /// At least how many rows are in memory; those that have left are counted anew then.
    pub(crate) resident: usize,
    slots: PhantomData<fn() -> S>,
}

impl<K: Hash + Eq + Clone, S: Slot> KeyedOnDisk<K, S> {
    pub(crate) fn new(rows: BackedRows) -> Self {
        Self {
            rows,
            expired_ms: None,
            removed_ms: None,
            used: HashSet::new(),
            resident: 0,
            slots: PhantomData,
        }
    }

    /// Notes that a key is in use.
    pub(crate) fn touch(&mut self, key: &K) {
        if !self.used.contains(key) {
            self.used.insert(key.clone());
        }
    }

    /// A row, be its time over or not.
    pub(crate) fn get(&self, key: &[u8], slot: S) -> Result<Option<RawRow>, BoxError> {
        self.rows.try_get(&row_key(key, slot)?)
    }

    /// Adds a change to the next write. A row that was there before need not be found anew.
    pub(crate) fn add(
        &self,
        key: &[u8],
        slot: S,
        row: Option<(Timestamp, &[u8])>,
        was_there: bool,
    ) -> Result<(), BoxError> {
        self.rows.add(&row_key(key, slot)?, row);
        let by_time = row.map(|_| (Timestamp::from_millis(0), &[][..]));
        if by_time.is_none() || !was_there {
            self.rows.add(&time_key(key, slot), by_time);
        }
        Ok(())
    }

    /// Shows the rows of a key, in no order.
    pub(crate) fn scan_key(
        &self,
        key: &[u8],
        mut visitor: impl FnMut(S, RawRow) -> Result<(), BoxError>,
    ) -> Result<(), BoxError> {
        let prefix = prefix_of(key)?;
        let from = Bound::Included(prefix.clone());
        self.rows.visit((from, Bound::Unbounded), false, |row_key, row| {
            let Some(slot) = row_key.strip_prefix(&prefix[..]) else { return Ok(false) };
            let slot = S::read(slot).ok_or("a key is too short for its window")?;
            visitor(slot, row).map(|()| true)
        })
    }

    /// Shows the slots and the bytes of the keys of all rows from a time up to and including
    /// another one, by their time.
    pub(crate) fn scan_times(
        &self,
        from_ms: i64,
        to_ms: i64,
        mut visitor: impl FnMut(S, &[u8]) -> Result<bool, BoxError>,
    ) -> Result<(), BoxError> {
        if from_ms > to_ms {
            return Ok(());
        }
        let first = |time_ms| [&[BY_TIME], &ordered(time_ms)[..]].concat();
        let to = to_ms.checked_add(1).map_or_else(|| vec![BY_TIME + 1], first);
        let range = (Bound::Included(first(from_ms)), Bound::Excluded(to));
        self.rows.visit(range, false, |entry, _| {
            let (_, rest) = take_ordered(entry.get(1..).unwrap_or_default())?;
            let short = "an entry is too short for its window";
            let (slot, key) = rest.split_at_checked(S::BYTES).ok_or(short)?;
            visitor(S::read(slot).ok_or(short)?, key)
        })
    }

    /// Removes rows up to that time with the next write, as many as may leave at once and are not
    /// to be kept.
    pub(crate) fn remove_up_to(
        &mut self,
        expired_ms: i64,
        mut is_kept: impl FnMut(S, &[u8]) -> Result<bool, BoxError>,
    ) -> Result<(), BoxError> {
        let Some(mut sweep) = Sweep::between(self.removed_ms, expired_ms) else { return Ok(()) };
        let (from_ms, to_ms) = sweep.times();
        self.scan_times(from_ms, to_ms, |slot, key| {
            let fate = sweep.next(slot.time_ms(), is_kept(slot, key)?);
            if fate == Fate::Removed {
                self.add(key, slot, None, true)?;
            }
            Ok(fate != Fate::Later)
        })?;
        self.removed_ms = sweep.removed_ms(self.removed_ms);
        Ok(())
    }
}

fn row_key<S: Slot>(key: &[u8], slot: S) -> Result<Vec<u8>, BoxError> {
    let mut row = prefix_of(key)?;
    slot.write(&mut row);
    Ok(row)
}

fn time_key<S: Slot>(key: &[u8], slot: S) -> Vec<u8> {
    let mut entry = vec![BY_TIME];
    entry.extend_from_slice(&ordered(slot.time_ms()));
    slot.write(&mut entry);
    entry.extend_from_slice(key);
    entry
}
