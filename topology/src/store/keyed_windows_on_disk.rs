//! What a store of keyed windows does where its rows are on disk: which keys are in memory, and
//! which rows are over.

use std::hash::Hash;

use hashbrown::HashSet;

use crate::backing::Covered;
use crate::error::BoxError;
use crate::store::keyed_on_disk::KeyedOnDisk;
use crate::store::keyed_windows::KeyedWindowStore;
use crate::store::rows_by_time::Note;
use crate::store::slots::Slot;
use crate::store::table::ValueAndTimestamp;

/// A row with its slot and its key.
type Found<S, K, V> = (S, K, ValueAndTimestamp<V>);

impl<K: Hash + Eq + Clone + 'static, S: Slot, V: Clone + 'static> KeyedWindowStore<K, S, V> {
    /// Brings the rows of a key into memory, if they are not there.
    pub(super) fn load_from_disk(&mut self, key: &K) {
        let Some(disk) = &mut self.disk else { return };
        disk.touch(key);
        if self.rows.contains_key(key) {
            return;
        }
        let loaded = self.serialized(key).and_then(|bytes| self.rows_on_disk(key, &bytes));
        let Some(disk) = &mut self.disk else { return };
        match loaded {
            Ok(found) => {
                disk.resident += found.len().max(1);
                self.rows.load(key, found);
            }
            Err(reason) => {
                disk.rows.fail(&reason);
                self.rows.load(key, Vec::new());
            }
        }
    }

    fn serialized(&self, key: &K) -> Result<Vec<u8>, BoxError> {
        let mut bytes = Vec::new();
        self.key_serde.serialize(key, &mut bytes)?;
        Ok(bytes)
    }

