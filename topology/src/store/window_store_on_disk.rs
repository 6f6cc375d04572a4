//! What a window store does where its rows are on disk: which of them are in memory, and which are
//! over.

use std::collections::BTreeMap;
use std::hash::Hash;

use crate::backing::Covered;
use crate::error::BoxError;
use crate::store::rows_by_time::Note;
use crate::store::table::{Isolation, Table, ValueAndTimestamp};
use crate::store::window_store::WindowStore;
use crate::store::windows_on_disk::WindowsOnDisk;

impl<K: Hash + Eq + Clone + 'static, V: Clone + 'static> WindowStore<K, V> {
    /// Brings the row of a key and a window into its table.
    pub(super) fn load_from_disk(&mut self, key: &K, start_ms: i64) {
        let expired_ms = self.disk.as_ref().and_then(|disk| disk.expired_ms);
        if !self.is_kept(key, start_ms, expired_ms) {
            return;
        }
        let Some(disk) = &mut self.disk else { return };
        let mut bytes = Vec::new();
        let loaded = self.key_serde.serialize(key, &mut bytes).and_then(|()| {
            let Some((timestamp, value)) = disk.get(start_ms, &bytes) else { return Ok(None) };
            let value = self.value_serde.deserialize(&value)?;
            Ok(Some(ValueAndTimestamp { value, timestamp }))
        });
        match loaded {
            Ok(Some(row)) => {
                self.windows
                    .entry(start_ms)
                    .or_insert_with(Table::new)
                    .restore(key.clone(), Some(row));
            }
            Ok(None) => {}
            Err(reason) => disk.rows.fail(&reason),
        }
    }

    /// As [`rows`](Self::rows), of a store on disk: its rows, and the changes since the last commit.
    pub(super) fn rows_with_disk(
        &self,
        disk: &WindowsOnDisk,
        from_ms: i64,
        to_ms: i64,
        isolation: Isolation,
    ) -> Result<Vec<(i64, K, ValueAndTimestamp<V>)>, BoxError> {
        let mut found = BTreeMap::new();
        disk.scan(from_ms, to_ms, |start_ms, bytes, (timestamp, value)| {
            let key = self.key_serde.deserialize(bytes)?;
            if self.is_kept(&key, start_ms, disk.expired_ms) {
                let value = self.value_serde.deserialize(&value)?;
                let row = ValueAndTimestamp { value, timestamp };
                found.insert((start_ms, bytes.to_vec()), (key, row));
            }
            Ok(())
        })?;
        if isolation == Isolation::Current {
            let changed =
                self.dirty.iter().filter(|start_ms| (from_ms..=to_ms).contains(*start_ms));
            for (start_ms, window) in changed.filter_map(|s| Some((*s, self.windows.get(s)?))) {
                for (key, row) in window.dirty() {
                    let mut bytes = Vec::new();
                    self.key_serde.serialize(key, &mut bytes)?;
                    match row {
                        Some(row) => found.insert((start_ms, bytes), (key.clone(), row.clone())),
                        None => found.remove(&(start_ms, bytes)),
                    };
                }
            }
            let expired_ms = self.expired_ms(isolation);
            found.retain(|(start_ms, _), (key, _)| self.is_kept(key, *start_ms, expired_ms));
        }
        Ok(found.into_iter().map(|((start_ms, _), (key, row))| (start_ms, key, row)).collect())
    }

    /// Goes on with the clock and the times that were written with the rows.
    pub(super) fn read_note(&mut self) -> Result<(), BoxError> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let note = Note::read(&mut self.times, &mut disk.rows)?;
        (self.clock_ms, self.clock_committed_ms) = (note.clock_ms, note.clock_ms);
        disk.removed_ms = note.removed_ms;
        self.expire();
        Ok(())
    }

    /// Writes what was added, and the note.
    pub(super) fn write_rows(&mut self, covered: Covered) -> Result<(), BoxError> {
        let Some(disk) = &mut self.disk else { return Ok(()) };
        let note = Note { clock_ms: self.clock_ms, removed_ms: disk.removed_ms, ..Note::default() };
        note.add(&self.times, &disk.rows);
        disk.rows.write(covered)
    }

    /// Removes rows whose retention is over from the disk with the next write, but for those that
    /// the cache has kept, and those that are written themselves.
    pub(super) fn remove_expired(&mut self) -> Result<(), BoxError> {
        let Some(expired_ms) = self.options.expired_ms(&self.times, self.clock_ms) else {
            return Ok(());
        };
        let Some(disk) = &mut self.disk else { return Ok(()) };
        if let Some(first_ms) = self.dirty.iter().min() {
            disk.removed_ms = disk.removed_ms.map(|ms| ms.min(first_ms.saturating_sub(1)));
        }
        let Self { windows, cache, key_serde, .. } = self;
        disk.remove_up_to(expired_ms, |start_ms, bytes| {
            let window = windows.get(&start_ms).filter(|window| window.dirty_len() > 0);
            if window.is_none() && cache.is_none() {
                return Ok(false);
            }
            let place = (start_ms, key_serde.deserialize(bytes)?);
            let is_cached = cache.as_ref().is_some_and(|cache| cache.contains(&place));
            Ok(is_cached || window.is_some_and(|window| window.is_dirty(&place.1)))
        })
    }

    /// Drops rows from memory that are on disk, where there are too many.
    pub(super) fn drop_clean(&mut self) {
        let Some(rows_max) = self.disk.as_ref().map(|disk| disk.rows.resident_max()) else {
            return;
        };
        let rows: usize = self.windows.values().map(Table::len).sum();
        if rows > rows_max {
            for window in self.windows.values_mut() {
                window.drop_clean(window.len().saturating_mul(rows_max) / rows);
            }
            self.windows.retain(|_, window| !window.is_empty());
        }
    }
}