    /// The committed rows of a key, in no order.
    fn rows_on_disk(
        &self,
        key: &K,
        bytes: &[u8],
    ) -> Result<Vec<(S, ValueAndTimestamp<V>)>, BoxError> {
        let mut found = Vec::new();
        let Some(disk) = &self.disk else { return Ok(found) };
        disk.scan_key(bytes, |slot, (timestamp, value)| {
            if self.is_left(disk, key, slot) {
                let value = self.value_serde.deserialize(&value)?;
                found.push((slot, ValueAndTimestamp { value, timestamp }));
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// Whether a row is not over as of the last commit, or the cache has it.
    fn is_left(&self, disk: &KeyedOnDisk<K, S>, key: &K, slot: S) -> bool {
        disk.expired_ms.is_none_or(|expired_ms| slot.time_ms() > expired_ms)
            || self.has_cached(key, slot)
    }

    /// See [`committed`](Self::committed): of a store on disk that is what is there.
    pub(super) fn committed_on_disk(
        &self,
        disk: &KeyedOnDisk<K, S>,
        key: Option<&K>,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Found<S, K, V>>, BoxError> {
        let Some(key) = key else { return self.scan(disk, from_ms, to_ms, |_| true) };
        let mut found = self.rows_on_disk(key, &self.serialized(key)?)?;
        found.retain(|(slot, _)| (from_ms..=to_ms).contains(&slot.time_ms()));
        found.sort_by_key(|(slot, _)| *slot);
        Ok(found.into_iter().map(|(slot, row)| (slot, key.clone(), row)).collect())
    }

    /// See [`visible`](Self::visible): the keys in memory as they are there, the others from disk.
    pub(super) fn visible_with_disk(
        &self,
        disk: &KeyedOnDisk<K, S>,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<Found<S, K, V>>, BoxError> {
        let others = self.scan(disk, from_ms, to_ms, |key| !self.rows.contains_key(key))?;
        let in_memory = self.rows.between(from_ms, to_ms);
        self.sorted(in_memory.chain(others.iter().map(|(slot, key, row)| (*slot, key, row))))
    }

    /// The rows on disk of those keys from a time up to and including another one, by slot, then by
    /// the bytes of their keys.
    fn scan(
        &self,
        disk: &KeyedOnDisk<K, S>,
        from_ms: i64,
        to_ms: i64,
        is_asked: impl Fn(&K) -> bool,
    ) -> Result<Vec<Found<S, K, V>>, BoxError> {
        let mut found = Vec::new();
        disk.scan_times(from_ms, to_ms, |slot, bytes| {
            let key = self.key_serde.deserialize(bytes)?;
            if is_asked(&key) && self.is_left(disk, &key, slot) {
                let (timestamp, value) = disk
                    .get(bytes, slot)?
                    .ok_or("a row is missing that its time has an entry of")?;
                let value = self.value_serde.deserialize(&value)?;
                found.push((slot, bytes.to_vec(), key, ValueAndTimestamp { value, timestamp }));
            }
            Ok(true)
        })?;
        found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        Ok(found.into_iter().map(|(slot, _, key, row)| (slot, key, row)).collect())
    }

    /// Goes on with the clock, the times and the numbers that were written with the rows.
    pub(super) fn read_note(&mut self) -> Result<(), BoxError> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let note = Note::read(&mut self.times, &mut disk.rows)?;
        (self.clock_ms, self.clock_committed_ms) = (note.clock_ms, note.clock_ms);
        (self.sequence, self.sequence_committed) = (note.sequence, note.sequence);
        disk.removed_ms = note.removed_ms;
        self.expire();
        Ok(())
    }

    /// Writes what was added, and the note.
    pub(super) fn write_rows(&mut self, covered: Covered) -> Result<(), BoxError> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let (clock_ms, removed_ms) = (self.clock_ms, disk.removed_ms);
        Note { clock_ms, removed_ms, sequence: self.sequence }.add(&self.times, &disk.rows);
        disk.rows.write(covered)
    }

    /// Removes rows whose retention is over from the disk with the next write, but for those that
    /// the cache has kept, and those that are written themselves.
    pub(super) fn remove_expired(&mut self) -> Result<(), BoxError> {
        let Some(expired_ms) = self.options.expired_ms(&self.times, self.clock_ms) else {
            return Ok(());
        };
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let changed = || self.rows.changes().map(|change| (change.slot, change.key));
        if let Some(first_ms) = changed().map(|(slot, _)| slot.time_ms()).min() {
            disk.removed_ms = disk.removed_ms.map(|ms| ms.min(first_ms.saturating_sub(1)));
        }
        let written: HashSet<(S, &K)> =
            changed().filter(|(slot, _)| slot.time_ms() <= expired_ms).collect();
        let Self { cache, key_serde, .. } = self;
        disk.remove_up_to(expired_ms, |slot, bytes| {
            if written.is_empty() && cache.is_none() {
                return Ok(false);
            }
            let key = key_serde.deserialize(bytes)?;
            let is_written = written.contains(&(slot, &key));
            Ok(is_written || cache.as_ref().is_some_and(|cache| cache.contains(&(slot, key))))
        })
    }

    /// Drops keys from memory whose rows are on disk, where there are too many: those first that
    /// were not asked for since the last time.
    pub(super) fn drop_clean(&mut self) {
        let Self { disk, rows, .. } = self;
        let Some(disk) = disk else { return };
        let rows_max = disk.rows.resident_max();
        if disk.resident <= rows_max {
            return;
        }
        let keep = rows_max / 4 * 3;
        disk.resident = rows.resident();
        for _ in 0..2 {
            let used = std::mem::take(&mut disk.used);
            rows.retain(|key, rows_of_key| {
                if disk.resident <= keep || used.contains(key) {
                    return true;
                }
                disk.resident -= rows_of_key.max(1);
                false
            });
        }
    }

    /// The work since the last commit is taken back: what was computed without rows that could not
    /// be read must not be taken for them.
    pub(super) fn abort_on_disk(&mut self) {
        let Some(disk) = &mut self.disk else { return };
        if disk.rows.failure().is_some() {
            self.rows.clear();
        }
        disk.rows.abort();
    }
}
